//! Why detectors found in one session what they found, and nothing else.

mod words;

use std::{cmp::Reverse, collections::BTreeMap, sync::Arc};

use schemars::JsonSchema;
use serde::Serialize;
use watchkeeper_core::{
    AgentId, Engine, Event, ExplanationDetail, ExplanationEntry, Fingerprint, Level, NamedDetector,
    Outcome, Registry, SessionId, Severity, SignedDuration, Timestamp, Unit,
};

use self::words::Words;
use crate::report::SessionReport;

/// What the detectors made of one session.
#[derive(Debug)]
pub(crate) struct Timeline {
    pub(crate) detectors: Vec<Watch>,
    pub(crate) entries: Vec<Entry>,
}

/// What `check --explain --format json` writes. With `ndjson` it is a line for
/// each entry of the timeline.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Explanation<'a> {
    /// The session, as in the report of `check`.
    #[schemars(with = "serde_json::Map<String, serde_json::Value>")]
    pub(crate) session: &'a SessionReport,
    /// The detectors of the policy: first those that found something, then those
    /// that came nearest to it.
    pub(crate) detectors: &'a [Watch],
    /// In order of time.
    pub(crate) timeline: &'a [Entry],
}

/// What one detector made of the session.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Watch {
    /// Its name in the policy.
    pub(crate) detector: Arc<str>,
    pub(crate) kind: Arc<str>,
    /// Whether it watches this session at all.
    pub(crate) watches: bool,
    /// The label whose sessions it watches as one.
    pub(crate) per_label: Option<String>,
    /// Why the policy told it something else about this session.
    pub(crate) overrides: Vec<String>,
    /// What its measures are.
    #[serde(rename = "measures")]
    pub(crate) unit: Unit,
    /// From what measure on a finding has which severity.
    pub(crate) levels: Vec<LevelShown>,
    #[serde(skip)]
    pub(crate) inhibited_by: Vec<Arc<str>>,
    /// The highest severity of what it found.
    pub(crate) severity: Option<Severity>,
    pub(crate) findings: u64,
    /// The most that it measured.
    pub(crate) most: Option<Most>,
    /// The longest that it waited in vain to be woken.
    pub(crate) waited: Option<Waited>,
    /// What it remarked, such as that a call is excepted, and how often.
    pub(crate) remarks: BTreeMap<String, u64>,
    /// How often it left something to another detector.
    pub(crate) inhibited: u64,
    /// It panicked, and was off from there on.
    pub(crate) panicked: bool,
}

/// A level of the policy.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
pub(crate) struct LevelShown {
    pub(crate) at: u64,
    pub(crate) severity: Severity,
}

/// The most that a detector measured.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Most {
    pub(crate) measure: u64,
    pub(crate) place: Place,
    pub(crate) message: String,
}

/// How long a detector waited to be woken.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct Waited {
    #[serde(rename = "seconds", serialize_with = "seconds")]
    #[schemars(with = "i64")]
    pub(crate) time: SignedDuration,
    /// After how long it would have been woken.
    #[serde(rename = "of_seconds", serialize_with = "seconds")]
    #[schemars(with = "i64")]
    pub(crate) of: SignedDuration,
    /// What ended the wait; without a line, the end of what was recorded.
    pub(crate) place: Place,
}

/// An event on which a detector did something, or a time at which one was woken.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Entry {
    pub(crate) place: Place,
    /// The sub-agent.
    #[schemars(with = "Option<String>")]
    pub(crate) agent: Option<AgentId>,
    /// The name of the event; `None` where nothing happened but that time passed.
    pub(crate) event: Option<&'static str>,
    /// The same for a person, in a few words.
    pub(crate) what: String,
    /// What the detectors did on it.
    pub(crate) notes: Vec<Step>,
    /// How many events were before it.
    #[serde(skip)]
    pub(crate) event_idx: u64,
}

/// What a detector did there.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Step {
    pub(crate) detector: Arc<str>,
    pub(crate) outcome: Told,
    /// How far its condition has come.
    pub(crate) measure: Option<u64>,
    /// The next level above it.
    pub(crate) next: Option<LevelShown>,
    /// The severity of the finding, or of what was left to others.
    pub(crate) severity: Option<Severity>,
    /// The detectors that it leaves it to.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) left_to: Vec<Arc<str>>,
    /// What it says.
    pub(crate) message: String,
    /// Whether a person gets to see it who does not want all.
    #[serde(skip)]
    pub(crate) matters: bool,
    #[serde(skip)]
    pub(crate) unit: Unit,
}

