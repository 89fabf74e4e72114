//! Calls that come round.

use std::{mem, sync::Arc};

use watchkeeper_core::{
    Call, Cause, Context, Elapsed, PackedTimestamp, Place, ToolClass, ToolResult,
};

use crate::{
    RunawayLoopOptions,
    cycle::{Cycle, Cycles},
    step::{Open, Settled, Step, symbol},
    trail::{RECURRING, Trail, subject},
    words,
};

/// A call that came less often does not recur.
const FEWEST_TIMES: usize = 6;
/// A command must come as often among so many steps.
const DENSE: usize = 10;

/// The latest calls of an agent, and how often they came round.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rounds {
    cycles: Cycles,
    /// Whether any answer is known: if none is, calls alone must do.
    has_answers: bool,
    /// How many steps there were since the last progress; no more are counted
    /// than `Cycles` keeps.
    n_fruitless: u8,
    open: Open,
    /// Where the latest step was that began no cycle and went on with none, and
    /// when it was taken.
    since: Option<Place>,
    since_at: Option<PackedTimestamp>,
    /// `None` if there is no cycle that may be one.
    trail: Option<Box<Trail>>,
}

impl Rounds {
    pub(crate) fn is_new(&self) -> bool {
        self.cycles.is_empty() && self.open.is_nothing() && !self.has_answers
    }

    /// Forgets all of it, and keeps some room.
    pub(crate) fn clear(&mut self) {
        let mut cycles = mem::take(&mut self.cycles);
        cycles.clear();
        *self = Self { cycles, ..Self::default() };
    }

    pub(crate) fn called(
        &mut self,
        call: &Call,
        options: &RunawayLoopOptions,
        cx: &mut Context<'_>,
    ) {
        let symbol = symbol(call.fingerprint, None);
        self.open.owe(call, symbol);
        if !self.has_answers {
            let (tool, class) = (&call.tool, call.class);
            self.step(Step { symbol, tool, class, is_at_call: true }, call, options, cx);
        } else if self.cycles.is_recurring() && self.cycles.has(symbol) {
            // Calls like this one were not answered. If it is not either, how
            // far has it come?
            let mut further = self.cycles.clone();
            further.push(symbol, options.max_period.get());
            self.tell(options.find(&further), false, Some(&call.tool), cx);
        }
    }

    pub(crate) fn answered(
        &mut self,
        result: &ToolResult,
        options: &RunawayLoopOptions,
        cx: &mut Context<'_>,
    ) {
        let Some(call) = cx.call() else { return };
        // Not the tool's own answer, and no step of the agent's.
        let is_own = !matches!(result.cause, Some(Cause::Sibling | Cause::Interrupted));
        let is_known = self.has_answers || result.fingerprint.is_some();
        let step = Step {
            symbol: symbol(call.fingerprint, result.fingerprint),
            tool: &call.tool,
            class: call.class,
            is_at_call: call.response.is_none(),
        };
        let settled = if is_own && is_known {
            self.open.answered(step, call, cx)
        } else {
            self.open.forget(call).then_some(Settled::Several(Vec::new()))
        };
        let Some(settled) = settled else { return };
        if !self.has_answers && is_own && is_known {
            // What was seen so far were calls without their answers.
            self.cycles.clear();
            self.has_answers = true;
        }
        if is_own && call.class == ToolClass::Write && result.ok {
            self.changed(step.symbol, cx);
        }
        match settled {
            Settled::One => self.step(step, call, options, cx),
            Settled::Several(steps) => {
                for it in &steps {
                    self.step(it.step(), call, options, cx);
                }
            }
        }
    }

