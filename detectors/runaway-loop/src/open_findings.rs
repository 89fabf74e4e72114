//! The reported cycles and repeated calls of one agent.

use std::sync::Arc;

use watchkeeper_core::{Context, Fingerprint, Purpose, Report, Weight};

use crate::{cycle::MAX_PERIOD, cycles::Cycles};

/// The number of latest steps whose tools are kept.
pub(crate) const MAX_TOOLS: usize = 16;
/// A repeated call is resolved if it does not occur in this many steps.
const RESOLVE_AFTER: usize = 32;
/// The subject of a call that repeats in no order. The subject of a cycle is
/// its period.
pub(crate) const REPEATED_CALL: Fingerprint = Fingerprint::NONE;

/// The reports that may have to be resolved, and the tools of the latest steps
/// for the message of the next report.
#[derive(Clone, Debug, Default)]
pub(crate) struct OpenFindings {
    /// The reported periods: bit `p - 1` for period `p`.
    periods: u64,
    /// The reported call that repeats in no order.
    repeated_call: Option<u32>,
    /// The tools of the latest steps, oldest first.
    tools: Vec<Arc<str>>,
    purposes: Purposes,
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

    /// Returns the tools of the latest calls of a round, each once, in order of
    /// their latest call. `pending` is the tool of a call that is not a step
    /// yet.
    pub(crate) fn tools_of<'a>(
        &'a self,
        period: usize,
        pending: Option<&'a Arc<str>>,
    ) -> Vec<&'a str> {
        let mut tools: Vec<&str> = Vec::new();
        let latest = pending.into_iter().chain(self.tools.iter().rev());
        for tool in latest.take(period.min(MAX_TOOLS)) {
            tools.retain(|known| **known != **tool);
            tools.push(tool);
        }
        tools.reverse();
        tools
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

    pub(crate) fn has_cycle(&self) -> bool {
        self.periods != 0
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.periods == 0 && self.repeated_call.is_none()
    }

    /// Resolves the findings whose condition ended with the latest step.
    pub(crate) fn resolve_ended(&mut self, cycles: &Cycles, cx: &mut Context<'_>) {
        let is_gone = |symbol: u32| cycles.occurrences(symbol, RESOLVE_AFTER).n_times == 0;
        if self.repeated_call.take_if(|symbol| is_gone(*symbol)).is_some() {
            let reason = "the agent stopped making the call, or its result changed";
            resolve_repeated_call(reason, cx);
        }
        for period in periods(self.periods) {
            if !cycles.continues(period) {
                self.periods &= !(1 << (period - 1));
                resolve_cycle(period, "the agent made other calls", cx);
            }
        }
    }

    pub(crate) fn resolve_all(self, cx: &mut Context<'_>, reason: &str) {
        for period in periods(self.periods) {
            resolve_cycle(period, reason, cx);
        }
        if self.repeated_call.is_some() {
            resolve_repeated_call(reason, cx);
        }
    }
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

fn resolve_repeated_call(reason: &str, cx: &mut Context<'_>) {
    let message = || Report::new(format!("no further repetition: {reason}"));
    cx.resolve(REPEATED_CALL, message);
}
