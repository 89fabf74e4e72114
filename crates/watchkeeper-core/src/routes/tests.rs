mod silences;

use std::{collections::BTreeMap, sync::Arc};

use jiff::{SignedDuration, Timestamp};
use proptest::{collection::vec, prelude::*};

use super::{Grouping, Route, Router, Routes, memory::Memory};
use crate::{
    Annotations, Finding, Fingerprint, Glob, Matcher, Period, Severity, Silences, Status,
    finding::sample, matcher::SeverityMatch, silences::Silence,
};

fn finding(secs: i64, subject: u64, severity: Severity, status: Status) -> Finding {
    let at = Timestamp::UNIX_EPOCH + SignedDuration::from_secs(secs);
    Finding { fingerprint: Fingerprint::from(subject), status, ..sample(at, severity) }
}

fn route(matcher: Matcher, sinks: &[&str]) -> Route {
    Route::new("test", matcher, sinks.iter().map(|&it| it.to_owned()).collect())
}

/// Returns the sinks that receive a finding at once.
fn sinks(router: &mut Router, finding: &Finding) -> Vec<usize> {
    let routed = router.route(finding);
    routed.iter().flat_map(|routed| routed.sinks.keys().copied()).collect()
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
    assert_eq!(sinks(&mut router, &by("streak", 1, Status::Open)), [0]);
    // Another detector replaces the finding.
    assert_eq!(sinks(&mut router, &by("error", 2, Status::Open)), [1]);
    assert_eq!(sinks(&mut router, &by("error", 3, Status::Resolved)), [0, 1]);
    assert!(sinks(&mut router, &by("error", 4, Status::Resolved)).is_empty());
}

#[test]
fn all_matching_routes_apply_and_each_sink_occurs_once() {
    let high =
        Matcher { severity: Some(SeverityMatch::AtLeast(Severity::High)), ..Matcher::default() };
    let routes = vec![route(high, &["2", "0", "gone"]), route(Matcher::default(), &["1", "0"])];
    let mut router = Router::new(routes, &ids(3));
    let mut check = |severity| sinks(&mut router, &finding(0, 1, severity, Status::Open));
    assert_eq!(check(Severity::High), [0, 1, 2]);
    assert_eq!(check(Severity::Medium), [0, 1]);
}

#[test]
fn a_cooldown_suppresses_repeats_but_no_higher_severity() {
    let cooldown = Some(Period::from_secs(60));
    let mut router =
        Router::new(vec![Route { cooldown, ..route(Matcher::default(), &["0"]) }], &ids(1));
    let mut check = |secs, subject, severity| {
        !sinks(&mut router, &finding(secs, subject, severity, Status::Open)).is_empty()
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
        let routed = router.route(&finding(secs, 1, severity, status));
        let sinks = routed.into_iter().flat_map(|routed| routed.sinks);
        sinks.map(|(sink_idx, sending)| (sink_idx, sending.n_suppressed)).collect()
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
    let high =
        || Matcher { severity: Some(SeverityMatch::Only(Severity::High)), ..Matcher::default() };
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
        |subject, severity, status| sinks(&mut router, &finding(0, subject, severity, status));
    assert_eq!(check(1, Severity::High, Status::Open), [0, 1, 3]);
    assert_eq!(check(2, Severity::Medium, Status::Open), [3]);
    assert_eq!(check(1, Severity::Low, Status::Resolved), [0, 2]);
    assert_eq!(check(1, Severity::Low, Status::Resolved), [2]);
    assert_eq!(check(2, Severity::Low, Status::Resolved), [2]);
}

#[test]
fn a_fallback_sends_findings_that_match_no_other_route() {
    let high =
        || Matcher { severity: Some(SeverityMatch::Only(Severity::High)), ..Matcher::default() };
    let fallback =
        Route { is_fallback: true, send_resolved: true, ..route(Matcher::default(), &["0"]) };
    let mut router = Router::new(vec![fallback, route(high(), &["1"])], &ids(2));
    let mut check =
        |subject, severity, status| sinks(&mut router, &finding(0, subject, severity, status));
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
        sinks(router, &finding(secs, subject, Severity::High, status))
    };
    assert_eq!(route(&mut router, 0, 1, Status::Open), [0]);
    let until = Timestamp::UNIX_EPOCH + SignedDuration::from_secs(10);
    let all = Silence::new("all", Matcher::default(), until, "me", "a test");
    router.set_silences(Silences::new(vec![all]));
    assert!(route(&mut router, 9, 2, Status::Open).is_empty());
    assert_eq!(route(&mut router, 9, 1, Status::Resolved), [0, 1]);
    assert!(route(&mut router, 9, 2, Status::Resolved).is_empty());
    assert_eq!(route(&mut router, 10, 3, Status::Open), [0]);
    assert_eq!(router.n_silenced(), 1);
    assert_eq!(router.next_wakeup(), Some(until));
    assert!(router.advance(until).is_empty());
}