    /// Takes a step that `call`, or the answer to it, makes one.
    fn step(
        &mut self,
        step: Step<'_>,
        call: &Call,
        options: &RunawayLoopOptions,
        cx: &mut Context<'_>,
    ) {
        let is_known = self.cycles.push(step.symbol, options.max_period.get());
        self.n_fruitless = self.n_fruitless.saturating_add(1);
        if let Some(trail) = &mut self.trail {
            trail.resolve_broken(&self.cycles, cx);
        }
        if self.cycles.is_going_round() {
            self.trail.get_or_insert_default().note(step.tool.clone());
        } else {
            self.trail.take_if(|it| it.is_over());
        }
        if !self.cycles.is_recurring() {
            match &mut self.since {
                Some(since) if step.is_at_call => since.clone_from(&call.place),
                None if step.is_at_call => self.since = Some(call.place.clone()),
                since => cx.keep_place(since),
            }
            self.since_at = Some(cx.now().into());
        }
        if is_known {
            self.tell(options.find(&self.cycles), self.has_answers, None, cx);
            self.tell_of_recurring(&step, options, cx);
        }
    }

    /// Takes note of a change that succeeded, before it is a step: it is
    /// progress unless it was made before.
    fn changed(&mut self, symbol: u32, cx: &mut Context<'_>) {
        // Where no answers are known, it became a step as it was called.
        let n_own = usize::from(!self.has_answers);
        if !cx.agent().is_changing || n_own < self.cycles.count(symbol) {
            return;
        }
        self.end(cx, "something was changed");
        self.cycles.interrupt();
        self.n_fruitless = 0;
    }

    /// Tells of the latest step if it came often since the last progress, but
    /// in no order.
    fn tell_of_recurring(
        &mut self,
        step: &Step<'_>,
        options: &RunawayLoopOptions,
        cx: &mut Context<'_>,
    ) {
        // One that is part of a cycle was told of.
        let is_told = self.trail.as_ref().is_some_and(|it| it.has_raised());
        if !options.recurring || is_told || self.cycles.count(step.symbol) < FEWEST_TIMES {
            return;
        }
        let latest = self.cycles.recurrence(step.symbol, usize::from(self.n_fruitless));
        // In a row they are a cycle of one call.
        if latest.is_in_a_row || latest.n_times < FEWEST_TIMES {
            return;
        }
        // What is run may change the world unseen.
        let is_dense = || FEWEST_TIMES <= self.cycles.recurrence(step.symbol, DENSE).n_times;
        if step.class == ToolClass::Run && !is_dense() {
            return;
        }
        self.trail.get_or_insert_default().recurs(step.symbol);
        let per_round = if self.has_answers { 2 } else { 3 };
        cx.report(RECURRING, latest.n_times as u64 / per_round, || {
            words::recurring(latest, self.has_answers, step.tool)
        });
    }

    /// Tells of a cycle whose latest call is the latest step, or else one that
    /// is not a step yet.
    fn tell(
        &mut self,
        cycle: Option<Cycle>,
        has_answers: bool,
        tool: Option<&Arc<str>>,
        cx: &mut Context<'_>,
    ) {
        let Some(cycle) = cycle else { return };
        // Calls say less than answers do: three rounds of them count as two.
        let weight = cycle.weight();
        let measure = if has_answers { weight } else { weight * 2 / 3 };
        let trail = self.trail.get_or_insert_default();
        trail.raised(cycle.period);
        let now = cx.now();
        cx.report(subject(cycle.period), measure, || {
            let tools = trail.tools_of(cycle.period, tool);
            let took = self.since_at.map(|it| now.duration_since(it.into()));
            let took = Elapsed(took.unwrap_or_default());
            let is_one_call =
                cycle.period == 1 || tool.is_none() && self.cycles.is_one_call(cycle.period);
            words::going_round(cycle, is_one_call, has_answers, &tools, took)
                .since(self.since.as_ref().map(Place::evidence))
        });
    }

    /// Ends all findings.
    pub(crate) fn end(&mut self, cx: &mut Context<'_>, why: &str) {
        if let Some(trail) = self.trail.take() {
            trail.end(cx, why);
        }
    }
}
