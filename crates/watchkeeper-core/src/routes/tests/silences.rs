use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use proptest::{collection::vec, prelude::*};

use super::{END, OPEN, RISE, deliveries, finding, ids, patient_router, route};
use crate::{
    Finding, Fingerprint, Matcher, Period, Severity, Silences, Status,
    matcher::SeverityMatch,
    routes::{Grouping, Route, Routed, Router, Routes},
    silences::Silence,
};

fn at(secs: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH + SignedDuration::from_secs(secs)
}

fn silence(matcher: Matcher, until: i64) -> Silences {
    Silences::new(vec![Silence::new("a", matcher, at(until), "me", "a test")])
}

fn all_until(secs: i64) -> Silences {
    silence(Matcher::default(), secs)
}

fn only(severity: Severity) -> Matcher {
    Matcher { severity: Some(SeverityMatch::Only(severity)), ..Matcher::default() }
}

/// A router with a route to sink 0 that sends ends.
fn router(silences: Silences) -> Router {
    let route = Route { send_resolved: true, ..route(Matcher::default(), &["0"]) };
    Router::new(Routes::new(vec![route], silences), &ids(1))
}

#[test]
fn a_finding_that_is_open_at_the_end_of_a_silence_is_sent_once() {
    let mut router = router(all_until(100));
    assert_eq!(deliveries(&mut router, &[(10, OPEN), (20, RISE), (99, None)]), []);
    assert_eq!(router.next_wakeup(), Some(at(100)));
    let sent = deliveries(&mut router, &[(100, None), (200, None), (201, END)]);
    let (open, resolved) = (Status::Open, Status::Resolved);
    assert_eq!(
        sent,
        [(20, Severity::High, open, vec![0]), (201, Severity::Low, resolved, vec![0])]
    );
    assert_eq!(router.next_wakeup(), None);
}

#[test]
fn a_finding_that_ends_during_a_silence_is_never_sent() {
    // The end has another severity than the silence.
    let ends = Matcher { status: Some(Status::Resolved), ..Matcher::default() };
    let follows = Route { send_resolved: true, ..route(Matcher::default(), &["0"]) };
    let routes = vec![follows, route(ends, &["0"])];
    let silences = silence(only(Severity::Medium), 100);
    let mut router = Router::new(Routes::new(routes, silences), &ids(1));
    assert_eq!(deliveries(&mut router, &[(10, OPEN), (20, END), (100, None)]), []);
}

#[test]
fn a_finding_that_escalates_beyond_a_silence_is_sent_with_its_new_severity() {
    let mut router = router(silence(only(Severity::Medium), 100));
    let sent = deliveries(&mut router, &[(10, OPEN), (20, RISE), (100, None)]);
    assert_eq!(sent, [(20, Severity::High, Status::Open, vec![0])]);
}

#[test]
fn a_removed_silence_releases_its_findings() {
    let mut router = router(all_until(100));
    assert_eq!(deliveries(&mut router, &[(10, OPEN)]), []);
    // A finding that a later silence matches, too, waits for that one.
    router.set_silences(all_until(200));
    assert_eq!(deliveries(&mut router, &[(150, None)]), []);
    router.set_silences(Silences::default());
    assert_eq!(deliveries(&mut router, &[(160, None)]).len(), 1);
    assert_eq!(deliveries(&mut router, &[(999, None)]), []);
}

#[test]
fn a_changed_policy_sends_what_its_silences_no_longer_hide() {
    let mut old = router(all_until(100));
    assert_eq!(deliveries(&mut old, &[(10, OPEN)]), []);
    let mut same = router(all_until(100));
    same.continue_from(old, at(20), Some);
    assert_eq!(deliveries(&mut same, &[(20, None)]), []);
    let mut without = router(Silences::default());
    without.continue_from(same, at(30), Some);
    assert_eq!(deliveries(&mut without, &[(30, None)]).len(), 1);
}

