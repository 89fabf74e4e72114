use insta::assert_snapshot;
use watchkeeper_testing::{laws, play};

use crate::{RunawayLoop, cycle::MAX_PERIOD};

#[test]
fn rounds_with_the_same_answers_are_counted() {
    let trace = "
        0s   prompt fix it
        1s   repeat 7 every 9s: call Edit a ;; result ok done ;; call Bash make ;; result fail 3 errors
        +1s  message let me look elsewhere
        +1s  call Read Makefile
        +1s  result all: build
        +1s  call Read configure
        +1s  result a script
        +1s  call Read README
        +1s  result a text
        +1s  call Read LICENSE
        +1s  result a long text
    ";
    assert_snapshot!(play::<RunawayLoop>("", trace), @"
    19s     medium    the same 2 calls of `Edit` and `Bash` got the same answers 3 times over in 18s
    46s     high      the same 2 calls of `Edit` and `Bash` got the same answers 6 times over in 45s
    1m4s    resolved  the cycle of 2 calls is over: the agent did something else
    ");
}

#[test]
fn a_round_with_another_answer_is_progress() {
    let trace = "
        0s   repeat 2 every 9s: call Edit a ;; result ok done ;; call Bash make ;; result fail no
        20s  call Edit a
        21s  result ok done
        22s  call Bash make
        23s  result fail still no
        30s  repeat 2 every 9s: call Edit a ;; result ok done ;; call Bash make ;; result fail no
    ";
    assert_snapshot!(play::<RunawayLoop>("", trace), @"");
}

#[test]
fn three_rounds_of_any_length_are_found_as_they_are_completed() {
    for period in 1..=MAX_PERIOD {
        let round: Vec<String> =
            (0..period).map(|n| format!("call Read f{n} ;; result ok {n}")).collect();
        let trace = format!("0s repeat 3 every 10s: {}\n+1s call Read g", round.join(" ;; "));
        let what = match period {
            1 => "the same call of `Read` got the same answer".to_owned(),
            17.. => {
                format!("the same {period} calls, the latest of `Read`, got the same answers")
            }
            _ => format!("the same {period} calls of `Read` got the same answers"),
        };
        assert_eq!(
            play::<RunawayLoop>("min_period = 1", &trace).trim_end(),
            format!("20s     medium    {what} 3 times over in 20s")
        );
    }
}

#[test]
fn an_odd_call_does_not_hide_a_cycle() {
    let round = "call Read a ;; result ok a ;; call Edit a ;; result ok done ;; call Bash make ;; result fail no ;; call Read b ;; result ok b";
    let rounds = (0..4).map(|n| {
        let flawed =
            round.replace("Bash make ;; result fail no", &format!("Grep {n} ;; result ok {n}"));
        format!("+1s repeat 2 every 8s: {round}\n+8s repeat 1 every 8s: {flawed}\n+7s advance\n")
    });
    let mut trace = rounds.collect::<Vec<_>>().concat();
    trace += "+1s call Read x\n+1s result ok x\n+1s call Read y\n+1s result ok y\n";
    assert_snapshot!(play::<RunawayLoop>("", &trace), @"
    41s     medium    the same 4 calls of `Bash`, `Read` and `Edit` got the same answers 5 times over in 40s, but for 1 odd call in between
    57s     high      the same 4 calls of `Read`, `Edit` and `Bash` got the same answers 7 times over in 56s, but for 2 odd calls in between
    ");
}

#[test]
fn a_call_that_recurs_in_no_order_is_found() {
    let trace = "
        0s   prompt fix it
        1s   call Bash make
        1s   result fail no
        2s   call Read a
        2s   result ok a
        3s   call Bash make
        3s   result fail no
        4s   call Bash make
        4s   result fail no
        5s   call Grep b
        5s   result ok b
        6s   call Read c
        6s   result ok c
        7s   call Bash make
        7s   result fail no
        8s   call Read d
        8s   result ok d
        9s   repeat 2 every 1s: call Bash make ;; result fail no
        11s  call Edit a
        11s  result ok done
        12s  call Bash make
        12s  result fail no
    ";
    assert_snapshot!(play::<RunawayLoop>("", trace), @"
    10s     medium    `Bash` gave the same answer to the same call 6 times in 10 calls, with no known change in between
    11s     resolved  the call does not recur any more: something was changed
    ");
    assert_snapshot!(play::<RunawayLoop>("recurring = false", trace), @"");
    // It is over when the call has not been made for long.
    let mut others: Vec<String> =
        (0..40).map(|n| format!("+1s call Read f{n}\n+0s result ok {n}\n")).collect();
    others.insert(0, trace.split("11s").next().unwrap_or_default().to_owned());
    assert_snapshot!(play::<RunawayLoop>("", &others.concat()), @"
    10s     medium    `Bash` gave the same answer to the same call 6 times in 10 calls, with no known change in between
    42s     resolved  the call does not recur any more: it was made no more, or got another answer
    ");
}

#[test]
fn work_that_gets_on_recurs_too() {
    // A test after each change, a file that is read between them, and an
    // answer that comes and goes.
    for round in [
        "call Edit a N ;; result ok done ;; call Bash make ;; result fail no ;; call Bash make ;; result fail no",
        "call Bash make ;; result ok fine ;; call Bash sed N ;; result ok N",
        "call Read a ;; result ok a ;; call Write b N ;; result ok done ;; call Read c N ;; result ok c",
        "call Read a ;; result ok one ;; call Grep N ;; result ok N ;; call Read a ;; result ok two ;; call Grep b N ;; result ok N",
        "call Edit a N ;; result ok ;; call Bash make ;; result fail ;; call Read a ;; result ok",
        "call TaskOutput 1 ;; result ok running ;; call Read N ;; result ok N",
    ] {
        let rounds = (0..20)
            .map(|n| format!("+10s repeat 1 every 1s: {}\n", round.replace('N', &n.to_string())));
        let trace = rounds.collect::<Vec<_>>().concat();
        assert_eq!(play::<RunawayLoop>("", &trace), "", "{round}");
    }
    // The same change once more gets nowhere, whatever it is said to have
    // done.
    let rounds = (0..6).map(|n| {
        format!("+9s call Edit a\n+0s result ok revision {n}\n+0s call Bash make\n+0s result fail no\n+0s call Bash make\n+0s result fail no\n")
    });
    let trace = rounds.collect::<Vec<_>>().concat();
    assert_snapshot!(play::<RunawayLoop>("", &trace), @"
    27s     medium    `Bash` gave the same answer to the same call 6 times in 8 calls, with no known change in between
    54s     high      `Bash` gave the same answer to the same call 12 times in 17 calls, with no known change in between
    ");
}

#[test]
fn calls_without_answers_count_for_less() {
    let trace = "0s repeat 6 every 9s: call Edit a ;; call Bash make ;; call Read b";
    assert_snapshot!(play::<RunawayLoop>("", trace), @"
    18s     low       the same 3 calls of `Edit`, `Bash` and `Read` were made 3 times over in 18s, and not all were answered
    36s     medium    the same 3 calls of `Edit`, `Bash` and `Read` were made 5 times over in 36s, and not all were answered
    ");
}

#[test]
fn calls_left_behind_are_steps() {
    let trace = "
        0s   repeat 2 every 9s: call Read a ;; result ok a ;; call Note a
        20s  call Read a
        21s  result ok a
        22s  call Note a
        23s  call Read a
        24s  result ok a
    ";
    assert_snapshot!(play::<RunawayLoop>("", trace), @"
    22s     low       the same 2 calls of `Read` and `Note` were made 3 times over in 13s, and not all were answered
    24s     medium    the same 2 calls of `Read` and `Note` got the same answers 3 times over in 15s
    ");
    // An answer that comes after all is no step of its own.
    let late = "0s repeat 3 every 5s: call #a Read a ;; call #b Read b ;; result #b ok b ;; result #a ok a";
    assert_snapshot!(play::<RunawayLoop>("", late), @"10s     medium    the same 2 calls of `Read` got the same answers 3 times over in 10s");
}

#[test]
fn one_call_in_a_row_is_left_to_others_unless_asked_for() {
    let trace = "0s repeat 4 every 9s: call Bash make ;; result fail no";
    assert_snapshot!(play::<RunawayLoop>("", trace), @"");
    assert_snapshot!(play::<RunawayLoop>("min_period = 1", trace), @"18s     medium    the same call of `Bash` got the same answer 3 times over in 18s");
}

#[test]
fn answers_to_one_call_may_go_round() {
    let trace = "0s repeat 4 every 9s: call Check x ;; result fail the lock is held ;; call Check x ;; result fail the lock is stale";
    assert_snapshot!(play::<RunawayLoop>("", trace), @"18s     medium    the same call of `Check` got the same 2 answers in turn 3 times over in 18s");
}

#[test]
fn parallel_answers_may_come_in_any_order() {
    let trace = "
        0s   call #a Read @r1 a
        0s   call #b Read @r1 b
        0s   call #c Read @r1 b
        1s   result #a ok a
        1s   result #b ok b
        1s   result #c ok b
        2s   call #a Read @r2 a
        2s   call #b Read @r2 b
        3s   result #b ok b
        3s   result #a ok a
        4s   call #b Read @r3 b
        4s   call #a Read @r3 a
        5s   result #b ok b
        5s   result #a ok a
    ";
    assert_snapshot!(play::<RunawayLoop>("", trace), @"5s      medium    the same 2 calls of `Read` got the same answers 3 times over in 4s");
}

#[test]
fn steps_and_handoffs_are_counted_until_there_is_progress() {
    let trace = "
        0s   prompt hello
        1s   handoff planner
        2s   agent planner: handoff coder
        3s   usage id=m1 output=1
        3s   usage id=m1 output=2
        4s   usage id=m2 output=1
        5s   handoff planner
        6s   call Edit a
        7s   result ok
        8s   repeat 3 every 1s: usage output=1 ;; call Edit a ;; result ok
    ";
    assert_snapshot!(play::<RunawayLoop>("of = 'handoff'", trace), @"
    2s      low       2 handoffs without progress
    5s      medium    3 handoffs without progress; since it was found: 3 tokens
    7s      resolved  progress after 3 handoffs: something was changed; since it was found: 3 tokens
    ");
    assert_snapshot!(play::<RunawayLoop>("of = 'step'", trace), @"
    4s      low       2 model calls without progress
    7s      resolved  progress after 2 model calls: something was changed
    9s      low       2 model calls without progress
    10s     medium    3 model calls without progress; since it was found: 1 token
    ");
}

#[test]
fn it_obeys_the_laws_of_detectors() {
    laws::check::<RunawayLoop>("");
    laws::check::<RunawayLoop>("min_period = 1\nmax_period = 3");
    laws::check::<RunawayLoop>("of = 'step'");
    laws::check::<RunawayLoop>("of = 'handoff'");
}

#[test]
fn one_for_each_of_many_streams_is_small() {
    assert_eq!(size_of::<RunawayLoop>(), 104);
}
