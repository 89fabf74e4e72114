use insta::assert_snapshot;
use proptest::prelude::*;

use super::Trace;
use crate::events;

fn error(text: &str) -> String {
    text.parse::<Trace>().expect_err("an invalid trace").to_string()
}

#[test]
fn errors_name_the_line_and_the_word() {
    assert_snapshot!(error("0s prompt hello\n\n5 call bash ls"), @"line 3: `5` is not a duration such as `30s`, `5m` or `1h30m`");
    assert_snapshot!(error("0s turn-end"), @"line 1: unknown event `turn-end`; use session_start, prompt, synthetic, message, delta, thinking, usage, call, result, wait, resume, turn_end, error, compaction, handoff, agent_start, agent_end or session_end");
    assert_snapshot!(error("0s call bash ls\n1s result ok\n2s result ok"), @"line 3: no call is pending; name the call: `result #ID`");
    assert_snapshot!(error("0s usage inptu=1"), @"line 1: unknown `inptu`; use id, model, input, output, cache_read, cache_write, reasoning, cache_write_1h, cost or context");
    assert_snapshot!(error("0s usage input=many"), @"line 1: `many` is not a number for `input`");
    assert_snapshot!(error("0s repeat 3: call bash ls"), @"line 1: `3` is not a number and a period, as in `4 every 5s`");
    assert_snapshot!(error("0s agent a1 message hi"), @"line 1: expected `:` after `a1`");
    assert_snapshot!(error("0s wait godot"), @"line 1: unknown `godot`; use permission or person");
    assert_snapshot!(error("0s call"), @"line 1: the line ends too early");
}

#[test]
fn writing_expands_rounds_and_adds_ids() {
    let trace: Trace = "
        # Two rounds, and another agent between them.
        1m    repeat 2 every 5s: call Bash make ;; result fail exit 2 no rule
        +1s   session s2: agent a1: call #x Read @r1 {\"path\": \"a b\"}
        +1s   session s2: agent a1: result
        advance 1h
    "
    .parse()
    .expect("every line is an event");
    assert_snapshot!(trace, @r#"
    1m call #c1 Bash "make"
    1m result #c1 fail exit 2 "no rule"
    1m5s call #c2 Bash "make"
    1m5s result #c2 fail exit 2 "no rule"
    1m6s session s2: agent a1: call #x Read @r1 {"path": "a b"}
    1m7s session s2: agent a1: result #x ok
    1h1m7s advance
    "#);
}

proptest! {
    #[test]
    fn written_traces_parse_to_the_same_events(events in events()) {
        let trace = Trace::from(events);
        let written = trace.to_string();
        prop_assert_eq!(written.parse::<Trace>(), Ok(trace), "{}", written);
    }
}
