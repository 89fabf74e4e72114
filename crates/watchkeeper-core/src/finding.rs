use std::{collections::BTreeMap, fmt, num::NonZeroU64, sync::Arc};

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::{AgentId, Fingerprint, Origin, SessionId, Severity, event::EVENT_NAMES};

/// Labels of findings, by name.
pub type Labels = Arc<BTreeMap<String, String>>;

/// The report of a condition that a detector found.
///
/// A lasting condition is reported once with the status `open`, again whenever its severity
/// rises, and once with the status `resolved` when it ends. These findings have the same
/// `fingerprint`.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Finding {
    /// A hash of the cause. The same events under the same policy give the same id.
    #[schemars(with = "String")]
    pub id: Fingerprint,
    /// The time at which the condition became true, which may precede its detection.
    #[schemars(with = "String")]
    pub at: Timestamp,
    /// The name of the detector in the policy.
    pub detector: Arc<str>,
    /// The kind of the detector.
    pub kind: Arc<str>,
    /// The category of the problem: `timeout`, `runaway`, `budget`, `error`, or a category
    /// defined by an in-house detector.
    pub class: Arc<str>,
    /// The importance.
    pub severity: Severity,
    /// Whether the condition persists.
    pub status: Status,
    /// The number of occurrences so far.
    pub count: u64,
    /// The session in which the condition holds; empty for findings about the monitor itself.
    #[schemars(with = "String")]
    pub session: SessionId,
    /// The sub-agent in which the condition holds; `None` for the main agent.
    #[schemars(with = "Option<String>")]
    pub agent: Option<AgentId>,
    /// The kind of source that read the session.
    pub source: Option<&'static str>,
    /// A hash of detector, session and subject, which identifies the condition.
    #[schemars(with = "String")]
    pub fingerprint: Fingerprint,
    /// The labels of the policy and of the session.
    #[schemars(with = "BTreeMap<String, String>")]
    pub labels: Labels,
    /// A one-line description for people: no full stop, safe for a terminal.
    pub message: String,
    /// The facts of the message, for programs.
    pub data: Map<String, Value>,
    /// The events that caused the finding, oldest first.
    pub evidence: Vec<Evidence>,
}

/// The state of the condition that a finding reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// The condition holds.
    Open,
    /// The condition has ended.
    Resolved,
}

/// The location of an event that contributed to a finding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Evidence {
    /// The file; `None` for an event recorded in memory.
    #[schemars(with = "Option<String>")]
    pub file: Option<Arc<str>>,
    /// The line number, counted from 1.
    pub line: Option<u64>,
    /// The name of the event.
    pub event: &'static str,
}

impl Evidence {
    /// Creates the evidence for an event with this origin and name.
    pub fn new(origin: Option<&Origin>, event: &'static str) -> Self {
        Self { file: origin.map(|it| it.file.clone()), line: origin.map(|it| it.line), event }
    }
}

/// The location of an event in 24 bytes, a third of an optional [`Origin`], for detectors to
/// store.
///
/// [`evidence`](Self::evidence) converts it for a report.
#[derive(PartialEq, Eq)]
pub struct Place {
    file: Option<Arc<str>>,
    /// Line number << 8 | index of the event name, plus 1.
    line_and_event: NonZeroU64,
}

impl Place {
    pub(crate) fn new(origin: Option<&Origin>, name_idx: u8) -> Self {
        Self {
            file: origin.map(|it| it.file.clone()),
            line_and_event: Self::packed(origin, name_idx),
        }
    }

    /// Moves to another event. Cheaper than a new value if the file is the same, as its
    /// reference count stays untouched.
    pub(crate) fn move_to(&mut self, origin: Option<&Origin>, name_idx: u8) {
        self.move_into(origin.map(|it| &it.file));
        self.line_and_event = Self::packed(origin, name_idx);
    }

    fn move_into(&mut self, file: Option<&Arc<str>>) {
        let is_same_file = match (&self.file, file) {
            (Some(file), Some(other)) => Arc::ptr_eq(file, other),
            (file, other) => file.is_none() && other.is_none(),
        };
        if !is_same_file {
            self.file = file.cloned();
        }
    }

    fn packed(origin: Option<&Origin>, name_idx: u8) -> NonZeroU64 {
        let line = origin.map_or(0, |it| it.line.min(u64::MAX >> 8));
        NonZeroU64::MIN.saturating_add((line << 8) | u64::from(name_idx))
    }

    /// Returns the location as evidence for a report.
    pub fn evidence(&self) -> Evidence {
        let packed = self.line_and_event.get() - 1;
        let name_idx = usize::from(packed.to_le_bytes()[0]);
        Evidence {
            file: self.file.clone(),
            line: self.file.is_some().then_some(packed >> 8),
            event: EVENT_NAMES[name_idx],
        }
    }
}

impl Clone for Place {
    fn clone(&self) -> Self {
        Self { file: self.file.clone(), line_and_event: self.line_and_event }
    }

    /// Leaves the reference count of the file untouched if it is the same.
    fn clone_from(&mut self, other: &Self) {
        self.move_into(other.file.as_ref());
        self.line_and_event = other.line_and_event;
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.evidence().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::{Evidence, Place};
    use crate::{Event, EventKind, Origin, Timestamp};

    #[test]
    fn converts_to_the_evidence_of_its_event() {
        for line in [0, 1, 402, u64::from(u32::MAX) + 1, u64::MAX >> 8] {
            let origin = Origin { source: "x", file: "a.jsonl".into(), line };
            let mut moved = Place::new(None, 0);
            let mut cloned = moved.clone();
            for kind in [EventKind::TurnEnd, EventKind::SessionEnd { reason: None }] {
                let mut event = Event::new(Timestamp::UNIX_EPOCH, "s", kind);
                let elsewhere = Origin { file: "b.jsonl".into(), ..origin.clone() };
                for origin in [None, Some(origin.clone()), Some(elsewhere)] {
                    event.origin = origin;
                    let place = Place::new(event.origin.as_ref(), event.kind.name_idx());
                    let evidence = Evidence::new(event.origin.as_ref(), event.kind.name());
                    assert_eq!(place.evidence(), evidence);
                    moved.move_to(event.origin.as_ref(), event.kind.name_idx());
                    cloned.clone_from(&place);
                    assert_eq!((&moved, &cloned), (&place, &place));
                }
            }
        }
    }

    #[test]
    fn takes_24_bytes_with_or_without_option() {
        assert_eq!((size_of::<Place>(), size_of::<Option<Place>>()), (24, 24));
    }
}
