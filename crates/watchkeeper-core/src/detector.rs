use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
};

use jiff::{SignedDuration, Timestamp};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::{
    AgentFacts, Call, Event, EventKind, EventSet, Evidence, ExplanationDetail, Fingerprint,
    InvalidOption, Level, Outcome, PackedTimestamp, Place, SessionFacts, Severity, Totals, Unit,
    Usage,
    engine::{CompiledDetector, DispatchContext, Episodes, Reported, RunScratch, Stream, earlier},
    grouped,
};

/// Watches one stream of events and reports what it finds.
///
/// A detector is a state machine: its findings are a function of the events
/// and wake-ups it has been given, in order, and of nothing else. It does no
/// I/O, reads no clock, and cannot fail. Its state is bounded, whatever the
/// stream does.
///
/// The engine holds one pristine copy for each detector of the policy and
/// clones it for each stream, so a detector derives [`Clone`], keeps what its
/// clones share behind an [`Arc`](std::sync::Arc), and keeps no state for any
/// stream but its own. What it keeps is what its [`Debug`](fmt::Debug) shows:
/// so the laws tell that it is bounded.
pub trait Detector: CloneDetector + fmt::Debug + Send + Sync {
    /// Reads the next event of the stream.
    fn observe(&mut self, event: &Event, cx: &mut Context<'_>);

    /// Runs at the time last asked for with [`Context::wake_at`].
    ///
    /// A detector that never asks to be woken need not implement this.
    fn wake(&mut self, cx: &mut Context<'_>) {
        let _: &mut Context<'_> = cx;
    }

    /// Returns the events that the detector receives, and how its stream is
    /// defined.
    ///
    /// The engine asks once, for the detector that the policy built. The default
    /// is every event of one agent. A narrower subscription makes the monitor
    /// faster and must change no finding; the laws check that.
    fn subscription(&self) -> Subscription {
        Subscription::default()
    }

    /// Returns whether the state equals that of a new detector.
    ///
    /// The engine drops the state of an idle detector and clones the pristine
    /// detector again when an event arrives, so that quiet sessions cost almost
    /// no memory. The [`Debug`](fmt::Debug) output of an idle detector equals that
    /// of a new one.
    fn is_idle(&self) -> bool {
        false
    }
}

/// The events that a detector receives, and how its stream is defined.
///
/// ```
/// use watchkeeper_core::{EventSet, Subscription};
///
/// const USAGE: EventSet = EventSet::of(&["model_call"]);
/// let subscription = Subscription::to(USAGE).per_session().without_exceptions();
/// assert_eq!(subscription.start_events, USAGE);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Subscription {
    /// The definition of one stream. A policy's `per` overrides it.
    pub scope: Scope,
    /// The events that the detector receives.
    pub events: EventSet,
    /// The events that an [idle](Detector::is_idle) detector receives: no other
    /// event changes its state or makes it report.
    pub start_events: EventSet,
    /// Whether an idle detector that has requested a wake-up receives no event
    /// before it. Such a detector reads the [`Context`] when it is woken, possibly
    /// too early, and requests the next wake-up then.
    pub is_timer_only: bool,
    /// Whether a policy may hide single calls from the detector (`exceptions`).
    /// The policy reader refuses exceptions for a detector that does not look at
    /// single calls.
    pub supports_exceptions: bool,
}

impl Subscription {
    /// Subscribes to these events of one agent.
    pub const fn to(events: EventSet) -> Self {
        Self {
            scope: Scope::Agent,
            events,
            start_events: events,
            is_timer_only: false,
            supports_exceptions: true,
        }
    }

    /// Narrows the events that an idle detector receives.
    pub const fn starting_with(self, start_events: EventSet) -> Self {
        Self { start_events, ..self }
    }

    /// Sets the definition of one stream.
    pub const fn scope(self, scope: Scope) -> Self {
        Self { scope, ..self }
    }

    /// Makes one stream of a session and its sub-agents.
    pub const fn per_session(self) -> Self {
        self.scope(Scope::Session)
    }

    /// Skips events while the detector is idle and waits for a wake-up.
    pub const fn timer_only(self) -> Self {
        Self { is_timer_only: true, ..self }
    }

    /// Makes the policy reader refuse `exceptions`.
    pub const fn without_exceptions(self) -> Self {
        Self { supports_exceptions: false, ..self }
    }
}

impl Default for Subscription {
    fn default() -> Self {
        Self::to(EventSet::ALL)
    }
}

