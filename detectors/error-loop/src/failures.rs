//! Failed tool calls without progress in between.

use std::{num::NonZeroU32, sync::Arc};

use watchkeeper_core::{
    Context, ErrorCause, ErrorClass, EventKind, Fingerprint, Purpose, Report, Timestamp, ToolClass,
    ToolResult,
    author::{Call, Place},
    quote,
};

use crate::{
    causes::Causes,
    error_place::{ErrorPlace, Places, count_errors},
    failure::{Failure, Weight},
    options::Of,
    pace::{OutputChange, spaced_weight, survived_weight},
};

/// The failures of one agent, if any.
#[derive(Clone, Debug, Default)]
pub(crate) struct Failures {
    current: Option<Box<Current>>,
}

#[derive(Clone, Debug, Default)]
struct Current {
    /// The failures whose cause is not known, or all failures if errors are not compared.
    row: Option<Row>,
    /// The failures whose cause is known, if errors are compared.
    causes: Causes,
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
    /// The output of the latest failure, and the line with its error.
    output: Option<NonZeroU32>,
    line: Option<NonZeroU32>,
    /// The places where the error was.
    places: Places,
    /// The fewest errors in an output.
    fewest: Option<u32>,
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
                if let Some(reason) = cx.agent().start().reason()
                    && let Some(current) = &mut self.current
                {
                    current.end(cx, reason);
                    current.causes.end_all(cx, reason);
                }
            }
            EventKind::ToolResult(result) if result.ok || result.failed() => {
                self.add_result(result, of, cx);
            }
            _ => {}
        }
        let is_empty = |current: &Current| current.row.is_none() && current.causes.is_empty();
        if self.current.as_deref().is_some_and(is_empty) {
            self.current = None;
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.current.is_none()
    }

    fn add_result(&mut self, result: &ToolResult, of: Of, cx: &mut Context<'_>) {
        let cause = if of == Of::Error { cx.error_cause() } else { None };
        // Each syntax error is a cause of its own: its line is compared.
        let cause = cause.filter(|cause| cause.class != ErrorClass::Syntax);
        if result.ok && cause.is_none() && self.current.is_none() {
            return;
        }
        let current = self.current.get_or_insert_default();
        current.causes.count_step(cx);
        if let Some(cause) = cause {
            let class = cx.call().map_or(ToolClass::Other, |call| call.class);
            let failure = Failure::of(result, class);
            if failure.weight != Weight::None {
                current.causes.add(result, cause, &failure, cx);
            }
        }
        match (result.ok, cause) {
            (true, None) => {
                current.add_success(of, cx);
                current.causes.add_success(cx);
            }
            (true, Some(_)) => current.add_success(of, cx),
            (false, cause) => current.add_failure(result, cause, of, cx),
        }
    }
}

impl Current {
    /// Adds a failure. A failure whose cause is known counts only as another error of a call
    /// that has failed before.
    fn add_failure(
        &mut self,
        result: &ToolResult,
        cause: Option<ErrorCause<'_>>,
        of: Of,
        cx: &mut Context<'_>,
    ) {
        let call = cx.call().cloned();
        let class = call.as_ref().map_or(ToolClass::Other, |call| call.class);
        let failure = Failure::of(result, class);
        let key = call.as_ref().map_or(Fingerprint::NONE, |call| call.fingerprint);
        let error = match (of, cause) {
            (Of::Error, Some(cause)) => Some(cause.fingerprint()),
            // A result without a specific error is compared for one call only.
            (Of::Error, None) => failure
                .error
                .or_else(|| call.as_ref().and(result.fingerprint).map(|output| key.and(output))),
            _ => Some(Fingerprint::NONE),
        };
        let Some(error) = error.filter(|_| failure.weight != Weight::None) else { return };
        let has_cause = cause.is_some();
        let goes_on = |row: &Row| row.includes(error, key) && !(has_cause && row.error == error);
        if of == Of::Error && self.row.as_ref().is_some_and(|row| !goes_on(row)) {
            self.end(cx, "another error occurred");
        }
        if has_cause && self.row.is_none() {
            return;
        }
        let response = call.as_ref().and_then(|call| call.response);
        let row = self.row.get_or_insert_with(|| Row {
            error,
            is_one_error: true,
            is_one_call: true,
            n_failures: 0,
            weight: 0,
            is_eased: false,
            is_edited: false,
            n_survived: 0,
            output: None,
            line: None,
            places: Places::default(),
            fewest: None,
            call: key,
            tool: Arc::default(),
            class,
            response: None,
            since: cx.now(),
            first: cx.place(),
        });
        // Parallel calls are one attempt.
        if response.is_some() && row.response == response {
            return;
        }
        let details = if of == Of::Error && !has_cause {
            Details::of(result, &failure, call.as_ref())
        } else {
            Details::default()
        };
        let has_moved = row.add_details(&details);
        if has_moved && row.is_one_error && (row.is_edited || row.is_eased) {
            row.resolve(cx, "the error moved");
            row.start_over(cx);
        }
        row.n_failures += 1;
        let waits =
            call.as_ref().is_some_and(|call| matches!(call.purpose, Purpose::Poll | Purpose::Wait))
                || failure.weight == Weight::Third;
        let spaced = spaced_weight(row.n_failures, row.since, &failure, cx);
        row.weight += match spaced.filter(|_| waits) {
            Some(weight) => weight,
            None => row.weight_of(&failure, error, key, &details, has_moved),
        };
        row.is_one_error &= row.error == error;
        row.is_one_call &= row.call == key && key != Fingerprint::NONE;
        row.error = error;
        row.call = key;
        row.is_eased = false;
        row.is_edited = false;
        (row.output, row.line) = (details.output, details.line);
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
        if let Some(row) = self.row.take() {
            row.resolve(cx, reason);
        }
    }
}

