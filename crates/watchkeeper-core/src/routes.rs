use std::{
    collections::{BTreeMap, HashMap},
    mem,
};

use jiff::Timestamp;
use rapidhash::fast::RandomState;

use crate::{Finding, Fingerprint, Matcher, Period, Severity, Silences, Status, silences::Silence};

/// The number of remembered deliveries from which older ones are forgotten.
const MAX_REMEMBERED: usize = 1 << 15;

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
    /// Sends the resolved finding too, if the route has sent the open one.
    pub send_resolved: bool,
    /// Sends only findings that match no route without `fallback`.
    pub is_fallback: bool,
}

impl Route {
    /// Creates a route that sends each matching open finding to these sinks,
    /// without a cooldown.
    pub fn new(name: impl Into<String>, matcher: Matcher, sinks: Vec<String>) -> Self {
        let name = name.into();
        Self { name, matcher, sinks, cooldown: None, send_resolved: false, is_fallback: false }
    }
}

/// The routes and the silences of a policy.
#[derive(Clone, Debug, Default)]
pub struct Routes {
    routes: Vec<Route>,
    silences: Silences,
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

    /// Returns the silences.
    pub fn silences(&self) -> &Silences {
        &self.silences
    }

    /// Adds silences to those of the policy.
    pub fn add_silences(&mut self, silences: impl IntoIterator<Item = Silence>) {
        self.silences.extend(silences);
    }
}

impl From<Vec<Route>> for Routes {
    fn from(routes: Vec<Route>) -> Self {
        Self::new(routes, Silences::default())
    }
}

/// Sends each finding to the sinks that the routes of a policy choose.
///
/// All matching routes apply, and those with `fallback` only if no other one matches. A silence
/// hides a finding from all routes. The memory of a router is bounded: among very
/// many findings, the router forgets those sent longest ago, and sends them
/// again if they repeat within the cooldown.
#[derive(Debug)]
pub struct Router {
    routes: Vec<(Route, Vec<usize>)>,
    silences: Silences,
    sent: Memory,
    n_suppressed: u64,
    n_silenced: u64,
}

/// The finding with one fingerprint that a route sent last.
#[derive(Clone, Copy, Debug)]
struct Sent {
    at: Timestamp,
    severity: Severity,
    /// The resolved finding is not sent yet.
    is_open: bool,
    /// Repeats that the cooldown has suppressed since.
    n_suppressed: u32,
}

impl Router {
    /// Makes a router for sinks with these names; [`route`](Self::route) returns
    /// their indexes. Unknown names in a route are ignored.
    pub fn new(routes: impl Into<Routes>, sink_ids: &[String]) -> Self {
        let Routes { routes, silences } = routes.into();
        let with_sinks = |route: Route| {
            let named = |(sink_idx, id)| route.sinks.contains(id).then_some(sink_idx);
            let sinks = sink_ids.iter().enumerate().filter_map(named).collect();
            (route, sinks)
        };
        let routes = routes.into_iter().map(with_sinks).collect();
        let sent = Memory::new(MAX_REMEMBERED);
        Self { routes, silences, sent, n_suppressed: 0, n_silenced: 0 }
    }

    /// Replaces the silences, those of the policy too. They apply to findings from now on.
    pub fn set_silences(&mut self, silences: Silences) {
        self.silences = silences;
    }

    /// Makes a router that sends all open findings to all sinks.
    pub fn to_all(sink_ids: &[String]) -> Self {
        Self::new(vec![Route::to_all(sink_ids)], sink_ids)
    }

    /// Returns the indexes of the sinks for this finding, sorted and without
    /// duplicates.
    pub fn route(&mut self, finding: &Finding) -> Vec<usize> {
        self.route_counted(finding).into_keys().collect()
    }

    /// Returns the indexes of the sinks for this finding, each with the number of repeats
    /// that cooldowns have suppressed since the sink received the finding.
    pub(crate) fn route_counted(&mut self, finding: &Finding) -> BTreeMap<usize, u32> {
        let mut chosen = BTreeMap::new();
        let is_silenced = self.silences.matching(finding, finding.at).is_some();
        self.n_silenced += u64::from(is_silenced && finding.status == Status::Open);
        let mut has_match = false;
        let routes = || self.routes.iter().enumerate();
        let fallbacks = routes().filter(|(_, (route, _))| route.is_fallback);
        let others = routes().filter(|(_, (route, _))| !route.is_fallback);
        for (route_idx, (route, sinks)) in others.chain(fallbacks) {
            if !route.follows_open(finding) && (is_silenced || route.is_fallback && has_match) {
                continue;
            }
            has_match |= !route.is_fallback && route.accepts(finding);
            match route.decide(route_idx, finding, &mut self.sent) {
                Decision::Send { n_suppressed } => {
                    for sink_idx in sinks {
                        let n: &mut u32 = chosen.entry(*sink_idx).or_default();
                        *n = n_suppressed.max(*n);
                    }
                }
                Decision::Suppress => self.n_suppressed += 1,
                Decision::Skip => {}
            }
        }
        chosen
    }

