//! The classes of tool results.
//!
//! | class | recognized by | repetition |
//! | --- | --- | --- |
//! | answered | none of the others | counts |
//! | acknowledged | short, and confirms an action or prints nothing: `ok`, `Message sent` | counts for equal calls only |
//! | unfinished | short, and begins with a state such as `running`, or names the state of a key or of work | makes a poll of a call without a path and a command that reads, searches or has an unknown purpose |
//! | nothing | found nothing: `[]`, `null`, `0 rows`, `No results`; a search without output | counts half for different calls |
//! | failed | the tool failed | counts |
//! | declined | a person, a rule or a parallel failure stopped the call | does not count for different calls |
//! | outage | a service is overloaded or unavailable | does not count: providers fail without the agent |

mod outage;
mod phrases;
#[cfg(test)]
mod tests;

pub use self::outage::Outage;
use self::phrases::{Meaning, Meanings, STATES, has_short_confirmation};
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
        if let Some(Cause::Declined | Cause::Blocked | Cause::Sibling | Cause::Interrupted) =
            result.cause
        {
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
        let meanings = Meanings::of(text);
        let has = |meaning| meanings.has(meaning);
        let is_silent = text.is_empty() || has(Meaning::Silent);
        if !result.ok {
            let outage = Outage::of_meanings(meanings, text);
            return match () {
                () if outage == Some(Outage::Unavailable) => Self::Outage,
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
            () if has(Meaning::InBackground) || has(Meaning::Clean) => Self::Acknowledged,
            // The output of a test run begins with `Running`, too.
            () if has(Meaning::Error) && text.contains('\n') => Self::Answered,
            () if has(Meaning::Unfinished) => Self::Unfinished,
            () if has(Meaning::State) && names_ongoing_state(text) => Self::Unfinished,
            () if text.len() < shortest => Self::Acknowledged,
            () if has(Meaning::Error) => Self::Answered,
            () if matches!(purpose, Purpose::Act | Purpose::Navigate) => Self::Acknowledged,
            () if has(Meaning::Confirmation) || has_short_confirmation(text) => Self::Acknowledged,
            () if purpose == Purpose::Other && reports_past_action(text) => Self::Acknowledged,
            () => Self::Answered,
        }
    }
}

/// Returns true if a state is named by a verb in `-ing`, as in `"phase": "Planning"`.
fn names_ongoing_state(text: &str) -> bool {
    let ends_with = |word: &str, end: &str| {
        let start = word.len().checked_sub(end.len()).filter(|start| word.is_char_boundary(*start));
        start.is_some_and(|start| word[start..].eq_ignore_ascii_case(end))
    };
    let mut words = text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    let is_state = |word: &str| STATES.iter().any(|state| ends_with(word, state));
    let mut follows_state = false;
    words.any(|word| {
        let is_verb = || !NO_VERBS.iter().any(|it| word.eq_ignore_ascii_case(it));
        let is_ongoing =
            follows_state && SHORTEST_VERB <= word.len() && ends_with(word, "ing") && is_verb();
        follows_state = is_state(word);
        is_ongoing
    })
}

/// Returns true if a short text is one statement with a verb in `-ed` and no negation, as in
/// `Target reached within the tolerance`.
fn reports_past_action(text: &str) -> bool {
    let mut has_verb = false;
    let is_statement = text.split(|c: char| !(c.is_alphanumeric() || c == '\'')).all(|word| {
        let is_negation =
            word.ends_with("n't") || NEGATIONS.iter().any(|it| word.eq_ignore_ascii_case(it));
        has_verb |= SHORTEST_VERB <= word.len() && word.ends_with("ed");
        !is_negation
    });
    text.len() <= LONGEST_STATEMENT && !text.contains(['\n', ':']) && is_statement && has_verb
}

/// The longest statement, in bytes, that can confirm an action by its form alone.
const LONGEST_STATEMENT: usize = 80;
/// The fewest letters of a verb in `-ing` or `-ed`: `need` and `king` are none.
const SHORTEST_VERB: usize = 5;
/// Words in `-ing` that are no verbs of work that goes on.
const NO_VERBS: &[&str] = &[
    "anything",
    "during",
    "everything",
    "existing",
    "missing",
    "nothing",
    "something",
    "string",
    "warning",
];
const NEGATIONS: &[&str] = &["no", "not", "never", "nothing", "none", "without"];
