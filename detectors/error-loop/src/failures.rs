//! Failed tool calls without progress in between.

use std::{num::NonZeroU32, sync::Arc};

use watchkeeper_core::{
    Context, EventKind, Fingerprint, Purpose, Report, SignedDuration, Timestamp, ToolClass,
    ToolResult, author::Place, quote,
};

use crate::{
    failure::{Failure, Weight},
    options::Of,
};

/// Polls and outages with gaps of at least this length are measured by the time that has
/// passed: the agent gives the awaited service time.
const SPACED_GAP: SignedDuration = SignedDuration::from_secs(15);
/// The time of such failures that counts as one failure.
const SPACED_TIME: SignedDuration = SignedDuration::from_mins(30);
/// The number of changes after which an error that survives them has its full weight.
const MANY_CHANGES: u64 = 12;

/// The current row of failures of one agent, if any.
#[derive(Clone, Debug, Default)]
pub(crate) struct Failures {
    row: Option<Box<Row>>,
}

/// Failed tool calls without progress in between.
#[derive(Clone, Debug)]
struct Row {
    /// The latest error, if errors are compared.
    error: Fingerprint,
    /// True if all failures have that error.
    is_one_error: bool,
    /// True if all failures are of the latest failed call.
    is_one_call: bool,
    n_failures: u64,
    /// The sum of the weights of the failures.
    weight: u64,
    /// True if another tool succeeded after the latest failure.
    is_eased: bool,
    /// True if a change succeeded after the latest failure.
    is_edited: bool,
    /// The number of failures with the same error after a change.
    n_survived: u32,
    /// The output of the latest failure.
    output: Option<NonZeroU32>,
    /// The latest failed call, if it is known.
    call: Fingerprint,
    tool: Arc<str>,
    class: ToolClass,
    response: Option<Fingerprint>,
    since: Timestamp,
    first: Option<Place>,
}

impl Failures {
    pub(crate) fn observe(&mut self, event: &EventKind, of: Of, cx: &mut Context<'_>) {
        match event {
            EventKind::Prompt { .. } => {
                if let Some(reason) = cx.agent().start().reason() {
                    self.end(cx, reason);
                }
            }
            EventKind::ToolResult(result) if result.ok => self.add_success(of, cx),
            EventKind::ToolResult(result) if result.failed() => self.add_failure(result, of, cx),
            _ => {}
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.row.is_none()
    }

    fn add_failure(&mut self, result: &ToolResult, of: Of, cx: &mut Context<'_>) {
        let call = cx.call().cloned();
        let class = call.as_ref().map_or(ToolClass::Other, |call| call.class);
        let failure = Failure::of(result, class);
        let key = call.as_ref().map_or(Fingerprint::NONE, |call| call.fingerprint);
        let error = match of {
            // A result without a specific error is compared for one call only.
            Of::Error => failure
                .error
                .or_else(|| call.as_ref().and(result.fingerprint).map(|output| key.and(output))),
            _ => Some(Fingerprint::NONE),
        };
        let Some(error) = error.filter(|_| failure.weight != Weight::None) else { return };
        if of == Of::Error && self.row.as_ref().is_some_and(|row| !row.includes(error, key)) {
            self.end(cx, "another error occurred");
        }
        let response = call.as_ref().and_then(|call| call.response);
        let row = self.row.get_or_insert_with(|| {
            Box::new(Row {
                error,
                is_one_error: true,
                is_one_call: true,
                n_failures: 0,
                weight: 0,
                is_eased: false,
                is_edited: false,
                n_survived: 0,
                output: None,
                call: key,
                tool: Arc::default(),
                class,
                response: None,
                since: cx.now(),
                first: cx.place(),
            })
        });
        // Parallel calls are one attempt.
        if response.is_some() && row.response == response {
            return;
        }
        row.n_failures += 1;
        let output = result.fingerprint.map(Fingerprint::brief);
        let waits =
            call.as_ref().is_some_and(|call| matches!(call.purpose, Purpose::Poll | Purpose::Wait))
                || failure.weight == Weight::Third;
        row.weight += match row.weight_if_spaced(&failure, cx).filter(|_| waits) {
            Some(weight) => weight,
            None => row.weight_of(&failure, error, key, output),
        };
        row.is_one_error &= row.error == error;
        row.is_one_call &= row.call == key && key != Fingerprint::NONE;
        row.error = error;
        row.call = key;
        row.is_eased = false;
        row.is_edited = false;
        row.output = output;
        row.class = class;
        row.response = response;
        if let Some(call) = call {
            row.tool = call.tool;
        }
        row.report(&failure, of, cx);
    }

    fn add_success(&mut self, of: Of, cx: &mut Context<'_>) {
        let Some(row) = &mut self.row else { return };
        let Some(call) = cx.call() else {
            if of == Of::Failure {
                self.end(cx, "a tool succeeded");
            }
            return;
        };
        let class = call.class;
        let is_read = |class| matches!(class, ToolClass::Read | ToolClass::Wait);
        let ends = match (of, class) {
            _ if row.call == call.fingerprint => true,
            // Repeating the previous change is no progress.
            (Of::Error, ToolClass::Write) if row.class != ToolClass::Write => {
                row.is_edited |= cx.agent().has_new_change();
                false
            }
            (_, ToolClass::Write) => cx.agent().has_new_change(),
            (_, ToolClass::Ask) => true,
            (Of::Error, _) => {
                row.is_eased = true;
                false
            }
            // A successful read is unrelated to a failed change or command.
            _ => !is_read(class) || is_read(row.class),
        };
        if ends {
            self.end(cx, "a tool succeeded");
        }
    }

    fn end(&mut self, cx: &mut Context<'_>, reason: &str) {
        let Some(row) = self.row.take() else { return };
        cx.resolve(Fingerprint::NONE, || {
            let n = row.n_failures;
            Report::new(format!("no further failures after {n}: {reason}")).with("failures", n)
        });
    }
}

impl Row {
    /// Returns true if a failure has the same error or the same call.
    fn includes(&self, error: Fingerprint, call: Fingerprint) -> bool {
        let is_same_call = self.is_one_call && self.call == call && call != Fingerprint::NONE;
        // Another error after a change is progress.
        self.is_one_error && self.error == error || is_same_call && !self.is_edited
    }

