//! The phrases that decide the class of a result.

use std::{ops::Range, sync::LazyLock};

use aho_corasick::AhoCorasick;

/// A meaning of a phrase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// A command printed nothing.
    Silent,
    /// A command runs in the background.
    InBackground,
    /// There are no problems.
    Clean,
    /// The work is not finished.
    Unfinished,
    /// An action is confirmed.
    Confirmation,
    /// Something failed, so the result is no confirmation.
    Error,
    /// A service is overloaded or unavailable.
    Outage,
    /// A status follows.
    Status,
    /// The status code of an outage.
    OutageStatus,
    /// A service did not respond in time.
    Timeout,
    /// The connection to a service failed.
    Connection,
    /// The name of a state follows.
    State,
}

/// The meanings of the phrases in a text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Meanings(u16);

/// Phrases that count anywhere in a text.
const PHRASES: &[(Meaning, &[&str])] = &[
    (Meaning::Silent, SILENT),
    (Meaning::InBackground, IN_BACKGROUND),
    (Meaning::Clean, CLEAN),
    (Meaning::Unfinished, UNFINISHED_PHRASES),
    (Meaning::Error, ERRORS),
    (Meaning::Outage, OUTAGES),
    (Meaning::Status, STATUS),
    (Meaning::Timeout, TIMEOUTS),
    (Meaning::Connection, CONNECTIONS),
    (Meaning::State, STATES),
];
/// Words that count where no letter, digit or underscore is beside them.
const WORDS: &[(Meaning, &[&str])] = &[
    (Meaning::Unfinished, UNFINISHED),
    (Meaning::Confirmation, CONFIRMATIONS),
    (Meaning::OutageStatus, OUTAGE_STATUS),
];

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
    "awaiting",
    "building",
    "compiling",
    "containercreating",
    "creating",
    "deploying",
    "downloading",
    "initializing",
    "inprogress",
    "installing",
    "ongoing",
    "pending",
    "preparing",
    "processing",
    "progressing",
    "provisioning",
    "queued",
    "running",
    "scheduled",
    "starting",
    "still",
    "underway",
    "uploading",
    "waiting",
];
const UNFINISHED_PHRASES: &[&str] = &[
    "in progress",
    "in_progress",
    "in flight",
    "in queue",
    "in the queue",
    "incomplete",
    "insufficient_data",
    "not finished",
    "not ready",
    "not started",
    "not yet",
    "on hold",
    "on_hold",
    "setting up",
    "setting_up",
    "starting up",
];
/// Words before the name of a state, as in `phase: Planning`.
pub(super) const STATES: &[&str] = &["phase", "stage", "state", "status"];
/// Words that confirm an action.
const CONFIRMATIONS: &[&str] = &[
    "accepted",
    "acknowledged",
    "added",
    "adjusted",
    "appended",
    "applied",
    "approved",
    "archived",
    "assigned",
    "associated",
    "attached",
    "booked",
    "canceled",
    "cancelled",
    "changed",
    "checked",
    "clean",
    "cleared",
    "clicked",
    "closed",
    "committed",
    "complete",
    "completed",
    "configured",
    "connected",
    "copied",
    "created",
    "deleted",
    "delivered",
    "disabled",
    "dismissed",
    "done",
    "dragged",
    "dropped",
    "edited",
    "enabled",
    "executed",
    "exported",
    "filled",
    "finished",
    "focused",
    "forwarded",
    "granted",
    "hovered",
    "imported",
    "inserted",
    "installed",
    "invited",
    "joined",
    "launched",
    "linked",
    "locked",
    "marked",
    "merged",
    "modified",
    "moved",
    "muted",
    "navigated",
    "notified",
    "ok",
    "opened",
    "passed",
    "performed",
    "pinned",
    "placed",
    "played",
    "posted",
    "pressed",
    "processed",
    "published",
    "pushed",
    "reached",
    "received",
    "recorded",
    "refreshed",
    "registered",
    "released",
    "removed",
    "renamed",
    "replaced",
    "replied",
    "reset",
    "resized",
    "resolved",
    "restored",
    "resumed",
    "rotated",
    "satisfied",
    "saved",
    "scrolled",
    "selected",
    "sent",
    "set",
    "shared",
    "started",
    "stopped",
    "stored",
    "submitted",
    "subscribed",
    "success",
    "successful",
    "successfully",
    "swiped",
    "synced",
    "tagged",
    "tapped",
    "toggled",
    "transferred",
    "transitioned",
    "triggered",
    "turned",
    "typed",
    "unlocked",
    "updated",
    "uploaded",
    "verified",
    "written",
    "wrote",
];
/// Phrases after which a result is no confirmation.
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
    "upstream connect error",
    "no healthy upstream",
];
const TIMEOUTS: &[&str] = &["timed out", "timeout"];
/// Phrases in the error of a harness that cannot reach its provider.
const CONNECTIONS: &[&str] =
    &["high demand", "server error", "server_error", "connection", "connect error", "disconnected"];
