#![doc = include_str!("../README.md")]

use std::{num::NonZeroU64, sync::Arc};

use schemars::JsonSchema;
use serde::Deserialize;
use watchkeeper_core::{
    Context, Detector, DetectorKind, Elapsed, Event, EventKind, Fingerprint, InvalidOption, Level,
    Moment, Period, Place, Report, Severity, SignedDuration, ToolCall, ToolClass, ToolResult,
    quote,
};

/// A poll counts this many times less: it repeats by design.
const POLLS: u64 = 5;
/// Calls that come this slowly are taken for polls of a milder sort.
const UNHURRIED: SignedDuration = SignedDuration::from_secs(60);
/// An answer shorter than this says too little to be the same answer to
/// different calls.
const SHORTEST_ANSWER: usize = 12;
const NANOS_PER_SEC: u64 = 1_000_000_000;

/// Finds agents that make the same tool call again and again.
#[derive(Clone, Debug)]
pub struct RepeatToolCall {
    options: Arc<RepeatToolCallOptions>,
    streak: Option<Streak>,
}

/// The options of `kind = "repeat-tool-call"`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RepeatToolCallOptions {
    /// What makes two calls the same.
    #[serde(default = "everything")]
    same: Vec<Part>,
    /// How long after the call before a repeat still counts; without it,
    /// however long.
    within: Option<Period>,
    /// Which classes of tools count; without it, all. A call of another class
    /// ends what was repeated.
    classes: Option<Vec<ToolClass>>,
}

/// A part of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// The name of the tool.
    Tool,
    /// What the tool was given.
    Arguments,
    /// What the tool answered, numbers, ids and times aside.
    Result,
}

fn everything() -> Vec<Part> {
    vec![Part::Tool, Part::Arguments, Part::Result]
}

watchkeeper_core::register!(RepeatToolCall);

impl DetectorKind for RepeatToolCall {
    const KIND: &'static str = "repeat-tool-call";
    const DOCS: &'static str = include_str!("../README.md");
    const CLASS: &'static str = "runaway";
    const LEVELS: &'static [Level] = &[
        Level::new(3, Severity::Low),
        Level::new(4, Severity::Medium),
        Level::new(8, Severity::High),
    ];
    const LIMIT: u64 = 4;
    type Options = RepeatToolCallOptions;

    fn new(options: RepeatToolCallOptions) -> Result<Self, InvalidOption> {
        if options.same.is_empty() {
            let reason = r#"name at least one of "tool", "arguments" and "result""#;
            return Err(InvalidOption::new("same", reason));
        }
        if options.compares(Part::Arguments) && !options.compares(Part::Tool) {
            let reason = r#""arguments" mean nothing without their "tool"; name both"#;
            return Err(InvalidOption::new("same", reason));
        }
        if options.classes.as_ref().is_some_and(Vec::is_empty) {
            return Err(InvalidOption::new("classes", "name at least one, or leave it out"));
        }
        Ok(Self { options: Arc::new(options), streak: None })
    }
}

/// Calls in a row that are the same. There is one for each of very many
/// streams, so it is kept small.
#[derive(Clone, Debug)]
struct Streak {
    call: Fingerprint,
    /// The latest answer that is known.
    answer: Option<NonZeroU64>,
    response: Option<NonZeroU64>,
    n_calls: u32,
    n_answers: u32,
    since: Moment,
    /// How many nanoseconds later the latest of the calls was made.
    took: u64,
    /// Whether the latest of the calls has no answer yet.
    is_pending: bool,
    first: Option<Place>,
}

/// A fingerprint in a form that leaves room for none.
fn packed(fingerprint: Fingerprint) -> Option<NonZeroU64> {
    NonZeroU64::new(fingerprint.get())
}

impl Detector for RepeatToolCall {
    fn observe(&mut self, event: &Event, cx: &mut Context<'_>) {
        match &event.kind {
            EventKind::Prompt { synthetic: false, .. } => {
                self.end(cx, "a person spoke");
                self.streak = None;
            }
            EventKind::ToolCall(call) => self.called(call, cx),
            EventKind::ToolResult(result) => self.answered(result, cx),
            _ => {}
        }
    }
}

