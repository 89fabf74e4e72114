//! The reported cycles and repeated calls of one agent.

use std::sync::Arc;

use watchkeeper_core::{Context, Fingerprint, Purpose, Report, ToolResult, Weight, author::Call};

use crate::{cycle::MAX_PERIOD, cycles::Cycles, measurements::Measurements};

/// The number of latest steps whose tools are kept.
pub(crate) const MAX_TOOLS: usize = 16;
/// A repeated call is resolved if it does not occur in this many steps.
const RESOLVE_AFTER: usize = 32;
/// The subject of a call that repeats in no order. The subject of a cycle is
/// its period.
pub(crate) const REPEATED_CALL: Fingerprint = Fingerprint::NONE;

/// The subject of changes that are made again. No cycle has this period.
const REPEATED_CHANGE: u64 = u64::MAX;

/// The reports that may have to be resolved, and the tools of the latest steps
/// for the message of the next report.
#[derive(Clone, Debug, Default)]
pub(crate) struct OpenFindings {
    /// The reported periods: bit `p - 1` for period `p`.
    periods: u64,
    /// The reported call that repeats in no order.
    repeated_call: Option<u32>,
    repeated_change: Option<RepeatedChange>,
    /// The tools of the latest steps, oldest first.
    tools: Vec<Arc<str>>,
    purposes: Purposes,
}

/// The tools of a round.
#[derive(Debug)]
pub(crate) struct Tools<'a> {
    /// Each name once, in order of the latest call.
    pub(crate) names: Vec<&'a str>,
    /// False if only the tools of the latest calls are known.
    pub(crate) is_complete: bool,
}

/// Changes that were made again.
#[derive(Clone, Copy, Debug)]
struct RepeatedChange {
    /// The latest one.
    symbol: u32,
    /// The number of changes that were made again because they had been lost.
    n_lost: u32,
    is_reported: bool,
    /// True if several different changes were made again.
    has_others: bool,
    measurements: Measurements,
}

/// The purposes of the latest `MAX_PERIOD` steps, as bits. The lowest bit is the latest step.
#[derive(Clone, Copy, Debug, Default)]
struct Purposes {
    polls: u64,
    navigations: u64,
    reads: u64,
}

impl OpenFindings {
    pub(crate) fn push_tool(&mut self, tool: Arc<str>, purpose: Purpose) {
        if self.tools.len() == MAX_TOOLS {
            self.tools.remove(0);
        }
        self.tools.push(tool);
        let Purposes { polls, navigations, reads } = &mut self.purposes;
        let is_read = matches!(purpose, Purpose::Read | Purpose::Search);
        *polls = *polls << 1 | u64::from(matches!(purpose, Purpose::Poll | Purpose::Wait));
        *navigations = *navigations << 1 | u64::from(purpose == Purpose::Navigate);
        *reads = *reads << 1 | u64::from(is_read);
    }

    /// Removes the latest steps, which were unrelated.
    pub(crate) fn pop_tools(&mut self, n: usize) {
        self.tools.truncate(self.tools.len().saturating_sub(n));
        let Purposes { polls, navigations, reads } = &mut self.purposes;
        for bits in [polls, navigations, reads] {
            *bits >>= n;
        }
    }

