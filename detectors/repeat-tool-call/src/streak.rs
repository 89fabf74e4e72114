//! Calls in a row that are the same.

use std::mem;

use watchkeeper_core::{
    Call, Cause, Context, Elapsed, Fingerprint, PackedTimestamp, Place, Report, SignedDuration,
    ToolCall, ToolClass, ToolResult, quote,
};

use crate::{
    Brief, RepeatToolCallOptions,
    counters::counters,
    words::{asked, only_sleeps, said},
};

/// A poll counts this many times less: it repeats by design.
const POLLS: u64 = 5;
/// Calls that come this slowly are taken for polls of a milder sort.
const UNHURRIED: SignedDuration = SignedDuration::from_secs(60);
/// So many equal calls in a row are worth a word though their answers differ.
const VERY_MANY: u64 = 100;
/// An answer shorter than this says too little to be the same answer to
/// different calls.
const SHORTEST_ANSWER: usize = 12;
/// A longer answer than this says more than that all is well.
const LONGEST_SUCCESS: usize = 120;
/// What a command says in which nothing is wrong.
const SUCCESS: &[&str] = &[
    "success",
    "passed",
    "clean",
    "done",
    "ok",
    "up to date",
    "no issues",
    "no errors",
    "no problems",
    "0 errors",
    "finished",
    "complete",
    "renamed",
    "all matched",
];

/// The subject of a finding about equal calls whose answers differ.
const CHANGING: u64 = 1;

/// Calls in a row that are the same. There is one for each of very many
/// streams, and few have more than one call in it.
#[derive(Clone, Debug)]
pub(crate) struct Streak {
    first: Place,
    since: PackedTimestamp,
    /// What its calls have in common.
    key: Brief,
    /// The latest call, which is the same as the others in its key only.
    call: Brief,
    response: Option<Brief>,
    /// The latest answer that is known.
    answer: Option<Brief>,
    /// Whether the latest of the calls has no answer yet.
    is_pending: bool,
    /// Whether its calls wait for something.
    is_poll: bool,
    /// What is known of those after the first.
    repeats: Option<Box<Repeats>>,
}

#[derive(Clone, Debug)]
struct Repeats {
    n_calls: u32,
    n_answers: u32,
    /// How many of the calls came a good while after the one before.
    n_slow: u32,
    /// How many calls there are with those before the answer changed.
    n_in_all: u32,
    /// How many milliseconds after the first the latest was made.
    took: u32,
    /// Every byte of the latest answer, if it was the same as the one before.
    text: Option<Brief>,
    /// What that answer counts.
    counters: Option<Brief>,
    /// Whether two answers were the same but for numbers, ids and times.
    differs: bool,
    /// What is called for, quoted.
    asked: Box<str>,
}

/// How often a call was made, for people and for the levels.
#[derive(Clone, Copy)]
struct Count {
    seen: u64,
    counted: u64,
}

impl Streak {
    /// Takes a call as it is made; or, with nothing of what it was given, as it
    /// is answered.
    pub(crate) fn called(
        this: &mut Option<Self>,
        call: &Call,
        given: Option<&ToolCall>,
        options: &RepeatToolCallOptions,
        cx: &mut Context<'_>,
    ) {
        if !options.counts(call.class) {
            Self::end(this, options, cx, "another tool was called");
            return;
        }
        let key = options.key(call);
        let Some(streak) = this else {
            *this = Some(Self::new(call, key));
            return;
        };
        if streak.key != key {
            // Who polls may sleep in between.
            if streak.is_poll && given.is_some_and(only_sleeps) {
                return;
            }
            streak.over(options, cx, "another call was made");
        } else if streak.is_beside(call, options) {
            // Copies that run side by side are one attempt.
            return;
        } else if options.within.is_none_or(|it| streak.gap(call) <= it.get()) {
            streak.repeat(call, given, options);
            // What is read as it is answered is told of with its answer.
            if given.is_some() {
                streak.raise(&call.tool, call.class, None, options, cx);
            }
            return;
        } else {
            streak.over(options, cx, "the next one came late");
        }
        streak.start_with(call);
        streak.key = key;
        streak.answer = None;
        streak.is_pending = true;
    }

