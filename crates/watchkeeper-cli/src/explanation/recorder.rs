use std::{cmp::Reverse, collections::BTreeMap, sync::Arc};

use watchkeeper_core::{
    AgentId, Engine, Event, Fingerprint, SessionId, Severity, Timestamp, Unit,
    embed::{ExplanationDetail, ExplanationEntry, Outcome, Registry},
};
use watchkeeper_page::{LevelSummary, StepOutcome};

use super::{
    event_summary::EventSummarizer,
    timeline::{DetectorSummary, Entry, Location, Maximum, Step, Timeline, Wait},
};

/// One condition of one stream: index of the detector, agent, subject.
type Condition = (usize, Option<AgentId>, Fingerprint);

/// Records the timeline of one session.
pub(crate) struct TimelineRecorder {
    session: SessionId,
    /// The only detector to record; `None` records all.
    only: Option<Arc<str>>,
    /// Whether steps that the text report hides are left out.
    only_notable: bool,
    summaries: Vec<DetectorSummary>,
    /// Index of each detector in `summaries`.
    positions: BTreeMap<Arc<str>, usize>,
    summarizer: EventSummarizer,
    entries: Vec<Entry>,
    n_events: u64,
    now: Timestamp,
    /// Active conditions, each with the measure that was shown last.
    shown: BTreeMap<Condition, Option<u64>>,
    /// Active conditions that another detector suppresses.
    suppressed: BTreeMap<Condition, Severity>,
    /// Request time and wake-up time of each waiting stream.
    waits: BTreeMap<(usize, Option<AgentId>), [Timestamp; 2]>,
}

impl TimelineRecorder {
    /// Starts recording. Call this before the engine observes the first event of
    /// the session.
    pub(crate) fn new(session: SessionId, only: Option<Arc<str>>, engine: &mut Engine) -> Self {
        engine.explain(session.clone());
        Self {
            session,
            only,
            only_notable: false,
            summaries: Vec::new(),
            positions: BTreeMap::new(),
            summarizer: EventSummarizer::default(),
            entries: Vec::new(),
            n_events: 0,
            now: Timestamp::MIN,
            shown: BTreeMap::new(),
            suppressed: BTreeMap::new(),
            waits: BTreeMap::new(),
        }
    }

    /// Leaves out the steps that the text report shows with `--verbose` only.
    pub(crate) fn only_notable(self) -> Self {
        Self { only_notable: true, ..self }
    }

    pub(crate) fn session(&self) -> &SessionId {
        &self.session
    }

    /// Records the explanation of an event of the session, which the engine has
    /// just observed.
    pub(crate) fn observe(&mut self, event: &Event, engine: &mut Engine, registry: &Registry) {
        self.now = self.now.max(event.at);
        if self.n_events == 0 {
            for detector in engine.watching(&self.session) {
                let unit = registry.detectors.get(&detector.kind).map_or(Unit::Count, |it| it.unit);
                self.positions.insert(detector.id.clone(), self.summaries.len());
                self.summaries.push(DetectorSummary::active(detector, unit));
            }
        }
        let event_location = location_of(event);
        let mut steps = Vec::new();
        for explanation in engine.take_explanation() {
            let agent = explanation.agent.clone();
            if explanation.is_wakeup {
                let location = Location { at: explanation.at, file: None, line: None };
                if let Some(step) = self.step(explanation, &location) {
                    self.push_wakeup(location, agent, step);
                }
            } else if let Some(step) = self.step(explanation, &event_location) {
                steps.push(step);
            }
        }
        let summary = self.summarizer.summarize(event, !steps.is_empty());
        if !steps.is_empty() {
            self.entries.push(Entry {
                location: event_location,
                agent: event.agent.clone(),
                event: Some(event.kind.name()),
                summary,
                steps,
                event_idx: self.n_events,
            });
        }
        self.n_events += 1;
    }

    /// Adds a step to the entry of its wake-up.
    fn push_wakeup(&mut self, location: Location, agent: Option<AgentId>, step: Step) {
        match self.entries.last_mut() {
            Some(entry)
                if entry.event.is_none()
                    && entry.location.at == location.at
                    && entry.agent == agent =>
            {
                entry.steps.push(step);
            }
            _ => self.entries.push(Entry {
                location,
                agent,
                event: None,
                summary: "time passed".to_owned(),
                steps: vec![step],
                event_idx: self.n_events,
            }),
        }
    }