    /// Returns the tools of the latest calls of a round. `pending` is the tool of a call
    /// that is not a step yet.
    pub(crate) fn tools_of<'a>(
        &'a self,
        period: usize,
        pending: Option<&'a Arc<str>>,
    ) -> Tools<'a> {
        let is_complete = period <= self.tools.len() + usize::from(pending.is_some());
        let mut tools: Vec<&str> = Vec::new();
        let latest = pending.into_iter().chain(self.tools.iter().rev());
        for tool in latest.take(period.min(MAX_TOOLS)) {
            tools.retain(|known| **known != **tool);
            tools.push(tool);
        }
        tools.reverse();
        Tools { names: tools, is_complete: is_complete && period <= MAX_TOOLS }
    }

    /// Returns the weight of a round, and the number of polls in it. A round that polls and
    /// otherwise only reads is measured by time, as a poll is, if it is not too fast.
    pub(crate) fn weight_of(&self, period: usize) -> (Weight, u32) {
        let round = u64::MAX >> (MAX_PERIOD - period);
        let polls = self.purposes.polls & round;
        let is_all = |steps: u64| steps & round == round;
        let mut weight = match () {
            () if is_all(polls) => Purpose::Poll.weight(),
            () if is_all(self.purposes.navigations) => Purpose::Navigate.weight(),
            () => Purpose::Other.weight(),
        };
        if polls != 0 && is_all(polls | self.purposes.reads) {
            weight.spaced = Purpose::Poll.weight().spaced;
        }
        (weight, polls.count_ones())
    }

    pub(crate) fn add_cycle(&mut self, period: usize) {
        self.periods |= 1 << (period - 1);
    }

    pub(crate) fn set_repeated_call(&mut self, symbol: u32) {
        self.repeated_call = Some(symbol);
    }

    /// Adds a change that was made before. Returns the number of changes that were made
    /// again because they had been lost.
    pub(crate) fn add_repeated_change(&mut self, symbol: u32, is_lost: bool) -> usize {
        let change = self.repeated_change.get_or_insert(RepeatedChange {
            symbol,
            n_lost: 0,
            is_reported: false,
            has_others: false,
            measurements: Measurements::default(),
        });
        change.has_others |= change.symbol != symbol;
        change.symbol = symbol;
        change.n_lost = change.n_lost.saturating_add(is_lost.into());
        change.n_lost as usize
    }

    /// Adds a result, which may be a measurement between changes that are made again.
    pub(crate) fn add_result(&mut self, call: &Call, result: &ToolResult) {
        if let Some(change) = &mut self.repeated_change {
            change.measurements.add(call, result);
        }
    }

    /// Returns true if the agent makes changes in turn to compare their effects.
    pub(crate) fn compares_changes(&self) -> bool {
        self.repeated_change.is_some_and(|change| change.has_others && change.measurements.differ())
    }

    pub(crate) fn set_change_reported(&mut self) {
        if let Some(change) = &mut self.repeated_change {
            change.is_reported = true;
        }
    }

    pub(crate) fn has_reported_change(&self) -> bool {
        self.repeated_change.is_some_and(|change| change.is_reported)
    }

    pub(crate) fn has_cycle(&self) -> bool {
        self.periods != 0
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.periods == 0 && self.repeated_call.is_none() && self.repeated_change.is_none()
    }

    /// Resolves the findings whose condition ended with the latest step.
    pub(crate) fn resolve_ended(&mut self, cycles: &Cycles, cx: &mut Context<'_>) {
        let is_gone = |symbol: u32| cycles.occurrences(symbol, RESOLVE_AFTER).n_times == 0;
        if self.repeated_call.take_if(|symbol| is_gone(*symbol)).is_some() {
            let reason = "the agent stopped making the call, or its result changed";
            resolve_repeated(REPEATED_CALL, reason, cx);
        }
        if let Some(change) = self.repeated_change.take_if(|change| is_gone(change.symbol)) {
            change.resolve("the agent stopped making the change", cx);
        }
        for period in periods(self.periods) {
            if !cycles.continues(period) {
                self.periods &= !(1 << (period - 1));
                resolve_cycle(period, "the agent made other calls", cx);
            }
        }
    }

    /// Resolves all findings.
    pub(crate) fn resolve_all(&mut self, cx: &mut Context<'_>, reason: &str) {
        for period in periods(std::mem::take(&mut self.periods)) {
            resolve_cycle(period, reason, cx);
        }
        if self.repeated_call.take().is_some() {
            resolve_repeated(REPEATED_CALL, reason, cx);
        }
        if let Some(change) = self.repeated_change.take() {
            change.resolve(reason, cx);
        }
    }
}

impl RepeatedChange {
    fn resolve(self, reason: &str, cx: &mut Context<'_>) {
        if self.is_reported {
            resolve_repeated(repeated_change(), reason, cx);
        }
    }
}

/// Returns the subject of changes that are made again.
pub(crate) fn repeated_change() -> Fingerprint {
    Fingerprint::from(REPEATED_CHANGE)
}

/// Returns the subject of a cycle.
pub(crate) fn subject(period: usize) -> Fingerprint {
    Fingerprint::from(period as u64)
}

fn periods(bits: u64) -> impl Iterator<Item = usize> {
    (1..=MAX_PERIOD).filter(move |period| bits & (1 << (period - 1)) != 0)
}

fn resolve_cycle(period: usize, reason: &str, cx: &mut Context<'_>) {
    let calls = if period == 1 { "call" } else { "calls" };
    cx.resolve(subject(period), || {
        Report::new(format!("the cycle of {period} {calls} ended: {reason}")).with("period", period)
    });
}

fn resolve_repeated(subject: Fingerprint, reason: &str, cx: &mut Context<'_>) {
    cx.resolve(subject, || Report::new(format!("no further repetition: {reason}")));
}