    fn new(call: &Call, key: Brief) -> Self {
        Self {
            first: call.place.clone(),
            since: call.at.into(),
            key,
            call: call.fingerprint.brief(),
            response: call.response.map(Fingerprint::brief),
            answer: None,
            is_pending: true,
            is_poll: call.class == ToolClass::Wait,
            repeats: None,
        }
    }

    fn start_with(&mut self, call: &Call) {
        self.first.clone_from(&call.place);
        self.since = call.at.into();
        self.call = call.fingerprint.brief();
        self.response = call.response.map(Fingerprint::brief);
        self.is_poll = call.class == ToolClass::Wait;
    }

    /// Whether a call runs side by side with the latest, which has no answer yet
    /// unless calls are read as they are answered.
    fn is_beside(&self, call: &Call, options: &RepeatToolCallOptions) -> bool {
        (self.is_pending || options.reads_answers())
            && call.response.is_some()
            && self.response == call.response.map(Fingerprint::brief)
    }

    /// How long before this call the latest was made.
    fn gap(&self, call: &Call) -> SignedDuration {
        call.at.duration_since(self.since.into()).saturating_sub(self.took())
    }

    fn repeat(&mut self, call: &Call, given: Option<&ToolCall>, options: &RepeatToolCallOptions) {
        let is_slow = UNHURRIED <= self.gap(call);
        let took = call.at.duration_since(self.since.into());
        self.is_pending = true;
        self.response = call.response.map(Fingerprint::brief);
        let n_answers = u32::from(self.answer.is_some());
        let repeats = self.repeats.get_or_insert_with(|| Box::new(Repeats::new(n_answers)));
        repeats.n_calls = repeats.n_calls.saturating_add(1);
        repeats.n_in_all = repeats.n_in_all.saturating_add(1);
        repeats.n_slow = repeats.n_slow.saturating_add(u32::from(is_slow));
        repeats.took = u32::try_from(took.as_millis()).unwrap_or(u32::MAX);
        if let Some(given) = given
            && repeats.asked.is_empty()
            && options.same.arguments
        {
            repeats.asked = asked(&given.arguments).into();
        }
    }

    pub(crate) fn answered(
        this: &mut Option<Self>,
        result: &ToolResult,
        options: &RepeatToolCallOptions,
        cx: &mut Context<'_>,
    ) {
        if !options.same.result {
            return;
        }
        let Some(call) = cx.call() else { return };
        if options.reads_answers() {
            Self::called(this, call, None, options, cx);
        }
        let Some(streak) = this else { return };
        if streak.call != call.fingerprint.brief() && streak.key != options.key(call) {
            return;
        }
        streak.is_pending = false;
        let is_own = match result.cause {
            Some(Cause::Sibling | Cause::Interrupted) => false,
            Some(Cause::Declined) => options.same.arguments,
            _ => true,
        };
        let answer = match result.fingerprint {
            // The same change once more is the same, whatever came of it.
            _ if is_change(call.class, result, options) => Some(Fingerprint::from(true)),
            it => it,
        };
        let Some(answer) = answer.filter(|_| is_own).map(Fingerprint::brief) else { return };
        if streak.answer.is_none() && streak.repeats.is_none() {
            streak.call = call.fingerprint.brief();
            streak.answer = Some(answer);
        } else {
            streak.compare(answer, call, result, options, cx);
        }
    }

