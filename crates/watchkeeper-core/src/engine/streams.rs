use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
};

use jiff::{SignedDuration, Timestamp};

use super::{
    detectors::CompiledDetector,
    episodes::{Episodes, Resolution},
    explanation::{Explanation, ExplanationDetail, ExplanationEntry, Outcome},
    findings::{EpisodeUpdate, EpisodeView, StreamScope, evicted},
    subscriptions::Subscriber,
    timers::earlier,
    wakeups::{Wakeups, mark},
};
use crate::{
    AgentFacts, Context, Detector, Finding, Report, SessionId,
    compact::PackedTimestamp,
    detector::{
        Input, Observed,
        condition::ConditionId,
        outbox::{Action, Outbox, WakeupRequest},
    },
    facts::ClockAdjustments,
};

/// The streams of one agent, or of a session as a whole: one for each detector.
///
/// Most detectors are idle most of the time. So this keeps three short lists in
/// place of one entry for each detector.
#[derive(Default)]
pub(super) struct Streams {
    /// The detectors that are not idle.
    active: Vec<ActiveDetector>,
    wakeups: Wakeups,
    episodes: Episodes,
}

pub(super) struct ActiveDetector {
    detector_idx: u32,
    detector: Box<dyn Detector>,
}

/// The event or wake-up that streams handle, and the session and agent of the
/// streams.
pub(super) struct Dispatch<'a> {
    pub(super) input: Input<'a>,
    pub(super) scope: StreamScope<'a>,
}

/// The detectors of the engine, and the values that all streams share while they run.
pub(super) struct Runner {
    /// Each after its inhibitors.
    pub(super) detectors: Vec<CompiledDetector>,
    /// By detector.
    idle: Box<[IdleDetector]>,
    outbox: Outbox,
    /// The detector that runs, or ran last.
    running: u32,
    /// The first of the wake-ups that were requested since this was last taken.
    pub(super) requested: Option<PackedTimestamp>,
    /// The detectors that have just panicked, until they are turned off for the whole
    /// session.
    pub(super) panicked: Vec<u32>,
    pub(super) explanation: Explanation,
    /// Whether every report about an open finding becomes an update.
    pub(super) follows_episodes: bool,
    /// The updates since they were last taken.
    pub(super) updates: Vec<EpisodeUpdate>,
}

/// An idle copy of one detector, which runs for the streams in which it is idle.
#[derive(Default)]
struct IdleDetector(Option<Box<dyn Detector>>);

impl Streams {
    /// Runs the detectors that receive an event.
    pub(super) fn observe(
        &mut self,
        subscribers: &[Subscriber],
        dispatch: &Dispatch<'_>,
        runner: &mut Runner,
        findings: &mut Vec<Finding>,
    ) {
        let mut subscribers = subscribers.iter();
        // The detectors that are active or have a wake-up. A detector that runs changes its own
        // bit only.
        let active = self.active.iter().map(|it| mark(it.detector_idx));
        let marks = active.fold(self.wakeups.marks(), |marks, mark| marks | mark);
        self.catch_panics(dispatch, runner, findings, |streams, runner, findings| {
            let mut place = 0;
            for subscriber in subscribers.by_ref() {
                let is_idle = subscriber.mark != 0 && marks & subscriber.mark == 0;
                if is_idle && !subscriber.is_start {
                    continue;
                }
                let idx = subscriber.detector_idx;
                while streams.active.get(place).is_some_and(|it| it.detector_idx < idx) {
                    place += 1;
                }
                let is_active = streams.is_active(place, idx);
                if is_active || streams.receives_idle(*subscriber, dispatch) {
                    streams.run(idx, place, is_active, dispatch, runner, findings);
                }
            }
        });
    }

    /// Returns whether every detector is idle.
    pub(super) fn is_idle(&self) -> bool {
        self.active.is_empty()
    }

    fn is_active(&self, place: usize, detector_idx: u32) -> bool {
        self.active.get(place).is_some_and(|it| it.detector_idx == detector_idx)
    }

    /// Returns whether a detector receives the event although it is idle.
    #[inline]
    fn receives_idle(&self, subscriber: Subscriber, dispatch: &Dispatch<'_>) -> bool {
        let Subscriber { detector_idx, is_start, is_timer_only, .. } = subscriber;
        if is_start && !is_timer_only {
            return true;
        }
        if !self.wakeups.contain(detector_idx) {
            return is_start;
        }
        // An explanation contains every request of a wake-up.
        !is_timer_only || self.episodes.has_open(detector_idx) || dispatch.input.is_explained
    }