/// The details of a failure that may differ although the error is the same.
#[derive(Clone, Copy, Debug, Default)]
struct Details {
    output: Option<NonZeroU32>,
    /// The line with the error, with its numbers.
    line: Option<NonZeroU32>,
    place: Option<ErrorPlace>,
    /// The number of errors in the output.
    n_errors: Option<u32>,
}

impl Details {
    fn of(result: &ToolResult, failure: &Failure<'_>, call: Option<&Call>) -> Self {
        let output = result.output.as_deref().unwrap_or_default();
        let command = call.and_then(Call::command);
        Self {
            output: result.fingerprint.map(Fingerprint::brief),
            line: failure.line.map(|line| Fingerprint::of(line).brief()),
            place: failure.line.and_then(|line| ErrorPlace::of(output, line, command)),
            n_errors: count_errors(output),
        }
    }
}

impl Row {
    /// Returns true if a failure has the same error or the same call.
    fn includes(&self, error: Fingerprint, call: Fingerprint) -> bool {
        let is_same_call = self.is_one_call && self.call == call && call != Fingerprint::NONE;
        // Another error after a change is progress.
        self.is_one_error && self.error == error || is_same_call && !self.is_edited
    }

    /// Adds the place and the number of errors of a failure. Returns true if the error is at a
    /// new place, or if there are fewer errors than before.
    fn add_details(&mut self, details: &Details) -> bool {
        let is_at_new_place = details.place.is_some_and(|place| self.places.add(place));
        let has_fewer = self.fewest.zip(details.n_errors).is_some_and(|(least, n)| n < least);
        self.fewest = self.fewest.into_iter().chain(details.n_errors).min();
        is_at_new_place || has_fewer
    }

    /// Starts to count again, and keeps the places.
    fn start_over(&mut self, cx: &Context<'_>) {
        self.n_failures = 0;
        self.weight = 0;
        self.n_survived = 0;
        self.is_eased = false;
        self.is_edited = false;
        self.since = cx.now();
        self.first = cx.place();
    }

    /// Returns the weight of the next failure. Counts the changes that an error survives.
    fn weight_of(
        &mut self,
        failure: &Failure<'_>,
        error: Fingerprint,
        call: Fingerprint,
        details: &Details,
        has_moved: bool,
    ) -> u64 {
        let full = failure.weight.of_call(self.call == call && 1 < self.n_failures);
        let change = match () {
            () if self.output != details.output && details.place.is_none() => {
                OutputChange::WithoutPlace
            }
            () if self.output != details.output || self.line != details.line => {
                OutputChange::AtKnownPlace
            }
            () => OutputChange::None,
        };
        if self.is_edited {
            self.n_survived = self.n_survived.saturating_add(1);
            return survived_weight(full, self.n_survived, change);
        }
        // Another error of the same call shows that the agent tries something.
        let is_other = self.error != error;
        let is_survey = has_moved && self.call != call && 1 < self.n_failures;
        let is_changed = self.is_eased && change == OutputChange::WithoutPlace;
        let reasons = [self.is_eased, is_other, is_survey, is_changed];
        let n_halves = reasons.into_iter().map(u32::from).sum::<u32>();
        full >> n_halves
    }

    fn resolve(&self, cx: &mut Context<'_>, reason: &str) {
        cx.resolve(Fingerprint::NONE, || {
            let n = self.n_failures;
            Report::new(format!("no further failures after {n}: {reason}")).with("failures", n)
        });
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
