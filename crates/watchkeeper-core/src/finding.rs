use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
};

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::{Map, Value};

use crate::{
    Action, AgentId, Annotations, Fingerprint, Origin, SessionId, Severity,
    event::{EVENT_NAMES, limits::safe_path},
    period::{known_time, untimed},
    redact::REDACTED,
};

/// Labels of findings, by name.
pub type Labels = Arc<BTreeMap<String, String>>;

/// The name of a kind of source: an alias, since serde would borrow a `&'static str` from the
/// text that it reads.
type SourceName = &'static str;

/// The kind of findings about the monitor itself.
const MONITOR_KIND: &str = "watchkeeper";

/// The report of a condition that a detector found.
///
/// A lasting condition is reported once with the status `open`, again whenever its severity
/// rises, and once with the status `resolved` when it ends. These findings have the same
/// `fingerprint`.
///
/// Detectors that report the same problem share one finding. A finding that `replaces` another
/// detector explains the problem better: it is an update of the finding with the same
/// `fingerprint`.
///
/// The JSON of a finding can be read again, as a ledger of deliveries does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[non_exhaustive]
pub struct Finding {
    /// A hash of the condition, of the lines of the evidence (of the time, if there are none),
    /// and of severity and status. The same events under the same policy give the same id,
    /// whatever the name of their file, unless each event has a file of its own.
    #[schemars(with = "String")]
    pub id: Fingerprint,
    /// The time at which the condition became true, which may precede its detection.
    /// JSON has `null` for a session without times.
    #[serde(serialize_with = "known", deserialize_with = "known_or_untimed")]
    #[schemars(with = "Option<String>")]
    pub at: Timestamp,
    /// The name of the detector in the policy.
    pub detector: Arc<str>,
    /// The detector of the previous finding with this fingerprint, if it was another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaces: Option<Arc<str>>,
    /// The kind of the detector.
    pub kind: Arc<str>,
    /// The category of the problem: `timeout`, `runaway`, `budget`, `error`, or a category
    /// defined by an in-house detector.
    pub class: Arc<str>,
    /// The importance.
    pub severity: Severity,
    /// The reaction that the policy suggests for this detector and severity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<Action>,
    /// Whether the condition persists.
    pub status: Status,
    /// The condition is not known to have ended, but is no longer observed: its detector, its
    /// level or its session is gone. If the condition is observed again, it is reported again.
    #[serde(default, skip_serializing_if = "is_false")]
    pub withdrawn: bool,
    /// An earlier monitor has observed the events that caused the finding. For a ledger, its id
    /// alone identifies it: the clock of the session may be ahead, so that the time may be another
    /// one than in the earlier process. Not part of the JSON.
    #[serde(skip)]
    pub was_observed: bool,
    /// The number of occurrences so far.
    pub count: u64,
    /// The session in which the condition holds; empty for findings about the monitor itself.
    #[schemars(with = "String")]
    pub session: SessionId,
    /// The sub-agent in which the condition holds; `None` for the main agent.
    #[schemars(with = "Option<String>")]
    pub agent: Option<AgentId>,
    /// The kind of source that read the session.
    #[serde(deserialize_with = "source_name")]
    pub source: Option<SourceName>,
    /// A hash of detector, session and subject, which identifies the condition; of the
    /// detector that opened the finding, if another one replaced it.
    #[schemars(with = "String")]
    pub fingerprint: Fingerprint,
    /// The labels of the policy and of the session.
    #[schemars(with = "BTreeMap<String, String>")]
    pub labels: Labels,
    /// The texts of the policy about the detector.
    #[serde(default, skip_serializing_if = "is_empty")]
    pub annotations: Arc<Annotations>,
    /// A one-line description for people: no full stop, safe for a terminal.
    pub message: String,
    /// The facts of the message, for programs.
    pub data: Map<String, Value>,
    /// The events that caused the finding, oldest first.
    pub evidence: Vec<Evidence>,
    /// The silence that hides the finding from sinks. Only queues
    /// [with silenced findings](crate::embed::Queue::with_silenced) receive such a finding, and
    /// its JSON does not contain it.
    #[serde(skip)]
    pub silenced: Option<Arc<Silenced>>,
}

/// A silence that hides a finding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Silenced {
    /// The id of the silence.
    pub id: String,
    /// The time from which findings are sent again.
    #[schemars(with = "String")]
    pub until: Timestamp,
    /// The person who is responsible.
    pub author: String,
    /// The reason.
    pub reason: String,
}

/// The state of the condition that a finding reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// The condition holds.
    Open,
    /// The condition has ended.
    Resolved,
}

impl Status {
    /// Returns the name used in findings.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Resolved => "resolved",
        }
    }
}

