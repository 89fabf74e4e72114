use crate::{Tokens, Usage, facts::StateKind};

/// The counts of an engine since it was made: of the sessions that it has, and of all events.
///
/// They change with each event and cost nothing to read, whatever the number of sessions.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct EngineTotals {
    /// Events.
    pub events: u64,
    /// The sessions that the engine has.
    pub sessions: SessionStates,
    /// Tokens, those of sessions that were dropped among them.
    pub tokens: Tokens,
    /// The cost in US dollars of the model calls with a known price, as for `tokens`.
    pub cost_usd: f64,
}

/// Numbers of sessions by state.
///
/// The state of a session is that of an agent that needs a person, or else of the main agent while
/// it is active, or else of a sub-agent that is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SessionStates([u64; StateKind::ALL.len()]);

impl SessionStates {
    /// Returns the number of sessions in a state.
    pub const fn of(&self, state: StateKind) -> u64 {
        self.0[state as usize]
    }

    /// Counts a session in a state in place of the earlier one; `None` for no session.
    pub(super) fn replace(&mut self, earlier: Option<StateKind>, state: Option<StateKind>) {
        if earlier == state {
            return;
        }
        if let Some(earlier) = earlier {
            self.0[earlier as usize] -= 1;
        }
        if let Some(state) = state {
            self.0[state as usize] += 1;
        }
    }
}

impl EngineTotals {
    pub(super) fn add(&mut self, usage: Option<Usage>) {
        self.events += 1;
        if let Some(usage) = usage {
            self.tokens = self.tokens.plus(usage.tokens);
            self.cost_usd += usage.cost_usd.unwrap_or(0.0);
        }
    }
}