    /// Returns the weight of the next failure if the gaps between failures are long on
    /// average.
    fn weight_if_spaced(&self, failure: &Failure<'_>, cx: &Context<'_>) -> Option<u64> {
        let n_gaps = i64::try_from(self.n_failures.checked_sub(1)?).ok().filter(|n| *n != 0)?;
        let gap = cx.now().duration_since(self.since).as_secs() / n_gaps;
        if gap < SPACED_GAP.as_secs() {
            return None;
        }
        let gap = u64::try_from(gap.min(SPACED_TIME.as_secs())).unwrap_or_default();
        let weight = Weight::UNIT * gap / SPACED_TIME.as_secs().unsigned_abs();
        Some(weight.min(failure.weight.get()))
    }

    /// Returns the weight of the next failure. Counts the changes that an error
    /// survives: the first ones are honest work, and each further one is
    /// stronger evidence.
    fn weight_of(
        &mut self,
        failure: &Failure<'_>,
        error: Fingerprint,
        call: Fingerprint,
        output: Option<NonZeroU32>,
    ) -> u64 {
        let is_same_call = self.call == call && 1 < self.n_failures;
        let full = match failure.weight {
            Weight::TwoThirds if is_same_call => Weight::UNIT,
            weight => weight.get(),
        };
        if self.is_edited {
            self.n_survived = self.n_survived.saturating_add(1);
            // Other output around the same error shows that the change had an effect.
            let n_halves = u32::from(self.output != output);
            return (full * u64::from(self.n_survived).min(MANY_CHANGES) / MANY_CHANGES)
                >> n_halves;
        }
        // Another error of the same call shows that the agent tries something.
        full >> (u32::from(self.is_eased) + u32::from(self.error != error))
    }

    fn report(&self, failure: &Failure<'_>, of: Of, cx: &mut Context<'_>) {
        let took = cx.within(cx.now().duration_since(self.since));
        cx.report(Fingerprint::NONE, self.weight / Weight::UNIT, || {
            let n = self.n_failures;
            let tool = quote(&self.tool);
            let mut message = match of {
                Of::Error if n == 1 => "an error occurred once".to_owned(),
                _ if n == 1 => "a tool failed once".to_owned(),
                Of::Error if self.is_one_error => {
                    format!("the same error occurred {n} times{took}")
                }
                Of::Error => {
                    format!("the same call failed {n} times{took}, with different errors")
                }
                _ => format!("tools failed {n} times{took}, without progress in between"),
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
