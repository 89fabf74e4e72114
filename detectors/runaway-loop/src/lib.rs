#![doc = include_str!("../README.md")]

mod cycle;

use std::{fmt, sync::Arc};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de};
use watchkeeper_core::{
    Cause, Context, Detector, DetectorKind, Elapsed, Event, EventKind, EventSet, Fingerprint,
    InvalidOption, Level, Moment, Place, Report, Scope, Severity, ToolCall, ToolClass, ToolResult,
    quote,
};

use crate::cycle::{Cycle, Cycles, MAX_PERIOD, Recurrence};

/// How many calls of one agent may wait for their answers.
const MAX_OWED: usize = 64;
/// Of how many of the latest steps the tools are kept.
const MAX_TOOLS: usize = 16;
/// A call that came less often does not recur.
const FEWEST_TIMES: usize = 6;
/// A command must come as often among so many steps.
const DENSE: usize = 10;
/// A call that was not made in so many steps does not recur any more.
const GONE_AFTER: usize = 32;
/// What is raised of a call that recurs. Cycles are raised by their period.
const RECURRING: Fingerprint = Fingerprint::NONE;
/// How many tools a message names.
const MAX_NAMED: usize = 4;

/// Finds agents that go round in circles.
#[derive(Clone, Debug)]
pub struct RunawayLoop {
    options: Arc<RunawayLoopOptions>,
    state: State,
}

/// The options of `kind = "runaway-loop"`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RunawayLoopOptions {
    /// What is counted.
    #[serde(default)]
    of: Of,
    /// The shortest cycle that counts, in calls. Of one call in a row
    /// `repeat-tool-call` tells.
    #[serde(default = "two")]
    min_period: CycleLength,
    /// The longest cycle that counts, in calls.
    #[serde(default = "longest")]
    max_period: CycleLength,
    /// Whether a call that gets the same answer again and again counts, too,
    /// though there is no order in it: two times count as a round.
    #[serde(default = "yes")]
    recurring: bool,
}

/// What is counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Of {
    /// Rounds of a cycle of calls that got the same answers.
    #[default]
    Cycle,
    /// Answers of the model without progress.
    Step,
    /// Handoffs between agents without progress.
    Handoff,
}

/// How many calls a cycle has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CycleLength(usize);

const fn two() -> CycleLength {
    CycleLength(2)
}

const fn longest() -> CycleLength {
    CycleLength(MAX_PERIOD)
}

const fn yes() -> bool {
    true
}

watchkeeper_core::register!(RunawayLoop);

impl DetectorKind for RunawayLoop {
    const KIND: &'static str = "runaway-loop";
    const DOCS: &'static str = include_str!("../README.md");
    const CLASS: &'static str = "runaway";
    const LEVELS: &'static [Level] = &[
        Level::new(2, Severity::Low),
        Level::new(3, Severity::Medium),
        Level::new(6, Severity::High),
    ];
    const LIMIT: u64 = 3;
    type Options = RunawayLoopOptions;

    fn new(options: RunawayLoopOptions) -> Result<Self, InvalidOption> {
        if options.max_period < options.min_period {
            let reason = format!(
                "no cycle is both {} or longer and {} or shorter",
                options.min_period.0, options.max_period.0
            );
            return Err(InvalidOption::new("max_period", reason));
        }
        let state = match options.of {
            Of::Cycle => State::Cycle(Rounds::default()),
            Of::Step | Of::Handoff => State::Fruitless(Fruitless::default()),
        };
        Ok(Self { options: Arc::new(options), state })
    }
}

#[derive(Clone, Debug)]
enum State {
    Cycle(Rounds),
    Fruitless(Fruitless),
}

impl Detector for RunawayLoop {
    fn observe(&mut self, event: &Event, cx: &mut Context<'_>) {
        match &mut self.state {
            State::Cycle(rounds) => match &event.kind {
                EventKind::Prompt { synthetic: false, .. } => {
                    std::mem::take(rounds).end(cx, "a person spoke");
                }
                EventKind::ToolCall(call) if call.class != ToolClass::Wait => {
                    rounds.called(call, &self.options, cx);
                }
                EventKind::ToolResult(result) => rounds.answered(result, &self.options, cx),
                _ => {}
            },
            State::Fruitless(fruitless) => fruitless.observe(event, self.options.of, cx),
        }
    }

