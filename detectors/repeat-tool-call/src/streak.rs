//! Calls in a row that are the same.

use watchkeeper_core::{
    Cause, Context, Elapsed, Fingerprint, Moment, Place, Report, SignedDuration, ToolCall,
    ToolClass, ToolResult, quote,
};

use crate::{
    Brief, Part, RepeatToolCallOptions, brief,
    counters::counters,
    words::{asked, said},
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
    first: Option<Place>,
    since: Moment,
    /// What its calls have in common.
    key: Brief,
    /// The latest call, which is the same as the others in its key only.
    call: Brief,
    response: Option<Brief>,
    /// The latest answer that is known.
    answer: Option<Brief>,
    /// Whether the latest of the calls has no answer yet.
    is_pending: bool,
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
    pub(crate) fn called(
        this: &mut Option<Self>,
        call: &ToolCall,
        options: &RepeatToolCallOptions,
        cx: &mut Context<'_>,
    ) {
        if !options.counts(call.class) {
            Self::end(this, options, cx, "another tool was called");
            return;
        }
        let now = cx.now();
        let key = brief(options.key(&call.tool, call.fingerprint));
        let response = call.response.as_deref().map(|it| brief(Fingerprint::of(it)));
        if let Some(streak) = this.as_mut().filter(|it| it.key == key) {
            // Copies that run side by side are one attempt.
            if streak.is_pending && response.is_some() && streak.response == response {
                return;
            }
            let took = now.duration_since(streak.since.into());
            let gap = took.saturating_sub(streak.took());
            if options.within.is_none_or(|it| gap <= it.get()) {
                streak.is_pending = true;
                streak.response = response;
                let n_answers = u32::from(streak.answer.is_some());
                let repeats =
                    streak.repeats.get_or_insert_with(|| Box::new(Repeats::new(n_answers)));
                repeats.n_calls = repeats.n_calls.saturating_add(1);
                repeats.n_in_all = repeats.n_in_all.saturating_add(1);
                repeats.n_slow = repeats.n_slow.saturating_add(u32::from(UNHURRIED <= gap));
                repeats.took = u32::try_from(took.as_millis()).unwrap_or(u32::MAX);
                if repeats.asked.is_empty() && options.compares(Part::Arguments) {
                    repeats.asked = asked(&call.arguments).into();
                }
                streak.raise(&call.tool, call.class, None, options, cx);
                return;
            }
            Self::end(this, options, cx, "the next one came late");
        } else {
            Self::end(this, options, cx, "another call was made");
        }
        *this = Some(Self {
            first: cx.place(),
            since: now.into(),
            key,
            call: brief(call.fingerprint),
            response,
            answer: None,
            is_pending: true,
            repeats: None,
        });
    }

    pub(crate) fn answered(
        this: &mut Option<Self>,
        result: &ToolResult,
        options: &RepeatToolCallOptions,
        cx: &mut Context<'_>,
    ) {
        if !options.compares(Part::Result) {
            return;
        }
        let Some(call) = cx.call().cloned() else { return };
        let key = brief(options.key(&call.tool, call.fingerprint));
        let Some(streak) = this.as_mut().filter(|it| it.key == key) else { return };
        streak.is_pending = false;
        let compares_arguments = options.compares(Part::Arguments);
        let is_own = match result.cause {
            Some(Cause::Sibling | Cause::Interrupted) => false,
            Some(Cause::Declined) => compares_arguments,
            _ => true,
        };
        let is_change = is_change(call.class, result, options);
        let answer = match result.fingerprint {
            // The same change once more is the same, whatever came of it.
            _ if is_change => Some(Fingerprint::from(true)),
            it => it,
        };
        let Some(answer) = answer.filter(|_| is_own).map(brief) else { return };
        let output = result.output.as_deref().unwrap_or_default();
        let says_enough = compares_arguments || says_enough(output, result.ok, call.class);
        let is_equal = says_enough && streak.answer == Some(answer);
        // What an answer says that is no failure may lie in its numbers.
        let counters = (is_equal && result.ok && !is_change).then(|| counters(output));
        let known_counters = streak.repeats.as_ref().and_then(|it| it.counters);
        let is_progress = known_counters.is_some() && known_counters != counters;
        if is_equal && !is_progress || says_enough && streak.answer.is_none() {
            // Where arguments may differ, a call that is repeated as it is says
            // nothing new: that is counted where they may not.
            let same_call = streak.call == brief(call.fingerprint);
            let is_news = compares_arguments || !is_equal || !same_call;
            streak.call = brief(call.fingerprint);
            streak.answer = Some(answer);
            let Some(repeats) = &mut streak.repeats else { return };
            let text = is_equal.then(|| brief(Fingerprint::of(output)));
            repeats.differs |= repeats.text.is_some() && repeats.text != text;
            (repeats.text, repeats.counters) = (text, counters);
            // Of copies that run side by side, one answer counts.
            let n_answers = repeats.n_answers.saturating_add(u32::from(is_news));
            repeats.n_answers = repeats.n_calls.min(n_answers);
            streak.raise(&call.tool, call.class, Some(result), options, cx);
            return;
        }
        streak.resolve(options, cx, "the answer changed");
        // Of all its calls some are left in mind, though their answers differ.
        let repeats = streak.repeats.take().map(|it| {
            let n_in_all = it.n_in_all;
            Box::new(Repeats { n_in_all, counters, asked: it.asked, ..Repeats::new(1) })
        });
        *streak = Self {
            first: Some(call.place.clone()),
            since: call.at.into(),
            key,
            call: brief(call.fingerprint),
            response: call.response.map(brief),
            answer: Some(answer),
            is_pending: false,
            repeats,
        };
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
        cx.raise(Fingerprint::NONE, repeats.weigh(count.counted, class), || {
            let (n, tool) = (count.seen, quote(tool));
            let mut report = Report::new(self.message(&tool, n, class, result, options))
                .with("tool", tool.trim_matches('`'))
                .with("repeats", n);
            if !repeats.asked.is_empty() {
                report = report.with("arguments", repeats.asked.trim_matches('`'));
            }
            report.since(self.first.as_ref().map(Place::evidence))
        });
        // That answers change is no reason for more than the lowest severity.
        let n_in_all = u64::from(repeats.n_in_all);
        if let Some(lowest) = cx.next_level(0)
            && repeats.n_calls < repeats.n_in_all
            && VERY_MANY <= repeats.weigh(n_in_all, class)
            && options.compares(Part::Arguments)
            && cx.next_level(lowest).is_some()
        {
            cx.raise(Fingerprint::from(CHANGING), lowest, || {
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
        let compares_result = options.compares(Part::Result);
        let compares_arguments = options.compares(Part::Arguments);
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
            (true, false) if options.compares(Part::Tool) => {
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
    pub(crate) fn rest(this: &mut Option<Self>, options: &RepeatToolCallOptions) {
        if !options.compares(Part::Arguments) {
            this.take_if(|it| it.repeats.is_none());
        }
    }

    /// Says that whatever was repeated is repeated no more, and forgets it.
    pub(crate) fn end(
        this: &mut Option<Self>,
        options: &RepeatToolCallOptions,
        cx: &mut Context<'_>,
        why: &str,
    ) {
        let Some(streak) = this.take() else { return };
        streak.resolve(options, cx, why);
        cx.resolve(Fingerprint::from(CHANGING), || {
            let n = streak.repeats.as_ref().map_or(1, |it| it.n_in_all);
            Report::new(format!("no more repeats after {n}: {why}")).with("repeats", n)
        });
    }

    fn resolve(&self, options: &RepeatToolCallOptions, cx: &mut Context<'_>, why: &str) {
        let n = self.count(options).seen;
        cx.resolve(Fingerprint::NONE, || {
            Report::new(format!("no more repeats after {n}: {why}")).with("repeats", n)
        });
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
        if !options.compares(Part::Result) {
            return Count { seen: n_calls, counted: n_calls };
        }
        if !options.compares(Part::Arguments) {
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

/// Whether an answer says no more than that what was asked for has been changed.
fn is_change(class: ToolClass, result: &ToolResult, options: &RepeatToolCallOptions) -> bool {
    class == ToolClass::Write && result.ok && options.compares(Part::Arguments)
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