/// What one stream of events is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scope {
    /// One agent of a session: a sub-agent's calls do not interrupt its
    /// parent's.
    #[default]
    Agent,
    /// A session with its sub-agents: what they spend is charged to it.
    Session,
}

/// A kind of detector: what `kind = "…"` names in a policy.
pub trait DetectorKind: Detector + Clone + Sized + 'static {
    /// The name, in kebab-case: the condition it finds, not the remedy.
    const KIND: &'static str;

    /// The README of the crate: shown by `watchkeeper explain` and on docs.rs.
    const DOCS: &'static str;

    /// What sort of trouble it finds: `timeout`, `runaway`, `budget`, `error`,
    /// or a word of your own.
    const CLASS: &'static str;

    /// What it measures.
    const UNIT: Unit = Unit::Count;

    /// The levels of a policy that names none, the lowest first.
    const LEVELS: &'static [Level] = &[Level::new(1, Severity::Medium)];

    /// Where a policy that names one `severity` and no levels draws the line.
    const LIMIT: u64 = match Self::UNIT {
        Unit::Count => Self::LEVELS[0].at,
        Unit::Percent => 100,
    };

    /// What its table in a policy may hold, beside the keys that every
    /// detector has.
    type Options: DeserializeOwned + JsonSchema;

    /// Builds a detector in its pristine state.
    ///
    /// An option that makes sense by itself but not beside the others is
    /// refused here, by name; the policy reader points at the line.
    fn new(options: Self::Options) -> Result<Self, InvalidOption>;
}

/// What a detector knows besides its own state, and what it can do.
pub struct Context<'a> {
    pub(crate) dispatch: &'a DispatchContext<'a>,
    pub(crate) compiled: &'a CompiledDetector,
    /// Those that ran before it, for the same agent or session.
    pub(crate) before: &'a [Stream],
    pub(crate) wake_at: &'a mut Option<PackedTimestamp>,
    pub(crate) episodes: &'a mut Episodes,
    pub(crate) scratch: &'a mut RunScratch,
}

impl<'a> Context<'a> {
    /// The time of the event or wake-up being handled.
    pub fn now(&self) -> Timestamp {
        self.dispatch.now
    }

    /// How long ago a time is. What the clock on the wall jumped over meanwhile does
    /// not count: an agent on a machine that slept, slept as well.
    pub fn time_since(&self, at: Timestamp) -> SignedDuration {
        self.scratch.clock_adjustments.time_between(at, self.now())
    }

    /// What is known of the session; in a wake-up of a detector that tables
    /// all sessions that share a label, only the name, source and labels of the
    /// one that spoke last.
    pub fn session(&self) -> &SessionFacts {
        self.dispatch.stream_scope.session
    }

    /// What is known of the agent that the event is about: in a wake-up of a
    /// detector that sees whole sessions, of the main agent, and of one that
    /// tables all sessions that share a label, of the one that spoke last.
    pub fn agent(&self) -> &AgentFacts {
        self.dispatch.stream_scope.agent
    }

    /// The calls of this agent that have no result yet, oldest first, but for those
    /// that a policy's `exceptions` keep from the detector.
    pub fn pending(&self) -> impl Iterator<Item = &Call> {
        self.agent().pending.iter().filter(|it| !self.scratch.hidden.contains(&it.id))
    }

    /// Keeps calls with these ids out of [`pending`](Self::pending): for a detector
    /// that is wrapped in another.
    pub fn hide(&mut self, ids: impl IntoIterator<Item = Fingerprint>) {
        self.scratch.hidden.extend(ids);
        self.scratch.is_touched = true;
    }

    /// What this event added to what the session has used: `Some` for a
    /// `model_call` only.
    pub fn usage(&self) -> Option<&Usage> {
        self.dispatch.observed?.usage
    }

