use std::fmt::Write as _;

use insta::assert_snapshot;
use watchkeeper_testing::{laws, play};

use crate::ErrorLoop;

/// Plays steps of one second each: a command or the name of a tool, and a result.
fn errors(steps: &[(&str, &str)]) -> String {
    play::<ErrorLoop>("of = 'error'", &trace(steps))
}

fn trace(steps: &[(&str, &str)]) -> String {
    let mut trace = "0s prompt fix it\n".to_owned();
    for (call, result) in steps {
        let call = match *call {
            edit if edit.starts_with("Edit ") || edit.starts_with("Read ") => edit.to_owned(),
            command => format!("Bash {{\"command\": {command:?}}}"),
        };
        writeln!(trace, "+1s call {call}\n+1s result {}", quoted(result))
            .expect("writing to a string succeeds");
    }
    trace
}

fn quoted(result: &str) -> String {
    match result.strip_prefix("fail ") {
        Some(text) => format!("fail {text:?}"),
        None => format!("{result:?}"),
    }
}

const MISSING: &str = "fail bash: line 7: javac: command not found";

#[test]
fn counts_one_cause_behind_different_calls() {
    let found = errors(&[
        ("javac A.java", "fail bash: line 7: javac: command not found"),
        ("javac -d out A.java", "fail bash: line 9: javac: command not found"),
        ("./build.sh", "fail ./build.sh: line 4: javac: command not found\n1 error"),
        ("sh build.sh", "fail build.sh: 4: javac: not found\nfailed"),
        ("./build.sh; ls", "./build.sh: line 4: javac: command not found\nA.java\nbuild.sh"),
        ("javac A.java", ""),
    ]);
    assert_snapshot!(found, @"
    6s      low       `javac` is missing: 3 calls failed for it in 3 steps
    10s     medium    `javac` is missing: 5 calls failed for it in 5 steps
    12s     resolved  no further failures after 5: a tool succeeded
    ");
}

#[test]
fn a_cause_survives_other_results_and_edits() {
    let steps = [
        ("javac A.java", MISSING),
        ("ls", "A.java"),
        ("javac ./A.java", MISSING),
        ("cat A.java", "class A {}"),
        ("cat B.java", "class B {}"),
        ("make", "fail no rule to make it"),
        ("javac B.java", MISSING),
        ("Edit build.sh", "done"),
        ("./build.sh", "fail ./build.sh: line 1: javac: command not found"),
        ("Edit build2.sh", "done"),
        ("./build2.sh", "fail ./build2.sh: line 1: javac: command not found"),
        ("ls -la", "A.java"),
        ("javac C.java", MISSING),
        ("ls -la src", "A.java"),
        ("ls /opt/bin/javac", "fail ls: cannot access '/opt/bin/javac': No such file or directory"),
    ];
    assert_snapshot!(errors(&steps), @"26s     low       `javac` is missing: 6 calls failed for it in 13 steps");
}

#[test]
fn ends_when_the_program_runs_or_the_agent_moves_on() {
    let fails = [("javac A.java", MISSING), ("javac B.java", MISSING), ("javac C.java", MISSING)];
    let after = |between: &[(&str, &str)]| {
        let steps: Vec<_> = fails.iter().chain(between).chain(&fails).copied().collect();
        errors(&steps).lines().filter(|line| line.contains("resolved")).count()
    };
    assert_eq!(after(&[]), 0);
    assert_eq!(after(&[("which javac", "/usr/bin/javac")]), 0);
    assert_eq!(after(&[("cd a && javac A.java", "done")]), 1);
    assert_eq!(after(&[("Read x", "a text"); 19]), 0);
    assert_eq!(after(&[("Read x", "a text"); 20]), 1);
}

#[test]
fn sentences_in_a_shell_are_one_cause() {
    let found = errors(&[
        (
            "It seems that the test is red. Let's see why.",
            "fail bash: line 1: It: command not found",
        ),
        (
            "The (last) command did not run, so I try it again.",
            "fail bash: syntax error near unexpected token `('",
        ),
        (
            "Let's look at the file that was changed.",
            "fail bash: unexpected EOF while looking for matching `''",
        ),
        ("ls", "a.rs"),
        ("We should now see which shell this is.", "fail bash: line 5: We: command not found"),
    ]);
    assert_snapshot!(found, @"6s      low       sentences are sent to the shell as commands: 3 calls failed for it in 3 steps");
}

#[test]
fn rejected_edits_of_one_file_are_one_cause() {
    let found = errors(&[
        ("Edit a.py 1", "fail did not appear verbatim in /w/a.py."),
        ("Edit a.py 2", "fail Failed to find expected lines in /w/a.py:\nx = 1"),
        ("Read a.py", "x = 2"),
        ("Edit a.py 3", "fail did not appear verbatim in /w/a.py."),
        ("Edit a.py 3", "fail did not appear verbatim in /w/a.py."),
        ("Edit a.py 3", "fail did not appear verbatim in /w/a.py."),
        ("Edit a.py 4", "done"),
    ]);
    assert_snapshot!(found, @"
    12s     low       edits of `a.py` are rejected: 5 calls failed for it in 6 steps
    14s     resolved  no further failures after 5: a tool succeeded
    ");
}

#[test]
fn several_causes_are_counted_beside_each_other() {
    let mut steps = Vec::new();
    for _ in 0..6 {
        steps.push(("javac A.java", MISSING));
        steps.push((
            "curl -s https://a.example/x",
            "fail curl: (6) Could not resolve host: a.example",
        ));
    }
    assert_snapshot!(errors(&steps), @"
    18s     low       `javac` is missing: 5 calls failed for it in 9 steps
    20s     low       `a.example` is unreachable: 5 calls failed for it in 9 steps
    ");
}

#[test]
fn honest_work_is_not_reported() {
    let is_quiet = |steps: &[(&str, &str)]| errors(steps).is_empty();
    // An agent probes a missing program and moves on.
    assert!(is_quiet(&[
        ("javac -version", MISSING),
        ("which javac", "fail "),
        ("./build.sh", "fail ./build.sh: line 2: javac: command not found"),
        ("apt-get install -y default-jdk", "fail E: Unable to locate package default-jdk"),
        ("Read A.java", "class A {}"),
        ("Edit A.java", "done"),
    ]));
    // Each error gives way to the next.
    let modules = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o"];
    let texts: Vec<(String, String)> = modules
        .iter()
        .map(|name| {
            (
                format!("Edit {name}.py"),
                format!("fail ModuleNotFoundError: No module named '{name}'"),
            )
        })
        .collect();
    let steps: Vec<(&str, &str)> = texts
        .iter()
        .flat_map(|(edit, error)| [(edit.as_str(), "done"), ("pytest", error.as_str())])
        .collect();
    assert!(is_quiet(&steps));
    // The same error for four rounds of change and test.
    let mut steps = Vec::new();
    for name in ["Edit a.py", "Edit b.py", "Edit c.py", "Edit d.py"] {
        steps.push((name, "done"));
        steps.push(("pytest -q", "fail ModuleNotFoundError: No module named 'x'"));
    }
    assert!(is_quiet(&steps));
    // A log quotes an error.
    let quotes = ("grep -rn javac logs", "logs/a.log:7:bash: line 3: javac: command not found");
    assert_eq!(errors(&[quotes; 9]), "");
}

#[test]
fn a_call_that_times_out_again_has_its_full_weight() {
    let reported = |gap: u32, command: &str| {
        let call =
            format!("call Bash {{\"command\": {command:?}}} ;; result timeout \"timed out\"");
        let trace = format!("0s repeat 4 every {gap}s: {call}");
        !play::<ErrorLoop>("of = 'error'", &trace).is_empty()
    };
    for gap in [1, 600] {
        assert!(reported(gap, "apt-get install curl"));
    }
    assert!(!reported(600, "sleep 600; cat status.txt"));
}

#[test]
fn laws_hold_with_known_causes() {
    let steps = [
        ("javac A.java", MISSING),
        ("sh b.sh", "b.sh: 4: javac: not found\ndone"),
        ("curl https://a.example", "fail curl: (6) Could not resolve host: a.example"),
        ("Edit a.py", "fail did not appear verbatim in /w/a.py."),
        ("pytest", "fail ModuleNotFoundError: No module named 'x'"),
        ("javac B.java", MISSING),
        ("javac B.java", MISSING),
        ("cat a.txt", "fail cat: a.txt: No such file or directory"),
        ("javac C.java", MISSING),
    ];
    laws::of::<ErrorLoop>("of = 'error'").traces([trace(&steps).as_str()]).check();
}
