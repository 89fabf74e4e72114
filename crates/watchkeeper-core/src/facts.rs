//! What follows from the events of a session, worked out once and lent to
//! every detector.

#[cfg(test)]
mod tests;

use std::{num::NonZeroU32, sync::Arc};

use jiff::Timestamp;
use serde::Serialize;

use crate::{
    Event, EventKind, Evidence, Fingerprint, Labels, ModelCall, PackedTimestamp, Place, Price,
    SessionId, Tokens, ToolCall, ToolClass, WaitingFor, event::TOOL_CALL_IDX, interner::Interner,
};

/// How many calls of one agent may be pending; the oldest is forgotten first.
const MAX_PENDING: usize = 64;
/// How many model calls of one agent may still be replaced.
const MAX_REPLACEABLE: usize = 2;

/// What is known of a session.
#[derive(Clone, Debug)]
pub struct SessionFacts {
    /// Its id.
    pub id: SessionId,
    /// The kind of source it comes from.
    pub source: Option<&'static str>,
    /// The folder it works in, as it began.
    pub cwd: Option<Arc<str>>,
    /// The model that answered last.
    pub model: Option<Arc<str>>,
    /// The labels of the policy and its own.
    pub labels: Labels,
    /// When its first event happened.
    pub started_at: Timestamp,
    /// When the latest event of any of its agents happened.
    pub last_event_at: Timestamp,
    /// How many of its agents have a turn open.
    pub open_turns: u32,
    /// How many of its agents wait for a person.
    pub waiting_agents: u32,
    /// What it did and used so far.
    pub totals: Totals,
}

/// What a session did and used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Totals {
    /// Events.
    pub events: u64,
    /// Calls of tools.
    pub tool_calls: u64,
    /// Results of tools.
    pub tool_results: u64,
    /// Results that were not ok, for whatever cause.
    pub failed_results: u64,
    /// Answers of models.
    pub model_calls: u64,
    /// Tokens.
    pub tokens: Tokens,
    /// US dollars, as far as prices are known.
    pub cost_usd: f64,
    /// Answers of models whose price is not known.
    pub unpriced_calls: u64,
}

/// What a model call added to what its session has used.
///
/// A model call with the id of a recent one replaces it: the difference is
/// what it added.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usage {
    /// Tokens.
    pub tokens: Tokens,
    /// US dollars; `None` if the price is not known.
    pub cost_usd: Option<f64>,
    /// Whether it replaces a recent one: the same answer, told again.
    pub replaces: bool,
}

/// The latest model calls of an agent, which later events may replace.
///
/// Each agent has its own: those that work side by side tell their answers
/// piece by piece, and one must not crowd out another's.
#[derive(Clone, Debug, Default)]
pub(crate) struct Answers(Option<Box<[PackedAnswer; MAX_REPLACEABLE]>>);

#[derive(Clone, Copy, Debug)]
struct Answer {
    id: AnswerId,
    tokens: Tokens,
    cost_usd: Option<f64>,
}

/// Half of the fingerprint of its id.
type AnswerId = NonZeroU32;

/// An answer in half the room: every agent of every session keeps some.
///
/// Half of its id, enough to tell a few apart, the words of its cost, which is
/// no number if it is not known, and its tokens by class, of which more than
/// `u32::MAX` count as that many. All zeros are no answer.
#[derive(Clone, Copy, Debug, Default)]
struct PackedAnswer([u32; 9]);

/// What is known of one agent of a session.
#[derive(Clone, Debug, Default)]
pub struct AgentFacts {
    /// Since when a turn is open: the agent has something to do and has not
    /// said that it is done.
    pub turn: Option<PackedTimestamp>,
    /// Since when it waits for a person, and for what.
    pub waiting: Option<(PackedTimestamp, WaitingFor)>,
    /// The calls without a result, oldest first.
    pub pending: Vec<Call>,
    /// When it last ceased to wait for a person, if a call has been pending ever
    /// since.
    pub resumed_at: Option<PackedTimestamp>,
    /// When it was last heard of.
    pub activity: Option<Activity>,
    /// The latest change that worked, since a person spoke.
    last_change: Fingerprint,
    /// Whether its latest event is a change that worked, and not the one before
    /// once more.
    pub is_changing: bool,
    answers: Answers,
}