impl RepeatToolCall {
    fn called(&mut self, call: &ToolCall, cx: &mut Context<'_>) {
        if !self.options.counts(call.class) {
            self.end(cx, "another tool was called");
            self.streak = None;
            return;
        }
        let now = cx.now();
        let key = self.options.key(&call.tool, call.fingerprint);
        let response = call.response.as_deref().map(Fingerprint::of).and_then(packed);
        if let Some(streak) = self.streak.as_mut().filter(|it| it.call == key) {
            // Copies that run side by side are one attempt.
            if streak.is_pending && response.is_some() && streak.response == response {
                return;
            }
            let took = now.duration_since(streak.since.into());
            let gap = took.saturating_sub(streak.took());
            if self.options.within.is_none_or(|it| gap <= it.get()) {
                streak.n_calls = streak.n_calls.saturating_add(1);
                streak.took = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
                streak.is_pending = true;
                streak.response = response;
                self.raise(&call.tool, call.class, cx);
                return;
            }
            self.end(cx, "the next one came late");
        } else {
            self.end(cx, "another call was made");
        }
        self.streak = Some(Streak {
            call: key,
            answer: None,
            n_calls: 1,
            n_answers: 0,
            since: now.into(),
            took: 0,
            is_pending: true,
            response,
            first: cx.place(),
        });
    }

    fn answered(&mut self, result: &ToolResult, cx: &mut Context<'_>) {
        if !self.options.compares(Part::Result) {
            return;
        }
        let Some(call) = cx.call().cloned() else { return };
        let key = self.options.key(&call.tool, call.fingerprint);
        let Some(streak) = self.streak.as_mut().filter(|it| it.call == key) else { return };
        streak.is_pending = false;
        let Some(answer) = result.fingerprint.and_then(packed) else { return };
        let says_enough = self.options.compares(Part::Arguments)
            || result.output.as_deref().is_some_and(|it| SHORTEST_ANSWER <= it.trim().len());
        if says_enough && streak.answer.is_none_or(|it| it == answer) {
            streak.answer = Some(answer);
            // Of copies that run side by side, one answer counts.
            streak.n_answers = streak.n_calls.min(streak.n_answers.saturating_add(1));
            self.raise(&call.tool, call.class, cx);
            return;
        }
        self.end(cx, "the answer changed");
        self.streak = Some(Streak {
            call: key,
            answer: Some(answer),
            n_calls: 1,
            n_answers: 1,
            since: call.at.into(),
            took: 0,
            is_pending: false,
            response: call.response.and_then(packed),
            first: Some(call.place()),
        });
    }

    fn raise(&self, tool: &str, class: ToolClass, cx: &mut Context<'_>) {
        let Some(streak) = &self.streak else { return };
        let n_repeats = streak.n_repeats(&self.options);
        let spacing_count = i32::try_from(streak.n_calls.saturating_sub(1)).unwrap_or(i32::MAX);
        let took = streak.took();
        let measure = match n_repeats.counted {
            it if class == ToolClass::Wait => it / POLLS,
            it if 0 < spacing_count && UNHURRIED * spacing_count <= took => it * 2 / 5,
            it => it,
        };
        let options = &self.options;
        cx.raise(Fingerprint::NONE, measure, || {
            let (n, tool_name) = (n_repeats.seen, quote(tool));
            let took = Elapsed(took);
            let message = match (options.compares(Part::Result), options.compares(Part::Arguments)) {
                (true, true) if streak.answer.is_none() => {
                    format!("{tool_name} was called the same way {n} times in {took}, and no answer is known")
                }
                (true, true) => {
                    format!("{tool_name} gave the same answer to the same call {n} times in {took}")
                }
                (true, false) if options.compares(Part::Tool) => {
                    format!("{tool_name} gave the same answer to {n} calls in a row in {took}")
                }
                (true, false) => {
                    format!("{n} calls in a row got the same answer in {took}, the last from {tool_name}")
                }
                (false, true) => {
                    format!("{tool_name} was called the same way {n} times in {took}")
                }
                (false, false) => format!("{tool_name} was called {n} times in a row in {took}"),
            };
            Report::new(message)
                .with("tool", tool_name.trim_matches('`'))
                .with("repeats", n)
                .since(streak.first.as_ref().map(Place::evidence))
        });
    }

