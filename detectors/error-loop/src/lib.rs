#![doc = include_str!("../README.md")]

mod failure;
#[cfg(test)]
mod tests;

use std::{collections::VecDeque, sync::Arc};

use schemars::JsonSchema;
use serde::Deserialize;
use watchkeeper_core::{
    Context, Detector, DetectorKind, Elapsed, Event, EventKind, EventSet, Fingerprint,
    InvalidOption, Level, PackedTimestamp, Period, Place, Report, Severity, SignedDuration,
    Subscription, Timestamp, ToolClass, ToolResult, quote,
};

use crate::failure::{Failure, Weight, is_provider_trouble};

/// How long retries stay in mind where the policy does not say.
const WITHIN: Period = Period::from_secs(5 * 60);
/// A harness that gives up has tried so many times at least: Codex, Claude Code,
/// Gemini CLI and opencode try from seven to thirty times.
const GAVE_UP: u64 = 5;
/// How many retries are kept; the oldest is forgotten first.
const MAX_RETRIES: usize = 64;

/// Finds agents that fail again and again.
#[derive(Clone, Debug)]
pub struct ErrorLoop {
    options: Arc<ErrorLoopOptions>,
    state: State,
}

/// The options of `kind = "error-loop"`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ErrorLoopOptions {
    /// What happens again and again.
    of: Of,
    /// With `of = "retry"`: how long a retry counts; without it, 5 minutes.
    within: Option<Period>,
}

/// What may happen again and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Of {
    /// Tools fail, whichever they are and whatever they say.
    Failure,
    /// Tools fail with one and the same error.
    Error,
    /// The model gives no answer, and is tried again.
    Retry,
    /// The context is compacted, and nothing is done in between.
    Compaction,
}

watchkeeper_core::register!(ErrorLoop);

