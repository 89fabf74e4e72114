use jiff::Timestamp;
use watchkeeper_core::{
    AgentId, Event, EventKind, Fingerprint, ModelCall,
    author::{AgentFacts, SessionFacts, StateKind, Tokens, Totals, context_tokens, known_time},
};

use crate::{
    bars::{Bar, coarser, merge},
    costs::{Added, CostRecorder},
    detail::{Bars, Lane, SessionDetail},
    finding::FindingCounts,
    lane::{LaneRecorder, Spot},
    row::{ContextFill, SessionRow, SessionState, TimeSplit},
    series::SeriesRecorder,
    texts::Texts,
};

/// The number of lanes. The last one has all further agents.
const MAX_LANES: usize = 64;

/// The number of bars of a session from which on bars are merged.
const MAX_BARS: usize = 16_384;
/// The longest value of a label in a row, in bytes. Every client of a live page has all rows.
const MAX_LABEL: usize = 256;

/// Records one session: what a table shows of it, and its timeline.
///
/// The size is bounded, whatever the session contains: at most 64 lanes, 16,384 bars, 4,096
/// texts and 1,024 points of usage. Beyond that, neighbouring bars of one kind are merged, so that
/// long sessions have a coarser level of detail.
#[derive(Clone, Debug, Default)]
pub struct Recorder {
    lanes: Vec<LaneRecorder>,
    n_sub_agents: u64,
    n_bars: usize,
    resolution_ms: u64,
    /// Texts of bars; the files of bars.
    texts: Texts,
    files: Texts,
    usage: SeriesRecorder,
    costs: CostRecorder,
    time: TimeSplit,
    context: Option<ContextFill>,
    n_repeats: u64,
    seen: Totals,
    clock: Clock,
}

/// The time of a session in milliseconds since its start.
#[derive(Clone, Copy, Debug, Default)]
struct Clock {
    now_ms: u64,
    starts_at: Option<Timestamp>,
}

impl Clock {
    /// Moves the time to an event, never back, and returns the passed time.
    fn advance(&mut self, at: Timestamp, is_first: bool) -> u64 {
        let Some(at) = known_time(at) else {
            let passed = u64::from(!is_first);
            self.now_ms += passed;
            return passed;
        };
        let starts_at = *self.starts_at.get_or_insert_with(|| {
            let before = i64::try_from(self.now_ms).unwrap_or(i64::MAX);
            let millis = at.as_millisecond().saturating_sub(before);
            Timestamp::from_millisecond(millis).unwrap_or(at)
        });
        let now_ms = at.as_millisecond().saturating_sub(starts_at.as_millisecond());
        let now_ms = u64::try_from(now_ms).unwrap_or(0).max(self.now_ms);
        now_ms - std::mem::replace(&mut self.now_ms, now_ms)
    }
}

impl Recorder {
    /// Makes a recorder of a session without events.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an event of the session. The facts are those that an engine has after the event:
    /// [`Engine::session`](watchkeeper_core::Engine::session), and
    /// [`Engine::agent`](watchkeeper_core::Engine::agent) for the agent of the event.
    pub fn observe(&mut self, event: &Event, session: &SessionFacts, agent: Option<&AgentFacts>) {
        let active = self.active_state();
        let passed = self.clock.advance(event.at, self.lanes.is_empty());
        if known_time(event.at).is_some() {
            self.time.add(active, passed);
        }
        let spot = self.spot(event);
        let idx = self.lane_of(event.agent.as_ref());
        let n_before = self.lanes[idx].bars.len();
        let is_repeat = self.lanes[idx].observe(event, agent, spot, &mut self.texts);
        self.n_repeats += u64::from(is_repeat);
        if let EventKind::ModelCall(call) = &event.kind {
            self.add_usage(call, idx, session, spot);
        }
        self.seen = session.totals;
        if matches!(event.kind, EventKind::SessionEnd { .. }) && event.agent.is_none() {
            self.end_sub_agents();
        }
        self.n_bars += self.lanes[idx].bars.len() - n_before;
        if MAX_BARS < self.n_bars {
            self.merge_bars();
        }
    }