#[test]
fn a_finding_opens_for_a_route_when_its_silence_ends() {
    let cooldown = Some(Period::from_secs(60));
    let grouping = Some(Grouping::new(Period::from_secs(5)));
    let calm = Route { cooldown, grouping, ..route(only(Severity::Medium), &["0"]) };
    let patient = Route { open_for: Some(Period::from_secs(30)), ..calm.clone() };
    let rest = Route { is_fallback: true, ..route(Matcher::default(), &["2"]) };
    let routes = vec![calm, Route { sinks: vec!["1".to_owned()], ..patient }, rest];
    let mut router = Router::new(routes, &ids(3));
    let sent = deliveries(&mut router, &[(0, OPEN), (1, END)]);
    assert_eq!(sent, [(0, Severity::Medium, Status::Open, vec![0])]);
    // Within the cooldown, which ends before the silence.
    router.set_silences(all_until(100));
    assert!(router.route(&finding(50, 1, Severity::Medium, Status::Open)).is_empty());
    let [routed] = &router.advance(at(100))[..] else { panic!("one delivery at the end") };
    assert_eq!(routed.sinks.keys().collect::<Vec<_>>(), [&0]);
    assert!(routed.sinks[&0].group.is_some());
    assert_eq!(deliveries(&mut router, &[(129, None)]), []);
    let sent = deliveries(&mut router, &[(130, None)]);
    assert_eq!(sent, [(50, Severity::Medium, Status::Open, vec![1])]);
}

#[test]
fn a_finding_that_waits_for_a_route_waits_for_the_end_of_a_silence_too() {
    let mut router = patient_router();
    assert_eq!(deliveries(&mut router, &[(0, OPEN)]), []);
    router.set_silences(all_until(100));
    assert_eq!(deliveries(&mut router, &[(60, None), (99, None)]), []);
    assert_eq!(router.n_silenced(), 1);
    let sent = deliveries(&mut router, &[(100, None), (101, END)]);
    let (open, resolved) = (Status::Open, Status::Resolved);
    let expected = [(0, Severity::Medium, open, vec![0]), (101, Severity::Low, resolved, vec![0])];
    assert_eq!(sent, expected);
}

#[test]
fn a_finding_that_waits_for_a_route_is_free_when_the_silence_is_removed() {
    let mut router = patient_router();
    assert_eq!(deliveries(&mut router, &[(0, OPEN)]), []);
    router.set_silences(all_until(1_000));
    assert_eq!(deliveries(&mut router, &[(70, None)]), []);
    router.set_silences(all_until(80));
    assert_eq!(deliveries(&mut router, &[(79, None)]), []);
    assert_eq!(deliveries(&mut router, &[(80, None)]).len(), 1);
}

#[test]
fn a_route_does_not_repeat_a_finding_that_an_earlier_process_has_sent_before_the_silence() {
    let sends_ends = |sink| Route {
        send_resolved: true,
        cooldown: Some(Period::from_secs(1_000)),
        ..route(Matcher::default(), &[sink])
    };
    let routes = Routes::new(vec![sends_ends("0"), sends_ends("1")], all_until(100));
    let mut router = Router::new(routes, &ids(2));
    let open = finding(10, 1, Severity::High, Status::Open);
    assert!(router.route(&open).is_empty());
    router.remember(&open, |sink_idx| Some(sink_idx == 0));
    let sent = deliveries(&mut router, &[(100, None), (101, END)]);
    let (open, resolved) = (Status::Open, Status::Resolved);
    let expected =
        [(10, Severity::High, open, vec![1]), (101, Severity::Low, resolved, vec![0, 1])];
    assert_eq!(sent, expected);
    assert_eq!(router.n_suppressed(), 0);
}

#[test]
fn of_very_many_silenced_findings_the_oldest_are_dropped_and_counted() {
    let mut router = router(all_until(100));
    for subject in 0..(1 << 14) + 2 {
        assert!(router.route(&finding(10, subject, Severity::Low, Status::Open)).is_empty());
    }
    let released = router.advance(at(100));
    let first = released.first().map(|routed| routed.finding.fingerprint);
    assert_eq!((released.len(), first), (1 << 14, Some(Fingerprint::from(2))));
    assert_eq!(router.n_dropped(), 2);
}

