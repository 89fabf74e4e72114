#![doc = include_str!("../README.md")]

mod calendar;
mod limit;
mod options;
mod polls;
mod rules;
mod spending;
#[cfg(test)]
mod tests;
mod window;

use std::sync::Arc;

use watchkeeper_core::{
    Context, Detector, DetectorKind, Event, EventKind, EventSet, Fingerprint, InvalidOption, Level,
    ModelCall, Report, Severity, Subscription, Unit,
    author::{Tokens, Usage, grouped},
    quote,
};

pub use crate::{
    calendar::{CalendarUnit, WindowOption, ZoneOption},
    limit::CostLimit,
    options::{Of, TokenBurnOptions, TokenClass},
};
use crate::{limit::nano_dollars, polls::Polls, rules::Rules, spending::Spending};

/// Finds sessions that use more tokens or money than their limit.
#[derive(Clone, Debug)]
pub struct TokenBurn(Counted);

/// The counted usage. Each variant has its own rules, so that the variants need no tag.
#[derive(Clone, Debug)]
enum Counted {
    Session(SessionUsage),
    Polls(Polls),
}

/// The usage of a session.
#[derive(Clone, Debug)]
struct SessionUsage {
    rules: Arc<Rules>,
    tokens: Spending,
    /// In billionths of a US dollar.
    cost: Spending,
}

watchkeeper_core::register!(TokenBurn);

impl DetectorKind for TokenBurn {
    const KIND: &'static str = "token-burn";
    const DOCS: &'static str = include_str!("../README.md");
    const CLASS: &'static str = "budget";
    const UNIT: Unit = Unit::Percent;
    const LEVELS: &'static [Level] = &[
        Level::new(50, Severity::Low),
        Level::new(80, Severity::Medium),
        Level::new(100, Severity::High),
    ];
    type Options = TokenBurnOptions;

    fn new(options: TokenBurnOptions) -> Result<Self, InvalidOption> {
        if options.max_tokens.is_none() && options.max_cost_usd.is_none() {
            let reason = "no limit is set; set this option or `max_cost_usd`";
            return Err(InvalidOption::new("max_tokens", reason));
        }
        if options.count.is_empty() {
            let reason =
                r#"name at least one of "input", "cache_read", "cache_write" and "output""#;
            return Err(InvalidOption::new("count", reason));
        }
        if options.times_usual.is_some_and(|times| times < 2) {
            let reason = "a multiple below 2 allows no more than the usual usage; use 2 or more";
            return Err(InvalidOption::new("times_usual", reason));
        }
        if options.times_usual.is_some() && options.window.is_none() {
            let reason = r#"`times_usual` requires a `window`, such as "10m""#;
            return Err(InvalidOption::new("times_usual", reason));
        }
        let is_calendar = matches!(options.window, Some(WindowOption::Calendar(_)));
        if options.times_usual.is_some() && is_calendar {
            let reason = r#"`times_usual` requires a `window` of a fixed length, such as "24h""#;
            return Err(InvalidOption::new("times_usual", reason));
        }
        if options.time_zone.is_some() && !is_calendar {
            let reason = r#"a time zone applies to the windows "day", "week" and "month""#;
            return Err(InvalidOption::new("time_zone", reason));
        }
        let of = options.of;
        if of == Of::Polls && options.window.is_some() {
            let reason = r#"a window does not apply to `of = "polls"`; remove it"#;
            return Err(InvalidOption::new("window", reason));
        }
        let rules = Arc::new(Rules::new(options));
        Ok(Self(match of {
            Of::Session => Counted::Session(SessionUsage {
                rules,
                tokens: Spending::default(),
                cost: Spending::default(),
            }),
            Of::Polls => Counted::Polls(Polls::new(rules)),
        }))
    }
}

impl Detector for TokenBurn {
    fn observe(&mut self, event: &Event, cx: &mut Context<'_>) {
        match &mut self.0 {
            Counted::Session(usage) => usage.observe(event, cx),
            Counted::Polls(polls) => polls.observe(&event.kind, cx),
        }
    }

    fn wake(&mut self, cx: &mut Context<'_>) {
        if let Counted::Session(usage) = &mut self.0 {
            usage.wake(cx);
        }
    }

    fn subscription(&self) -> Subscription {
        const USAGE: EventSet = EventSet::of(&["model_call"]);
        const CALLS: EventSet = EventSet::of(&["tool_call"]);
        const ENDS: EventSet = EventSet::of(&["prompt", "turn_end"]);
        match &self.0 {
            Counted::Session(_) => Subscription::to(USAGE).per_session().without_exceptions(),
            Counted::Polls(_) => {
                Subscription::to(USAGE.or(CALLS).or(ENDS)).starting_with(EventSet::WAITS)
            }
        }
    }

    fn is_idle(&self) -> bool {
        match &self.0 {
            Counted::Session(usage) => usage.tokens.is_empty() && usage.cost.is_empty(),
            Counted::Polls(polls) => polls.is_idle(),
        }
    }
}

impl SessionUsage {
    fn observe(&mut self, event: &Event, cx: &mut Context<'_>) {
        let EventKind::ModelCall(call) = &event.kind else { return };
        let Some(Usage { tokens, cost_usd, .. }) = cx.usage() else { return };
        let rules = &*self.rules;
        if let Some(limit) = &rules.tokens {
            self.tokens.add(rules.counted(tokens), limit, rules, cx);
        }
        if let Some(limit) = &rules.cost {
            match cost_usd {
                Some(dollars) => self.cost.add(nano_dollars(*dollars), limit, rules, cx),
                None if 0 < tokens.total() => report_unknown_price(call, tokens, cx),
                None => {}
            }
        }
        self.request_wake_up(cx);
    }

    fn wake(&mut self, cx: &mut Context<'_>) {
        let rules = &*self.rules;
        if let Some(limit) = &rules.tokens {
            self.tokens.update(limit, rules, cx);
        }
        if let Some(limit) = &rules.cost {
            self.cost.update(limit, rules, cx);
        }
        self.request_wake_up(cx);
    }

    /// Requests a wake-up for the time at which usage that leaves the window
    /// may resolve a finding, or at which the window is empty.
    ///
    /// Only a wake-up makes this time unnecessary, so none is cancelled.
    #[inline]
    fn request_wake_up(&self, cx: &mut Context<'_>) {
        let (tokens, cost) = (self.tokens.wake_at(&self.rules), self.cost.wake_at(&self.rules));
        if let Some(at) = tokens.into_iter().chain(cost).min() {
            cx.wake_at(at);
        }
    }
}

/// Reports a model call that cannot count towards the limit in dollars.
fn report_unknown_price(call: &ModelCall, tokens: &Tokens, cx: &mut Context<'_>) {
    // Every budget in dollars observes the same.
    let subject = Fingerprint::of("unknown price");
    if cx.is_open_elsewhere(subject) {
        return;
    }
    let n = grouped(tokens.total());
    let lowest = cx.next_level(0).unwrap_or(1);
    cx.report(subject, lowest, || match &call.model {
        Some(model) => {
            let model = quote(model);
            Report::new(format!(
                "the price of {model} is unknown: {n} tokens are not counted in dollars; add the price to `[prices]`"
            ))
            .with("model", model.trim_matches('`'))
            .unmeasured()
        }
        None => Report::new(format!(
            "a model call names no model: {n} tokens are not counted in dollars"
        ))
        .unmeasured(),
    });
}
