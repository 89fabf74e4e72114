use std::collections::BTreeMap;

use jiff::{civil::Date, tz::TimeZone};
use serde::Serialize;
use watchkeeper_core::{
    Event, EventKind, SessionId, Timestamp,
    author::{SessionFacts, Tokens},
};

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

/// Records the usage of sessions by day and model.
#[derive(Debug, Default)]
pub(crate) struct UsageRecorder(BTreeMap<SessionId, SessionUsage>);

#[derive(Debug, Default)]
struct SessionUsage {
    /// Usage of the session so far.
    seen: Usage,
    slices: BTreeMap<(Option<Date>, Option<Box<str>>), Usage>,
}

impl UsageRecorder {
    /// Adds the usage of an event. `facts` are those of the session after the event.
    pub(crate) fn observe(&mut self, event: &Event, facts: &SessionFacts) {
        let EventKind::ModelCall(call) = &event.kind else { return };
        let day = facts.has_times().then(|| day_of(event.at));
        let model = call.model.clone().or_else(|| facts.model.as_deref().map(Into::into));
        self.0.entry(facts.id.clone()).or_default().add(day, model, facts);
    }

    /// Removes and returns the usage of a session at its end. A session without usage
    /// has one empty slice.
    pub(crate) fn finish(&mut self, facts: &SessionFacts) -> Vec<UsageSlice> {
        let mut session = self.0.remove(&facts.id).unwrap_or_default();
        if session.slices.is_empty() {
            let day = facts.has_times().then(|| day_of(facts.started_at));
            session.add(day, facts.model.as_deref().map(Into::into), facts);
        }
        let slices = session.slices.into_iter();
        slices.map(|((day, model), usage)| UsageSlice { day, model, usage }).collect()
    }
}

impl SessionUsage {
    /// Adds the usage since the last call.
    fn add(&mut self, day: Option<Date>, model: Option<Box<str>>, facts: &SessionFacts) {
        let totals = &facts.totals;
        let now = Usage {
            model_calls: totals.model_calls,
            tokens: totals.tokens,
            cost_usd: totals.cost_usd,
            unpriced_calls: totals.unpriced_calls,
        };
        let slice = self.slices.entry((day, model)).or_default();
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
