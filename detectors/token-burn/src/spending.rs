//! The usage of a session, compared with one limit.

use std::borrow::Cow;

use watchkeeper_core::{Context, Report, Timestamp, author::percent};

use crate::{
    limit::Limit,
    rules::Rules,
    window::{Recent, SlidingWindow, Window},
};

/// The usage that counts towards one limit; `None` if there is none. Boxed,
/// because most detectors have one limit only.
#[derive(Clone, Debug, Default)]
pub(crate) struct Spending(Option<Box<Spent>>);

#[derive(Clone, Debug, Default)]
pub(crate) struct Spent {
    /// The usage in the window, or in the whole session.
    pub(crate) n: u64,
    /// The usage in each piece of the window, if there is a window.
    pub(crate) recent: Recent,
}

/// The allowed usage, with the usual usage if it is known.
#[derive(Clone, Copy)]
struct Allowance {
    allowed: u64,
    usual: Option<u64>,
}

impl Spending {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Adds `n` to the usage and reports it.
    #[inline]
    pub(crate) fn add(&mut self, n: u64, limit: &Limit, rules: &Rules, cx: &mut Context<'_>) {
        if n == 0 {
            return;
        }
        let spent = self.0.get_or_insert_default();
        match &rules.window {
            Some(Window::Sliding(window)) => spent.advance(limit, *window, cx.now()),
            Some(Window::Calendar(calendar)) => {
                let is_new = spent.recent.start_unit(cx.now(), calendar);
                spent.n = if is_new { 0 } else { spent.n };
            }
            None => {}
        }
        spent.n = spent.n.saturating_add(n);
        let allowance = spent.allowance(limit, rules);
        let percent = percent(spent.n, allowance.allowed);
        spent.recent.is_open |= cx.next_level(0).is_some_and(|lowest| lowest <= percent);
        let (n, now) = (spent.n, cx.now());
        cx.report(limit.subject, percent, || {
            let (share, usual) = (limit.share(n, allowance.allowed), allowance.usual_text(limit));
            Report::new(format!("{share} used{}, {percent}%{usual}", rules.in_window(now)))
                .with("percent", percent)
        });
    }

    /// Removes the usage that has left the window. Resolves the finding below
    /// three quarters of the lowest level, so that steady usage around that
    /// level is reported once. An empty window ends the condition also without a
    /// finding, for readers of explanations.
    pub(crate) fn update(&mut self, limit: &Limit, rules: &Rules, cx: &mut Context<'_>) {
        let Some(spent) = &mut self.0 else { return };
        let now = cx.now();
        match &rules.window {
            Some(Window::Sliding(window)) => spent.advance(limit, *window, now),
            Some(Window::Calendar(calendar)) => {
                if spent.recent.start_unit(now, calendar) {
                    let amount = limit.amount(limit.max);
                    cx.resolve(limit.subject, || {
                        let unit = calendar.text(now);
                        Report::new(format!("the limit of {amount} starts again{unit}"))
                    });
                    self.0 = None;
                }
                return;
            }
            None => return,
        }
        if spent.recent.is_open {
            let allowance = spent.allowance(limit, rules);
            let percent = percent(spent.n, allowance.allowed);
            if cx.next_level(0).is_none_or(|lowest| percent < lowest - lowest / 4) {
                spent.recent.is_open = false;
                let share = limit.share(spent.n, allowance.allowed);
                cx.resolve(limit.subject, || {
                    Report::new(format!("down to {share}{}, {percent}%", rules.in_window(now)))
                        .with("percent", percent)
                });
            }
        }
        if spent.n == 0 && rules.times_usual.is_none() {
            cx.resolve(limit.subject, || {
                let amount = limit.amount_text(0);
                Report::new(format!("{amount} used{}", rules.in_window(now)))
            });
            self.0 = None;
        }
    }

    /// Returns the time of the next `update`.
    pub(crate) fn wake_at(&self, rules: &Rules) -> Option<Timestamp> {
        let recent = &self.0.as_ref()?.recent;
        let window = match rules.window.as_ref()? {
            Window::Sliding(window) => *window,
            Window::Calendar(_) => return recent.unit_ends_at(),
        };
        match (recent.is_open, rules.times_usual) {
            (true, _) => recent.oldest_leaves_at(window),
            (false, None) => recent.empty_at(window),
            (false, Some(_)) => None,
        }
    }
}

impl Spent {
    /// Advances the window to `now`.
    #[inline]
    pub(crate) fn advance(&mut self, limit: &Limit, window: SlidingWindow, now: Timestamp) {
        if !self.recent.is_latest(now, window) {
            self.start_piece(limit, window, now);
        }
    }

    /// Starts another piece of the window.
    fn start_piece(&mut self, limit: &Limit, window: SlidingWindow, now: Timestamp) {
        self.recent.fill_up(self.n.div_ceil(limit.unit));
        let n_removed = self.recent.advance(now, window);
        if n_removed == 0 {
            return;
        }
        self.n = match self.recent.total() {
            // A remainder of less than one unit leaves with the last unit.
            0 => 0,
            _ => self.n.saturating_sub(n_removed.saturating_mul(limit.unit)),
        };
    }

    fn allowance(&self, limit: &Limit, rules: &Rules) -> Allowance {
        let Some(times) = rules.times_usual else {
            return Allowance { allowed: limit.max, usual: None };
        };
        let usual = self.recent.usual().map(|units| units.saturating_mul(limit.unit));
        let allowed = match usual {
            Some(usual) => usual.saturating_mul(times).max(limit.max),
            None => limit.max.saturating_mul(times),
        };
        Allowance { allowed, usual }
    }
}

impl Allowance {
    /// Returns a text such as "; usually 2,400"; empty if unknown.
    fn usual_text(self, limit: &Limit) -> Cow<'static, str> {
        let text = |usual| format!("; usually {}", limit.amount(usual)).into();
        self.usual.map_or(Cow::Borrowed(""), text)
    }
}
