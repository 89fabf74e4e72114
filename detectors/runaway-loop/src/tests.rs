use insta::assert_snapshot;
use watchkeeper_core::{DetectorKind as _, Level, Severity, author::Options};
use watchkeeper_testing::{detector, laws, play, play_detector};

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
fn finds_three_short_or_two_long_rounds_when_they_are_complete() {
    for period in 1..=MAX_PERIOD {
        let round: Vec<String> =
            (0..period).map(|n| format!("call Read f{n} ;; result ok {n}")).collect();
        let n_rounds = if period < 8 { 3 } else { 2 };
        let trace =
            format!("0s repeat {n_rounds} every 10s: {}\n+1s call Read g", round.join(" ;; "));
        let condition = match period {
            1 => "the same call of `Read` returned the same result".to_owned(),
            8.. => {
                format!("the same {period} calls, the latest of `Read`, returned the same results")
            }
            _ => format!("the same {period} calls of `Read` returned the same results"),
        };
        assert_eq!(
            play::<RunawayLoop>("min_period = 1", &trace).trim_end(),
            format!("{0}0s     medium    {condition} in {n_rounds} rounds in {0}0s", n_rounds - 1)
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
fn two_rounds_with_an_abandoned_change_are_not_enough() {
    use std::fmt::Write as _;

    let mut reads = String::new();
    for n in 0..8 {
        write!(reads, " ;; call Read f{n} ;; result ok text {n}")
            .expect("writing to a string succeeds");
    }
    let rounds =
        |first: &str| play::<RunawayLoop>("", &format!("0s repeat 2 every 60s: {first}{reads}"));
    assert_ne!(rounds("call Read a ;; result ok text"), "");
    let change = r#"call Edit {"path": "a", "old_string": "one", "new_string": "two"}"#;
    assert_eq!(rounds(change), "");
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
fn a_new_result_is_progress_if_the_policy_says_so() {
    let trace = "
        0s   usage output=1
        10s  call Read a
        11s  result ok text of a
        20s  repeat 2 every 1s: usage output=1
        30s  call Read a
        31s  result ok text of a
        40s  usage output=1
    ";
    let options = "of = 'step'\nprogress = 'result'\n";
    assert_snapshot!(play::<RunawayLoop>(options, trace), @"
    21s     low       2 model calls without progress
    40s     medium    3 model calls without progress; since it was found: 1 token
    ");
    let options = Options::parse("of = 'handoff'\nprogress = 'result'");
    let error = options.and_then(|options| options.build(RunawayLoop::new)).unwrap_err();
    assert_snapshot!(error.to_string(), @r#"invalid value for `progress`: `progress` applies only to `of = "step"`; remove it"#);
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
    laws::check::<RunawayLoop>("of = 'step'\nprogress = 'result'");
    laws::check::<RunawayLoop>("of = 'handoff'");
}

#[test]
fn state_of_a_stream_is_small() {
    assert_eq!(size_of::<RunawayLoop>(), 104);
}

/// Returns the findings of a trace whose calls follow each other without gaps.
fn play_calls(calls: &[String]) -> String {
    play_calls_with("", calls)
}

fn play_calls_with(options: &str, calls: &[String]) -> String {
    let lines: Vec<_> = calls.iter().map(|call| format!("+1s repeat 1 every 1s: {call}")).collect();
    play::<RunawayLoop>(options, &lines.join("\n"))
}

const TEXT: &str = r"fn add(a: i32, b: i32) -> i32 {\n    a + b\n}";

fn write(file: &str, n: usize) -> String {
    let arguments = format!(r#"{{"file_path":"{file}","content":"// {n}\n{TEXT}"}}"#);
    format!("call Write {arguments} ;; result ok {file} has changed")
}

fn edit(old: &str, new: &str) -> String {
    let arguments = format!(r#"{{"file_path":"a.rs","old_string":"{old}","new_string":"{new}"}}"#);
    format!("call Edit {arguments} ;; result ok a.rs has changed")
}

fn read(file: &str, version: usize) -> String {
    format!("call Read {file} ;; result ok version {version} of the file {file}")
}

fn run(command: &str, result: &str) -> String {
    format!(r#"call Bash {{"command":"{command}"}} ;; result {result}"#)
}

#[test]
fn finds_the_same_change_between_reads() {
    let round = |n| [write("a.rs", 0), read("a.rs", n)];
    assert_snapshot!(play_calls(&[round(1), round(2), round(3)].concat()), @"5s      medium    `Write` made the same change 3 times in 5 calls");
    // Another change, or a command, may be the reason to make the change again.
    for between in [write("b.rs", 1), run("./a --all", "fail no such option")] {
        let of =
            |n| [write("a.rs", 0), read("a.rs", n), between.replace("// 1", &format!("// {n}"))];
        assert_eq!(play_calls(&[of(1), of(2), of(3), of(4)].concat()), "", "{between}");
    }
    // Equal changes in a row are one time: `repeat-tool-call` reports them.
    let in_a_row = [vec![write("a.rs", 0); 9], vec![read("a.rs", 1), write("a.rs", 0)]].concat();
    assert_eq!(play_calls(&in_a_row), "");
    // After commands, two times count as one.
    let round = |n| [write("a.rs", 0), run("make", &format!("ok {n} of many files are built"))];
    let rounds: Vec<_> = (0..6).flat_map(round).collect();
    assert_eq!(play_calls(&rounds[..10]), "");
    assert_snapshot!(play_calls(&rounds), @"11s     medium    `Write` made the same change 6 times in 11 calls");
    // Rows and folders may be created again.
    let rows: Vec<_> = (0..5)
        .flat_map(|n| [r#"call insert_row {"sheet":1} ;; result ok"#.to_owned(), read("a.csv", n)])
        .collect();
    assert_eq!(play_calls(&rows), "");
    // A declined change was not made.
    let declined = write("a.rs", 0).replace("result ok", "result declined");
    let rounds = [declined.clone(), read("a.rs", 1), declined, read("a.rs", 2), write("a.rs", 0)];
    assert_eq!(play_calls(&rounds), "");
}

#[test]
fn finds_changes_that_are_lost_and_made_again() {
    // The formatter of the agent removes each change.
    let old = |n| format!(r"// Case {n}\n    check({n});\n    done();");
    let allow = |n, reason| {
        edit(
            &old(n),
            &format!(r"// Case {n}\n    // allow: {reason}\n    check({n});\n    done();"),
        )
    };
    let fix = |reason: &'static str| {
        let edits = (1..=3).map(|n| allow(n, reason));
        edits.chain([run("make format lint", "ok 0 issues")]).collect::<Vec<_>>()
    };
    let rounds = [fix("a null is checked"), fix("the check is above"), vec![read("a.rs", 1)]];
    assert_snapshot!(play_calls(&rounds.concat()), @"7s      medium    3 changes were lost and made again, the latest with `Edit`");
    // The same edit three times, with commands in between.
    let one = |n: usize| {
        vec![allow(1, "it is checked"), run("make", &format!("ok {n} of many files are built"))]
    };
    assert_snapshot!(play_calls(&[one(1), one(2), one(3)].concat()), @"5s      medium    `Edit` made the same change 3 times in 5 calls");
    // New changes in between are progress.
    let with_progress = |n: usize| [one(n), vec![write("b.rs", n)]].concat();
    assert_eq!(play_calls(&(1..5).map(with_progress).collect::<Vec<_>>().concat()), "");
    // Other attempts at the same place, each of them reverted.
    let attempts: Vec<_> = ["check(2)", "verify(1)", "done(1)", "skip(1)", "return 1"]
        .iter()
        .flat_map(|attempt| {
            [
                edit("check(1);", &format!("{attempt};")),
                run("make test", "fail 1 failed"),
                run("git restore a.rs", "ok"),
            ]
        })
        .collect();
    assert_eq!(play_calls(&attempts), "");
    // The end of a list remains, so entries are added to it again and again.
    let entries: Vec<_> =
        (0..6).map(|n| edit("]", &format!("  one more entry, number {n}\\n]"))).collect();
    assert_eq!(play_calls(&entries), "");
}

#[test]
fn finds_two_rounds_that_undo_each_other() {
    let rounds = |n_rounds| {
        let round =
            [edit("a()", "b()"), edit("b()", "a()"), run("make test", "ok all of them pass")];
        vec![round; n_rounds].concat()
    };
    assert_eq!(play_calls(&rounds(1)), "");
    assert_snapshot!(play_calls(&rounds(3)), @"6s      medium    the same 3 calls, the latest of `Bash`, returned the same results in 2 rounds in 3s");
    // A result that differs is progress.
    let differs =
        [&rounds(1)[..], &rounds(1)[..2], &[run("make test", "fail one of them fails")]].concat();
    assert_eq!(play_calls(&differs), "");
}

#[test]
fn finds_a_long_round_when_it_is_complete_for_the_second_time() {
    let tour = |n_files: usize| (0..n_files).map(|n| read(&format!("f{n}"), 1)).collect::<Vec<_>>();
    assert_snapshot!(play_calls(&[tour(10), tour(10)].concat()), @"20s     medium    the same 10 calls, the latest of `Read`, returned the same results in 2 rounds in 10s");
    assert_eq!(play_calls(&[tour(7), tour(7)].concat()), "");
    // A changed file, or a change, is progress.
    let changed = [tour(9), vec![read("f9", 2)]].concat();
    assert_eq!(play_calls(&[tour(10), changed].concat()), "");
    assert_eq!(play_calls(&[tour(10), vec![write("a.rs", 1)], tour(10)].concat()), "");
    // An agent may read the same files again after a compaction.
    let compacted = [tour(10), vec!["compaction".to_owned()], tour(10)].concat();
    assert_eq!(play_calls(&compacted), "");
    assert!(play_calls(&[compacted, tour(10)].concat()).contains(" medium "));
    // The same files may be written twice on purpose.
    let batch: Vec<_> = (0..12).map(|n| write(&format!("f{n}"), n)).collect();
    assert_eq!(play_calls(&[batch.clone(), batch].concat()), "");
}

#[test]
fn follows_a_cycle_across_inserted_calls() {
    let of = |calls: &[String]| play_calls_with("recurring = false", calls);
    let round = || [read("a", 1), read("b", 1), run("make", "fail no rule")];
    let others = |n: usize| (0..n).map(move |at| read(&format!("other{n}-{at}"), 1));
    let with = |n: usize| {
        let [first, second, third] = round();
        [first, second].into_iter().chain(others(n)).chain([third])
    };
    let start = || round().into_iter().chain(round());
    let calls: Vec<_> = start().chain(with(3)).chain(round()).chain(with(1)).collect();
    assert_eq!(of(&calls), "");
    let calls = [calls, round().to_vec()].concat();
    assert_snapshot!(of(&calls), @"22s     medium    the same 3 calls of `Read` and `Bash` returned the same results in 4 rounds in 19s, with 4 unrelated calls in between");
    // More than three calls are other work.
    let calls: Vec<_> = start().chain(with(4)).chain(start()).collect();
    assert_eq!(of(&calls), "");
    // A call that is new in every round is progress.
    let files: Vec<_> =
        (0..20).flat_map(|n| round().into_iter().chain([read(&format!("f{n}"), 1)])).collect();
    assert_eq!(of(&files), "");
}

/// Commands, and results of their measurements of two variants. `NUM` differs each time.
const MEASUREMENTS: &[(&str, [&str; 2])] = &[
    ("./bench.sh", ["time 1NUM ms, variant fast", "time 2NUM ms, variant slow"]),
    ("hyperfine ./app", ["Time (mean): 1.NUM s", "Time (mean): 2.NUM s"]),
    ("cargo bench", ["test adds ... bench: 1,NUM ns/iter", "test adds ... bench: 2,NUM ns/iter"]),
    (
        "go test -bench .",
        [
            "BenchmarkAdd-8 1NUM ns/op\\nPASS\\nok acme 1.2s",
            "BenchmarkAdd-8 2NUM ns/op\\nPASS\\nok acme 1.2s",
        ],
    ),
    (
        "pytest --benchmark-only",
        ["test_add 1.NUM us\\n1 passed in 3.1s", "test_add 2.NUM us\\n1 passed in 3.2s"],
    ),
    ("wrk http://localhost", ["Requests/sec: 1NUM.5", "Requests/sec: 2NUM.5"]),
    ("k6 run load.js", ["http_reqs: 1NUM 1.2/s", "http_reqs: 2NUM 1.2/s"]),
    (
        "/usr/bin/time -v ./app",
        ["Maximum resident set size: 1NUM", "Maximum resident set size: 2NUM"],
    ),
    ("python train.py", ["accuracy 0.8NUM", "accuracy 0.7NUM"]),
    ("psql -f explain.sql", ["Execution Time: 1.NUM ms", "Execution Time: 2.NUM ms"]),
    ("npm run size", ["dist/app.js 1NUM bytes", "dist/app.js 2NUM bytes"]),
    (
        "perf stat ./app",
        ["1NUM cycles per second of the whole run", "2NUM cycles per second of the whole run"],
    ),
    (
        "npx lighthouse .",
        ["the score of this long report is 1.NUM", "the score of this long report is 2.NUM"],
    ),
];

/// Returns calls that toggle a line, with the same command after each change.
fn toggles(command: &str, results: [&str; 2]) -> Vec<String> {
    let (on, off) = (edit("FAST = 0", "FAST = 1"), edit("FAST = 1", "FAST = 0"));
    (0..10)
        .flat_map(|n| {
            let result = results[n % 2].replace("NUM", &(10 + 7 * n).to_string());
            [[&on, &off][n % 2].clone(), run(command, &result)]
        })
        .collect()
}

#[test]
fn changes_that_are_measured_in_turn_are_low() {
    for (command, [fast, slow]) in MEASUREMENTS {
        let of = |result: &str| format!("ok \"{result}\"");
        let found = play_calls(&toggles(command, [&of(fast), &of(slow)]));
        assert!(!found.contains(" medium ") && !found.contains(" high "), "{command}: {found}");
        let one_level = play_with_levels(&toggles(command, [&of(fast), &of(slow)]));
        assert_eq!(one_level, "", "{command}");
    }
}

#[test]
fn changes_that_are_undone_and_made_again_are_found() {
    for results in [
        ["ok the total is 7", "ok the total is 7"],
        ["fail 3 failed in 1.NUM s", "fail 4 failed in 1.NUM s"],
        ["ok 40 passed in 1.NUMs", "ok 40 passed in 1.NUMs"],
        ["ok Finished release in 1.NUMs", "ok Finished release in 2.NUMs"],
        ["ok all files are formatted (NUM ms)", "ok all files are formatted (NUM ms)"],
        ["fail assertion failed: 3 is not NUM", "ok \"\""],
    ] {
        let found = play_calls(&toggles("make test", results));
        assert!(found.contains(" medium ") && found.contains(" high "), "{results:?}: {found}");
    }
}

/// Returns the findings of calls with one level.
fn play_with_levels(calls: &[String]) -> String {
    let lines: Vec<_> = calls.iter().map(|call| format!("+1s repeat 1 every 1s: {call}")).collect();
    let mut detector = detector::<RunawayLoop>("");
    detector.levels = vec![Level::new(2, Severity::High)];
    play_detector(&detector, &lines.join("\n"))
}