    fn scope(&self) -> Scope {
        match self.options.of {
            Of::Cycle => Scope::Agent,
            Of::Step | Of::Handoff => Scope::Session,
        }
    }

    fn reads(&self) -> EventSet {
        const CYCLE: EventSet = EventSet::of(&["prompt", "tool_call", "tool_result"]);
        const STEP: EventSet = EventSet::of(&["prompt", "tool_result", "model_call"]);
        const HANDOFF: EventSet = EventSet::of(&["prompt", "tool_result", "handoff"]);
        match self.options.of {
            Of::Cycle => CYCLE,
            Of::Step => STEP,
            Of::Handoff => HANDOFF,
        }
    }

    fn begins_with(&self) -> EventSet {
        const CYCLE: EventSet = EventSet::of(&["tool_call", "tool_result"]);
        const STEP: EventSet = EventSet::of(&["model_call"]);
        const HANDOFF: EventSet = EventSet::of(&["handoff"]);
        match self.options.of {
            Of::Cycle => CYCLE,
            Of::Step => STEP,
            Of::Handoff => HANDOFF,
        }
    }

    fn at_rest(&self) -> bool {
        match &self.state {
            State::Cycle(rounds) => rounds.is_new(),
            State::Fruitless(fruitless) => fruitless.is_new(),
        }
    }
}

impl RunawayLoopOptions {
    fn find(&self, cycles: &Cycles) -> Option<Cycle> {
        cycles.find(self.min_period.0, self.max_period.0)
    }
}

/// The latest calls of an agent, and how often they came round.
#[derive(Clone, Debug, Default)]
struct Rounds {
    cycles: Cycles,
    /// Whether any answer is known: if none is, calls alone must do.
    has_answers: bool,
    /// What is not a step yet; `None` if that is nothing.
    open: Option<Box<Open>>,
    /// How many steps there were since the last progress; no more are counted
    /// than `Cycles` keeps.
    n_fruitless: u8,
    /// The latest step that began no cycle and went on with none.
    since: Option<Since>,
    /// What is known of a cycle that may be one; `None` if there is none.
    trail: Option<Box<Trail>>,
}

#[derive(Clone, Debug)]
struct Since {
    place: Option<Place>,
    at: Moment,
}

#[derive(Clone, Debug, Default)]
struct Trail {
    /// Which periods were raised: bit `p - 1` for period `p`.
    raised: u64,
    /// The step that recurs, if that was raised.
    recurring: Option<u32>,
    /// The tools of the latest steps, the latest last.
    tools: Vec<Arc<str>>,
}

/// What is not a step yet.
#[derive(Clone, Debug, Default)]
struct Open {
    /// The calls that may still be answered, oldest first.
    owed: Vec<OwedCall>,
    /// The model's answer whose calls run side by side.
    response: Option<Fingerprint>,
    /// The answers to those calls so far.
    batch: Vec<Step>,
}

/// A call that may still be answered.
#[derive(Clone, Copy, Debug)]
struct OwedCall {
    id: Fingerprint,
    symbol: u32,
    response: Option<Fingerprint>,
}

/// A call and its answer.
#[derive(Clone, Debug)]
struct Step {
    symbol: u32,
    tool: Arc<str>,
    class: ToolClass,
}

impl Open {
    fn owe(&mut self, call: OwedCall) {
        if self.owed.len() == MAX_OWED {
            self.owed.remove(0);
        }
        // Most agents make one call at a time, and there are very many agents.
        if self.owed.is_empty() {
            self.owed.reserve_exact(1);
        }
        self.owed.push(call);
    }
}

/// Whom the rounds of a stream are told.
struct Told<'a, 'b> {
    options: &'a RunawayLoopOptions,
    cx: &'a mut Context<'b>,
}

impl Rounds {
    fn is_new(&self) -> bool {
        self.cycles.is_empty() && self.open.is_none() && !self.has_answers
    }

    fn called(&mut self, call: &ToolCall, options: &RunawayLoopOptions, cx: &mut Context<'_>) {
        let owed = OwedCall {
            id: Fingerprint::of(&*call.id),
            symbol: symbol(call.fingerprint, None),
            response: call.response.as_deref().map(Fingerprint::of),
        };
        self.open.get_or_insert_default().owe(owed);
        let place = cx.place();
        let mut told = Told { options, cx };
        if !self.has_answers {
            self.step(
                Step { symbol: owed.symbol, tool: call.tool.clone(), class: call.class },
                place,
                &mut told,
            );
        } else if self.cycles.has(owed.symbol) {
            // Calls like this one were not answered. If it is not either, how
            // far has it come?
            let mut further = self.cycles.clone();
            further.push(owed.symbol, told.options.max_period.0);
            self.tell(told.options.find(&further), false, Some(&call.tool), &mut told);
        }
    }