    /// Returns the number of repeats that cooldowns have suppressed.
    pub fn n_suppressed(&self) -> u64 {
        self.n_suppressed
    }

    /// Returns the number of findings that silences have hidden.
    pub fn n_silenced(&self) -> u64 {
        self.n_silenced
    }
}

/// The decision of a route about a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Decision {
    /// The finding is sent, after this number of suppressed repeats.
    Send { n_suppressed: u32 },
    /// The finding repeats within the cooldown.
    Suppress,
    /// The finding does not match.
    Skip,
}

impl Route {
    /// Makes a route that sends all open findings to all sinks.
    pub fn to_all(sink_ids: &[String]) -> Self {
        Self::new("all", Matcher::default(), sink_ids.to_vec())
    }

    /// Returns whether the finding is the end of one that the route may have sent. That one may
    /// have been opened by another detector, with other labels.
    fn follows_open(&self, finding: &Finding) -> bool {
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

    fn decide(&self, route_idx: usize, finding: &Finding, sent: &mut Memory) -> Decision {
        let key = (route_idx, finding.fingerprint);
        if !self.follows_open(finding) && !self.accepts(finding) {
            return Decision::Skip;
        }
        match (finding.status, self.matcher.status) {
            (Status::Open, _) => {
                let Self { cooldown, send_resolved, .. } = *self;
                if cooldown.is_none() && !send_resolved {
                    return Decision::Send { n_suppressed: 0 };
                }
                let last = sent.get(key);
                if let Some((cooldown, last)) = cooldown.zip(last)
                    && finding.severity <= last.severity
                    && is_within(cooldown, last.at, finding.at)
                {
                    let n_suppressed = last.n_suppressed.saturating_add(1);
                    sent.insert(key, Sent { n_suppressed, ..last });
                    return Decision::Suppress;
                }
                let Finding { at, severity, .. } = *finding;
                sent.insert(key, Sent { at, severity, is_open: true, n_suppressed: 0 });
                Decision::Send { n_suppressed: last.map_or(0, |last| last.n_suppressed) }
            }
            (Status::Resolved, Some(_)) => Decision::Send { n_suppressed: 0 },
            (Status::Resolved, None) => match sent.get(key).filter(|it| it.is_open) {
                Some(last) if self.send_resolved => {
                    sent.insert(key, Sent { is_open: false, n_suppressed: 0, ..last });
                    Decision::Send { n_suppressed: last.n_suppressed }
                }
                _ => Decision::Skip,
            },
        }
    }
}

/// Returns whether a finding at `at` is within the cooldown of one at `last`. Not if the
/// wall clock was set back meanwhile: a cooldown would last until the clock has caught up.
fn is_within(cooldown: Period, last: Timestamp, at: Timestamp) -> bool {
    let since = at.duration_since(last);
    !since.is_negative() && since < cooldown.get()
}

/// A bounded map that forgets the entries written longest ago: a full young
/// half replaces the old half.
#[derive(Debug)]
struct Memory {
    max: usize,
    young: HashMap<(usize, Fingerprint), Sent, RandomState>,
    old: HashMap<(usize, Fingerprint), Sent, RandomState>,
}

impl Memory {
    fn new(max: usize) -> Self {
        Self { max, young: HashMap::default(), old: HashMap::default() }
    }

    fn get(&self, key: (usize, Fingerprint)) -> Option<Sent> {
        self.young.get(&key).or_else(|| self.old.get(&key)).copied()
    }

    fn insert(&mut self, key: (usize, Fingerprint), sent: Sent) {
        if self.young.len() == self.max && !self.young.contains_key(&key) {
            self.old = mem::take(&mut self.young);
        }
        self.young.insert(key, sent);
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, sync::Arc};

    use jiff::{SignedDuration, Timestamp};
    use proptest::{collection::vec, prelude::*};

    use super::{Memory, Route, Router};
    use crate::{
        Finding, Fingerprint, Glob, Matcher, Period, Severity, Silences, Status,
        matcher::SeverityMatch, silences::Silence,
    };

    fn finding(secs: i64, subject: u64, severity: Severity, status: Status) -> Finding {
        let at = Timestamp::UNIX_EPOCH + SignedDuration::from_secs(secs);
        let base = Finding::about_monitor(at, "test", severity, "");
        let labels = Arc::new(BTreeMap::from([("team".to_owned(), "payments".to_owned())]));
        Finding {
            fingerprint: Fingerprint::from(subject),
            status,
            labels,
            detector: "repeated_call".into(),
            kind: "repeat-tool-call".into(),
            class: "runaway".into(),
            session: "s1".into(),
            agent: Some("helper".into()),
            source: Some("claude-code"),
            ..base
        }
    }

