use jiff::Timestamp;

use super::{
    call::Call,
    progress::RecentCalls,
    responses::Responses,
    start::Start,
    state::{AgentState, StateKind},
    step::Step,
};
use crate::{
    Event, EventKind, Evidence, Fingerprint, Place, ToolClass, WaitingFor, compact::PackedTimestamp,
};

/// The number of pending calls that an agent keeps. The oldest is dropped first.
pub(super) const MAX_PENDING: usize = 64;

/// The facts of one agent of a session.
#[derive(Clone, Debug, Default)]
pub struct AgentFacts {
    turn: Option<PackedTimestamp>,
    wait: Wait,
    pending: Vec<Call>,
    activity: Option<Activity>,
    /// The latest change that succeeded since the latest prompt of a person.
    last_change: Fingerprint,
    has_new_change: bool,
    ending: Ending,
    start: Start,
    depth: u8,
    responses: Responses,
    recent_calls: RecentCalls,
}

/// The latest activity of an agent.
///
/// A retried error does not count while a response is pending, since the model has
/// sent nothing.
#[derive(Clone, Debug)]
pub struct Activity {
    at: PackedTimestamp,
    place: Place,
    is_within_response: bool,
    /// The number of attempts that failed since, at most 255.
    n_failed_attempts: u8,
}

/// The latest wait for a person.
#[derive(Clone, Copy, Debug, Default)]
enum Wait {
    #[default]
    None,
    /// The agent waits since an event that contains the reason.
    Waiting { since: PackedTimestamp, reason: WaitingFor },
    /// The agent continued, and a call has been pending since then.
    Resumed { at: PackedTimestamp },
}

/// The end of a session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Ending {
    #[default]
    None,
    Ended,
    Gone,
}

/// The part of an agent's state that its session counts.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct AgentStatus {
    pub(super) has_turn: bool,
    pub(super) waits: bool,
}

/// The cause of a state.
enum Present<'a> {
    /// A call without a result.
    Call(&'a Call),
    /// The latest event, for a state that began at this time.
    Since(Option<Timestamp>),
}

impl AgentFacts {
    /// Returns the time since which a turn is open: from a prompt, or the first
    /// activity, until the agent has finished.
    pub fn turn(&self) -> Option<Timestamp> {
        self.turn.map(Into::into)
    }

    /// Returns the time since which the agent waits for a person, and the reason.
    pub fn waiting(&self) -> Option<(Timestamp, WaitingFor)> {
        match self.wait {
            Wait::Waiting { since, reason } => Some((since.into(), reason)),
            Wait::None | Wait::Resumed { .. } => None,
        }
    }

    /// Returns the number of agents above this one: 0 for the main agent, 1 for a sub-agent that
    /// the main agent started, at most 255.
    ///
    /// The least possible number where the source does not record who started an agent.
    pub fn depth(&self) -> u8 {
        self.depth
    }

    /// Returns the calls without a result, oldest first.
    pub fn pending(&self) -> &[Call] {
        &self.pending
    }

    /// Returns the time at which the agent last stopped waiting for a person, if a
    /// call has been pending since then and the agent does not wait again.
    pub fn resumed_at(&self) -> Option<Timestamp> {
        match self.wait {
            Wait::Resumed { at } => Some(at.into()),
            Wait::None | Wait::Waiting { .. } => None,
        }
    }

    /// Returns the latest activity.
    pub fn activity(&self) -> Option<&Activity> {
        self.activity.as_ref()
    }

    /// Returns the present state of the agent, and the event that proves the state.
    pub fn state(&self) -> AgentState {
        match self.present() {
            (_, Present::Call(call)) => call.state(),
            (kind, Present::Since(since)) => {
                AgentState::new(kind, since, self.activity.as_ref().map(Activity::evidence))
            }
        }
    }

    /// Returns the kind of the present state, without its proof.
    pub(crate) fn state_kind(&self) -> StateKind {
        self.present().0
    }