    fn answered(
        &mut self,
        result: &ToolResult,
        options: &RunawayLoopOptions,
        cx: &mut Context<'_>,
    ) {
        let Some(call) = cx.call() else { return };
        let Some(open) = &mut self.open else { return };
        let Some(at) = open.owed.iter().position(|it| it.id == call.id) else { return };
        // Not the tool's own answer, and no step of the agent's.
        let is_own = !matches!(result.cause, Some(Cause::Sibling | Cause::Interrupted));
        let is_change = is_own && call.class == ToolClass::Write && result.ok;
        let is_known = self.has_answers || result.fingerprint.is_some();
        if !is_own || !is_known {
            open.owed.remove(at);
            self.close_open();
            if is_change {
                self.changed(call.fingerprint, None, cx);
            }
            return;
        }
        if !self.has_answers {
            // What was seen so far were calls without their answers.
            self.cycles = Cycles::default();
            self.has_answers = true;
        }
        let (response, place) = (call.response, Some(call.place.clone()));
        let (fingerprint, answer) = (call.fingerprint, result.fingerprint);
        let step = Step {
            symbol: symbol(fingerprint, answer),
            tool: call.tool.clone(),
            class: call.class,
        };
        // The answers to other calls come first.
        let others = if response.is_none() || open.response != response {
            std::mem::take(&mut open.batch)
        } else {
            Vec::new()
        };
        // Whatever was called before, and not beside this one, was left behind.
        let is_left = |it: &OwedCall| response.is_none() || it.response != response;
        let (before, after) = open.owed.split_at(at);
        let pending = &cx.agent().pending;
        let step_of = |it: &OwedCall| {
            let call = pending.iter().find(|call| call.id == it.id);
            let (tool, class) =
                call.map_or((&step.tool, step.class), |call| (&call.tool, call.class));
            Step { symbol: it.symbol, tool: tool.clone(), class }
        };
        let left: Vec<Step> = before.iter().filter(|it| is_left(it)).map(step_of).collect();
        let is_owed = response.is_some()
            && before.iter().chain(&after[1..]).any(|it| it.response == response);
        let mut idx = 0;
        open.owed.retain(|it| {
            let stays = idx != at && !(idx < at && is_left(it));
            idx += 1;
            stays
        });
        // Calls that run side by side are answered in any order, and copies of
        // one call are one step.
        let mut answers = Vec::new();
        let is_beside = response.is_some() && (is_owed || !open.batch.is_empty());
        let alone = if is_beside {
            open.response = response;
            if open.batch.iter().all(|it| it.symbol != step.symbol) {
                open.batch.push(step);
            }
            if !is_owed {
                answers = std::mem::take(&mut open.batch);
            }
            None
        } else {
            Some(step)
        };
        self.close_open();
        if is_change {
            self.changed(fingerprint, answer, cx);
        }
        let mut told = Told { options, cx };
        self.flush(others, &mut told);
        for step in left {
            self.step(step, place.clone(), &mut told);
        }
        if let Some(step) = alone {
            let place = if response.is_none() { place } else { told.cx.place() };
            self.step(step, place, &mut told);
        }
        self.flush(answers, &mut told);
    }

    /// Takes the answers to calls that ran side by side, in an order of their
    /// own.
    fn flush(&mut self, mut batch: Vec<Step>, told: &mut Told<'_, '_>) {
        batch.sort_unstable_by_key(|it| it.symbol);
        for step in batch {
            self.step(step, told.cx.place(), told);
        }
    }

    /// Gives back the room of what has become steps.
    fn close_open(&mut self) {
        self.open.take_if(|it| it.owed.is_empty() && it.batch.is_empty());
    }