/// The location of an event that contributed to a finding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct Evidence {
    /// The file; `None` for an event recorded in memory. A token in its path is replaced by
    /// `[redacted]`, and a hash follows.
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
        let file = origin.map(|origin| safe_path(&origin.file));
        Self { file, line: origin.map(|it| it.line), event }
    }

    /// Returns whether a token in the path was replaced, so that no file has this path.
    pub fn has_redacted_path(&self) -> bool {
        self.file.as_ref().is_some_and(|file| file.contains(REDACTED))
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
const fn is_false(value: &bool) -> bool {
    !*value
}

fn is_empty(annotations: &Annotations) -> bool {
    annotations.is_empty()
}

/// Serializes a time; see [`known_time`].
fn known<S: Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    known_time(*at).serialize(serializer)
}

fn known_or_untimed<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
    let at = Option::<Timestamp>::deserialize(deserializer)?;
    Ok(at.unwrap_or_else(|| untimed(0)))
}

// Derived, it would borrow the name of the event from the text that it reads.
impl<'de> Deserialize<'de> for Evidence {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Stored {
            file: Option<Arc<str>>,
            line: Option<u64>,
            event: String,
        }

        let Stored { file, line, event } = Stored::deserialize(deserializer)?;
        let known = EVENT_NAMES.into_iter().find(|name| *name == event);
        let event = known.ok_or_else(|| de::Error::custom("unknown name of an event"))?;
        Ok(Self { file, line, event })
    }
}

/// Returns the name of a kind of source. The names of all linked sources are few; each
/// name that is read is kept until the process ends.
fn source_name<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<&'static str>, D::Error> {
    const MAX_NAMES: usize = 256;
    static NAMES: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());
    let Some(name) = Option::<String>::deserialize(deserializer)? else { return Ok(None) };
    let mut names = NAMES.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = names.get(&*name) {
        return Ok(Some(known));
    }
    if names.len() == MAX_NAMES {
        return Err(de::Error::custom("too many names of sources"));
    }
    let name: &'static str = name.leak();
    names.insert(name);
    Ok(Some(name))
}

impl Finding {
    /// Creates an open finding of a detector about a session, as a test of a sink
    /// needs it.
    ///
    /// The count is 1, kind and class are empty, and there is no data or evidence;
    /// set these fields afterwards. Id and fingerprint are hashes of the arguments.
    pub fn new(
        at: Timestamp,
        detector: &str,
        session: impl Into<SessionId>,
        severity: Severity,
        message: impl Into<String>,
    ) -> Self {
        let session = session.into();
        let fingerprint = Fingerprint::of(detector).and(Fingerprint::of(session.as_str()));
        Self {
            id: finding_id(fingerprint, cause_at(at), severity, Status::Open),
            at,
            detector: detector.into(),
            replaces: None,
            kind: "".into(),
            class: "".into(),
            severity,
            action: None,
            status: Status::Open,
            withdrawn: false,
            was_observed: false,
            count: 1,
            session,
            agent: None,
            source: None,
            fingerprint,
            labels: Labels::default(),
            annotations: Arc::default(),
            message: message.into(),
            data: Map::new(),
            evidence: Vec::new(),
            silenced: None,
        }
    }

    /// Makes a finding of class `error` about the monitor itself.
    ///
    /// `part` names the part of the monitor. The detector is `watchkeeper-PART`.
    pub fn about_monitor(
        at: Timestamp,
        part: &str,
        severity: Severity,
        message: impl Into<String>,
    ) -> Self {
        let fingerprint = Fingerprint::of(MONITOR_KIND).and(Fingerprint::of(part));
        Self {
            id: finding_id(fingerprint, cause_at(at), severity, Status::Open),
            kind: MONITOR_KIND.into(),
            class: "error".into(),
            fingerprint,
            ..Self::new(at, &format!("watchkeeper-{part}"), "", severity, message)
        }
    }

    /// Makes the end of an open finding, with an id that belongs to this finding.
    pub fn end(self, at: Timestamp, message: impl Into<String>) -> Self {
        let (severity, status) = (Severity::Low, Status::Resolved);
        Self {
            id: finding_id(self.fingerprint, self.id, severity, status),
            at,
            replaces: None,
            severity,
            action: None,
            status,
            message: message.into(),
            data: Map::new(),
            evidence: Vec::new(),
            ..self
        }
    }

    /// Turns the end of a finding into one of a condition that is no longer
    /// [observed](Self::withdrawn). It has another id than the end of the condition, which may
    /// follow.
    #[must_use]
    pub fn as_withdrawn(self) -> Self {
        Self { id: self.id.and(Fingerprint::of("withdrawn")), withdrawn: true, ..self }
    }

    /// Returns whether the finding is one of [`about_monitor`](Self::about_monitor).
    pub fn is_about_monitor(&self) -> bool {
        &*self.kind == MONITOR_KIND
    }
}