/// What came of what a detector did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Told {
    /// It measured something, below every level.
    Below,
    /// It reached a level: a finding.
    Opened,
    /// It reached a level of a higher severity.
    Escalated,
    /// It measured more, and an open finding counts it.
    Counted,
    /// It reached a level, and leaves that to a detector that says more about it.
    Inhibited,
    /// What it measured ended.
    Ended,
    /// What it found ended.
    Resolved,
    /// It remarked something, such as that a call is excepted.
    Remarked,
    /// It panicked, and is off.
    Panicked,
}

/// Where and when something happened.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct Place {
    #[schemars(with = "String")]
    pub(crate) at: Timestamp,
    pub(crate) file: Option<Arc<str>>,
    pub(crate) line: Option<u64>,
}

fn seconds<S: serde::Serializer>(it: &SignedDuration, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_i64(it.as_secs())
}

/// One condition of one stream of a detector.
type Condition = (usize, Option<AgentId>, Fingerprint);

/// Writes down the timeline of one session.
pub(crate) struct Scribe {
    session: SessionId,
    /// The one detector to tell of.
    only: Option<Arc<str>>,
    watches: Vec<Watch>,
    places: BTreeMap<Arc<str>, usize>,
    words: Words,
    entries: Vec<Entry>,
    n_events: u64,
    now: Timestamp,
    /// What a person was last shown of each condition that was measured and has
    /// not ended.
    shown: BTreeMap<Condition, Option<u64>>,
    /// What was left to other detectors, of each of these conditions.
    left: BTreeMap<Condition, Severity>,
    /// What is open.
    open: BTreeMap<Condition, Severity>,
    /// From when and until when a stream waits to be woken.
    waiting: BTreeMap<(usize, Option<AgentId>), [Timestamp; 2]>,
}

impl Scribe {
    /// Begins with a session of which the engine is about to see the first event,
    /// for one of its detectors or for all.
    pub(crate) fn new(session: SessionId, only: Option<Arc<str>>, engine: &mut Engine) -> Self {
        engine.explain(session.clone());
        Self {
            session,
            only,
            watches: Vec::new(),
            places: BTreeMap::new(),
            words: Words::default(),
            entries: Vec::new(),
            n_events: 0,
            now: Timestamp::MIN,
            shown: BTreeMap::new(),
            left: BTreeMap::new(),
            open: BTreeMap::new(),
            waiting: BTreeMap::new(),
        }
    }

    pub(crate) fn session(&self) -> &SessionId {
        &self.session
    }

    /// Writes down what came of an event of the session, which the engine has just
    /// seen.
    pub(crate) fn observe(&mut self, event: &Event, engine: &mut Engine, registry: &Registry) {
        self.now = self.now.max(event.at);
        if self.n_events == 0 {
            for named in engine.watching(&self.session) {
                self.places.insert(named.id.clone(), self.watches.len());
                self.watches.push(Watch::new(named, registry));
            }
        }
        let mut wakeups = Vec::new();
        let mut steps = Vec::new();
        for note in engine.take_explanation() {
            let place = if note.is_wakeup {
                Place { at: note.at, file: None, line: None }
            } else {
                let origin = event.origin.as_ref();
                let (file, line) = (origin.map(|it| it.file.clone()), origin.map(|it| it.line));
                Place { at: event.at, file, line }
            };
            let (is_wakeup, agent) = (note.is_wakeup, note.agent.clone());
            let Some(step) = self.step(note, &place) else { continue };
            if is_wakeup {
                wakeups.push((place, agent, step));
            } else {
                steps.push(step);
            }
        }
        for (place, agent, step) in wakeups {
            match self.entries.last_mut() {
                Some(it) if it.event.is_none() && it.place.at == place.at && it.agent == agent => {
                    it.notes.push(step);
                }
                _ => self.entries.push(Entry {
                    place,
                    agent,
                    event: None,
                    what: "time passed".to_owned(),
                    notes: vec![step],
                    event_idx: self.n_events,
                }),
            }
        }
        let what = self.words.of(event, !steps.is_empty());
        if !steps.is_empty() {
            steps.sort_by(|a, b| a.detector.cmp(&b.detector));
            let origin = event.origin.as_ref();
            self.entries.push(Entry {
                place: Place {
                    at: event.at,
                    file: origin.map(|it| it.file.clone()),
                    line: origin.map(|it| it.line),
                },
                agent: event.agent.clone(),
                event: Some(event.kind.name()),
                what,
                notes: steps,
                event_idx: self.n_events,
            });
        }
        self.n_events += 1;
    }