impl DetectorKind for ErrorLoop {
    const KIND: &'static str = "error-loop";
    const DOCS: &'static str = include_str!("../README.md");
    const CLASS: &'static str = "runaway";
    const LEVELS: &'static [Level] = &[
        Level::new(3, Severity::Low),
        Level::new(5, Severity::Medium),
        Level::new(9, Severity::High),
    ];
    const LIMIT: u64 = 5;
    type Options = ErrorLoopOptions;

    fn new(options: ErrorLoopOptions) -> Result<Self, InvalidOption> {
        if options.within.is_some() && options.of != Of::Retry {
            return Err(InvalidOption::new("within", r#"only `of = "retry"` has it"#));
        }
        let state = match options.of {
            Of::Failure | Of::Error => State::Failures(None),
            Of::Retry => State::Retries(None),
            Of::Compaction => State::Compactions(None),
        };
        Ok(Self { options: Arc::new(options), state })
    }
}

/// What is known of what went wrong. Most streams have nothing of it.
#[derive(Clone, Debug)]
enum State {
    Failures(Option<Box<Row>>),
    Retries(Option<Box<Retries>>),
    Compactions(Option<Box<Compactions>>),
}

impl Detector for ErrorLoop {
    fn observe(&mut self, event: &Event, cx: &mut Context<'_>) {
        let of = self.options.of;
        match &mut self.state {
            State::Failures(row) => match &event.kind {
                EventKind::Prompt { synthetic: false, .. } => Row::end(row, cx, "a person spoke"),
                EventKind::ToolResult(result) if result.ok => Row::worked(row, of, cx),
                EventKind::ToolResult(result) if result.failed() => {
                    Row::failed(row, result, of, cx);
                }
                _ => {}
            },
            State::Retries(retries) => {
                let (message, attempts) = match &event.kind {
                    EventKind::Error { message, retry: Some(attempt) } => (message, Some(*attempt)),
                    EventKind::Error { message, retry: None } if is_provider_trouble(message) => {
                        (message, None)
                    }
                    _ => return,
                };
                let within = self.options.within();
                let retries = retries.get_or_insert_default();
                retries.observe(message, attempts.map(u64::from), within, cx);
            }
            State::Compactions(compactions) => match &event.kind {
                EventKind::Compaction { .. } => match compactions {
                    Some(compactions) => compactions.observe(cx),
                    None => *compactions = Some(Box::new(Compactions::new(cx))),
                },
                EventKind::Prompt { synthetic: false, .. } => {
                    Compactions::end(compactions, cx, "a person spoke");
                }
                EventKind::Message { text, .. } if !text.trim_ascii().is_empty() => {
                    Compactions::end(compactions, cx, "the agent spoke");
                }
                EventKind::ToolResult(result) if result.ok => {
                    Compactions::end(compactions, cx, "a tool was used");
                }
                _ => {}
            },
        }
    }

    fn subscription(&self) -> Subscription {
        const RESULTS: EventSet = EventSet::of(&["prompt", "tool_result"]);
        const ERRORS: EventSet = EventSet::of(&["error"]);
        const COMPACTIONS: EventSet = EventSet::of(&["compaction"]);
        const PROGRESS: EventSet = EventSet::of(&["message", "prompt", "tool_result"]);
        match self.state {
            State::Failures(_) => Subscription::to(RESULTS).starting_with(EventSet::FAILED_RESULTS),
            State::Retries(_) => Subscription::to(ERRORS),
            State::Compactions(_) => {
                Subscription::to(COMPACTIONS.or(PROGRESS)).starting_with(COMPACTIONS)
            }
        }
    }

    fn is_idle(&self) -> bool {
        match &self.state {
            State::Failures(it) => it.is_none(),
            State::Retries(it) => it.is_none(),
            State::Compactions(it) => it.is_none(),
        }
    }

    fn wake(&mut self, cx: &mut Context<'_>) {
        let within = self.options.within();
        if let State::Retries(state) = &mut self.state
            && let Some(retries) = state
        {
            retries.forget(within, cx.now());
            if let Some(latest) = retries.times.back() {
                cx.wake_at(*latest + within);
                return;
            }
            cx.resolve(Fingerprint::NONE, || {
                Report::new(format!("no more retries for {}", Elapsed(within)))
            });
            *state = None;
        }
    }
}

impl ErrorLoopOptions {
    fn within(&self) -> SignedDuration {
        self.within.unwrap_or(WITHIN).get()
    }
}

/// Results of tools that are not ok, with nothing done in between.
#[derive(Clone, Debug)]
struct Row {
    /// The latest error, if errors are compared.
    error: Fingerprint,
    /// Whether all of them are that error.
    is_one_error: bool,
    /// Whether all of them are the call that failed last.
    is_one_call: bool,
    n_failures: u64,
    /// The sum of their weights.
    weight: u64,
    /// Whether something else worked since the latest of them.
    is_eased: bool,
    /// The call that failed last, if it is known.
    call: Fingerprint,
    tool: Arc<str>,
    class: ToolClass,
    response: Option<Fingerprint>,
    since: PackedTimestamp,
    first: Option<Place>,
}

impl Row {
    fn failed(state: &mut Option<Box<Self>>, result: &ToolResult, of: Of, cx: &mut Context<'_>) {
        let call = cx.call().cloned();
        let class = call.as_ref().map_or(ToolClass::Other, |it| it.class);
        let failure = Failure::of(result, class);
        let key = call.as_ref().map_or(Fingerprint::NONE, |it| it.fingerprint);
        let error = match of {
            // What says too little is the same only from the same call.
            Of::Error => failure
                .error
                .or_else(|| call.as_ref().and(result.fingerprint).map(|it| key.and(it))),
            _ => Some(Fingerprint::NONE),
        };
        let Some(error) = error.filter(|_| failure.weight != Weight::Nothing) else { return };
        let is_like = |row: &Row| {
            let is_same_call = row.is_one_call && row.call == key && key != Fingerprint::NONE;
            row.is_one_error && row.error == error || is_same_call
        };
        if state.as_deref().is_some_and(|it| of == Of::Error && !is_like(it)) {
            Self::end(state, cx, "another error came");
        }
        let response = call.as_ref().and_then(|it| it.response);
        let row = state.get_or_insert_with(|| {
            Box::new(Self {
                error,
                is_one_error: true,
                is_one_call: true,
                n_failures: 0,
                weight: 0,
                is_eased: false,
                call: key,
                tool: Arc::default(),
                class,
                response: None,
                since: cx.now().into(),
                first: cx.place(),
            })
        });
        // Calls that run side by side are one attempt.
        if response.is_some() && row.response == response {
            return;
        }
        row.n_failures += 1;
        // Another error of the same call says that something is tried.
        let n_halves = u32::from(row.is_eased) + u32::from(row.error != error);
        row.weight += failure.weight.get() >> n_halves;
        row.is_one_error &= row.error == error;
        row.is_one_call &= row.call == key && key != Fingerprint::NONE;
        row.error = error;
        row.call = key;
        row.is_eased = false;
        row.class = class;
        row.response = response;
        if let Some(call) = call {
            row.tool = call.tool;
        }
        row.raise(&failure, of, cx);
    }

    /// Reads the answer of a tool that is ok.
    fn worked(state: &mut Option<Box<Self>>, of: Of, cx: &mut Context<'_>) {
        let Some(row) = state else { return };
        let Some(call) = cx.call() else {
            if of == Of::Failure {
                Self::end(state, cx, "a tool worked");
            }
            return;
        };
        let class = call.class;
        let is_look = |it| matches!(it, ToolClass::Read | ToolClass::Wait);
        let ends = match (of, class) {
            _ if row.call == call.fingerprint => true,
            // To do the same again is no headway.
            (_, ToolClass::Write) => cx.agent().is_changing,
            (_, ToolClass::Ask) => true,
            (Of::Error, _) => {
                row.is_eased = true;
                false
            }
            // That looking works says nothing of what fails otherwise.
            _ => !is_look(class) || is_look(row.class),
        };
        if ends {
            Self::end(state, cx, "a tool worked");
        }
    }

    fn end(state: &mut Option<Box<Self>>, cx: &mut Context<'_>, why: &str) {
        let Some(row) = state.take() else { return };
        cx.resolve(Fingerprint::NONE, || {
            let n = row.n_failures;
            Report::new(format!("no more failures after {n}: {why}")).with("failures", n)
        });
    }

    fn raise(&self, failure: &Failure<'_>, of: Of, cx: &mut Context<'_>) {
        let took = Elapsed(cx.now().duration_since(self.since.into()));
        cx.report(Fingerprint::NONE, self.weight / Weight::UNIT, || {
            let n = self.n_failures;
            let tool = quote(&self.tool);
            let mut message = match of {
                Of::Error if n == 1 => "an error came once".to_owned(),
                _ if n == 1 => "a tool failed once".to_owned(),
                Of::Error if self.is_one_error => {
                    format!("the same error came {n} times in {took}")
                }
                Of::Error => {
                    format!("the same call failed {n} times in {took}, with different errors")
                }
                _ => format!("tools failed {n} times in {took}, and nothing was done in between"),
            };
            if !self.tool.is_empty() {
                message.push_str(if n == 1 { ", from " } else { ", the last from " });
                message.push_str(&tool);
            }
            let mut report = match failure.line.map(quote) {
                None => Report::new(message),
                Some(line) => {
                    Report::new(format!("{message}: {line}")).with("error", line.trim_matches('`'))
                }
            };
            if !self.tool.is_empty() {
                report = report.with("tool", tool.trim_matches('`'));
            }
            report.with("failures", n).since(self.first.as_ref().map(Place::evidence))
        });
    }
}

/// Attempts to get an answer from the model that failed.
#[derive(Clone, Debug, Default)]
struct Retries {
    /// When they were made, as far back as they count.
    times: VecDeque<Timestamp>,
    first: Option<Place>,
}

impl Retries {
    /// Takes an attempt that failed, and how many there were, if somebody
    /// counts; nobody does once the harness has given up.
    fn observe(
        &mut self,
        message: &str,
        attempts: Option<u64>,
        within: SignedDuration,
        cx: &mut Context<'_>,
    ) {
        let now = cx.now();
        self.forget(within, now);
        if self.times.is_empty() {
            self.first = cx.place();
        }
        if self.times.len() == MAX_RETRIES {
            self.times.pop_front();
        }
        self.times.push_back(now);
        let since = *self.times.front().unwrap_or(&now);
        let n_seen = u64::try_from(self.times.len()).unwrap_or(u64::MAX);
        // Who counts the attempts may have made some that nobody wrote down.
        let measure = n_seen.max(attempts.unwrap_or(GAVE_UP));
        cx.report(Fingerprint::NONE, measure, || {
            let mut res = match attempts {
                None => "the model gave no answer, and the agent gave up".to_owned(),
                Some(attempt) if n_seen < attempt => {
                    format!("attempt {attempt} to get an answer from the model failed")
                }
                Some(_) if n_seen == 1 => {
                    "an attempt to get an answer from the model failed".to_owned()
                }
                Some(_) => {
                    let took = Elapsed(now.duration_since(since));
                    format!("{n_seen} attempts to get an answer from the model failed in {took}")
                }
            };
            let message = message.trim();
            if !message.is_empty() {
                res.push_str(": ");
                res.push_str(&quote(message));
            }
            let report = Report::new(res).since(self.first.as_ref().map(Place::evidence));
            if attempts.is_some() { report.with("attempts", measure) } else { report }
        });
        // There is something to forget then, if nothing else.
        cx.wake_at(now + within);
    }

    /// Forgets what is too long ago to count.
    fn forget(&mut self, within: SignedDuration, now: Timestamp) {
        while self.times.front().is_some_and(|it| within <= now.duration_since(*it)) {
            self.times.pop_front();
        }
    }
}

/// Compactions with nothing done in between.
#[derive(Clone, Debug)]
struct Compactions {
    n: u64,
    since: PackedTimestamp,
    first: Option<Place>,
}

impl Compactions {
    fn new(cx: &mut Context<'_>) -> Self {
        let mut res = Self { n: 0, since: cx.now().into(), first: cx.place() };
        res.observe(cx);
        res
    }

    fn observe(&mut self, cx: &mut Context<'_>) {
        self.n += 1;
        let (n, took) = (self.n, Elapsed(cx.now().duration_since(self.since.into())));
        cx.report(Fingerprint::NONE, n, || {
            Report::new(match n {
                1 => "the context was compacted once".to_owned(),
                _ => format!(
                    "the context was compacted {n} times in {took}, and nothing was done in between"
                ),
            })
            .with("compactions", n)
            .since(self.first.as_ref().map(Place::evidence))
        });
    }

    fn end(this: &mut Option<Box<Self>>, cx: &mut Context<'_>, why: &str) {
        let Some(Self { n, .. }) = this.take().map(|it| *it) else { return };
        cx.resolve(Fingerprint::NONE, || {
            Report::new(format!("no more compactions after {n}: {why}")).with("compactions", n)
        });
    }
}
