//! The phrases that decide the class of a result.

use std::{ops::Range, sync::LazyLock};

use memchr::memchr2_iter;

use crate::phrase_set::PhraseSet;

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
    /// Something failed, so the result is no confirmation.
    Error,
    /// A service is overloaded or unavailable.
    Outage,
    /// A status follows.
    Status,
    /// A service did not respond in time.
    Timeout,
    /// The connection to a service failed.
    Connection,
    /// The name of a state follows.
    State,
    /// An action is confirmed.
    Confirmation,
}

/// The meanings of the phrases in a text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Meanings(u16);

/// The places in a text where a phrase counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Anywhere,
    /// Where no word or number continues: `0 errors`, but not `20 errors` or `1.0 errors`.
    Start,
    /// Where no letter, digit or underscore is beside the phrase.
    Word,
    /// At the start of the text, or after a key or a noun that has a state: `Running`,
    /// `"status": "running"`, `build 12 is still running`.
    State,
}

const PHRASES: &[(Meaning, Place, &[&str])] = &[
    (Meaning::Silent, Place::Start, SILENT),
    (Meaning::InBackground, Place::Anywhere, IN_BACKGROUND),
    (Meaning::Clean, Place::Start, CLEAN),
    (Meaning::Unfinished, Place::State, UNFINISHED),
    (Meaning::Error, Place::Anywhere, ERRORS),
    (Meaning::Outage, Place::Anywhere, OUTAGES),
    (Meaning::Status, Place::Anywhere, STATUS),
    (Meaning::Timeout, Place::Anywhere, TIMEOUTS),
    (Meaning::Connection, Place::Anywhere, CONNECTIONS),
    (Meaning::State, Place::Anywhere, STATES),
    (Meaning::Confirmation, Place::Word, CONFIRMATIONS),
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
    "in flight",
    "in progress",
    "in queue",
    "in the queue",
    "in_progress",
    "incomplete",
    "initializing",
    "inprogress",
    "insufficient_data",
    "installing",
    "not finished",
    "not ready",
    "not started",
    "not yet",
    "on hold",
    "on_hold",
    "ongoing",
    "pending",
    "preparing",
    "processing",
    "progressing",
    "provisioning",
    "queued",
    "running",
    "scheduled",
    "setting up",
    "setting_up",
    "starting",
    "starting up",
    "underway",
    "uploading",
    "waiting",
];
/// Words before the name of a state, as in `phase: Planning`.
pub(super) const STATES: &[&str] = &["phase", "progress", "stage", "state", "status"];
/// The ends of keys, and the nouns, before a state.
const HAVE_STATE: &[&str] = &[
    "build",
    "container",
    "deployment",
    "execution",
    "job",
    "operation",
    "phase",
    "pipeline",
    "pod",
    "process",
    "progress",
    "rollout",
    "run",
    "stage",
    "state",
    "status",
    "task",
    "update",
    "upload",
    "workflow",
];
/// Words between a noun and its state.
const LINKS: &[&str] = &["are", "currently", "is", "now", "still"];
/// Words that confirm an action, sorted.
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
const SHORT_CONFIRMATIONS: &[&str] = &["ok", "set"];
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
const STATUS: &[&str] = &["http", "status", "api error", "returned error"];

static MATCHER: LazyLock<PhraseSet<(Meaning, Place)>> = LazyLock::new(|| {
    let rows = PHRASES.iter().flat_map(|(meaning, place, texts)| {
        texts.iter().map(move |text| (*text, (*meaning, *place)))
    });
    PhraseSet::new(rows)
});

impl Meanings {
    /// Returns the meanings of all phrases in a text. The case of letters is ignored.
    pub(crate) fn of(text: &str) -> Self {
        let mut found = Self::default();
        for (range, (meaning, place)) in MATCHER.find(text) {
            if !found.has(meaning) && place.contains(text, range) {
                found.0 |= 1 << meaning as u16;
            }
        }
        found
    }

    pub(crate) fn has(self, meaning: Meaning) -> bool {
        self.0 & 1 << meaning as u16 != 0
    }
}

/// Returns true if a text contains one of the short words that confirm an action.
pub(super) fn has_short_confirmation(text: &str) -> bool {
    SHORT_CONFIRMATIONS.iter().any(|word| has_word(text, word))
}

/// Returns true if a text contains the status code of an outage.
pub(super) fn has_outage_status(text: &str) -> bool {
    OUTAGE_STATUS.iter().any(|code| has_word(text, code))
}

