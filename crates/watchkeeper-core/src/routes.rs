use std::{
    collections::{BTreeMap, HashMap},
    mem,
};

use jiff::Timestamp;
use rapidhash::fast::RandomState;

use crate::{AgentId, Finding, Fingerprint, Glob, Period, Severity, Status};

/// How many deliveries are remembered before older ones may be forgotten.
const MAX_REMEMBERED: usize = 1 << 15;

/// Which findings go to which sinks.
#[derive(Clone, Debug)]
pub struct Route {
    /// What a person calls it.
    pub name: String,
    /// The findings it takes.
    pub matcher: Matcher,
    /// The names of the sinks it sends them to.
    pub sinks: Vec<String>,
    /// How long it stays silent about what it has just told, unless that gets
    /// worse.
    pub cooldown: Option<Period>,
    /// Whether it also tells the end of what it told the beginning of.
    pub send_resolved: bool,
}

/// Which findings a route takes: those that all of its parts match.
///
/// A part that is empty matches every finding. A part that is not does not
/// match a finding that lacks what it asks for.
#[derive(Clone, Debug, Default)]
pub struct Matcher {
    /// How severe.
    pub severity: Option<SeverityMatch>,
    /// Found by a detector of one of these names.
    pub detector: Vec<Glob>,
    /// Found by a detector of one of these kinds.
    pub kind: Vec<Glob>,
    /// Of one of these classes.
    pub class: Vec<Glob>,
    /// About one of these sessions.
    pub session: Vec<Glob>,
    /// About a session from one of these kinds of source.
    pub source: Vec<Glob>,
    /// About one of these sub-agents.
    pub agent: Vec<Glob>,
    /// With one of these values for each of these labels.
    pub labels: BTreeMap<String, Vec<Glob>>,
    /// With this status; without one, open findings, and the end of those that
    /// the route sent if [`Route::send_resolved`] says so.
    pub status: Option<Status>,
}

/// Which severities a route takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SeverityMatch {
    /// This one alone.
    Only(Severity),
    /// This one and those above.
    AtLeast(Severity),
}

impl SeverityMatch {
    /// Whether it takes this severity.
    pub fn matches(self, severity: Severity) -> bool {
        match self {
            Self::Only(it) => it == severity,
            Self::AtLeast(it) => it <= severity,
        }
    }
}

