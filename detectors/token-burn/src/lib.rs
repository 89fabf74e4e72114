#![doc = include_str!("../README.md")]

use std::{borrow::Cow, fmt, sync::Arc};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de};
use watchkeeper_core::{
    Context, Detector, DetectorKind, Event, Fingerprint, InvalidOption, Level, Period, Report,
    Scope, Severity, Timestamp, Tokens, Unit, quote,
};

/// Into how many pieces a window is cut.
const N_BUCKETS: usize = 24;
#[expect(clippy::cast_possible_wrap, reason = "it is small")]
const N_PIECES: i64 = N_BUCKETS as i64;
/// How finely what is spent is told apart in a window: in so many parts of the
/// limit.
const N_UNITS: u64 = 1 << 22;
const NANOS_PER_DOLLAR: f64 = 1e9;

/// Finds sessions that use more tokens or money than they may.
#[derive(Clone, Debug)]
pub struct TokenBurn {
    options: Arc<TokenBurnOptions>,
    tokens: Spent,
    nano_dollars: Spent,
}

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

/// A number of tokens, more than none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenLimit(u64);

/// An amount of US dollars, more than none.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CostLimit(f64);

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
        Ok(Self {
            options: Arc::new(options),
            tokens: Spent::default(),
            nano_dollars: Spent::default(),
        })
    }
}

impl Detector for TokenBurn {
    fn observe(&mut self, _: &Event, cx: &mut Context<'_>) {
        let Some(usage) = cx.usage() else { return };
        let (tokens, cost_usd) = (usage.tokens, usage.cost_usd);
        let options = self.options.clone();
        if let Some(max) = options.max_tokens {
            self.tokens.spend(options.counted(&tokens), max.limit(), &options, cx);
        }
        if let Some(max) = options.max_cost_usd {
            match cost_usd {
                Some(it) => self.nano_dollars.spend(nano_dollars(it), max.limit(), &options, cx),
                None if 0 < tokens.total() => price_unknown(&tokens, cx),
                None => {}
            }
        }
        self.wake_when_less(cx);
    }

    fn wake(&mut self, cx: &mut Context<'_>) {
        let options = self.options.clone();
        if let Some(max) = options.max_tokens {
            self.tokens.pass(max.limit(), &options, cx);
        }
        if let Some(max) = options.max_cost_usd {
            self.nano_dollars.pass(max.limit(), &options, cx);
        }
        self.wake_when_less(cx);
    }

    fn scope(&self) -> Scope {
        Scope::Session
    }
}

impl TokenBurn {
    /// Asks to be woken when something leaves the window, if that can end a
    /// finding.
    fn wake_when_less(&self, cx: &mut Context<'_>) {
        let Some(window) = self.options.window else { return };
        let limits = [&self.tokens, &self.nano_dollars].into_iter();
        let at =
            limits.filter(|it| it.is_open).filter_map(|it| it.recent.as_ref()?.less_at(window));
        match at.min() {
            Some(it) => cx.wake_at(it),
            None => cx.sleep(),
        }
    }
}