/// The latest event in which an agent was heard of. An error that is tried again
/// is none while an answer is owed, as it says that the model is silent still.
#[derive(Clone, Debug)]
pub struct Activity {
    /// When.
    pub at: PackedTimestamp,
    /// Where it was read.
    pub place: Place,
    /// Whether the model has begun to answer, and may not have said all.
    pub is_amid_answer: bool,
}

/// What of an agent its session counts.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct AgentStatus {
    has_turn: bool,
    waits: bool,
}

/// A call, for as long as its result is owed.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// The fingerprint of its id.
    pub id: Fingerprint,
    /// When it was made.
    pub at: Timestamp,
    /// The tool.
    pub tool: Arc<str>,
    /// What the tool does to the world.
    pub class: ToolClass,
    /// Equal for calls that ask for the same thing.
    pub fingerprint: Fingerprint,
    /// The model's answer it came with.
    pub response: Option<Fingerprint>,
    /// Where it was read.
    pub place: Place,
}

impl SessionFacts {
    pub(crate) fn new(id: SessionId, started_at: Timestamp, labels: Labels) -> Self {
        Self {
            id,
            source: None,
            cwd: None,
            model: None,
            labels,
            started_at,
            last_event_at: started_at,
            open_turns: 0,
            waiting_agents: 0,
            totals: Totals::default(),
        }
    }

    /// Takes an event in; what a model call used is for
    /// [`charge`](Self::charge).
    pub(crate) fn observe(&mut self, event: &Event, at: Timestamp, names: &mut Interner<Arc<str>>) {
        self.last_event_at = at;
        self.totals.events += 1;
        if self.source.is_none() {
            self.source = event.origin.as_ref().map(|it| it.source);
        }
        match &event.kind {
            EventKind::SessionStart(start) if event.agent.is_none() => {
                if self.cwd.is_none() {
                    self.cwd = start.cwd.as_deref().map(|it| names.get(it, || it.into()));
                }
                if self.model.is_none() {
                    self.model = start.model.as_deref().map(|it| names.get(it, || it.into()));
                }
                let labels = || start.labels.iter().map(|(k, v)| (k.to_string(), v.to_string()));
                if !start.labels.is_empty() {
                    Arc::make_mut(&mut self.labels).extend(labels());
                }
            }
            EventKind::ToolCall(_) => self.totals.tool_calls += 1,
            EventKind::ToolResult(result) => {
                self.totals.tool_results += 1;
                self.totals.failed_results += u64::from(!result.ok);
            }
            EventKind::ModelCall(ModelCall { model: Some(model), .. })
                if self.model.as_deref() != Some(model) =>
            {
                self.model = Some(names.get(model, || (**model).into()));
            }
            _ => {}
        }
    }

    /// Takes over the name, source and labels of a session that speaks.
    pub(crate) fn name_after(&mut self, session: &Self, at: Timestamp) {
        self.id.clone_from(&session.id);
        self.source = session.source;
        self.labels.clone_from(&session.labels);
        self.last_event_at = at;
    }

    /// Counts an agent anew whose status `was` one and `is` another.
    pub(crate) fn recount(&mut self, was: AgentStatus, is: AgentStatus) {
        let count = |n: u32, was: bool, is: bool| n + u32::from(is) - u32::from(was);
        self.open_turns = count(self.open_turns, was.has_turn, is.has_turn);
        self.waiting_agents = count(self.waiting_agents, was.waits, is.waits);
    }

