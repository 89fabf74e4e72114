use std::{collections::BTreeSet, sync::Arc};

use watchkeeper_core::{
    AgentId, Event, EventKind, Fingerprint, Purpose, ToolCall, ToolResult,
    author::{AgentFacts, AgentState, Cause, Evidence, StateKind},
};

use crate::{
    bars::Bar,
    costs::{Added, Reads},
    detail::{BarKind, BarOutcome},
    summary::{call_summary, first_line},
    texts::Texts,
};

/// The number of calls without a result that a lane keeps. The oldest is dropped first.
const MAX_OPEN: usize = 64;

/// The number of results that are compared with later ones.
const MAX_RESULTS: usize = 4096;

/// Records the timeline of one agent.
#[derive(Clone, Debug)]
pub(crate) struct LaneRecorder {
    pub(crate) agent: Option<AgentId>,
    /// Number of agents in the lane.
    pub(crate) n_agents: u64,
    pub(crate) bars: Vec<Bar>,
    pub(crate) state: AgentState,
    /// The time of the model or of a person that lasts.
    stretch: Option<Bar>,
    open: Vec<OpenCall>,
    /// Results since the latest prompt of a person and the latest change, with their calls.
    results: BTreeSet<Fingerprint>,
    /// Results that no response has read; empty after a prompt, and `None` while a response
    /// lasts.
    unread: Option<Reads>,
    /// Results that the responses since the latest model call read.
    reads: Reads,
    /// Whether a model call has counted the present response.
    is_counted: bool,
}

#[derive(Clone, Debug)]
struct OpenCall {
    id: Fingerprint,
    tool: Arc<str>,
    call: Fingerprint,
    /// Whether an equal result is a repeat.
    can_repeat: bool,
    bar: Bar,
}

/// The place of an event in the tables of its session.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spot {
    pub(crate) at_ms: u64,
    pub(crate) file: u32,
    pub(crate) line: u64,
}

impl LaneRecorder {
    pub(crate) fn new(agent: Option<AgentId>) -> Self {
        Self {
            agent,
            n_agents: 1,
            bars: Vec::new(),
            state: AgentFacts::default().state(),
            stretch: None,
            open: Vec::new(),
            results: BTreeSet::new(),
            unread: None,
            reads: Reads::default(),
            is_counted: true,
        }
    }

    /// Adds an event. `facts` are those of the agent after the event, or `None` after its end.
    /// Returns whether the event is the result of a call that repeats an earlier one.
    pub(crate) fn observe(
        &mut self,
        event: &Event,
        facts: Option<&AgentFacts>,
        spot: Spot,
        texts: &mut Texts,
    ) -> bool {
        let mut is_repeat = false;
        match &event.kind {
            EventKind::ToolCall(call) => self.open(call, spot, texts),
            EventKind::ToolResult(result) => is_repeat = self.close(result, spot),
            EventKind::Prompt { text, synthetic } => {
                if !synthetic {
                    self.results.clear();
                    self.unread = None;
                }
                self.unread.get_or_insert_default();
                self.mark(BarKind::Prompt, Some(text), spot, texts);
            }
            EventKind::Compaction { .. } => self.mark(BarKind::Compaction, None, spot, texts),
            EventKind::Error { message, .. } => {
                self.mark(BarKind::Error, Some(message), spot, texts);
            }
            _ => {}
        }
        if matches!(
            event.kind,
            EventKind::Message { .. } | EventKind::Thinking { .. } | EventKind::ToolCall(_)
        ) {
            self.begin_response();
        }
        if facts.is_some_and(AgentFacts::has_new_change) {
            self.results.clear();
        }
        let state = facts.map_or_else(|| self.ended(event), AgentFacts::state);
        let kind = bar_of(state.kind).filter(|kind| {
            // A call that asks a person is a bar of its own.
            *kind != BarKind::Person || facts.is_some_and(|facts| facts.waiting().is_some())
        });
        if self.stretch.map(|bar| bar.kind) != kind {
            self.end_stretch(spot.at_ms);
            self.stretch = kind.map(|kind| bar_at(kind, spot));
        }
        if facts.is_none_or(|facts| facts.pending().is_empty()) {
            // The end of a turn drops the calls without a result.
            self.drop_open(spot.at_ms);
        }
        self.state = state;
        is_repeat
    }

    /// Adds the usage of a model call, and returns the results that the call read.
    pub(crate) fn add_usage(&mut self, added: Added, spot: Spot) -> &Reads {
        // Newer figures of a response may arrive after the results of its calls.
        if 0 < added.model_calls {
            self.begin_response();
            self.is_counted = true;
        }
        let recent = self.bars.iter_mut().rev().take(16);
        let bar = match &mut self.stretch {
            Some(bar) if bar.kind == BarKind::Model => Some(bar),
            _ => recent.into_iter().find(|bar| bar.kind == BarKind::Model),
        };
        let bar = match bar {
            Some(bar) => bar,
            None => {
                self.bars.push(bar_at(BarKind::Model, spot));
                let last = self.bars.len() - 1;
                &mut self.bars[last]
            }
        };
        bar.tokens = bar.tokens.saturating_add(added.tokens.total());
        bar.micro_usd = bar.micro_usd.saturating_add(micro_usd(added.cost_usd));
        &self.reads
    }