    /// Applies one entry of the engine's explanation. Returns the step to show.
    fn step(&mut self, entry: ExplanationEntry, location: &Location) -> Option<Step> {
        let idx = *self.positions.get(&entry.detector)?;
        let stream = (idx, entry.agent.clone());
        let summary = &mut self.summaries[idx];
        let mut step = Step {
            detector: entry.detector.clone(),
            outcome: StepOutcome::Below,
            measure: None,
            next_level: None,
            severity: None,
            suppressed_by: Vec::new(),
            replaces: None,
            message: String::new(),
            is_notable: true,
            unit: summary.unit,
        };
        match entry.what {
            ExplanationDetail::Reported { subject, measure, message, outcome, .. } => {
                let condition = (idx, entry.agent, subject);
                step.message = message;
                self.report(&mut step, condition, measure, outcome, location);
            }
            ExplanationDetail::Ended { subject, message, was_open } => {
                let condition = (idx, entry.agent, subject);
                self.suppressed.remove(&condition);
                let shown = self.shown.remove(&condition);
                // Detectors report the end of a condition also where none began.
                if !was_open && shown.is_none() {
                    return None;
                }
                step.outcome = if was_open { StepOutcome::Resolved } else { StepOutcome::Ended };
                step.message = message;
                step.is_notable = was_open || shown.flatten().is_some();
            }
            ExplanationDetail::Comment(note) => {
                let n = summary.notes.entry(note.clone()).or_default();
                *n += 1;
                step.outcome = StepOutcome::Comment;
                step.is_notable = *n == 1;
                step.message = note;
            }
            ExplanationDetail::Rescheduled { from, to } => {
                if from.is_some() && !entry.is_wakeup {
                    self.end_wait(&stream, location.clone());
                }
                match to {
                    Some(to) => self.waits.insert(stream, [entry.at, to]),
                    None => self.waits.remove(&stream),
                };
                return None;
            }
            ExplanationDetail::Panicked => {
                summary.panicked = true;
                step.outcome = StepOutcome::Panicked;
                step.message.push_str("disabled for the rest of the session");
            }
            _ => return None,
        }
        let is_selected = self.only.as_ref().is_none_or(|id| *id == step.detector);
        (is_selected && (step.is_notable || !self.only_notable)).then_some(step)
    }

    /// Applies a reported measure to the summary, and completes the step.
    fn report(
        &mut self,
        step: &mut Step,
        condition: Condition,
        measure: u64,
        outcome: Outcome,
        location: &Location,
    ) {
        let idx = condition.0;
        let summary = &mut self.summaries[idx];
        step.measure = Some(measure);
        step.next_level = summary.levels.iter().find(|level| measure < level.at).copied();
        if summary.maximum.as_ref().is_none_or(|maximum| maximum.measure < measure) {
            let (location, message) = (location.clone(), step.message.clone());
            summary.maximum = Some(Maximum { measure, location, message });
        }
        // Show growth of a tenth, and of at least 1. A measure that has halved
        // starts again.
        let shown = self.shown.get(&condition).copied().flatten();
        let shown = shown.filter(|shown| *shown < measure.saturating_mul(2));
        let has_grown = shown.is_none_or(|shown| shown + shown / 10 < measure);
        let is_near = has_grown && is_near(measure, step.next_level);
        match outcome {
            Outcome::Below => {
                step.outcome = StepOutcome::Below;
                step.is_notable = is_near;
            }
            Outcome::Counted(severity) => {
                step.outcome = StepOutcome::Counted;
                step.severity = Some(severity);
                step.is_notable = is_near;
            }
            Outcome::Inhibited { severity, by } => {
                summary.suppressed += 1;
                summary.suppressed_by.insert(by.clone());
                step.outcome = StepOutcome::Suppressed;
                step.severity = Some(severity);
                step.suppressed_by = vec![by];
                let previous = self.suppressed.insert(condition.clone(), severity);
                step.is_notable = previous < Some(severity);
            }
            Outcome::Opened(severity) => {
                summary.findings += 1;
                summary.emit(step, StepOutcome::Opened, severity);
            }
            Outcome::Escalated(severity) => summary.emit(step, StepOutcome::Escalated, severity),
            Outcome::Replaced { severity, detector } => {
                summary.replaced.insert(detector.clone());
                step.replaces = Some(detector);
                summary.emit(step, StepOutcome::Replaced, severity);
            }
            _ => {}
        }
        let shown = if step.is_notable { Some(measure) } else { shown };
        self.shown.insert(condition, shown);
    }

