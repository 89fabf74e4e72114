//! Cycles and repetitions among the calls of one agent.

use std::{mem, sync::Arc};

use watchkeeper_core::{
    Context, Purpose, ResultClass, ToolClass, ToolResult,
    author::{Call, Cause, Change, PackedTimestamp, Place},
};

use crate::{
    cycle::Cycle,
    cycles::{Added, Cycles},
    messages,
    open_findings::{OpenFindings, REPEATED_CALL, repeated_change, subject},
    options::RunawayLoopOptions,
    steps::{Completed, OpenCalls, Step, call_symbol, is_change, is_replacement, result_symbol},
};

/// The least number of times that a call must occur to be reported although it
/// repeats in no order.
const MIN_TIMES: usize = 6;
/// A command must occur `MIN_TIMES` within this number of steps.
const DENSE: usize = 10;
/// The least number of times that a change must be made to be reported.
const MIN_CHANGES: usize = 3;

/// The latest calls of one agent and their repetitions.
#[derive(Clone, Debug, Default)]
pub(crate) struct CallCycles {
    cycles: Cycles,
    /// True once a result is known. Until then, calls count without results.
    has_results: bool,
    /// The number of steps since the latest progress; may be less than the
    /// real number beyond the capacity of `cycles`.
    n_since_progress: u8,
    /// The number of steps since the latest one that may have changed files unnoticed;
    /// may be less than the real number.
    n_since_run: u8,
    /// The number of steps since the latest compaction, or since the first step; at most 255.
    n_since_compaction: u8,
    open: OpenCalls,
    /// The latest step that neither started nor continued a cycle: its location
    /// and its time.
    since: Option<Place>,
    since_at: Option<PackedTimestamp>,
    /// `None` if no cycle is likely.
    findings: Option<Box<OpenFindings>>,
}

impl CallCycles {
    pub(crate) fn is_empty(&self) -> bool {
        self.cycles.is_empty() && self.open.is_empty() && !self.has_results
    }

    /// Forgets all calls and keeps a small allocation.
    pub(crate) fn clear(&mut self) {
        let mut cycles = mem::take(&mut self.cycles);
        cycles.clear();
        *self = Self { cycles, ..Self::default() };
    }

    /// Records that the context was compacted: the agent may read the same files again.
    pub(crate) fn add_compaction(&mut self) {
        self.n_since_compaction = 0;
    }

    /// Returns the cycle at the end of `cycles` if it has enough rounds.
    fn find(&self, cycles: &Cycles, options: &RunawayLoopOptions) -> Option<Cycle> {
        let is_since_compaction =
            |cycle: &Cycle| 2 * cycle.period <= usize::from(self.n_since_compaction);
        options.find(cycles).filter(|cycle| cycle.has_three_rounds() || is_since_compaction(cycle))
    }

    /// Adds a call that makes `change`.
    pub(crate) fn add_call(
        &mut self,
        call: &Call,
        change: Option<Change>,
        options: &RunawayLoopOptions,
        cx: &mut Context<'_>,
    ) {
        self.open.push(call, change);
        // Most calls are not part of a cycle, and become steps with their results.
        if self.has_results && !self.cycles.is_repeating() {
            return;
        }
        let symbol = call_symbol(call, change);
        if !self.has_results {
            let (tool, class, purpose) = (&call.tool, call.class, call.purpose);
            let step = Step { symbol, tool, class, purpose, is_at_call: true };
            self.add_step(step, call, options, cx);
        } else if self.cycles.contains(symbol) {
            // Earlier calls like this one got no result. Evaluate the cycle as
            // if this one gets none either.
            let mut cycles = self.cycles.clone();
            cycles.add(symbol, options.max_period.get());
            self.report_cycle(self.find(&cycles, options), false, Some(&call.tool), cx);
        }
    }

    pub(crate) fn add_result(
        &mut self,
        result: &ToolResult,
        options: &RunawayLoopOptions,
        cx: &mut Context<'_>,
    ) {
        let Some(call) = cx.call() else { return };
        // A call that was stopped from outside is not a step, nor is a call that
        // failed because a service did.
        let is_stopped = matches!(result.cause, Some(Cause::Sibling | Cause::Interrupted));
        let is_outage = !result.ok && cx.result_class() == Some(ResultClass::Outage);
        let is_from_tool = !is_stopped && !is_outage;
        let is_known = self.has_results || result.fingerprint.is_some();
        // The same change again is the same step, whatever its result contains.
        let change = self.open.change_of(call).filter(|_| result.ok && is_known);
        let step = Step {
            symbol: change.unwrap_or_else(|| result_symbol(call, result.fingerprint)),
            tool: &call.tool,
            class: call.class,
            purpose: call.purpose,
            is_at_call: call.response.is_none(),
        };
        let completed = if is_from_tool && is_known {
            self.open.complete(step, call, cx)
        } else {
            self.open.remove(call).then_some(Completed::Others(Vec::new()))
        };
        let Some(completed) = completed else { return };
        if let Some(findings) = &mut self.findings
            && is_from_tool
        {
            findings.add_result(call, result);
        }
        if !self.has_results && (is_from_tool || is_outage) && is_known {
            // All previous steps are calls without results.
            self.cycles.clear();
            self.has_results = true;
        }
        if is_from_tool && call.class == ToolClass::Write && result.ok {
            self.add_change(step.symbol, cx);
        }
        match completed {
            Completed::This => self.add_step(step, call, options, cx),
            Completed::Others(steps) => {
                for step in &steps {
                    self.add_step(step.as_step(), call, options, cx);
                }
            }
        }
    }

