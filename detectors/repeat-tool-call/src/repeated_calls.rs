//! The calls and results of one agent, compared with the calls before.

use watchkeeper_core::{
    Context, Fingerprint, Purpose, ResultClass, ToolCall, ToolResult,
    author::{Call, Cause, Start},
};

use crate::{
    counters::counters,
    options::{Brief, RepeatToolCallOptions},
    streak::{Streak, changed, is_change},
};

/// The shortest error, in bytes, whose equality means anything for different
/// calls.
const SHORTEST_ERROR: usize = 12;
/// The longest result, in bytes, that contains only a state.
const LONGEST_STATE: usize = 100;

/// The calls of one agent that are the same and follow each other.
#[derive(Clone, Debug, Default)]
pub(crate) struct RepeatedCalls {
    streak: Option<Streak>,
}

impl RepeatedCalls {
    pub(crate) fn is_empty(&self) -> bool {
        self.streak.is_none()
    }

    /// Adds a call with its key. `event` is `None` if the call is counted at its result.
    #[inline]
    pub(crate) fn add_call(
        &mut self,
        call: &Call,
        key: Brief,
        event: Option<&ToolCall>,
        options: &RepeatToolCallOptions,
        cx: &mut Context<'_>,
    ) {
        if !options.includes(call.class) {
            self.end(options, cx, "another tool was called");
            return;
        }
        match &mut self.streak {
            None => self.streak = Some(Streak::new(call, key)),
            // Most calls differ from the one before.
            Some(streak) if streak.is_single() && streak.key() != key && !is_sleep(call, event) => {
                streak.restart(call, key);
            }
            Some(streak) => add_to_streak(streak, call, key, event, options, cx),
        }
    }

    /// Adds the result of the current call.
    pub(crate) fn add_result(
        &mut self,
        result: &ToolResult,
        options: &RepeatToolCallOptions,
        cx: &mut Context<'_>,
    ) {
        if !options.same.result {
            return;
        }
        let Some(call) = cx.call() else { return };
        let key = options.key(call);
        if !result.ok && cx.result_class() == Some(ResultClass::Outage) {
            if let Some(streak) = self.streak.as_mut().filter(|it| it.has_call(call, key)) {
                streak.end_pending();
                if !options.counts_at_result() {
                    streak.excuse_call();
                }
            }
            return;
        }
        if options.counts_at_result() {
            self.add_call(call, key, None, options, cx);
        }
        let Some(streak) = &mut self.streak else { return };
        if !streak.has_call(call, key) {
            return;
        }
        streak.end_pending();
        let is_from_tool = match result.cause {
            Some(Cause::Sibling | Cause::Interrupted) => false,
            Some(Cause::Declined | Cause::Blocked) => options.same.arguments,
            _ => true,
        };
        let value = if is_change(call.class, result, options) {
            Some(changed())
        } else {
            result.fingerprint.map(Fingerprint::brief)
        };
        let Some(value) = value.filter(|_| is_from_tool) else { return };
        if streak.compares_turns() {
            streak.compare_turns(call, value, cx);
            return;
        }
        if streak.is_first_result() {
            streak.set_first_result(call, value);
        } else {
            compare(streak, value, call, result, options, cx);
        }
    }

    /// Drops a single call at the end of a turn; repeated calls are kept.
    pub(crate) fn end_turn(&mut self) {
        self.streak.take_if(|streak| !streak.has_repeats());
    }

    /// Ends the repetition if a prompt begins a new stretch of work. The call of a person's
    /// turn that consists of one call is compared with the next turn.
    pub(crate) fn observe_prompt(&mut self, options: &RepeatToolCallOptions, cx: &mut Context<'_>) {
        let start = cx.agent().start();
        let Some(reason) = start.reason() else { return };
        // A turn that the harness schedules is the same by design.
        let compares_turns =
            start == Start::Person && options.same.arguments && options.same.result;
        if compares_turns && self.streak.as_mut().is_some_and(Streak::start_turn) {
            return;
        }
        self.end(options, cx, reason);
    }

    /// Ends the repetition and resolves its findings.
    pub(crate) fn end(
        &mut self,
        options: &RepeatToolCallOptions,
        cx: &mut Context<'_>,
        reason: &str,
    ) {
        if let Some(mut streak) = self.streak.take() {
            streak.resolve(options, cx, reason);
        }
    }
}

/// Adds a call to a streak that it may continue.
fn add_to_streak(
    streak: &mut Streak,
    call: &Call,
    key: Brief,
    event: Option<&ToolCall>,
    options: &RepeatToolCallOptions,
    cx: &mut Context<'_>,
) {
    if streak.add_first_of_turn(call, key) {
        return;
    }
    if streak.key() != key || streak.is_of_previous_turn() {
        // A sleep between two calls does not end their repetition.
        if is_sleep(call, event) && !streak.is_of_previous_turn() {
            streak.add_sleep();
            return;
        }
        streak.resolve(options, cx, "another call was made");
    } else if streak.is_parallel_to(call, options, cx.session().has_times()) {
        // Parallel copies are one attempt.
        return;
    } else if options.within.is_none_or(|within| streak.gap(call) <= within.get()) {
        streak.repeat(call, event, options);
        // A call that is counted at its result is reported with the result.
        if event.is_some() {
            streak.report(&call.tool, call.class, None, options, cx);
        }
        return;
    } else {
        streak.resolve(options, cx, "the next call came too late");
    }
    streak.restart(call, key);
}

/// Returns true if a call only lets time pass, and is counted when it is made.
fn is_sleep(call: &Call, event: Option<&ToolCall>) -> bool {
    event.is_some() && call.purpose == Purpose::Wait
}

/// Compares a result with the results of the calls before.
#[cold]
fn compare(
    streak: &mut Streak,
    value: Brief,
    call: &Call,
    result: &ToolResult,
    options: &RepeatToolCallOptions,
    cx: &mut Context<'_>,
) {
    let output = result.output.as_deref().unwrap_or_default();
    let Some(class) = cx.result_class() else { return };
    let is_specific = options.same.arguments || is_specific(output, class);
    let is_equal = is_specific && streak.result() == Some(value);
    // The numbers in a successful result may show progress.
    let is_change = is_change(call.class, result, options);
    let may_progress = is_equal && result.ok && !is_change && class != ResultClass::Nothing;
    let counters = may_progress.then(|| counters(output));
    let is_progress = streak.counters().is_some_and(|previous| Some(previous) != counters);
    if is_equal && !is_progress || is_specific && streak.result().is_none() {
        let text = is_equal.then(|| Fingerprint::of(output).brief());
        // Without "arguments", an unchanged call that is repeated does not
        // count: a detector with "arguments" counts it.
        let counts = options.same.arguments || !is_equal || streak.is_other_call(call);
        if streak.add_equal_result(call, value, text, counters, class, counts) {
            streak.report(&call.tool, call.class, Some(result), options, cx);
        }
    } else {
        streak.restart_with_result(call, value, counters, options, cx);
    }
}

/// Returns true if equal results of different calls mean anything: the result is
/// neither an acknowledgement nor a state.
fn is_specific(output: &str, class: ResultClass) -> bool {
    match class {
        ResultClass::Acknowledged | ResultClass::Declined | ResultClass::Outage => false,
        ResultClass::Unfinished => LONGEST_STATE < output.len(),
        ResultClass::Failed => SHORTEST_ERROR <= output.trim().len(),
        _ => true,
    }
}
