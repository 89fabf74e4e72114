#![doc = include_str!("../README.md")]

mod limit;
mod window;

use std::{borrow::Cow, sync::Arc};

use schemars::JsonSchema;
use serde::Deserialize;
use watchkeeper_core::{
    Context, Detector, DetectorKind, Event, EventKind, EventSet, Fingerprint, InvalidOption, Level,
    ModelCall, Period, Report, Severity, Subscription, Timestamp, TokenLimit, Tokens, Unit, Usage,
    grouped, percent, quote,
};

pub use limit::CostLimit;
use limit::{Limit, nano_dollars};
use window::{Recent, Window};

/// Finds sessions that use more tokens or money than they may.
#[derive(Clone, Debug)]
pub struct TokenBurn {
    rules: Arc<Rules>,
    tokens: Spending,
    nano_dollars: Spending,
}

/// What was spent of one limit; `None` if nothing was. Most detectors have one
/// limit, and there are very many sessions.
type Spending = Option<Box<Spent>>;

/// The options of `kind = "token-burn"`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenBurnOptions {
    /// How many tokens may be used.
    max_tokens: Option<TokenLimit>,
    /// How many US dollars may be spent.
    max_cost_usd: Option<CostLimit>,
    /// Which classes of tokens count towards `max_tokens`.
    #[serde(default = "uncached")]
    count: Vec<TokenClass>,
    /// In how much time; without it, in the whole of the session.
    window: Option<Period>,
    /// How many times what the session usually uses in the window it may use,
    /// where that is more than the limit. Until that is known, the limit stands
    /// for what is usual.
    #[schemars(range(min = 2))]
    times_usual: Option<u64>,
}

/// A class of tokens. The classes never overlap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TokenClass {
    /// Read, and not from a cache.
    Input,
    /// Read from a cache.
    CacheRead,
    /// Read, and written to a cache.
    CacheWrite,
    /// Written, reasoning included.
    Output,
}

fn uncached() -> Vec<TokenClass> {
    vec![TokenClass::Input, TokenClass::CacheWrite, TokenClass::Output]
}

watchkeeper_core::register!(TokenBurn);

impl DetectorKind for TokenBurn {
    const KIND: &'static str = "token-burn";
    const DOCS: &'static str = include_str!("../README.md");
    const CLASS: &'static str = "budget";
    const UNIT: Unit = Unit::Percent;
    const LEVELS: &'static [Level] = &[
        Level::new(50, Severity::Low),
        Level::new(80, Severity::Medium),
        Level::new(100, Severity::High),
    ];
    type Options = TokenBurnOptions;

    fn new(options: TokenBurnOptions) -> Result<Self, InvalidOption> {
        if options.max_tokens.is_none() && options.max_cost_usd.is_none() {
            let reason = "without a limit there is nothing to watch; set it, or `max_cost_usd`";
            return Err(InvalidOption::new("max_tokens", reason));
        }
        if options.count.is_empty() {
            let reason =
                r#"name at least one of "input", "cache_read", "cache_write" and "output""#;
            return Err(InvalidOption::new("count", reason));
        }
        if options.times_usual.is_some_and(|it| it < 2) {
            let reason = "what is usual is used all the time; use 2 or more";
            return Err(InvalidOption::new("times_usual", reason));
        }
        if options.times_usual.is_some() && options.window.is_none() {
            let reason = r#"usual in how much time? name a `window`, such as "10m""#;
            return Err(InvalidOption::new("times_usual", reason));
        }
        Ok(Self { rules: Arc::new(Rules::new(options)), tokens: None, nano_dollars: None })
    }
}

