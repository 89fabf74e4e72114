use insta::assert_snapshot;
use proptest::{collection::vec, prelude::*};
use watchkeeper_core::{
    DetectorKind, Level, Severity, Timestamp,
    author::{Options, OptionsError},
};
use watchkeeper_testing::{Trace, detector, findings, laws, play};

use crate::{Counted, SessionUsage, TokenBurn, spending::Spent, window::Window};

#[test]
fn usage_of_sub_agents_counts_for_their_session() {
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
    let every = "max_tokens = 100_000\ncount = ['input', 'cache_read', 'cache_write', 'output']";
    assert_snapshot!(play::<TokenBurn>(every, trace), @"2s      medium    90,900 of 100,000 tokens used, 90%");
}

#[test]
fn resolves_when_usage_leaves_the_window() {
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
    fn a_window_contains_the_usage_of_its_pieces(
        spending in vec((0_i64..40_000, 1_u64..500), 1..60),
    ) {
        let options = Options::parse("max_tokens = 1_000\nwindow = '12s'").expect("a table");
        let TokenBurn(Counted::Session(SessionUsage { rules, .. })) =
            options.build(TokenBurn::new).expect("valid options")
        else {
            panic!("a session")
        };
        let limit = rules.tokens.as_ref().expect("a limit");
        let Some(Window::Sliding(window)) = rules.window else { panic!("a sliding window") };
        let mut spent = Spent::default();
        let mut all = Vec::new();
        let mut millis = 0;
        for (passed, n) in spending {
            millis += passed;
            let now = Timestamp::from_millisecond(millis).expect("a time");
            spent.advance(limit, window, now);
            spent.n += n;
            all.push((millis / 1000, n));
            // A piece is one second long.
            let in_window = || all.iter().filter(|(piece, _)| millis / 1000 < piece + 12);
            prop_assert_eq!(spent.n, in_window().map(|(_, n)| n).sum::<u64>());
            let oldest = in_window().map(|(piece, _)| piece + 12).next();
            let leaves_at = spent.recent.oldest_leaves_at(window);
            prop_assert_eq!(leaves_at.map(Timestamp::as_second), oldest);
        }
    }
}

