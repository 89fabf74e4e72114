use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;
use watchkeeper_core::author::{Evidence, SessionFacts, StateKind, Tokens};

use crate::finding::FindingCounts;

/// One session in a table of sessions.
///
/// Texts are as their source wrote them, within the limits of events. They are text and never
/// markup, and not safe for a terminal.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct SessionRow {
    /// The id of the session.
    pub session: String,
    /// The kind of source that read the session.
    pub source: Option<String>,
    /// The working folder.
    pub cwd: Option<String>,
    /// The model of the latest model call.
    pub model: Option<String>,
    /// The labels of the policy and of the session, each with at most 256 bytes of its value.
    pub labels: BTreeMap<String, String>,
    /// The time of the first event; `null` for a session without times.
    #[schemars(with = "Option<String>")]
    pub started_at: Option<Timestamp>,
    /// The time of the latest event; `null` for a session without times.
    #[schemars(with = "Option<String>")]
    pub last_event_at: Option<Timestamp>,
    /// The present state, or the state at the end of a recorded session.
    pub state: SessionState,
    /// Events.
    pub events: u64,
    /// Tool calls.
    pub tool_calls: u64,
    /// Tool results that are not ok, for any cause.
    pub failed_results: u64,
    /// Results that repeat an earlier one; see [`Costs`](crate::Costs).
    pub repeated_results: u64,
    /// Model calls.
    pub model_calls: u64,
    /// Tokens of the session with its sub-agents.
    pub tokens: Tokens,
    /// The cost in US dollars of the calls with a known price; `null` if no call has one.
    pub cost_usd: Option<f64>,
    /// Model calls without a known price, which `cost_usd` excludes.
    pub unpriced_calls: u64,
    /// The part of `cost_usd` that was spent on repeats; see [`Costs`](crate::Costs).
    pub repeats_usd: f64,
    /// The fill of the main agent's context at its latest model call.
    pub context: Option<ContextFill>,
    /// The time of the session by what it was spent on; zero for a session without times.
    pub time: TimeSplit,
    /// The number of sub-agents that sent an event.
    pub sub_agents: u64,
    /// The findings about the session.
    pub findings: FindingCounts,
    /// Whether a finding of class `runaway` is open: the session loops.
    pub is_looping: bool,
}

/// The state of a session: of the agent that needs a person, or else of the main agent while its
/// turn is open, or else of the sub-agent that is active.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct SessionState {
    /// The kind of state.
    pub kind: StateKind,
    /// The time at which the state began; `null` for a session without times.
    #[schemars(with = "Option<String>")]
    pub since: Option<Timestamp>,
    /// The sub-agent; `null` for the main agent.
    pub agent: Option<String>,
    /// The event that proves the state.
    pub proof: Option<Evidence>,
}

/// The fill of a context window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ContextFill {
    /// Tokens of the input of the model call, cached ones included.
    pub tokens: u64,
    /// The size of the window in tokens, if the source or the table of models knows it.
    pub window: Option<u64>,
}

/// The time from the first event of a session to the latest one, by what it was spent on, in
/// milliseconds.
///
/// Each moment counts once, by the state of the main agent; while no turn of the main agent is
/// open, by the state of the sub-agent that is active.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct TimeSplit {
    /// The model responds, or has to respond.
    pub model_ms: u64,
    /// The model is called again after an error.
    pub retrying_ms: u64,
    /// A tool runs, or a call has no result; sub-agents are calls, too.
    pub tools_ms: u64,
    /// The agent waits for a permission or a reply.
    pub person_ms: u64,
    /// No turn is open.
    pub idle_ms: u64,
}

impl TimeSplit {
    /// Adds time that was spent in a state.
    pub(crate) fn add(&mut self, state: StateKind, millis: u64) {
        let part = match state {
            StateKind::Working | StateKind::WaitingForModel => &mut self.model_ms,
            StateKind::Retrying => &mut self.retrying_ms,
            StateKind::RunningTool | StateKind::CallPending => &mut self.tools_ms,
            StateKind::WaitingForPermission | StateKind::WaitingForPerson => &mut self.person_ms,
            _ => &mut self.idle_ms,
        };
        *part = part.saturating_add(millis);
    }
}

/// The totals of all sessions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct Totals {
    /// Sessions.
    pub sessions: u64,
    /// Events.
    pub events: u64,
    /// Tool calls.
    pub tool_calls: u64,
    /// Tool results that are not ok, for any cause.
    pub failed_results: u64,
    /// Model calls.
    pub model_calls: u64,
    /// Tokens.
    pub tokens: Tokens,
    /// The cost in US dollars of the calls with a known price.
    pub cost_usd: f64,
    /// Model calls without a known price.
    pub unpriced_calls: u64,
    /// The part of `cost_usd` that was spent on repeats; see [`Costs`](crate::Costs).
    pub repeats_usd: f64,
    /// Findings.
    pub findings: FindingCounts,
    /// Sessions that are not listed because there are too many. The other totals include them.
    pub dropped_sessions: u64,
}

impl Totals {
    /// Adds a session.
    pub fn add(&mut self, row: &SessionRow) {
        self.sessions += 1;
        self.events += row.events;
        self.tool_calls += row.tool_calls;
        self.failed_results += row.failed_results;
        self.model_calls += row.model_calls;
        self.tokens = self.tokens.plus(row.tokens);
        self.cost_usd += row.cost_usd.unwrap_or(0.0);
        self.unpriced_calls += row.unpriced_calls;
        self.repeats_usd += row.repeats_usd;
        self.findings.add(row.findings);
    }

    /// Replaces the numbers that the facts of one session have.
    pub(crate) fn set_facts(&mut self, facts: &SessionFacts) {
        let totals = &facts.totals;
        self.events = totals.events.into();
        self.tool_calls = totals.tool_calls.into();
        self.failed_results = totals.failed_results.into();
        self.model_calls = totals.model_calls.into();
        self.tokens = totals.tokens;
        self.cost_usd = totals.cost_usd;
        self.unpriced_calls = totals.unpriced_calls.into();
    }

    /// Returns the totals of these and other sessions.
    pub(crate) fn plus(mut self, other: &Self) -> Self {
        self.sessions += other.sessions;
        self.events += other.events;
        self.tool_calls += other.tool_calls;
        self.failed_results += other.failed_results;
        self.model_calls += other.model_calls;
        self.tokens = self.tokens.plus(other.tokens);
        self.cost_usd += other.cost_usd;
        self.unpriced_calls += other.unpriced_calls;
        self.repeats_usd += other.repeats_usd;
        self.findings.add(other.findings);
        self.dropped_sessions += other.dropped_sessions;
        self
    }
}
