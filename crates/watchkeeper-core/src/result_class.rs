//! The classes of tool results.
//!
//! | class | recognized by | repetition |
//! | --- | --- | --- |
//! | answered | none of the others | counts |
//! | acknowledged | short, and confirms an action or prints nothing: `ok`, `Message sent` | counts for equal calls only |
//! | unfinished | short, and names a state such as `running` or `pending` | counts less if the calls are spaced |
//! | nothing | found nothing: `[]`, `null`, `0 rows`, `No results`; a search without output | counts half for different calls |
//! | failed | the tool failed | counts |
//! | declined | a person, a rule or a parallel failure stopped the call | does not count for different calls |
//! | outage | a service is overloaded or unavailable | does not count: providers fail without the agent |

#[cfg(test)]
mod tests;

use memchr::memmem;

use crate::{Cause, Fingerprint, Purpose, ToolResult, nothing_found::is_nothing};

/// The class of a tool result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ResultClass {
    /// Contains information.
    Answered,
    /// Confirms the call without further information.
    Acknowledged,
    /// Reports that the work is not finished.
    Unfinished,
    /// Reports that nothing was found.
    Nothing,
    /// Reports that the tool failed.
    Failed,
    /// Does not come from the tool, which did not run to its end.
    Declined,
    /// Reports that a service is overloaded or unavailable.
    Outage,
}

/// The longest result, in bytes, that can be an acknowledgement, a state or an outage.
const LONGEST: usize = 400;
/// The shortest successful result, in bytes, that contains information by itself.
const SHORTEST_ANSWER: usize = 24;
/// The shortest successful result of a search or a read, in bytes, that contains information.
const SHORTEST_FINDING: usize = 12;

impl ResultClass {
    /// Returns the class of the result of a call.
    pub(crate) fn of(result: &ToolResult, purpose: Purpose) -> Self {
        if let Some(Cause::Declined | Cause::Sibling | Cause::Interrupted) = result.cause {
            return Self::Declined;
        }
        let text = result.output.as_deref().unwrap_or_default().trim();
        let searches = matches!(purpose, Purpose::Search | Purpose::Read);
        let shortest = if searches { SHORTEST_FINDING } else { SHORTEST_ANSWER };
        if result.output.is_none() {
            return if result.ok { Self::Acknowledged } else { Self::Failed };
        }
        if LONGEST < text.len() {
            return if result.ok { Self::Answered } else { Self::Failed };
        }
        let lower = text.to_ascii_lowercase();
        let is_silent = lower.is_empty() || has(&lower, SILENT);
        if !result.ok {
            return match () {
                () if is_outage(&lower) => Self::Outage,
                () if purpose == Purpose::Search && (is_silent || is_nothing(text)) => {
                    Self::Nothing
                }
                () => Self::Failed,
            };
        }
        match () {
            () if is_silent && searches => Self::Nothing,
            () if is_silent => Self::Acknowledged,
            () if result.fingerprint == Some(Fingerprint::NOTHING_FOUND) => Self::Nothing,
            () if has(&lower, IN_BACKGROUND) => Self::Acknowledged,
            () if has(&lower, CLEAN) => Self::Acknowledged,
            () if has_word(&lower, UNFINISHED) || has(&lower, UNFINISHED_PHRASES) => {
                Self::Unfinished
            }
            () if text.len() < shortest => Self::Acknowledged,
            () if has(&lower, ERRORS) => Self::Answered,
            () if matches!(purpose, Purpose::Act | Purpose::Navigate) => Self::Acknowledged,
            () if has_word(&lower, CONFIRMATIONS) => Self::Acknowledged,
            () => Self::Answered,
        }
    }
}

/// Texts of harnesses for a command that printed nothing.
const SILENT: &[&str] = &[
    "no output",
    "without output",
    "not produce any output",
    "without producing any output",
    "no stdout",
];
const IN_BACKGROUND: &[&str] = &["in background", "in the background"];
/// Phrases that report the absence of problems.
const CLEAN: &[&str] = &[
    "no error",
    "no issue",
    "no problem",
    "no warning",
    "no conflict",
    "no change",
    "0 error",
    "0 issue",
    "0 problem",
    "0 fail",
    "up to date",
    "all matched",
];
/// States of work that is not finished.
const UNFINISHED: &[&str] = &[
    "building",
    "compiling",
    "containercreating",
    "creating",
    "deploying",
    "downloading",
    "in_progress",
    "initializing",
    "inprogress",
    "installing",
    "pending",
    "processing",
    "progressing",
    "provisioning",
    "queued",
    "running",
    "scheduled",
    "starting",
    "still",
    "uploading",
    "waiting",
];
const UNFINISHED_PHRASES: &[&str] = &["in progress", "not ready", "not yet"];
/// Words that confirm an action.
const CONFIRMATIONS: &[&str] = &[
    "accepted",
    "added",
    "applied",
    "archived",
    "assigned",
    "clean",
    "clicked",
    "closed",
    "complete",
    "completed",
    "copied",
    "created",
    "deleted",
    "delivered",
    "disabled",
    "done",
    "enabled",
    "filled",
    "finished",
    "inserted",
    "merged",
    "modified",
    "moved",
    "navigated",
    "ok",
    "opened",
    "passed",
    "posted",
    "pressed",
    "published",
    "received",
    "registered",
    "removed",
    "renamed",
    "replaced",
    "saved",
    "scrolled",
    "selected",
    "sent",
    "set",
    "stored",
    "submitted",
    "success",
    "successful",
    "successfully",
    "typed",
    "updated",
    "uploaded",
    "written",
    "wrote",
];
/// Words after which a result is no confirmation.
const ERRORS: &[&str] = &[
    "error",
    "fail",
    "cannot",
    "can't",
    "could not",
    "unable",
    "not found",
    "no such",
    "denied",
    "invalid",
    "refused",
    "does not ",
    "doesn't",
    "is not ",
    "was not ",
];
/// Phrases in the error of a service that is overloaded or unavailable.
const OUTAGES: &[&str] = &[
    "rate limit",
    "rate-limit",
    "rate_limit",
    "ratelimit",
    "too many requests",
    "overloaded",
    "service unavailable",
    "temporarily unavailable",
    "try again later",
    "bad gateway",
    "internal server error",
    "gateway time",
];
/// Status codes of an outage, if one of `STATUS` is in the same text.
const OUTAGE_STATUS: &[&str] = &["429", "500", "502", "503", "504", "529"];
const STATUS: &[&str] = &["http", "status", "api error"];

fn is_outage(text: &str) -> bool {
    has(text, OUTAGES) || has(text, STATUS) && has_word(text, OUTAGE_STATUS)
}

fn has(text: &str, phrases: &[&str]) -> bool {
    phrases.iter().any(|phrase| memmem::find(text.as_bytes(), phrase.as_bytes()).is_some())
}

/// Returns true if the text contains a word of a sorted list.
fn has_word(text: &str, sorted: &[&str]) -> bool {
    let mut words = text.split(|c: char| !(c.is_alphanumeric() || c == '_'));
    words.any(|word| sorted.binary_search(&word).is_ok())
}
