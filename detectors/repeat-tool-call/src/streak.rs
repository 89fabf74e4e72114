//! Calls in a row that are the same, and their measure.

use std::mem;

use watchkeeper_core::{
    Context, Fingerprint, Report, SignedDuration, Timestamp, ToolCall, ToolClass, ToolResult,
    author::{Call, Place},
    quote,
};

use crate::{
    messages::{Repeated, message, message_for_different_results, quoted_arguments},
    options::{Brief, RepeatToolCallOptions},
};

/// The number of polls that count as one call: a poll repeats by design.
const POLLS_PER_CALL: u64 = 5;
/// Calls with gaps of at least this length are probably polls: five count as
/// two.
const SLOW_GAP: SignedDuration = SignedDuration::from_secs(60);
/// The least number of equal calls in a row that is reported although their
/// results differ.
const MANY_CALLS: u64 = 100;

/// The subject of a finding about equal calls with different results.
const DIFFERENT_RESULTS: u64 = 1;

/// Calls in a row that are the same. Small, because there is one for every
/// agent and most contain one call.
#[derive(Clone, Debug)]
pub(crate) struct Streak {
    first: Place,
    since: Timestamp,
    /// The compared parts of the calls.
    key: Brief,
    /// The latest call. It may differ from earlier calls outside the key.
    call: Brief,
    response: Option<Brief>,
    /// The latest known result.
    result: Option<Brief>,
    /// True while the latest call has no result.
    is_pending: bool,
    /// True if the calls wait for something.
    is_poll: bool,
    /// The calls after the first.
    repeats: Option<Box<Repeats>>,
}

#[derive(Clone, Debug)]
struct Repeats {
    n_calls: u32,
    n_results: u32,
    /// The number of calls at least `SLOW_GAP` after the previous call.
    n_slow: u32,
    /// The number of calls, including calls before the result last changed.
    n_all_calls: u32,
    /// Milliseconds from the first call to the latest.
    took: u32,
    /// The exact latest result, if it was equal to the previous one.
    text: Option<Brief>,
    /// The counters in that result.
    counters: Option<Brief>,
    /// True if two equal results differ in numbers, ids or times.
    differs: bool,
    /// The arguments, quoted.
    arguments: Box<str>,
}

/// The number of repetitions.
#[derive(Clone, Copy)]
struct Count {
    /// As shown in messages.
    shown: u64,
    /// As compared with levels.
    measured: u64,
}

impl Streak {
    pub(crate) fn new(call: &Call, key: Brief) -> Self {
        Self {
            first: call.place.clone(),
            since: call.at,
            key,
            call: call.fingerprint.brief(),
            response: call.response.map(Fingerprint::brief),
            result: None,
            is_pending: true,
            is_poll: call.class == ToolClass::Wait,
            repeats: None,
        }
    }

    /// Starts again with another call.
    pub(crate) fn restart(&mut self, call: &Call, key: Brief) {
        self.start_at(call);
        self.key = key;
        self.result = None;
        self.is_pending = true;
    }

    fn start_at(&mut self, call: &Call) {
        self.first.clone_from(&call.place);
        self.since = call.at;
        self.call = call.fingerprint.brief();
        self.response = call.response.map(Fingerprint::brief);
        self.is_poll = call.class == ToolClass::Wait;
    }

    /// Starts again with a call whose result differs from the previous one.
    pub(crate) fn restart_with_result(
        &mut self,
        call: &Call,
        result: Brief,
        counters: Option<Brief>,
        options: &RepeatToolCallOptions,
        cx: &mut Context<'_>,
    ) {
        let n = self.count(options).shown;
        self.start_at(call);
        self.result = Some(result);
        if let Some(repeats) = &mut self.repeats {
            resolve(Fingerprint::NONE, n, cx, "the result changed");
            let (n_all_calls, arguments) = (repeats.n_all_calls, mem::take(&mut repeats.arguments));
            **repeats = Repeats { n_all_calls, counters, arguments, ..Repeats::new(1) };
        }
    }

