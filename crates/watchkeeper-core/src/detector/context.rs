use std::panic::{AssertUnwindSafe, catch_unwind};

use jiff::{SignedDuration, Timestamp};

use super::{
    condition::{Episode, OpenEpisodes, reached},
    outbox::{Outbox, Output, WakeupRequest},
    report::Report,
};
use crate::{
    AgentFacts, Call, Contribution, ErrorCause, Event, EventKind, Evidence, Fingerprint, Place,
    ResultClass, SessionFacts, Usage,
    compact::PackedTimestamp,
    facts::{ClockAdjustments, Step},
    period::{Within, known_time},
};

/// The facts that a detector reads, and the requests that it makes.
pub struct Context<'a> {
    pub(crate) input: &'a Input<'a>,
    pub(crate) open: OpenEpisodes<'a>,
    pub(crate) outbox: &'a mut Outbox,
}

/// The event or wake-up that detectors handle, and the facts that belong to it.
pub(crate) struct Input<'a> {
    pub(crate) now: Timestamp,
    /// `None` in a wake-up.
    pub(crate) observed: Option<Observed<'a>>,
    pub(crate) session: &'a SessionFacts,
    pub(crate) agent: &'a AgentFacts,
    pub(crate) clock: &'a ClockAdjustments,
    /// Whether the engine explains the session.
    pub(crate) is_explained: bool,
    /// Whether every report about an open finding is needed, not only the first.
    pub(crate) follows_episodes: bool,
    /// The episodes of the session of the event, for a stream that several sessions
    /// share.
    pub(crate) session_episodes: &'a [Episode],
}

/// An event and the changes that it made to the facts.
#[derive(Clone, Copy)]
pub(crate) struct Observed<'a> {
    pub(crate) event: &'a Event,
    pub(crate) step: &'a Step,
}

impl<'a> Input<'a> {
    /// Returns the event; `None` in a wake-up.
    pub(crate) fn event(&self) -> Option<&'a Event> {
        self.observed.map(|observed| observed.event)
    }

    /// Returns the location of the event.
    pub(crate) fn evidence(&self) -> Option<Evidence> {
        self.event().map(|event| Evidence::new(event.origin.as_ref(), event.kind.name()))
    }
}

impl<'a> Context<'a> {
    /// Returns the time of the event or wake-up that is being handled.
    pub fn now(&self) -> Timestamp {
        self.input.now
    }

    /// Returns the time that has passed since `at`, without the time in which the
    /// machine was suspended: an agent on a suspended machine does nothing.
    ///
    /// The time of an event that was recorded without one counts from the first time of
    /// the session.
    pub fn time_since(&self, at: Timestamp) -> SignedDuration {
        let now = self.now();
        let is_unknown = known_time(at).is_none() && known_time(now).is_some();
        let since = if is_unknown { self.first_known_time() } else { at };
        self.input.clock.time_between(since, now)
    }

    /// Returns the first time of the session; now if the session has none.
    #[cold]
    fn first_known_time(&self) -> Timestamp {
        let now = self.now();
        known_time(self.session().started_at()).map_or(now, |first| first.min(now))
    }

    /// Returns the facts of the session.
    ///
    /// In a wake-up of a detector whose stream is a label, only the id, source and
    /// labels are set, to those of the session with the latest event.
    pub fn session(&self) -> &SessionFacts {
        self.input.session
    }

    /// Returns the facts of the agent of the event.
    ///
    /// In a wake-up these are the facts of the main agent for a detector whose
    /// stream is a session, and of the agent with the latest event for a detector
    /// whose stream is a label.
    pub fn agent(&self) -> &AgentFacts {
        self.input.agent
    }

    /// Returns the calls of this agent that have no result yet, oldest first,
    /// without the calls that the policy's `exceptions` hide from the detector.
    pub fn pending(&self) -> impl Iterator<Item = &Call> {
        let hidden = &self.outbox.hidden_calls;
        self.agent().pending().iter().filter(|call| !hidden.contains(&call.id))
    }

    /// Hides the calls with these ids from [`pending`](Self::pending). For the
    /// exceptions of a policy only.
    #[doc(hidden)]
    pub fn hide(&mut self, ids: impl IntoIterator<Item = Fingerprint>) {
        self.outbox.hidden_calls.extend(ids);
    }