    /// Says that whatever was repeated is repeated no more.
    fn end(&self, cx: &mut Context<'_>, why: &str) {
        let Some(streak) = &self.streak else { return };
        let n = streak.n_repeats(&self.options).seen;
        cx.resolve(Fingerprint::NONE, || {
            Report::new(format!("no more repeats after {n}: {why}")).with("repeats", n)
        });
    }
}

/// How often a call was repeated, itself included.
#[derive(Clone, Copy)]
struct Repeats {
    /// For people.
    seen: u64,
    /// For the levels.
    counted: u64,
}

impl Streak {
    /// From its first call to its latest.
    fn took(&self) -> SignedDuration {
        let secs = i64::try_from(self.took / NANOS_PER_SEC).unwrap_or(i64::MAX);
        let nanos = i32::try_from(self.took % NANOS_PER_SEC).unwrap_or_default();
        SignedDuration::new(secs, nanos)
    }

    fn n_repeats(&self, options: &RepeatToolCallOptions) -> Repeats {
        let (n_calls, n_answers) = (u64::from(self.n_calls), u64::from(self.n_answers));
        if !options.compares(Part::Result) {
            return Repeats { seen: n_calls, counted: n_calls };
        }
        if !options.compares(Part::Arguments) {
            return Repeats { seen: n_answers, counted: n_answers };
        }
        // The call in flight may yet get another answer; where no call gets
        // any, there is nothing to wait for.
        let is_open = self.is_pending && 0 < n_answers;
        let n_calls = n_calls - u64::from(is_open);
        // Calls say less than answers do: four of them count as three.
        let counted = n_answers.max(n_calls - n_calls / 4);
        Repeats { seen: n_calls, counted }
    }
}

impl RepeatToolCallOptions {
    fn compares(&self, part: Part) -> bool {
        self.same.contains(&part)
    }

    fn counts(&self, class: ToolClass) -> bool {
        self.classes.as_ref().is_none_or(|it| it.contains(&class))
    }

    /// What two calls that count as the same have in common.
    fn key(&self, tool: &str, call: Fingerprint) -> Fingerprint {
        match (self.compares(Part::Tool), self.compares(Part::Arguments)) {
            (_, true) => call,
            (true, false) => Fingerprint::of(tool),
            (false, false) => Fingerprint::NONE,
        }
    }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;
    use watchkeeper_testing::{laws, play};

    use super::RepeatToolCall;

