//! The ends of turns, which not all versions write.

use jiff::SignedDuration;
use watchkeeper_core::{Fingerprint, author::EventSink};

use super::{
    events::{Context, LineEvents},
    state::{PossibleTurnEnd, State},
};

impl LineEvents<'_, '_> {
    /// Handles further activity of an agent, in the message with the id `message`.
    ///
    /// The agent's earlier message ended the turn if it is another one and the activity
    /// comes later than the next step of a turn.
    pub(super) fn continue_turn(&mut self, message: Option<Fingerprint>) {
        /// The blocks of a message are written together, and the calls in it start at
        /// once.
        const NEXT_STEP: SignedDuration = SignedDuration::from_secs(5);
        if let Some(end) = &self.state.possible_turn_end
            && end.agent == self.context.agent
        {
            let is_same = end.message.is_some() && end.message == message;
            if !is_same && NEXT_STEP < self.context.at.duration_since(end.at) {
                self.end_implicit_turn();
            }
            self.state.possible_turn_end = None;
        }
        self.state.is_turn_over &= self.context.agent.is_some();
    }

    pub(super) fn end_turn(&mut self) {
        self.context.end_turn(self.state, self.sink);
    }

    /// Ends a turn whose end is implied by this line.
    pub(super) fn end_implicit_turn(&mut self) {
        end_implicit_turn(self.state, self.sink);
    }
}

/// Ends a turn whose end is implied by the next line, or by the end of the file.
pub(super) fn end_implicit_turn(state: &mut State, sink: &mut EventSink<'_>) {
    if let Some(PossibleTurnEnd { at, agent, .. }) = state.possible_turn_end.take() {
        let context = Context { at, session: state.session.clone(), agent };
        context.end_turn(state, sink);
    }
}