    /// Runs the detectors whose wake-ups are due. Returns whether one of them received
    /// the events before its wake-up: the wake-up of any other may be too early.
    pub(super) fn wake(
        &mut self,
        dispatch: &Dispatch<'_>,
        runner: &mut Runner,
        findings: &mut Vec<Finding>,
    ) -> bool {
        let mut was_due = false;
        let now = PackedTimestamp::from(dispatch.input.now);
        self.catch_panics(dispatch, runner, findings, |streams, runner, findings| {
            // A wake-up that a detector requests while it runs is later than `now`.
            while let Some(idx) = streams.wakeups.pop_due(now) {
                if runner.panicked.contains(&idx) {
                    continue;
                }
                let place = streams.active.partition_point(|it| it.detector_idx < idx);
                let is_active = streams.is_active(place, idx);
                let is_timer_only = runner.detectors[idx as usize].subscription.is_timer_only
                    && dispatch.scope.label_value.is_none();
                was_due |= !is_timer_only || is_active || streams.episodes.has_open(idx);
                streams.run(idx, place, is_active, dispatch, runner, findings);
            }
        });
        was_due
    }

    /// Calls `run_all`, which runs detectors, and again after each panic of a detector,
    /// which is off from then on. `run_all` continues with the next detector.
    fn catch_panics(
        &mut self,
        dispatch: &Dispatch<'_>,
        runner: &mut Runner,
        findings: &mut Vec<Finding>,
        mut run_all: impl FnMut(&mut Self, &mut Runner, &mut Vec<Finding>),
    ) {
        while let Err(panic) = catch_unwind(AssertUnwindSafe(|| run_all(self, runner, findings))) {
            self.settle_panic(&*panic, dispatch, runner, findings);
        }
    }

    /// Runs one detector. `place` is its place in `active`, or the place for it.
    fn run(
        &mut self,
        detector_idx: u32,
        place: usize,
        is_active: bool,
        dispatch: &Dispatch<'_>,
        runner: &mut Runner,
        findings: &mut Vec<Finding>,
    ) {
        let Runner { detectors, idle, outbox, running, requested, .. } = runner;
        *running = detector_idx;
        let compiled = &detectors[detector_idx as usize];
        let idle = &mut idle[detector_idx as usize];
        let detector = if is_active {
            &mut self.active[place].detector
        } else {
            idle.get(&*compiled.named.detector)
        };
        let mut cx = Context {
            input: &dispatch.input,
            levels: &compiled.named.levels,
            open: self.episodes.of(compiled),
            outbox,
            reads_contributions: compiled.subscription.reads_contributions,
        };
        match dispatch.input.event() {
            Some(event) => detector.observe(event, &mut cx),
            None => detector.wake(&mut cx),
        }
        let is_idle = detector.is_idle();
        if is_active && is_idle {
            idle.put(self.active.remove(place).detector);
        } else if !is_active && !is_idle {
            // Most streams have few, and there are very many streams.
            self.active.reserve_exact(1);
            let detector = idle.take(&*compiled.named.detector);
            self.active.insert(place, ActiveDetector { detector_idx, detector });
        }
        if !outbox.actions.is_empty()
            || !outbox.hidden_calls.is_empty()
            || dispatch.input.is_explained
        {
            self.settle(detector_idx, dispatch, runner, findings);
        } else if let Some(request) = outbox.wakeup.take() {
            self.set_wakeup(detector_idx, request, requested);
        }
    }

    /// Turns the actions of a detector into episodes, findings, wake-ups and entries
    /// of an explanation.
    #[cold]
    fn settle(
        &mut self,
        detector_idx: u32,
        dispatch: &Dispatch<'_>,
        runner: &mut Runner,
        findings: &mut Vec<Finding>,
    ) {
        let Runner { detectors, outbox, requested, explanation, updates, .. } = runner;
        let compiled = &detectors[detector_idx as usize];
        for action in outbox.actions.drain(..) {
            let detail = match action {
                Action::Measure { subject, measure, report, .. } => {
                    let id = ConditionId::new(compiled, subject);
                    let out = (&mut *findings, &mut *updates);
                    self.report(detectors, id, measure, report, dispatch, out)
                }
                Action::Resolve { subject, report } => {
                    let id = ConditionId::new(compiled, subject);
                    self.resolve(detectors, id, report, dispatch, (&mut *findings, &mut *updates))
                }
                Action::Note(text) => ExplanationDetail::Comment(text),
            };
            explanation.record(compiled, dispatch, detail);
        }
        if let Some(request) = outbox.wakeup {
            let from = self.wakeups.get(detector_idx);
            self.set_wakeup(detector_idx, request, requested);
            let [from, to] =
                [from, self.wakeups.get(detector_idx)].map(|at| at.map(Timestamp::from));
            if from != to {
                let detail = ExplanationDetail::Rescheduled { from, to };
                explanation.record(compiled, dispatch, detail);
            }
        }
        outbox.clear();
    }

