#![doc = include_str!("../README.md")]

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;
use watchkeeper_core::{
    Context, Detector, DetectorKind, Elapsed, Event, EventKind, EventSet, Fingerprint,
    InvalidOption, Level, Moment, Period, Place, Report, Scope, Severity, SignedDuration,
    Timestamp, ToolClass, Unit, quote,
};

/// Finds what takes too long: sessions, turns, tools, models, or anything.
#[derive(Clone, Debug)]
pub struct Timeout {
    rules: Arc<Rules>,
    state: State,
}

/// The options of `kind = "timeout"`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TimeoutOptions {
    /// What may take too long.
    of: Of,
    /// How long it may take.
    max: Period,
    /// With `of = "tool"`: whether tools that give work to another agent are
    /// timed, too.
    #[serde(default)]
    delegates: bool,
}

/// What may take too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Of {
    /// The work of a session: the time in which any of its agents has a turn
    /// open.
    Session,
    /// One turn: from a prompt until the agent rests.
    Turn,
    /// One call of a tool: until its result.
    Tool,
    /// The model's answer: the time in which an agent has a turn open, no call
    /// pending, and says nothing.
    Model,
    /// The next event: the time in which a turn is open and nothing happens in
    /// any agent of the session.
    Idle,
}

watchkeeper_core::register!(Timeout);

impl DetectorKind for Timeout {
    const KIND: &'static str = "timeout";
    const DOCS: &'static str = include_str!("../README.md");
    const CLASS: &'static str = "timeout";
    const UNIT: Unit = Unit::Percent;
    const LEVELS: &'static [Level] = &[
        Level::new(75, Severity::Medium),
        Level::new(90, Severity::Medium),
        Level::new(100, Severity::High),
    ];
    type Options = TimeoutOptions;

    fn new(options: TimeoutOptions) -> Result<Self, InvalidOption> {
        if options.delegates && options.of != Of::Tool {
            return Err(InvalidOption::new("delegates", r#"only `of = "tool"` has it"#));
        }
        let state = match options.of {
            Of::Tool => State::Calls(Calls::default()),
            _ => State::Watch(Watch::default()),
        };
        Ok(Self { rules: Arc::new(Rules::new(&options)), state })
    }
}

/// What the options say, ready to reckon with.
#[derive(Debug)]
struct Rules {
    of: Of,
    max: Nanos,
    delegates: bool,
}

impl Rules {
    fn new(options: &TimeoutOptions) -> Self {
        let TimeoutOptions { of, max, delegates } = *options;
        Self { of, max: u64::try_from(max.get().as_nanos()).unwrap_or(u64::MAX), delegates }
    }
}

#[derive(Clone, Debug)]
enum State {
    Watch(Watch),
    Calls(Calls),
}

impl Detector for Timeout {
    fn observe(&mut self, event: &Event, cx: &mut Context<'_>) {
        match &mut self.state {
            State::Watch(watch) => watch.observe(event, &self.rules, cx),
            State::Calls(calls) => calls.observe(&self.rules, cx),
        }
    }

    fn wake(&mut self, cx: &mut Context<'_>) {
        match &mut self.state {
            State::Watch(watch) => watch.wake(&self.rules, cx),
            State::Calls(calls) => calls.wake(&self.rules, cx),
        }
    }

    fn begins_with(&self) -> EventSet {
        /// What an agent or a person owes begins with these.
        const WAITS: EventSet = EventSet::of(&["tool_call", "waiting"]);
        match self.state {
            State::Watch(_) => EventSet::ALL,
            State::Calls(_) => WAITS,
        }
    }

    fn at_rest(&self) -> bool {
        match &self.state {
            State::Watch(it) => {
                it.clock == Clock::default()
                    && it.counted == Counted::Anything
                    && it.since.is_none()
            }
            State::Calls(it) => it.resumed_at.is_none() && !it.is_waiting && it.late.is_none(),
        }
    }

    fn heeds_calls(&self) -> bool {
        matches!(self.rules.of, Of::Tool)
    }

    fn scope(&self) -> Scope {
        match self.rules.of {
            Of::Session | Of::Idle => Scope::Session,
            Of::Turn | Of::Tool | Of::Model => Scope::Agent,
        }
    }
}

/// A stopwatch, and what it is started and stopped by.
#[derive(Clone, Debug, Default)]
struct Watch {
    clock: Clock,
    counted: Counted,
    /// Where what it counts began.
    since: Option<Place>,
}

/// What it counts, where that makes a difference.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Counted {
    #[default]
    Anything,
    /// A turn that began then, in nanoseconds, as far as two turns differ: the
    /// upper half and the lower one, so that nothing needs padding.
    Turn([u32; 2]),
    /// The rest of an answer that has begun: a long one takes its time.
    RestOfAnswer,
}