impl TokenBurnOptions {
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
fn price_unknown(tokens: &Tokens, cx: &mut Context<'_>) {
    let model = cx.usage().and_then(|it| it.model.clone());
    let n = grouped(tokens.total());
    let lowest = cx.next_level(0).unwrap_or(1);
    cx.raise(Fingerprint::of("price"), lowest, || match model {
        Some(model) => {
            let model = quote(&model);
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

/// A limit: what it is counted in, and how much of it there is.
#[derive(Clone, Copy)]
struct Limit {
    subject: fn() -> Fingerprint,
    max: u64,
    /// Writes "9 of 10 tokens".
    show: fn(u64, u64) -> String,
}

impl TokenLimit {
    fn limit(self) -> Limit {
        Limit {
            subject: || Fingerprint::NONE,
            max: self.0,
            show: |n, max| format!("{} of {} tokens", grouped(n), grouped(max)),
        }
    }
}

impl CostLimit {
    fn limit(self) -> Limit {
        Limit {
            subject: || Fingerprint::of("cost"),
            max: nano_dollars(self.0).max(1),
            show: |n, max| {
                let digits = if max < 1_000_000_000 { 4 } else { 2 };
                format!("${:.digits$} of ${:.digits$}", dollars(n), dollars(max))
            },
        }
    }
}

/// What was spent of one limit.
#[derive(Clone, Debug, Default)]
struct Spent {
    n: u64,
    /// Whether a finding is open that a window may end.
    is_open: bool,
    /// What the window holds; `None` before the first use, and without one.
    recent: Option<Box<Recent>>,
}

impl Spent {
    fn spend(&mut self, n: u64, limit: Limit, options: &TokenBurnOptions, cx: &mut Context<'_>) {
        if let Some(window) = options.window {
            self.forget(limit, window, cx);
            self.n = self.n.saturating_add(n);
            self.recent.get_or_insert_default().fill_up(self.n / limit.unit());
        } else {
            self.n = self.n.saturating_add(n);
        }
        let percent = percent(self.n, limit.max);
        self.is_open |= cx.next_level(0).is_some_and(|it| it <= percent);
        let (subject, n) = ((limit.subject)(), self.n);
        cx.raise(subject, percent, || {
            let shown = (limit.show)(n, limit.max);
            Report::new(format!("{shown} used{}, {percent}%", within(options)))
                .with("percent", percent)
        });
    }

    /// Ends a finding if too little is left in the window.
    fn pass(&mut self, limit: Limit, options: &TokenBurnOptions, cx: &mut Context<'_>) {
        let (Some(window), true) = (options.window, self.recent.is_some()) else { return };
        self.forget(limit, window, cx);
        let percent = percent(self.n, limit.max);
        if self.is_open && cx.next_level(0).is_none_or(|it| percent < it) {
            self.is_open = false;
            let shown = (limit.show)(self.n, limit.max);
            cx.resolve((limit.subject)(), || {
                Report::new(format!("down to {shown}{}, {percent}%", within(options)))
                    .with("percent", percent)
            });
        }
    }

    /// Lets what is too old leave the window.
    fn forget(&mut self, limit: Limit, window: Period, cx: &Context<'_>) {
        let recent = self.recent.get_or_insert_default();
        let gone = recent.pass(cx.now(), window);
        self.n = match recent.total() {
            // What is less than a unit goes with the last of them.
            0 if gone != 0 => 0,
            _ => self.n.saturating_sub(gone.saturating_mul(limit.unit())),
        };
    }
}

impl Limit {
    /// In what the pieces of a window are counted. Each takes half the room
    /// that it would take otherwise, and there are very many sessions.
    fn unit(self) -> u64 {
        (self.max / N_UNITS).max(1)
    }
}

/// What was spent lately, by the piece of the window in which it was.
#[derive(Clone, Debug)]
struct Recent {
    /// In units of the limit.
    buckets: [u32; N_BUCKETS],
    /// Which piece of all time the latest of the buckets is.
    latest: i64,
}

impl Default for Recent {
    fn default() -> Self {
        Self { buckets: [0; N_BUCKETS], latest: i64::MIN }
    }
}

impl Recent {
    /// Lets time pass. Says how much left the window, in units.
    fn pass(&mut self, now: Timestamp, window: Period) -> u64 {
        let piece = piece(now, window);
        let n_passed = piece.saturating_sub(self.latest).clamp(0, N_PIECES);
        let mut gone = 0;
        for it in piece - n_passed..piece {
            gone += u64::from(std::mem::take(&mut self.buckets[slot(it + 1)]));
        }
        self.latest = self.latest.max(piece);
        gone
    }

    /// Adds to the latest bucket what the window holds beside what is in its
    /// buckets.
    ///
    /// So what is less than a unit is not lost, but waits for more.
    fn fill_up(&mut self, n_units: u64) {
        let more = u32::try_from(n_units.saturating_sub(self.total())).unwrap_or(u32::MAX);
        let bucket = &mut self.buckets[slot(self.latest)];
        *bucket = bucket.saturating_add(more);
    }

    fn total(&self) -> u64 {
        self.buckets.iter().copied().map(u64::from).sum()
    }

    /// When the oldest of what is in the window leaves it.
    fn less_at(&self, window: Period) -> Option<Timestamp> {
        let mut pieces = self.latest.checked_sub(N_PIECES - 1)?..=self.latest;
        let oldest = pieces.find(|it| self.buckets[slot(*it)] != 0)?;
        let nanos = i128::from(oldest + N_PIECES) * i128::from(width(window));
        Timestamp::from_nanosecond(nanos).ok()
    }
}

fn slot(piece: i64) -> usize {
    usize::try_from(piece.rem_euclid(N_PIECES)).unwrap_or_default()
}

/// In which piece of all time a point in time is.
fn piece(at: Timestamp, window: Period) -> i64 {
    let (nanos, width) = (at.as_nanosecond(), width(window));
    // Division is slow in 128 bits, and most times need no more than 64.
    match i64::try_from(nanos) {
        Ok(nanos) => nanos.div_euclid(width),
        Err(_) => i64::try_from(nanos.div_euclid(width.into())).unwrap_or(i64::MAX),
    }
}

/// How long one piece of the window is, in nanoseconds: so long that there are
/// fewer than 2^63 of them in all time.
fn width(window: Period) -> i64 {
    let width = window.get().as_nanos() / i128::from(N_PIECES);
    i64::try_from(width).unwrap_or(i64::MAX).max(128)
}

fn within(options: &TokenBurnOptions) -> Cow<'static, str> {
    options.window.map_or(Cow::Borrowed(""), |it| format!(" in {it}").into())
}

fn percent(n: u64, max: u64) -> u64 {
    u64::try_from(u128::from(n) * 100 / u128::from(max)).unwrap_or(u64::MAX)
}

/// Whole numbers, so that what was added can be taken away again.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "what is no amount of money becomes zero, what is too much the most there is"
)]
fn nano_dollars(dollars: f64) -> u64 {
    (dollars * NANOS_PER_DOLLAR).round() as u64
}

#[expect(clippy::cast_precision_loss, reason = "dollars are shown to the cent")]
fn dollars(nanos: u64) -> f64 {
    nanos as f64 / NANOS_PER_DOLLAR
}

/// Writes 1234567 as "1,234,567".
fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut res = String::new();
    for (at, digit) in digits.char_indices() {
        if at != 0 && (digits.len() - at).is_multiple_of(3) {
            res.push(',');
        }
        res.push(digit);
    }
    res
}

impl<'de> Deserialize<'de> for TokenLimit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        return deserializer.deserialize_u64(Visitor);