/// Status codes of an outage, if one of `STATUS` is in the same text.
const OUTAGE_STATUS: &[&str] = &["429", "500", "502", "503", "504", "529"];
const STATUS: &[&str] = &["http", "status", "api error"];

/// Finds all phrases and words in one pass.
struct Matcher {
    automaton: AhoCorasick,
    /// The meaning of each pattern, and whether it is a word.
    patterns: Vec<(Meaning, bool)>,
}

static MATCHER: LazyLock<Matcher> = LazyLock::new(|| {
    let of = |table: &'static [(Meaning, &[&str])], is_word| {
        let patterns =
            table.iter().flat_map(|(meaning, texts)| texts.iter().map(|it| (*meaning, *it)));
        patterns.map(move |(meaning, text)| (text, (meaning, is_word)))
    };
    let (texts, patterns): (Vec<&str>, _) = of(PHRASES, false).chain(of(WORDS, true)).unzip();
    let automaton = AhoCorasick::builder().ascii_case_insensitive(true).build(texts);
    Matcher { automaton: automaton.expect("the patterns are few and short"), patterns }
});

impl Meanings {
    /// Returns the meanings of all phrases in a text. The case of letters is ignored.
    pub(crate) fn of(text: &str) -> Self {
        let Matcher { automaton, patterns } = &*MATCHER;
        let mut found = Self::default();
        for matched in automaton.find_overlapping_iter(text) {
            let (meaning, is_word) = patterns[matched.pattern()];
            if !found.has(meaning) && (!is_word || stands_alone(text, matched.range())) {
                found.0 |= 1 << meaning as u16;
            }
        }
        found
    }

    pub(crate) fn has(self, meaning: Meaning) -> bool {
        self.0 & 1 << meaning as u16 != 0
    }
}

fn stands_alone(text: &str, word: Range<usize>) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    let (before, after) = (text[..word.start].chars().next_back(), text[word.end..].chars().next());
    !before.is_some_and(is_part) && !after.is_some_and(is_part)
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*, sample::select};

    use super::{Meanings, PHRASES, WORDS};

    proptest! {
        /// The matcher finds the same as a search for each phrase.
        #[test]
        fn finds_the_same_as_a_naive_search(
            parts in vec(
                prop_oneof![
                    select(PHRASES.iter().chain(WORDS).flat_map(|(_, it)| *it).copied().collect::<Vec<_>>())
                        .prop_map(str::to_owned),
                    "[ _.aEé0]{0,3}",
                ],
                0..8,
            ),
        ) {
            let text = parts.concat();
            let lower = text.to_ascii_lowercase();
            let words: Vec<&str> =
                lower.split(|c: char| !(c.is_alphanumeric() || c == '_')).collect();
            for (meaning, _) in PHRASES.iter().chain(WORDS) {
                let of = |table: &[(_, &[&'static str])]| -> Vec<&'static str> {
                    let rows = table.iter().filter(|(other, _)| other == meaning);
                    rows.flat_map(|(_, texts)| *texts).copied().collect()
                };
                let has_phrase = of(PHRASES).iter().any(|phrase| lower.contains(phrase));
                let has_word = of(WORDS).iter().any(|word| words.contains(word));
                prop_assert_eq!(Meanings::of(&text).has(*meaning), has_phrase || has_word, "{:?} {}", meaning, text);
            }
        }
    }
}