    /// Adds a call with the same key.
    pub(crate) fn repeat(
        &mut self,
        call: &Call,
        event: Option<&ToolCall>,
        options: &RepeatToolCallOptions,
    ) {
        let is_slow = SLOW_GAP <= self.gap(call);
        let took = call.at.duration_since(self.since);
        self.is_pending = true;
        self.response = call.response.map(Fingerprint::brief);
        let n_results = u32::from(self.result.is_some());
        let repeats = self.repeats.get_or_insert_with(|| Box::new(Repeats::new(n_results)));
        repeats.n_calls = repeats.n_calls.saturating_add(1);
        repeats.n_all_calls = repeats.n_all_calls.saturating_add(1);
        repeats.n_slow = repeats.n_slow.saturating_add(u32::from(is_slow));
        repeats.took = u32::try_from(took.as_millis()).unwrap_or(u32::MAX);
        if let Some(event) = event
            && repeats.arguments.is_empty()
            && options.same.arguments
        {
            repeats.arguments = quoted_arguments(&event.arguments).into();
        }
    }

    /// Sets the result of the only call.
    pub(crate) fn set_first_result(&mut self, call: &Call, result: Brief) {
        self.call = call.fingerprint.brief();
        self.result = Some(result);
    }

    /// Adds a result that is equal to the previous one, or the first known
    /// result. Returns false if there is no repetition yet.
    pub(crate) fn add_equal_result(
        &mut self,
        call: &Call,
        result: Brief,
        text: Option<Brief>,
        counters: Option<Brief>,
        counts: bool,
    ) -> bool {
        self.set_first_result(call, result);
        let Some(repeats) = &mut self.repeats else { return false };
        repeats.differs |= repeats.text.is_some() && repeats.text != text;
        (repeats.text, repeats.counters) = (text, counters);
        // Parallel copies of a call are one call with several results.
        let n_results = repeats.n_results.saturating_add(u32::from(counts));
        repeats.n_results = repeats.n_calls.min(n_results);
        true
    }

    pub(crate) fn end_pending(&mut self) {
        self.is_pending = false;
    }

    pub(crate) fn key(&self) -> Brief {
        self.key
    }

    pub(crate) fn result(&self) -> Option<Brief> {
        self.result
    }

    /// Returns the counters in the latest result.
    pub(crate) fn counters(&self) -> Option<Brief> {
        self.repeats.as_ref().and_then(|repeats| repeats.counters)
    }

    pub(crate) fn is_poll(&self) -> bool {
        self.is_poll
    }

    pub(crate) fn has_repeats(&self) -> bool {
        self.repeats.is_some()
    }

    /// Returns true if no call is repeated and no result is known.
    pub(crate) fn is_first_result(&self) -> bool {
        self.result.is_none() && self.repeats.is_none()
    }

    /// Returns true if a call is one of this streak.
    pub(crate) fn has_call(&self, call: &Call, options: &RepeatToolCallOptions) -> bool {
        self.call == call.fingerprint.brief() || self.key == options.key(call)
    }

    /// Returns true if a call differs from the latest call.
    pub(crate) fn is_other_call(&self, call: &Call) -> bool {
        self.call != call.fingerprint.brief()
    }

    /// Returns true if a call belongs to the same model response as the latest
    /// call, which must be pending unless calls are counted at their results.
    pub(crate) fn is_parallel_to(&self, call: &Call, options: &RepeatToolCallOptions) -> bool {
        (self.is_pending || options.counts_at_result())
            && call.response.is_some()
            && self.response == call.response.map(Fingerprint::brief)
    }

    /// Returns the time from the latest call to `call`.
    pub(crate) fn gap(&self, call: &Call) -> SignedDuration {
        call.at.duration_since(self.since).saturating_sub(self.took())
    }

    /// Returns the time from the first call to the latest.
    fn took(&self) -> SignedDuration {
        SignedDuration::from_millis(self.repeats.as_ref().map_or(0, |it| it.took.into()))
    }

