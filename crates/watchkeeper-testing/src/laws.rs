//! What every detector must do, whatever it detects.
//!
//! * **Total**: no trace makes it panic.
//! * **Deterministic**: the same trace gives the same findings.
//! * **Punctual**: it makes no difference how often the engine looks at the
//!   clock between two events.
//! * **Isolated**: what happens in one session changes nothing in another.
//! * **Legible**: what it says is one short line without a full stop, safe for
//!   a terminal.
//! * **Bounded**: its state does not grow with its stream.
//! * **Sincere**: of events that it does not read it learns nothing, and at rest
//!   nothing of those with which nothing begins.
//! * **Rested**: when it says that it is at rest, it is as good as new.
//! * **Open**: it finds the same where somebody asks why.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use jiff::{SignedDuration, Timestamp};
use proptest::{
    collection::vec,
    test_runner::{Config, TestCaseError, TestError, TestRunner},
};
use watchkeeper_core::{
    Context, Detector, DetectorKind, Engine, EngineConfig, Event, EventKind, Finding, Json,
    ModelCall, NamedDetector, SessionId, Subscription, Tokens, ToolCall, ToolResult, make_safe,
};

use crate::{Trace, detector, events, render};

/// The longest message, in bytes.
const MAX_MESSAGE: usize = 2000;
/// After how many events the state is weighed for the first time, and for the
/// last: what is kept of each event is seen by then.
const WEIGHED_AT: [usize; 2] = [4_000, 40_000];
/// What a bounded state may grow by in between, in bytes of what `Debug`
/// writes: it may fill up, and its numbers grow longer.
const MAX_GROWTH: usize = 16 * 1024;