    fn step(&mut self, step: Step, place: Option<Place>, told: &mut Told<'_, '_>) {
        let is_known = self.cycles.push(step.symbol, told.options.max_period.0);
        self.n_fruitless = self.n_fruitless.saturating_add(1);
        self.resolve_broken(told.cx);
        if self.cycles.is_going_round() {
            self.trail.get_or_insert_default().note(step.tool.clone());
        } else {
            self.trail.take_if(|it| it.raised == 0 && it.recurring.is_none());
        }
        if !self.cycles.is_recurring() {
            self.since = Some(Since { place, at: told.cx.now().into() });
        }
        if is_known {
            self.tell(told.options.find(&self.cycles), self.has_answers, None, told);
            self.tell_of_recurring(&step, told);
        }
    }

    /// Takes note of a change that succeeded, before it is a step: it is
    /// progress unless it was made before.
    fn changed(&mut self, call: Fingerprint, answer: Option<Fingerprint>, cx: &mut Context<'_>) {
        // Where no answers are known, it became a step as it was called.
        let n_own = usize::from(!self.has_answers);
        if !cx.agent().is_changing || n_own < self.cycles.count(symbol(call, answer)) {
            return;
        }
        self.end(cx, "something was changed");
        self.cycles.interrupt();
        self.trail = None;
        self.n_fruitless = 0;
    }

    /// Tells of the latest step if it came often since the last progress, but
    /// in no order.
    fn tell_of_recurring(&mut self, step: &Step, told: &mut Told<'_, '_>) {
        let options = told.options;
        // One that is part of a cycle was told of.
        let is_told = self.trail.as_ref().is_some_and(|it| it.raised != 0);
        if !options.recurring || is_told || self.cycles.count(step.symbol) < FEWEST_TIMES {
            return;
        }
        let latest = self.cycles.recurrence(step.symbol, usize::from(self.n_fruitless));
        let Recurrence { n_times, n_steps, is_in_a_row } = latest;
        let per_round = if self.has_answers { 2 } else { 3 };
        // In a row they are a cycle of one call.
        if is_in_a_row || n_times < FEWEST_TIMES {
            return;
        }
        // What is run may change the world unseen.
        let is_dense = || FEWEST_TIMES <= self.cycles.recurrence(step.symbol, DENSE).n_times;
        if step.class == ToolClass::Run && !is_dense() {
            return;
        }
        self.trail.get_or_insert_default().recurring = Some(step.symbol);
        told.cx.raise(RECURRING, n_times as u64 / per_round, || {
            let tool = quote(&step.tool);
            let message = if self.has_answers {
                format!("{tool} gave the same answer to the same call {n_times} times in {n_steps} calls, with no known change in between")
            } else {
                format!("{tool} was called the same way {n_times} times in {n_steps} calls, with no known change in between")
            };
            Report::new(message)
                .with("times", n_times)
                .with("calls", n_steps)
                .with("tools", [unquoted(&step.tool)].as_slice())
        });
    }

    /// Tells of a cycle whose latest call is the latest step, or else one that
    /// is not a step yet.
    fn tell(
        &mut self,
        cycle: Option<Cycle>,
        has_answers: bool,
        tool: Option<&Arc<str>>,
        told: &mut Told<'_, '_>,
    ) {
        let Some(cycle) = cycle else { return };
        // Calls say less than answers do: three rounds of them count as two.
        let weight = cycle.weight();
        let measure = if has_answers { weight } else { weight * 2 / 3 };
        let trail = self.trail.get_or_insert_default();
        trail.raised |= 1 << (cycle.period - 1);
        let now = told.cx.now();
        told.cx.raise(subject(cycle.period), measure, || {
            let Cycle { period, rounds, n_odd } = cycle;
            let tools = trail.tools_of(period, tool);
            let names = in_words(&tools);
            let calls = match period {
                1 => format!("the same call of {names}"),
                2..=MAX_TOOLS => format!("the same {period} calls of {names}"),
                _ => format!("the same {period} calls, the latest of {names},"),
            };
            let took = self.since.as_ref().map(|it| now.duration_since(it.at.into()));
            let took = Elapsed(took.unwrap_or_default());
            let flaw = match n_odd {
                None => String::new(),
                Some(0) => ", though not always in order".to_owned(),
                Some(1) => ", but for 1 odd call in between".to_owned(),
                Some(n) => format!(", but for {n} odd calls in between"),
            };
            let message = match (has_answers, period) {
                (true, 1) => format!("{calls} got the same answer {rounds} times over in {took}{flaw}"),
                (true, _) => format!("{calls} got the same answers {rounds} times over in {took}{flaw}"),
                (false, 1) => format!("{calls} was made {rounds} times over in {took}{flaw}, and not all were answered"),
                (false, _) => format!("{calls} were made {rounds} times over in {took}{flaw}, and not all were answered"),
            };
            let tools: Vec<String> = tools.iter().map(|it| unquoted(it)).collect();
            Report::new(message)
                .with("period", period)
                .with("rounds", rounds)
                .with("odd_calls", n_odd.unwrap_or_default())
                .with("tools", tools)
                .since(self.since.as_ref().and_then(|it| it.place.as_ref()).map(Place::evidence))
        });
    }