    fn present(&self) -> (StateKind, Present<'_>) {
        let ask = self.pending.iter().find(|call| call.class == ToolClass::Ask);
        let activity = self.activity.as_ref();
        let (kind, since) = if let Some((at, reason)) = self.waiting() {
            (StateKind::waiting_for(reason), Some(at))
        } else if let Some(call) = ask {
            (StateKind::WaitingForPerson, Some(call.at))
        } else if let Some(call) = self.pending.first() {
            let call = self.pending.iter().find(|call| call.is_running).unwrap_or(call);
            return (call.state_kind(), Present::Call(call));
        } else if self.turn.is_none() {
            let kind = match self.ending {
                Ending::None => StateKind::Idle,
                Ending::Ended => StateKind::Ended,
                Ending::Gone => StateKind::Gone,
            };
            (kind, activity.map(Activity::at))
        } else {
            let kind = match activity {
                Some(activity) if 0 < activity.n_failed_attempts => StateKind::Retrying,
                Some(activity) if activity.is_within_response => StateKind::Working,
                _ => StateKind::WaitingForModel,
            };
            (kind, activity.map(Activity::at))
        };
        (kind, Present::Since(since))
    }

    /// Returns whether the latest event is a successful change that differs from the
    /// change before it.
    pub fn has_new_change(&self) -> bool {
        self.has_new_change
    }

    /// Returns the effect of the latest event on the stretch of work.
    pub fn start(&self) -> Start {
        self.start
    }

    /// Returns whether the model has to respond: a turn is open, no call is pending,
    /// and the agent does not wait for a person.
    pub fn awaits_response(&self) -> bool {
        self.turn.is_some() && self.pending.is_empty() && self.waiting().is_none()
    }

    /// Returns whether the agent waits for a person: after a `waiting` event, or while
    /// a call that asks a person is pending.
    pub fn waits_for_person(&self) -> bool {
        self.waiting().is_some() || self.pending.iter().any(|call| call.class == ToolClass::Ask)
    }

    /// Updates the facts from an event, and writes the call of a result to
    /// `finished_call`, which is `None` before.
    pub(crate) fn observe(
        &mut self,
        event: &Event,
        at: Timestamp,
        finished_call: &mut Option<Call>,
    ) {
        let waited = self.waits_for_person();
        let is_retry = matches!(event.kind, EventKind::Error { retry: Some(_), .. });
        let is_still_silent = is_retry && self.awaits_response();
        self.update_turn(event, at, finished_call);
        let resumes = matches!(event.kind, EventKind::Resumed(_));
        if !self.pending.is_empty() && (resumes || waited && !self.waits_for_person()) {
            self.wait = Wait::Resumed { at: at.into() };
        } else if self.pending.is_empty() && self.waiting().is_none() {
            self.wait = Wait::None;
        }
        if !is_still_silent {
            self.update_activity(event, at);
        }
        if let (true, Some(activity)) = (is_retry, &mut self.activity) {
            activity.n_failed_attempts = activity.n_failed_attempts.saturating_add(1);
        }
    }

    fn update_activity(&mut self, event: &Event, at: Timestamp) {
        let (at, name_idx) = (at.into(), event.kind.name_idx());
        let is_part = matches!(event.kind, EventKind::Thinking { .. } | EventKind::Message { .. });
        match &mut self.activity {
            Some(activity) => {
                activity.at = at;
                activity.n_failed_attempts = 0;
                activity.place.set(event.origin.as_ref(), name_idx);
                // Some agents record the usage of a response before it is complete.
                let is_usage = matches!(event.kind, EventKind::ModelCall(_));
                activity.is_within_response = is_part || activity.is_within_response && is_usage;
            }
            none => {
                let place = Place::new(event.origin.as_ref(), name_idx);
                *none =
                    Some(Activity { at, place, is_within_response: is_part, n_failed_attempts: 0 });
            }
        }
    }

