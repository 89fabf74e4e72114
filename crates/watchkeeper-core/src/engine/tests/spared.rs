//! Detectors that are spared events find what they would find.

use jiff::SignedDuration;
use proptest::prelude::*;

use super::{
    ALL, NamedDetector, Sort, advance, message, named, observe, run_in, steps, tell, time,
};
use crate::{
    Context, Detector, Engine, EngineConfig, Event, EventKind, EventSet, Fingerprint, Report,
    Subscription,
};

/// Says that an agent was not heard of for a while, by what the engine knows.
#[derive(Clone, Debug)]
struct Quiet {
    sleeps: bool,
}

impl Quiet {
    const LONG: SignedDuration = SignedDuration::from_secs(9);

    fn named(sleeps: bool) -> NamedDetector {
        let detector = Box::new(Self { sleeps });
        NamedDetector { id: "Quiet".into(), detector, ..named(Sort::Silence) }
    }

    fn wait(cx: &mut Context<'_>) {
        let Some(it) = cx.agent().activity() else { return };
        let left = Self::LONG - cx.time_since(it.at());
        if left.is_positive() { cx.wake_after(left) } else { cx.cancel_wake() }
    }
}

impl Detector for Quiet {
    fn observe(&mut self, _: &Event, cx: &mut Context<'_>) {
        cx.resolve(Fingerprint::NONE, || Report::new("over"));
        Self::wait(cx);
    }

    fn wake(&mut self, cx: &mut Context<'_>) {
        if cx.agent().activity().is_some_and(|it| Self::LONG <= cx.time_since(it.at())) {
            cx.report(Fingerprint::NONE, 2, || Report::new("quiet"));
        }
        Self::wait(cx);
    }

    fn is_idle(&self) -> bool {
        true
    }

    fn subscription(&self) -> Subscription {
        Subscription { is_timer_only: self.sleeps, ..Subscription::default() }
    }
}

/// Counts the events of a turn after one with which it can begin.
#[derive(Clone, Debug)]
struct Since {
    begins_with: EventSet,
    n: u64,
}

impl Since {
    fn named(id: usize, begins_with: &str) -> NamedDetector {
        let detector = Box::new(Self { begins_with: EventSet::of(&[begins_with]), n: 0 });
        NamedDetector { id: format!("since-{id:02}").into(), detector, ..named(Sort::Silence) }
    }
}

impl Detector for Since {
    fn observe(&mut self, event: &Event, cx: &mut Context<'_>) {
        if matches!(event.kind, EventKind::TurnEnd) {
            cx.resolve(Fingerprint::NONE, || Report::new("over"));
            self.n = 0;
        } else if 0 < self.n || self.begins_with.contains(&event.kind) {
            self.n += 1;
            cx.report(Fingerprint::NONE, self.n, || Report::new("since"));
        }
    }

    fn subscription(&self) -> Subscription {
        Subscription::default().starting_with(self.begins_with)
    }

    fn is_idle(&self) -> bool {
        self.n == 0
    }
}

proptest! {
    #[test]
    fn who_sleeps_finds_the_same(
        steps in steps(prop_oneof![4 => Just(0_i64), 1 => 0_i64..20]),
        sorts in proptest::sample::subsequence(ALL.to_vec(), 0..=ALL.len()),
    ) {
        let run = |sleeps| {
            let mut detectors: Vec<_> = sorts.iter().copied().map(named).collect();
            detectors.push(Quiet::named(sleeps));
            run_in(Engine::new(detectors, EngineConfig::default()), &steps)
        };
        prop_assert_eq!(tell(&run(true)), tell(&run(false)));
    }

    #[test]
    fn each_of_very_many_finds_what_it_finds_alone(steps in steps(Just(0))) {
        let begins_with = ["prompt", "message", "error", "compaction"];
        let all = (0..40).map(|id| Since::named(id, begins_with[id % begins_with.len()]));
        let run = |detectors| run_in(Engine::new(detectors, EngineConfig::default()), &steps);
        let together = run(all.clone().collect());
        for it in all {
            let id = it.id.clone();
            let its: Vec<_> = together.iter().filter(|it| it.detector == id).cloned().collect();
            prop_assert_eq!(tell(&its), tell(&run(vec![it])));
        }
    }
}

#[test]
fn who_sleeps_is_not_misled_by_a_jump() {
    let mut engine = Engine::new(vec![Quiet::named(true)], EngineConfig::default());
    observe(&mut engine, 0, "s", message());
    observe(&mut engine, 8, "s", message());
    observe(&mut engine, 9, "overdue", message());
    observe(&mut engine, 19, "s", message());
    // It asked to be woken at 9, and goes to sleep again until 28.
    engine.postpone(time(20), SignedDuration::from_secs(1000));
    assert_eq!(tell(&advance(&mut engine, 1027)), ["18s overdue Quiet low 2"]);
    assert_eq!(tell(&advance(&mut engine, 1100)), ["1028s s Quiet low 2"]);
}
