use watchkeeper_core::author::Tokens;

use crate::detail::UsageSeries;

/// The number of points of a series. Of more, every second one is dropped.
const MAX_POINTS: usize = 1024;

/// Records tokens, cost and context over time.
#[derive(Clone, Debug, Default)]
pub(crate) struct SeriesRecorder {
    points: Vec<Point>,
}

#[derive(Clone, Copy, Debug)]
struct Point {
    at_ms: u64,
    tokens: Tokens,
    cost_usd: f64,
    context: u64,
}

impl SeriesRecorder {
    /// Adds the totals after a model call. `context` is the context of the main agent, if the
    /// call is one of the main agent.
    pub(crate) fn push(&mut self, at_ms: u64, tokens: Tokens, cost_usd: f64, context: Option<u64>) {
        let context = context.or_else(|| Some(self.points.last()?.context)).unwrap_or(0);
        let point = Point { at_ms, tokens, cost_usd, context };
        match self.points.last_mut() {
            Some(last) if last.at_ms == at_ms => *last = point,
            _ => self.points.push(point),
        }
        if self.points.len() == MAX_POINTS {
            // Sums lose nothing. A context that was large for one call only stays visible.
            let pairs = self.points.chunks(2).map(|pair| match pair {
                [a, b] => Point { context: a.context.max(b.context), ..*b },
                _ => pair[0],
            });
            self.points = pairs.collect();
        }
    }

    /// Returns the series so far.
    pub(crate) fn series(&self) -> UsageSeries {
        let points = &self.points;
        let tokens = |part: fn(&Tokens) -> u64| points.iter().map(|it| part(&it.tokens)).collect();
        UsageSeries {
            at_ms: points.iter().map(|point| point.at_ms).collect(),
            input: tokens(|it| it.input),
            cache_read: tokens(|it| it.cache_read),
            cache_write: tokens(|it| it.cache_write),
            output: tokens(|it| it.output),
            cost_usd: points.iter().map(|point| point.cost_usd).collect(),
            context: points.iter().map(|point| point.context).collect(),
        }
    }
}