    /// Returns the usage that this event added to the session: `Some` for a
    /// `model_call` only.
    pub fn usage(&self) -> Option<&'a Usage> {
        self.input.observed?.step.usage.as_ref()
    }

    /// Returns the call of this result: `Some` for a `tool_result` whose call is
    /// known.
    pub fn call(&self) -> Option<&'a Call> {
        self.input.observed?.step.finished_call.as_ref()
    }

    /// Returns the class of this result: `Some` for a `tool_result` whose call is
    /// known.
    pub fn result_class(&self) -> Option<ResultClass> {
        let Observed { event, step } = self.input.observed?;
        let EventKind::ToolResult(result) = &event.kind else { return None };
        let purpose = step.finished_call.as_ref()?.purpose;
        Some(step.result_class(result, purpose))
    }

    /// Returns the progress that the call of this result made: `Some` for a `tool_result`
    /// whose call is known, if the detector subscribes
    /// [`with_contributions`](crate::Subscription::with_contributions).
    pub fn contribution(&self) -> Option<Contribution> {
        let Observed { event, step } = self.input.observed?;
        let EventKind::ToolResult(result) = &event.kind else { return None };
        step.contribution(result).filter(|_| self.open.rules.reads_contributions)
    }

    /// Returns true if [`contribution`](Self::contribution) returns `New` or `Neutral`, because
    /// most of this result is in no recent result. Takes less time than to distinguish the two.
    pub fn has_new_text(&self) -> bool {
        let Some(Observed { event, step }) = self.input.observed else { return false };
        let EventKind::ToolResult(result) = &event.kind else { return false };
        self.open.rules.reads_contributions && step.has_new_text(result)
    }

    /// Returns the cause of this result: `Some` for a `tool_result` that reports an error of a
    /// known class, whether it failed or is the output of a script whose last command succeeded.
    ///
    /// The first detector that calls this searches the result, the others get the same cause.
    pub fn error_cause(&self) -> Option<ErrorCause<'a>> {
        let Observed { event, step } = self.input.observed?;
        let EventKind::ToolResult(result) = &event.kind else { return None };
        let command = step.finished_call.as_ref().and_then(Call::command);
        Some(step.error_cause(result)?.resolve(result.output.as_deref(), command))
    }

    /// Returns the call that this event makes, with its fingerprints: `Some` for a
    /// `tool_call`.
    pub fn new_call(&self) -> Option<&'a Call> {
        let is_call = matches!(self.input.event()?.kind, EventKind::ToolCall(_));
        self.input.agent.pending().last().filter(|_| is_call)
    }

    /// Returns the location of the event that is being handled.
    pub fn evidence(&self) -> Option<Evidence> {
        self.input.evidence()
    }

    /// Returns the location of the event that is being handled in 24 bytes, for a
    /// detector that keeps it.
    pub fn place(&self) -> Option<Place> {
        self.input.event().map(|event| Place::new(event.origin.as_ref(), event.kind.name_idx()))
    }

    /// Stores the [`place`](Self::place) of the event. Faster than an assignment if the stored
    /// place is in the same file.
    pub fn store_place(&self, place: &mut Option<Place>) {
        match (place, self.input.event()) {
            (Some(place), Some(event)) => {
                place.set(event.origin.as_ref(), event.kind.name_idx());
            }
            (place, _) => *place = self.place(),
        }
    }

    /// Reports that a condition holds, with its measure.
    ///
    /// Call this whenever the measure grows. The engine compares the measure with
    /// the levels of the policy, opens one finding when the lowest is reached, emits
    /// one more for each higher severity, and counts all other reports.
    ///
    /// The `subject` separates the conditions of one stream; a detector that has
    /// only one uses [`Fingerprint::NONE`]. `report` runs only when a level is
    /// reached that is new for the subject and not suppressed, or when the session is
    /// explained, and must change nothing. The finding is dated [`now`](Self::now).
    ///
    /// Detectors that `inhibited_by` of the policy connects share one finding. While it
    /// is open, a measure emits a finding only if it is more severe, or as severe and of
    /// a more specific detector.
    #[inline]
    pub fn report(&mut self, subject: Fingerprint, measure: u64, report: impl FnOnce() -> Report) {
        let is_below = self.open.rules.levels.first().is_none_or(|level| measure < level.at);
        if !is_below || !self.open.episodes.is_empty() || self.input.is_explained {
            self.send_measure(subject, measure, report);
        }
    }

    #[cold]
    fn send_measure(
        &mut self,
        subject: Fingerprint,
        measure: u64,
        report: impl FnOnce() -> Report,
    ) {
        let is_reopened = self.outbox.resolves(subject);
        let is_known = !is_reopened && self.open.holds(subject);
        let reached = reached(&self.open.rules.levels, measure);
        let needs_finding = self.open.needs_finding(subject, reached)
            || reached.is_some() && self.outbox.resolves_any();
        let report = if needs_finding {
            Some(report())
        } else if self.input.is_explained {
            // The closure was written for measures that reach a level. An explanation
            // must not turn the detector off.
            Some(catch_unwind(AssertUnwindSafe(report)).unwrap_or_default())
        } else if reached.is_some() && self.input.follows_episodes && self.open.may_explain(subject)
        {
            catch_unwind(AssertUnwindSafe(report)).ok()
        } else if is_known || reached.is_some() {
            None
        } else {
            return;
        };
        let output = Output::Measure { subject, measure, report, reached, is_reopened };
        if self.input.is_explained {
            self.outbox.outputs.push(output);
        } else {
            self.outbox.add_measure(output);
        }
    }

    /// Returns whether another detector has an open finding about this subject in the same
    /// stream or, in a stream that sessions share, in the session of the event.
    ///
    /// For a condition that every detector of a kind observes, and that one of them has to
    /// report. Detectors run one after the other.
    pub fn is_open_elsewhere(&self, subject: Fingerprint) -> bool {
        let mut episodes = self.open.episodes.iter().chain(self.input.session_episodes);
        episodes.any(|episode| {
            let latest = episode.explained_by;
            latest.subject == subject && latest.detector_idx != self.open.rules.detector_idx
        })
    }

    /// Returns a period until [`now`](Self::now) for a message, such as ` in 5s`; nothing if
    /// the session has no times, or if the period starts at an event without one.
    pub fn within(&self, duration: SignedDuration) -> Within {
        let start = self.now().checked_sub(duration).ok().and_then(known_time);
        Within(start.filter(|_| self.input.session.has_times()).map(|_| duration))
    }

    /// Reports that a condition has ended. Does nothing if the condition has not reached a
    /// level.
    #[inline]
    pub fn resolve(&mut self, subject: Fingerprint, report: impl FnOnce() -> Report) {
        if !self.open.episodes.is_empty()
            || !self.outbox.outputs.is_empty()
            || self.input.is_explained
        {
            self.send_resolution(subject, report);
        }
    }

    #[cold]
    fn send_resolution(&mut self, subject: Fingerprint, report: impl FnOnce() -> Report) {
        let is_open = self.outbox.is_open(subject);
        let is_open = is_open.unwrap_or_else(|| self.open.holds(subject));
        let report = if is_open {
            report()
        } else if self.input.is_explained {
            catch_unwind(AssertUnwindSafe(report)).unwrap_or_default()
        } else {
            return;
        };
        self.outbox.outputs.push(Output::Resolve { subject, report });
    }

    /// Adds text to the explanation of the session, which
    /// `watchkeeper check --explain` shows.
    ///
    /// This has no other effect, and `text` runs only when the session is
    /// explained. An explanation contains all measures anyway; use this for the
    /// events that a detector ignores, and the reason.
    pub fn note(&mut self, text: impl FnOnce() -> String) {
        if self.input.is_explained {
            let text = catch_unwind(AssertUnwindSafe(text)).unwrap_or_default();
            self.outbox.outputs.push(Output::Note(text));
        }
    }

    /// Returns the lowest level of the policy above `measure`: the measure of the
    /// next report that can open or escalate a finding.
    pub fn next_level(&self, measure: u64) -> Option<u64> {
        self.open.rules.levels.iter().map(|level| level.at).find(|at| measure < *at)
    }

    /// Requests one wake-up at `at`. Replaces the earlier request.
    ///
    /// A time that has passed counts as now, so that the wake-up comes before the
    /// next event. In a wake-up it cancels the request, since the wake-ups would
    /// never end.
    pub fn wake_at(&mut self, at: Timestamp) {
        self.request(at.into());
    }

    /// Requests one wake-up after `delay`, as [`time_since`](Self::time_since)
    /// measures time. Replaces the earlier request.
    pub fn wake_after(&mut self, delay: SignedDuration) {
        match self.input.clock.time_after(self.now(), delay) {
            Some(at) => self.request(at),
            None => self.cancel_wake(),
        }
    }

    fn request(&mut self, at: PackedTimestamp) {
        let now = PackedTimestamp::from(self.now());
        self.outbox.wakeup = Some(match self.input.observed {
            Some(_) => WakeupRequest::At(at.max(now)),
            None if now < at => WakeupRequest::At(at),
            None => WakeupRequest::Cancel,
        });
    }

    /// Cancels the request.
    pub fn cancel_wake(&mut self) {
        self.outbox.wakeup = Some(WakeupRequest::Cancel);
    }
}