    /// Resolves all findings.
    pub(crate) fn resolve_all(&mut self, cx: &mut Context<'_>, reason: &str) {
        if let Some(mut findings) = self.findings.take() {
            findings.resolve_all(cx, reason);
        }
    }

    /// Adds a step that was completed by `call`, or by its result.
    fn add_step(
        &mut self,
        step: Step<'_>,
        call: &Call,
        options: &RunawayLoopOptions,
        cx: &mut Context<'_>,
    ) {
        if step.may_change_files() {
            self.n_since_run = 0;
        }
        // Most steps of most agents are new.
        if self.findings.is_none() && self.cycles.push_new(step.symbol) {
            self.count_pushed(1);
            self.set_since(step, call, cx);
            return;
        }
        let added = self.cycles.add(step.symbol, options.max_period.get());
        let Added::Pushed { is_known, n_pushed, n_unrelated } = added else {
            if let Some(findings) = &mut self.findings {
                findings.push_tool(step.tool.clone(), step.purpose);
            }
            return;
        };
        self.count_pushed(n_pushed);
        if let Some(findings) = &mut self.findings {
            findings.pop_tools(n_unrelated);
            findings.resolve_ended(&self.cycles, cx);
        }
        if self.cycles.has_candidate() {
            self.findings.get_or_insert_default().push_tool(step.tool.clone(), step.purpose);
        } else {
            self.findings.take_if(|findings| findings.is_empty());
        }
        if !self.cycles.is_repeating() {
            self.set_since(step, call, cx);
        }
        if is_known {
            let cycle = self.find(&self.cycles, options);
            self.report_cycle(cycle, self.has_results, None, cx);
            // The calls of a cycle repeat in order, even if it is too slow to be reported.
            if cycle.is_none() {
                self.report_repeated_change(&step, options, cx);
                self.report_repeated_call(&step, options, cx);
            }
        }
    }

    /// Adds to the numbers of steps.
    fn count_pushed(&mut self, n_pushed: u8) {
        self.n_since_progress = self.n_since_progress.saturating_add(n_pushed);
        self.n_since_run = self.n_since_run.saturating_add(1);
        self.n_since_compaction = self.n_since_compaction.saturating_add(n_pushed);
    }

    /// Stores the location and the time of a step that does not continue a cycle.
    fn set_since(&mut self, step: Step<'_>, call: &Call, cx: &Context<'_>) {
        match &mut self.since {
            Some(since) if step.is_at_call => since.clone_from(&call.place),
            None if step.is_at_call => self.since = Some(call.place.clone()),
            since => cx.store_place(since),
        }
        self.since_at = Some(cx.now().into());
    }

    /// Handles a successful change before it becomes a step: it is progress
    /// unless the same change was made before.
    fn add_change(&mut self, symbol: u32, cx: &mut Context<'_>) {
        // Without results, the call itself is already a step.
        let n_own = usize::from(!self.has_results);
        if !cx.agent().has_new_change() || n_own < self.cycles.count(symbol) {
            return;
        }
        if let Some(findings) = &mut self.findings {
            findings.resolve_all(cx, "a change succeeded");
        }
        self.cycles.interrupt();
        self.n_since_progress = 0;
    }

