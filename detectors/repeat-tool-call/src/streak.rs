//! Calls in a row that are the same, and their measure.

use std::mem;

use watchkeeper_core::{
    Context, Fingerprint, Purpose, Report, ResultClass, SignedDuration, SpacedWeight, ToolCall,
    ToolClass, ToolResult,
    author::{Call, PackedTimestamp, Place},
    quote,
};

use crate::{
    messages::{
        Repeated, message, message_for_different_results, message_for_equal_turns, quoted_arguments,
    },
    options::{Brief, RepeatToolCallOptions},
};

/// The weight of polls that are far apart.
const SPACED: SpacedWeight = SpacedWeight::OF_POLLS;
/// The number of different calls without a finding that count as two.
const NOTHINGS_PER_CALL: u64 = 2;
/// The least number of turns in a row that consist of one equal call.
const MANY_TURNS: u8 = 4;
/// Calls with gaps of at least this length are probably polls: five count as
/// two.
const SLOW_GAP: SignedDuration = SignedDuration::from_secs(60);
/// The least number of equal calls in a row that is reported although their
/// results differ.
const MANY_CALLS: u64 = 100;

/// The largest number of copies of a call in one model response that count.
const MAX_COPIES: u32 = 3;

/// The subject of a finding about equal calls with different results.
const DIFFERENT_RESULTS: u64 = 1;
/// The subject of a finding about turns that consist of one equal call.
const EQUAL_TURNS: u64 = 2;

/// Calls in a row that are the same. Small, because there is one for every
/// agent and most contain one call.
#[derive(Clone, Debug)]
pub(crate) struct Streak {
    first: Place,
    since: PackedTimestamp,
    /// The compared parts of the calls.
    key: Brief,
    /// The latest call. It may differ from earlier calls outside the key.
    call: Brief,
    response: Option<Brief>,
    /// The latest known result.
    result: Option<Brief>,
    /// True while the latest call has no result.
    is_pending: bool,
    purpose: Purpose,
    /// True if the agent slept between the calls.
    sleeps: bool,
    /// The number of turns before this one that consist of the call, with the
    /// same result; saturating.
    n_turns: u8,
    turn: Turn,
    /// The calls after the first.
    repeats: Option<Box<Repeats>>,
}

/// The position of the latest call in its turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    /// The call was made in this turn, and is not compared with another turn.
    Current,
    /// The turn has no call yet. The call belongs to the previous turn.
    Empty,
    /// The call is the first of this turn and equal to the call of the previous
    /// turn. Its result is not known.
    Same,
}