    /// Compares an answer with those to the calls before.
    #[cold]
    fn compare(
        &mut self,
        answer: Brief,
        call: &Call,
        result: &ToolResult,
        options: &RepeatToolCallOptions,
        cx: &mut Context<'_>,
    ) {
        let output = result.output.as_deref().unwrap_or_default();
        let says_enough = options.same.arguments || says_enough(output, result.ok, call.class);
        let is_equal = says_enough && self.answer == Some(answer);
        // What an answer says that is no failure may lie in its numbers.
        let is_change = is_change(call.class, result, options);
        let counters = (is_equal && result.ok && !is_change).then(|| counters(output));
        let known_counters = self.repeats.as_ref().and_then(|it| it.counters);
        let is_progress = known_counters.is_some() && known_counters != counters;
        if is_equal && !is_progress || says_enough && self.answer.is_none() {
            // Where arguments may differ, a call that is repeated as it is says
            // nothing new: that is counted where they may not.
            let is_other_call = self.call != call.fingerprint.brief();
            let is_news = options.same.arguments || !is_equal || is_other_call;
            self.call = call.fingerprint.brief();
            self.answer = Some(answer);
            let Some(repeats) = &mut self.repeats else { return };
            let text = is_equal.then(|| Fingerprint::of(output).brief());
            repeats.differs |= repeats.text.is_some() && repeats.text != text;
            (repeats.text, repeats.counters) = (text, counters);
            // Of copies that run side by side, one answer counts.
            let n_answers = repeats.n_answers.saturating_add(u32::from(is_news));
            repeats.n_answers = repeats.n_calls.min(n_answers);
            self.raise(&call.tool, call.class, Some(result), options, cx);
            return;
        }
        let n = self.count(options).seen;
        self.start_with(call);
        self.answer = Some(answer);
        // Of all its calls some are left in mind, though their answers differ.
        if let Some(repeats) = &mut self.repeats {
            resolve(Fingerprint::NONE, n, cx, "the answer changed");
            let (n_in_all, asked) = (repeats.n_in_all, mem::take(&mut repeats.asked));
            **repeats = Repeats { n_in_all, counters, asked, ..Repeats::new(1) };
        }
    }

    fn raise(
        &self,
        tool: &str,
        class: ToolClass,
        result: Option<&ToolResult>,
        options: &RepeatToolCallOptions,
        cx: &mut Context<'_>,
    ) {
        let Some(repeats) = &self.repeats else { return };
        let count = self.count(options);
        cx.report(Fingerprint::NONE, repeats.weigh(count.counted, class), || {
            let (n, tool) = (count.seen, quote(tool));
            let mut report = Report::new(self.message(&tool, n, class, result, options))
                .with("tool", tool.trim_matches('`'))
                .with("repeats", n);
            if !repeats.asked.is_empty() {
                report = report.with("arguments", repeats.asked.trim_matches('`'));
            }
            report.since(Some(self.first.evidence()))
        });
        // That answers change is no reason for more than the lowest severity.
        let n_in_all = u64::from(repeats.n_in_all);
        if let Some(lowest) = cx.next_level(0)
            && repeats.n_calls < repeats.n_in_all
            && VERY_MANY <= repeats.weigh(n_in_all, class)
            && options.same.arguments
            && cx.next_level(lowest).is_some()
        {
            cx.report(Fingerprint::from(CHANGING), lowest, || {
                let tool = quote(tool);
                let asked = &repeats.asked;
                let colon = if asked.is_empty() { "" } else { ": " };
                Report::new(format!(
                    "{tool} was called the same way {n_in_all} times in a row, and the answers differ{colon}{asked}"
                ))
                .with("tool", tool.trim_matches('`'))
                .with("repeats", n_in_all)
            });
        }
    }

    fn message(
        &self,
        tool: &str,
        n: u64,
        class: ToolClass,
        result: Option<&ToolResult>,
        options: &RepeatToolCallOptions,
    ) -> String {
        let took = Elapsed(self.took());
        let repeats = self.repeats.as_ref();
        let asked = repeats.map_or("", |it| &it.asked);
        let aside = match repeats {
            Some(it) if it.differs => ", numbers, ids and times aside",
            _ => "",
        };
        let compares_result = options.same.result;
        let compares_arguments = options.same.arguments;
        let is_change = result.is_some_and(|it| is_change(class, it, options));
        let what = match (compares_result, compares_arguments) {
            (true, true) if self.answer.is_none() => {
                format!(
                    "{tool} was called the same way {n} times in {took}, and no answer is known"
                )
            }
            (true, true) if is_change => format!("{tool} made the same change {n} times in {took}"),
            (true, true) => {
                format!("{tool} gave the same answer to the same call {n} times in {took}{aside}")
            }
            (true, false) if options.same.tool => {
                format!(
                    "{tool} gave the same answer to {n} different calls in a row in {took}{aside}"
                )
            }
            (true, false) => format!(
                "{n} different calls in a row got the same answer in {took}{aside}, the last from {tool}"
            ),
            (false, true) => format!("{tool} was called the same way {n} times in {took}"),
            (false, false) => format!("{tool} was called {n} times in a row in {took}"),
        };
        match result.filter(|_| compares_result && !is_change).map(said) {
            Some(said) if asked.is_empty() => format!("{what}: {said}"),
            Some(said) => format!("{what}: {asked} says {said}"),
            None if asked.is_empty() => what,
            None => format!("{what}: {asked}"),
        }
    }

