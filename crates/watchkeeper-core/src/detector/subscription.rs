use crate::EventSet;

/// The events that a detector receives, and the definition of its stream.
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
    /// The events that an [idle](crate::Detector::is_idle) detector receives: no
    /// other event changes its state or makes it report.
    pub start_events: EventSet,
    /// Whether an idle detector that has requested a wake-up receives no event
    /// before it. Such a detector reads the [`Context`](crate::Context) when it is
    /// woken, possibly too early, and requests the next wake-up then.
    pub is_timer_only: bool,
    /// Whether a policy may hide single calls from the detector (`exceptions`).
    /// The policy reader refuses exceptions for a detector that does not use single
    /// calls.
    pub supports_exceptions: bool,
    /// Whether the detector reads [`Context::contribution`](crate::Context::contribution), which
    /// the engine computes only for such detectors.
    pub reads_contributions: bool,
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
            reads_contributions: false,
        }
    }

    /// Subscribes to all events, whether the detector is idle or not.
    pub const fn widened(self) -> Self {
        let all = EventSet::ALL;
        Self { events: all, start_events: all, is_timer_only: false, ..self }
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

    /// Makes the engine compute the contribution of each finished call.
    pub const fn with_contributions(self) -> Self {
        Self { reads_contributions: true, ..self }
    }
}

impl Default for Subscription {
    fn default() -> Self {
        Self::to(EventSet::ALL)
    }
}

/// The definition of one stream of events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Scope {
    /// One agent of a session: the calls of a sub-agent do not interrupt the calls
    /// of its parent.
    #[default]
    Agent,
    /// A session with its sub-agents: the session pays for their tokens.
    Session,
}