    /// Returns the row of the session with these facts.
    pub fn row(&self, facts: &SessionFacts) -> SessionRow {
        let totals = &facts.totals;
        let is_priced = totals.unpriced_calls < totals.model_calls || totals.model_calls == 0;
        let has_times = facts.has_times();
        SessionRow {
            session: facts.id.as_str().to_owned(),
            source: facts.source.map(str::to_owned),
            cwd: facts.cwd.as_deref().map(str::to_owned),
            model: facts.model.as_deref().map(str::to_owned),
            labels: facts.labels.iter().map(|(name, value)| (name.clone(), cut(value))).collect(),
            started_at: has_times.then(|| facts.started_at()),
            last_event_at: has_times.then(|| facts.last_event_at()),
            state: self.state(),
            events: totals.events.into(),
            tool_calls: totals.tool_calls.into(),
            failed_results: totals.failed_results.into(),
            repeated_results: self.n_repeats,
            model_calls: totals.model_calls.into(),
            tokens: totals.tokens,
            cost_usd: is_priced.then_some(totals.cost_usd),
            unpriced_calls: totals.unpriced_calls.into(),
            repeats_usd: self.costs.repeats_usd(),
            context: self.context,
            time: self.time,
            sub_agents: self.n_sub_agents,
            findings: FindingCounts::default(),
            is_looping: false,
        }
    }

    /// Returns the timeline of a session with this row, with at most `max_bars` bars but at least
    /// one for each kind and agent. There are no findings and no measures in it.
    pub fn detail(&self, row: SessionRow, max_bars: usize) -> SessionDetail {
        let now_ms = self.clock.now_ms;
        let mut lanes: Vec<Vec<Bar>> =
            self.lanes.iter().map(|lane| lane.bars_until(now_ms)).collect();
        let mut resolution_ms = self.resolution_ms;
        let n_bars = |lanes: &[Vec<Bar>]| -> usize { lanes.iter().map(Vec::len).sum() };
        while max_bars < n_bars(&lanes) {
            for bars in &mut lanes {
                merge(bars, resolution_ms);
            }
            // All bars of one kind are one by then.
            if n_bars(&lanes) <= max_bars || now_ms < resolution_ms {
                break;
            }
            resolution_ms = coarser(resolution_ms);
        }
        let (mut texts, mut files) = (Used::new(&self.texts), Used::new(&self.files));
        let lanes = self.lanes.iter().zip(lanes).map(|(lane, bars)| {
            let mut columns = Bars::default();
            for bar in bars {
                columns.push(&bar, texts.number(bar.text), files.number(bar.file));
            }
            let agent = lane.agent.as_ref().map(|agent| agent.as_str().to_owned());
            Lane { agent, agents: lane.n_agents, bars: columns }
        });
        SessionDetail {
            row,
            starts_at: self.clock.starts_at,
            length_ms: now_ms,
            resolution_ms,
            lanes: lanes.collect(),
            texts: texts.texts,
            files: files.texts,
            usage: self.usage.series(),
            costs: self.costs.costs(),
            findings: Vec::new(),
            measures: Vec::new(),
        }
    }

    /// Returns the time of an event after `n_events` earlier ones, in milliseconds since the start of
    /// the session.
    pub fn offset_ms(&self, at: Timestamp, n_events: u64) -> u64 {
        let Some(starts_at) = self.clock.starts_at else { return n_events };
        let millis = at.as_millisecond().saturating_sub(starts_at.as_millisecond());
        u64::try_from(millis).unwrap_or(0)
    }

    /// Returns the number of bars so far, those of unfinished calls excluded.
    pub(crate) fn n_bars(&self) -> usize {
        self.n_bars
    }

    /// Returns whether no agent of the session will continue.
    pub(crate) fn has_ended(&self) -> bool {
        matches!(self.state().kind, StateKind::Ended | StateKind::Gone)
    }

    /// Returns the lane whose state is the state of the session.
    fn active_lane(&self) -> Option<&LaneRecorder> {
        let needs_person = |lane: &&LaneRecorder| {
            matches!(lane.state.kind, StateKind::WaitingForPermission | StateKind::WaitingForPerson)
        };
        let is_active = |lane: &&LaneRecorder| {
            !matches!(lane.state.kind, StateKind::Idle | StateKind::Ended | StateKind::Gone)
        };
        let mut lanes = self.lanes.iter();
        lanes
            .clone()
            .find(needs_person)
            .or_else(|| lanes.clone().find(is_active))
            .or_else(|| lanes.next())
    }

    /// Returns the state that the passing time belongs to.
    fn active_state(&self) -> StateKind {
        let main = self.lanes.first().map(|lane| lane.state.kind);
        match main {
            None => StateKind::Idle,
            Some(StateKind::Idle | StateKind::Ended | StateKind::Gone) => {
                self.active_lane().map_or(StateKind::Idle, |lane| lane.state.kind)
            }
            Some(state) => state,
        }
    }