/// Returns true if a text contains a word. The case of ASCII letters is ignored.
fn has_word(text: &str, word: &str) -> bool {
    let [.., last] = word.as_bytes() else { return false };
    let mut ends = memchr2_iter(*last, last.to_ascii_uppercase(), text.as_bytes());
    ends.any(|at| {
        let Some(start) = (at + 1).checked_sub(word.len()) else { return false };
        let found = &text.as_bytes()[start..=at];
        found.eq_ignore_ascii_case(word.as_bytes()) && Place::Word.contains(text, start..at + 1)
    })
}

fn is_part_of_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

impl Place {
    /// Returns true if a phrase counts at this place of a text.
    fn contains(self, text: &str, phrase: Range<usize>) -> bool {
        let is_part = is_part_of_word;
        let (before, after) = (&text[..phrase.start], &text[phrase.end..]);
        let stands_alone = || !before.ends_with(is_part) && !after.starts_with(is_part);
        match self {
            Self::Anywhere => true,
            Self::Start => {
                let number = before.trim_end_matches(['.', ',']);
                !before.ends_with(is_part) && !number.ends_with(|c: char| c.is_ascii_digit())
            }
            Self::Word => stands_alone(),
            Self::State => {
                // `CREATE_IN_PROGRESS` is one word.
                let is_joined = before.ends_with('_');
                let state = if is_joined { before.trim_end_matches(is_part) } else { before };
                !before.ends_with(char::is_alphanumeric)
                    && !after.starts_with(is_part)
                    && !after.starts_with("\":")
                    && has_state(state)
            }
        }
    }
}

/// Returns true if a state may follow a text: the text is empty, or ends in a key or a noun
/// that has a state.
fn has_state(text: &str) -> bool {
    let separates = |c: char| c.is_whitespace() || "\"'`:=*(-#_".contains(c);
    let is_part = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-');
    let mut may_be_id = true;
    let mut text = text;
    loop {
        if !text.contains(char::is_alphanumeric) {
            return true;
        }
        text = text.trim_end_matches(separates);
        let before = text.trim_end_matches(is_part);
        let word = text[before.len()..].to_ascii_lowercase();
        // `build-12`
        let noun = word.trim_end_matches(|c: char| c.is_ascii_digit() || c == '-');
        if HAVE_STATE.iter().any(|it| noun.ends_with(it)) {
            return true;
        }
        let is_id = may_be_id && word.contains(|c: char| c.is_ascii_digit());
        if !is_id && !LINKS.contains(&&*word) {
            return false;
        }
        may_be_id &= !is_id;
        text = before;
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*, sample::select};

    use super::{Meaning, Meanings, PHRASES, has_word};

    proptest! {
        #[test]
        fn finds_words_where_a_naive_search_does(
            parts in vec(prop_oneof!["ok|OK|Set|503", "[ _.,:\"aEé053]{0,2}"], 0..6),
        ) {
            let text = parts.concat();
            let words = ["ok", "set", "503"];
            for word in words {
                let mut others = text.split(|c: char| !(c.is_alphanumeric() || c == '_'));
                let is_known = others.any(|other| other.eq_ignore_ascii_case(word));
                prop_assert_eq!(has_word(&text, word), is_known, "{} {}", word, text);
            }
        }

        /// The matcher finds the same as a search for each phrase.
        #[test]
        fn finds_the_same_as_a_naive_search(
            parts in vec(
                prop_oneof![
                    select(PHRASES.iter().flat_map(|(.., texts)| *texts).copied().collect::<Vec<_>>())
                        .prop_map(str::to_owned),
                    "[ _.,:\"aEé0]{0,3}",
                    "status: |job 7 is still ",
                ],
                0..8,
            ),
        ) {
            let text = parts.concat();
            let lower = text.to_ascii_lowercase();
            let has = |meaning: Meaning| {
                PHRASES.iter().filter(|(other, ..)| *other == meaning).any(|(_, place, texts)| {
                    let counts = |phrase: &&str| {
                        let starts = (0..lower.len()).filter(|at| lower.is_char_boundary(*at));
                        let mut starts = starts.filter(|at| lower[*at..].starts_with(*phrase));
                        starts.any(|at| place.contains(&text, at..at + phrase.len()))
                    };
                    texts.iter().any(counts)
                })
            };
            for (meaning, ..) in PHRASES {
                prop_assert_eq!(Meanings::of(&text).has(*meaning), has(*meaning), "{:?} {}", meaning, text);
            }
        }
    }
}
