use insta::assert_snapshot;
use proptest::{collection::vec, prelude::*, sample::select};
use watchkeeper_core::{
    DetectorKind, Fingerprint,
    author::{Contribution, Options},
};
use watchkeeper_testing::{laws, play};

use super::{Evidence, NoProgress, Reset, Weights};

const SEARCHES: &str = "
    0s prompt run the tests
    1s call Bash {\"command\": \"javac A.java\"}
    2s result fail javac: command not found
    3s call Bash {\"command\": \"which javac\"}
    4s result ok \"\"
    5s call Grep {\"pattern\": \"jdk\"}
    6s result ok No matches found
    7s call Grep {\"pattern\": \"java home\"}
    8s result ok No matches found
    9s call Read {\"path\": \"README.md\"}
    10s result ok \"Install a JDK first.\\nThen run the tests.\\n\"
    11s call Bash {\"command\": \"find / -name 'jre*'\"}
    12s result ok \"\"
    13s call Bash {\"command\": \"java -version\"}
    14s result fail java: command not found
    15s call Glob {\"pattern\": \"**/jdk*\"}
    16s result ok No files found
    17s call Glob {\"pattern\": \"**/jvm*\"}
    18s result ok No files found
";

/// Returns the events of four calls with new results.
fn new_results() -> String {
    let texts = [
        "fn parse(text: &str) -> Tree",
        "struct Tree { nodes: Vec<Node> }",
        "impl Display for Tree { }",
        "mod lexer; mod parser;",
    ];
    let read = |text| format!("+1s call Read {{\"path\": \"{text}\"}}\n+1s result ok {text}\n");
    texts.map(read).concat()
}

#[test]
fn reports_searches_for_something_absent() {
    assert_snapshot!(play::<NoProgress>("", SEARCHES), @"
    14s     low       6 of the last 7 steps in 12s made no progress: 4 found nothing, 2 failed
    16s     medium    7 of the last 8 steps in 14s made no progress: 5 found nothing, 2 failed
    ");
}

#[test]
fn the_message_names_the_main_cause() {
    let fail = |command: &str| {
        format!(
            "+1s call Bash {{\"command\": \"{command}\"}}\n\
             +1s result fail bash: line 1: {}: command not found\n",
            command.split(' ').next().unwrap_or_default()
        )
    };
    let commands = [
        "javac A.java",
        "java A",
        "javac -version",
        "mvn test",
        "javac B.java",
        "javac C.java",
        "javac D.java",
    ];
    assert_snapshot!(play::<NoProgress>("", &commands.map(fail).concat()), @"
    10s     low       5 of the last 5 steps in 8s made no progress: 5 failed (`javac` is missing: 3)
    12s     medium    6 of the last 6 steps in 10s made no progress: 6 failed (`javac` is missing: 4)
    ");
}

#[test]
fn a_change_resolves_and_starts_over() {
    let trace = format!(
        "{SEARCHES}
        20s call Write {{\"path\": \"build.sh\", \"content\": \"make\"}}
        21s result ok
        22s call Bash {{\"command\": \"make\"}}
        23s result fail make: command not found
        "
    );
    assert_snapshot!(play::<NoProgress>("", &trace), @"
    14s     low       6 of the last 7 steps in 12s made no progress: 4 found nothing, 2 failed
    16s     medium    7 of the last 8 steps in 14s made no progress: 5 found nothing, 2 failed
    21s     resolved  no further steps without progress: a change was made
    ");
}

#[test]
fn a_prompt_of_a_person_starts_over() {
    let trace = format!("{SEARCHES}\n20s turn_end\n21s prompt go on\n");
    assert_snapshot!(play::<NoProgress>("", &trace), @"
    14s     low       6 of the last 7 steps in 12s made no progress: 4 found nothing, 2 failed
    16s     medium    7 of the last 8 steps in 14s made no progress: 5 found nothing, 2 failed
    21s     resolved  no further steps without progress: a person sent a prompt
    ");
}

#[test]
fn four_new_results_in_a_row_start_over() {
    let trace = format!("{SEARCHES}{}", new_results());
    assert_snapshot!(play::<NoProgress>("", &trace), @"
    14s     low       6 of the last 7 steps in 12s made no progress: 4 found nothing, 2 failed
    16s     medium    7 of the last 8 steps in 14s made no progress: 5 found nothing, 2 failed
    26s     resolved  no further steps without progress: results were new
    ");
}

#[test]
fn only_changes_are_progress_if_the_policy_says_so() {
    let trace = format!("{SEARCHES}{}", new_results());
    assert_snapshot!(play::<NoProgress>("progress = 'change'", &trace), @"
    12s     low       5 of the last 6 steps in 10s made no progress: 4 found nothing, 1 failed
    14s     medium    6 of the last 7 steps in 12s made no progress: 4 found nothing, 2 failed
    ");
}

#[test]
fn only_calls_of_the_classes_are_steps_and_any_change_starts_over() {
    let options = "classes = ['read']";
    assert_snapshot!(play::<NoProgress>(options, SEARCHES), @"");
    let search =
        |n| format!("+1s call Grep {{\"pattern\": \"{n}\"}}\n+1s result ok No matches found\n");
    let searches = |from| (from..from + 3).map(search).collect::<String>();
    let change = "+1s call Write {\"path\": \"a\"}\n+1s result ok\n";
    assert_snapshot!(play::<NoProgress>(options, &[searches(0), searches(3)].concat()), @"
    10s     low       5 of the last 5 steps in 8s made no progress: 5 found nothing
    12s     medium    6 of the last 6 steps in 10s made no progress: 6 found nothing
    ");
    assert_eq!(play::<NoProgress>(options, &[&searches(0), change, &searches(3)].concat()), "");
}

#[test]
fn searches_of_which_half_find_something_are_progress() {
    let search = |n: u32| {
        let result = if n.is_multiple_of(2) {
            "No matches found".to_owned()
        } else {
            format!("src/part_{n}.rs: parse(text, {n})")
        };
        format!("+1s call Grep {{\"pattern\": \"{n}\"}}\n+1s result ok {result}\n")
    };
    assert_eq!(play::<NoProgress>("", &(0..80).map(search).collect::<String>()), "");
}

#[test]
fn parallel_calls_are_one_step() {
    let calls = |n: u32, results: &str| {
        (0..4)
            .map(|k| format!("+0s call #c{n}{k} Read @r{n} {{\"path\": \"{n}{k}\"}}\n"))
            .chain((0..4).map(|k| {
                format!("+1s result #c{n}{k} {results}\n").replace("{}", &format!("{n}{k}"))
            }))
            .collect::<String>()
    };
    let failed: String = (0..7).map(|n| calls(n, "fail no such file")).collect();
    assert_snapshot!(play::<NoProgress>("", &failed), @"
    17s     low       17 of the last 17 steps in 16s made no progress: 17 failed
    21s     medium    21 of the last 21 steps in 20s made no progress: 21 failed
    ");
    // Four new results of one response are one in a row.
    let new = calls(9, "ok the file {} contains the text of chapter {}");
    assert_snapshot!(play::<NoProgress>("", &[failed, new].concat()), @"
    17s     low       17 of the last 17 steps in 16s made no progress: 17 failed
    21s     medium    21 of the last 21 steps in 20s made no progress: 21 failed
    ");
}

#[test]
fn rejects_an_empty_list_of_classes() {
    let options = Options::parse("classes = []");
    let error = options.and_then(|it| it.build(NoProgress::new)).expect_err("the list is empty");
    assert_snapshot!(error.to_string(), @"invalid value for `classes`: the list is empty; name a class");
}

fn contribution() -> impl Strategy<Value = Contribution> {
    select(vec![
        Contribution::Change,
        Contribution::New,
        Contribution::PartlyKnown,
        Contribution::Known,
        Contribution::RepeatedChange,
        Contribution::Nothing,
        Contribution::Failed,
        Contribution::Neutral,
    ])
}

/// Returns the evidence after these calls, in steps.
fn steps(calls: &[(Contribution, Option<u8>)]) -> u64 {
    let mut evidence = Evidence::default();
    for (contribution, response) in calls {
        let response = response.map(|it| Fingerprint::of([it]));
        evidence.add(*contribution, response, &Weights::FITTED);
    }
    evidence.steps()
}

proptest! {
    #[test]
    fn evidence_grows_with_each_step_without_progress(
        calls in vec((contribution(), proptest::option::of(0..4_u8)), 0..60),
        more in select(vec![Contribution::Known, Contribution::Nothing, Contribution::Failed]),
    ) {
        let with_one_more: Vec<_> = calls.iter().copied().chain([(more, None)]).collect();
        prop_assert_eq!(steps(&with_one_more), steps(&calls) + 1);
    }

    #[test]
    fn a_change_resets_the_evidence(
        calls in vec((contribution(), proptest::option::of(0..4_u8)), 0..60),
        after in vec((contribution(), proptest::option::of(0..4_u8)), 0..60),
    ) {
        let change = (Contribution::Change, None);
        let all: Vec<_> = calls.iter().copied().chain([change]).chain(after.iter().copied()).collect();
        prop_assert_eq!(steps(&all), steps(&after));
        prop_assert_eq!(Evidence::default().add(Contribution::Change, None, &Weights::FITTED), Some(Reset::Change));
    }

    #[test]
    fn new_results_never_add_evidence(
        calls in vec((contribution(), proptest::option::of(0..4_u8)), 0..60),
    ) {
        let with_new: Vec<_> = calls.iter().copied().chain([(Contribution::New, None)]).collect();
        prop_assert!(steps(&with_new) <= steps(&calls));
    }

    #[test]
    fn neutral_calls_change_nothing(
        calls in vec((contribution(), proptest::option::of(0..4_u8)), 0..60),
        at in any::<proptest::sample::Index>(),
    ) {
        let mut with_neutral = calls.clone();
        with_neutral.insert(at.index(calls.len() + 1), (Contribution::Neutral, None));
        prop_assert_eq!(steps(&with_neutral), steps(&calls));
    }
}

#[test]
fn laws_hold() {
    let mixed = format!(
        "{SEARCHES}{}
        30s call #a Read @r1 {{\"path\": \"a\"}}
        30s call #b Read @r1 {{\"path\": \"b\"}}
        31s result #b fail no such file
        31s result #a ok mod lexer; mod parser;
        32s call Write {{\"path\": \"build.sh\", \"content\": \"make all of the files here\"}}
        33s result ok
        34s call Write {{\"path\": \"build.sh\", \"content\": \"make all of the files here\"}}
        35s result ok
        36s compaction
        ",
        new_results()
    );
    for options in ["", "progress = 'change'", "classes = ['read', 'write']"] {
        laws::of::<NoProgress>(options).traces([SEARCHES, &mixed]).check();
    }
}

#[test]
fn state_of_a_stream_is_small() {
    assert_eq!(size_of::<NoProgress>(), 16);
}
