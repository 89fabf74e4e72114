//! The options in the form used for computation.

use std::borrow::Cow;

use watchkeeper_core::{Timestamp, author::Tokens};

use crate::{
    calendar::{Calendar, WindowOption},
    limit::Limit,
    options::{TokenBurnOptions, TokenClass},
    window::{SlidingWindow, Window},
};

/// The computed options, shared by all sessions.
#[derive(Debug)]
pub(crate) struct Rules {
    pub(crate) tokens: Option<Limit>,
    pub(crate) cost: Option<Limit>,
    count: Vec<TokenClass>,
    pub(crate) window: Option<Window>,
    pub(crate) times_usual: Option<u64>,
}

impl Rules {
    pub(crate) fn new(options: TokenBurnOptions) -> Self {
        let TokenBurnOptions {
            max_tokens,
            max_cost_usd,
            count,
            window,
            time_zone,
            times_usual,
            of: _,
        } = options;
        let window = window.map(|window| match window {
            WindowOption::Sliding(period) => Window::Sliding(SlidingWindow::new(period)),
            WindowOption::Calendar(unit) => Window::Calendar(Calendar::new(unit, time_zone)),
        });
        Self {
            tokens: max_tokens.map(Limit::of_tokens),
            cost: max_cost_usd.map(Limit::of_cost),
            count,
            window,
            times_usual,
        }
    }

    /// Returns the limits that are set.
    pub(crate) fn limits(&self) -> impl Iterator<Item = &Limit> {
        self.tokens.iter().chain(&self.cost)
    }

    /// Returns the number of tokens that count towards the limit. A class that
    /// is listed twice counts once.
    pub(crate) fn counted(&self, tokens: &Tokens) -> u64 {
        const ALL: [TokenClass; 4] =
            [TokenClass::Input, TokenClass::CacheRead, TokenClass::CacheWrite, TokenClass::Output];
        let amount = |class| match class {
            TokenClass::Input => tokens.input,
            TokenClass::CacheRead => tokens.cache_read,
            TokenClass::CacheWrite => tokens.cache_write,
            TokenClass::Output => tokens.output,
        };
        let counted = ALL.into_iter().filter(|class| self.count.contains(class));
        counted.map(amount).fold(0, u64::saturating_add)
    }

    /// Returns a text such as " in 10m" or " on 2026-03-01"; empty without a window.
    pub(crate) fn in_window(&self, now: Timestamp) -> Cow<'static, str> {
        match &self.window {
            None => Cow::Borrowed(""),
            Some(Window::Sliding(window)) => format!(" in {}", window.period).into(),
            Some(Window::Calendar(calendar)) => calendar.text(now).into(),
        }
    }
}