/// A law that a detector breaks, and a trace that shows it.
#[derive(Clone, Debug)]
pub struct Breach {
    detector: Arc<str>,
    what: String,
    trace: Option<Trace>,
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { detector, what, trace } = self;
        write!(f, "`{detector}` {what}")?;
        if let Some(trace) = trace {
            write!(f, "\n\nthe shortest trace that shows it, as `play` takes it:\n\n{trace}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Breach {}

/// Checks the laws for one kind of detector, with the given options.
///
/// Panics with the shortest trace that shows a breach, which a test can then
/// [`play`](crate::play). The environment variable `PROPTEST_CASES` says how
/// many traces are tried.
#[track_caller]
pub fn check<D: DetectorKind>(options: &str) {
    check_detector(&detector::<D>(options));
}

/// Checks the laws for a detector of a policy; see [`check`].
#[track_caller]
pub fn check_detector(detector: &NamedDetector) {
    if let Err(breach) = find_breach(detector) {
        panic!("{breach}");
    }
}

/// Looks for a breach of the laws.
pub fn find_breach(detector: &NamedDetector) -> Result<(), Breach> {
    let breach = |what, trace| Breach { detector: detector.id.clone(), what, trace };
    let config = Config { failure_persistence: None, ..Config::default() };
    let cases = (events(), vec(0..4_u8, 1..20));
    let outcome = TestRunner::new(config).run(&cases, |(events, ticks)| {
        obeys(detector, &events, &ticks).map_err(TestCaseError::fail)
    });
    match outcome {
        Ok(()) => {}
        Err(TestError::Fail(what, (events, _))) => {
            return Err(breach(what.message().to_owned(), Some(Trace::from(events))));
        }
        Err(TestError::Abort(why)) => return Err(breach(format!("was not checked: {why}"), None)),
    }
    for n_agents in [1, usize::MAX] {
        is_bounded(detector, n_agents).map_err(|what| breach(what, None))?;
    }
    Ok(())
}

fn obeys(detector: &NamedDetector, events: &[Event], ticks: &[u8]) -> Result<(), String> {
    let all = run(detector, events, &[], None);
    for it in &all {
        if &*it.class == "error" && it.message.contains("panicked") {
            return Err(format!("is not total: {}", it.message));
        }
        let message = &it.message;
        if *message != make_safe(message) || message.ends_with('.') || message.is_empty() {
            return Err(format!("is not legible: {message:?}"));
        }
        if MAX_MESSAGE < message.len() {
            return Err(format!("is not legible: a message has {} bytes", message.len()));
        }
    }
    same("deterministic", "once", &all, "again", &run(detector, events, &[], None))?;
    keeps_its_word(detector, events, &all)?;
    same("punctual", "undisturbed", &all, "looked at often", &run(detector, events, ticks, None))?;
    // Sessions that share a label share a stream.
    if detector.per_label.is_some() {
        return Ok(());
    }
    let mut sessions: Vec<&SessionId> = events.iter().map(|it| &it.session).collect();
    sessions.sort();
    sessions.dedup();
    for session in sessions {
        let alone: Vec<_> = events.iter().filter(|it| it.session == *session).cloned().collect();
        let among: Vec<_> = all.iter().filter(|it| it.session == *session).cloned().collect();
        same("isolated", "among others", &among, "alone", &run(detector, &alone, &[], None))?;
        let explained = run(detector, events, &[], Some(session));
        same("open", "unexplained", &all, "explained", &explained)?;
    }
    Ok(())
}

fn same(
    law: &str,
    one: &str,
    findings: &[Finding],
    other: &str,
    others: &[Finding],
) -> Result<(), String> {
    if findings == others {
        return Ok(());
    }
    let (findings, others) = (render(findings), render(others));
    let hint =
        if findings == others { "\nthey differ in their data, ids or evidence\n" } else { "" };
    Err(format!("is not {law}\n\n{one}:\n{findings}\n{other}:\n{others}{hint}"))
}

/// Plays events and lets half a day pass, looking at the clock this often
/// before each event. Gives back the findings of one session after the other.
fn run(
    detector: &NamedDetector,
    events: &[Event],
    ticks: &[u8],
    explained: Option<&SessionId>,
) -> Vec<Finding> {
    const TAIL: SignedDuration = SignedDuration::from_hours(12);
    let config = EngineConfig {
        session_expiry: SignedDuration::from_hours(24 * 365),
        ..EngineConfig::default()
    };
    let mut engine = Engine::new(vec![detector.clone()], config);
    if let Some(session) = explained {
        engine.explain(session.clone());
    }
    let mut res = Vec::new();
    // No clock is ahead of what is still to happen.
    let mut limits: Vec<_> = events.iter().map(|it| it.at).collect();
    for idx in (1..limits.len()).rev() {
        limits[idx - 1] = limits[idx - 1].min(limits[idx]);
    }
    let mut now = Timestamp::UNIX_EPOCH;
    let mut ticks = ticks.iter().cycle();
    for (event, limit) in events.iter().zip(limits) {
        let n_ticks = ticks.next().map_or(0, |it| i32::from(*it));
        for tick in 1..=n_ticks {
            let step = limit.duration_since(now) / (n_ticks + 1 - tick);
            now = now.saturating_add(step).unwrap_or(limit);
            engine.advance(now, &mut res);
        }
        engine.observe(event, &mut res);
        engine.take_explanation();
    }
    let end = events.iter().map(|it| it.at).max().unwrap_or(now);
    engine.advance(end.saturating_add(TAIL).unwrap_or(end), &mut res);
    res.sort_by(|a, b| a.session.cmp(&b.session));
    res
}

fn keeps_its_word(
    detector: &NamedDetector,
    events: &[Event],
    all: &[Finding],
) -> Result<(), String> {
    let broken = Arc::default();
    let watched = Watched {
        inner: detector.detector.clone(),
        pristine: format!("{:?}", detector.detector).into(),
        broken: Arc::clone(&broken),
    };
    let watched = NamedDetector { detector: Box::new(watched), ..detector.clone() };
    let unspared = run(&watched, events, &[], None);
    broken.lock().unwrap_or_else(PoisonError::into_inner).take().map_or(Ok(()), Err)?;
    same("sincere", "given what it reads", all, "given everything", &unspared)
}

/// A detector whose word is not taken for what it reads, and for its rest.
#[derive(Clone, Debug)]
struct Watched {
    inner: Box<dyn Detector>,
    pristine: Arc<str>,
    /// How it broke its word.
    broken: Arc<Mutex<Option<String>>>,
}

impl Watched {
    fn look(&self) {
        let state = || format!("{:?}", self.inner);
        if self.inner.is_idle() && *state() != *self.pristine {
            self.breaks(format!(
                "is not rested: it says that it is, and keeps\n\n{}\n\nwhere a new one keeps\n\n{}\n",
                state(),
                self.pristine
            ));
        }
    }

    fn breaks(&self, how: String) {
        self.broken.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(how);
    }
}

impl Detector for Watched {
    fn observe(&mut self, event: &Event, cx: &mut Context<'_>) {
        let says = if !self.inner.subscription().events.contains(&event.kind) {
            Some("it does not read")
        } else if self.inner.is_idle()
            && !self.inner.subscription().start_events.contains(&event.kind)
        {
            Some("nothing begins with")
        } else {
            None
        };
        let before = says.map(|says| (says, format!("{:?}", self.inner)));
        self.inner.observe(event, cx);
        if let Some((says, before)) = before
            && before != format!("{:?}", self.inner)
        {
            let name = event.kind.name();
            self.breaks(format!(
                "is not sincere: it says that {says} `{name}`, and one changed\n\n{before}\n\ninto\n\n{:?}\n",
                self.inner
            ));
        }
        self.look();
    }

    fn wake(&mut self, cx: &mut Context<'_>) {
        self.inner.wake(cx);
        self.look();
    }

    fn subscription(&self) -> Subscription {
        Subscription::default().scope(self.inner.subscription().scope)
    }
}

fn is_bounded(detector: &NamedDetector, n_agents: usize) -> Result<(), String> {
    let weights = Arc::default();
    let weighed =
        Weighed { inner: detector.detector.clone(), n_events: 0, weights: Arc::clone(&weights) };
    let detector = NamedDetector { detector: Box::new(weighed), ..detector.clone() };
    let mut engine = Engine::new(vec![detector], EngineConfig::default());
    let mut findings = Vec::new();
    for n in 0..WEIGHED_AT[1] {
        engine.observe(&distinct_event(n, n_agents), &mut findings);
        findings.clear();
    }
    match weights.lock().unwrap_or_else(PoisonError::into_inner)[..] {
        [first, last] if first + MAX_GROWTH < last => Err(format!(
            "is not bounded: what it keeps takes {first} bytes to write down after {} events, \
             and {last} after {}",
            WEIGHED_AT[0], WEIGHED_AT[1]
        )),
        _ => Ok(()),
    }
}

/// A detector, and a pair of scales.
#[derive(Clone, Debug)]
struct Weighed {
    inner: Box<dyn Detector>,
    n_events: usize,
    weights: Arc<Mutex<Vec<usize>>>,
}

impl Detector for Weighed {
    fn observe(&mut self, event: &Event, cx: &mut Context<'_>) {
        self.inner.observe(event, cx);
        self.n_events += 1;
        if WEIGHED_AT.contains(&self.n_events) {
            let weight = format!("{:?}", self.inner).len();
            self.weights.lock().unwrap_or_else(PoisonError::into_inner).push(weight);
        }
    }

    fn wake(&mut self, cx: &mut Context<'_>) {
        self.inner.wake(cx);
    }

    fn subscription(&self) -> Subscription {
        Subscription::default().scope(self.inner.subscription().scope)
    }
}

/// The n-th event of a session that never says the same twice, and never rests.
fn distinct_event(n: usize, n_agents: usize) -> Event {
    let text = || Box::<str>::from(format!("text {n}, {}", "x".repeat(n % 50)));
    let kind = match n % 8 {
        0 => EventKind::Prompt { text: text(), synthetic: true },
        1 => EventKind::Message { text: text(), delta: true },
        2 => EventKind::Thinking { text: text() },
        3 => EventKind::ModelCall(ModelCall {
            id: Some(text()),
            model: Some(text()),
            tokens: Tokens { input: 1, output: 1, ..Tokens::default() },
            cost_usd: None,
            context_tokens: None,
        }),
        // One call that is never answered, and one that is.
        4 | 5 => EventKind::ToolCall(ToolCall::new(
            format!("call {}", n - n % 8 + n % 2),
            format!("tool {n}"),
            Json::text(&text()),
        )),
        6 => EventKind::ToolResult(ToolResult::new(
            format!("call {}", n - n % 8 + 1),
            true,
            Some(text()),
        )),
        _ => EventKind::Handoff { to: text() },
    };
    let at = SignedDuration::from_secs(i64::try_from(n).unwrap_or_default());
    let mut res = Event::new(Timestamp::UNIX_EPOCH + at, "s1", kind);
    if n_agents != 1 {
        res.agent = Some(format!("agent {}", (n / 8) % n_agents).into());
    }
    res
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use watchkeeper_core::{
        Context, Detector, Event, EventKind, EventSet, Fingerprint, Level, NamedDetector, Report,
        Severity, Subscription,
    };

    use super::find_breach;

    /// Does what it is told on each prompt of a person, and on waking.
    #[derive(Clone, Debug)]
    struct Outlaw {
        on_prompt: fn(&mut Self, &str, &mut Context<'_>),
        on_wake: fn(&mut Self, &mut Context<'_>),
        seen: Vec<String>,
        /// Says that no prompt is news to it when it is new.
        is_aloof: bool,
    }

    impl Detector for Outlaw {
        fn observe(&mut self, event: &Event, cx: &mut Context<'_>) {
            match &event.kind {
                EventKind::Prompt { text, .. } => (self.on_prompt)(self, text, cx),
                EventKind::TurnEnd => cx.resolve(Fingerprint::NONE, || Report::new("rested")),
                _ => {}
            }
        }

        fn subscription(&self) -> Subscription {
            const ENDS: EventSet = EventSet::of(&["turn_end"]);
            let events = if self.seen.len() == 3 { ENDS } else { EventSet::ALL };
            Subscription::to(events).starting_with(if self.is_aloof { ENDS } else { events })
        }

        fn is_idle(&self) -> bool {
            self.seen.len() == 1 || self.is_aloof && self.seen.is_empty()
        }

        fn wake(&mut self, cx: &mut Context<'_>) {
            (self.on_wake)(self, cx);
        }
    }

    fn say(message: &str, cx: &mut Context<'_>) {
        cx.report(Fingerprint::NONE, 1, || Report::new(message));
    }

    fn breach(
        on_prompt: fn(&mut Outlaw, &str, &mut Context<'_>),
        on_wake: fn(&mut Outlaw, &mut Context<'_>),
    ) -> Option<String> {
        breach_of(Outlaw { on_prompt, on_wake, seen: Vec::new(), is_aloof: false })
    }

    fn breach_of(outlaw: Outlaw) -> Option<String> {
        let detector = NamedDetector {
            id: "outlaw".into(),
            kind: "outlaw".into(),
            class: "test".into(),
            levels: vec![Level::new(1, Severity::Low)],
            inhibited_by: Vec::new(),
            per_label: None,
            sessions: watchkeeper_core::SessionFilter::default(),
            detector: Box::new(outlaw),
        };
        find_breach(&detector).err().map(|it| it.to_string())
    }

    #[track_caller]
    fn assert_breaks(law: &str, breach: Option<String>) {
        let breach = breach.unwrap_or_else(|| panic!("a detector that is not {law} passed"));
        assert!(breach.starts_with(&format!("`outlaw` is not {law}")), "{breach}");
    }

    #[test]
    fn whoever_obeys_passes() {
        let on_prompt = |_: &mut Outlaw, _: &str, cx: &mut Context<'_>| {
            cx.wake_after(jiff::SignedDuration::from_secs(7));
        };
        assert_eq!(breach(on_prompt, |_, cx| say("quiet since the prompt", cx)), None);
    }

    #[test]
    fn panics_are_found_and_cut_down_to_one_event() {
        let on_prompt = |_: &mut Outlaw, text: &str, _: &mut Context<'_>| {
            assert!(text.is_ascii(), "what was that");
        };
        let breach = breach(on_prompt, |_, _| {});
        assert_breaks("total", breach.clone());
        let breach = breach.expect("it is there");
        let (_, trace) = breach.split_once("takes it:\n\n").expect("a trace is shown");
        assert_eq!(trace.lines().count(), 1, "{breach}");
    }

    #[test]
    fn memory_beyond_the_stream_is_found() {
        static N: AtomicU64 = AtomicU64::new(0);
        let on_prompt = |_: &mut Outlaw, _: &str, cx: &mut Context<'_>| {
            say(&format!("prompt {}", N.fetch_add(1, Ordering::Relaxed)), cx);
        };
        assert_breaks("deterministic", breach(on_prompt, |_, _| {}));
    }

    #[test]
    fn quoted_escapes_and_full_stops_are_found() {
        let on_prompt =
            |_: &mut Outlaw, text: &str, cx: &mut Context<'_>| say(&format!("said {text}!"), cx);
        assert_breaks("legible", breach(on_prompt, |_, _| {}));
        let on_prompt = |_: &mut Outlaw, _: &str, cx: &mut Context<'_>| say("Found it.", cx);
        assert_breaks("legible", breach(on_prompt, |_, _| {}));
    }

    #[test]
    fn reports_that_change_something_are_found() {
        let on_prompt = |it: &mut Outlaw, _: &str, cx: &mut Context<'_>| {
            let n = it.seen.len() as u64;
            if n < 3 {
                cx.report(Fingerprint::NONE, n, || {
                    it.seen.push("told".to_owned());
                    Report::new("told")
                });
            }
        };
        assert_breaks("open", breach(on_prompt, |_, _| {}));
    }

    #[test]
    fn growing_state_is_found() {
        let on_prompt = |it: &mut Outlaw, text: &str, _: &mut Context<'_>| {
            it.seen.extend([text.into(), text.into()]);
        };
        assert_breaks("bounded", breach(on_prompt, |_, _| {}));
    }

    #[test]
    fn a_look_at_what_is_not_read_is_found() {
        let on_prompt =
            |it: &mut Outlaw, text: &str, _: &mut Context<'_>| it.seen = vec![text.into(); 3];
        assert_breaks("sincere", breach(on_prompt, |_, _| {}));
    }

    #[test]
    fn a_beginning_that_is_denied_is_found() {
        let on_prompt =
            |it: &mut Outlaw, text: &str, _: &mut Context<'_>| it.seen = vec![text.into(); 2];
        let on_wake = |_: &mut Outlaw, _: &mut Context<'_>| {};
        let outlaw = Outlaw { on_prompt, on_wake, seen: Vec::new(), is_aloof: true };
        assert_breaks("sincere", breach_of(outlaw));
    }

    #[test]
    fn a_finding_by_what_is_not_read_is_found() {
        let on_prompt = |_: &mut Outlaw, _: &str, cx: &mut Context<'_>| say("here", cx);
        let on_wake = |_: &mut Outlaw, _: &mut Context<'_>| {};
        let outlaw = Outlaw { on_prompt, on_wake, seen: Vec::new(), is_aloof: true };
        assert_breaks("sincere", breach_of(outlaw));
    }

    #[test]
    fn false_rest_is_found() {
        let on_prompt =
            |it: &mut Outlaw, text: &str, _: &mut Context<'_>| it.seen = vec![text.into()];
        assert_breaks("rested", breach(on_prompt, |_, _| {}));
    }
}
