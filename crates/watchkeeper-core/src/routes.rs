use std::{
    collections::{BTreeMap, HashMap},
    mem,
};

use jiff::Timestamp;
use rapidhash::fast::RandomState;

use crate::{AgentId, Finding, Fingerprint, Glob, Period, Severity, Status};

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
}

/// The condition of a route. A finding must match all fields.
///
/// An empty field matches every finding. Any other field does not match a
/// finding that lacks the value.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Matcher {
    /// The severities.
    pub severity: Option<SeverityMatch>,
    /// The names of detectors.
    pub detector: Vec<Glob>,
    /// The kinds of detectors.
    pub kind: Vec<Glob>,
    /// The classes of findings.
    pub class: Vec<Glob>,
    /// The ids of sessions.
    pub session: Vec<Glob>,
    /// The kinds of sources.
    pub source: Vec<Glob>,
    /// The ids of sub-agents.
    pub agent: Vec<Glob>,
    /// The values of labels, by name; every label must match.
    pub labels: BTreeMap<String, Vec<Glob>>,
    /// The status. `None` matches open findings, and with
    /// [`Route::send_resolved`] also resolved ones.
    pub status: Option<Status>,
}

/// The severities that a route accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SeverityMatch {
    /// One severity.
    Only(Severity),
    /// One severity and all higher ones.
    AtLeast(Severity),
}

impl Route {
    /// Creates a route that sends each matching open finding to these sinks,
    /// without a cooldown.
    pub fn new(name: impl Into<String>, matcher: Matcher, sinks: Vec<String>) -> Self {
        Self { name: name.into(), matcher, sinks, cooldown: None, send_resolved: false }
    }
}

impl SeverityMatch {
    /// Returns whether the severity matches.
    pub fn matches(self, severity: Severity) -> bool {
        match self {
            Self::Only(only) => only == severity,
            Self::AtLeast(least) => least <= severity,
        }
    }
}

impl Matcher {
    /// Returns whether all fields except the status match.
    pub fn matches(&self, finding: &Finding) -> bool {
        let Self { severity, detector, kind, class, session, source, agent, labels, status: _ } =
            self;
        let any = |globs: &[Glob], text: Option<&str>| {
            globs.is_empty() || text.is_some_and(|text| globs.iter().any(|it| it.matches(text)))
        };
        // A resolved finding has no severity of its own.
        let is_resolved = finding.status == Status::Resolved;
        (is_resolved || severity.is_none_or(|it| it.matches(finding.severity)))
            && any(detector, Some(&finding.detector))
            && any(kind, Some(&finding.kind))
            && any(class, Some(&finding.class))
            && any(session, Some(finding.session.as_str()))
            && any(source, finding.source)
            && any(agent, finding.agent.as_ref().map(AgentId::as_str))
            && labels
                .iter()
                .all(|(name, globs)| any(globs, finding.labels.get(name).map(String::as_str)))
    }
}

/// Sends each finding to the sinks that the routes of a policy choose.
///
/// All matching routes apply. The memory of a router is bounded: among very
/// many findings, the router forgets those sent longest ago, and sends them
/// again if they repeat within the cooldown.
#[derive(Debug)]
pub struct Router {
    routes: Vec<(Route, Vec<usize>)>,
    sent: Memory,
    n_suppressed: u64,
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
    pub fn new(routes: Vec<Route>, sink_ids: &[String]) -> Self {
        let with_sinks = |route: Route| {
            let named = |(sink_idx, id)| route.sinks.contains(id).then_some(sink_idx);
            let sinks = sink_ids.iter().enumerate().filter_map(named).collect();
            (route, sinks)
        };
        let routes = routes.into_iter().map(with_sinks).collect();
        Self { routes, sent: Memory::new(MAX_REMEMBERED), n_suppressed: 0 }
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
        for (route_idx, (route, sinks)) in self.routes.iter().enumerate() {
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
        Self {
            name: "all".to_owned(),
            matcher: Matcher::default(),
            sinks: sink_ids.to_vec(),
            cooldown: None,
            send_resolved: false,
        }
    }

    fn decide(&self, route_idx: usize, finding: &Finding, sent: &mut Memory) -> Decision {
        let key = (route_idx, finding.fingerprint);
        // The finding may have been opened by another detector, with other labels.
        let follows_open = finding.status == Status::Resolved && self.matcher.status.is_none();
        if !follows_open && !self.matcher.matches(finding) {
            return Decision::Skip;
        }
        match (finding.status, self.matcher.status) {
            (Status::Open, Some(Status::Resolved)) | (Status::Resolved, Some(Status::Open)) => {
                Decision::Skip
            }
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
            (Status::Resolved, Some(Status::Resolved)) => Decision::Send { n_suppressed: 0 },
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

    use super::{Matcher, Memory, Route, Router, SeverityMatch};
    use crate::{Finding, Fingerprint, Glob, Period, Severity, Status};

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
        Route {
            name: "test".to_owned(),
            matcher,
            sinks: sinks.iter().map(|&it| it.to_owned()).collect(),
            cooldown: None,
            send_resolved: false,
        }
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
        let mut router = Router::new(names.map(route).into(), &names.map(str::to_owned));
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
    fn every_field_must_match() {
        let globs = |it: &str| vec![Glob::new("nothing"), Glob::new(it)];
        let labels = |value| BTreeMap::from([("team".to_owned(), globs(value))]);
        let any = Matcher::default;
        let finding = finding(0, 1, Severity::Medium, Status::Open);
        for (matcher, matches) in [
            (Matcher { detector: globs("repeated_*"), ..any() }, true),
            (Matcher { detector: globs("t*"), ..any() }, false),
            (Matcher { kind: globs("repeat-tool-call"), ..any() }, true),
            (Matcher { kind: globs("timeout"), ..any() }, false),
            (Matcher { class: globs("runaway"), ..any() }, true),
            (Matcher { class: globs("budget"), ..any() }, false),
            (Matcher { session: globs("s*"), ..any() }, true),
            (Matcher { session: globs("t"), ..any() }, false),
            (Matcher { source: globs("claude-code"), ..any() }, true),
            (Matcher { source: globs("codex"), ..any() }, false),
            (Matcher { agent: globs("*"), ..any() }, true),
            (Matcher { agent: globs("x"), ..any() }, false),
            (Matcher { labels: labels("pay*"), ..any() }, true),
            (Matcher { labels: labels("ops"), ..any() }, false),
            (Matcher { severity: Some(SeverityMatch::Only(Severity::Medium)), ..any() }, true),
            (Matcher { severity: Some(SeverityMatch::Only(Severity::Low)), ..any() }, false),
            (Matcher { severity: Some(SeverityMatch::AtLeast(Severity::Low)), ..any() }, true),
            (Matcher { severity: Some(SeverityMatch::AtLeast(Severity::High)), ..any() }, false),
        ] {
            assert_eq!(matcher.matches(&finding), matches, "{matcher:?}");
        }
        let nowhere = Finding { agent: None, source: None, ..finding };
        assert!(!Matcher { agent: globs("*"), ..any() }.matches(&nowhere));
        assert!(!Matcher { source: globs("*"), ..any() }.matches(&nowhere));
        let unknown = BTreeMap::from([("env".to_owned(), globs("*"))]);
        assert!(!Matcher { labels: unknown, ..any() }.matches(&nowhere));
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