    /// Ends the findings about what the latest step ended.
    fn resolve_broken(&mut self, cx: &mut Context<'_>) {
        let Some(trail) = &mut self.trail else { return };
        let is_gone = |it: u32| self.cycles.recurrence(it, GONE_AFTER).n_times == 0;
        if trail.recurring.take_if(|it| is_gone(*it)).is_some() {
            resolve_recurring("it was made no more, or got another answer", cx);
        }
        let mut raised = trail.raised;
        while raised != 0 {
            let period = raised.trailing_zeros() as usize + 1;
            raised &= raised - 1;
            if !self.cycles.is_alive(period) {
                trail.raised &= !(1 << (period - 1));
                resolve(period, "the agent did something else", cx);
            }
        }
    }

    /// Ends all findings.
    fn end(&self, cx: &mut Context<'_>, why: &str) {
        let Some(trail) = &self.trail else { return };
        for period in (1..=MAX_PERIOD).filter(|it| trail.raised & (1 << (it - 1)) != 0) {
            resolve(period, why, cx);
        }
        if trail.recurring.is_some() {
            resolve_recurring(why, cx);
        }
    }
}

impl Trail {
    fn note(&mut self, tool: Arc<str>) {
        if self.tools.len() == MAX_TOOLS {
            self.tools.remove(0);
        }
        self.tools.push(tool);
    }

    /// The tools of the latest calls of a round, each once, in order.
    fn tools_of<'a>(&'a self, period: usize, last: Option<&'a Arc<str>>) -> Vec<&'a str> {
        let mut tools: Vec<&str> = Vec::new();
        for tool in last.into_iter().chain(self.tools.iter().rev()).take(period.min(MAX_TOOLS)) {
            tools.retain(|it| **it != **tool);
            tools.push(tool);
        }
        tools.reverse();
        tools
    }
}