    /// Turns the detector off that has just panicked. Its actions before the panic
    /// count, except a request of a wake-up.
    #[cold]
    fn settle_panic(
        &mut self,
        panic: &(dyn Any + Send),
        dispatch: &Dispatch<'_>,
        runner: &mut Runner,
        findings: &mut Vec<Finding>,
    ) {
        let detector_idx = runner.running;
        if self.active.iter().all(|it| it.detector_idx != detector_idx) {
            // An idle copy ran.
            runner.idle[detector_idx as usize].0 = None;
        }
        runner.outbox.wakeup = None;
        self.settle(detector_idx, dispatch, runner, findings);
        let compiled = &runner.detectors[detector_idx as usize];
        runner.explanation.record(compiled, dispatch, ExplanationDetail::Panicked);
        findings.push(compiled.panic_finding(dispatch.input.now, &dispatch.scope, panic));
        self.turn_off(detector_idx);
        runner.panicked.push(detector_idx);
    }

    fn report(
        &mut self,
        detectors: &[CompiledDetector],
        id: ConditionId,
        measure: u64,
        report: Option<Report>,
        dispatch: &Dispatch<'_>,
        (findings, updates): (&mut Vec<Finding>, &mut Vec<EpisodeUpdate>),
    ) -> ExplanationDetail {
        let Dispatch { input, scope } = dispatch;
        let totals = &input.session.totals;
        let compiled = &detectors[id.detector_idx as usize];
        let (outcome, changed) = self.episodes.report(detectors, id, measure, totals);
        let is_opened = matches!(outcome, Outcome::Opened(_));
        let mut message = report.as_ref().map_or_else(String::new, |it| it.message.clone());
        let is_update = input.follows_episodes && !is_opened;
        let update = is_update.then(|| report.clone()).flatten();
        if let Some(episode) = changed {
            let replaces = match &outcome {
                Outcome::Replaced { detector, .. } => Some(detector.clone()),
                _ => None,
            };
            let mut report = report.unwrap_or_default();
            report.evidence.extend(input.evidence());
            episode.add_earliest(&mut report.evidence);
            episode.keep_earliest(&report.evidence);
            let view = EpisodeView { episode, detectors };
            let report = view.with_cost(report, totals);
            message.clone_from(&report.message);
            findings.push(view.open_finding(input.now, scope, replaces, measure, report));
        }
        if let Some(report) = update
            && let Some(episode) = self.episodes.explained_by(compiled, id, measure)
        {
            let mut report = compiled.about_group(report, scope);
            report.evidence.extend(input.evidence());
            episode.add_earliest(&mut report.evidence);
            let fingerprint = EpisodeView { episode, detectors }.fingerprint(scope);
            updates.push(EpisodeUpdate::new(compiled, fingerprint, measure, report));
        }
        ExplanationDetail::Reported { subject: id.subject, measure, message, outcome }
    }

    fn resolve(
        &mut self,
        detectors: &[CompiledDetector],
        id: ConditionId,
        report: Report,
        dispatch: &Dispatch<'_>,
        out: (&mut Vec<Finding>, &mut Vec<EpisodeUpdate>),
    ) -> ExplanationDetail {
        let compiled = &detectors[id.detector_idx as usize];
        let (message, was_open) = match self.episodes.resolve(compiled, id, &report) {
            Resolution::None | Resolution::StaysOpen => (report.message, false),
            Resolution::Resolved(episode, end) => {
                let view = EpisodeView { episode: &episode, detectors };
                let message = end_episode(view, end, dispatch, out);
                (if id == episode.explained_by { message } else { report.message }, true)
            }
        };
        ExplanationDetail::Ended { subject: id.subject, message, was_open }
    }

    /// Resolves all findings, since the agent or session has ended.
    pub(super) fn end(
        &mut self,
        dispatch: &Dispatch<'_>,
        runner: &mut Runner,
        findings: &mut Vec<Finding>,
    ) {
        self.wakeups.clear();
        let mut episodes = self.episodes.take();
        episodes.sort_by_key(|episode| episode.explained_by.detector_idx);
        let Runner { detectors, explanation, updates, .. } = runner;
        for episode in &episodes {
            let view = EpisodeView { episode, detectors };
            let ended = if dispatch.scope.agent_id.is_some() { "agent" } else { "session" };
            let report = Report::new(format!("over, as the {ended} ended"));
            let out = (&mut *findings, &mut *updates);
            let message = end_episode(view, report, dispatch, out);
            let subject = episode.explained_by.subject;
            let detail = ExplanationDetail::Ended { subject, message, was_open: true };
            explanation.record(view.detector(), dispatch, detail);
        }
    }

