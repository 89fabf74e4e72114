//! Measures a call of `watchkeeper hook` at sessions of three sizes, beside a start of the same
//! program that does nothing:
//!
//! ```text
//! cargo build --release -p watchkeeper
//! cargo run --release -p watchkeeper-benches --example hook -- target/release/watchkeeper
//! ```
//!
//! The first calls in a long session read the whole file; they are not part of the quantiles.

#![expect(clippy::print_stdout, reason = "the table is the result")]

use std::{
    env, fs,
    io::{self, BufWriter, Write as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use serde_json::json;
use watchkeeper_core::clock::{Clock as _, SystemClock};

/// The calls of a quantile.
const N_CALLS: usize = 200;
/// The sizes of the sessions, in bytes.
const SIZES: [(&str, usize); 3] =
    [("100 KB", 100_000), ("10 MB", 10_000_000), ("100 MB", 100_000_000)];
/// The sizes of the results of tools, in turn, in bytes.
const RESULTS: [usize; 5] = [200, 900, 4_000, 12_000, 300];

fn main() -> io::Result<()> {
    let Some(program) = env::args_os().nth(1).map(PathBuf::from) else {
        return Err(io::Error::other("name the program to measure"));
    };
    let program = fs::canonicalize(program)?;
    let folder = tempfile::tempdir()?;
    let folder = folder.path();
    println!("{:12} {:>10} {:>10} {:>12}", "", "p50", "p99", "first calls");
    let start = calls(N_CALLS, || run(&program, folder, &["--version"], b""))?;
    print("--version", start, Vec::new());
    for (name, size) in SIZES {
        let path = folder.join(format!("{size}.jsonl"));
        write_session(&path, size)?;
        let payload = json!({
            "session_id": "s-1", "hook_event_name": "PreToolUse", "transcript_path": path,
            "tool_name": "Read", "tool_input": { "file_path": "/w/a.rs" },
        });
        let input = payload.to_string();
        let hook =
            || run(&program, folder, &["hook", "claude-code", "--act", "nudge"], input.as_bytes());
        let first = calls(8, hook)?;
        print(name, calls(N_CALLS, hook)?, first);
    }
    Ok(())
}

fn calls(n: usize, call: impl Fn() -> io::Result<Duration>) -> io::Result<Vec<Duration>> {
    (0..n).map(|_| call()).collect()
}

/// Returns the time from the start of the program to its end.
fn run(program: &Path, folder: &Path, args: &[&str], input: &[u8]) -> io::Result<Duration> {
    let before = SystemClock.uptime();
    let mut child = Command::new(program)
        .args(args)
        .current_dir(folder)
        .env_clear()
        .env("HOME", folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        // `--version` reads nothing.
        let _ = stdin.write_all(input);
    }
    let status = child.wait()?;
    assert!(status.success(), "the program fails: {status}");
    Ok(SystemClock.uptime().saturating_sub(before))
}

fn print(name: &str, mut times: Vec<Duration>, first: Vec<Duration>) {
    times.sort();
    let quantile = |share: usize| times[(times.len() * share / 100).min(times.len() - 1)];
    let longest = first.into_iter().max().map_or(String::new(), |time| format!("{time:.1?}"));
    let [p50, p99] = [50, 99].map(|share| format!("{:.1?}", quantile(share)));
    println!("{name:12} {p50:>10} {p99:>10} {longest:>12}");
}

/// Writes a session of Claude Code that reads one file after another.
fn write_session(path: &Path, size: usize) -> io::Result<()> {
    let mut file = BufWriter::new(fs::File::create(path)?);
    let (mut n, mut n_bytes) = (0, 0);
    while n_bytes < size {
        let second =
            |n: usize| format!("2026-11-22T{:02}:{:02}:{:02}Z", n / 3600 % 24, n / 60 % 60, n % 60);
        let line = |kind: &str, at: usize, message: serde_json::Value| {
            let line = json!({
                "type": kind, "sessionId": "s-1", "cwd": "/w", "version": "2.1.330",
                "uuid": format!("{kind}{at}"), "timestamp": second(at), "message": message,
            });
            format!("{line}\n")
        };
        let call = line(
            "assistant",
            2 * n,
            json!({
                "role": "assistant", "model": "claude-sonnet-4-5", "id": format!("m{n}"),
                "content": [{
                    "type": "tool_use", "id": format!("t{n}"), "name": "Read",
                    "input": { "file_path": format!("/w/{n}.rs") },
                }],
                "usage": { "input_tokens": 3, "cache_read_input_tokens": 40_000, "output_tokens": 90 },
            }),
        );
        let text = format!("text {n}\n").repeat(RESULTS[n % RESULTS.len()] / 8);
        let content =
            json!([{ "type": "tool_result", "tool_use_id": format!("t{n}"), "content": text }]);
        let result = line("user", 2 * n + 1, json!({ "role": "user", "content": content }));
        file.write_all(call.as_bytes())?;
        file.write_all(result.as_bytes())?;
        n_bytes += call.len() + result.len();
        n += 1;
    }
    file.flush()
}