#[test]
fn a_finding_of_an_earlier_process_ends_although_a_silence_or_a_wait_began_since() {
    let sends_ends = |sink| Route { send_resolved: true, ..route(Matcher::default(), &[sink]) };
    let routes = vec![
        sends_ends("0"),
        Route { open_for: Some(Period::from_secs(60)), ..sends_ends("1") },
        Route { is_fallback: true, ..sends_ends("2") },
    ];
    let until = Timestamp::UNIX_EPOCH + SignedDuration::from_secs(1_000);
    let all = Silence::new("all", Matcher::default(), until, "me", "a test");
    let silences = Silences::new(vec![all]);
    let [open, end] = [Status::Open, Status::Resolved].map(|it| finding(0, 1, Severity::High, it));
    for (received, expected) in
        [(&[0, 1, 2][..], &[0, 1][..]), (&[0], &[0]), (&[1], &[1]), (&[2], &[]), (&[], &[])]
    {
        let mut router = Router::new(Routes::new(routes.clone(), silences.clone()), &ids(3));
        router.remember(&open, |sink_idx| Some(received.contains(&sink_idx)));
        assert_eq!(sinks(&mut router, &end), expected, "received by {received:?}");
    }
}

#[test]
fn a_route_goes_on_waiting_until_all_its_sinks_have_received_the_finding() {
    let mut router = Router::new(
        vec![Route {
            open_for: Some(Period::from_secs(60)),
            ..route(Matcher::default(), &["0", "1", "2"])
        }],
        &ids(3),
    );
    let open = finding(0, 1, Severity::High, Status::Open);
    let due = Timestamp::UNIX_EPOCH + SignedDuration::from_secs(60);
    assert!(router.route(&open).is_empty());
    router.remember(&open, |sink_idx| [Some(true), Some(false), None][sink_idx]);
    assert_eq!(router.next_wakeup(), Some(due));
    router.remember(&open, |sink_idx| [Some(true), Some(true), None][sink_idx]);
    assert_eq!(router.next_wakeup(), None);
}

/// A router with a route that waits a minute, and one to sink 1 that does not.
fn patient_router() -> Router {
    let patient = Route {
        open_for: Some(Period::from_secs(60)),
        send_resolved: true,
        ..route(Matcher::default(), &["0"])
    };
    let high =
        Matcher { severity: Some(SeverityMatch::AtLeast(Severity::High)), ..Matcher::default() };
    Router::new(vec![patient, route(high, &["1"])], &ids(2))
}

/// Routes findings, `None` for a call of `advance`. Returns the time, severity and status of each
/// delivery, and its sinks.
fn deliveries(
    router: &mut Router,
    steps: &[(i64, Option<(Severity, Status)>)],
) -> Vec<(i64, Severity, Status, Vec<usize>)> {
    let routed = steps.iter().flat_map(|(secs, step)| match step {
        Some((severity, status)) => router.route(&finding(*secs, 1, *severity, *status)),
        None => router.advance(Timestamp::UNIX_EPOCH + SignedDuration::from_secs(*secs)),
    });
    let described = |routed: super::Routed| {
        let Finding { at, severity, status, .. } = routed.finding;
        (at.as_second(), severity, status, routed.sinks.into_keys().collect())
    };
    routed.map(described).collect()
}

const OPEN: Option<(Severity, Status)> = Some((Severity::Medium, Status::Open));
const RISE: Option<(Severity, Status)> = Some((Severity::High, Status::Open));
const END: Option<(Severity, Status)> = Some((Severity::Low, Status::Resolved));

#[test]
fn nobody_is_told_of_an_episode_that_ends_within_the_time_of_the_route() {
    let mut router = patient_router();
    assert_eq!(deliveries(&mut router, &[(0, OPEN), (59, None), (59, END), (99, None)]), []);
    assert_eq!(router.next_wakeup(), None);
}