        struct Visitor;

        impl de::Visitor<'_> for Visitor {
            type Value = TokenLimit;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number of tokens greater than zero, such as 500_000")
            }

            fn visit_i64<E: de::Error>(self, n: i64) -> Result<TokenLimit, E> {
                match u64::try_from(n) {
                    Ok(1..) => Ok(TokenLimit(n.unsigned_abs())),
                    _ => Err(E::invalid_value(de::Unexpected::Signed(n), &self)),
                }
            }

            fn visit_u64<E: de::Error>(self, n: u64) -> Result<TokenLimit, E> {
                self.visit_i64(i64::try_from(n).unwrap_or(i64::MAX))
            }
        }
    }
}

impl JsonSchema for TokenLimit {
    fn schema_name() -> Cow<'static, str> {
        "TokenLimit".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "integer", "minimum": 1 })
    }
}

impl<'de> Deserialize<'de> for CostLimit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        return deserializer.deserialize_f64(Visitor);

        struct Visitor;

        impl de::Visitor<'_> for Visitor {
            type Value = CostLimit;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an amount of US dollars greater than zero, such as 5 or 2.50")
            }

            fn visit_f64<E: de::Error>(self, dollars: f64) -> Result<CostLimit, E> {
                if dollars.is_finite() && 0.0 < dollars {
                    Ok(CostLimit(dollars))
                } else {
                    Err(E::invalid_value(de::Unexpected::Float(dollars), &self))
                }
            }

            fn visit_i64<E: de::Error>(self, dollars: i64) -> Result<CostLimit, E> {
                match i32::try_from(dollars) {
                    Ok(it @ 1..) => Ok(CostLimit(it.into())),
                    _ => Err(E::invalid_value(de::Unexpected::Signed(dollars), &self)),
                }
            }

            fn visit_u64<E: de::Error>(self, dollars: u64) -> Result<CostLimit, E> {
                self.visit_i64(i64::try_from(dollars).unwrap_or(i64::MAX))
            }
        }
    }
}

impl JsonSchema for CostLimit {
    fn schema_name() -> Cow<'static, str> {
        "CostLimit".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "number", "exclusiveMinimum": 0 })
    }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;
    use watchkeeper_core::Options;
    use watchkeeper_testing::{laws, play};

    use super::{DetectorKind, Recent, TokenBurn};

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
        assert_snapshot!(refuse("max_tokens = 1\ncount = []"), @r#"invalid value for `count`: name at least one of "input", "cache_read", "cache_write" and "output""#);
        assert_snapshot!(refuse("max_tokens = 1\ncount = ['reasoning']"), @"unknown variant `reasoning`, expected one of `input`, `cache_read`, `cache_write`, `output`");
    }

    #[test]
    fn it_obeys_the_laws_of_detectors() {
        laws::check::<TokenBurn>("max_tokens = 100_000\nmax_cost_usd = 20.0");
        laws::check::<TokenBurn>("max_tokens = 100_000\nmax_cost_usd = 20.0\nwindow = '5m'");
        laws::check::<TokenBurn>("max_tokens = 1\nwindow = '1ns'");
    }

    #[test]
    fn one_for_each_of_many_streams_is_small() {
        assert_eq!((size_of::<TokenBurn>(), size_of::<Recent>()), (56, 104));
    }
}
