use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;
use watchkeeper_core::{Fingerprint, author::Period};

use crate::count::Count;

/// A limit of requests.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RateLimitOptions {
    /// The largest number of requests at once, and in each period.
    findings: Count<1, 10_000>,
    /// The length of the period.
    per: Period,
}

/// A token bucket: it holds `findings` tokens, and gets a new one after each `interval`.
#[derive(Clone, Copy, Debug)]
pub(super) struct RateLimit {
    interval: Duration,
    /// The time in which an empty bucket gets all its tokens but one.
    slack: Duration,
    /// The time at which the bucket is full.
    full_at: Duration,
    /// The latest finding that was held back, and the number of them since the bucket was
    /// full.
    held: Option<(Fingerprint, u64)>,
}

/// The decision about a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Permit {
    /// The finding may be sent. Before it, a number of findings were held back, and none
    /// waits any more.
    Now { held: u64 },
    /// The finding may be sent after this time.
    After(Duration),
}

impl RateLimit {
    pub(super) fn new(options: RateLimitOptions) -> Self {
        let RateLimitOptions { findings, per } = options;
        let interval = per.unsigned() / findings.get();
        let slack = interval * (findings.get() - 1);
        Self { interval, slack, full_at: Duration::ZERO, held: None }
    }

    /// Takes a token for a finding, if there is one.
    pub(super) fn take(&mut self, id: Fingerprint, now: Duration) -> Permit {
        let wait = self.full_at.saturating_sub(self.slack).saturating_sub(now);
        if !wait.is_zero() {
            let held = match self.held {
                Some((latest, held)) if latest == id => held,
                other => other.map_or(0, |(_, held)| held) + 1,
            };
            self.held = Some((id, held));
            return Permit::After(wait);
        }
        let is_full = self.full_at <= now;
        self.full_at = self.full_at.max(now) + self.interval;
        let held = if is_full { self.held.take().map_or(0, |(_, held)| held) } else { 0 };
        Permit::Now { held }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(findings: u32, per: u32) -> RateLimit {
        let findings = Count::new(findings);
        RateLimit::new(RateLimitOptions { findings, per: Period::from_secs(per) })
    }

    const fn after(secs: u64) -> Permit {
        Permit::After(Duration::from_secs(secs))
    }

    /// Takes a token for a finding at a time.
    fn take(limit: &mut RateLimit, id: u64, at: u64) -> Permit {
        limit.take(Fingerprint::from(id), Duration::from_secs(at))
    }

    #[test]
    fn a_burst_is_followed_by_one_finding_in_each_interval() {
        let mut limit = limit(30, 60);
        assert!((0..30).all(|id| take(&mut limit, id, 9) == Permit::Now { held: 0 }));
        assert_eq!(take(&mut limit, 30, 9), after(2));
        assert_eq!(take(&mut limit, 30, 10), after(1));
        assert_eq!(take(&mut limit, 30, 11), Permit::Now { held: 0 });
        assert_eq!(take(&mut limit, 31, 11), after(2));
        assert_eq!(take(&mut limit, 31, 13), Permit::Now { held: 0 });
        // After a minute without findings, a burst is possible again.
        assert_eq!(take(&mut limit, 32, 100), Permit::Now { held: 2 });
        assert!((0..29).all(|id| take(&mut limit, id, 100) == Permit::Now { held: 0 }));
        assert_eq!(take(&mut limit, 30, 100), after(2));
    }

    #[test]
    fn one_finding_in_a_period_is_no_burst() {
        let mut limit = limit(1, 60);
        assert_eq!(take(&mut limit, 0, 0), Permit::Now { held: 0 });
        assert_eq!(take(&mut limit, 1, 1), after(59));
        assert_eq!(take(&mut limit, 1, 60), Permit::Now { held: 1 });
    }
}