    /// Charges a model call to the session. Gives back what it used.
    pub(crate) fn charge(
        &mut self,
        call: &ModelCall,
        answers: &mut Answers,
        price: impl FnOnce(&str) -> Option<Price>,
    ) -> Usage {
        let stated = call.cost_usd.filter(|it| it.is_finite() && 0.0 <= *it);
        let priced = || Some(price(call.model.as_deref()?)?.cost_usd(&call.tokens));
        let cost_usd = stated.or_else(priced);
        let id = call.id.as_deref().map(answer_id);
        let totals = &mut self.totals;
        let (answer, usage) = match id.and_then(|id| answers.take(id)) {
            Some(earlier) => {
                // A later event says no less than an earlier one.
                let tokens = call.tokens.minus(earlier.tokens);
                let added = cost_usd.map(|it| (it - earlier.cost_usd.unwrap_or(0.0)).max(0.0));
                let answer = Answer {
                    id: earlier.id,
                    tokens: earlier.tokens.plus(tokens),
                    cost_usd: match (earlier.cost_usd, added) {
                        (None, added) => added,
                        (Some(cost), added) => Some(cost + added.unwrap_or(0.0)),
                    },
                };
                totals.unpriced_calls -= u64::from(earlier.cost_usd.is_none());
                (Some(answer), Usage { tokens, cost_usd: added, replaces: true })
            }
            None => {
                totals.model_calls += 1;
                let tokens = call.tokens;
                let answer = id.map(|id| Answer { id, tokens, cost_usd });
                (answer, Usage { tokens, cost_usd, replaces: false })
            }
        };
        let is_unpriced = answer.map_or(cost_usd, |it| it.cost_usd).is_none();
        totals.unpriced_calls += u64::from(is_unpriced);
        totals.tokens = totals.tokens.plus(usage.tokens);
        totals.cost_usd += usage.cost_usd.unwrap_or(0.0);
        if let Some(answer) = answer {
            answers.keep(answer);
        }
        usage
    }
}

impl Answers {
    fn take(&mut self, id: AnswerId) -> Option<Answer> {
        let kept = self.0.as_deref_mut()?;
        let idx = kept.iter().position(|it| it.0[0] == id.get())?;
        let res = kept[idx].unpacked();
        // The latest stands at the end.
        kept[..=idx].rotate_right(1);
        kept[0] = PackedAnswer::default();
        res
    }

    fn keep(&mut self, answer: Answer) {
        let kept = self.0.get_or_insert_default();
        kept.rotate_left(1);
        kept[MAX_REPLACEABLE - 1] = answer.packed();
    }
}

impl Answer {
    fn packed(&self) -> PackedAnswer {
        let Tokens { input, cache_read, cache_write, output, reasoning, cache_write_1h } =
            self.tokens;
        let narrow = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
        let [cost_low, cost_high] = words(self.cost_usd.unwrap_or(f64::NAN).to_bits());
        let tokens = [input, cache_read, cache_write, output, reasoning, cache_write_1h];
        let [input, cache_read, cache_write, output, reasoning, cache_write_1h] =
            tokens.map(narrow);
        PackedAnswer([
            self.id.get(),
            cost_low,
            cost_high,
            input,
            cache_read,
            cache_write,
            output,
            reasoning,
            cache_write_1h,
        ])
    }
}

impl PackedAnswer {
    fn unpacked(&self) -> Option<Answer> {
        let [id, cost_low, cost_high, tokens @ ..] = self.0;
        let [input, cache_read, cache_write, output, reasoning, cache_write_1h] =
            tokens.map(u64::from);
        let cost_usd = f64::from_bits(whole([cost_low, cost_high]));
        Some(Answer {
            id: AnswerId::new(id)?,
            tokens: Tokens { input, cache_read, cache_write, output, reasoning, cache_write_1h },
            cost_usd: (!cost_usd.is_nan()).then_some(cost_usd),
        })
    }
}

fn answer_id(id: &str) -> AnswerId {
    let [low, _] = words(Fingerprint::of(id).get());
    AnswerId::new(low).unwrap_or(AnswerId::MAX)
}

/// The lower half and the upper half.
#[expect(clippy::cast_possible_truncation, reason = "it is cut in two")]
fn words(n: u64) -> [u32; 2] {
    [n as u32, (n >> 32) as u32]
}

fn whole([low, high]: [u32; 2]) -> u64 {
    u64::from(low) | (u64::from(high) << 32)
}

impl AgentFacts {
    /// Takes an event in. Gives back the call that it answers, if it is a
    /// result.
    pub(crate) fn observe(&mut self, event: &Event, at: Timestamp) -> Option<Call> {
        let waited = self.waits_for_person();
        let is_retry = matches!(event.kind, EventKind::Error { retry: Some(_), .. });
        let is_silent_still = is_retry && self.owes_answer();
        let answered = self.follow(event, at);
        if self.pending.is_empty() {
            self.resumed_at = None;
        } else if waited && !self.waits_for_person() {
            self.resumed_at = Some(at.into());
        }
        if !is_silent_still {
            self.hear(event, at);
        }
        answered
    }