    fn state(&self) -> SessionState {
        let Some(lane) = self.active_lane() else {
            return SessionState { kind: StateKind::Idle, since: None, agent: None, proof: None };
        };
        SessionState {
            kind: lane.state.kind,
            since: lane.state.since.and_then(known_time),
            agent: lane.agent.as_ref().map(|agent| agent.as_str().to_owned()),
            proof: lane.state.proof.clone(),
        }
    }

    fn spot(&mut self, event: &Event) -> Spot {
        let at_ms = self.clock.now_ms;
        let Some(origin) = &event.origin else { return Spot { at_ms, file: 0, line: 0 } };
        let key = Fingerprint::of(&*origin.file).get();
        let file = self.files.number(key, || origin.file.to_string());
        Spot { at_ms, file, line: origin.line }
    }

    /// Returns the lane of an agent. The first lane is that of the main agent.
    fn lane_of(&mut self, agent: Option<&AgentId>) -> usize {
        if self.lanes.is_empty() {
            self.lanes.push(LaneRecorder::new(None));
        }
        if agent.is_none() {
            return 0;
        }
        // The latest agents are the active ones.
        if let Some(idx) = self.lanes.iter().rposition(|lane| lane.agent.as_ref() == agent) {
            return idx;
        }
        self.n_sub_agents += 1;
        let last = self.lanes.len() - 1;
        if self.lanes.len() < MAX_LANES {
            self.lanes.push(LaneRecorder::new(agent.cloned()));
            return last + 1;
        }
        self.lanes[last].n_agents += 1;
        self.lanes[last].agent = agent.cloned();
        last
    }

    fn add_usage(&mut self, call: &ModelCall, idx: usize, session: &SessionFacts, spot: Spot) {
        let (totals, seen) = (&session.totals, &self.seen);
        let added = Added {
            model_calls: totals.model_calls.saturating_sub(seen.model_calls).into(),
            tokens: totals.tokens.minus(seen.tokens),
            cost_usd: (totals.cost_usd - seen.cost_usd).max(0.0),
        };
        let model = call.model.as_deref().or(session.model.as_deref());
        let Tokens { input, cache_read, cache_write, .. } = call.tokens;
        let filled = input.saturating_add(cache_read).saturating_add(cache_write);
        let is_main = idx == 0 && 0 < filled;
        if is_main {
            let window = call.context_tokens.or_else(|| model.and_then(context_tokens));
            self.context = Some(ContextFill { tokens: filled, window });
        }
        self.usage.push(spot.at_ms, totals.tokens, totals.cost_usd, is_main.then_some(filled));
        let lane = &mut self.lanes[idx];
        let agent = lane.agent.clone();
        let reads = lane.add_usage(added, spot);
        self.costs.add(model, agent.as_ref().map(AgentId::as_str), reads, added);
    }

    fn end_sub_agents(&mut self) {
        let main = self.lanes[0].state.clone();
        self.lanes.iter_mut().skip(1).for_each(|lane| lane.state = main.clone());
    }

    fn merge_bars(&mut self) {
        loop {
            for lane in &mut self.lanes {
                merge(&mut lane.bars, self.resolution_ms);
            }
            self.n_bars = self.lanes.iter().map(|lane| lane.bars.len()).sum();
            // All bars of one kind are one by then.
            if self.n_bars <= MAX_BARS / 2 || self.clock.now_ms < self.resolution_ms {
                return;
            }
            self.resolution_ms = coarser(self.resolution_ms);
        }
    }
}

/// The texts of a table that are used.
struct Used<'a> {
    table: &'a Texts,
    texts: Vec<String>,
    numbers: std::collections::BTreeMap<u32, u32>,
}

impl<'a> Used<'a> {
    fn new(table: &'a Texts) -> Self {
        Self { table, texts: vec![String::new()], numbers: [(0, 0)].into() }
    }

    /// Returns the new number of a text.
    fn number(&mut self, number: u32) -> u32 {
        *self.numbers.entry(number).or_insert_with(|| {
            #[expect(clippy::cast_possible_truncation, reason = "the table is short")]
            let next = self.texts.len() as u32;
            self.texts.push(self.table.get(number).to_owned());
            next
        })
    }
}

fn cut(value: &str) -> String {
    let end = (0..=value.len().min(MAX_LABEL)).rev().find(|at| value.is_char_boundary(*at));
    value[..end.unwrap_or(0)].to_owned()
}