#[test]
fn the_wait_of_a_recalled_finding_begins_when_it_opened() {
    let mut router = patient_router();
    router.recall(&finding(0, 1, Severity::Medium, Status::Open));
    router.recall(&finding(20, 1, Severity::High, Status::Open));
    let high = |sink_idx| (50, Severity::High, Status::Open, vec![sink_idx]);
    let sent = deliveries(&mut router, &[(50, RISE), (59, None), (60, None)]);
    assert_eq!(sent, [high(1), high(0)]);
    // The episode was sent, so that no other wait begins.
    router.recall(&finding(70, 1, Severity::High, Status::Open));
    assert_eq!(router.next_wakeup(), None);
}

#[test]
fn a_finding_that_lasts_is_sent_and_so_are_its_rises_and_its_end() {
    let (open, resolved) = (Status::Open, Status::Resolved);
    let mut router = patient_router();
    let sent = deliveries(&mut router, &[(0, OPEN), (60, None), (61, RISE), (62, END)]);
    assert_eq!(
        sent,
        [
            (0, Severity::Medium, open, vec![0]),
            (61, Severity::High, open, vec![0, 1]),
            (62, Severity::Low, resolved, vec![0])
        ]
    );
    // The next episode waits again.
    assert_eq!(deliveries(&mut router, &[(63, OPEN), (64, END), (999, None)]), []);
}

#[test]
fn a_wait_ends_before_a_later_end_of_the_episode_that_is_read_first() {
    let sent = deliveries(&mut patient_router(), &[(0, OPEN), (60, END), (60, None)]);
    let (open, resolved) = (Status::Open, Status::Resolved);
    let expected = [(0, Severity::Medium, open, vec![0]), (60, Severity::Low, resolved, vec![0])];
    assert_eq!(sent, expected);
}

#[test]
fn the_wait_continues_while_the_severity_rises() {
    let sent = deliveries(&mut patient_router(), &[(0, OPEN), (59, RISE), (60, None)]);
    let open = Status::Open;
    let expected = [(59, Severity::High, open, vec![1]), (59, Severity::High, open, vec![0])];
    assert_eq!(sent, expected);
}

#[test]
fn a_sink_receives_a_finding_through_one_route() {
    let with = |secs| Route {
        open_for: Some(Period::from_secs(secs)),
        ..route(Matcher::default(), &["0"])
    };
    let mut router = Router::new(vec![with(10), with(20)], &ids(1));
    assert_eq!(deliveries(&mut router, &[(0, OPEN), (99, None)]).len(), 1);
    let mut router = Router::new(vec![with(10), route(Matcher::default(), &["0"])], &ids(1));
    assert_eq!(deliveries(&mut router, &[(0, OPEN), (99, None)]).len(), 1);
}

#[test]
fn a_finding_that_stops_matching_does_not_wait_any_longer() {
    let medium =
        Matcher { severity: Some(SeverityMatch::Only(Severity::Medium)), ..Matcher::default() };
    let patient = Route { open_for: Some(Period::from_secs(60)), ..route(medium, &["0"]) };
    let mut router = Router::new(vec![patient], &ids(1));
    assert_eq!(deliveries(&mut router, &[(0, OPEN), (30, RISE), (99, None)]), []);
}

#[test]
fn an_adjustment_of_the_wall_clock_moves_the_end_of_a_wait() {
    let mut router = patient_router();
    assert_eq!(deliveries(&mut router, &[(0, OPEN)]), []);
    router.adjust(SignedDuration::from_secs(3600));
    assert_eq!(deliveries(&mut router, &[(3659, None)]), []);
    assert_eq!(deliveries(&mut router, &[(3660, None)]).len(), 1);
}

#[test]
fn findings_are_sent_early_rather_than_forgotten() {
    let mut router = patient_router();
    let mut n_sent = 0;
    for subject in 0..20_000 {
        n_sent += router.route(&finding(0, subject, Severity::Low, Status::Open)).len();
    }
    assert_eq!(n_sent, 20_000 - (1 << 14));
    let end = Timestamp::UNIX_EPOCH + SignedDuration::from_secs(60);
    assert_eq!(router.advance(end).len(), 1 << 14);
}