impl Detector for TokenBurn {
    fn observe(&mut self, event: &Event, cx: &mut Context<'_>) {
        let EventKind::ModelCall(call) = &event.kind else { return };
        let Some(&Usage { tokens, cost_usd, .. }) = cx.usage() else { return };
        let Self { rules, tokens: n_tokens, nano_dollars: n_nano_dollars } = self;
        if let Some(limit) = &rules.tokens {
            Spent::spend(n_tokens, rules.counted(&tokens), limit, rules, cx);
        }
        if let Some(limit) = &rules.cost {
            match cost_usd {
                Some(it) => Spent::spend(n_nano_dollars, nano_dollars(it), limit, rules, cx),
                None if 0 < tokens.total() => price_unknown(call, &tokens, cx),
                None => {}
            }
        }
        self.wake_in_time(cx);
    }

    fn wake(&mut self, cx: &mut Context<'_>) {
        let Self { rules, tokens, nano_dollars } = self;
        if let Some(limit) = &rules.tokens {
            Spent::pass(tokens, limit, rules, cx);
        }
        if let Some(limit) = &rules.cost {
            Spent::pass(nano_dollars, limit, rules, cx);
        }
        self.wake_in_time(cx);
    }

    fn subscription(&self) -> Subscription {
        const USAGE: EventSet = EventSet::of(&["model_call"]);
        Subscription::to(USAGE).per_session().without_exceptions()
    }

    fn is_idle(&self) -> bool {
        self.tokens.is_none() && self.nano_dollars.is_none()
    }
}

impl TokenBurn {
    /// Asks to be woken when something leaves the window, if that can end a
    /// finding, or else when nothing is left to be remembered.
    fn wake_in_time(&self, cx: &mut Context<'_>) {
        let wake_at = |it: &Spending| it.as_ref()?.wake_at(&self.rules);
        let (tokens, nano_dollars) = (wake_at(&self.tokens), wake_at(&self.nano_dollars));
        match tokens.into_iter().chain(nano_dollars).min() {
            Some(it) => cx.wake_at(it),
            None => cx.cancel_wake(),
        }
    }
}

/// What the options say, worked out once.
#[derive(Debug)]
struct Rules {
    tokens: Option<Limit>,
    cost: Option<Limit>,
    count: Vec<TokenClass>,
    window: Option<Window>,
    times_usual: Option<u64>,
}

impl Rules {
    fn new(options: TokenBurnOptions) -> Self {
        let TokenBurnOptions { max_tokens, max_cost_usd, count, window, times_usual } = options;
        Self {
            tokens: max_tokens.map(Limit::of_tokens),
            cost: max_cost_usd.map(Limit::of_cost),
            count,
            window: window.map(Window::new),
            times_usual,
        }
    }

    fn counted(&self, tokens: &Tokens) -> u64 {
        let of = |class| match class {
            TokenClass::Input => tokens.input,
            TokenClass::CacheRead => tokens.cache_read,
            TokenClass::CacheWrite => tokens.cache_write,
            TokenClass::Output => tokens.output,
        };
        const ALL: [TokenClass; 4] =
            [TokenClass::Input, TokenClass::CacheRead, TokenClass::CacheWrite, TokenClass::Output];
        // A class that is named twice counts once.
        let counted = ALL.into_iter().filter(|it| self.count.contains(it));
        counted.map(of).fold(0, u64::saturating_add)
    }
}

/// Says once that there is something no limit can see.
fn price_unknown(call: &ModelCall, tokens: &Tokens, cx: &mut Context<'_>) {
    let n = grouped(tokens.total());
    let lowest = cx.next_level(0).unwrap_or(1);
    cx.report(Fingerprint::of("price"), lowest, || match &call.model {
        Some(model) => {
            let model = quote(model);
            Report::new(format!(
                "the price of {model} is not known: {n} tokens are not counted in dollars; add it to `[prices]`"
            ))
            .with("model", model.trim_matches('`'))
        }
        None => Report::new(format!(
            "a model call names no model: {n} tokens are not counted in dollars"
        )),
    });
}

/// What was spent of one limit.
#[derive(Clone, Debug, Default)]
struct Spent {
    n: u64,
    /// What the window holds, if there is one.
    recent: Recent,
}