#[test]
fn receivers_of_all_findings_receive_what_is_open_when_a_silence_ends() {
    let mut router = Router::new(Vec::new(), &[]);
    let of = |subject, secs, status| finding(secs, subject, Severity::Low, status);
    let shown = |routed: Vec<Routed>| routed.iter().any(|routed| routed.is_for_observers);
    assert!(shown(router.route_for_all(&of(1, 0, Status::Open))));
    router.set_silences(all_until(60));
    // An escalation, an episode within the silence, and one that goes on.
    for (subject, secs) in [(1, 1), (2, 1), (3, 1)] {
        assert!(!shown(router.route_for_all(&of(subject, secs, Status::Open))));
    }
    assert!(!shown(router.route_for_all(&of(2, 2, Status::Resolved))));
    assert!(shown(router.route_for_all(&of(1, 2, Status::Resolved))));
    let released = router.advance_for_all(at(60));
    assert_eq!(released.len(), 1);
    assert!(shown(released));
    assert!(shown(router.route_for_all(&of(3, 61, Status::Resolved))));
    // The end of an episode from before the start.
    assert!(shown(router.route_for_all(&of(5, 62, Status::Resolved))));
}

/// A step of the property test, after a pause.
#[derive(Clone, Debug)]
enum Step {
    Open {
        subject: u64,
        severity: Severity,
    },
    End {
        subject: u64,
        /// The router receives no time before.
        is_lazy: bool,
    },
    /// The severities that are silenced, each for a time from now on.
    Silence(Vec<(Severity, i64)>),
    Advance,
}

fn step() -> impl Strategy<Value = Step> {
    let severity = || prop::sample::select(&Severity::ALL[..]);
    prop_oneof![
        4 => (0_u64..3, severity()).prop_map(|(subject, severity)| Step::Open { subject, severity }),
        2 => (0_u64..3, any::<bool>()).prop_map(|(subject, is_lazy)| Step::End { subject, is_lazy }),
        2 => vec((severity(), 0_i64..60), 0..3).prop_map(Step::Silence),
        1 => Just(Step::Advance),
    ]
}

/// The time and severity of a sent finding; no severity for an end.
type SentAt = (i64, Option<Severity>);

/// An episode as the naive router sees it, second by second.
#[derive(Default)]
struct NaiveEpisode {
    /// The time and severity of the latest finding.
    latest: Option<(i64, Severity)>,
    /// The latest finding has not passed the silences.
    is_hidden: bool,
    /// A finding of the episode has passed the silences.
    has_passed: bool,
    /// The beginning of the wait for the route.
    waits_since: Option<i64>,
    /// A silence has hidden the finding at the end of its wait.
    is_late: bool,
    /// The route has sent a finding of the episode.
    is_sent: bool,
}

/// Decides each second about all findings.
struct Naive {
    open_for: Option<i64>,
    cooldown: Option<i64>,
    silences: Vec<(Severity, i64)>,
    episodes: BTreeMap<u64, NaiveEpisode>,
    /// The time and the severity of the last finding that the route sent.
    last: BTreeMap<u64, (i64, Severity)>,
    sent: BTreeMap<u64, Vec<SentAt>>,
    /// The findings for receivers of all findings.
    observed: BTreeMap<u64, Vec<SentAt>>,
}

impl Naive {
    fn second(&mut self, now: i64) {
        for (subject, episode) in &mut self.episodes {
            let Some((since, severity)) = episode.latest else { continue };
            let mut silences = self.silences.iter();
            if silences.any(|(silenced, until)| *silenced == severity && now < *until) {
                let is_due = episode.waits_since.zip(self.open_for);
                episode.is_late |= is_due.is_some_and(|(since, wait)| since + wait <= now);
                continue;
            }
            let is_released = std::mem::take(&mut episode.is_hidden);
            if is_released {
                episode.has_passed = true;
                self.observed.entry(*subject).or_default().push((since, Some(severity)));
            }
            let learned_at = match self.open_for.filter(|_| !episode.is_sent) {
                None if is_released => now,
                None => continue,
                Some(wait) => {
                    if is_released {
                        episode.waits_since.get_or_insert(now);
                    }
                    if episode.waits_since.is_none_or(|since| now < since + wait) {
                        continue;
                    }
                    episode.waits_since = None;
                    if std::mem::take(&mut episode.is_late) { now } else { since }
                }
            };
            let cooldown = self.cooldown.zip(self.last.get(subject));
            let is_suppressed = cooldown.is_some_and(|(cooldown, (at, last))| {
                severity <= *last && (0..cooldown).contains(&(learned_at - at))
            });
            if !is_suppressed {
                episode.is_sent = true;
                self.last.insert(*subject, (learned_at, severity));
                self.sent.entry(*subject).or_default().push((since, Some(severity)));
            }
        }
    }