    fn route(matcher: Matcher, sinks: &[&str]) -> Route {
        Route::new("test", matcher, sinks.iter().map(|&it| it.to_owned()).collect())
    }

    fn ids(n: usize) -> Vec<String> {
        (0..n).map(|it| it.to_string()).collect()
    }

    #[test]
    fn every_route_that_sent_a_finding_sends_its_end() {
        let route = |detector: &str| Route {
            matcher: Matcher { detector: vec![Glob::from(detector)], ..Matcher::default() },
            send_resolved: true,
            ..Route::new(detector, Matcher::default(), vec![detector.to_owned()])
        };
        let names = ["streak", "error", "other"];
        let mut router = Router::new(names.map(route).to_vec(), &names.map(str::to_owned));
        let by = |detector: &str, secs, status| {
            let finding = finding(secs, 1, Severity::Medium, status);
            Finding { detector: detector.into(), ..finding }
        };
        assert_eq!(router.route(&by("streak", 1, Status::Open)), [0]);
        // Another detector replaces the finding.
        assert_eq!(router.route(&by("error", 2, Status::Open)), [1]);
        assert_eq!(router.route(&by("error", 3, Status::Resolved)), [0, 1]);
        assert!(router.route(&by("error", 4, Status::Resolved)).is_empty());
    }

    #[test]
    fn all_matching_routes_apply_and_each_sink_occurs_once() {
        let high = Matcher {
            severity: Some(SeverityMatch::AtLeast(Severity::High)),
            ..Matcher::default()
        };
        let routes = vec![route(high, &["2", "0", "gone"]), route(Matcher::default(), &["1", "0"])];
        let mut router = Router::new(routes, &ids(3));
        let mut check = |severity| router.route(&finding(0, 1, severity, Status::Open));
        assert_eq!(check(Severity::High), [0, 1, 2]);
        assert_eq!(check(Severity::Medium), [0, 1]);
    }

    #[test]
    fn a_cooldown_suppresses_repeats_but_no_higher_severity() {
        let cooldown = Some(Period::from_secs(60));
        let mut router =
            Router::new(vec![Route { cooldown, ..route(Matcher::default(), &["0"]) }], &ids(1));
        let mut check = |secs, subject, severity| {
            !router.route(&finding(secs, subject, severity, Status::Open)).is_empty()
        };
        assert!(check(0, 1, Severity::Medium));
        assert!(!check(59, 1, Severity::Medium));
        assert!(check(59, 2, Severity::Medium));
        assert!(check(59, 1, Severity::High));
        assert!(!check(60, 1, Severity::Medium));
        assert!(check(119, 1, Severity::Low));
        // The wall clock was set back.
        assert!(check(50, 1, Severity::Low));
        assert_eq!(router.n_suppressed(), 2);
    }

    #[test]
    fn the_next_finding_has_the_number_of_suppressed_repeats() {
        let cooldown = Some(Period::from_secs(60));
        let with = |send_resolved, sinks| Route {
            cooldown,
            send_resolved,
            ..route(Matcher::default(), sinks)
        };
        let all = route(Matcher::default(), &["1", "2"]);
        let mut router = Router::new(vec![with(true, &["0"]), with(false, &["1"]), all], &ids(3));
        let mut check = |secs, severity, status| -> Vec<(usize, u32)> {
            router.route_counted(&finding(secs, 1, severity, status)).into_iter().collect()
        };
        let (low, high, open) = (Severity::Low, Severity::High, Status::Open);
        assert_eq!(check(0, low, open), [(0, 0), (1, 0), (2, 0)]);
        assert_eq!(check(1, low, open), [(1, 0), (2, 0)]);
        assert_eq!(check(2, low, open), [(1, 0), (2, 0)]);
        assert_eq!(check(3, high, open), [(0, 2), (1, 2), (2, 0)]);
        assert_eq!(check(4, low, open), [(1, 0), (2, 0)]);
        assert_eq!(check(5, low, Status::Resolved), [(0, 1)]);
        assert_eq!(check(99, low, open), [(0, 0), (1, 1), (2, 0)]);
    }

    #[test]
    fn a_resolved_finding_goes_to_the_sinks_of_the_open_one() {
        let high = || Matcher {
            severity: Some(SeverityMatch::Only(Severity::High)),
            ..Matcher::default()
        };
        let mut router = Router::new(
            vec![
                Route { send_resolved: true, ..route(high(), &["0"]) },
                route(high(), &["1"]),
                route(Matcher { status: Some(Status::Resolved), ..Matcher::default() }, &["2"]),
                route(Matcher { status: Some(Status::Open), ..Matcher::default() }, &["3"]),
            ],
            &ids(4),
        );
        let mut check =
            |subject, severity, status| router.route(&finding(0, subject, severity, status));
        assert_eq!(check(1, Severity::High, Status::Open), [0, 1, 3]);
        assert_eq!(check(2, Severity::Medium, Status::Open), [3]);
        assert_eq!(check(1, Severity::Low, Status::Resolved), [0, 2]);
        assert_eq!(check(1, Severity::Low, Status::Resolved), [2]);
        assert_eq!(check(2, Severity::Low, Status::Resolved), [2]);
    }