impl Spent {
    fn spend(spending: &mut Spending, n: u64, limit: &Limit, rules: &Rules, cx: &mut Context<'_>) {
        if n == 0 {
            return;
        }
        let spent = spending.get_or_insert_default();
        if let Some(window) = rules.window {
            spent.forget(limit, window, cx.now());
        }
        spent.n = spent.n.saturating_add(n);
        let standing = spent.standing(limit, rules);
        let percent = percent(spent.n, standing.allowed);
        spent.recent.is_open |= cx.next_level(0).is_some_and(|it| it <= percent);
        let n = spent.n;
        cx.report(limit.subject, percent, || {
            let (shown, usual) = (limit.share(n, standing.allowed), standing.shown(limit));
            Report::new(format!("{shown} used{}, {percent}%{usual}", within(rules)))
                .with("percent", percent)
        });
    }

    /// Ends a finding if clearly less than its lowest level is left in the
    /// window: who spends as much as that all the time is told of once.
    fn pass(spending: &mut Spending, limit: &Limit, rules: &Rules, cx: &mut Context<'_>) {
        let (Some(window), Some(spent)) = (rules.window, &mut *spending) else { return };
        spent.forget(limit, window, cx.now());
        if spent.recent.is_open {
            let standing = spent.standing(limit, rules);
            let percent = percent(spent.n, standing.allowed);
            if cx.next_level(0).is_none_or(|it| percent < it - it / 4) {
                spent.recent.is_open = false;
                let shown = limit.share(spent.n, standing.allowed);
                cx.resolve(limit.subject, || {
                    Report::new(format!("down to {shown}{}, {percent}%", within(rules)))
                        .with("percent", percent)
                });
            }
        }
        if spent.n == 0 && rules.times_usual.is_none() {
            *spending = None;
        }
    }

    /// Lets what is too old leave the window.
    #[inline]
    fn forget(&mut self, limit: &Limit, window: Window, now: Timestamp) {
        if !self.recent.is_latest(now, window) {
            self.turn_over(limit, window, now);
        }
    }

    /// Begins with another piece of the window.
    fn turn_over(&mut self, limit: &Limit, window: Window, now: Timestamp) {
        self.recent.fill_up(self.n.div_ceil(limit.unit));
        let gone = self.recent.pass(now, window);
        if gone == 0 {
            return;
        }
        self.n = match self.recent.total() {
            // What is less than a unit goes with the last of them.
            0 => 0,
            _ => self.n.saturating_sub(gone.saturating_mul(limit.unit)),
        };
    }

    /// What may be spent.
    fn standing(&self, limit: &Limit, rules: &Rules) -> Standing {
        let Some(times) = rules.times_usual else {
            return Standing { allowed: limit.max, usual: None };
        };
        let usual = self.recent.usual().map(|it| it.saturating_mul(limit.unit));
        let allowed = match usual {
            Some(it) => it.saturating_mul(times).max(limit.max),
            None => limit.max.saturating_mul(times),
        };
        Standing { allowed, usual }
    }

    fn wake_at(&self, rules: &Rules) -> Option<Timestamp> {
        let (window, recent) = (rules.window?, &self.recent);
        match (recent.is_open, rules.times_usual) {
            (true, _) => recent.less_at(window),
            (false, None) => recent.nothing_at(window),
            (false, Some(_)) => None,
        }
    }
}

/// How much may be spent, and how much usually is.
#[derive(Clone, Copy)]
struct Standing {
    allowed: u64,
    usual: Option<u64>,
}

impl Standing {
    fn shown(self, limit: &Limit) -> Cow<'static, str> {
        self.usual.map_or(Cow::Borrowed(""), |it| format!("; {} is usual", limit.amount(it)).into())
    }
}