    fn update_turn(&mut self, event: &Event, at: Timestamp, finished_call: &mut Option<Call>) {
        self.has_new_change = false;
        self.start = Start::Continued;
        match &event.kind {
            EventKind::Prompt { synthetic, .. } => {
                self.start = self.start_of_prompt(*synthetic, at);
                if !synthetic {
                    self.turn = None;
                    self.last_change = Fingerprint::NONE;
                }
                self.continue_turn(at);
            }
            EventKind::AgentStart { .. }
            | EventKind::Message { .. }
            | EventKind::Thinking { .. }
            | EventKind::ModelCall(_)
            | EventKind::Error { retry: Some(_), .. } => self.continue_turn(at),
            EventKind::ToolCall(call) => {
                self.continue_turn(at);
                if self.pending.len() == MAX_PENDING {
                    self.pending.remove(0);
                }
                // Most agents make one call at a time.
                if self.pending.is_empty() {
                    self.pending.reserve_exact(1);
                }
                self.pending.push(Call::new(call, event, at));
            }
            EventKind::ToolResult(result) => {
                let id = Fingerprint::of(&*result.id);
                let idx = self.pending.iter().position(|call| call.id == id);
                // The result of a call that ended the turn, such as a handoff, comes late and
                // begins no turn. The first event of a session may be any result.
                if idx.is_some() || self.turn.is_some() || self.activity.is_none() {
                    self.continue_turn(at);
                }
                let Some(idx) = idx else { return };
                let call = finished_call.insert(self.pending.remove(idx));
                if self.pending.is_empty() {
                    self.pending = Vec::new();
                }
                if result.ok && call.class == ToolClass::Write {
                    self.has_new_change = self.last_change != call.fingerprint;
                    self.last_change = call.fingerprint;
                }
            }
            EventKind::Waiting(reason) => {
                self.wait = Wait::Waiting { since: at.into(), reason: *reason };
            }
            EventKind::Resumed(_) => {
                self.stop_waiting();
                // Of parallel calls, the event does not identify the one that runs.
                if let [call] = self.pending.as_mut_slice() {
                    call.is_running = true;
                }
            }
            // After a handoff the other agent continues the conversation.
            EventKind::Handoff { .. }
            | EventKind::TurnEnd
            | EventKind::AgentEnd
            | EventKind::Error { retry: None, .. } => self.close_turn(),
            EventKind::SessionEnd { reason } => {
                self.close_turn();
                let is_gone = reason.as_deref() == Some(EventKind::PROCESS_GONE);
                self.ending = if is_gone { Ending::Gone } else { Ending::Ended };
            }
            // A person can compact the context between two turns.
            EventKind::Compaction { .. } | EventKind::Quota(_) | EventKind::SessionStart(_) => {}
        }
    }

    fn start_of_prompt(&self, synthetic: bool, at: Timestamp) -> Start {
        if !synthetic {
            return Start::Person;
        }
        let Some(activity) = self.activity.as_ref().filter(|_| self.pending.is_empty()) else {
            return Start::Continued;
        };
        Start::of_synthetic(self.turn.is_some(), at.duration_since(activity.at()))
    }

    fn continue_turn(&mut self, at: Timestamp) {
        if self.turn.is_none() {
            self.turn = Some(at.into());
            self.ending = Ending::None;
        }
        self.stop_waiting();
    }

    fn stop_waiting(&mut self) {
        if self.waiting().is_some() {
            self.wait = Wait::None;
        }
    }

    fn close_turn(&mut self) {
        self.turn = None;
        self.stop_waiting();
        self.pending = Vec::new();
    }

    /// Makes the agent one that another agent started, whose depth is `depth_above`.
    pub(crate) fn set_depth_below(&mut self, depth_above: u8) {
        self.depth = depth_above.saturating_add(1);
    }

    pub(crate) fn status(&self) -> AgentStatus {
        AgentStatus { has_turn: self.turn.is_some(), waits: self.waits_for_person() }
    }

    #[cfg(test)]
    pub(super) fn pending_capacity(&self) -> usize {
        self.pending.capacity()
    }

    /// Updates the recent calls from an event whose other changes are in `step`, and writes
    /// the provisional contribution of a finished call to it.
    pub(crate) fn observe_progress(&mut self, event: &Event, step: &mut Step) {
        if self.start.reason().is_some() || matches!(event.kind, EventKind::Compaction { .. }) {
            self.recent_calls.clear();
        }
        if let (EventKind::ToolResult(result), Some(call)) = (&event.kind, &step.finished_call) {
            step.provisional_contribution = Some(self.recent_calls.add(call, result, step));
        }
    }

    pub(super) fn responses(&mut self) -> &mut Responses {
        &mut self.responses
    }
}

impl Activity {
    /// Returns the time of the event.
    pub fn at(&self) -> Timestamp {
        self.at.into()
    }

    /// Returns the location of the event.
    pub fn evidence(&self) -> Evidence {
        self.place.evidence()
    }

    /// Returns the number of attempts to call the model that failed since, at most 255.
    pub fn n_failed_attempts(&self) -> u8 {
        self.n_failed_attempts
    }

    /// Returns whether the model has begun a response that may be incomplete.
    pub fn is_within_response(&self) -> bool {
        self.is_within_response
    }
}
