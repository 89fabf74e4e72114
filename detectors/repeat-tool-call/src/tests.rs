use insta::assert_snapshot;
use watchkeeper_core::{Level, Severity};
use watchkeeper_testing::{detector, laws, play, play_detector};

use super::RepeatToolCall;

#[test]
fn equal_answers_to_equal_calls_are_counted() {
    let trace = r#"
        0s   prompt fix it
        1s   repeat 9 every 10s: call Bash {"command":"make"} ;; result fail line 7: no rule
        +2s  message let me look elsewhere
        +2s  call Read Makefile
    "#;
    assert_snapshot!(play::<RepeatToolCall>("", trace), @"
    21s     low       `Bash` gave the same answer to the same call 3 times in 20s: `make` says `line 7: no rule`
    31s     medium    `Bash` gave the same answer to the same call 4 times in 30s: `make` says `line 7: no rule`
    1m11s   high      `Bash` gave the same answer to the same call 8 times in 1m 10s: `make` says `line 7: no rule`
    1m25s   resolved  no more repeats after 9: another call was made
    ");
}

#[test]
fn a_changing_answer_is_progress() {
    let trace = "
        0s   repeat 3 every 5s: call Bash make ;; result one error left
        +5s  call Bash make
        +1s  result all is well
        +5s  repeat 3 every 5s: call Bash make ;; result all is well
    ";
    assert_snapshot!(play::<RepeatToolCall>("", trace), @"
    10s     low       `Bash` gave the same answer to the same call 3 times in 10s: `make` says `one error left`
    16s     resolved  no more repeats after 4: the answer changed
    26s     low       `Bash` gave the same answer to the same call 3 times in 11s: `make` says `all is well`
    31s     medium    `Bash` gave the same answer to the same call 4 times in 16s: `make` says `all is well`
    ");
}

#[test]
fn a_person_starts_the_count_anew_and_a_harness_does_not() {
    let trace = "
        0s   repeat 3 every 1s: call Bash make ;; result no rule
        +1s  prompt try again
        +1s  repeat 2 every 1s: call Bash make ;; result no rule
        +1s  synthetic go on
        +1s  repeat 2 every 1s: call Bash make ;; result no rule
    ";
    assert_snapshot!(play::<RepeatToolCall>("", trace), @"
    2s      low       `Bash` gave the same answer to the same call 3 times in 2s: `make` says `no rule`
    3s      resolved  no more repeats after 3: a person spoke
    7s      low       `Bash` gave the same answer to the same call 3 times in 3s: `make` says `no rule`
    8s      medium    `Bash` gave the same answer to the same call 4 times in 4s: `make` says `no rule`
    ");
}

#[test]
fn calls_without_answers_count_for_less() {
    let trace = "0s repeat 5 every 1s: call Bash make";
    assert_snapshot!(play::<RepeatToolCall>("", trace), @"
    2s      low       `Bash` was called the same way 3 times in 2s, and no answer is known: `make`
    4s      medium    `Bash` was called the same way 5 times in 4s, and no answer is known: `make`
    ");
    // Copies that run side by side are one.
    let trace = "0s repeat 20 every 1s: call Bash @r1 make";
    assert_snapshot!(play::<RepeatToolCall>("", trace), @"");
}

#[test]
fn who_waits_is_given_time() {
    let polls = "0s repeat 20 every 30s: call BashOutput {} ;; result still running";
    assert_snapshot!(play::<RepeatToolCall>("", polls), @"
    7m      low       `BashOutput` gave the same answer to the same call 15 times in 7m: `still running`
    9m30s   medium    `BashOutput` gave the same answer to the same call 20 times in 9m 30s: `still running`
    ");
    let slow = "0s repeat 10 every 1m: call Bash {} ;; result still running";
    assert_snapshot!(play::<RepeatToolCall>("", slow), @"
    7m      low       `Bash` gave the same answer to the same call 8 times in 7m: `still running`
    9m      medium    `Bash` gave the same answer to the same call 10 times in 9m: `still running`
    ");
}

#[test]
fn who_polls_may_sleep_in_between() {
    let of = |between: &str| {
        let trace = format!(
            "0s repeat 20 every 30s: call BashOutput {{}} ;; result still running ;; {between} ;; result ok"
        );
        play::<RepeatToolCall>("", &trace)
    };
    let found = of(r#"call Bash {"command":"sleep 20"}"#);
    assert_snapshot!(found, @"
    7m      low       `BashOutput` gave the same answer to the same call 15 times in 7m: `still running`
    9m30s   medium    `BashOutput` gave the same answer to the same call 20 times in 9m 30s: `still running`
    ");
    assert_eq!(of("call sleep {}"), found);
    for other in
        [r#"call Bash {"command":"sleep 20; make"}"#, "call Bash sleepy 5", "call Bash sleep well"]
    {
        assert_eq!(of(other), "", "{other}");
    }
}

#[test]
fn less_can_be_the_same() {
    let trace = "
        0s   call Grep foo
        1s   result no matches were found
        2s   call Grep bar
        3s   result no matches were found
        4s   call Grep baz
        5s   result no matches were found
        6s   call Read README.md
        7s   result no matches were found
    ";
    let of = |options| play::<RepeatToolCall>(options, trace);
    assert_snapshot!(of("same = ['tool']"), @"
    4s      low       `Grep` was called 3 times in a row in 4s
    6s      resolved  no more repeats after 3: another call was made
    ");
    assert_snapshot!(of("same = ['tool', 'result']"), @"
    5s      low       `Grep` gave the same answer to 3 different calls in a row in 4s: `no matches were found`
    7s      resolved  no more repeats after 3: another call was made
    ");
    assert_snapshot!(of("same = ['result']"), @"
    5s      low       3 different calls in a row got the same answer in 4s, the last from `Grep`: `no matches were found`
    7s      medium    4 different calls in a row got the same answer in 6s, the last from `Read`: `no matches were found`
    ");
    assert_snapshot!(of("same = ['result']\nclasses = ['write']"), @"");
    assert_snapshot!(of("same = ['result']\nwithin = '1s'"), @"");
}

#[test]
fn an_answer_that_counts_something_has_changed_when_the_count_has() {
    let of = |answers: &str| {
        let lines: Vec<_> =
            answers.split(';').map(|it| format!("+1s call Job j1\n+1s result {it}")).collect();
        play::<RepeatToolCall>("", &lines.join("\n"))
    };
    let counting = "12 of 200 files are built so far, and no more; 15 of 200 files are built so far, and no more; \
         19 of 200 files are built so far, and no more; 22 of 200 files are built so far, and no more";
    assert_snapshot!(of(counting), @"");
    let waiting = "10:00:01 pid 77 waits for a lock that is not given; 10:00:02 pid 78 waits for a lock that is not given; \
         10:00:03 pid 79 waits for a lock that is not given; 10:00:04 pid 80 waits for a lock that is not given";
    assert_snapshot!(of(waiting), @"
    6s      low       `Job` gave the same answer to the same call 3 times in 4s, numbers, ids and times aside: `j1` says `10:00:03 pid 79 waits for a lock that is not given`
    8s      medium    `Job` gave the same answer to the same call 4 times in 6s, numbers, ids and times aside: `j1` says `10:00:04 pid 80 waits for a lock that is not given`
    ");
}

#[test]
fn the_same_change_is_the_same_whatever_comes_of_it() {
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
    7s      resolved  no more repeats after 4: the answer changed
    ");
}

#[test]
fn of_slow_repeats_most_must_be_slow() {
    let of = |gaps: &[u64]| {
        let calls: Vec<_> =
            gaps.iter().map(|gap| format!("+{gap}s call Check x\n+1s result not yet")).collect();
        play::<RepeatToolCall>("", &calls.join("\n"))
    };
    assert_snapshot!(of(&[0, 1, 600, 1]), @"
    10m5s   low       `Check` gave the same answer to the same call 3 times in 10m 5s: `x`
    10m6s   medium    `Check` gave the same answer to the same call 4 times in 10m 5s: `x` says `not yet`
    ");
    assert_snapshot!(of(&[0, 90, 1, 90, 90]), @"");
}

#[test]
fn what_nobody_said_is_no_answer_to_different_calls() {
    let of = |answer: &str| {
        let calls: Vec<_> =
            (0..6).map(|n| format!("+1s call Bash step {n}\n+1s result {answer}")).collect();
        play::<RepeatToolCall>("same = ['tool', 'result']", &calls.join("\n"))
    };
    for nothing in [
        "declined the user does not want that",
        "sibling a parallel call failed",
        "All tests have passed",
        "short",
    ] {
        assert_eq!(of(nothing), "", "{nothing}");
    }
    assert_ne!(of("fail the server does not answer"), "");
    // What is repeated as it is, is counted where arguments matter.
    let same = "0s repeat 9 every 1s: call Grep foo ;; result no matches were found";
    assert_eq!(play::<RepeatToolCall>("same = ['tool', 'result']", same), "");
}

#[test]
fn calls_whose_arguments_do_not_matter_are_read_as_they_are_answered() {
    let of = |between: &str| {
        let trace = format!(
            "0s call Grep foo
             +1s result no matches were found
             +1s {between}
             +1s call Grep @r1 bar
             +1s result no matches were found
             +1s call Grep @r1 bars
             +1s result no matches were found
             +1s call Grep baz
             +1s result no matches were found"
        );
        play::<RepeatToolCall>("same = ['tool', 'result']\nclasses = ['read', 'run']", &trace)
    };
    // Neither a copy nor a call without an answer is one more.
    let found = of("call Read README.md");
    assert_snapshot!(found, @"8s      low       `Grep` gave the same answer to 3 different calls in a row in 7s: `no matches were found`");
    assert_eq!(of("message it must be somewhere"), found);
    for other in ["call Bash sleep 20", "call Edit a.rs"] {
        assert_eq!(of(&format!("{other}\n+0s result done with that, at last")), "", "{other}");
    }
}

#[test]
fn very_many_calls_are_worth_a_word_though_answers_differ() {
    let calls: Vec<_> = (0..120)
        .map(|n| format!("+1s call Step next\n+1s result at {}", "x".repeat(n % 7 + 1)))
        .collect();
    let trace = format!("{}\n+1s call Read x", calls.join("\n"));
    assert_snapshot!(play::<RepeatToolCall>("", &trace), @"
    3m19s   low       `Step` was called the same way 100 times in a row, and the answers differ: `next`
    4m1s    resolved  no more repeats after 120: another call was made
    ");
    let mut one_level = detector::<RepeatToolCall>("");
    one_level.levels = vec![Level::new(4, Severity::High)];
    assert_eq!(play_detector(&one_level, &trace), "");
}

#[test]
fn the_end_of_a_turn_ends_no_repeats() {
    let trace = "0s repeat 4 every 1s: call Bash make ;; result no rule to make it ;; turn_end ;; synthetic go on";
    assert_snapshot!(play::<RepeatToolCall>("", trace), @"
    2s      low       `Bash` gave the same answer to the same call 3 times in 2s: `make` says `no rule to make it`
    3s      medium    `Bash` gave the same answer to the same call 4 times in 3s: `make` says `no rule to make it`
    ");
}

#[test]
fn what_was_asked_is_told_and_secrets_are_not() {
    let of = |arguments: &str, answer: &str| {
        let trace = format!("0s repeat 3 every 1s: call Tool {arguments} ;; result {answer}");
        play::<RepeatToolCall>("", &trace)
    };
    assert_snapshot!(of(r#"{"command":"curl -H 'Authorization: Bearer abc.def'"}"#, r#""Exit code 7\ntoken=abc is wrong""#), @"2s      low       `Tool` gave the same answer to the same call 3 times in 2s: `curl -H 'Authorization: Bearer [redacted]'` says `token=[redacted] is wrong`");
    assert_snapshot!(of(r#"{"n":1,"path":"a.rs"}"#, r#""""#), @"2s      low       `Tool` gave the same answer to the same call 3 times in 2s: `a.rs` says nothing");
    assert_snapshot!(of(r#"{"n":1,"m":[2]}"#, "x"), @r#"2s      low       `Tool` gave the same answer to the same call 3 times in 2s: `{"n":1,"m":[2]}` says `x`"#);
    assert_snapshot!(of("{}", "x"), @"2s      low       `Tool` gave the same answer to the same call 3 times in 2s: `x`");
}

#[test]
fn it_obeys_the_laws_of_detectors() {
    laws::check::<RepeatToolCall>("");
    laws::check::<RepeatToolCall>(
        "same = ['tool', 'result']\nwithin = '10m'\nclasses = ['run', 'read']",
    );
}

#[test]
fn one_for_each_of_many_streams_is_small() {
    assert_eq!(size_of::<RepeatToolCall>(), 72);
}