fn within(rules: &Rules) -> Cow<'static, str> {
    rules.window.map_or(Cow::Borrowed(""), |it| format!(" in {}", it.period).into())
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;
    use proptest::{collection::vec, prelude::*};
    use watchkeeper_core::Options;
    use watchkeeper_testing::{laws, play};

    use super::{DetectorKind, Spent, Timestamp, TokenBurn};

    #[test]
    fn sub_agents_are_charged_to_their_session() {
        let trace = "
            0s   usage id=m1 input=100 output=300
            1s   usage id=m1 input=100 output=400
            2s   agent a1: usage input=100 output=300 cache_read=90000
            3s   usage cache_write=100
        ";
        assert_snapshot!(play::<TokenBurn>("max_tokens = 1_000", trace), @"
        1s      low       500 of 1,000 tokens used, 50%
        2s      medium    900 of 1,000 tokens used, 90%
        3s      high      1,000 of 1,000 tokens used, 100%
        ");
        let every =
            "max_tokens = 100_000\ncount = ['input', 'cache_read', 'cache_write', 'output']";
        assert_snapshot!(play::<TokenBurn>(every, trace), @"2s      medium    90,900 of 100,000 tokens used, 90%");
    }

    #[test]
    fn a_window_forgets() {
        let trace = "
            0s    usage input=600
            5m    usage input=300
            20m   usage input=100
            advance 1h
        ";
        assert_snapshot!(play::<TokenBurn>("max_tokens = 1_000\nwindow = '10m'", trace), @"
        0s      low       600 of 1,000 tokens used in 10m, 60%
        5m      medium    900 of 1,000 tokens used in 10m, 90%
        10m     resolved  down to 300 of 1,000 tokens in 10m, 30%
        ");
    }

    proptest! {
        #[test]
        fn a_window_holds_what_was_spent_in_its_pieces(
            spending in vec((0_i64..40_000, 1_u64..500), 1..60),
        ) {
            let options = Options::parse("max_tokens = 1_000\nwindow = '12s'").expect("a table");
            let rules = options.build(TokenBurn::new).expect("good options").rules;
            let (limit, window) = (rules.tokens.as_ref().expect("a limit"), rules.window.expect("one"));
            let mut spent = Spent::default();
            let mut all = Vec::new();
            let mut millis = 0;
            for (passed, n) in spending {
                millis += passed;
                let now = Timestamp::from_millisecond(millis).expect("a time");
                spent.forget(limit, window, now);
                spent.n += n;
                all.push((millis / 1000, n));
                // A piece is a second.
                let held = || all.iter().filter(|(piece, _)| millis / 1000 < piece + 12);
                prop_assert_eq!(spent.n, held().map(|(_, n)| n).sum::<u64>());
                let oldest = held().map(|(piece, _)| piece + 12).next();
                let less_at = spent.recent.less_at(window);
                prop_assert_eq!(less_at.map(Timestamp::as_second), oldest);
            }
        }
    }

    #[test]
    fn what_is_usual_is_learnt_from_the_session() {
        let options = "max_tokens = 10_000\nwindow = '24m'\ntimes_usual = 5";
        // A window of steady work takes 2,400 tokens at first, and 24,000 later,
        // which becomes usual in time.
        let trace = "
            0s      repeat 60 every 1m: usage input=100
            +1m     repeat 300 every 1m: usage input=1000
        ";
        assert_snapshot!(play::<TokenBurn>(options, trace), @"
        1h3m    low       6,000 of 12,000 tokens used in 24m, 50%; 2,400 is usual
        1h7m    medium    9,600 of 12,000 tokens used in 24m, 80%; 2,400 is usual
        1h10m   high      12,200 of 12,000 tokens used in 24m, 101%; 2,400 is usual
        2h8m    resolved  down to 22,000 of 58,865 tokens in 24m, 37%
        ");
        // Nothing is usual yet, and the limit stands for it.
        let trace = "0s repeat 20 every 1m: usage input=1300";
        assert_snapshot!(play::<TokenBurn>(options, trace), @"19m     low       26,000 of 50,000 tokens used in 24m, 52%");
    }

    #[test]
    fn a_pause_makes_nothing_less_usual() {
        let options = "max_tokens = 20_000\nwindow = '24m'\ntimes_usual = 3";
        let work = |n| format!("+1m repeat 30 every 1m: usage input={n}\n");
        let trace = format!("{0}advance 10h\n{0}advance 10h\n{0}advance 10h\n{0}", work(1000));
        assert_snapshot!(play::<TokenBurn>(options, &trace), @"");
    }

    #[test]
    fn what_has_no_price_is_said_once() {
        let trace = "
            0s   usage model=claude-opus-4-5 output=100000
            1s   usage model=home-grown input=5000 output=100
            2s   usage model=home-grown input=5000 output=100
            3s   usage cost=1.75
        ";
        assert_snapshot!(play::<TokenBurn>("max_cost_usd = 5", trace), @"
        0s      low       $2.50 of $5.00 used, 50%
        1s      low       the price of `home-grown` is not known: 5,100 tokens are not counted in dollars; add it to `[prices]`
        3s      medium    $4.25 of $5.00 used, 85%
        ");
    }

    #[test]
    fn limits_that_limit_nothing_are_refused() {
        let refuse = |text| {
            let built = Options::parse(text).and_then(|it| it.build(TokenBurn::new));
            built.expect_err("it should be refused").to_string()
        };
        assert_snapshot!(refuse(""), @"invalid value for `max_tokens`: without a limit there is nothing to watch; set it, or `max_cost_usd`");
        assert_snapshot!(refuse("max_tokens = -1"), @"invalid value: integer `-1`, expected a number of tokens greater than zero, such as 500_000");
        assert_snapshot!(refuse("max_tokens = '1M'"), @r#"invalid type: string "1M", expected a number of tokens greater than zero, such as 500_000"#);
        assert_snapshot!(refuse("max_cost_usd = 0"), @"invalid value: integer `0`, expected an amount of US dollars greater than zero, such as 5 or 2.50");
        assert_snapshot!(refuse("max_cost_usd = nan"), @"invalid value: floating point `NaN`, expected an amount of US dollars greater than zero, such as 5 or 2.50");
        assert_snapshot!(refuse("max_tokens = 1\ntimes_usual = 5"), @r#"invalid value for `times_usual`: usual in how much time? name a `window`, such as "10m""#);
        assert_snapshot!(refuse("max_tokens = 1\nwindow = '1m'\ntimes_usual = 1"), @"invalid value for `times_usual`: what is usual is used all the time; use 2 or more");
        assert_snapshot!(refuse("max_tokens = 1\ncount = []"), @r#"invalid value for `count`: name at least one of "input", "cache_read", "cache_write" and "output""#);
        assert_snapshot!(refuse("max_tokens = 1\ncount = ['reasoning']"), @"unknown variant `reasoning`, expected one of `input`, `cache_read`, `cache_write`, `output`");
    }

    #[test]
    fn it_obeys_the_laws_of_detectors() {
        laws::check::<TokenBurn>("max_tokens = 100_000\nmax_cost_usd = 20.0");
        laws::check::<TokenBurn>("max_tokens = 100_000\nmax_cost_usd = 20.0\nwindow = '5m'");
        laws::check::<TokenBurn>("max_tokens = 1\nwindow = '1ns'");
        laws::check::<TokenBurn>("max_tokens = 1\nwindow = '5m'\ntimes_usual = 2");
        laws::check::<TokenBurn>(
            "max_tokens = 1\nmax_cost_usd = 0.01\nwindow = '1ns'\ntimes_usual = 2",
        );
    }

    #[test]
    fn one_for_each_of_many_streams_is_small() {
        assert_eq!((size_of::<TokenBurn>(), size_of::<Spent>()), (24, 72));
    }
}