    /// Takes one note into account. Gives what there is to tell of it.
    fn step(&mut self, note: ExplanationEntry, place: &Place) -> Option<Step> {
        let idx = *self.places.get(&note.detector)?;
        let watch = &mut self.watches[idx];
        let stream = (idx, note.agent.clone());
        let of = |subject| (idx, note.agent.clone(), subject);
        let mut step = Step {
            detector: note.detector.clone(),
            outcome: Told::Below,
            measure: None,
            next: None,
            severity: None,
            left_to: Vec::new(),
            message: String::new(),
            matters: true,
            unit: watch.unit,
        };
        match note.what {
            ExplanationDetail::Reported { subject, measure, message, outcome } => {
                let condition = of(subject);
                step.measure = Some(measure);
                step.next = watch.levels.iter().find(|it| measure < it.at).copied();
                if watch.most.as_ref().is_none_or(|it| it.measure < measure) {
                    let (place, message) = (place.clone(), message.clone());
                    watch.most = Some(Most { measure, place, message });
                }
                step.message = message;
                // What has shrunk to half begins anew. One more of few is news, and a
                // tenth more of many.
                let shown = self.shown.get(&condition).copied().flatten();
                let shown = shown.filter(|it| *it < measure.saturating_mul(2));
                let has_grown = shown.is_none_or(|it| it + it / 10 < measure);
                (step.outcome, step.severity, step.matters) = match outcome {
                    Outcome::Below => {
                        (Told::Below, None, has_grown && is_close(measure, step.next))
                    }
                    Outcome::Counted(it) => {
                        (Told::Counted, Some(it), has_grown && is_close(measure, step.next))
                    }
                    Outcome::Inhibited(it) => {
                        watch.inhibited += 1;
                        let before = self.left.insert(condition.clone(), it);
                        (Told::Inhibited, Some(it), before < Some(it))
                    }
                    Outcome::Opened(it) => {
                        watch.findings += 1;
                        (Told::Opened, Some(it), true)
                    }
                    Outcome::Escalated(it) => (Told::Escalated, Some(it), true),
                };
                match outcome {
                    Outcome::Opened(it) | Outcome::Escalated(it) => {
                        watch.severity = watch.severity.max(Some(it));
                        self.open.insert(condition.clone(), it);
                    }
                    Outcome::Inhibited(it) => {
                        step.left_to = self.inhibitors(idx, stream.1.as_ref(), it);
                    }
                    _ => {}
                }
                let shown = if step.matters { Some(measure) } else { shown };
                self.shown.insert(condition, shown);
            }
            ExplanationDetail::Ended { subject, message, was_open } => {
                let condition = of(subject);
                self.open.remove(&condition);
                self.left.remove(&condition);
                let shown = self.shown.remove(&condition);
                // Many say so whenever it might have been.
                if !was_open && shown.is_none() {
                    return None;
                }
                step.outcome = if was_open { Told::Resolved } else { Told::Ended };
                step.message = message;
                step.matters = was_open || shown.flatten().is_some();
            }
            ExplanationDetail::Noted(remark) => {
                let n = watch.remarks.entry(remark.clone()).or_default();
                *n += 1;
                step.outcome = Told::Remarked;
                step.matters = *n == 1;
                step.message = remark;
            }
            ExplanationDetail::Rescheduled { from, to } => {
                if from.is_some() && !note.is_wakeup {
                    self.waited(&stream, place.clone());
                }
                match to {
                    Some(to) => self.waiting.insert(stream, [note.at, to]),
                    None => self.waiting.remove(&stream),
                };
                return None;
            }
            ExplanationDetail::Panicked => {
                watch.panicked = true;
                step.outcome = Told::Panicked;
                step.message.push_str("it is off from here on");
            }
            _ => return None,
        }
        self.only.as_ref().is_none_or(|it| *it == step.detector).then_some(step)
    }