#[derive(Clone, Debug)]
struct Repeats {
    n_calls: u32,
    n_results: u32,
    /// The number of calls at least `SLOW_GAP` after the previous call.
    n_slow: u32,
    /// The number of calls at least `SPACED.gap` after the previous call.
    n_spaced: u32,
    /// The class of the latest equal result.
    class: Option<ResultClass>,
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
    /// True if the calls change a text.
    changes_text: bool,
    /// True if the arguments contain a path or a command.
    is_local: bool,
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
            since: call.at.into(),
            key,
            call: call.fingerprint.brief(),
            response: call.response.map(Fingerprint::brief),
            result: None,
            is_pending: true,
            purpose: call.purpose,
            sleeps: false,
            n_turns: 0,
            turn: Turn::Current,
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
        self.since = call.at.into();
        self.call = call.fingerprint.brief();
        self.response = call.response.map(Fingerprint::brief);
        self.purpose = call.purpose;
        self.sleeps = false;
        self.turn = Turn::Current;
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
            let Repeats { n_all_calls, changes_text, is_local, .. } = **repeats;
            let arguments = mem::take(&mut repeats.arguments);
            let rest = Repeats::new(1);
            **repeats =
                Repeats { n_all_calls, counters, changes_text, is_local, arguments, ..rest };
        }
    }

    /// Adds a call with the same key.
    pub(crate) fn repeat(
        &mut self,
        call: &Call,
        event: Option<&ToolCall>,
        options: &RepeatToolCallOptions,
    ) {
        let gap = self.gap(call);
        let took = self.since_first(call);
        self.is_pending = true;
        self.response = call.response.map(Fingerprint::brief);
        let n_results = u32::from(self.result.is_some());
        let repeats = self.repeats.get_or_insert_with(|| Box::new(Repeats::new(n_results)));
        repeats.n_calls = repeats.n_calls.saturating_add(1);
        repeats.n_all_calls = repeats.n_all_calls.saturating_add(1);
        repeats.n_slow = repeats.n_slow.saturating_add(u32::from(SLOW_GAP <= gap));
        repeats.n_spaced = repeats.n_spaced.saturating_add(u32::from(SPACED.gap <= gap));
        repeats.took = u32::try_from(took.as_millis()).unwrap_or(u32::MAX);
        if let Some(event) = event
            && repeats.arguments.is_empty()
            && options.same.arguments
        {
            repeats.arguments = quoted_arguments(&event.arguments).into();
            repeats.changes_text = event.change.is_some();
            let targets = event.targets();
            repeats.is_local = targets.path().is_some() || targets.command().is_some();
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
        class: ResultClass,
        counts: bool,
    ) -> bool {
        self.set_first_result(call, result);
        let Some(repeats) = &mut self.repeats else { return false };
        repeats.differs |= repeats.text.is_some() && repeats.text != text;
        (repeats.text, repeats.counters) = (text, counters);
        repeats.class = Some(class);
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

    /// Records that the agent slept after the latest call.
    pub(crate) fn add_sleep(&mut self) {
        self.sleeps = true;
    }

    /// Removes the latest call from the count: a provider failed, not the agent.
    pub(crate) fn excuse_call(&mut self) {
        if let Some(repeats) = &mut self.repeats {
            repeats.n_calls = repeats.n_calls.saturating_sub(1).max(1);
            repeats.n_all_calls = repeats.n_all_calls.saturating_sub(1).max(1);
        }
    }

    /// Starts a turn of a person. Returns false if the previous turn did not
    /// consist of one call whose repetition in the next turn is significant.
    pub(crate) fn start_turn(&mut self) -> bool {
        let is_significant =
            matches!(self.purpose, Purpose::Read | Purpose::Search | Purpose::Run | Purpose::Other);
        let is_one_call =
            self.turn == Turn::Current && self.repeats.is_none() && self.result.is_some();
        if is_one_call && is_significant {
            self.turn = Turn::Empty;
        }
        is_one_call && is_significant
    }

    /// Adds the first call of a turn. Returns false if the turn has a call, or if
    /// the call differs from the first call of the previous turn.
    pub(crate) fn add_first_of_turn(&mut self, call: &Call, key: Brief) -> bool {
        let is_first = self.turn == Turn::Empty && self.key == key;
        if is_first {
            self.start_at(call);
            self.is_pending = true;
            self.turn = Turn::Same;
        }
        is_first
    }

    /// Returns true if the latest call is the first of its turn, and is compared with the first
    /// call of the previous turn.
    pub(crate) fn compares_turns(&self) -> bool {
        self.turn == Turn::Same && self.repeats.is_none()
    }

    /// Compares the results of the first calls of a turn and of the previous turn.
    #[cold]
    pub(crate) fn compare_turns(&mut self, call: &Call, result: Brief, cx: &mut Context<'_>) {
        self.turn = Turn::Current;
        if self.result != Some(result) {
            self.end_turns(cx, "the result changed");
            self.result = Some(result);
            return;
        }
        self.n_turns = self.n_turns.saturating_add(1);
        let n_turns = self.n_turns.saturating_add(1);
        if let Some(lowest) = cx.next_level(0)
            && MANY_TURNS <= n_turns
            && cx.next_level(lowest).is_some()
        {
            cx.report(Fingerprint::from(EQUAL_TURNS), lowest, || {
                let tool = quote(&call.tool);
                Report::new(message_for_equal_turns(&tool, n_turns))
                    .with("tool", tool.trim_matches('`'))
                    .with("turns", n_turns)
            });
        }
    }

    /// Ends the series of turns that consist of one equal call.
    pub(crate) fn end_turns(&mut self, cx: &mut Context<'_>, reason: &str) {
        if self.n_turns != 0 {
            let n = u64::from(self.n_turns) + 1;
            resolve(Fingerprint::from(EQUAL_TURNS), n, cx, reason);
            self.n_turns = 0;
        }
    }

    /// Returns true if the latest call belongs to the previous turn of a person.
    pub(crate) fn is_of_previous_turn(&self) -> bool {
        self.turn == Turn::Empty
    }

    pub(crate) fn has_repeats(&self) -> bool {
        self.repeats.is_some()
    }

    /// Returns true if the streak consists of one call, which is not compared with those of other
    /// turns.
    pub(crate) fn is_single(&self) -> bool {
        self.repeats.is_none() && self.n_turns == 0 && self.turn == Turn::Current
    }

    /// Returns true if no call is repeated and no result is known.
    pub(crate) fn is_first_result(&self) -> bool {
        self.result.is_none() && self.repeats.is_none()
    }

    /// Returns true if a call with this key is one of this streak.
    pub(crate) fn has_call(&self, call: &Call, key: Brief) -> bool {
        self.call == call.fingerprint.brief() || self.key == key
    }

    /// Returns true if a call differs from the latest call.
    pub(crate) fn is_other_call(&self, call: &Call) -> bool {
        self.call != call.fingerprint.brief()
    }

    /// Returns true if a call belongs to the same model response as the latest
    /// call.
    pub(crate) fn is_parallel_to(
        &self,
        call: &Call,
        options: &RepeatToolCallOptions,
        has_times: bool,
    ) -> bool {
        let response = call.response.map(Fingerprint::brief);
        if response.is_some() || options.counts_at_result() {
            // Copies that get their results in turn count up to a limit.
            let counts = |repeats: &Repeats| repeats.n_calls < MAX_COPIES;
            let counts = !self.is_pending && self.repeats.as_deref().is_none_or(counts);
            let is_copy = response.is_some() && self.response == response;
            return is_copy && (options.counts_at_result() || !counts);
        }
        // Without ids of responses, calls at one moment are parallel.
        self.is_pending && has_times && self.gap(call).is_zero()
    }

    /// Returns the time from the latest call to `call`.
    pub(crate) fn gap(&self, call: &Call) -> SignedDuration {
        self.since_first(call).saturating_sub(self.took())
    }

    /// Returns the time from the first call to `call`.
    fn since_first(&self, call: &Call) -> SignedDuration {
        call.at.duration_since(self.since.into())
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
        cx.report(Fingerprint::NONE, self.measure(repeats, count.measured, options), || {
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
            self.report_different_results(repeats, tool, cx);
        }
    }

    /// Resolves the findings and drops all calls but the latest.
    #[inline]
    pub(crate) fn resolve(
        &mut self,
        options: &RepeatToolCallOptions,
        cx: &mut Context<'_>,
        reason: &str,
    ) {
        // A single call was never reported, unless in several turns.
        if self.repeats.is_some() || self.n_turns != 0 {
            self.resolve_reported(options, cx, reason);
        }
    }

    #[cold]
    fn resolve_reported(
        &mut self,
        options: &RepeatToolCallOptions,
        cx: &mut Context<'_>,
        reason: &str,
    ) {
        if let Some(repeats) = &self.repeats {
            let n_all_calls = repeats.n_all_calls.into();
            resolve(Fingerprint::NONE, self.count(options).shown, cx, reason);
            resolve(Fingerprint::from(DIFFERENT_RESULTS), n_all_calls, cx, reason);
            self.repeats = None;
        }
        self.end_turns(cx, reason);
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

    /// Returns the measure of `n` equal calls. The weight of a repetition depends
    /// on the purpose of the call and on the class of its result.
    fn measure(&self, repeats: &Repeats, n: u64, options: &RepeatToolCallOptions) -> u64 {
        if !options.same.arguments {
            return match repeats.class {
                Some(ResultClass::Nothing) => n / NOTHINGS_PER_CALL,
                _ => n,
            };
        }
        let weight = self.purpose.weight();
        if repeats.mostly(repeats.n_spaced)
            && let Some(spaced) = weight.spaced.or_else(|| self.is_poll(repeats).then_some(SPACED))
        {
            let polled = i128::from(repeats.took) / spaced.per_call.as_millis();
            return n.min(u64::try_from(polled).unwrap_or_default());
        }
        // No text is changed three times in the same way on purpose.
        let is_change = repeats.changes_text && self.result == Some(changed());
        let n = if is_change { n + n / 3 } else { n };
        let n_per_call = match repeats.class {
            Some(ResultClass::Answered) => weight.answered_calls_per_repetition,
            _ => weight.calls_per_repetition,
        };
        let weighted = n / n_per_call;
        if repeats.mostly(repeats.n_slow) { weighted.min(n * 2 / 5) } else { weighted }
    }

    /// Returns true if calls of another purpose are polls: something other than a file or a
    /// command reports unfinished work, or the agent sleeps between the calls.
    fn is_poll(&self, repeats: &Repeats) -> bool {
        match self.purpose {
            Purpose::Other | Purpose::Search | Purpose::Read => {
                let is_unfinished = repeats.class == Some(ResultClass::Unfinished);
                self.sleeps || is_unfinished && !repeats.is_local
            }
            _ => false,
        }
    }

    /// Reports very many equal calls with different results, with the lowest
    /// severity, if the policy has more than one level.
    fn report_different_results(&self, repeats: &Repeats, tool: &str, cx: &mut Context<'_>) {
        let n_all_calls = u64::from(repeats.n_all_calls);
        let weighted = n_all_calls / self.purpose.weight().calls_per_repetition;
        let is_slow = repeats.mostly(repeats.n_slow);
        if let Some(lowest) = cx.next_level(0)
            && repeats.n_calls < repeats.n_all_calls
            && MANY_CALLS <= if is_slow { weighted.min(n_all_calls * 2 / 5) } else { weighted }
            && cx.next_level(lowest).is_some()
        {
            cx.report(Fingerprint::from(DIFFERENT_RESULTS), lowest, || {
                let tool = quote(tool);
                let arguments = &repeats.arguments;
                Report::new(message_for_different_results(&tool, n_all_calls, arguments))
                    .with("tool", tool.trim_matches('`'))
                    .with("repeats", n_all_calls)
            });
        }
    }
}

impl Repeats {
    /// Returns the state of a single call.
    fn new(n_results: u32) -> Self {
        Self {
            n_calls: 1,
            n_results,
            n_slow: 0,
            n_spaced: 0,
            class: None,
            n_all_calls: 1,
            took: 0,
            text: None,
            counters: None,
            differs: false,
            changes_text: false,
            is_local: false,
            arguments: Box::default(),
        }
    }

    /// Returns true if at most half of the gaps are shorter than those counted in
    /// `n_long`.
    fn mostly(&self, n_long: u32) -> bool {
        let n_gaps = self.n_calls.saturating_sub(1);
        0 < n_gaps && n_gaps <= n_long.saturating_mul(2)
    }
}

fn resolve(subject: Fingerprint, n: u64, cx: &mut Context<'_>, reason: &str) {
    cx.resolve(subject, || {
        Report::new(format!("no further repetition after {n}: {reason}")).with("repeats", n)
    });
}

/// Returns the result of a successful change: the same change again is equal, whatever the
/// result contains.
pub(crate) fn changed() -> Brief {
    Fingerprint::from(true).brief()
}

/// Returns true if a result only confirms that the requested change was made.
pub(crate) fn is_change(
    class: ToolClass,
    result: &ToolResult,
    options: &RepeatToolCallOptions,
) -> bool {
    class == ToolClass::Write && result.ok && options.same.arguments
}