/// Names some of the tools of a round.
fn in_words(tools: &[&str]) -> String {
    let (shown, n_more) =
        (&tools[..tools.len().min(MAX_NAMED)], tools.len().saturating_sub(MAX_NAMED));
    let mut names: Vec<String> = shown.iter().map(|it| quote(it)).collect();
    if 0 < n_more {
        names.push("others".to_owned());
    }
    match &names[..] {
        [] => "unknown tools".to_owned(),
        [only] => only.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

fn unquoted(tool: &str) -> String {
    quote(tool).trim_matches('`').to_owned()
}

fn resolve(period: usize, why: &str, cx: &mut Context<'_>) {
    let calls = if period == 1 { "call" } else { "calls" };
    cx.resolve(subject(period), || {
        Report::new(format!("the cycle of {period} {calls} is over: {why}")).with("period", period)
    });
}

fn resolve_recurring(why: &str, cx: &mut Context<'_>) {
    cx.resolve(RECURRING, || Report::new(format!("the call does not recur any more: {why}")));
}

fn subject(period: usize) -> Fingerprint {
    Fingerprint::from(period as u64)
}

/// What two steps that count as the same have in common: a call, in the upper
/// half, and its answer. A quarter of a fingerprint is enough for each: a cycle
/// needs many of them to be equal.
#[expect(clippy::cast_possible_truncation, reason = "half of it is kept")]
fn symbol(call: Fingerprint, answer: Option<Fingerprint>) -> u32 {
    let whole = answer.map_or(call, |it| call.and(it));
    (call.get() as u32 & 0xffff_0000) | (whole.get() as u32 & 0xffff)
}

/// What was done since the last progress.
#[derive(Clone, Debug, Default)]
struct Fruitless {
    n: u64,
    since: Option<Place>,
}

impl Fruitless {
    fn is_new(&self) -> bool {
        self.n == 0
    }

    fn observe(&mut self, event: &Event, of: Of, cx: &mut Context<'_>) {
        match &event.kind {
            EventKind::Prompt { synthetic: false, .. } => {
                self.progress("a person spoke", of, cx);
            }
            EventKind::ToolResult(_) if cx.agent().is_changing => {
                self.progress("something was changed", of, cx);
            }
            EventKind::ModelCall(_)
                if of == Of::Step && cx.usage().is_none_or(|it| !it.replaces) =>
            {
                self.count(of, cx);
            }
            EventKind::Handoff { .. } if of == Of::Handoff => self.count(of, cx),
            _ => {}
        }
    }

    fn count(&mut self, of: Of, cx: &mut Context<'_>) {
        if self.n == 0 {
            self.since = cx.place();
        }
        self.n += 1;
        let n = self.n;
        cx.raise(Fingerprint::NONE, n, || {
            Report::new(format!("{} without progress", of.times(n)))
                .with("count", n)
                .since(self.since.as_ref().map(Place::evidence))
        });
    }

    fn progress(&mut self, what: &str, of: Of, cx: &mut Context<'_>) {
        let n = std::mem::take(&mut self.n);
        self.since = None;
        cx.resolve(Fingerprint::NONE, || {
            Report::new(format!("progress after {}: {what}", of.times(n))).with("count", n)
        });
    }
}

impl Of {
    fn times(self, n: u64) -> String {
        let what = match self {
            Self::Cycle => "round",
            Self::Step => "model call",
            Self::Handoff => "handoff",
        };
        if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") }
    }
}

impl<'de> Deserialize<'de> for CycleLength {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        return deserializer.deserialize_u64(Visitor);

        struct Visitor;

        impl de::Visitor<'_> for Visitor {
            type Value = CycleLength;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a number of calls from 1 to {MAX_PERIOD}")
            }

            fn visit_i64<E: de::Error>(self, n: i64) -> Result<CycleLength, E> {
                let length = usize::try_from(n).ok().filter(|it| (1..=MAX_PERIOD).contains(it));
                length
                    .map(CycleLength)
                    .ok_or_else(|| E::invalid_value(de::Unexpected::Signed(n), &self))
            }

            fn visit_u64<E: de::Error>(self, n: u64) -> Result<CycleLength, E> {
                self.visit_i64(i64::try_from(n).unwrap_or(i64::MAX))
            }
        }
    }
}

