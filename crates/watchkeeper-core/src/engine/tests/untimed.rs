use jiff::SignedDuration;

use super::{Sort, advance, engine, message, named, observe, observe_event, render, time};
use crate::{
    Context, Detector, Engine, Event, EventKind, Finding, Fingerprint, Report,
    engine::{EngineConfig, NamedDetector},
    period::untimed,
};

/// Reports the seconds since its first event as the measure.
#[derive(Clone, Debug, Default)]
struct Age(Option<jiff::Timestamp>);

impl Age {
    fn report(&mut self, cx: &mut Context<'_>) {
        let first = *self.0.get_or_insert(cx.now());
        let age = cx.time_since(first);
        let within = cx.within(cx.now().duration_since(first));
        let measure = u64::try_from(age.as_secs()).unwrap_or(0);
        cx.report(Fingerprint::NONE, measure, || Report::new(format!("{measure}{within}")));
    }
}

impl Detector for Age {
    fn observe(&mut self, _: &Event, cx: &mut Context<'_>) {
        self.report(cx);
        cx.wake_after(SignedDuration::from_secs(10));
    }

    fn wake(&mut self, cx: &mut Context<'_>) {
        self.report(cx);
    }
}

fn observe_untimed(engine: &mut Engine, secs: u32, kind: EventKind) -> Vec<Finding> {
    observe_event(engine, &Event::new(untimed(secs), "s", kind))
}

#[test]
fn no_time_passes_before_the_first_known_time() {
    let mut engine = engine(&[Sort::Silence, Sort::Events]);
    let mut findings = observe_untimed(&mut engine, 0, message());
    findings.extend(observe_untimed(&mut engine, 1, message()));
    findings.extend(observe_untimed(&mut engine, 2, message()));
    let now = 1_800_000_000;
    findings.extend(observe(&mut engine, now, "s", message()));
    assert_eq!(render(&findings), [format!("{now}s s Events low 2")], "the session is the same");
    let facts = engine.sessions()[0];
    assert_eq!((facts.totals.events, facts.started_at()), (4, time(now)));
    // The silence is measured from the first known time.
    let findings = advance(&mut engine, now + 20);
    assert_eq!(render(&findings), [format!("{}s s Silence low 2", now + 14)]);
}

#[test]
fn the_age_of_an_event_without_a_time_counts_from_the_first_known_time() {
    let detector = NamedDetector { detector: Box::new(Age::default()), ..named(Sort::Events) };
    let mut engine = Engine::new(vec![detector], EngineConfig::default());
    let now = 1_800_000_000;
    let mut findings = observe_untimed(&mut engine, 7, message());
    findings.extend(observe(&mut engine, now, "s", message()));
    findings.extend(advance(&mut engine, now + 60));
    let messages: Vec<_> = findings.iter().map(|finding| &*finding.message).collect();
    assert_eq!(messages, ["10"]);
    assert_eq!(findings[0].at, time(now + 10));
}