/// A stopwatch in 12 bytes: there is one for each of very many streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Clock {
    /// It shows so many nanoseconds, cut in two.
    Stopped([u32; 2]),
    /// It would have been started then, had it never been stopped.
    Runs(Moment),
}

impl Default for Clock {
    fn default() -> Self {
        Self::Stopped([0; 2])
    }
}

impl Clock {
    fn runs(self) -> bool {
        matches!(self, Self::Runs(_))
    }

    /// Gives back what it shows.
    fn start(&mut self, now: Timestamp) -> Nanos {
        let elapsed = self.elapsed(now);
        let from = match elapsed {
            0 => now,
            _ => now.checked_sub(duration(elapsed)).unwrap_or(Timestamp::MIN),
        };
        *self = Self::Runs(from.into());
        elapsed
    }

    fn stop(&mut self, now: Timestamp) {
        *self = Self::Stopped(halves(self.elapsed(now)));
    }

    fn elapsed(self, now: Timestamp) -> Nanos {
        match self {
            Self::Stopped([high, low]) => (u64::from(high) << 32) | u64::from(low),
            Self::Runs(from) => between(from.into(), now),
        }
    }
}

impl Counted {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "no two turns of one agent are five centuries apart"
    )]
    fn turn(began_at: Option<Moment>) -> Self {
        let nanos = |it| Timestamp::from(it).as_nanosecond() as u64;
        began_at.map_or(Self::Anything, |it| Self::Turn(halves(nanos(it))))
    }
}

/// The upper half and the lower one, so that nothing needs padding.
#[expect(clippy::cast_possible_truncation, reason = "it is cut in two")]
fn halves(n: u64) -> [u32; 2] {
    [(n >> 32) as u32, n as u32]
}

/// A length of time in nanoseconds: what is timed at every event is to cost little.
/// Three centuries are as long as any.
type Nanos = u64;

fn between(from: Timestamp, to: Timestamp) -> Nanos {
    u64::try_from((to.as_nanosecond() - from.as_nanosecond()).max(0)).unwrap_or(u64::MAX)
}

fn duration(nanos: Nanos) -> SignedDuration {
    SignedDuration::from_nanos(i64::try_from(nanos).unwrap_or(i64::MAX))
}

impl Watch {
    fn observe(&mut self, event: &Event, rules: &Rules, cx: &mut Context<'_>) {
        let (session, agent) = (cx.session(), cx.agent());
        // What it counts from here on, if it begins anew.
        let (begins, runs) = match rules.of {
            Of::Session | Of::Tool => (
                (matches!(event.kind, EventKind::SessionEnd { .. }) && event.agent.is_none())
                    .then_some(Counted::Anything),
                0 < session.open_turns && session.waiting_agents == 0,
            ),
            Of::Turn => {
                let turn = Counted::turn(agent.turn);
                let runs = agent.turn.is_some() && !agent.waits_for_person();
                ((turn != self.counted).then_some(turn), runs)
            }
            Of::Model => (
                self.silence_after(&event.kind),
                agent.turn.is_some() && agent.pending.is_empty() && !agent.waits_for_person(),
            ),
            Of::Idle => {
                (Some(Counted::Anything), 0 < session.open_turns && session.waiting_agents == 0)
            }
        };
        if let Some(counted) = begins {
            self.end(rules, cx);
            (self.clock, self.counted) = (Clock::default(), counted);
        }
        match (self.clock.runs(), runs) {
            (false, true) => {
                let elapsed = self.clock.start(cx.now());
                if begins.is_some() || self.since.is_none() {
                    cx.keep_place(&mut self.since);
                }
                self.wake_at_next_level(elapsed, rules, cx);
            }
            (was_running, false) => {
                if was_running {
                    self.clock.stop(cx.now());
                }
                if begins.is_some() {
                    self.since = None;
                }
                cx.sleep();
            }
            (true, true) => {}
        }
    }

    /// What silence of a model an event begins, if it breaks the one before.
    fn silence_after(&self, event: &EventKind) -> Option<Counted> {
        match event {
            // A retry says that the model is silent still.
            EventKind::Error { retry: Some(_), .. } => None,
            EventKind::Thinking { .. } | EventKind::Message { .. } => Some(Counted::RestOfAnswer),
            // It tells what the answer takes, and not that it is over.
            EventKind::ModelCall(_) => Some(self.counted),
            _ => Some(Counted::Anything),
        }
    }

