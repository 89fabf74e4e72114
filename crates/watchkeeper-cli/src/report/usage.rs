use std::collections::BTreeMap;

use jiff::{civil::Date, tz::TimeZone};
use serde::Serialize;
use watchkeeper_core::{
    Event, EventKind, SessionId, Timestamp,
    author::{SessionFacts, Tokens},
};

use super::window::Window;

/// Tokens and cost of model calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Usage {
    pub(crate) model_calls: u64,
    pub(crate) tokens: Tokens,
    /// US dollars of the calls with a known price.
    pub(crate) cost_usd: f64,
    /// Number of calls without a known price.
    pub(crate) unpriced_calls: u64,
}

/// Usage of a session on one day with one model.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct UsageSlice {
    /// Day in UTC; `None` if the session has no times.
    pub(crate) day: Option<Date>,
    pub(crate) model: Option<Box<str>>,
    pub(crate) usage: Usage,
}

/// Records the usage of sessions in a window, by day and model.
#[derive(Debug)]
pub(crate) struct UsageRecorder {
    window: Window,
    sessions: BTreeMap<SessionId, SessionUsage>,
}

#[derive(Debug, Default)]
struct SessionUsage {
    /// Usage of the session so far.
    seen: Usage,
    slices: BTreeMap<SliceKey, Usage>,
}

/// Day and model of a slice.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct SliceKey {
    day: Option<Date>,
    is_in_window: bool,
    model: Option<Box<str>>,
}

impl UsageRecorder {
    pub(crate) fn new(window: Window) -> Self {
        Self { window, sessions: BTreeMap::new() }
    }

    /// Adds the usage of an event. `facts` are those of the session after the event.
    pub(crate) fn observe(&mut self, event: &Event, facts: &SessionFacts) {
        let EventKind::ModelCall(call) = &event.kind else { return };
        let at = facts.has_times().then_some(event.at);
        let model = call.model.clone().or_else(|| facts.model.as_deref().map(Into::into));
        let key = SliceKey {
            day: at.map(day_of),
            is_in_window: at.is_none_or(|at| self.window.contains(at)),
            model,
        };
        self.sessions.entry(facts.id.clone()).or_default().add(key, facts);
    }

    /// Removes and returns the usage of a session in the window, at the end of the
    /// session. Without usage, that is one empty slice.
    ///
    /// `recorded` is the usage of the recorded responses. `reported` is the usage in the
    /// report, which the total of the agent's client can increase.
    pub(crate) fn finish(
        &mut self,
        facts: &SessionFacts,
        recorded: Usage,
        reported: Usage,
    ) -> Vec<UsageSlice> {
        let mut session = self.sessions.remove(&facts.id).unwrap_or_default();
        let at = facts.has_times().then(|| self.window.clamp(facts.started_at()));
        let model: Option<Box<str>> = facts.model.as_deref().map(Into::into);
        if recorded != reported {
            let key = SliceKey { day: at.map(day_of), is_in_window: true, model: model.clone() };
            session.add_difference(key, recorded, reported);
        }
        let slices = session.slices.into_iter().filter(|(key, _)| key.is_in_window);
        let mut slices: Vec<UsageSlice> = slices
            .map(|(SliceKey { day, model, .. }, usage)| UsageSlice { day, model, usage })
            .collect();
        if slices.is_empty() {
            slices.push(UsageSlice { day: at.map(day_of), model, usage: Usage::default() });
        }
        slices
    }
}

impl SessionUsage {
    /// Adds the difference of two totals: to the slice with the most tokens of an unknown
    /// price, or else to the last one. `key` is the key of the only slice if there is
    /// none.
    fn add_difference(&mut self, key: SliceKey, recorded: Usage, reported: Usage) {
        if self.slices.is_empty() {
            self.slices.insert(key, Usage::default());
        }
        let n_unpriced =
            |usage: &&mut Usage| (0 < usage.unpriced_calls).then(|| usage.tokens.total());
        if let Some(slice) = self.slices.values_mut().max_by_key(n_unpriced) {
            *slice = slice.plus(reported).minus(recorded);
        }
        if reported.unpriced_calls == 0 {
            self.slices.values_mut().for_each(|slice| slice.unpriced_calls = 0);
        }
    }

    /// Adds the usage since the last call.
    fn add(&mut self, key: SliceKey, facts: &SessionFacts) {
        let totals = &facts.totals;
        let now = Usage {
            model_calls: totals.model_calls.into(),
            tokens: totals.tokens,
            cost_usd: totals.cost_usd,
            unpriced_calls: totals.unpriced_calls.into(),
        };
        let slice = self.slices.entry(key).or_default();
        *slice = slice.plus(now.minus(self.seen));
        self.seen = now;
    }
}

impl Usage {
    #[must_use]
    pub(super) fn plus(self, other: Self) -> Self {
        Self {
            model_calls: self.model_calls + other.model_calls,
            tokens: self.tokens.plus(other.tokens),
            cost_usd: self.cost_usd + other.cost_usd,
            unpriced_calls: self.unpriced_calls + other.unpriced_calls,
        }
    }

    fn minus(self, other: Self) -> Self {
        Self {
            model_calls: self.model_calls.saturating_sub(other.model_calls),
            tokens: self.tokens.minus(other.tokens),
            cost_usd: (self.cost_usd - other.cost_usd).max(0.0),
            unpriced_calls: self.unpriced_calls.saturating_sub(other.unpriced_calls),
        }
    }
}

/// Returns the day of a time in UTC.
pub(super) fn day_of(at: Timestamp) -> Date {
    at.to_zoned(TimeZone::UTC).date()
}

#[cfg(test)]
mod tests {
    use watchkeeper_core::author::Tokens;

    use super::{SessionUsage, SliceKey, Usage};

    #[test]
    fn the_slices_contain_the_difference_to_the_total_of_the_client() {
        let usage = |model_calls, input, cost_usd, unpriced_calls| Usage {
            model_calls,
            tokens: Tokens { input, ..Tokens::default() },
            cost_usd,
            unpriced_calls,
        };
        let key =
            |model: &str| SliceKey { day: None, is_in_window: true, model: Some(model.into()) };
        let slices = [
            ("a", usage(1, 100, 1.0, 0)),
            ("b", usage(2, 300, 0.0, 2)),
            ("c", usage(1, 50, 2.0, 0)),
        ];
        let slices = slices.map(|(model, usage)| (key(model), usage));
        let recorded = usage(4, 450, 3.0, 2);
        let reported = usage(4, 500, 8.0, 0);
        let mut session = SessionUsage { seen: recorded, slices: slices.into() };
        session.add_difference(key("none"), recorded, reported);
        let sum = session.slices.values().fold(Usage::default(), |sum, slice| sum.plus(*slice));
        assert_eq!(sum, reported);
        assert_eq!(session.slices[&key("b")], usage(2, 350, 5.0, 0));
    }
}
