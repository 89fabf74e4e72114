//! Streams of clients without a terminal, on standard input.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    process::{Child, ChildStdin, Command, Stdio},
};

use watchkeeper_core::{
    SignedDuration, Timestamp,
    clock::{Clock as _, SystemClock},
};

use crate::{
    check::PANICKING,
    program::{Folder, Ran, program},
};

const START: &str = r#"{"type":"thread.started","thread_id":"th-1"}
{"type":"turn.started"}
"#;

/// Returns the lines of a failing command.
fn failing(n: usize) -> String {
    let item = |kind: &str, rest: &str| {
        format!(
            r#"{{"type":"item.{kind}","item":{{"id":"item_{n}","type":"command_execution","command":"bash -lc 'make'",{rest}}}}}"#
        )
    };
    let started =
        item("started", r#""aggregated_output":"","exit_code":null,"status":"in_progress""#);
    let rest = r#""aggregated_output":"make: no rule\n","exit_code":2,"status":"failed""#;
    format!("{started}\n{}\n", item("completed", rest))
}

/// Starts a command whose standard input is a pipe.
fn start(command: &mut Command) -> (Child, ChildStdin) {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the program should start");
    let input = child.stdin.take().expect("standard input is piped");
    (child, input)
}

/// Closes standard input, and waits for the end.
fn end(child: Child, input: ChildStdin) -> Ran {
    drop(input);
    let output = child.wait_with_output().expect("the program should end");
    let text = |bytes| String::from_utf8(bytes).expect("the program should write UTF-8");
    Ran {
        out: text(output.stdout),
        err: text(output.stderr),
        status: output.status.code().expect("the program should exit by itself"),
    }
}

#[test]
fn a_stream_is_watched_until_its_end() {
    let mut command = program();
    let before = SystemClock.now();
    let (mut child, mut input) = start(command.args(["watch", "--format=json", "-"]));
    input.write_all(START.as_bytes()).unwrap();
    for n in 0..3 {
        input.write_all(failing(n).as_bytes()).unwrap();
    }
    // The finding is printed while the stream goes on.
    let mut out = BufReader::new(child.stdout.take().expect("standard output is piped"));
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    let finding: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(finding["session"], "th-1");
    let at: Timestamp = finding["at"].as_str().unwrap().parse().unwrap();
    let tolerance = SignedDuration::from_secs(1);
    assert!(before - tolerance <= at && at <= SystemClock.now(), "the time of arrival: {at}");
    input
        .write_all(b"{\"type\":\"turn.completed\",\"usage\":{\"input_tokens\":9}}\nnot JSON")
        .unwrap();
    let Ran { err, status, .. } = end(child, input);
    assert_eq!(status, 0, "{err}");
    assert!(err.contains("watching standard input until its end\n"), "{err}");
    assert!(err.contains("in 1 file: "), "{err}");
    assert!(err.contains("1 line skipped"), "{err}");
}

#[test]
fn input_of_no_known_format_is_read_to_its_end() {
    let mut command = program();
    let (child, mut input) = start(command.args(["watch", "-q", "-"]));
    // More than the program reads before it gives up, and more than a pipe holds.
    let text = "no session\n".repeat(100_000);
    input.write_all(text.as_bytes()).expect("the program that writes goes on");
    let Ran { out, err, status } = end(child, input);
    assert_eq!((&*out, status), ("", 2));
    assert!(
        err.ends_with(
            "error: - is not a session of a known agent; name its kind with `--source`\n"
        ),
        "{err}"
    );
}

#[test]
fn a_source_that_panics_on_standard_input_is_a_finding() {
    let mut command = program();
    let (child, mut input) =
        start(command.env("ACME_SOURCE", "1").args(["watch", "--source=acme-prompts", "-"]));
    input.write_all(PANICKING.as_bytes()).unwrap();
    let Ran { out, err, status } = end(child, input);
    assert_eq!(status, 0, "{err}");
    assert!(out.contains("panicked"), "{out}{err}");
}

#[test]
fn standard_input_and_files_are_not_watched_together() {
    let folder = Folder::new();
    let mut command = program();
    let (child, input) = start(command.args(["watch", "-"]).arg(folder.path()));
    let Ran { err, status, .. } = end(child, input);
    assert_eq!(status, 2);
    assert_eq!(
        err,
        "error: `-` is the only path: standard input and session files are not followed together\n"
    );
}

#[test]
fn a_recorded_stream_is_checked() {
    let mut command = program();
    let (child, mut input) = start(command.args(["check", "-"]));
    let text: String = (0..4).map(failing).collect();
    input.write_all(format!("{START}{text}").as_bytes()).unwrap();
    let Ran { out, status, .. } = end(child, input);
    assert_eq!(status, 1, "{out}");
    assert!(out.contains("times not known"), "{out}");
}
