use insta::assert_snapshot;
use watchkeeper_testing::{laws, play};

use crate::{RunawayLoop, cycle::MAX_PERIOD};

#[test]
fn counts_rounds_with_the_same_results() {
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
    19s     medium    the same 2 calls of `Edit` and `Bash` returned the same results in 3 rounds in 18s
    46s     high      the same 2 calls of `Edit` and `Bash` returned the same results in 6 rounds in 45s
    1m4s    resolved  the cycle of 2 calls ended: the agent made other calls
    ");
}

#[test]
fn a_round_with_another_result_is_progress() {
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
fn finds_three_rounds_of_any_length_when_they_are_complete() {
    for period in 1..=MAX_PERIOD {
        let round: Vec<String> =
            (0..period).map(|n| format!("call Read f{n} ;; result ok {n}")).collect();
        let trace = format!("0s repeat 3 every 10s: {}\n+1s call Read g", round.join(" ;; "));
        let condition = match period {
            1 => "the same call of `Read` returned the same result".to_owned(),
            17.. => {
                format!("the same {period} calls, the latest of `Read`, returned the same results")
            }
            _ => format!("the same {period} calls of `Read` returned the same results"),
        };
        assert_eq!(
            play::<RunawayLoop>("min_period = 1", &trace).trim_end(),
            format!("20s     medium    {condition} in 3 rounds in 20s")
        );
    }
}

#[test]
fn finds_a_cycle_with_unrelated_calls() {
    let round = "call Read a ;; result ok a ;; call Edit a ;; result ok done ;; call Bash make ;; result fail no ;; call Read b ;; result ok b";
    let rounds = (0..4).map(|n| {
        let changed =
            round.replace("Bash make ;; result fail no", &format!("Grep {n} ;; result ok {n}"));
        format!("+1s repeat 2 every 8s: {round}\n+8s repeat 1 every 8s: {changed}\n+7s advance\n")
    });
    let mut trace = rounds.collect::<Vec<_>>().concat();
    trace += "+1s call Read x\n+1s result ok x\n+1s call Read y\n+1s result ok y\n";
    assert_snapshot!(play::<RunawayLoop>("", &trace), @"
    41s     medium    the same 4 calls of `Bash`, `Read` and `Edit` returned the same results in 5 rounds in 40s, with 1 unrelated call in between
    57s     high      the same 4 calls of `Read`, `Edit` and `Bash` returned the same results in 7 rounds in 56s, with 2 unrelated calls in between
    ");
}

#[test]
fn finds_a_call_that_repeats_in_no_order() {
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
    10s     medium    `Bash` returned the same result for the same call 6 times in 10 calls, with no known change in between
    11s     resolved  no further repetition: a change succeeded
    ");
    assert_snapshot!(play::<RunawayLoop>("recurring = false", trace), @"");
    // The finding is resolved after 32 other calls.
    let mut others: Vec<String> =
        (0..40).map(|n| format!("+1s call Read f{n}\n+0s result ok {n}\n")).collect();
    others.insert(0, trace.split("11s").next().unwrap_or_default().to_owned());
    assert_snapshot!(play::<RunawayLoop>("", &others.concat()), @"
    10s     medium    `Bash` returned the same result for the same call 6 times in 10 calls, with no known change in between
    42s     resolved  no further repetition: the agent stopped making the call, or its result changed
    ");
}

#[test]
fn ignores_repeated_calls_with_progress_in_between() {
    // Among others: a test after each change, a file that is read between
    // changes, and a result that alternates.
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
    // The same change again is no progress, whatever its result contains.
    let rounds = (0..6).map(|n| {
        format!("+9s call Edit a\n+0s result ok revision {n}\n+0s call Bash make\n+0s result fail no\n+0s call Bash make\n+0s result fail no\n")
    });
    let trace = rounds.collect::<Vec<_>>().concat();
    assert_snapshot!(play::<RunawayLoop>("", &trace), @"
    27s     medium    `Bash` returned the same result for the same call 6 times in 8 calls, with no known change in between
    54s     high      `Bash` returned the same result for the same call 12 times in 17 calls, with no known change in between
    ");
}

#[test]
fn three_rounds_without_results_count_as_two() {
    let trace = "0s repeat 6 every 9s: call Edit a ;; call Bash make ;; call Read b";
    assert_snapshot!(play::<RunawayLoop>("", trace), @"
    18s     low       the same 3 calls of `Edit`, `Bash` and `Read` were made in 3 rounds in 18s, and not all results are known
    36s     medium    the same 3 calls of `Edit`, `Bash` and `Read` were made in 5 rounds in 36s, and not all results are known
    ");
}

#[test]
fn abandoned_calls_are_steps() {
    let trace = "
        0s   repeat 2 every 9s: call Read a ;; result ok a ;; call Note a
        20s  call Read a
        21s  result ok a
        22s  call Note a
        23s  call Read a
        24s  result ok a
    ";
    assert_snapshot!(play::<RunawayLoop>("", trace), @"
    22s     low       the same 2 calls of `Read` and `Note` were made in 3 rounds in 13s, and not all results are known
    24s     medium    the same 2 calls of `Read` and `Note` returned the same results in 3 rounds in 15s
    ");
    // A late result is not another step.
    let late = "0s repeat 3 every 5s: call #a Read a ;; call #b Read b ;; result #b ok b ;; result #a ok a";
    assert_snapshot!(play::<RunawayLoop>("", late), @"10s     medium    the same 2 calls of `Read` returned the same results in 3 rounds in 10s");
}

#[test]
fn ignores_cycles_of_one_call_unless_min_period_is_one() {
    let trace = "0s repeat 4 every 9s: call Bash make ;; result fail no";
    assert_snapshot!(play::<RunawayLoop>("", trace), @"");
    assert_snapshot!(play::<RunawayLoop>("min_period = 1", trace), @"18s     medium    the same call of `Bash` returned the same result in 3 rounds in 18s");
}

#[test]
fn finds_a_cycle_of_results_of_one_call() {
    let trace = "0s repeat 4 every 9s: call Probe x ;; result fail the lock is held ;; call Probe x ;; result fail the lock is stale";
    assert_snapshot!(play::<RunawayLoop>("", trace), @"18s     medium    the same call of `Probe` returned the same 2 results in turn in 3 rounds in 18s");
}

#[test]
fn parallel_results_may_arrive_in_any_order() {
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
    assert_snapshot!(play::<RunawayLoop>("", trace), @"5s      medium    the same 2 calls of `Read` returned the same results in 3 rounds in 4s");
}

#[test]
fn counts_steps_and_handoffs_until_there_is_progress() {
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
    7s      resolved  progress after 3 handoffs: a change succeeded; since it was found: 3 tokens
    ");
    assert_snapshot!(play::<RunawayLoop>("of = 'step'", trace), @"
    4s      low       2 model calls without progress
    7s      resolved  progress after 2 model calls: a change succeeded
    9s      low       2 model calls without progress
    10s     medium    3 model calls without progress; since it was found: 1 token
    ");
}

#[test]
fn polls_and_steps_in_turn_count_less() {
    let of = |n, gap, round: &str| {
        let found = play::<RunawayLoop>("", &format!("0s repeat {n} every {gap}s: {round}"));
        found.contains("medium")
    };
    // A sleep is no step, so one call is repeated.
    let status =
        r#"call Bash {"command":"sleep 30"} ;; result ;; call job_status 1 ;; result running"#;
    assert!(!of(30, 30, status));
    let polls = "call job_status 1 ;; result running ;; call get_progress 1 ;; result half of them";
    assert!(!of(20, 40, polls));
    assert!(of(100, 40, polls));
    assert!(of(20, 1, polls));
    // Rounds that poll and read are measured by time, unless they are fast.
    let reads = "call job_status 1 ;; result running ;; call Read job.log ;; result step 3 of it";
    assert!(!of(60, 31, reads));
    assert!(of(200, 31, reads));
    assert!(of(8, 2, reads));
    assert!(of(8, 31, &reads.replace("Read job.log", "Edit job.log")));
    assert!(of(8, 31, &reads.replace("job_status", "Read")));
    // Of a long round, all calls count.
    let long = |first: &str| {
        let polls: Vec<_> =
            (0..20).map(|n| format!("call job_status {n} ;; result running {n}")).collect();
        format!("call {first} ;; result ok ;; {}", polls.join(" ;; "))
    };
    assert!(!of(6, 600, &long("job_status a")));
    assert!(of(6, 600, &long("restart_job a")));
    let keys =
        "call press_key Tab ;; result pressed Tab ;; call press_key Enter ;; result pressed it";
    assert!(!of(12, 2, keys));
    assert!(of(12, 2, &keys.replace("press_key", "click")));
    let outage = "call Fetch a ;; result fail HTTP 503 ;; call Fetch b ;; result fail HTTP 503 b";
    assert!(!of(12, 9, outage));
    assert!(of(12, 9, &outage.replace("503", "404")));
}

#[test]
fn laws_hold() {
    laws::check::<RunawayLoop>("");
    laws::check::<RunawayLoop>("min_period = 1\nmax_period = 3");
    laws::check::<RunawayLoop>("of = 'step'");
    laws::check::<RunawayLoop>("of = 'handoff'");
}

#[test]
fn state_of_a_stream_is_small() {
    assert_eq!(size_of::<RunawayLoop>(), 104);
}