/// Returns the id of a finding: a hash of its condition, its [cause](cause_of), and the step
/// of the episode.
pub(crate) fn finding_id(
    fingerprint: Fingerprint,
    cause: Fingerprint,
    severity: Severity,
    status: Status,
) -> Fingerprint {
    let step = match status {
        Status::Open => severity as u64,
        Status::Resolved => u64::MAX,
    };
    fingerprint.and(cause).and(Fingerprint::from(step))
}

/// Returns a hash of the session, the agent and the lines of the evidence or, without lines, of
/// the time.
///
/// The lines of a file do not change. The times of its events may: a line that is followed
/// gets the time of its arrival if the clock of the agent is slow, and the time in the file
/// when the file is read again. The name of the file may change too, and is replaced by session
/// and agent. But if all evidence is in the first lines of files, each event may have a file of
/// its own: then only the names of the files, without their folders, distinguish the events.
pub(crate) fn cause_of(
    (session, agent): (&SessionId, Option<&AgentId>),
    evidence: &[Evidence],
    at: Timestamp,
) -> Fingerprint {
    let stream = || {
        let agent = agent.map_or(Fingerprint::NONE, |agent| Fingerprint::of(agent.as_str()));
        Fingerprint::of(session.as_str()).and(agent)
    };
    let has_names = evidence.iter().all(|evidence| evidence.line.is_none_or(|line| line == 1));
    let place = |evidence: &Evidence| {
        let line = Fingerprint::from(evidence.line?);
        let file = evidence.file.as_deref().filter(|_| has_names);
        let name = file.and_then(|file| file.rsplit(['/', '\\']).next());
        Some(name.map_or(line, |name| line.and(Fingerprint::of(name))))
    };
    let places = evidence.iter().filter_map(place).reduce(Fingerprint::and);
    places.map_or_else(|| cause_at(at), |places| places.and(stream()))
}

/// Returns the cause of a finding without lines.
pub(crate) fn cause_at(at: Timestamp) -> Fingerprint {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a hash does not need all bits of the time"
    )]
    let at = at.as_nanosecond() as u64;
    Fingerprint::from(at)
}

/// Returns an open finding with a value in each field that routes match.
#[cfg(test)]
pub(crate) fn sample(at: Timestamp, severity: Severity) -> Finding {
    let tags = ["loop", "owner:sre"].map(|tag| tag.parse().expect("it is a tag"));
    Finding {
        labels: Arc::new(BTreeMap::from([("team".to_owned(), "payments".to_owned())])),
        annotations: Arc::new(Annotations { tags: tags.into(), ..Annotations::default() }),
        detector: "repeated_call".into(),
        kind: "repeat-tool-call".into(),
        class: "runaway".into(),
        session: "s1".into(),
        agent: Some("helper".into()),
        source: Some("claude-code"),
        ..Finding::about_monitor(at, "test", severity, "")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use jiff::Timestamp;

    use super::{Evidence, cause_of};
    use crate::{Fingerprint, Origin, SessionId};

    fn cause(places: &[(&str, u64)]) -> Fingerprint {
        let evidence = |(file, line): &(&str, u64)| {
            let origin = Origin { source: "test", file: Arc::from(*file), line: *line };
            Evidence::new(Some(&origin), "message")
        };
        let evidence: Vec<Evidence> = places.iter().map(evidence).collect();
        cause_of((&SessionId::from("s1"), None), &evidence, Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn the_name_of_a_file_with_many_events_has_no_effect() {
        assert_eq!(cause(&[("a/s1", 1), ("a/s1", 4)]), cause(&[("b/s2", 1), ("b/s2", 4)]));
        assert_ne!(cause(&[("a/s1", 1), ("a/s1", 4)]), cause(&[("a/s1", 1), ("a/s1", 5)]));
    }

    #[test]
    fn episodes_in_files_of_one_event_have_different_causes() {
        let first = cause(&[("a/1.json", 1), ("a/2.json", 1)]);
        assert_ne!(first, cause(&[("a/3.json", 1), ("a/4.json", 1)]));
        assert_eq!(first, cause(&[("b/1.json", 1), ("b/2.json", 1)]), "a renamed folder");
    }

    #[test]
    fn a_token_in_the_name_of_a_file_is_redacted() {
        let evidence = |token: char| {
            let file = format!("/s/ghp_{}.jsonl", token.to_string().repeat(36)).into();
            Evidence::new(Some(&Origin { source: "test", file, line: 1 }), "message").file.unwrap()
        };
        assert!(evidence('1').starts_with("/s/[redacted].jsonl#"), "{}", evidence('1'));
        assert_ne!(evidence('1'), evidence('2'));
    }
}
