//! What was told of the cycle that an agent may be in.

use std::sync::Arc;

use watchkeeper_core::{Context, Fingerprint, Report};

use crate::cycle::{Cycles, MAX_PERIOD};

/// Of how many of the latest steps the tools are kept.
pub(crate) const MAX_TOOLS: usize = 16;
/// A call that was not made in so many steps does not recur any more.
const GONE_AFTER: usize = 32;
/// What is raised of a call that recurs. Cycles are raised by their period.
pub(crate) const RECURRING: Fingerprint = Fingerprint::NONE;

/// What is known of a cycle that may be one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Trail {
    /// Which periods were raised: bit `p - 1` for period `p`.
    raised: u64,
    /// The step that recurs, if that was raised.
    recurring: Option<u32>,
    /// The tools of the latest steps, the latest last.
    tools: Vec<Arc<str>>,
}

impl Trail {
    pub(crate) fn note(&mut self, tool: Arc<str>) {
        if self.tools.len() == MAX_TOOLS {
            self.tools.remove(0);
        }
        self.tools.push(tool);
    }

    /// The tools of the latest calls of a round, each once, in order.
    pub(crate) fn tools_of<'a>(
        &'a self,
        period: usize,
        last: Option<&'a Arc<str>>,
    ) -> Vec<&'a str> {
        let mut tools: Vec<&str> = Vec::new();
        for tool in last.into_iter().chain(self.tools.iter().rev()).take(period.min(MAX_TOOLS)) {
            tools.retain(|it| **it != **tool);
            tools.push(tool);
        }
        tools.reverse();
        tools
    }

    pub(crate) fn raised(&mut self, period: usize) {
        self.raised |= 1 << (period - 1);
    }

    pub(crate) fn recurs(&mut self, symbol: u32) {
        self.recurring = Some(symbol);
    }

    /// Whether a cycle was told of.
    pub(crate) fn has_raised(&self) -> bool {
        self.raised != 0
    }

    /// Whether nothing was told that may have to be taken back.
    pub(crate) fn is_over(&self) -> bool {
        self.raised == 0 && self.recurring.is_none()
    }

    /// Ends the findings about what the latest step ended.
    pub(crate) fn resolve_broken(&mut self, cycles: &Cycles, cx: &mut Context<'_>) {
        let is_gone = |it: u32| cycles.recurrence(it, GONE_AFTER).n_times == 0;
        if self.recurring.take_if(|it| is_gone(*it)).is_some() {
            resolve_recurring("it was made no more, or got another answer", cx);
        }
        for period in periods(self.raised) {
            if !cycles.is_alive(period) {
                self.raised &= !(1 << (period - 1));
                resolve(period, "the agent did something else", cx);
            }
        }
    }

    /// Ends all findings.
    pub(crate) fn end(self, cx: &mut Context<'_>, why: &str) {
        for period in periods(self.raised) {
            resolve(period, why, cx);
        }
        if self.recurring.is_some() {
            resolve_recurring(why, cx);
        }
    }
}

/// What is raised of a cycle.
pub(crate) fn subject(period: usize) -> Fingerprint {
    Fingerprint::from(period as u64)
}

fn periods(raised: u64) -> impl Iterator<Item = usize> {
    (1..=MAX_PERIOD).filter(move |it| raised & (1 << (it - 1)) != 0)
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