    fn wake(&mut self, rules: &Rules, cx: &mut Context<'_>) {
        if !self.clock.runs() {
            return;
        }
        let elapsed = self.clock.elapsed(cx.now());
        let max = self.max(rules);
        let percent = percent(elapsed, max);
        let since = &self.since;
        cx.raise(Fingerprint::NONE, percent, || {
            let since = since.as_ref().map(Place::evidence);
            report(self.lasts(rules.of), elapsed, percent, max).since(since)
        });
        self.wake_at_next_level(elapsed, rules, cx);
    }

    fn wake_at_next_level(&self, elapsed: Nanos, rules: &Rules, cx: &mut Context<'_>) {
        match time_to_next_level(elapsed, self.max(rules), cx) {
            Some(it) => cx.wake_after(duration(it)),
            None => cx.sleep(),
        }
    }

    fn max(&self, rules: &Rules) -> Nanos {
        let Rules { max, .. } = *rules;
        if self.counted == Counted::RestOfAnswer { max.saturating_mul(2) } else { max }
    }

    fn lasts(&self, of: Of) -> &'static str {
        match of {
            Of::Session | Of::Tool => "the session has been at work",
            Of::Turn => "the turn has been open",
            Of::Model if self.counted == Counted::RestOfAnswer => {
                "the model has been silent amid an answer"
            }
            Of::Model => "the model has been silent",
            Of::Idle => "nothing has happened",
        }
    }

    fn end(&self, rules: &Rules, cx: &mut Context<'_>) {
        let now = cx.now();
        cx.resolve(Fingerprint::NONE, || {
            let elapsed = duration(self.clock.elapsed(now));
            let took = Elapsed(elapsed);
            let message = match rules.of {
                Of::Session | Of::Tool => format!("the session ended after {took} of work"),
                Of::Turn => format!("the turn ended after {took} of work"),
                Of::Model => format!("the silence of the model ended after {took}"),
                Of::Idle => format!("something happened after {took}"),
            };
            Report::new(message).with("elapsed_seconds", elapsed.as_secs())
        });
    }
}

/// The calls of an agent that are pending, as far as they are not in what the
/// engine knows.
#[derive(Clone, Debug, Default)]
struct Calls {
    /// When the agent last began not to wait for a person.
    resumed_at: Option<Moment>,
    is_waiting: bool,
    /// The calls that were reported and have no result yet; `None` if there are
    /// none.
    #[expect(clippy::box_collection, reason = "most of very many streams have none")]
    late: Option<Box<Vec<LateCall>>>,
}

#[derive(Clone, Debug)]
struct LateCall {
    id: Fingerprint,
    tool: Arc<str>,
    at: Timestamp,
    percent: u64,
}

impl Calls {
    fn observe(&mut self, rules: &Rules, cx: &mut Context<'_>) {
        let is_waiting = cx.agent().waits_for_person();
        if self.is_waiting && !is_waiting {
            self.resumed_at = Some(cx.now().into());
        }
        self.is_waiting = is_waiting;
        if self.late.is_some() {
            self.resolve_answered(cx);
        }
        if cx.pending().next().is_none() {
            // Calls to come are made later than that.
            self.resumed_at = None;
            cx.sleep();
        } else if is_waiting {
            cx.sleep();
        } else {
            self.wake_at_next_level(rules, cx);
        }
    }

    /// Resolves what was found of calls that are pending no more.
    fn resolve_answered(&mut self, cx: &mut Context<'_>) {
        let Some(late) = self.late.take() else { return };
        let answered = cx.call().map(|it| it.id);
        let (late, done): (Vec<_>, Vec<_>) =
            late.into_iter().partition(|it| cx.pending().any(|call| call.id == it.id));
        self.late = (!late.is_empty()).then(|| Box::new(late));
        for it in done {
            let elapsed = cx.now().duration_since(it.at);
            cx.resolve(it.id, || {
                let (tool, took) = (quote(&it.tool), Elapsed(elapsed));
                let message = if answered == Some(it.id) {
                    format!("{tool} answered after {took}")
                } else {
                    format!("{tool} was given up after {took}")
                };
                Report::new(message).with("elapsed_seconds", elapsed.as_secs())
            });
        }
    }