    /// Reports the latest step if it is a change that was made before, and that was lost or
    /// had no effect.
    ///
    /// A text that is replaced again was restored in between, by whatever means: several such
    /// changes count together. Of any other change, two times count as one if a command comes
    /// in between. A change that was not made before is progress, and starts over.
    fn report_repeated_change(
        &mut self,
        step: &Step<'_>,
        options: &RunawayLoopOptions,
        cx: &mut Context<'_>,
    ) {
        if !options.recurring || !is_change(step.symbol) {
            return;
        }
        let within = |n| self.cycles.occurrences(step.symbol, n);
        // Equal calls in a row are the condition of `repeat-tool-call`.
        if within(2).n_times == 2 {
            return;
        }
        let is_replacement = is_replacement(step.symbol);
        let (latest, n_times) = if is_replacement {
            (within(usize::MAX), within(self.n_since_progress.into()).n_groups)
        } else {
            let latest = within(self.n_since_progress.into());
            let n_since_run = within(self.n_since_progress.min(self.n_since_run).into()).n_groups;
            (latest, n_since_run.max(latest.n_groups / 2))
        };
        if latest.n_groups < 2 {
            return;
        }
        let findings = self.findings.get_or_insert_default();
        let n_lost = findings.add_repeated_change(step.symbol, is_replacement);
        let measure = n_times.max(n_lost);
        if findings.has_cycle() || measure < MIN_CHANGES {
            return;
        }
        let Some(measure) = capped(measure as u64, findings.compares_changes(), cx) else { return };
        findings.set_change_reported();
        cx.report(repeated_change(), measure, || {
            messages::repeated_change(latest, n_lost, step.tool)
        });
    }

    /// Reports the latest step if it occurred often since the latest progress,
    /// but in no order.
    fn report_repeated_call(
        &mut self,
        step: &Step<'_>,
        options: &RunawayLoopOptions,
        cx: &mut Context<'_>,
    ) {
        // A call of a reported cycle is not reported again.
        let has_cycle = self.findings.as_ref().is_some_and(|findings| findings.has_cycle());
        // Polls recur by design while other work is done.
        let recurs_by_design = matches!(step.purpose, Purpose::Poll | Purpose::Navigate);
        if !options.recurring
            || recurs_by_design
            || has_cycle
            || is_change(step.symbol)
            || self.cycles.count(step.symbol) < MIN_TIMES
        {
            return;
        }
        let latest = self.cycles.occurrences(step.symbol, usize::from(self.n_since_progress));
        // In a row, the calls are a cycle of one call.
        if latest.n_groups == 1 || latest.n_times < MIN_TIMES {
            return;
        }
        // A command may change files unnoticed.
        let is_dense = || MIN_TIMES <= self.cycles.occurrences(step.symbol, DENSE).n_times;
        if step.class == ToolClass::Run && !is_dense() {
            return;
        }
        self.findings.get_or_insert_default().set_repeated_call(step.symbol);
        let per_round = if self.has_results { 2 } else { 3 };
        cx.report(REPEATED_CALL, latest.n_times as u64 / per_round, || {
            messages::repeated_call(latest, self.has_results, step.tool)
        });
    }

    /// Reports a cycle that ends in the latest step, or in a pending call of
    /// the tool `pending`.
    fn report_cycle(
        &mut self,
        cycle: Option<Cycle>,
        has_results: bool,
        pending: Option<&Arc<str>>,
        cx: &mut Context<'_>,
    ) {
        let Some(cycle) = cycle else { return };
        // Calls are weaker evidence than results: three rounds count as two.
        let weight = cycle.weight();
        let measure = if has_results { weight } else { weight * 2 / 3 };
        let findings = self.findings.get_or_insert_default();
        // A change of a reported cycle is not reported again, nor the other way round.
        if findings.has_reported_change() && self.cycles.has_change(cycle.period) {
            return;
        }
        let now = cx.now();
        let took = self.since_at.map(|at| now.duration_since(at.into())).unwrap_or_default();
        let (weight, n_polls) = findings.weight_of(cycle.period);
        let n_gaps = cycle.rounds.saturating_mul(n_polls.into()).saturating_sub(1).max(1);
        let gap = took.as_millis() / i128::from(n_gaps);
        let measure = match weight.spaced {
            Some(spaced) if spaced.gap.as_millis() <= gap => {
                let polled = took.as_millis() / spaced.per_round.as_millis();
                measure.min(u64::try_from(polled).unwrap_or_default())
            }
            _ => measure / weight.calls_per_repetition,
        };
        let compares = findings.compares_changes() && self.cycles.has_change(cycle.period);
        let Some(measure) = capped(measure, compares, cx).filter(|measure| *measure != 0) else {
            return;
        };
        findings.add_cycle(cycle.period);
        let took = cx.within(took);
        cx.report(subject(cycle.period), measure, || {
            let tools = findings.tools_of(cycle.period, pending);
            let is_one_call =
                cycle.period == 1 || pending.is_none() && self.cycles.is_one_call(cycle.period);
            messages::cycle(cycle, is_one_call, has_results, &tools, took)
                .since(self.since.as_ref().map(Place::evidence))
        });
    }
}

/// Returns the measure of a repetition. Changes that are made in turn to compare their effects
/// have the lowest severity, and `None` if the policy has one level.
fn capped(measure: u64, compares: bool, cx: &Context<'_>) -> Option<u64> {
    if !compares {
        return Some(measure);
    }
    let lowest = cx.next_level(0)?;
    cx.next_level(lowest).map(|_| measure.min(lowest))
}
