use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
};

use jiff::{SignedDuration, Timestamp};

use super::{
    detector_set::DetectorSet,
    detectors::CompiledDetector,
    episodes::{Episodes, Resolution},
    explanation::{ExplanationDetail, Outcome},
    findings::{EpisodeUpdate, EpisodeView, drop_superseded},
    replacement::Replacement,
    runner::{Dispatch, Runner},
    subscriptions::Receivers,
    timers::earlier,
    wakeups::Wakeups,
};
use crate::{
    Context, Detector, Finding, Report,
    compact::PackedTimestamp,
    detector::{
        condition::{ConditionId, Episode},
        outbox::{Output, WakeupRequest},
    },
    finding::cause_of,
};

/// The streams of one agent, or of a session as a whole: one for each detector.
///
/// Most detectors are idle most of the time. So this keeps three short lists in
/// place of one entry for each detector.
#[derive(Default)]
pub(super) struct Streams {
    /// The detectors that are not idle, sorted by index.
    active: Vec<ActiveDetector>,
    wakeups: Wakeups,
    first_block: FirstBlock,
    episodes: Episodes,
}

/// The detectors of the first block by state. Most events need this alone, and reading the lists
/// of very many streams takes long.
#[derive(Default)]
struct FirstBlock {
    active: DetectorSet,
    /// The detectors that have a wake-up.
    waiting: DetectorSet,
}

pub(super) struct ActiveDetector {
    detector_idx: u32,
    detector: Box<dyn Detector>,
}

impl Streams {
    /// Runs the detectors that receive an event.
    #[expect(clippy::inline_always, reason = "most events have no receivers in one of two streams")]
    #[inline(always)]
    pub(super) fn observe(
        &mut self,
        receivers: &[Receivers],
        dispatch: &Dispatch<'_>,
        runner: &mut Runner,
        findings: &mut Vec<Finding>,
    ) {
        for receivers in receivers {
            let receiving = self.receiving(*receivers, dispatch);
            if !receiving.is_empty() {
                self.run_all(receiving, receivers.block, dispatch, runner, findings);
            }
        }
    }

    /// Returns the detectors of a block that receive an event.
    ///
    /// An idle detector receives its start events, and all its events while it has a wake-up. A
    /// timer-only detector with a wake-up receives none, unless a finding of it is open.
    #[inline]
    fn receiving(&self, receivers: Receivers, dispatch: &Dispatch<'_>) -> DetectorSet {
        let block = receivers.block;
        let (active, waiting) = (self.active_in_block(block), self.waiting_in_block(block));
        let mut sleeping = receivers.timer_only & waiting;
        if dispatch.input.is_explained || !self.episodes.as_slice().is_empty() {
            sleeping = self.still_sleeping(sleeping, block, dispatch);
        }
        receivers.all & (active | (waiting - sleeping)) | (receivers.idle - sleeping)
    }

    /// Returns those of the sleeping detectors that receive no event, although a finding is open
    /// or the session is explained.
    #[cold]
    fn still_sleeping(
        &self,
        sleeping: DetectorSet,
        block: u32,
        dispatch: &Dispatch<'_>,
    ) -> DetectorSet {
        if dispatch.input.is_explained {
            // An explanation contains every request of a wake-up.
            return DetectorSet::default();
        }
        sleeping - self.episodes.detectors_in_block(block)
    }

    /// Returns whether every detector is idle.
    pub(super) fn is_idle(&self) -> bool {
        self.active.is_empty()
    }

    #[inline]
    fn active_in_block(&self, block: u32) -> DetectorSet {
        if block == 0 { self.first_block.active } else { self.search_active(block) }
    }

    #[inline]
    fn waiting_in_block(&self, block: u32) -> DetectorSet {
        if block == 0 { self.first_block.waiting } else { self.wakeups.in_block(block) }
    }

    #[cold]
    fn search_active(&self, block: u32) -> DetectorSet {
        DetectorSet::new(block, self.active.iter().map(|it| it.detector_idx))
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
        // A wake-up that a detector requests while it runs is later than now.
        while let Some((mut due, block)) = self.wakeups.due(dispatch.input.now.into()) {
            due.iter(block).for_each(|idx| self.cancel_wakeup(idx));
            due = due - DetectorSet::new(block, runner.panicked.iter().copied());
            let is_timer_only = |idx: &u32| {
                dispatch.scope.label_value.is_none()
                    && runner.detectors[*idx as usize].subscription.is_timer_only
            };
            let timer_only = DetectorSet::new(block, due.iter(block).filter(is_timer_only));
            let awake = self.active_in_block(block) | self.episodes.detectors_in_block(block);
            was_due |= !(due - (timer_only - awake)).is_empty();
            self.run_all(due, block, dispatch, runner, findings);
        }
        was_due
    }

