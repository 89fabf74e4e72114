//! Skipped events change no finding.

use jiff::SignedDuration;
use proptest::prelude::*;

use super::{
    ALL, NamedDetector, Sort, advance, message, named, observe, render, run_in, steps, time,
};
use crate::{
    Context, Detector, Engine, Event, EventKind, EventSet, Fingerprint, Json, Report, Subscription,
    ToolCall, ToolResult, embed::EngineConfig,
};

/// Reports that an agent has been inactive, from the facts alone.
#[derive(Clone, Debug)]
struct Inactive {
    is_timer_only: bool,
}

impl Inactive {
    const LONG: SignedDuration = SignedDuration::from_secs(9);

    fn named(is_timer_only: bool) -> NamedDetector {
        let detector = Box::new(Self { is_timer_only });
        NamedDetector { id: "inactive".into(), detector, ..named(Sort::Silence) }
    }

    fn wait(cx: &mut Context<'_>) {
        let Some(activity) = cx.agent().activity() else { return };
        let left = Self::LONG - cx.time_since(activity.at());
        if left.is_positive() { cx.wake_after(left) } else { cx.cancel_wake() }
    }
}

impl Detector for Inactive {
    fn observe(&mut self, _: &Event, cx: &mut Context<'_>) {
        cx.resolve(Fingerprint::NONE, || Report::new("over"));
        Self::wait(cx);
    }

    fn wake(&mut self, cx: &mut Context<'_>) {
        if cx.agent().activity().is_some_and(|it| Self::LONG <= cx.time_since(it.at())) {
            cx.report(Fingerprint::NONE, 2, || Report::new("inactive"));
        }
        Self::wait(cx);
    }

    fn is_idle(&self) -> bool {
        true
    }

    fn subscription(&self) -> Subscription {
        Subscription { is_timer_only: self.is_timer_only, ..Subscription::default() }
    }
}

/// Counts the events of a turn from the first start event on.
#[derive(Clone, Debug)]
struct Since {
    start_event: EventSet,
    n: u64,
}

impl Since {
    fn named(id: usize, start_event: &str) -> NamedDetector {
        let detector = Box::new(Self { start_event: EventSet::of(&[start_event]), n: 0 });
        NamedDetector { id: format!("since-{id:02}").into(), detector, ..named(Sort::Silence) }
    }
}

impl Detector for Since {
    fn observe(&mut self, event: &Event, cx: &mut Context<'_>) {
        if matches!(event.kind, EventKind::TurnEnd) {
            cx.resolve(Fingerprint::NONE, || Report::new("over"));
            self.n = 0;
        } else if 0 < self.n || self.start_event.contains(&event.kind) {
            self.n += 1;
            cx.report(Fingerprint::NONE, self.n, || Report::new("since"));
        }
    }

    fn subscription(&self) -> Subscription {
        Subscription::default().starting_with(self.start_event)
    }

    fn is_idle(&self) -> bool {
        self.n == 0
    }
}

/// Reports each result that it receives.
#[derive(Clone, Debug)]
struct WithoutNewText;

impl Detector for WithoutNewText {
    fn observe(&mut self, event: &Event, cx: &mut Context<'_>) {
        if let EventKind::ToolResult(result) = &event.kind {
            cx.report(Fingerprint::of(&*result.id), 2, || Report::new("received"));
        }
    }

    fn subscription(&self) -> Subscription {
        Subscription::default()
            .starting_with(EventSet::RESULTS_WITHOUT_NEW_TEXT)
            .with_contributions()
    }

    fn is_idle(&self) -> bool {
        true
    }
}

proptest! {
    #[test]
    fn a_timer_only_detector_finds_the_same(
        steps in steps(prop_oneof![4 => Just(0_i64), 1 => 0_i64..20]),
        sorts in proptest::sample::subsequence(ALL.to_vec(), 0..=ALL.len()),
        n_before in prop_oneof![Just(0), Just(40)],
    ) {
        let run = |is_timer_only| {
            let before = |id| {
                NamedDetector { id: format!("before-{id}").into(), ..Since::named(id, "error") }
            };
            let mut detectors: Vec<_> = (0..n_before).map(before).collect();
            detectors.extend(sorts.iter().copied().map(named));
            detectors.push(Inactive::named(is_timer_only));
            run_in(Engine::new(detectors, EngineConfig::default()), &steps)
        };
        prop_assert_eq!(render(&run(true)), render(&run(false)));
    }

    #[test]
    fn each_of_40_detectors_finds_the_same_alone(steps in steps(Just(0))) {
        let start_events = ["prompt", "message", "error", "compaction"];
        let all = (0..40).map(|id| Since::named(id, start_events[id % start_events.len()]));
        let run = |detectors| run_in(Engine::new(detectors, EngineConfig::default()), &steps);
        let together = run(all.clone().collect());
        for detector in all {
            let id = detector.id.clone();
            let own: Vec<_> = together.iter().filter(|it| it.detector == id).cloned().collect();
            prop_assert_eq!(render(&own), render(&run(vec![detector])));
        }
    }
}

#[test]
fn a_postponed_wake_up_of_a_timer_only_detector_is_on_time() {
    let mut engine = Engine::new(vec![Inactive::named(true)], EngineConfig::default());
    observe(&mut engine, 0, "s", message());
    observe(&mut engine, 8, "s", message());
    observe(&mut engine, 9, "overdue", message());
    observe(&mut engine, 19, "s", message());
    // Its wake-up at 9 requests the next one, at 28.
    engine.postpone(time(20), SignedDuration::from_secs(1000));
    assert_eq!(render(&advance(&mut engine, 1027)), ["18s overdue inactive low 2"]);
    assert_eq!(render(&advance(&mut engine, 1100)), ["1028s s inactive low 2"]);
}

#[test]
fn a_spurious_wake_up_of_a_timer_only_detector_leaves_the_time_unchanged() {
    let mut engine = Engine::new(vec![Inactive::named(true)], EngineConfig::default());
    observe(&mut engine, 0, "s", message());
    observe(&mut engine, 4, "s", message());
    // The wake-up at 9 is 4 seconds early.
    assert_eq!(render(&advance(&mut engine, 9)), [""; 0]);
    observe(&mut engine, 8, "s", message());
    assert_eq!(render(&advance(&mut engine, 30)), ["17s s inactive low 2"]);
}

#[test]
fn a_detector_can_skip_results_with_new_text() {
    let detector = Box::new(WithoutNewText);
    let detector =
        NamedDetector { id: "without-new-text".into(), detector, ..named(Sort::Silence) };
    let mut engine = Engine::new(vec![detector], EngineConfig::default());
    let page = |n: u64| format!("let anchor = harbor.keel({n});\n").repeat(3);
    let results = [
        (true, page(1)),
        (true, page(2)),
        (true, page(1)),
        (false, page(3)),
        (true, "error: cannot find `keel`\n".repeat(3)),
        (true, "ok".to_owned()),
        (true, page(4)),
    ];
    let n_findings = results.into_iter().zip(0_u64..).map(|((ok, output), n)| {
        let arguments = Json::parse_or_text(&format!(r#"{{"command": "make {n}"}}"#));
        let call = ToolCall::new(n.to_string(), "Bash", arguments);
        observe(&mut engine, 0, "s", EventKind::ToolCall(call));
        let result = ToolResult::new(n.to_string(), ok, Some(output.into()));
        observe(&mut engine, 0, "s", EventKind::ToolResult(result)).len()
    });
    assert_eq!(n_findings.collect::<Vec<_>>(), [0, 0, 1, 1, 1, 1, 0]);
}
