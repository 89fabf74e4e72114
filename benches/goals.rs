//! The performance goals, measured: `cargo bench -p watchkeeper-benches`.
//!
//! ```text
//! cargo bench -p watchkeeper-benches                        # all rows, minutes
//! cargo bench -p watchkeeper-benches -- --quick             # fewer rounds
//! cargo bench -p watchkeeper-benches -- replay memory       # some groups
//! ```
//!
//! One table comes out. A row is a figure, its ratio to what it is beside, the
//! goal for one of the two, and whether that is met; a goal that is missed
//! makes the exit status 1.
//!
//! | group | what it measures |
//! | --- | --- |
//! | `replay` | Processor time, user's and system's, of the whole program that checks one session of 200 MB, beside that of `wc -l`. This program runs itself once more as the real one, with the detectors that ship. The session is invented, and is kept in the target folder. |
//! | `engine` | Processor time of `Engine::observe` with the built-in policy, for 1, 1,000 and 100,000 sessions that take turns. And of an event after a million others of its session, beside one after a thousand: what a session has behind it must not matter. |
//! | `detectors` | Processor time of the detectors of the built-in policy, of all and of each alone: of an event in an engine that has them, less that in one that has none. And of a byte of text in the search for chants. |
//! | `record` | What an agent waits for `SessionHandle::record`: in a burst, at the worst of 1,000 calls, with the call made from text, when the monitor sleeps, and when its queue is full. |
//! | `memory` | By how much the resident memory of a process grows for each of 100,000 sessions under the built-in policy. |
//! | `fingerprint` | Processor time of a fingerprint of 1 KB, beside a plain hash of it. |
//!
//! # On a noisy machine
//!
//! Trust ratios more than figures, and compare figures only within one run:
//! both sides of a ratio are measured in turns, and medians are shown. What
//! detectors cost for an event is the difference of two figures, so these are
//! what the fastest tenth of many short rounds take. Where it can be, what is
//! measured is processor time, which others who are busy disturb through the
//! caches alone; a fifth more or less is common. Only the first two rows of
//! `record` are time that passes: they want a processor for the monitor's
//! thread, and that of the worst call in 1,000 wants it idle.

mod detectors;
mod dice;
mod engine;
mod fingerprint;
mod measure;
mod memory;
mod record;
mod replay;
mod session_file;
mod table;
mod traffic;

use std::{
    ffi::OsString,
    io::{self, Write},
    process::ExitCode,
};

use watchkeeper_cli::{Output, Styles};
use watchkeeper_detector_error_loop as _;
use watchkeeper_detector_full_context as _;
use watchkeeper_detector_pattern as _;
use watchkeeper_detector_repeat_text as _;
use watchkeeper_detector_repeat_tool_call as _;
use watchkeeper_detector_runaway_loop as _;
use watchkeeper_detector_timeout as _;
use watchkeeper_detector_token_burn as _;
use watchkeeper_policy::Policy;

use crate::table::Row;

/// What is to be measured, and how well.
struct Plan {
    policy: Policy,
    is_quick: bool,
}

impl Plan {
    /// How many rounds, where `n` are enough to trust.
    fn rounds(&self, n: usize) -> usize {
        if self.is_quick { n.div_ceil(3) } else { n }
    }
}

type Group = (&'static str, fn(&Plan) -> io::Result<Vec<Row>>);

const GROUPS: &[Group] = &[
    ("replay", replay::rows),
    ("engine", engine::rows),
    ("detectors", detectors::rows),
    ("record", record::rows),
    ("memory", memory::rows),
    ("fingerprint", fingerprint::rows),
];

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1).peekable();
    if args.next_if(|it| it == replay::AS_PROGRAM).is_some() {
        return be_watchkeeper(args);
    }
    let args: Vec<String> = args.map(|it| it.to_string_lossy().into_owned()).collect();
    if let [flag, n_events] = &args[..]
        && flag == memory::AS_SESSIONS
    {
        let bytes = n_events.parse().map_err(|_| "not a number".to_owned()).and_then(memory::fill);
        return bytes.map_or_else(fail, |it| say(&format!("{it}\n")));
    }
    match run(&args) {
        Ok((text, is_met)) => {
            let code = say(&text);
            if is_met { code } else { ExitCode::FAILURE }
        }
        Err(message) => fail(message),
    }
}

/// Measures, and gives the table and whether all goals are met.
fn run(args: &[String]) -> Result<(String, bool), String> {
    // Cargo says `--bench` to benchmarks, and nothing when it tests them.
    if !args.iter().any(|it| it == "--bench") {
        return Ok(("to measure, use `cargo bench -p watchkeeper-benches`\n".to_owned(), true));
    }
    let (flags, wanted): (Vec<_>, Vec<_>) = args.iter().partition(|it| it.starts_with('-'));
    if let Some(flag) = flags.iter().find(|it| !["--bench", "--quick"].contains(&it.as_str())) {
        return Err(format!("unknown flag `{flag}`, expected `--quick`"));
    }
    let is_wanted = |name: &str| wanted.is_empty() || wanted.iter().any(|it| name.contains(*it));
    let groups: Vec<&Group> = GROUPS.iter().filter(|(name, _)| is_wanted(name)).collect();
    if groups.is_empty() {
        let names = GROUPS.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
        return Err(format!("no such group, expected some of {names}"));
    }
    let is_quick = flags.iter().any(|it| *it == "--quick");
    let plan = Plan { policy: traffic::policy()?, is_quick };
    let mut rows = Vec::new();
    for (name, measure) in groups {
        // So that one sees that it goes on; the table comes at the end.
        let _ = writeln!(io::stderr(), "measuring {name}");
        rows.extend(measure(&plan).map_err(|err| format!("cannot measure {name}: {err}"))?);
    }
    let is_met = rows.iter().all(|it| it.is_met() != Some(false));
    Ok((table::render(&rows), is_met))
}

/// The stock program, in this one.
fn be_watchkeeper(args: impl Iterator<Item = OsString>) -> ExitCode {
    let args = std::iter::once(OsString::from("watchkeeper")).chain(args);
    let mut output =
        Output { out: &mut io::stdout().lock(), err: &mut io::stderr(), styles: Styles::default() };
    ExitCode::from(watchkeeper_cli::run(args, &mut output) as u8)
}

fn say(text: &str) -> ExitCode {
    match io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn fail(message: String) -> ExitCode {
    let _ = writeln!(io::stderr(), "error: {message}");
    ExitCode::FAILURE
}