    /// Runs some detectors of a block. A detector that panics is off from then on, and the next
    /// one runs.
    fn run_all(
        &mut self,
        mut detectors: DetectorSet,
        block: u32,
        dispatch: &Dispatch<'_>,
        runner: &mut Runner,
        findings: &mut Vec<Finding>,
    ) {
        while let Err(panic) = catch_unwind(AssertUnwindSafe(|| {
            self.run_in_order(&mut detectors, block, dispatch, runner, findings);
        })) {
            self.settle_panic(&*panic, dispatch, runner, findings);
        }
    }

    /// Runs some detectors of a block, and handles their requests. A detector that panics is the
    /// last one that is removed from `detectors`.
    // Inlined into the closure, the loop would keep its variables in memory.
    #[inline(never)]
    fn run_in_order(
        &mut self,
        detectors: &mut DetectorSet,
        block: u32,
        dispatch: &Dispatch<'_>,
        runner: &mut Runner,
        findings: &mut Vec<Finding>,
    ) {
        let event = dispatch.input.event();
        let mut place = 0;
        while let Some(idx) = detectors.pop(block) {
            runner.running = idx;
            while self.active.get(place).is_some_and(|it| it.detector_idx < idx) {
                place += 1;
            }
            let compiled = &runner.detectors[idx as usize];
            let (detector, is_active) = match self.active.get_mut(place) {
                Some(active) if active.detector_idx == idx => (&mut active.detector, true),
                _ => (runner.idle[idx as usize].get(&*compiled.named.detector), false),
            };
            let open = self.episodes.of(&compiled.rules);
            let mut cx = Context { input: &dispatch.input, open, outbox: &mut runner.outbox };
            match event {
                Some(event) => detector.observe(event, &mut cx),
                None => detector.wake(&mut cx),
            }
            match detector.is_idle() {
                true if is_active => self.drop_state(place, runner),
                false if !is_active => self.keep_state(place, runner),
                _ => {}
            }
            if !runner.outbox.is_empty() {
                self.settle_requests(dispatch, runner, findings);
            }
        }
    }

    /// Drops the state of the detector that ran last, which has become idle.
    #[inline(never)]
    fn drop_state(&mut self, place: usize, runner: &mut Runner) {
        let idx = runner.running;
        runner.idle[idx as usize].put(self.active.remove(place).detector);
        self.first_block.active = self.first_block.active - DetectorSet::in_first_block(idx);
    }

    /// Keeps the state of the detector that ran last, which was idle.
    #[inline(never)]
    fn keep_state(&mut self, place: usize, runner: &mut Runner) {
        let detector_idx = runner.running;
        let pristine = &*runner.detectors[detector_idx as usize].named.detector;
        let detector = runner.idle[detector_idx as usize].take(pristine);
        // Most streams have few, and there are very many streams.
        self.active.reserve_exact(1);
        self.active.insert(place, ActiveDetector { detector_idx, detector });
        self.first_block.active =
            self.first_block.active | DetectorSet::in_first_block(detector_idx);
    }

    /// Handles the requests of the detector that ran last.
    #[inline(never)]
    fn settle_requests(
        &mut self,
        dispatch: &Dispatch<'_>,
        runner: &mut Runner,
        findings: &mut Vec<Finding>,
    ) {
        let Runner { outbox, requested, running, .. } = &mut *runner;
        if outbox.has_outputs() || dispatch.input.is_explained {
            let idx = *running;
            self.settle(idx, dispatch, runner, findings);
        } else if let Some(request) = outbox.wakeup.take() {
            self.set_wakeup(*running, request, requested);
        }
    }