impl Matcher {
    /// Whether all of its parts match, the status aside.
    pub fn matches(&self, finding: &Finding) -> bool {
        let Self { severity, detector, kind, class, session, source, agent, labels, status: _ } =
            self;
        let any = |globs: &[Glob], text: Option<&str>| {
            globs.is_empty() || text.is_some_and(|text| globs.iter().any(|it| it.matches(text)))
        };
        // What ends has no severity of its own.
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
/// Every route that matches acts. What a router remembers is bounded: of very
/// many conditions the one told longest ago is forgotten, and told again if it
/// comes back within its cooldown.
#[derive(Debug)]
pub struct Router {
    routes: Vec<(Route, Vec<usize>)>,
    told: Memory,
}

/// What a route told last of one condition.
#[derive(Clone, Copy, Debug)]
struct Told {
    at: Timestamp,
    severity: Severity,
    /// Its end has not been told.
    is_open: bool,
}

impl Router {
    /// Makes a router for sinks of these names, which it counts from 0. The
    /// names of other sinks in a route are ignored.
    pub fn new(routes: Vec<Route>, sink_ids: &[String]) -> Self {
        let with_sinks = |route: Route| {
            let named = |(sink_idx, id)| route.sinks.contains(id).then_some(sink_idx);
            let sinks = sink_ids.iter().enumerate().filter_map(named).collect();
            (route, sinks)
        };
        let routes = routes.into_iter().map(with_sinks).collect();
        Self { routes, told: Memory::new(MAX_REMEMBERED) }
    }

    /// Makes a router that sends every open finding to every sink.
    pub fn to_all(sink_ids: &[String]) -> Self {
        Self::new(vec![Route::to_all(sink_ids)], sink_ids)
    }

    /// The sinks that this finding goes to, in order, each once.
    pub fn route(&mut self, finding: &Finding) -> Vec<usize> {
        let mut res = Vec::new();
        for (route_idx, (route, sinks)) in self.routes.iter().enumerate() {
            if route.takes(route_idx, finding, &mut self.told) {
                res.extend(sinks);
            }
        }
        res.sort_unstable();
        res.dedup();
        res
    }
}

impl Route {
    /// Makes a route for every open finding to every sink.
    pub fn to_all(sink_ids: &[String]) -> Self {
        Self {
            name: "all".to_owned(),
            matcher: Matcher::default(),
            sinks: sink_ids.to_vec(),
            cooldown: None,
            send_resolved: false,
        }
    }

    fn takes(&self, route_idx: usize, finding: &Finding, told: &mut Memory) -> bool {
        if !self.matcher.matches(finding) {
            return false;
        }
        let key = (route_idx, finding.fingerprint);
        match (finding.status, self.matcher.status) {
            (Status::Open, Some(Status::Resolved)) | (Status::Resolved, Some(Status::Open)) => {
                false
            }
            (Status::Open, _) => {
                let Self { cooldown, send_resolved, .. } = *self;
                if cooldown.is_none() && !send_resolved {
                    return true;
                }
                let last = told.get(key);
                let is_known = cooldown.zip(last).is_some_and(|(cooldown, last)| {
                    finding.severity <= last.severity
                        && finding.at.duration_since(last.at) < cooldown.get()
                });
                if !is_known {
                    let severity = finding.severity;
                    told.insert(key, Told { at: finding.at, severity, is_open: true });
                }
                !is_known
            }
            (Status::Resolved, Some(Status::Resolved)) => true,
            (Status::Resolved, None) => match told.get(key).filter(|it| it.is_open) {
                Some(last) if self.send_resolved => {
                    told.insert(key, Told { is_open: false, ..last });
                    true
                }
                _ => false,
            },
        }
    }
}

/// A map that forgets what was written longest ago: once the young half is
/// full it becomes the old one, and the old one goes.
#[derive(Debug)]
struct Memory {
    max: usize,
    young: HashMap<(usize, Fingerprint), Told, RandomState>,
    old: HashMap<(usize, Fingerprint), Told, RandomState>,
}

impl Memory {
    fn new(max: usize) -> Self {
        Self { max, young: HashMap::default(), old: HashMap::default() }
    }

    fn get(&self, key: (usize, Fingerprint)) -> Option<Told> {
        self.young.get(&key).or_else(|| self.old.get(&key)).copied()
    }

    fn insert(&mut self, key: (usize, Fingerprint), told: Told) {
        if self.young.len() == self.max && !self.young.contains_key(&key) {
            self.old = mem::take(&mut self.young);
        }
        self.young.insert(key, told);
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
        let it = Finding::about_monitor(at, "test", severity, "");
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
            ..it
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
    fn every_route_that_matches_acts_and_each_sink_once() {
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
    fn each_part_of_a_match_counts() {
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
    fn a_cooldown_silences_repeats_but_not_what_gets_worse() {
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
    }

    #[test]
    fn the_end_is_told_to_whom_the_beginning_was() {
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

    /// Looks through everything that was told before.
    fn naive(route: &Route, told: &[Finding], it: &Finding) -> bool {
        let mut same = told.iter().rev().filter(|old| old.fingerprint == it.fingerprint);
        match it.status {
            Status::Open => {
                let opened = same.find(|old| old.status == Status::Open);
                !route.cooldown.zip(opened).is_some_and(|(cooldown, old)| {
                    it.at.duration_since(old.at) < cooldown.get() && it.severity <= old.severity
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
            router.told = Memory::new(max);
            let mut told = Vec::new();
            for it in findings {
                let expected = naive(&route, &told, &it);
                let tells = !router.route(&it).is_empty();
                // What was forgotten is told again, and not told as over.
                let is_forgotten = max < 100 && tells == (it.status == Status::Open);
                prop_assert!(tells == expected || is_forgotten, "{:?}", it);
                prop_assert!(router.told.young.len() <= max && router.told.old.len() <= max);
                if tells {
                    told.push(it);
                }
            }
        }
    }
}