    fn wake(&mut self, rules: &Rules, cx: &mut Context<'_>) {
        let (now, max) = (cx.now(), rules.max);
        let timed = cx.pending().filter(|it| is_timed(it.class, rules));
        for call in timed.cloned().collect::<Vec<_>>() {
            let elapsed = between(call.at, now).min(self.since_resumed(now));
            let percent = percent(elapsed, max);
            let mut late = self.late.iter_mut().flat_map(|it| it.iter_mut());
            let known = late.find(|it| it.id == call.id);
            let before = known.as_ref().map_or(0, |it| it.percent);
            if cx.next_level(before).is_none_or(|it| percent < it) {
                continue;
            }
            match known {
                Some(it) => it.percent = percent,
                None => self.late.get_or_insert_default().push(LateCall {
                    id: call.id,
                    tool: call.tool.clone(),
                    at: call.at,
                    percent,
                }),
            }
            cx.raise(call.id, percent, || {
                let tool = quote(&call.tool);
                report(&format!("{tool} has been running"), elapsed, percent, max)
                    .with("tool", tool.trim_matches('`'))
                    .since(Some(call.evidence()))
            });
        }
        self.wake_at_next_level(rules, cx);
    }

    fn wake_at_next_level(&self, rules: &Rules, cx: &mut Context<'_>) {
        let since_resumed = self.since_resumed(cx.now());
        let timed = cx.pending().filter(|it| is_timed(it.class, rules));
        let left = timed.filter_map(|it| {
            let elapsed = between(it.at, cx.now()).min(since_resumed);
            time_to_next_level(elapsed, rules.max, cx)
        });
        match left.min() {
            Some(it) => cx.wake_after(duration(it)),
            None => cx.sleep(),
        }
    }

    /// For how long calls have been running at most: leave to make them may have been
    /// given late.
    fn since_resumed(&self, now: Timestamp) -> Nanos {
        self.resumed_at.map_or(Nanos::MAX, |it| between(it.into(), now))
    }
}

/// Whether calls of a class are timed: a person takes the time that a person
/// takes, and another agent is timed by itself.
fn is_timed(class: ToolClass, rules: &Rules) -> bool {
    match class {
        ToolClass::Ask => false,
        ToolClass::Delegate => rules.delegates,
        _ => true,
    }
}

fn report(what: &str, elapsed: Nanos, percent: u64, max: Nanos) -> Report {
    let (elapsed, max) = (duration(elapsed), duration(max));
    let (took, limit) = (Elapsed(elapsed), Elapsed(max));
    let message = if percent < 100 {
        format!("{what} for {took}, {percent}% of {limit}")
    } else {
        format!("{what} for {took}, the limit is {limit}")
    };
    Report::new(message)
        .with("elapsed_seconds", elapsed.as_secs())
        .with("max_seconds", max.as_secs())
}

fn percent(elapsed: Nanos, max: Nanos) -> u64 {
    let percent = u128::from(elapsed) * 100 / u128::from(max);
    u64::try_from(percent).unwrap_or(u64::MAX)
}

/// So many percent, rounded up: a nanosecond earlier it would be a percent less.
fn share(max: Nanos, percent: u64) -> Option<Nanos> {
    let (hundredth, rest) = (max / 100, max % 100);
    hundredth.checked_mul(percent)?.checked_add(rest.checked_mul(percent)?.div_ceil(100))
}