    fn hear(&mut self, event: &Event, at: Timestamp) {
        let (at, name_idx) = (at.into(), event.kind.name_idx());
        let is_part = matches!(event.kind, EventKind::Thinking { .. } | EventKind::Message { .. });
        match &mut self.activity {
            Some(it) => {
                it.at = at;
                it.place.move_to(event.origin.as_ref(), name_idx);
                // What an answer takes can be told before it is over.
                let is_price = matches!(event.kind, EventKind::ModelCall(_));
                it.is_amid_answer = is_part || it.is_amid_answer && is_price;
            }
            none => {
                let place = Place::new(event.origin.as_ref(), name_idx);
                *none = Some(Activity { at, place, is_amid_answer: is_part });
            }
        }
    }

    fn follow(&mut self, event: &Event, at: Timestamp) -> Option<Call> {
        self.is_changing = false;
        match &event.kind {
            EventKind::Prompt { synthetic, .. } => {
                self.open_turn(at, !synthetic);
                if !synthetic {
                    self.last_change = Fingerprint::NONE;
                }
            }
            EventKind::AgentStart
            | EventKind::Message { .. }
            | EventKind::Thinking { .. }
            | EventKind::ModelCall(_)
            | EventKind::Handoff { .. }
            | EventKind::Compaction { .. }
            | EventKind::Error { retry: Some(_), .. } => self.open_turn(at, false),
            EventKind::ToolCall(call) => {
                self.open_turn(at, false);
                if self.pending.len() == MAX_PENDING {
                    self.pending.remove(0);
                }
                // Most agents make one call at a time, and there are very many
                // agents.
                if self.pending.is_empty() {
                    self.pending.reserve_exact(1);
                }
                self.pending.push(Call::new(call, event, at));
            }
            EventKind::ToolResult(result) => {
                self.open_turn(at, false);
                let id = Fingerprint::of(&*result.id);
                let answered = self.pending.iter().position(|it| it.id == id)?;
                let call = self.pending.remove(answered);
                if self.pending.is_empty() {
                    self.pending = Vec::new();
                }
                if result.ok && call.class == ToolClass::Write {
                    self.is_changing = self.last_change != call.fingerprint;
                    self.last_change = call.fingerprint;
                }
                return Some(call);
            }
            EventKind::Waiting(what) => self.waiting = Some((at.into(), *what)),
            EventKind::Resumed(_) => self.waiting = None,
            EventKind::TurnEnd
            | EventKind::AgentEnd
            | EventKind::SessionEnd { .. }
            | EventKind::Error { retry: None, .. } => self.close_turn(),
            EventKind::SessionStart(_) => {}
        }
        None
    }

    pub(crate) fn status(&self) -> AgentStatus {
        AgentStatus { has_turn: self.turn.is_some(), waits: self.waits_for_person() }
    }

    fn open_turn(&mut self, at: Timestamp, anew: bool) {
        if self.turn.is_none() || anew {
            self.turn = Some(at.into());
        }
        self.waiting = None;
    }

    fn close_turn(&mut self) {
        self.turn = None;
        self.waiting = None;
        self.pending = Vec::new();
    }

    pub(crate) fn answers(&mut self) -> &mut Answers {
        &mut self.answers
    }

    /// Whether the model owes an answer: a turn is open, no call is pending, and no
    /// person is waited for.
    pub fn owes_answer(&self) -> bool {
        self.turn.is_some() && self.pending.is_empty() && self.waiting.is_none()
    }

    /// Whether a person is waited for: the agent asked, or a call that asks is
    /// pending.
    pub fn waits_for_person(&self) -> bool {
        self.waiting.is_some() || self.pending.iter().any(|it| it.class == ToolClass::Ask)
    }
}

impl Call {
    fn new(call: &ToolCall, event: &Event, at: Timestamp) -> Self {
        Self {
            id: Fingerprint::of(&*call.id),
            at,
            tool: call.tool.clone(),
            class: call.class,
            fingerprint: call.fingerprint,
            response: call.response.as_deref().map(Fingerprint::of),
            place: Place::new(event.origin.as_ref(), TOOL_CALL_IDX),
        }
    }

    /// Where a person finds the call.
    pub fn evidence(&self) -> Evidence {
        self.place.evidence()
    }
}