    /// Ends the wait of a stream, and keeps the wait that came nearest to its
    /// wake-up.
    fn end_wait(&mut self, stream: &(usize, Option<AgentId>), location: Location) {
        let Some([since, until]) = self.waits.get(stream) else { return };
        let time = location.at.duration_since(*since);
        let wait = Wait { time, limit: until.duration_since(*since), location };
        let longest = &mut self.summaries[stream.0].longest_wait;
        if longest.as_ref().is_none_or(|longest| longest.share() < wait.share()) {
            *longest = Some(wait);
        }
    }

    /// Returns the timeline at the end of the session. `policy` maps the ids of all
    /// detectors to their kinds.
    pub(crate) fn finish(mut self, policy: &BTreeMap<Arc<str>, Arc<str>>) -> Timeline {
        let streams: Vec<_> = self.waits.keys().cloned().collect();
        for stream in streams {
            self.end_wait(&stream, Location { at: self.now, file: None, line: None });
        }
        let disabled = policy.iter().filter(|(id, _)| !self.positions.contains_key(*id));
        let disabled: Vec<_> =
            disabled.map(|(id, kind)| DetectorSummary::disabled(id, kind)).collect();
        let mut detectors = self.summaries;
        detectors.extend(disabled);
        detectors.retain(|it| self.only.as_ref().is_none_or(|only| *only == it.detector));
        detectors.sort_by(|a, b| {
            let key =
                |it: &DetectorSummary| (Reverse(it.severity), Reverse(it.panicked), !it.active);
            let by_nearness = b.nearness().total_cmp(&a.nearness());
            key(a).cmp(&key(b)).then(by_nearness).then_with(|| a.detector.cmp(&b.detector))
        });
        Timeline { detectors, entries: self.entries }
    }
}

impl DetectorSummary {
    /// Adds a step that emits a finding.
    fn emit(&mut self, step: &mut Step, outcome: StepOutcome, severity: Severity) {
        step.outcome = outcome;
        step.severity = Some(severity);
        self.severity = self.severity.max(Some(severity));
    }
}

fn location_of(event: &Event) -> Location {
    let origin = event.origin.as_ref();
    Location {
        at: event.at,
        file: origin.map(|origin| origin.file.clone()),
        line: origin.map(|origin| origin.line),
    }
}

/// Returns `true` if a measure has reached half of the next level.
fn is_near(measure: u64, next_level: Option<LevelSummary>) -> bool {
    1 < measure && next_level.is_some_and(|level| level.at <= measure.saturating_mul(2))
}

#[cfg(test)]
mod tests {
    use watchkeeper_core::{
        Context, Detector, Engine, Event, EventKind, Fingerprint, Level, Report, Severity,
        Timestamp,
        embed::{EngineConfig, NamedDetector, Registry, SessionFilter},
    };

    use super::{StepOutcome, TimelineRecorder};

    /// Reports the same measure at each event.
    #[derive(Clone, Debug)]
    struct Constant(u64);

    impl Detector for Constant {
        fn observe(&mut self, _: &Event, cx: &mut Context<'_>) {
            cx.report(Fingerprint::NONE, self.0, || Report::new("constant"));
        }
    }

    fn named(id: &str, inhibited_by: &[&str], measure: u64) -> NamedDetector {
        NamedDetector {
            id: id.into(),
            kind: "constant".into(),
            class: "error".into(),
            annotations: std::sync::Arc::default(),
            levels: vec![Level::new(1, Severity::Medium), Level::new(2, Severity::High)],
            inhibited_by: inhibited_by.iter().map(|id| (*id).into()).collect(),
            per: None,
            sessions: SessionFilter::default(),
            options: Fingerprint::NONE,
            detector: Box::new(Constant(measure)),
        }
    }

    #[test]
    fn the_steps_of_an_event_are_in_order_of_their_findings() {
        let detectors = vec![named("general", &["specific"], 2), named("specific", &[], 1)];
        let mut engine = Engine::new(detectors, EngineConfig::default());
        let registry = Registry::linked().expect("the names differ");
        let mut recorder = TimelineRecorder::new("s".into(), None, &mut engine);
        let event = Event::new(Timestamp::UNIX_EPOCH, "s", EventKind::TurnEnd);
        engine.observe(&event, &mut Vec::new());
        recorder.observe(&event, &mut engine, &registry);
        let [entry] = &recorder.entries[..] else { panic!("{:?}", recorder.entries) };
        let steps: Vec<_> = entry.steps.iter().map(|it| (&*it.detector, it.outcome)).collect();
        assert_eq!(steps, [("specific", StepOutcome::Opened), ("general", StepOutcome::Replaced)]);
    }
}