    pub(crate) fn report(
        &self,
        tool: &str,
        class: ToolClass,
        result: Option<&ToolResult>,
        options: &RepeatToolCallOptions,
        cx: &mut Context<'_>,
    ) {
        let Some(repeats) = &self.repeats else { return };
        let count = self.count(options);
        let took = cx.within(self.took());
        cx.report(Fingerprint::NONE, repeats.measure(count.measured, class), || {
            let tool = quote(tool);
            let repeated = Repeated {
                tool: &tool,
                n: count.shown,
                took,
                arguments: &repeats.arguments,
                result: self.result,
                differs: repeats.differs,
                is_change: result.is_some_and(|result| is_change(class, result, options)),
            };
            let mut report = Report::new(message(&repeated, result, options.same))
                .with("tool", tool.trim_matches('`'))
                .with("repeats", count.shown);
            if !repeats.arguments.is_empty() {
                report = report.with("arguments", repeats.arguments.trim_matches('`'));
            }
            report.since(Some(self.first.evidence()))
        });
        if options.same.arguments {
            repeats.report_different_results(tool, class, cx);
        }
    }

    /// Resolves the findings and drops all calls but the latest.
    pub(crate) fn resolve(
        &mut self,
        options: &RepeatToolCallOptions,
        cx: &mut Context<'_>,
        reason: &str,
    ) {
        // A single call was never reported.
        if let Some(repeats) = &self.repeats {
            let n_all_calls = repeats.n_all_calls.into();
            resolve(Fingerprint::NONE, self.count(options).shown, cx, reason);
            resolve(Fingerprint::from(DIFFERENT_RESULTS), n_all_calls, cx, reason);
            self.repeats = None;
        }
    }

    fn count(&self, options: &RepeatToolCallOptions) -> Count {
        let (n_calls, n_results) = match &self.repeats {
            None => (1, u64::from(self.result.is_some())),
            Some(repeats) => (u64::from(repeats.n_calls), u64::from(repeats.n_results)),
        };
        if !options.same.result {
            return Count { shown: n_calls, measured: n_calls };
        }
        if !options.same.arguments {
            return Count { shown: n_results, measured: n_results };
        }
        // A pending call may return another result, unless the source never
        // records results.
        let is_open = self.is_pending && 0 < n_results;
        let n_calls = n_calls - u64::from(is_open);
        // Calls are weaker evidence than results: four count as three.
        Count { shown: n_calls, measured: n_results.max(n_calls - n_calls / 4) }
    }
}

impl Repeats {
    /// Returns the state of a single call.
    fn new(n_results: u32) -> Self {
        Self {
            n_calls: 1,
            n_results,
            n_slow: 0,
            n_all_calls: 1,
            took: 0,
            text: None,
            counters: None,
            differs: false,
            arguments: Box::default(),
        }
    }

    /// Returns the measure of `n` calls: polls and slow calls count less.
    fn measure(&self, n: u64, class: ToolClass) -> u64 {
        let n_gaps = self.n_calls.saturating_sub(1);
        if class == ToolClass::Wait {
            n / POLLS_PER_CALL
        } else if 0 < n_gaps && n_gaps <= self.n_slow.saturating_mul(2) {
            n * 2 / 5
        } else {
            n
        }
    }

    /// Reports very many equal calls with different results, with the lowest
    /// severity, if the policy has more than one level.
    fn report_different_results(&self, tool: &str, class: ToolClass, cx: &mut Context<'_>) {
        let n_all_calls = u64::from(self.n_all_calls);
        if let Some(lowest) = cx.next_level(0)
            && self.n_calls < self.n_all_calls
            && MANY_CALLS <= self.measure(n_all_calls, class)
            && cx.next_level(lowest).is_some()
        {
            cx.report(Fingerprint::from(DIFFERENT_RESULTS), lowest, || {
                let tool = quote(tool);
                Report::new(message_for_different_results(&tool, n_all_calls, &self.arguments))
                    .with("tool", tool.trim_matches('`'))
                    .with("repeats", n_all_calls)
            });
        }
    }
}

fn resolve(subject: Fingerprint, n: u64, cx: &mut Context<'_>, reason: &str) {
    cx.resolve(subject, || {
        Report::new(format!("no further repetition after {n}: {reason}")).with("repeats", n)
    });
}

/// Returns true if a result only confirms that the requested change was made.
pub(crate) fn is_change(
    class: ToolClass,
    result: &ToolResult,
    options: &RepeatToolCallOptions,
) -> bool {
    class == ToolClass::Write && result.ok && options.same.arguments
}