    /// Drops the state and the wake-up of a detector. Its findings stay open until the
    /// session ends.
    pub(super) fn turn_off(&mut self, detector_idx: u32) {
        self.active.retain(|it| it.detector_idx != detector_idx);
        self.wakeups.cancel(detector_idx);
    }

    /// Postpones the wake-ups that are due after `since`.
    pub(super) fn postpone(&mut self, since: Timestamp, duration: SignedDuration) {
        self.wakeups.postpone(since, duration);
    }

    /// Returns the time of the first wake-up.
    pub(super) fn first_wakeup(&self) -> Option<PackedTimestamp> {
        self.wakeups.first()
    }

    pub(super) fn episodes(&self) -> &Episodes {
        &self.episodes
    }

    fn set_wakeup(
        &mut self,
        detector_idx: u32,
        request: WakeupRequest,
        requested: &mut Option<PackedTimestamp>,
    ) {
        match request {
            WakeupRequest::At(at) => {
                self.wakeups.set(detector_idx, at);
                *requested = earlier(*requested, Some(at));
            }
            WakeupRequest::Cancel => self.wakeups.cancel(detector_idx),
        }
    }
}

/// Emits the finding of an episode that has ended. Returns the message.
fn end_episode(
    view: EpisodeView<'_>,
    report: Report,
    dispatch: &Dispatch<'_>,
    (findings, updates): (&mut Vec<Finding>, &mut Vec<EpisodeUpdate>),
) -> String {
    let Dispatch { input, scope } = dispatch;
    if input.follows_episodes {
        updates.push(view.resolution(scope, &report));
    }
    let report = view.with_cost(report, &input.session.totals);
    let message = report.message.clone();
    findings.push(view.resolved_finding(input.now, scope, report));
    message
}

impl Runner {
    /// Emits a finding for each doubling of the number of evictions, so that there are
    /// few findings. The other numbers are updates, if updates are needed.
    pub(super) fn report_evicted(
        &mut self,
        at: Timestamp,
        (part, limit): (&str, &str),
        n_evicted: u64,
        findings: &mut Vec<Finding>,
    ) {
        if n_evicted.is_power_of_two() {
            findings.push(evicted(at, part, limit, n_evicted));
        } else if self.follows_episodes {
            let finding = evicted(at, part, limit, n_evicted);
            self.updates.push(EpisodeUpdate::of_finding(finding));
        }
    }
}

impl<'a> Dispatch<'a> {
    pub(super) fn new(
        now: Timestamp,
        observed: Option<Observed<'a>>,
        agent: &'a AgentFacts,
        scope: StreamScope<'a>,
        clock: &'a ClockAdjustments,
        runner: &Runner,
    ) -> Self {
        let session = scope.session;
        let is_explained = runner.explains(&session.id);
        let follows_episodes = runner.follows_episodes;
        let input = Input {
            now,
            observed,
            session,
            agent,
            clock,
            is_explained,
            follows_episodes,
            session_episodes: &[],
        };
        Self { input, scope }
    }
}

impl Runner {
    pub(super) fn new(detectors: Vec<CompiledDetector>) -> Self {
        let idle = detectors.iter().map(|_| IdleDetector::default()).collect();
        Self {
            detectors,
            idle,
            outbox: Outbox::default(),
            running: 0,
            requested: None,
            panicked: Vec::new(),
            explanation: Explanation::default(),
            follows_episodes: false,
            updates: Vec::new(),
        }
    }

    fn explains(&self, session: &SessionId) -> bool {
        self.explanation.session.as_ref().is_some_and(|id| id == session)
    }
}

impl IdleDetector {
    /// Returns the idle copy, which stays here.
    fn get(&mut self, pristine: &dyn Detector) -> &mut Box<dyn Detector> {
        self.0.get_or_insert_with(|| pristine.clone_box())
    }

    /// Removes the copy that [`get`](Self::get) returned.
    fn take(&mut self, pristine: &dyn Detector) -> Box<dyn Detector> {
        self.0.take().unwrap_or_else(|| pristine.clone_box())
    }

    /// Keeps a detector that has become idle.
    fn put(&mut self, detector: Box<dyn Detector>) {
        self.0 = Some(detector);
    }
}

impl Explanation {
    fn record(
        &mut self,
        compiled: &CompiledDetector,
        dispatch: &Dispatch<'_>,
        what: ExplanationDetail,
    ) {
        if dispatch.input.is_explained {
            self.entries.push(ExplanationEntry {
                at: dispatch.input.now,
                detector: compiled.named.id.clone(),
                agent: compiled.agent_of(&dispatch.scope).cloned(),
                is_wakeup: dispatch.input.observed.is_none(),
                what,
            });
        }
    }
}