    /// Forgets a call, at the end of a turn, that is of no more interest than
    /// any other.
    pub(crate) fn rest(this: &mut Option<Self>) {
        this.take_if(|it| it.repeats.is_none());
    }

    /// Says that whatever was repeated is repeated no more, and forgets it.
    pub(crate) fn end(
        this: &mut Option<Self>,
        options: &RepeatToolCallOptions,
        cx: &mut Context<'_>,
        why: &str,
    ) {
        if let Some(streak) = this {
            streak.over(options, cx, why);
            *this = None;
        }
    }

    /// Says the same, before another call takes its place.
    fn over(&mut self, options: &RepeatToolCallOptions, cx: &mut Context<'_>, why: &str) {
        // One call was told to nobody.
        if let Some(repeats) = &self.repeats {
            let n_in_all = repeats.n_in_all.into();
            resolve(Fingerprint::NONE, self.count(options).seen, cx, why);
            resolve(Fingerprint::from(CHANGING), n_in_all, cx, why);
            self.repeats = None;
        }
    }

    /// From its first call to its latest.
    fn took(&self) -> SignedDuration {
        SignedDuration::from_millis(self.repeats.as_ref().map_or(0, |it| it.took.into()))
    }

    fn count(&self, options: &RepeatToolCallOptions) -> Count {
        let (n_calls, n_answers) = match &self.repeats {
            None => (1, u64::from(self.answer.is_some())),
            Some(it) => (u64::from(it.n_calls), u64::from(it.n_answers)),
        };
        if !options.same.result {
            return Count { seen: n_calls, counted: n_calls };
        }
        if !options.same.arguments {
            return Count { seen: n_answers, counted: n_answers };
        }
        // The call in flight may yet get another answer; where no call gets
        // any, there is nothing to wait for.
        let is_open = self.is_pending && 0 < n_answers;
        let n_calls = n_calls - u64::from(is_open);
        // Calls say less than answers do: four of them count as three.
        Count { seen: n_calls, counted: n_answers.max(n_calls - n_calls / 4) }
    }
}

impl Repeats {
    /// One call.
    fn new(n_answers: u32) -> Self {
        Self {
            n_calls: 1,
            n_answers,
            n_slow: 0,
            n_in_all: 1,
            took: 0,
            text: None,
            counters: None,
            differs: false,
            asked: Box::default(),
        }
    }

    /// What so many repeats count as.
    fn weigh(&self, n: u64, class: ToolClass) -> u64 {
        let n_gaps = self.n_calls.saturating_sub(1);
        if class == ToolClass::Wait {
            n / POLLS
        } else if 0 < n_gaps && n_gaps <= self.n_slow.saturating_mul(2) {
            n * 2 / 5
        } else {
            n
        }
    }
}

fn resolve(subject: Fingerprint, n: u64, cx: &mut Context<'_>, why: &str) {
    cx.resolve(subject, || {
        Report::new(format!("no more repeats after {n}: {why}")).with("repeats", n)
    });
}

/// Whether an answer says no more than that what was asked for has been changed.
fn is_change(class: ToolClass, result: &ToolResult, options: &RepeatToolCallOptions) -> bool {
    class == ToolClass::Write && result.ok && options.same.arguments
}

/// Whether an answer says so much that different calls should not get it.
fn says_enough(output: &str, ok: bool, class: ToolClass) -> bool {
    let output = output.trim();
    let says_all_is_well = || {
        let text = output.to_ascii_lowercase();
        SUCCESS.iter().any(|it| text.contains(it))
    };
    let is_well = ok && class == ToolClass::Run && output.len() <= LONGEST_SUCCESS;
    SHORTEST_ANSWER <= output.len() && !(is_well && says_all_is_well())
}
