use std::{collections::BTreeMap, fmt, num::NonZeroU64, sync::Arc};

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::{AgentId, Fingerprint, Origin, SessionId, Severity, event::EVENT_NAMES};

/// Labels of findings, by name.
pub type Labels = Arc<BTreeMap<String, String>>;

/// What a detector found, and where.
///
/// One lasting condition makes one finding with the status `open`, one more
/// for each higher severity it reaches, and one with the status `resolved`
/// when it ends. All of them share their `fingerprint`.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Finding {
    /// A hash of what caused it: equal whenever the same events are read under
    /// the same policy.
    #[schemars(with = "String")]
    pub id: Fingerprint,
    /// When the condition became true, not when it was noticed.
    #[schemars(with = "String")]
    pub at: Timestamp,
    /// The name of the detector in the policy.
    pub detector: Arc<str>,
    /// The kind of the detector.
    pub kind: Arc<str>,
    /// What sort of trouble it is: `timeout`, `runaway`, `budget`, `error`, or
    /// a team's own.
    pub class: Arc<str>,
    /// How much it matters.
    pub severity: Severity,
    /// Whether the condition lasts.
    pub status: Status,
    /// How often it happened so far.
    pub count: u64,
    /// The session it is about; empty for findings about the monitor itself.
    #[schemars(with = "String")]
    pub session: SessionId,
    /// The sub-agent it is about.
    #[schemars(with = "Option<String>")]
    pub agent: Option<AgentId>,
    /// The kind of source the session came from.
    pub source: Option<&'static str>,
    /// What makes two findings the same: detector, session and subject.
    #[schemars(with = "String")]
    pub fingerprint: Fingerprint,
    /// The labels of the policy and of the session.
    #[schemars(with = "BTreeMap<String, String>")]
    pub labels: Labels,
    /// One line for a person: no full stop, safe for a terminal.
    pub message: String,
    /// The facts behind the message, for programs.
    pub data: Map<String, Value>,
    /// Where to look, oldest first.
    pub evidence: Vec<Evidence>,
}

/// Whether the condition that a finding is about lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// It lasts.
    Open,
    /// It has ended.
    Resolved,
}

/// A place that shows what a finding says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Evidence {
    /// The file; `None` for an event that was recorded in memory.
    #[schemars(with = "Option<String>")]
    pub file: Option<Arc<str>>,
    /// The line, counted from 1.
    pub line: Option<u64>,
    /// The name of the event there.
    pub event: &'static str,
}

impl Evidence {
    /// Points at an event.
    pub fn new(origin: Option<&Origin>, event: &'static str) -> Self {
        Self { file: origin.map(|it| it.file.clone()), line: origin.map(|it| it.line), event }
    }
}

/// Where an event was read, in a third of the room that an optional
/// [`Origin`] takes: what a detector keeps until it has something to say.
///
/// Becomes [`Evidence`] when it does.
#[derive(PartialEq, Eq)]
pub struct Place {
    file: Option<Arc<str>>,
    /// The line, and in the lowest byte which event it is, counted from 1.
    line_and_event: NonZeroU64,
}

impl Place {
    pub(crate) fn new(origin: Option<&Origin>, name_idx: u8) -> Self {
        Self {
            file: origin.map(|it| it.file.clone()),
            line_and_event: Self::packed(origin, name_idx),
        }
    }

    /// Moves it. To keep the name of a file costs less than to take it again.
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

    /// Points there.
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

    /// To keep the name of a file costs less than to take it again.
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
    fn a_place_becomes_the_evidence_that_it_stands_for() {
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
    fn no_place_takes_no_more_room() {
        assert_eq!((size_of::<Place>(), size_of::<Option<Place>>()), (24, 24));
    }
}