    /// The call that this event answers: `Some` for a `tool_result` whose call
    /// is known.
    pub fn call(&self) -> Option<&'a Call> {
        self.dispatch.observed?.call
    }

    /// The call that this event makes, with its fingerprints: `Some` for a
    /// `tool_call`.
    pub fn made(&self) -> Option<&'a Call> {
        let is_call = matches!(self.event()?.kind, EventKind::ToolCall(_));
        self.dispatch.stream_scope.agent.pending.last().filter(|_| is_call)
    }

    /// Where a person finds the event being handled.
    pub fn evidence(&self) -> Option<Evidence> {
        self.event().map(|it| Evidence::new(it.origin.as_ref(), it.kind.name()))
    }

    /// The same in less room, for a detector that keeps it.
    pub fn place(&self) -> Option<Place> {
        self.event().map(|it| Place::new(it.origin.as_ref(), it.kind.name_idx()))
    }

    /// Puts the place of the event being handled, if there is one, where an earlier
    /// one may be kept: at less cost than to take it each time.
    pub fn keep_place(&self, kept: &mut Option<Place>) {
        match (kept, self.event()) {
            (Some(kept), Some(event)) => {
                kept.move_to(event.origin.as_ref(), event.kind.name_idx());
            }
            (kept, _) => *kept = self.place(),
        }
    }

    /// Says that a condition holds, and how far it has come.
    ///
    /// Call this whenever the measure grows: the engine compares it with the
    /// levels of the policy, opens one finding when the lowest is reached, one
    /// more for each higher severity, and counts the rest in silence. `report`
    /// runs only when there is something to say, or when somebody asks why nothing
    /// was said; so it changes nothing. The `subject` tells two
    /// conditions of one stream apart; a detector that has only one uses
    /// [`Fingerprint::NONE`]. Where the policy says that another detector inhibits
    /// this one, nothing is opened or escalated for as long as that one tells of
    /// something as severe.
    ///
    /// The finding is dated [`now`](Self::now).
    #[inline]
    pub fn report(&mut self, subject: Fingerprint, measure: u64, report: impl FnOnce() -> Report) {
        let is_below = self.levels().first().is_none_or(|it| measure < it.at);
        if !is_below || !self.episodes.is_empty() || self.dispatch.is_explained {
            self.evaluate(subject, measure, report);
        }
    }

    /// Raises what may have to be said.
    #[cold]
    fn evaluate(&mut self, subject: Fingerprint, measure: u64, report: impl FnOnce() -> Report) {
        let levels = self.levels();
        let was = self.episodes.severity(subject);
        let used = Used::of(&self.session().totals);
        let inhibited = self.compiled.inhibited(self.before);
        let raised = self.episodes.raise(subject, measure, levels, inhibited, used);
        let Some((severity, since)) = raised else {
            if self.dispatch.is_explained {
                let outcome = self.silence(measure, was);
                self.record(report, |message| ExplanationDetail::Reported {
                    subject,
                    measure,
                    message,
                    outcome,
                });
            }
            return;
        };
        let mut report = self.with_cost(report(), since);
        if self.dispatch.is_explained {
            let outcome = match was {
                None => Outcome::Opened(severity),
                Some(_) => Outcome::Escalated(severity),
            };
            let message = report.message.clone();
            self.scratch.noted.push(ExplanationDetail::Reported {
                subject,
                measure,
                message,
                outcome,
            });
        }
        report.evidence.extend(self.evidence());
        self.scratch.is_touched = true;
        self.scratch.raised.push(Reported { subject, severity: Some(severity), measure, report });
    }

    /// Says that a condition has ended. Does nothing if no finding is open.
    #[inline]
    pub fn resolve(&mut self, subject: Fingerprint, report: impl FnOnce() -> Report) {
        if !self.episodes.is_empty() || self.dispatch.is_explained {
            self.close(subject, report);
        }
    }

    /// Resolves what may be open.
    #[cold]
    fn close(&mut self, subject: Fingerprint, report: impl FnOnce() -> Report) {
        let Some((measure, since)) = self.episodes.resolve(subject) else {
            self.record(report, |message| ExplanationDetail::Ended {
                subject,
                message,
                was_open: false,
            });
            return;
        };
        let report = self.with_cost(report(), since);
        if self.dispatch.is_explained {
            let message = report.message.clone();
            self.scratch.noted.push(ExplanationDetail::Ended { subject, message, was_open: true });
        }
        self.scratch.is_touched = true;
        self.scratch.raised.push(Reported { subject, severity: None, measure, report });
    }

    /// Says something to a person who asks why something was found, or was not:
    /// `watchkeeper check --explain` shows it. It has no other effect, and `text`
    /// runs only where somebody asks.
    ///
    /// What is measured is told anyway; this is for what is left out.
    pub fn note(&mut self, text: impl FnOnce() -> String) {
        self.record(|| Report::new(text()), ExplanationDetail::Noted);
    }

    fn event(&self) -> Option<&'a Event> {
        self.dispatch.observed.map(|it| it.event)
    }

    fn levels(&self) -> &'a [Level] {
        &self.compiled.named.levels
    }

    /// Says what the session used since a finding was opened, unless that is what
    /// the finding is about.
    fn with_cost(&self, report: Report, since: Used) -> Report {
        let is_budget = self.compiled.is_budget;
        if is_budget { report } else { report.with_cost(&self.session().totals, since) }
    }

    /// Why nothing is said of a measure.
    fn silence(&self, measure: u64, was: Option<Severity>) -> Outcome {
        let reached =
            self.levels().iter().filter(|it| it.at <= measure).map(|it| it.severity).max();
        match (reached.filter(|it| was < Some(*it)), was) {
            // What is new would have been said, if another did not say it.
            (Some(it), _) => Outcome::Inhibited(it),
            (None, Some(it)) => Outcome::Counted(it),
            (None, None) => Outcome::Below,
        }
    }

    /// Notes down what a report says that nobody gets to see.
    fn record(
        &mut self,
        report: impl FnOnce() -> Report,
        noted: impl FnOnce(String) -> ExplanationDetail,
    ) {
        if self.dispatch.is_explained {
            // It is written earlier than it was made for, and to ask changes nothing.
            let report = catch_unwind(AssertUnwindSafe(report)).unwrap_or_default();
            self.scratch.noted.push(noted(report.message));
        }
    }

    /// The lowest level of the policy above `measure`: when there is more to
    /// say than at `measure`.
    pub fn next_level(&self, measure: u64) -> Option<u64> {
        self.levels().iter().map(|it| it.at).find(|it| measure < *it)
    }

    /// Asks to be woken once at `at`, in place of any earlier ask.
    ///
    /// A time that has passed counts as the present one, and before the next
    /// event; in a wake-up, which would never end, it counts as none.
    pub fn wake_at(&mut self, at: Timestamp) {
        self.wake_at_moment(at.into());
    }

    /// Asks to be woken once, when `delay` will have passed as
    /// [`time_since`](Self::time_since) measures it, in place of any earlier ask.
    pub fn wake_after(&mut self, delay: SignedDuration) {
        match self.scratch.clock_adjustments.time_after(self.dispatch.moment, delay) {
            Some(at) => self.wake_at_moment(at),
            None => self.cancel_wake(),
        }
    }

    fn wake_at_moment(&mut self, at: PackedTimestamp) {
        let now = self.dispatch.moment;
        *self.wake_at = match self.dispatch.observed {
            Some(_) => Some(at.max(now)),
            None => (now < at).then_some(at),
        };
        self.scratch.first_wake = earlier(self.scratch.first_wake, *self.wake_at);
    }

    /// Takes back what was asked for.
    pub fn cancel_wake(&mut self) {
        *self.wake_at = None;
    }
}