#[test]
fn findings_that_agree_in_the_fields_of_a_route_are_one_group() {
    let grouped = |wait, by: &[&str]| {
        let mut grouping = Grouping::new(Period::from_secs(wait));
        grouping.by = by.iter().map(|name| name.parse().unwrap()).collect();
        Route { grouping: Some(grouping), ..route(Matcher::default(), &["0"]) }
    };
    let group = |router: &mut Router, detector: &str, team: &str| {
        let mut finding = finding(0, 1, Severity::High, Status::Open);
        finding.detector = detector.into();
        finding.labels = Arc::new(BTreeMap::from([("team".to_owned(), team.to_owned())]));
        router.route(&finding)[0].sinks[&0].group
    };
    let mut router = Router::new(vec![grouped(10, &["detector", "label:team"])], &ids(1));
    let first = group(&mut router, "a", "x");
    assert_eq!(first.map(|it| it.wait.as_secs()), Some(10));
    assert_eq!(group(&mut router, "a", "x"), first);
    assert_ne!(group(&mut router, "b", "x"), first);
    assert_ne!(group(&mut router, "a", "y"), first);
    // A second route to the same sink: the shorter wait, or none.
    let mut router = Router::new(vec![grouped(10, &[]), grouped(5, &[])], &ids(1));
    let shorter = group(&mut router, "a", "x");
    assert_eq!(shorter.map(|it| it.wait.as_secs()), Some(5));
    let at_once = route(Matcher::default(), &["0"]);
    let mut router = Router::new(vec![grouped(10, &[]), at_once], &ids(1));
    assert_eq!(group(&mut router, "a", "x"), None);
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
            let sends = !sinks(&mut router, &finding).is_empty();
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

#[test]
fn a_router_continues_for_routes_that_stay() {
    let of =
        |severity| Matcher { severity: Some(SeverityMatch::Only(severity)), ..Matcher::default() };
    let names = |names: &[&str]| names.iter().map(|&it| it.to_owned()).collect::<Vec<_>>();
    let minute = Some(Period::from_secs(60));
    let calm = route(of(Severity::High), &["a"]);
    let calm = Route { cooldown: minute, send_resolved: true, ..calm };
    let patient = Route { open_for: minute, ..route(of(Severity::Low), &["b"]) };
    let mut router = Router::new(vec![calm.clone(), patient.clone()], &names(&["a", "b"]));
    let high = |secs, status| finding(secs, 1, Severity::High, status);
    assert_eq!(sinks(&mut router, &high(0, Status::Open)), [0]);
    assert!(sinks(&mut router, &finding(0, 2, Severity::Low, Status::Open)).is_empty());
    // Other indexes of routes and sinks, and another cooldown.
    let longer = Route { cooldown: Some(Period::from_secs(90)), ..calm };
    let routes = vec![route(Matcher::default(), &["c"]), patient, longer];
    let mut next = Router::new(routes, &names(&["c", "b", "a"]));
    next.continue_from(router, Timestamp::UNIX_EPOCH, |old_sink| [Some(2), Some(1)][old_sink]);
    let due = next.advance(high(60, Status::Open).at);
    let due: Vec<Vec<usize>> = due.into_iter().map(|it| it.sinks.into_keys().collect()).collect();
    assert_eq!(due, [[1]]);
    assert_eq!(sinks(&mut next, &high(80, Status::Open)), [0]);
    assert_eq!(sinks(&mut next, &high(81, Status::Resolved)), [2]);
    // Routes that are gone send no end.
    assert_eq!(sinks(&mut next, &high(100, Status::Open)), [0, 2]);
    let other = Route::new("other", of(Severity::High), names(&["d"]));
    let mut without = Router::new(vec![other], &names(&["d"]));
    without.continue_from(next, Timestamp::UNIX_EPOCH, |_| None);
    assert!(sinks(&mut without, &high(101, Status::Resolved)).is_empty());
    assert_eq!((without.next_wakeup(), without.n_suppressed()), (None, 1));
}

#[test]
fn a_changed_wait_of_a_route_applies_to_findings_that_wait() {
    let waits = |secs: Option<u32>| {
        let open_for = secs.map(Period::from_secs);
        Router::new(vec![Route { open_for, ..route(Matcher::default(), &["0"]) }], &ids(1))
    };
    let at = |secs| finding(secs, 1, Severity::Low, Status::Open).at;
    let mut router = waits(Some(60));
    assert!(sinks(&mut router, &finding(0, 1, Severity::Low, Status::Open)).is_empty());
    // Longer and shorter, and over already.
    for (open_for, now, due) in [(Some(90), 10, 90), (Some(30), 20, 30), (Some(5), 25, 25)] {
        let mut next = waits(open_for);
        next.continue_from(router, at(now), Some);
        assert_eq!(next.next_wakeup(), Some(at(due)));
        router = next;
    }
    let tags = ["new".parse().expect("it is a tag")];
    let annotations = Arc::new(Annotations { tags: tags.into(), ..Annotations::default() });
    router.refresh_waiting(|_| Some(annotations.clone()));
    let mut next = waits(None);
    next.continue_from(router, at(26), Some);
    let [due] = &next.advance(at(26))[..] else { panic!("one finding is due") };
    assert_eq!(due.finding.annotations, annotations);
}

#[test]
fn a_route_that_returns_continues_for_findings_that_are_still_open() {
    let of = |severity, sink: &str| {
        let only = Some(SeverityMatch::Only(severity));
        route(Matcher { severity: only, ..Matcher::default() }, &[sink])
    };
    let minute = Some(Period::from_secs(60));
    let routes = || {
        let patient = Route { open_for: minute, ..of(Severity::Low, "0") };
        vec![patient, Route { send_resolved: true, ..of(Severity::High, "1") }]
    };
    let with = |routes: Vec<Route>, old: Option<Router>| {
        let mut router = Router::new(routes, &ids(2));
        if let Some(old) = old {
            router.continue_from(old, Timestamp::UNIX_EPOCH, Some);
        }
        router
    };
    let mut router = with(routes(), None);
    for subject in 1..=2 {
        assert!(sinks(&mut router, &finding(0, subject, Severity::Low, Status::Open)).is_empty());
    }
    for subject in 3..=4 {
        assert_eq!(sinks(&mut router, &finding(0, subject, Severity::High, Status::Open)), [1]);
    }
    let mut router = with(Vec::new(), Some(router));
    // Nothing is due, and two episodes end meanwhile.
    assert_eq!(
        (
            router.next_wakeup(),
            router.advance(finding(90, 0, Severity::Low, Status::Open).at).len()
        ),
        (None, 0)
    );
    for subject in [2, 4] {
        let end = finding(90, subject, Severity::Low, Status::Resolved);
        assert!(sinks(&mut router, &end).is_empty());
    }
    let added = Route::new("added", Matcher::default(), vec!["0".to_owned()]);
    let routes = routes().into_iter().chain([added]).collect();
    let mut router = with(routes, Some(router));
    let due = router.advance(finding(100, 0, Severity::Low, Status::Open).at);
    let due: Vec<u64> = due.iter().map(|routed| routed.finding.fingerprint.get()).collect();
    assert_eq!(due, [1]);
    assert_eq!(sinks(&mut router, &finding(101, 3, Severity::Low, Status::Resolved)), [1]);
    assert!(sinks(&mut router, &finding(101, 4, Severity::Low, Status::Resolved)).is_empty());
}

#[test]
fn groups_of_two_routes_stay_apart_when_one_is_removed() {
    let grouped = |name: &str| Route {
        grouping: Some(Grouping::new(Period::from_secs(10))),
        ..Route::new(name, Matcher::default(), ids(1))
    };
    let of = |detector: &str, route: Route| Route {
        matcher: Matcher { detector: vec![Glob::new(detector)], ..Matcher::default() },
        ..route
    };
    let (one, two) = (of("one", grouped("a")), of("two", grouped("b")));
    let group = |router: &mut Router, detector: &str, subject| {
        let finding = finding(0, subject, Severity::Low, Status::Open);
        let routed = router.route(&Finding { detector: detector.into(), ..finding });
        routed[0].sinks[&0].group
    };
    let mut router = Router::new(vec![one.clone(), two.clone()], &ids(1));
    let groups = [group(&mut router, "one", 1), group(&mut router, "two", 2)];
    let mut next = Router::new(vec![two], &ids(1));
    next.continue_from(router, Timestamp::UNIX_EPOCH, Some);
    assert_ne!(groups[0], groups[1]);
    assert_eq!(group(&mut next, "two", 3), groups[1]);
}