impl JsonSchema for CycleLength {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "CycleLength".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "integer", "minimum": 1, "maximum": MAX_PERIOD })
    }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;
    use watchkeeper_testing::{laws, play};

    use super::{MAX_PERIOD, RunawayLoop};

    #[test]
    fn rounds_with_the_same_answers_are_counted() {
        let trace = "
            0s   prompt fix it
            1s   repeat 7 every 9s: call Edit a ;; result ok done ;; call Bash make ;; result fail 3 errors
            +1s  message let me look elsewhere
            +1s  call Read Makefile
            +1s  result all: build
            +1s  call Read configure
            +1s  result a script
            +1s  call Read README
            +1s  result a text
            +1s  call Read LICENSE
            +1s  result a long text
        ";
        assert_snapshot!(play::<RunawayLoop>("", trace), @"
        19s     medium    the same 2 calls of `Edit` and `Bash` got the same answers 3 times over in 18s
        46s     high      the same 2 calls of `Edit` and `Bash` got the same answers 6 times over in 45s
        1m4s    resolved  the cycle of 2 calls is over: the agent did something else
        ");
    }

    #[test]
    fn a_round_with_another_answer_is_progress() {
        let trace = "
            0s   repeat 2 every 9s: call Edit a ;; result ok done ;; call Bash make ;; result fail no
            20s  call Edit a
            21s  result ok done
            22s  call Bash make
            23s  result fail still no
            30s  repeat 2 every 9s: call Edit a ;; result ok done ;; call Bash make ;; result fail no
        ";
        assert_snapshot!(play::<RunawayLoop>("", trace), @"");
    }

    #[test]
    fn three_rounds_of_any_length_are_found_as_they_are_completed() {
        for period in 1..=MAX_PERIOD {
            let round: Vec<String> =
                (0..period).map(|n| format!("call Read f{n} ;; result ok {n}")).collect();
            let trace = format!("0s repeat 3 every 10s: {}\n+1s call Read g", round.join(" ;; "));
            let what = match period {
                1 => "the same call of `Read` got the same answer".to_owned(),
                17.. => {
                    format!("the same {period} calls, the latest of `Read`, got the same answers")
                }
                _ => format!("the same {period} calls of `Read` got the same answers"),
            };
            assert_eq!(
                play::<RunawayLoop>("min_period = 1", &trace).trim_end(),
                format!("20s     medium    {what} 3 times over in 20s")
            );
        }
    }

    #[test]
    fn an_odd_call_does_not_hide_a_cycle() {
        let round = "call Read a ;; result ok a ;; call Edit a ;; result ok done ;; call Bash make ;; result fail no ;; call Read b ;; result ok b";
        let rounds = (0..4).map(|n| {
            let flawed =
                round.replace("Bash make ;; result fail no", &format!("Grep {n} ;; result ok {n}"));
            format!(
                "+1s repeat 2 every 8s: {round}\n+8s repeat 1 every 8s: {flawed}\n+7s advance\n"
            )
        });
        let mut trace = rounds.collect::<Vec<_>>().concat();
        trace += "+1s call Read x\n+1s result ok x\n+1s call Read y\n+1s result ok y\n";
        assert_snapshot!(play::<RunawayLoop>("", &trace), @"
        41s     medium    the same 4 calls of `Bash`, `Read` and `Edit` got the same answers 5 times over in 40s, but for 1 odd call in between
        57s     high      the same 4 calls of `Read`, `Edit` and `Bash` got the same answers 7 times over in 56s, but for 2 odd calls in between
        ");
    }

    #[test]
    fn a_call_that_recurs_in_no_order_is_found() {
        let trace = "
            0s   prompt fix it
            1s   call Bash make
            1s   result fail no
            2s   call Read a
            2s   result ok a
            3s   call Bash make
            3s   result fail no
            4s   call Bash make
            4s   result fail no
            5s   call Grep b
            5s   result ok b
            6s   call Read c
            6s   result ok c
            7s   call Bash make
            7s   result fail no
            8s   call Read d
            8s   result ok d
            9s   repeat 2 every 1s: call Bash make ;; result fail no
            11s  call Edit a
            11s  result ok done
            12s  call Bash make
            12s  result fail no
        ";
        assert_snapshot!(play::<RunawayLoop>("", trace), @"
        10s     medium    `Bash` gave the same answer to the same call 6 times in 10 calls, with no known change in between
        11s     resolved  the call does not recur any more: something was changed
        ");
        assert_snapshot!(play::<RunawayLoop>("recurring = false", trace), @"");
        // It is over when the call has not been made for long.
        let mut others: Vec<String> =
            (0..40).map(|n| format!("+1s call Read f{n}\n+0s result ok {n}\n")).collect();
        others.insert(0, trace.split("11s").next().unwrap_or_default().to_owned());
        assert_snapshot!(play::<RunawayLoop>("", &others.concat()), @"
        10s     medium    `Bash` gave the same answer to the same call 6 times in 10 calls, with no known change in between
        42s     resolved  the call does not recur any more: it was made no more, or got another answer
        ");
    }

    #[test]
    fn work_that_gets_on_recurs_too() {
        // A test after each change, a file that is read between them, and an
        // answer that comes and goes.
        for round in [
            "call Edit a N ;; result ok done ;; call Bash make ;; result fail no ;; call Bash make ;; result fail no",
            "call Bash make ;; result ok fine ;; call Bash sed N ;; result ok N",
            "call Read a ;; result ok a ;; call Write b N ;; result ok done ;; call Read c N ;; result ok c",
            "call Read a ;; result ok one ;; call Grep N ;; result ok N ;; call Read a ;; result ok two ;; call Grep b N ;; result ok N",
            "call Edit a N ;; result ok ;; call Bash make ;; result fail ;; call Read a ;; result ok",
            "call TaskOutput 1 ;; result ok running ;; call Read N ;; result ok N",
        ] {
            let rounds = (0..20).map(|n| {
                format!("+10s repeat 1 every 1s: {}\n", round.replace('N', &n.to_string()))
            });
            let trace = rounds.collect::<Vec<_>>().concat();
            assert_eq!(play::<RunawayLoop>("", &trace), "", "{round}");
        }
        // The same change once more gets nowhere, whatever it is said to have
        // done.
        let rounds = (0..6).map(|n| {
            format!("+9s call Edit a\n+0s result ok revision {n}\n+0s call Bash make\n+0s result fail no\n+0s call Bash make\n+0s result fail no\n")
        });
        let trace = rounds.collect::<Vec<_>>().concat();
        assert_snapshot!(play::<RunawayLoop>("", &trace), @"
        27s     medium    `Bash` gave the same answer to the same call 6 times in 8 calls, with no known change in between
        54s     high      `Bash` gave the same answer to the same call 12 times in 17 calls, with no known change in between
        ");
    }

    #[test]
    fn calls_without_answers_count_for_less() {
        let trace = "0s repeat 6 every 9s: call Edit a ;; call Bash make ;; call Read b";
        assert_snapshot!(play::<RunawayLoop>("", trace), @"
        18s     low       the same 3 calls of `Edit`, `Bash` and `Read` were made 3 times over in 18s, and not all were answered
        36s     medium    the same 3 calls of `Edit`, `Bash` and `Read` were made 5 times over in 36s, and not all were answered
        ");
    }

    #[test]
    fn calls_left_behind_are_steps() {
        let trace = "
            0s   repeat 2 every 9s: call Read a ;; result ok a ;; call Note a
            20s  call Read a
            21s  result ok a
            22s  call Note a
            23s  call Read a
            24s  result ok a
        ";
        assert_snapshot!(play::<RunawayLoop>("", trace), @"
        22s     low       the same 2 calls of `Read` and `Note` were made 3 times over in 13s, and not all were answered
        24s     medium    the same 2 calls of `Read` and `Note` got the same answers 3 times over in 15s
        ");
        // An answer that comes after all is no step of its own.
        let late = "0s repeat 3 every 5s: call #a Read a ;; call #b Read b ;; result #b ok b ;; result #a ok a";
        assert_snapshot!(play::<RunawayLoop>("", late), @"10s     medium    the same 2 calls of `Read` got the same answers 3 times over in 10s");
    }

    #[test]
    fn one_call_in_a_row_is_left_to_others_unless_asked_for() {
        let trace = "0s repeat 4 every 9s: call Bash make ;; result fail no";
        assert_snapshot!(play::<RunawayLoop>("", trace), @"");
        assert_snapshot!(play::<RunawayLoop>("min_period = 1", trace), @"18s     medium    the same call of `Bash` got the same answer 3 times over in 18s");
    }

    #[test]
    fn parallel_answers_may_come_in_any_order() {
        let trace = "
            0s   call #a Read @r1 a
            0s   call #b Read @r1 b
            0s   call #c Read @r1 b
            1s   result #a ok a
            1s   result #b ok b
            1s   result #c ok b
            2s   call #a Read @r2 a
            2s   call #b Read @r2 b
            3s   result #b ok b
            3s   result #a ok a
            4s   call #b Read @r3 b
            4s   call #a Read @r3 a
            5s   result #b ok b
            5s   result #a ok a
        ";
        assert_snapshot!(play::<RunawayLoop>("", trace), @"5s      medium    the same 2 calls of `Read` got the same answers 3 times over in 4s");
    }

    #[test]
    fn steps_and_handoffs_are_counted_until_there_is_progress() {
        let trace = "
            0s   prompt hello
            1s   handoff planner
            2s   agent planner: handoff coder
            3s   usage id=m1 output=1
            3s   usage id=m1 output=2
            4s   usage id=m2 output=1
            5s   handoff planner
            6s   call Edit a
            7s   result ok
            8s   repeat 3 every 1s: usage output=1 ;; call Edit a ;; result ok
        ";
        assert_snapshot!(play::<RunawayLoop>("of = 'handoff'", trace), @"
        2s      low       2 handoffs without progress
        5s      medium    3 handoffs without progress; since it was found: 3 tokens
        7s      resolved  progress after 3 handoffs: something was changed; since it was found: 3 tokens
        ");
        assert_snapshot!(play::<RunawayLoop>("of = 'step'", trace), @"
        4s      low       2 model calls without progress
        7s      resolved  progress after 2 model calls: something was changed
        9s      low       2 model calls without progress
        10s     medium    3 model calls without progress; since it was found: 1 token
        ");
    }

    #[test]
    fn it_obeys_the_laws_of_detectors() {
        laws::check::<RunawayLoop>("");
        laws::check::<RunawayLoop>("min_period = 1\nmax_period = 3");
        laws::check::<RunawayLoop>("of = 'step'");
        laws::check::<RunawayLoop>("of = 'handoff'");
    }

    #[test]
    fn one_for_each_of_many_streams_is_small() {
        assert_eq!(size_of::<RunawayLoop>(), 104);
    }
}
