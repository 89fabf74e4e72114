use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
};

use jiff::{SignedDuration, Timestamp};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::{
    AgentFacts, Call, Event, EventKind, EventSet, Evidence, Fingerprint, InvalidOption, Level,
    Moment, Noted, Outcome, Place, SessionFacts, Severity, Totals, Unit, Usage,
    engine::{Desk, Episodes, Frame, Posted, Raised, Stream, earlier},
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

    /// What one stream is. A policy's `per` overrides it.
    fn scope(&self) -> Scope {
        Scope::Agent
    }

    /// The events that it reads: of any other it learns nothing, and finds
    /// nothing by it. The engine spares it those.
    fn reads(&self) -> EventSet {
        EventSet::ALL
    }

    /// The events with which something can begin: of any other, one that is
    /// [at rest](Self::at_rest) learns nothing, and finds nothing by it. The
    /// engine spares it those, and most detectors are at rest most of the time.
    fn begins_with(&self) -> EventSet {
        self.reads()
    }

    /// Whether it sleeps: one that is [at rest](Self::at_rest) and has asked to be
    /// woken finds the same if it is shown no event before. It goes by what the
    /// [`Context`] knows when it is woken, and goes to sleep again if that is too
    /// early. The engine spares it those events.
    fn sleeps(&self) -> bool {
        false
    }

    /// Whether it is as good as new: from here on it would find what a new one
    /// would.
    ///
    /// The engine keeps no detector for a stream in which nothing is to be
    /// remembered, and clones the pristine one again when that changes: most
    /// sessions go well, and there are very many of them. A detector that says
    /// so shows the same with [`Debug`](fmt::Debug) as a new one.
    fn at_rest(&self) -> bool {
        false
    }

    /// Whether it goes by single calls, so that a policy may keep some from it.
    ///
    /// The policy reader refuses `exceptions` for a detector that does not: they
    /// would change nothing, or make it miss what goes on.
    fn heeds_calls(&self) -> bool {
        true
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
    pub(crate) frame: &'a Frame<'a>,
    pub(crate) posted: &'a Posted,
    /// Those that ran before it, for the same agent or session.
    pub(crate) before: &'a [Stream],
    pub(crate) wake_at: &'a mut Option<Moment>,
    pub(crate) episodes: &'a mut Episodes,
    pub(crate) desk: &'a mut Desk,
}

impl<'a> Context<'a> {
    /// The time of the event or wake-up being handled.
    pub fn now(&self) -> Timestamp {
        self.frame.now
    }

    /// How long ago a time is. What the clock on the wall jumped over meanwhile does
    /// not count: an agent on a machine that slept, slept as well.
    pub fn time_since(&self, at: Timestamp) -> SignedDuration {
        self.desk.jumps.time_between(at, self.now())
    }

    /// What is known of the session; in a wake-up of a detector that watches
    /// all sessions that share a label, only the name, source and labels of the
    /// one that spoke last.
    pub fn session(&self) -> &SessionFacts {
        self.frame.scene.session
    }

    /// What is known of the agent that the event is about: in a wake-up of a
    /// detector that sees whole sessions, of the main agent, and of one that
    /// watches all sessions that share a label, of the one that spoke last.
    pub fn agent(&self) -> &AgentFacts {
        self.frame.scene.agent
    }

    /// The calls of this agent that have no result yet, oldest first, but for those
    /// that a policy's `exceptions` keep from the detector.
    pub fn pending(&self) -> impl Iterator<Item = &Call> {
        self.agent().pending.iter().filter(|it| !self.desk.hidden.contains(&it.id))
    }

    /// Keeps calls with these ids out of [`pending`](Self::pending): for a detector
    /// that is wrapped in another.
    pub fn hide(&mut self, ids: impl IntoIterator<Item = Fingerprint>) {
        self.desk.hidden.extend(ids);
        self.desk.is_touched = true;
    }

    /// What this event added to what the session has used: `Some` for a
    /// `model_call` only.
    pub fn usage(&self) -> Option<&Usage> {
        self.frame.observed?.usage
    }

    /// The call that this event answers: `Some` for a `tool_result` whose call
    /// is known.
    pub fn call(&self) -> Option<&'a Call> {
        self.frame.observed?.call
    }

    /// The call that this event makes, with its fingerprints: `Some` for a
    /// `tool_call`.
    pub fn made(&self) -> Option<&'a Call> {
        let is_call = matches!(self.event()?.kind, EventKind::ToolCall(_));
        self.frame.scene.agent.pending.last().filter(|_| is_call)
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
    pub fn raise(&mut self, subject: Fingerprint, measure: u64, report: impl FnOnce() -> Report) {
        let is_below = self.levels().first().is_none_or(|it| measure < it.at);
        if !is_below || !self.episodes.is_empty() || self.frame.is_explained {
            self.weigh(subject, measure, report);
        }
    }

    /// Raises what may have to be said.
    #[cold]
    fn weigh(&mut self, subject: Fingerprint, measure: u64, report: impl FnOnce() -> Report) {
        let levels = self.levels();
        let was = self.episodes.severity(subject);
        let used = Used::of(&self.session().totals);
        let inhibited = self.posted.inhibited(self.before);
        let raised = self.episodes.raise(subject, measure, levels, inhibited, used);
        let Some((severity, since)) = raised else {
            if self.frame.is_explained {
                let outcome = self.silence(measure, was);
                self.note(report, |message| Noted::Raised { subject, measure, message, outcome });
            }
            return;
        };
        let mut report = self.with_cost(report(), since);
        if self.frame.is_explained {
            let outcome = match was {
                None => Outcome::Opened(severity),
                Some(_) => Outcome::Escalated(severity),
            };
            let message = report.message.clone();
            self.desk.noted.push(Noted::Raised { subject, measure, message, outcome });
        }
        report.evidence.extend(self.evidence());
        self.desk.is_touched = true;
        self.desk.raised.push(Raised { subject, severity: Some(severity), measure, report });
    }

    /// Says that a condition has ended. Does nothing if no finding is open.
    #[inline]
    pub fn resolve(&mut self, subject: Fingerprint, report: impl FnOnce() -> Report) {
        if !self.episodes.is_empty() || self.frame.is_explained {
            self.close(subject, report);
        }
    }

    /// Resolves what may be open.
    #[cold]
    fn close(&mut self, subject: Fingerprint, report: impl FnOnce() -> Report) {
        let Some((measure, since)) = self.episodes.resolve(subject) else {
            self.note(report, |message| Noted::Ended { subject, message, was_open: false });
            return;
        };
        let report = self.with_cost(report(), since);
        if self.frame.is_explained {
            let message = report.message.clone();
            self.desk.noted.push(Noted::Ended { subject, message, was_open: true });
        }
        self.desk.is_touched = true;
        self.desk.raised.push(Raised { subject, severity: None, measure, report });
    }

    /// Says something to a person who asks why something was found, or was not:
    /// `watchkeeper check --explain` shows it. It has no other effect, and `remark`
    /// runs only where somebody asks.
    ///
    /// What is measured is told anyway; this is for what is left out.
    pub fn remark(&mut self, remark: impl FnOnce() -> String) {
        self.note(|| Report::new(remark()), Noted::Remarked);
    }

    fn event(&self) -> Option<&'a Event> {
        self.frame.observed.map(|it| it.event)
    }

    fn levels(&self) -> &'a [Level] {
        &self.posted.named.levels
    }

    /// Says what the session used since a finding was opened, unless that is what
    /// the finding is about.
    fn with_cost(&self, report: Report, since: Used) -> Report {
        let is_budget = self.posted.is_budget;
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
    fn note(&mut self, report: impl FnOnce() -> Report, noted: impl FnOnce(String) -> Noted) {
        if self.frame.is_explained {
            // It is written earlier than it was made for, and to ask changes nothing.
            let report = catch_unwind(AssertUnwindSafe(report)).unwrap_or_default();
            self.desk.noted.push(noted(report.message));
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
        match self.desk.jumps.time_after(self.frame.moment, delay) {
            Some(at) => self.wake_at_moment(at),
            None => self.cancel_wake(),
        }
    }

    fn wake_at_moment(&mut self, at: Moment) {
        let now = self.frame.moment;
        *self.wake_at = match self.frame.observed {
            Some(_) => Some(at.max(now)),
            None => (now < at).then_some(at),
        };
        self.desk.first_wake = earlier(self.desk.first_wake, *self.wake_at);
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