    #[test]
    fn equal_answers_to_equal_calls_are_counted() {
        let trace = r#"
            0s   prompt fix it
            1s   repeat 9 every 10s: call Bash {"command":"make"} ;; result fail line 7: no rule
            +2s  message let me look elsewhere
            +2s  call Read Makefile
        "#;
        assert_snapshot!(play::<RepeatToolCall>("", trace), @"
        21s     low       `Bash` gave the same answer to the same call 3 times in 20s
        31s     medium    `Bash` gave the same answer to the same call 4 times in 30s
        1m11s   high      `Bash` gave the same answer to the same call 8 times in 1m 10s
        1m25s   resolved  no more repeats after 9: another call was made
        ");
    }

    #[test]
    fn a_changing_answer_is_progress() {
        let trace = "
            0s   repeat 3 every 5s: call Bash make ;; result one error left
            +5s  call Bash make
            +1s  result all is well
            +5s  repeat 3 every 5s: call Bash make ;; result all is well
        ";
        assert_snapshot!(play::<RepeatToolCall>("", trace), @"
        10s     low       `Bash` gave the same answer to the same call 3 times in 10s
        16s     resolved  no more repeats after 4: the answer changed
        26s     low       `Bash` gave the same answer to the same call 3 times in 11s
        31s     medium    `Bash` gave the same answer to the same call 4 times in 16s
        ");
    }

    #[test]
    fn a_person_starts_the_count_anew_and_a_harness_does_not() {
        let trace = "
            0s   repeat 3 every 1s: call Bash make ;; result no rule
            +1s  prompt try again
            +1s  repeat 2 every 1s: call Bash make ;; result no rule
            +1s  synthetic go on
            +1s  repeat 2 every 1s: call Bash make ;; result no rule
        ";
        assert_snapshot!(play::<RepeatToolCall>("", trace), @"
        2s      low       `Bash` gave the same answer to the same call 3 times in 2s
        3s      resolved  no more repeats after 3: a person spoke
        7s      low       `Bash` gave the same answer to the same call 3 times in 3s
        8s      medium    `Bash` gave the same answer to the same call 4 times in 4s
        ");
    }

    #[test]
    fn calls_without_answers_count_for_less() {
        let trace = "0s repeat 5 every 1s: call Bash make";
        assert_snapshot!(play::<RepeatToolCall>("", trace), @"
        2s      low       `Bash` was called the same way 3 times in 2s, and no answer is known
        4s      medium    `Bash` was called the same way 5 times in 4s, and no answer is known
        ");
        // Copies that run side by side are one.
        let trace = "0s repeat 20 every 1s: call Bash @r1 make";
        assert_snapshot!(play::<RepeatToolCall>("", trace), @"");
    }

    #[test]
    fn who_waits_is_given_time() {
        let polls = "0s repeat 20 every 30s: call BashOutput {} ;; result still running";
        assert_snapshot!(play::<RepeatToolCall>("", polls), @"
        7m      low       `BashOutput` gave the same answer to the same call 15 times in 7m
        9m30s   medium    `BashOutput` gave the same answer to the same call 20 times in 9m 30s
        ");
        let slow = "0s repeat 10 every 1m: call Bash {} ;; result still running";
        assert_snapshot!(play::<RepeatToolCall>("", slow), @"
        7m      low       `Bash` gave the same answer to the same call 8 times in 7m
        9m      medium    `Bash` gave the same answer to the same call 10 times in 9m
        ");
    }

    #[test]
    fn less_can_be_the_same() {
        let trace = "
            0s   call Grep foo
            1s   result no matches were found
            2s   call Grep bar
            3s   result no matches were found
            4s   call Grep baz
            5s   result no matches were found
            6s   call Read README.md
            7s   result no matches were found
        ";
        let of = |options| play::<RepeatToolCall>(options, trace);
        assert_snapshot!(of("same = ['tool']"), @"
        4s      low       `Grep` was called 3 times in a row in 4s
        6s      resolved  no more repeats after 3: another call was made
        ");
        assert_snapshot!(of("same = ['tool', 'result']"), @"
        5s      low       `Grep` gave the same answer to 3 calls in a row in 4s
        6s      resolved  no more repeats after 3: another call was made
        ");
        assert_snapshot!(of("same = ['result']"), @"
        5s      low       3 calls in a row got the same answer in 4s, the last from `Grep`
        7s      medium    4 calls in a row got the same answer in 6s, the last from `Read`
        ");
        assert_snapshot!(of("same = ['result']\nclasses = ['write']"), @"");
        assert_snapshot!(of("same = ['result']\nwithin = '1s'"), @"");
    }

    #[test]
    fn it_obeys_the_laws_of_detectors() {
        laws::check::<RepeatToolCall>("");
        laws::check::<RepeatToolCall>(
            "same = ['tool', 'result']\nwithin = '10m'\nclasses = ['run', 'read']",
        );
    }

    #[test]
    fn one_for_each_of_many_streams_is_small() {
        assert_eq!(size_of::<RepeatToolCall>(), 88);
    }
}
