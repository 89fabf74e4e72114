use jiff::SignedDuration;

use super::grouping::Grouping;
use crate::{Finding, Matcher, Period, Silences, Status};

/// A rule that sends matching findings to sinks.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Route {
    /// The name of the route.
    pub name: String,
    /// The findings that the route accepts.
    pub matcher: Matcher,
    /// The names of its sinks.
    pub sinks: Vec<String>,
    /// The time in which the route suppresses repeats of a finding that it has
    /// sent. A higher severity is sent in spite of the cooldown.
    pub cooldown: Option<Period>,
    /// The time for which a finding is open and matches before the route sends it. The route
    /// sends nothing of an episode that ends earlier.
    pub open_for: Option<Period>,
    /// The grouping of findings in notifications, by sinks that can deliver several in one.
    pub grouping: Option<Grouping>,
    /// Sends the resolved finding too, if the route has sent the open one.
    pub send_resolved: bool,
    /// Sends only findings that match no route without `fallback`.
    pub is_fallback: bool,
}

impl Route {
    /// Creates a route that sends each matching open finding to these sinks,
    /// at once and without a cooldown.
    pub fn new(name: impl Into<String>, matcher: Matcher, sinks: Vec<String>) -> Self {
        let name = name.into();
        Self {
            name,
            matcher,
            sinks,
            cooldown: None,
            open_for: None,
            grouping: None,
            send_resolved: false,
            is_fallback: false,
        }
    }

    /// Makes a route that sends all open findings to all sinks.
    pub fn to_all(sink_ids: &[String]) -> Self {
        Self::new("all", Matcher::default(), sink_ids.to_vec())
    }

    /// Returns whether another route sends the same findings to the same sinks, perhaps at other
    /// times.
    pub(super) fn has_receivers_of(&self, other: &Self) -> bool {
        self.matcher == other.matcher
            && self.sinks == other.sinks
            && self.is_fallback == other.is_fallback
    }

    /// Returns whether the finding is the end of one that the route may have sent. That one may
    /// have been opened by another detector, with other labels.
    pub(super) fn follows_open(&self, finding: &Finding) -> bool {
        finding.status == Status::Resolved && self.matcher.status.is_none()
    }

    /// Returns whether the finding matches, with its status. A resolved finding matches only a
    /// route for resolved findings.
    pub fn accepts(&self, finding: &Finding) -> bool {
        let has_status = match self.matcher.status {
            Some(status) => status == finding.status,
            None => finding.status == Status::Open,
        };
        has_status && self.matcher.matches(finding)
    }
}

/// The routes and the silences of a policy.
#[derive(Clone, Debug, Default)]
pub struct Routes {
    pub(super) routes: Vec<Route>,
    pub(super) silences: Silences,
}

impl Routes {
    /// Joins routes and silences.
    pub fn new(routes: Vec<Route>, silences: Silences) -> Self {
        Self { routes, silences }
    }

    /// Returns the routes, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Route> {
        self.routes.iter()
    }

    /// Returns the number of routes.
    pub fn len(&self) -> usize {
        self.routes.len()
    }

    /// Returns whether there is no route.
    pub fn is_empty(&self) -> bool {
        self.routes.is_empty()
    }

    /// Returns the longest time for which a finding waits for its route.
    pub fn longest_wait(&self) -> SignedDuration {
        let waits = self.routes.iter().filter_map(|route| route.open_for);
        waits.map(Period::get).max().unwrap_or(SignedDuration::ZERO)
    }

    /// Returns the silences.
    pub fn silences(&self) -> &Silences {
        &self.silences
    }
}

impl From<Vec<Route>> for Routes {
    fn from(routes: Vec<Route>) -> Self {
        Self::new(routes, Silences::default())
    }
}