/// What a session had used at some time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Used {
    tokens: u64,
    cost_usd: f64,
}

impl Used {
    pub(crate) fn of(totals: &Totals) -> Self {
        Self { tokens: totals.tokens.total(), cost_usd: totals.cost_usd }
    }
}

/// What a detector has to say.
#[derive(Clone, Debug, Default)]
pub struct Report {
    pub(crate) message: String,
    pub(crate) data: Map<String, Value>,
    pub(crate) evidence: Vec<Evidence>,
}

impl Report {
    /// Says it in one line: no full stop, and text from agents only through
    /// [`quote`](crate::quote).
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), ..Self::default() }
    }

    /// Adds a fact for programs.
    pub fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.data.insert(key.to_owned(), value.into());
        self
    }

    /// Adds what a session used in the meantime, if it did.
    pub(crate) fn with_cost(mut self, totals: &Totals, since: Used) -> Self {
        let tokens = totals.tokens.total().saturating_sub(since.tokens);
        if tokens == 0 {
            return self;
        }
        let noun = if tokens == 1 { "token" } else { "tokens" };
        let mut used = format!("{} {noun}", grouped(tokens));
        self = self.with("tokens_since_found", tokens);
        let cost_usd = totals.cost_usd - since.cost_usd;
        if 0.005 <= cost_usd {
            used = format!("{used}, ${cost_usd:.2}");
            self = self.with("cost_usd_since_found", cost_usd);
        }
        self.message = format!("{}; since it was found: {used}", self.message);
        self
    }

    /// Points at an earlier place. The event being handled is added by itself.
    pub fn since(mut self, evidence: Option<Evidence>) -> Self {
        self.evidence.extend(evidence);
        self
    }
}

/// Lets a boxed detector be cloned; implemented for every [`Clone`] detector.
pub trait CloneDetector {
    /// Clones into a new box.
    fn clone_box(&self) -> Box<dyn Detector>;
}

impl Clone for Box<dyn Detector> {
    fn clone(&self) -> Self {
        self.as_ref().clone_box()
    }
}

impl<D: Detector + Clone + 'static> CloneDetector for D {
    fn clone_box(&self) -> Box<dyn Detector> {
        Box::new(self.clone())
    }
}