/// How long until there is more to say.
fn time_to_next_level(elapsed: Nanos, max: Nanos, cx: &Context<'_>) -> Option<Nanos> {
    let mut level = cx.next_level(0)?;
    loop {
        let due = share(max, level)?;
        if elapsed < due {
            return Some(due - elapsed);
        }
        level = cx.next_level(level)?;
    }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;
    use watchkeeper_testing::{laws, play};

    use super::Timeout;

    #[test]
    fn a_session_ages_while_it_works() {
        let trace = "
            0s   prompt hello
            2m   turn_end
            1h   prompt go on
            +5m  message working
            +4m  session_end
        ";
        assert_snapshot!(play::<Timeout>("of = 'session'\nmax = '10m'", trace), @"
        1h5m30s medium    the session has been at work for 7m 30s, 75% of 10m
        1h8m    high      the session has been at work for 10m, the limit is 10m
        1h9m    resolved  the session ended after 11m of work
        ");
    }

    #[test]
    fn a_turn_does_not_age_while_a_person_is_waited_for() {
        let trace = "
            0s   prompt hello
            1m   wait permission
            2h   resume permission
            +3m  message working
            +3m  agent a1: agent_start
            +5m  turn_end
        ";
        assert_snapshot!(play::<Timeout>("of = 'turn'\nmax = '5m'", trace), @"
        2h2m45s medium    the turn has been open for 3m 45s, 75% of 5m
        2h4m    high      the turn has been open for 5m, the limit is 5m
        2h9m45s medium    a1: the turn has been open for 3m 45s, 75% of 5m
        2h11m   high      a1: the turn has been open for 5m, the limit is 5m
        2h11m   resolved  the turn ended after 12m of work
        ");
    }

    #[test]
    fn each_pending_call_has_a_time_of_its_own() {
        let trace = "
            0s    call #slow Bash make
            30s   call #quick Bash ls
            31s   result #quick
            40s   call #ask AskUserQuestion which one
            5m    result #ask
            +1m   call #task Task look around
            +1m   result #slow
            +1h   turn_end
        ";
        assert_snapshot!(play::<Timeout>("of = 'tool'\nmax = '2m'", trace), @"
        6m30s   medium    `Bash` has been running for 1m 30s, 75% of 2m
        7m      high      `Bash` has been running for 2m, the limit is 2m
        7m      resolved  `Bash` answered after 7m
        ");
        assert_snapshot!(play::<Timeout>("of = 'tool'\nmax = '2m'\ndelegates = true", trace), @"
        6m30s   medium    `Bash` has been running for 1m 30s, 75% of 2m
        7m      high      `Bash` has been running for 2m, the limit is 2m
        7m      resolved  `Bash` answered after 7m
        7m30s   medium    `Task` has been running for 1m 30s, 75% of 2m
        8m      high      `Task` has been running for 2m, the limit is 2m
        1h7m    resolved  `Task` was given up after 1h 1m
        ");
    }

    #[test]
    fn a_model_that_only_retries_is_silent() {
        let trace = "
            0s    prompt hello
            1m    error retry=1 overloaded
            2m    error retry=2 overloaded
            +10s  message here I am
            +1m   call Bash make
            +1h   result
            +1m   turn_end
        ";
        assert_snapshot!(play::<Timeout>("of = 'model'\nmax = '90s'", trace), @"
        1m7s500ms medium    the model has been silent for 1m 7s, 75% of 1m 30s
        1m30s   high      the model has been silent for 1m 30s, the limit is 1m 30s
        2m10s   resolved  the silence of the model ended after 2m 10s
        ");
    }

    #[test]
    fn any_agent_keeps_a_session_from_being_idle() {
        let trace = "
            0s    prompt hello
            10s   call Task look around
            1m    agent a1: agent_start
            3m    agent a1: wait permission
            1h    agent a1: resume permission
            +6m   agent a1: agent_end
            +1m   turn_end
            advance 1h
        ";
        assert_snapshot!(play::<Timeout>("of = 'idle'\nmax = '5m'", trace), @"
        1h3m45s medium    nothing has happened for 3m 45s, 75% of 5m
        1h5m    high      nothing has happened for 5m, the limit is 5m
        1h6m    resolved  something happened after 6m
        ");
    }

    #[test]
    fn it_obeys_the_laws_of_detectors() {
        for of in ["session", "turn", "tool", "model", "idle"] {
            laws::check::<Timeout>(&format!("of = '{of}'\nmax = '2m'"));
        }
    }

    #[test]
    fn an_answer_that_has_begun_may_take_longer() {
        let trace = "
            0s   prompt write a long book
            5m   thinking a very long one
            +1s  usage output=90000
            +9m  call Write book
            +1s  result done
            +5m  turn_end
        ";
        assert_snapshot!(play::<Timeout>("of = 'model'\nmax = '4m'", trace), @"
        3m      medium    the model has been silent for 3m, 75% of 4m
        4m      high      the model has been silent for 4m, the limit is 4m
        5m      resolved  the silence of the model ended after 5m
        11m1s   medium    the model has been silent amid an answer for 6m, 75% of 8m
        13m1s   high      the model has been silent amid an answer for 8m, the limit is 8m
        14m1s   resolved  the silence of the model ended after 9m
        17m2s   medium    the model has been silent for 3m, 75% of 4m
        18m2s   high      the model has been silent for 4m, the limit is 4m
        19m2s   resolved  the silence of the model ended after 5m
        ");
    }

    #[test]
    fn one_for_each_of_many_streams_is_small() {
        assert_eq!(size_of::<Timeout>(), 56);
    }
}