    /// Keeps the wait that came nearest to its end.
    fn waited(&mut self, stream: &(usize, Option<AgentId>), place: Place) {
        let Some([since, until]) = self.waiting.get(stream) else { return };
        let time = place.at.duration_since(*since);
        let new = Waited { time, of: until.duration_since(*since), place };
        let watch = &mut self.watches[stream.0];
        if watch.waited.as_ref().is_none_or(|it| it.share() < new.share()) {
            watch.waited = Some(new);
        }
    }

    /// Which of its inhibitors a detector leaves something to.
    fn inhibitors(&self, idx: usize, agent: Option<&AgentId>, severity: Severity) -> Vec<Arc<str>> {
        let watch = &self.watches[idx];
        let tells = |id: &Arc<str>| {
            self.open.iter().any(|((other, of, _), it)| {
                self.watches[*other].detector == *id && of.as_ref() == agent && severity <= *it
            })
        };
        watch.inhibited_by.iter().filter(|it| tells(it)).cloned().collect()
    }

    /// Ends with the session; these are the names and kinds of the detectors of the
    /// policy.
    pub(crate) fn finish(mut self, policy: &BTreeMap<Arc<str>, Arc<str>>) -> Timeline {
        let waiting: Vec<_> = self.waiting.keys().cloned().collect();
        for stream in waiting {
            self.waited(&stream, Place { at: self.now, file: None, line: None });
        }
        let absent = policy.iter().filter(|(id, _)| !self.places.contains_key(*id));
        let absent: Vec<_> = absent.map(|(id, kind)| Watch::absent(id, kind)).collect();
        let mut detectors = self.watches;
        detectors.extend(absent);
        detectors.retain(|it| self.only.as_ref().is_none_or(|only| *only == it.detector));
        detectors.sort_by(|a, b| {
            let key = |it: &Watch| (Reverse(it.severity), Reverse(it.panicked), !it.watches);
            let nearer = b.nearness().total_cmp(&a.nearness());
            key(a).cmp(&key(b)).then(nearer).then_with(|| a.detector.cmp(&b.detector))
        });
        Timeline { detectors, entries: self.entries }
    }
}

/// Whether a measure has come half the way to where it would be told of.
fn is_close(measure: u64, next: Option<LevelShown>) -> bool {
    1 < measure && next.is_some_and(|it| it.at <= measure.saturating_mul(2))
}

impl Watch {
    fn new(named: &NamedDetector, registry: &Registry) -> Self {
        let level = |it: &Level| LevelShown { at: it.at, severity: it.severity };
        let overrides = named.sessions.all_of.iter().filter_map(|it| it.reason.clone());
        Self {
            watches: true,
            per_label: named.per_label.clone(),
            overrides: overrides.collect(),
            unit: registry.detectors.get(&named.kind).map_or(Unit::Count, |it| it.unit),
            levels: named.levels.iter().map(level).collect(),
            inhibited_by: named.inhibited_by.clone(),
            ..Self::absent(&named.id, &named.kind)
        }
    }

    fn absent(id: &Arc<str>, kind: &Arc<str>) -> Self {
        Self {
            detector: id.clone(),
            kind: kind.clone(),
            watches: false,
            per_label: None,
            overrides: Vec::new(),
            unit: Unit::Count,
            levels: Vec::new(),
            inhibited_by: Vec::new(),
            severity: None,
            findings: 0,
            most: None,
            waited: None,
            remarks: BTreeMap::new(),
            inhibited: 0,
            panicked: false,
        }
    }

    /// Whether nothing happened that it counts, and there is nothing else to say.
    pub(crate) fn is_idle(&self) -> bool {
        let Self { watches, per_label, overrides, most, waited, remarks, panicked, .. } = self;
        let is_plain = *watches && per_label.is_none() && overrides.is_empty() && !panicked;
        is_plain && most.is_none() && waited.is_none() && remarks.is_empty()
    }

    /// How near it came to finding something: at 1 it did.
    #[expect(clippy::cast_precision_loss, reason = "it is for an order")]
    fn nearness(&self) -> f64 {
        let lowest = self.levels.first().map_or(1, |it| it.at.max(1));
        match (&self.most, &self.waited) {
            (Some(most), _) => most.measure as f64 / lowest as f64,
            (None, Some(waited)) => waited.share(),
            (None, None) => 0.0,
        }
    }
}

impl Waited {
    /// Which part of the wait had passed.
    fn share(&self) -> f64 {
        self.time.as_secs_f64() / self.of.as_secs_f64().max(f64::MIN_POSITIVE)
    }
}