#[test]
fn learns_the_usual_usage_from_the_session() {
    let options = "max_tokens = 10_000\nwindow = '24m'\ntimes_usual = 5";
    // A window of work uses 2,400 tokens at first and 24,000 later, which
    // becomes the usual usage after some time.
    let trace = "
        0s      repeat 60 every 1m: usage input=100
        +1m     repeat 300 every 1m: usage input=1000
    ";
    assert_snapshot!(play::<TokenBurn>(options, trace), @"
    1h3m    low       6,000 of 12,000 tokens used in 24m, 50%; usually 2,400
    1h7m    medium    9,600 of 12,000 tokens used in 24m, 80%; usually 2,400
    1h10m   high      12,200 of 12,000 tokens used in 24m, 101%; usually 2,400
    2h8m    resolved  down to 22,000 of 58,865 tokens in 24m, 37%
    ");
    // The usual usage is unknown, so the limit is used in its place.
    let trace = "0s repeat 20 every 1m: usage input=1300";
    assert_snapshot!(play::<TokenBurn>(options, trace), @"19m     low       26,000 of 50,000 tokens used in 24m, 52%");
}

#[test]
fn pauses_do_not_lower_the_usual_usage() {
    let options = "max_tokens = 20_000\nwindow = '24m'\ntimes_usual = 3";
    let work = |n| format!("+1m repeat 30 every 1m: usage input={n}\n");
    let trace = format!("{0}advance 10h\n{0}advance 10h\n{0}advance 10h\n{0}", work(1000));
    assert_snapshot!(play::<TokenBurn>(options, &trace), @"");
}

#[test]
fn reports_an_unknown_price_once() {
    let trace = "
        0s   usage model=claude-opus-4-5 output=100000
        1s   usage model=home-grown input=5000 output=100
        2s   usage model=home-grown input=5000 output=100
        3s   usage cost=1.75
    ";
    assert_snapshot!(play::<TokenBurn>("max_cost_usd = 5", trace), @"
    0s      low       $2.50 of $5.00 used, 50%
    1s      low       the price of `home-grown` is unknown: 5,100 tokens are not counted in dollars; add the price to `[prices]`
    3s      medium    $4.25 of $5.00 used, 85%
    ");
}

#[test]
fn rejects_invalid_limits() {
    let error = |text| {
        let built = Options::parse(text).and_then(|options| options.build(TokenBurn::new));
        built.expect_err("the options are invalid").to_string()
    };
    assert_snapshot!(error(""), @"invalid value for `max_tokens`: no limit is set; set this option or `max_cost_usd`");
    assert_snapshot!(error("max_tokens = -1"), @"invalid value: integer `-1`, expected a number of tokens greater than zero, such as 500_000");
    assert_snapshot!(error("max_tokens = '1M'"), @r#"invalid type: string "1M", expected a number of tokens greater than zero, such as 500_000"#);
    assert_snapshot!(error("max_cost_usd = 0"), @"invalid value: integer `0`, expected an amount of US dollars greater than zero, such as 5 or 2.50");
    assert_snapshot!(error("max_cost_usd = nan"), @"invalid value: floating point `NaN`, expected an amount of US dollars greater than zero, such as 5 or 2.50");
    assert_snapshot!(error("max_tokens = 1\ntimes_usual = 5"), @r#"invalid value for `times_usual`: `times_usual` requires a `window`, such as "10m""#);
    assert_snapshot!(error("max_tokens = 1\nwindow = '1m'\ntimes_usual = 1"), @"invalid value for `times_usual`: a multiple below 2 allows no more than the usual usage; use 2 or more");
    assert_snapshot!(error("of = 'polls'\nmax_tokens = 1\nwindow = '1m'"), @r#"invalid value for `window`: a window does not apply to `of = "polls"`; remove it"#);
    assert_snapshot!(error("max_tokens = 1\ncount = []"), @r#"invalid value for `count`: name at least one of "input", "cache_read", "cache_write" and "output""#);
    assert_snapshot!(error("max_tokens = 1\ncount = ['reasoning']"), @"unknown variant `reasoning`, expected one of `input`, `cache_read`, `cache_write`, `output`");
}

#[test]
fn laws_hold() {
    laws::check::<TokenBurn>("max_tokens = 100_000\nmax_cost_usd = 20.0");
    laws::check::<TokenBurn>("max_tokens = 100_000\nmax_cost_usd = 20.0\nwindow = '5m'");
    laws::check::<TokenBurn>("max_tokens = 1\nwindow = '1ns'");
    laws::check::<TokenBurn>("max_tokens = 1\nwindow = '5m'\ntimes_usual = 2");
    laws::check::<TokenBurn>("max_tokens = 1_000\nwindow = 'day'\ntime_zone = 'Asia/Tokyo'");
    laws::check::<TokenBurn>(
        "max_tokens = 1\nmax_cost_usd = 0.01\nwindow = '1ns'\ntimes_usual = 2",
    );
}

#[test]
fn state_of_a_stream_is_small() {
    assert_eq!((size_of::<TokenBurn>(), size_of::<Spent>()), (24, 72));
}

#[test]
fn a_calendar_window_starts_at_midnight_of_the_time_zone() {
    // The trace starts at midnight UTC, which is one o'clock in Lagos.
    let options = "max_tokens = 100\nwindow = 'day'\ntime_zone = 'Africa/Lagos'";
    let trace = "
        22h    usage input=60
        22h30m usage input=50
        22h59m usage input=1
        23h    usage input=60
        24h    usage input=30
        advance 48h
    ";
    assert_snapshot!(play::<TokenBurn>(options, trace), @"
    22h     low       60 of 100 tokens used on 1970-01-01, 60%
    22h30m  high      110 of 100 tokens used on 1970-01-01, 110%
    23h     resolved  the limit of 100 starts again on 1970-01-02
    23h     low       60 of 100 tokens used on 1970-01-02, 60%
    24h     medium    90 of 100 tokens used on 1970-01-02, 90%
    47h     resolved  the limit of 100 starts again on 1970-01-03
    ");
    let utc = options.replace("'Africa/Lagos'", "'UTC'");
    assert!(play::<TokenBurn>(&utc, trace).contains("24h     resolved"));
}

#[test]
fn a_week_and_a_month_start_on_their_first_day() {
    let trace = "
        0s   usage input=60
        20h  usage input=60
        120h usage input=60
        800h usage input=60
    ";
    let mut found = String::new();
    for window in ["week", "month"] {
        let options = format!("max_tokens = 100\nwindow = '{window}'");
        found += &[window, "\n", &play::<TokenBurn>(&options, trace), "\n"].concat();
    }
    assert_snapshot!(found, @"
    week
    0s      low       60 of 100 tokens used in the week from 1969-12-29, 60%
    20h     high      120 of 100 tokens used in the week from 1969-12-29, 120%
    44h     resolved  over, as nothing came for 24h
    120h    low       60 of 100 tokens used in the week from 1970-01-05, 60%
    144h    resolved  over, as nothing came for 24h
    800h    low       60 of 100 tokens used in the week from 1970-02-02, 60%

    month
    0s      low       60 of 100 tokens used in January 1970, 60%
    20h     high      120 of 100 tokens used in January 1970, 120%
    44h     resolved  over, as nothing came for 24h
    120h    low       60 of 100 tokens used in January 1970, 60%
    144h    resolved  over, as nothing came for 24h
    800h    low       60 of 100 tokens used in February 1970, 60%
    ");
}

fn built(options: &str) -> Result<TokenBurn, OptionsError> {
    let text = format!("max_tokens = 100\n{options}");
    let options = Options::parse(&text)?;
    options.build(TokenBurn::new)
}

#[test]
fn options_of_calendar_windows_are_checked() {
    for (options, reason) in [
        ("window = 'day'\ntimes_usual = 3", "requires a `window` of a fixed length"),
        ("window = '1d'\ntime_zone = 'UTC'", "applies to the windows"),
        ("window = 'year'", "expected one of `day`, `week`, `month`"),
        ("window = 'day'\ntime_zone = 'Mars/Olympus'", "unknown variant `Mars/Olympus`"),
    ] {
        let err = built(options).unwrap_err();
        assert!(err.to_string().contains(reason), "{options}: {err}");
    }
    for window in ["1d", "1w", "36h", "month"] {
        built(&format!("window = '{window}'")).unwrap();
    }
}

const POLLS: &str = "of = 'polls'\nmax_tokens = 1_000\ncount = ['input', 'cache_read']";

#[test]
fn usage_between_close_polls_is_counted() {
    let trace = "
        0s   prompt wait for the worker
        1s   usage cache_read=9000
        2s   call Bash kubectl get pods
        +1s  result pending
        +1s  repeat 3 every 6s: usage cache_read=290 ;; call Bash kubectl get pods ;; result pending
        +6s  repeat 3 every 1s: usage input=90 ;; call Read log ;; result text
        +1s  call Bash kubectl get pods
        +1s  result done
        +1s  usage input=5000
        +1s  call Edit main.rs
    ";
    assert_snapshot!(play::<TokenBurn>(POLLS, trace), @"
    10s     low       580 of 1,000 tokens used to poll, 58%: 3 polls in 8s, each less than 15s after the previous one
    16s     medium    870 of 1,000 tokens used to poll, 87%: 4 polls in 14s, each less than 15s after the previous one
    25s     high      1,140 of 1,000 tokens used to poll, 114%: 5 polls in 23s, each less than 15s after the previous one
    28s     resolved  no further polls after 5 with 1,140 tokens: the agent did other work
    ");
}

/// Each row: the events after a prompt, and the tokens that count.
#[test]
fn counts_tokens_of_polls_in_quick_succession() {
    let poll = "usage input=100 ;; call Bash kubectl get pods ;; result pending";
    for (events, n) in [
        (format!("repeat 9 every 8s: {poll}"), 800),
        // The polled work can proceed.
        (format!("repeat 9 every 15s: {poll}"), 0),
        (format!("repeat 9 every 8s: {poll} ;; call Edit a ;; result done"), 0),
        (format!("repeat 9 every 8s: {poll} ;; prompt go on"), 0),
        (format!("repeat 9 every 8s: {poll} ;; synthetic go on"), 800),
        (format!("repeat 9 every 8s: {poll} ;; turn_end"), 0),
        // A look at what the worker has changed.
        (format!("repeat 9 every 8s: {poll} ;; call Bash git diff ;; result text"), 800),
        (
            format!(
                "repeat 9 every 8s: {poll}{}",
                " ;; call Bash git diff ;; result text".repeat(4)
            ),
            0,
        ),
        // Some agents record the usage of a response after its calls.
        (
            "repeat 9 every 8s: call Bash kubectl get pods ;; usage input=100 ;; result pending"
                .to_owned(),
            800,
        ),
        // Parallel polls are one response.
        (format!("repeat 9 every 8s: {poll} ;; call Bash kubectl get jobs ;; result none"), 800),
        ("repeat 9 every 8s: usage input=100 ;; call Bash make ;; result pending".to_owned(), 0),
    ] {
        let trace: Trace = format!("0s prompt wait\n1s {events}").parse().expect("events");
        let is_reached = |tokens: u64| {
            let options = format!("of = 'polls'\nmax_tokens = {tokens}\ncount = ['input']");
            let mut detector = detector::<TokenBurn>(&options);
            detector.levels = vec![Level::new(100, Severity::Medium)];
            !findings(&detector, &trace).is_empty()
        };
        let reached = (1..=20).map(|n| n * 50).take_while(|n| is_reached(*n)).last();
        assert_eq!(reached.unwrap_or_default(), n, "{events}");
    }
}

#[test]
fn laws_hold_for_polls() {
    laws::of::<TokenBurn>(POLLS)
        .traces([
            "0s repeat 9 every 8s: usage input=500 ;; call Bash kubectl get pods ;; result pending",
        ])
        .check();
}
