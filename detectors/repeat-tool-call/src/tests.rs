use insta::assert_snapshot;
use watchkeeper_core::{Level, Severity};
use watchkeeper_testing::{detector, laws, play, play_detector};

use super::RepeatToolCall;

mod weights;

#[test]
fn counts_equal_results_of_equal_calls() {
    let trace = r#"
        0s   prompt fix it
        1s   repeat 9 every 10s: call Bash {"command":"make"} ;; result fail line 7: no rule
        +2s  message let me look elsewhere
        +2s  call Read Makefile
    "#;
    assert_snapshot!(play::<RepeatToolCall>("", trace), @"
    21s     low       `Bash` returned the same result for the same call 3 times in 20s: `make` returns `line 7: no rule`
    31s     medium    `Bash` returned the same result for the same call 4 times in 30s: `make` returns `line 7: no rule`
    1m11s   high      `Bash` returned the same result for the same call 8 times in 1m 10s: `make` returns `line 7: no rule`
    1m25s   resolved  no further repetition after 9: another call was made
    ");
}

#[test]
fn resolves_when_the_result_changes() {
    let trace = "
        0s   repeat 3 every 5s: call Bash make ;; result one error left
        +5s  call Bash make
        +1s  result all is well
        +5s  repeat 3 every 5s: call Bash make ;; result all is well
    ";
    assert_snapshot!(play::<RepeatToolCall>("", trace), @"
    10s     low       `Bash` returned the same result for the same call 3 times in 10s: `make` returns `one error left`
    16s     resolved  no further repetition after 4: the result changed
    26s     low       `Bash` returned the same result for the same call 3 times in 11s: `make` returns `all is well`
    31s     medium    `Bash` returned the same result for the same call 4 times in 16s: `make` returns `all is well`
    ");
}

#[test]
fn resets_at_a_prompt_of_a_person_but_not_of_the_harness() {
    let trace = "
        0s   repeat 3 every 1s: call Bash make ;; result no rule
        +1s  prompt try again
        +1s  repeat 2 every 1s: call Bash make ;; result no rule
        +1s  synthetic go on
        +1s  repeat 2 every 1s: call Bash make ;; result no rule
    ";
    assert_snapshot!(play::<RepeatToolCall>("", trace), @"
    2s      low       `Bash` returned the same result for the same call 3 times in 2s: `make` returns `no rule`
    3s      resolved  no further repetition after 3: a person sent a prompt
    7s      low       `Bash` returned the same result for the same call 3 times in 3s: `make` returns `no rule`
    8s      medium    `Bash` returned the same result for the same call 4 times in 4s: `make` returns `no rule`
    ");
}

#[test]
fn resets_at_a_scheduled_turn_but_not_at_a_nudge() {
    let of = |gap| {
        let turn = "synthetic look ;; call Read a.txt ;; result nothing is due today ;; turn_end";
        play::<RepeatToolCall>("", &format!("0s repeat 9 every {gap}s: {turn}"))
    };
    for gap in [15, 20, 300, 1800] {
        assert_eq!(of(gap), "", "{gap}");
    }
    assert!(of(1).contains(" high "));
}

#[test]
fn four_calls_without_results_count_as_three() {
    let trace = "0s repeat 5 every 1s: call Bash make";
    assert_snapshot!(play::<RepeatToolCall>("", trace), @"
    2s      low       `Bash` was called with the same arguments 3 times in 2s, and no result is known: `make`
    4s      medium    `Bash` was called with the same arguments 5 times in 4s, and no result is known: `make`
    ");
    // Parallel copies are one call.
    let trace = "0s repeat 20 every 1s: call Bash @r1 make";
    assert_snapshot!(play::<RepeatToolCall>("", trace), @"");
}

#[test]
fn polls_and_slow_calls_count_less() {
    let polls = "0s repeat 125 every 30s: call BashOutput {} ;; result still running";
    assert_snapshot!(play::<RepeatToolCall>("", polls), @"
    45m     low       `BashOutput` returned the same result for the same call 90 times in 45m
    1h      medium    `BashOutput` returned the same result for the same call 120 times in 1h
    ");
    let fast = "0s repeat 20 every 5s: call BashOutput {} ;; result still running";
    assert_snapshot!(play::<RepeatToolCall>("", fast), @"
    1m10s   low       `BashOutput` returned the same result for the same call 15 times in 1m 10s: `still running`
    1m35s   medium    `BashOutput` returned the same result for the same call 20 times in 1m 35s: `still running`
    ");
    let slow = "0s repeat 10 every 1m: call Bash {} ;; result two of the files are there";
    assert_snapshot!(play::<RepeatToolCall>("", slow), @"
    7m      low       `Bash` returned the same result for the same call 8 times in 7m: `two of the files are there`
    9m      medium    `Bash` returned the same result for the same call 10 times in 9m: `two of the files are there`
    ");
}

#[test]
fn calls_that_read_unfinished_work_are_polls() {
    let of = |tool: &str, result: &str, gap: &str| {
        let trace = format!("0s repeat 20 every {gap}: call {tool} {{}} ;; result {result}");
        play::<RepeatToolCall>("", &trace)
    };
    for tool in ["argoWorkflowGet", "payment_intents.retrieve", "crawl_lookup", "orbit"] {
        for result in
            ["Phase: Running", r#"{"status":"processing"}"#, r#"{"progress":"rendering"}"#]
        {
            assert_eq!(of(tool, result, "30s"), "", "{tool}, {result}");
            // In a busy loop, nothing can proceed.
            assert_ne!(of(tool, result, "1s"), "", "{tool}, {result}");
        }
        assert_ne!(of(tool, r#"{"status":"planned","by":"ada"}"#, "30s"), "", "{tool}");
    }
    // The same program does the same, whatever its result reports.
    assert_ne!(of("run_workflow", "Phase: Running", "30s"), "");
}

#[test]
fn a_sleep_between_polls_does_not_end_them() {
    let of = |between: &str| {
        let trace = format!(
            "0s repeat 125 every 30s: call BashOutput {{}} ;; result still running ;; {between} ;; result ok"
        );
        play::<RepeatToolCall>("", &trace)
    };
    let found = of(r#"call Bash {"command":"sleep 20"}"#);
    assert_snapshot!(found, @"
    45m     low       `BashOutput` returned the same result for the same call 90 times in 45m
    1h      medium    `BashOutput` returned the same result for the same call 120 times in 1h
    ");
    assert_eq!(of("call sleep {}"), found);
    for other in
        [r#"call Bash {"command":"sleep 20; make"}"#, "call Bash sleepy 5", "call Bash sleep well"]
    {
        assert_eq!(of(other), "", "{other}");
    }
}

#[test]
fn compares_only_the_parts_in_same() {
    let trace = "
        0s   call Grep foo
        1s   result the index is out of date
        2s   call Grep bar
        3s   result the index is out of date
        4s   call Grep baz
        5s   result the index is out of date
        6s   call Read README.md
        7s   result the index is out of date
    ";
    let of = |options| play::<RepeatToolCall>(options, trace);
    assert_snapshot!(of("same = ['tool']"), @"
    4s      low       `Grep` was called 3 times in a row in 4s
    6s      resolved  no further repetition after 3: another call was made
    ");
    assert_snapshot!(of("same = ['tool', 'result']"), @"
    5s      low       `Grep` returned the same result for 3 different calls in a row in 4s: `the index is out of date`
    7s      resolved  no further repetition after 3: another call was made
    ");
    assert_snapshot!(of("same = ['result']"), @"
    5s      low       3 different calls in a row returned the same result in 4s, the last from `Grep`: `the index is out of date`
    7s      medium    4 different calls in a row returned the same result in 6s, the last from `Read`: `the index is out of date`
    ");
    assert_snapshot!(of("same = ['result']\nclasses = ['write']"), @"");
    assert_snapshot!(of("same = ['result']\nwithin = '1s'"), @"");
}

#[test]
fn a_changed_counter_is_a_changed_result() {
    let of = |results: &str| {
        let lines: Vec<_> = results
            .split(';')
            .map(|result| format!("+1s call Job j1\n+1s result {result}"))
            .collect();
        play::<RepeatToolCall>("", &lines.join("\n"))
    };
    let counting = "12 of 200 files are built so far, and no more; 15 of 200 files are built so far, and no more; \
         19 of 200 files are built so far, and no more; 22 of 200 files are built so far, and no more";
    assert_snapshot!(of(counting), @"");
    let waiting = "10:00:01 pid 77 waits for a lock that is not given; 10:00:02 pid 78 waits for a lock that is not given; \
         10:00:03 pid 79 waits for a lock that is not given; 10:00:04 pid 80 waits for a lock that is not given";
    assert_snapshot!(of(waiting), @"
    6s      low       `Job` returned the same result for the same call 3 times in 4s, ignoring numbers, ids and times: `j1` returns `10:00:03 pid 79 waits for a lock that is not given`
    8s      medium    `Job` returned the same result for the same call 4 times in 6s, ignoring numbers, ids and times: `j1` returns `10:00:04 pid 80 waits for a lock that is not given`
    ");
}

#[test]
fn repeated_changes_are_equal_despite_different_results() {
    let trace = r#"
        0s   call Edit {"file_path":"a.rs","old_string":"x"}
        +1s  result done, the file has one line
        +1s  call Edit {"file_path":"a.rs","old_string":"x"}
        +1s  result done, the file has two lines
        +1s  call Edit {"old_string":"x","file_path":"a.rs"}
        +1s  result done, the file has three lines
        +1s  call Edit {"file_path":"a.rs","old_string":"x"}
        +1s  result fail the text is not in it
    "#;
    assert_snapshot!(play::<RepeatToolCall>("", trace), @"
    5s      low       `Edit` made the same change 3 times in 4s: `a.rs`
    7s      resolved  no further repetition after 4: the result changed
    ");
}

#[test]
fn slow_calls_count_less_only_if_most_are_slow() {
    let of = |gaps: &[u64]| {
        let calls: Vec<_> =
            gaps.iter().map(|gap| format!("+{gap}s call Probe x\n+1s result not yet")).collect();
        play::<RepeatToolCall>("", &calls.join("\n"))
    };
    assert_snapshot!(of(&[0, 1, 600, 1]), @"
    10m5s   low       `Probe` returned the same result for the same call 3 times in 10m 5s: `x`
    10m6s   medium    `Probe` returned the same result for the same call 4 times in 10m 5s: `x` returns `not yet`
    ");
    assert_snapshot!(of(&[0, 90, 1, 90, 90]), @"");
}

#[test]
fn ignores_results_that_are_not_specific() {
    let of = |result: &str| {
        let calls: Vec<_> =
            (0..6).map(|n| format!("+1s call Bash step {n}\n+1s result {result}")).collect();
        play::<RepeatToolCall>("same = ['tool', 'result']", &calls.join("\n"))
    };
    for result in [
        "declined the user does not want that",
        "sibling a parallel call failed",
        "All tests have passed",
        "short",
    ] {
        assert_eq!(of(result), "", "{result}");
    }
    assert_ne!(of("fail the server does not answer"), "");
    // An unchanged call is counted only if arguments are compared.
    let same = "0s repeat 9 every 1s: call Grep foo ;; result the index is out of date";
    assert_eq!(play::<RepeatToolCall>("same = ['tool', 'result']", same), "");
}

#[test]
fn counts_calls_at_their_results_if_arguments_may_differ() {
    let of = |between: &str| {
        let trace = format!(
            "0s call Grep foo
             +1s result the index is out of date
             +1s {between}
             +1s call Grep @r1 bar
             +1s result the index is out of date
             +1s call Grep @r1 bars
             +1s result the index is out of date
             +1s call Grep baz
             +1s result the index is out of date"
        );
        play::<RepeatToolCall>("same = ['tool', 'result']\nclasses = ['read', 'run']", &trace)
    };
    // Copies and calls without a result do not count.
    let found = of("call Read README.md");
    assert_snapshot!(found, @"8s      low       `Grep` returned the same result for 3 different calls in a row in 7s: `the index is out of date`");
    assert_eq!(of("message it must be somewhere"), found);
    for other in ["call Bash sleep 20", "call Edit a.rs"] {
        assert_eq!(of(&format!("{other}\n+0s result done with that, at last")), "", "{other}");
    }
}

#[test]
fn reports_a_hundred_equal_calls_with_different_results() {
    let calls: Vec<_> = (0..120)
        .map(|n| format!("+1s call Job next\n+1s result at {}", "x".repeat(n % 7 + 1)))
        .collect();
    let trace = format!("{}\n+1s call Read x", calls.join("\n"));
    assert_snapshot!(play::<RepeatToolCall>("", &trace), @"
    3m19s   low       `Job` was called with the same arguments 100 times in a row, with different results: `next`
    4m1s    resolved  no further repetition after 120: another call was made
    ");
    let mut one_level = detector::<RepeatToolCall>("");
    one_level.levels = vec![Level::new(4, Severity::High)];
    assert_eq!(play_detector(&one_level, &trace), "");
}

#[test]
fn repetition_continues_across_turns() {
    let trace = "0s repeat 4 every 1s: call Bash make ;; result no rule to make it ;; turn_end ;; synthetic go on";
    assert_snapshot!(play::<RepeatToolCall>("", trace), @"
    2s      low       `Bash` returned the same result for the same call 3 times in 2s: `make` returns `no rule to make it`
    3s      medium    `Bash` returned the same result for the same call 4 times in 3s: `make` returns `no rule to make it`
    ");
}

#[test]
fn message_shows_arguments_and_result_without_secrets() {
    let of = |arguments: &str, result: &str| {
        let trace = format!("0s repeat 3 every 1s: call Tool {arguments} ;; result {result}");
        play::<RepeatToolCall>("", &trace)
    };
    assert_snapshot!(of(r#"{"command":"curl -H 'Authorization: Bearer abc.def'"}"#, r#""Exit code 7\ntoken=abc is wrong""#), @"2s      low       `Tool` returned the same result for the same call 3 times in 2s: `curl -H 'Authorization: Bearer [redacted]'` returns `token=[redacted] is wrong`");
    assert_snapshot!(of(r#"{"n":1,"path":"a.rs"}"#, r#""""#), @"2s      low       `Tool` returned the same result for the same call 3 times in 2s: `a.rs` returns nothing");
    assert_snapshot!(of(r#"{"n":1,"m":[2]}"#, "x"), @r#"2s      low       `Tool` returned the same result for the same call 3 times in 2s: `{"n":1,"m":[2]}` returns `x`"#);
    assert_snapshot!(of("{}", "x"), @"2s      low       `Tool` returned the same result for the same call 3 times in 2s: `x`");
}

/// Returns true if a trace has a finding of medium severity or above.
fn alarms(options: &str, trace: &str) -> bool {
    let found = play::<RepeatToolCall>(options, trace);
    found.contains(" medium ") || found.contains(" high ")
}

#[test]
fn outages_do_not_count() {
    let of = |result: &str| format!("0s repeat 12 every 5s: call Fetch a ;; result fail {result}");
    for outage in ["HTTP 503 Service Unavailable", "429 Too Many Requests", "529 overloaded_error"]
    {
        assert_eq!(play::<RepeatToolCall>("", &of(outage)), "", "{outage}");
    }
    assert!(alarms("", &of("HTTP 404 for the page")));
}

#[test]
fn parallel_copies_are_one_call() {
    let calls = "5s call #a Fetch x\n5s call #b Fetch x\n5s call #c Fetch x\n5s call #d Fetch x\n";
    let results = "6s result #a the page\n6s result #b the page\n6s result #c the page\n6s result #d the page";
    let start = "0s prompt go\n";
    assert_eq!(play::<RepeatToolCall>("", &format!("{start}{calls}{results}")), "");
    // Results that arrive in turn.
    let in_turn = "0s repeat 6 every 1s: call Fetch @r1 x ;; result the page";
    assert!(!alarms("", in_turn));
}

#[test]
fn stated_intent_is_no_argument() {
    let calls: Vec<_> = (0..6)
        .map(|n| format!(r#"+2s call Bash {{"command":"make","description":"Try {n}"}}"#))
        .map(|call| format!("{call}\n+1s result no rule to make it"))
        .collect();
    assert!(alarms("", &calls.join("\n")));
}

#[test]
fn reports_turns_that_consist_of_one_equal_call() {
    let turn = "prompt continue ;; call Read a.rs ;; result the same text";
    let trace =
        format!("0s repeat 5 every 1m: {turn}\n+1s call Read b.rs\n+1s result another text");
    assert_snapshot!(play::<RepeatToolCall>("", &trace), @"
    3m      low       `Read` was the only call of 4 turns in a row, with the same arguments and result
    4m1s    resolved  no further repetition after 5: another call was made
    ");
    for other in [
        "prompt continue ;; call Read a.rs ;; result the same text ;; call Read b.rs ;; result b",
        "prompt continue ;; call job_status a ;; result the same state",
        "prompt continue ;; call Edit a.rs ;; result done",
        "prompt continue ;; call Read a.rs ;; result the same text ;; prompt why?",
    ] {
        let trace = format!("0s repeat 6 every 1m: {other}");
        assert_eq!(play::<RepeatToolCall>("", &trace), "", "{other}");
    }
}

#[test]
fn laws_hold() {
    laws::check::<RepeatToolCall>("");
    let options = "same = ['tool', 'result']\nwithin = '10m'\nclasses = ['run', 'read']";
    let calls: Vec<_> = (0..6)
        .map(|n| format!("+1s call WebFetch {n}\n+1s result the index is out of date"))
        .collect();
    laws::of::<RepeatToolCall>(options).tools(["WebFetch"]).traces([&*calls.join("\n")]).check();
}

#[test]
fn state_of_a_stream_is_small() {
    assert_eq!(size_of::<RepeatToolCall>(), 80);
}

#[test]
fn three_equal_changes_of_a_text_count_as_four() {
    let of = |call: &str, result: &str| {
        let calls: Vec<_> = (1..=6)
            .map(|n| format!("+1s call {call}\n+1s result {}", result.replace('N', &n.to_string())))
            .collect();
        play::<RepeatToolCall>("", &calls.join("\n"))
    };
    let insert =
        r#"insert {"path":"a.rs","line":3,"text":"// The test of the parser needs this line.\n"}"#;
    assert_snapshot!(of(insert, "the file has N lines now"), @"
    6s      medium    `insert` made the same change 3 times in 4s: `a.rs`
    12s     high      `insert` made the same change 6 times in 10s: `a.rs`
    ");
    // Rows may be added again, and a rejected change was not made.
    for (call, result) in [
        (r#"insert_row {"sheet":"Budget"}"#, "row N of the sheet is new"),
        (insert, "fail N lines are not enough"),
        (&*insert.replacen("insert", "TodoWrite", 1), "the list has N entries"),
    ] {
        let found = of(call, result);
        let third = found.lines().find(|line| line.starts_with("6s"));
        assert!(third.is_none_or(|line| !line.contains(" medium ")), "{call}: {found}");
    }
}