    #[test]
    fn a_fallback_sends_findings_that_match_no_other_route() {
        let high = || Matcher {
            severity: Some(SeverityMatch::Only(Severity::High)),
            ..Matcher::default()
        };
        let fallback =
            Route { is_fallback: true, send_resolved: true, ..route(Matcher::default(), &["0"]) };
        let mut router = Router::new(vec![fallback, route(high(), &["1"])], &ids(2));
        let mut check =
            |subject, severity, status| router.route(&finding(0, subject, severity, status));
        assert_eq!(check(1, Severity::High, Status::Open), [1]);
        assert_eq!(check(2, Severity::Medium, Status::Open), [0]);
        assert_eq!(check(2, Severity::High, Status::Open), [1]);
        // The end of a finding goes to the sinks of its start.
        assert!(check(1, Severity::Low, Status::Resolved).is_empty());
        assert_eq!(check(2, Severity::Low, Status::Resolved), [0]);
    }

    #[test]
    fn a_silence_hides_findings_but_not_the_end_of_one_that_was_sent() {
        let resolved = Matcher { status: Some(Status::Resolved), ..Matcher::default() };
        let routes = vec![
            Route { send_resolved: true, ..route(Matcher::default(), &["0"]) },
            route(resolved, &["1"]),
        ];
        let mut router = Router::new(routes, &ids(2));
        let route = |router: &mut Router, secs, subject, status| {
            router.route(&finding(secs, subject, Severity::High, status))
        };
        assert_eq!(route(&mut router, 0, 1, Status::Open), [0]);
        let until = Timestamp::UNIX_EPOCH + SignedDuration::from_secs(10);
        let all = Silence::new("all", Matcher::default(), until, "me", "a test");
        router.set_silences(Silences::new(vec![all]));
        assert!(route(&mut router, 9, 2, Status::Open).is_empty());
        assert_eq!(route(&mut router, 9, 1, Status::Resolved), [0]);
        assert!(route(&mut router, 9, 2, Status::Resolved).is_empty());
        assert_eq!(route(&mut router, 10, 3, Status::Open), [0]);
        assert_eq!(router.n_silenced(), 1);
    }

    /// Decides by searching all findings that the route has sent.
    fn naive(route: &Route, sent: &[Finding], finding: &Finding) -> bool {
        let mut same = sent.iter().rev().filter(|old| old.fingerprint == finding.fingerprint);
        match finding.status {
            Status::Open => {
                let opened = same.find(|old| old.status == Status::Open);
                !route.cooldown.zip(opened).is_some_and(|(cooldown, old)| {
                    finding.at.duration_since(old.at) < cooldown.get()
                        && finding.severity <= old.severity
                })
            }
            Status::Resolved => {
                route.send_resolved && same.next().is_some_and(|it| it.status == Status::Open)
            }
        }
    }

    proptest! {
        #[test]
        fn agrees_with_the_naive_router(
            steps in vec((0_i64..50, 0_u64..4, 0_usize..3, any::<bool>()), 0..60),
            cooldown in proptest::option::of(1_u32..120),
            send_resolved: bool,
            max in prop_oneof![Just(1_usize), Just(2), Just(100)],
        ) {
            let mut now = 0;
            let findings: Vec<Finding> = steps
                .into_iter()
                .map(|(pause, subject, severity, is_open)| {
                    now += pause;
                    let status = if is_open { Status::Open } else { Status::Resolved };
                    finding(now, subject, Severity::ALL[severity], status)
                })
                .collect();
            let route = Route {
                cooldown: cooldown.map(Period::from_secs),
                send_resolved,
                ..route(Matcher::default(), &["0"])
            };
            let mut router = Router::new(vec![route.clone()], &ids(1));
            router.sent = Memory::new(max);
            let mut sent = Vec::new();
            for finding in findings {
                let expected = naive(&route, &sent, &finding);
                let sends = !router.route(&finding).is_empty();
                // A forgotten finding is sent again if open, and not sent if resolved.
                let is_forgotten = max < 100 && sends == (finding.status == Status::Open);
                prop_assert!(sends == expected || is_forgotten, "{:?}", finding);
                prop_assert!(router.sent.young.len() <= max && router.sent.old.len() <= max);
                if sends {
                    sent.push(finding);
                }
            }
        }
    }
}