    /// Turns the outputs of a detector into episodes, findings, wake-ups and entries
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
        let n_before = updates.len();
        for output in outbox.outputs.drain(..) {
            let detail = match output {
                Output::Measure { subject, measure, report, .. } => {
                    let id = ConditionId::new(compiled, subject);
                    let out = (&mut *findings, &mut *updates);
                    self.report(detectors, id, measure, report, dispatch, out)
                }
                Output::Resolve { subject, report } => {
                    let id = ConditionId::new(compiled, subject);
                    self.resolve(detectors, id, report, dispatch, (&mut *findings, &mut *updates))
                }
                Output::Note(text) => ExplanationDetail::Comment(text),
            };
            explanation.record(compiled, dispatch, detail);
            drop_superseded(updates, n_before);
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

    /// Turns the detector off that has just panicked. Its outputs before the panic
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
            runner.idle[detector_idx as usize].clear();
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
        let is_unmeasured = report.as_ref().is_some_and(|report| report.is_unmeasured);
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
            let stream = (&scope.session.id, scope.agent_id);
            episode.cause = cause_of(stream, &report.evidence, input.now);
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
        let subject = id.subject;
        ExplanationDetail::Reported { subject, measure, is_unmeasured, message, outcome }
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
        self.first_block.waiting = DetectorSet::default();
        let ended = if dispatch.scope.agent_id.is_some() { "agent" } else { "session" };
        let reason = format!("over, as the {ended} ended");
        end_episodes(self.episodes.take(), &reason, dispatch, runner, findings);
    }

    /// Ends all findings for this reason.
    pub(super) fn end_findings(
        &mut self,
        reason: &str,
        dispatch: &Dispatch<'_>,
        runner: &mut Runner,
        findings: &mut Vec<Finding>,
    ) {
        end_episodes(self.episodes.take(), reason, dispatch, runner, findings);
    }

    /// Moves the streams from the detectors of `runner` to new ones, and resolves the findings
    /// of detectors that are gone.
    pub(super) fn replace(
        &mut self,
        (change, detectors): (&Replacement, &[CompiledDetector]),
        dispatch: &Dispatch<'_>,
        runner: &mut Runner,
        findings: &mut Vec<Finding>,
    ) {
        let active = std::mem::take(&mut self.active).into_iter();
        self.active = active
            .filter_map(|ActiveDetector { detector_idx, detector }| {
                let detector_idx = change.new_idx(detector_idx)?;
                Some(ActiveDetector { detector_idx, detector })
            })
            .collect();
        self.active.sort_by_key(|it| it.detector_idx);
        self.wakeups.replace(change);
        self.first_block =
            FirstBlock { active: self.search_active(0), waiting: self.wakeups.in_block(0) };
        let ended = self.episodes.replace(change, detectors);
        withdraw_episodes(ended, "over, as the policy has changed", dispatch, runner, findings);
    }

    /// Drops the state and the wake-up of a detector. Its findings stay open until the
    /// session ends.
    pub(super) fn turn_off(&mut self, detector_idx: u32) {
        self.active.retain(|it| it.detector_idx != detector_idx);
        let own = DetectorSet::in_first_block(detector_idx);
        self.first_block.active = self.first_block.active - own;
        self.cancel_wakeup(detector_idx);
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
                let own = DetectorSet::in_first_block(detector_idx);
                self.first_block.waiting = self.first_block.waiting | own;
                *requested = earlier(*requested, Some(at));
            }
            WakeupRequest::Cancel => self.cancel_wakeup(detector_idx),
        }
    }

    /// Cancels the wake-up of a detector if there is one.
    fn cancel_wakeup(&mut self, detector_idx: u32) {
        let block = DetectorSet::block_of(detector_idx);
        if self.waiting_in_block(block).contains(detector_idx) {
            self.wakeups.cancel(detector_idx);
            let own = DetectorSet::in_first_block(detector_idx);
            self.first_block.waiting = self.first_block.waiting - own;
        }
    }
}

/// Emits the findings of episodes that end for this reason.
fn end_episodes(
    mut episodes: Vec<Episode>,
    reason: &str,
    dispatch: &Dispatch<'_>,
    runner: &mut Runner,
    findings: &mut Vec<Finding>,
) {
    episodes.sort_by_key(|episode| episode.explained_by.detector_idx);
    let Runner { detectors, explanation, updates, .. } = runner;
    for episode in &episodes {
        let view = EpisodeView { episode, detectors };
        let out = (&mut *findings, &mut *updates);
        let message = end_episode(view, Report::new(reason), dispatch, out);
        let subject = episode.explained_by.subject;
        let detail = ExplanationDetail::Ended { subject, message, was_open: true };
        explanation.record(view.detector(), dispatch, detail);
    }
}

/// Emits the findings of episodes that are no longer observed, for this reason.
fn withdraw_episodes(
    episodes: Vec<Episode>,
    reason: &str,
    dispatch: &Dispatch<'_>,
    runner: &mut Runner,
    findings: &mut Vec<Finding>,
) {
    let mut ends = Vec::new();
    end_episodes(episodes, reason, dispatch, runner, &mut ends);
    findings.extend(ends.into_iter().map(Finding::as_withdrawn));
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