    /// Returns the bars so far, the unfinished ones included.
    pub(crate) fn bars_until(&self, at_ms: u64) -> Vec<Bar> {
        let open = self.open.iter().map(|open| &open.bar).chain(&self.stretch);
        let outcome = BarOutcome::Open;
        let open = open.map(|bar| Bar { end_ms: at_ms.max(bar.start_ms), outcome, ..*bar });
        let mut bars: Vec<Bar> = self.bars.iter().copied().chain(open).collect();
        bars.sort_by_key(|bar| (bar.start_ms, bar.end_ms));
        bars
    }

    fn begin_response(&mut self) {
        let Some(unread) = self.unread.take() else { return };
        if std::mem::take(&mut self.is_counted) {
            self.reads = unread;
        } else {
            // Some agents record one model call for all responses.
            self.reads.add(unread);
        }
    }

    fn open(&mut self, call: &ToolCall, spot: Spot, texts: &mut Texts) {
        if self.open.len() == MAX_OPEN {
            let OpenCall { bar, .. } = self.open.remove(0);
            self.bars.push(Bar { end_ms: spot.at_ms, ..bar });
        }
        let mut bar = bar_at(call.class.into(), spot);
        bar.outcome = BarOutcome::Open;
        bar.text = texts.number(call.fingerprint.get(), || call_summary(call));
        let can_repeat = !matches!(call.purpose, Purpose::Poll | Purpose::Wait);
        self.open.push(OpenCall {
            id: Fingerprint::of(&*call.id),
            tool: call.tool.clone(),
            call: call.fingerprint,
            can_repeat,
            bar,
        });
    }

    /// Ends a call, and returns whether its result is a repeat.
    fn close(&mut self, result: &ToolResult, spot: Spot) -> bool {
        let id = Fingerprint::of(&*result.id);
        let Some(idx) = self.open.iter().position(|open| open.id == id) else { return false };
        let OpenCall { tool, call, can_repeat, mut bar, .. } = self.open.remove(idx);
        let output = result.fingerprint.filter(|_| can_repeat);
        let is_repeat = output.is_some_and(|output| {
            if MAX_RESULTS <= self.results.len() {
                self.results.pop_first();
            }
            !self.results.insert(call.and(output))
        });
        bar.end_ms = spot.at_ms.max(bar.start_ms);
        bar.outcome = outcome_of(result);
        bar.failed = u32::from(!result.ok);
        bar.repeats = u32::from(is_repeat);
        self.bars.push(bar);
        self.unread.get_or_insert_default().push(&tool, is_repeat);
        is_repeat
    }

    fn mark(&mut self, kind: BarKind, text: Option<&str>, spot: Spot, texts: &mut Texts) {
        let mut bar = bar_at(kind, spot);
        if let Some(text) = text {
            bar.text = texts.number(Fingerprint::of(text).get(), || first_line(text));
        }
        self.bars.push(bar);
    }

    fn end_stretch(&mut self, at_ms: u64) {
        let Some(bar) = self.stretch.take() else { return };
        let bar = Bar { end_ms: at_ms.max(bar.start_ms), ..bar };
        if bar.start_ms < bar.end_ms || 0 < bar.tokens {
            self.bars.push(bar);
        }
    }

    fn drop_open(&mut self, at_ms: u64) {
        let open = self.open.drain(..).map(|open| open.bar);
        self.bars.extend(open.map(|bar| Bar { end_ms: at_ms.max(bar.start_ms), ..bar }));
    }

    /// Returns the state of a sub-agent whose end is this event.
    fn ended(&self, event: &Event) -> AgentState {
        let mut state = self.state.clone();
        state.kind = StateKind::Ended;
        state.since = Some(event.at);
        state.proof = Some(Evidence::new(event.origin.as_ref(), event.kind.name()));
        state
    }
}

fn bar_at(kind: BarKind, spot: Spot) -> Bar {
    Bar { file: spot.file, line: spot.line, ..Bar::new(kind, spot.at_ms) }
}

/// Returns the bar that shows a state. Calls are bars of their own.
fn bar_of(state: StateKind) -> Option<BarKind> {
    match state {
        StateKind::Working | StateKind::WaitingForModel => Some(BarKind::Model),
        StateKind::Retrying => Some(BarKind::Retrying),
        StateKind::WaitingForPermission => Some(BarKind::Permission),
        StateKind::WaitingForPerson => Some(BarKind::Person),
        _ => None,
    }
}

fn outcome_of(result: &ToolResult) -> BarOutcome {
    match result.cause {
        _ if result.ok => BarOutcome::Ok,
        Some(Cause::Declined | Cause::Blocked) => BarOutcome::Declined,
        Some(Cause::Sibling | Cause::Interrupted) => BarOutcome::Interrupted,
        Some(Cause::Timeout) => BarOutcome::TimedOut,
        _ => BarOutcome::Failed,
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a cost is not negative, and far below the limit"
)]
fn micro_usd(usd: f64) -> u64 {
    (usd * 1e6).round() as u64
}