    fn open(&mut self, subject: u64, now: i64, severity: Severity) {
        let episode = self.episodes.entry(subject).or_default();
        (episode.latest, episode.is_hidden) = (Some((now, severity)), true);
        self.second(now);
    }

    fn end(&mut self, subject: u64, now: i64) {
        let Some(episode) = self.episodes.remove(&subject) else { return };
        if episode.is_sent {
            self.sent.entry(subject).or_default().push((now, None));
        }
        if episode.has_passed {
            self.observed.entry(subject).or_default().push((now, None));
        }
    }
}

proptest! {
    #[test]
    fn agrees_with_a_router_that_decides_each_second(
        steps in vec((1_i64..30, step()), 0..40),
        open_for in prop::option::of(1_i64..60),
        cooldown in prop::option::of(1_i64..120),
    ) {
        let period = |secs: i64| Period::from_secs(u32::try_from(secs).unwrap());
        let follows = Route {
            open_for: open_for.map(period),
            cooldown: cooldown.map(period),
            send_resolved: true,
            ..route(Matcher::default(), &["0"])
        };
        let ends = Matcher { status: Some(Status::Resolved), ..Matcher::default() };
        let mut router = Router::new(vec![follows, route(ends, &["1"])], &ids(2));
        let mut naive = Naive {
            open_for,
            cooldown,
            silences: Vec::new(),
            episodes: BTreeMap::new(),
            last: BTreeMap::new(),
            sent: BTreeMap::new(),
            observed: BTreeMap::new(),
        };
        let mut now = 0;
        let mut routed = Vec::new();
        for (pause, step) in steps.into_iter().chain([(1_000, Step::Advance)]) {
            for _ in 0..pause {
                now += 1;
                naive.second(now);
            }
            if !matches!(step, Step::End { is_lazy: true, .. }) {
                routed.extend(router.advance_for_all(at(now)));
            }
            match step {
                Step::Open { subject, severity } => {
                    naive.open(subject, now, severity);
                    let open = finding(now, subject, severity, Status::Open);
                    routed.extend(router.route_for_all(&open));
                }
                Step::End { subject, .. } => {
                    if naive.episodes.contains_key(&subject) {
                        naive.end(subject, now);
                        let end = finding(now, subject, Severity::Low, Status::Resolved);
                        routed.extend(router.route_for_all(&end));
                    }
                }
                Step::Silence(silenced) => {
                    let silenced = silenced.into_iter().map(|(severity, secs)| (severity, now + secs));
                    naive.silences = silenced.collect();
                    naive.second(now);
                    let silences = naive.silences.iter().map(|(severity, until)| {
                        Silence::new("", only(*severity), at(*until), "me", "a test")
                    });
                    router.set_silences(Silences::new(silences.collect()));
                    routed.extend(router.advance_for_all(at(now)));
                }
                Step::Advance => {}
            }
        }
        let by_subject = |is_chosen: &dyn Fn(&Routed) -> bool| {
            let mut chosen: BTreeMap<u64, Vec<SentAt>> = BTreeMap::new();
            for routed in routed.iter().filter(|routed| is_chosen(routed)) {
                let Finding { fingerprint, at, severity, status, .. } = routed.finding;
                let severity = (status == Status::Open).then_some(severity);
                chosen.entry(fingerprint.get()).or_default().push((at.as_second(), severity));
            }
            chosen
        };
        prop_assert_eq!(by_subject(&|routed| routed.sinks.contains_key(&0)), naive.sent);
        prop_assert_eq!(by_subject(&|routed| routed.is_for_observers), naive.observed.clone());
        let ends: Vec<SentAt> =
            naive.observed.into_values().flatten().filter(|(_, severity)| severity.is_none()).collect();
        let sent: Vec<SentAt> =
            by_subject(&|routed| routed.sinks.contains_key(&1)).into_values().flatten().collect();
        prop_assert_eq!(sent, ends);
    }
}
