//! Measures the performance goals: `cargo bench -p watchkeeper-benches`.
//!
//! ```text
//! cargo bench -p watchkeeper-benches                        # all groups; takes minutes
//! cargo bench -p watchkeeper-benches -- --quick             # fewer rounds
//! cargo bench -p watchkeeper-benches -- replay memory       # some groups
//! cargo bench -p watchkeeper-benches -- replay --against P  # compared with the program P
//! cargo bench -p watchkeeper-benches -- readers --folder F  # also the session files in F
//! cargo bench -p watchkeeper-benches -- instructions --renew-baseline
//! ```
//!
//! The output is a table. Each row contains a figure, the ratio to a reference (named in the
//! remark), a goal for one of the two, and whether the goal is met. If a goal is missed, the
//! exit status is 1.
//!
//! # Goals
//!
//! | measurement | goal |
//! | --- | --- |
//! | all detectors of the built-in policy | at most 60 ns per event |
//! | memory | at most 1,536 bytes per session |
//! | `SessionHandle::record` | at most 150 ns in the median, 1 µs at the 99.9th percentile |
//! | an event after a million others of its session | at most 1.1 times one after a thousand |
//! | search for repeated text | at most 6 ns per byte |
//! | replay | at most 12 times `wc -l` |
//! | replay, against an earlier version | at most 1.0 times, with 3 % tolerance |
//! | `check`, against ccusage | at most 0.4 times on one core, 0.35 times on all cores by the clock |
//! | instructions, against the baseline | at most 1.03 times |
//! | a wake-up with a million sessions | at most 250 µs |
//!
//! # Groups
//!
//! | group | measurement |
//! | --- | --- |
//! | `replay` | User and system time of `watchkeeper check` on a session of 200 MB, relative to `wc -l`. The benchmark starts itself as `watchkeeper`, with the detectors that ship. The session is generated once and stored in the target folder. |
//! | `readers` | User and system time of `check` on one core, relative to `wc -l`, ccusage, a reader with `serde_json` and derived types, and `jq`: on a generated session of 200 MB (`--megabytes N`), and on the files in the folder of `--folder F`. Also the time by the clock for 20 generated files on all cores. Programs that are not installed are left out. `--ccusage P` names the program of ccusage; its native program is faster than its script. |
//! | `instructions` | Instructions by callgrind for one event, one byte of a result in a file, and one byte in the search for repeated text, relative to `instructions.tsv`. Skipped without `valgrind`, and not compared with a baseline of another compiler. `--renew-baseline` writes the file. |
//! | `deadlines` | Processor time of `Engine::advance` with a million sessions that have an event each minute, and without a due timer. |
//! | `engine` | Processor time of `Engine::observe` with the built-in policy, for 1, 1,000 and 100,000 sessions that take turns. Also an event after a million others of its session, relative to one after a thousand: the cost must not depend on the history. |
//! | `detectors` | Processor time of the detectors of the built-in policy, together and one by one: an event in an engine with them, minus an event in an engine without. Also a byte of text in the search for repeated text. |
//! | `record` | Time that an agent waits for `SessionHandle::record`: in a burst, for the slowest of 1,000 calls, with the event created from text, with the monitor sleeping, and with a full queue. |
//! | `memory` | Resident memory per session, for 100,000 sessions under the built-in policy. |
//! | `fingerprint` | Processor time of a fingerprint of 1 KB, relative to a plain hash. |
//!
//! # Comparing two commits
//!
//! Figures of different runs are not comparable on a busy machine. `--against` therefore runs
//! another program in turn with the current one. Build the base commit in a worktree first:
//!
//! ```text
//! git worktree add ../base BASE_COMMIT
//! (cd ../base && cargo build --release)
//! cargo bench -p watchkeeper-benches -- replay --against ../base/target/release/watchkeeper
//! ```
//!
//! For the other groups, run the benchmarks of both worktrees in turn, several times, and compare
//! the medians.
//!
//! # Noise
//!
//! Trust ratios more than figures: the two sides of a ratio are measured in turn, and the table
//! shows medians. The cost of detectors is the difference of two figures, so it uses the 10th
//! percentile of many short rounds. Most figures are processor time, which other programs disturb
//! only through the caches; deviations of a fifth are common. Only the first two rows of `record`
//! are wall-clock time. They need a free processor for the monitor's thread, and the slowest call
//! of 1,000 needs an idle one.

mod deadlines;
mod detectors;
mod engine;
mod fingerprint;
mod instructions;
mod measure;
mod memory;
mod readers;
mod record;
mod replay;
mod session_file;
mod table;
mod traffic;
mod typed;

use std::{
    ffi::OsString,
    fs,
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use watchkeeper_cli::{Output, Styles};
use watchkeeper_detector_error_loop as _;
use watchkeeper_detector_fan_out as _;
use watchkeeper_detector_full_context as _;
use watchkeeper_detector_no_progress as _;
use watchkeeper_detector_pattern as _;
use watchkeeper_detector_repeat_text as _;
use watchkeeper_detector_repeat_tool_call as _;
use watchkeeper_detector_runaway_loop as _;
use watchkeeper_detector_timeout as _;
use watchkeeper_detector_token_burn as _;
use watchkeeper_policy::Policy;

use crate::table::Row;

/// The conditions of all measurements.
struct Plan {
    policy: Policy,
    is_quick: bool,
    /// Another version of `watchkeeper` to compare the replay with.
    against: Option<PathBuf>,
    /// The size of the generated sessions for other readers.
    megabytes: u64,
    /// A folder with session files for other readers.
    folder: Option<PathBuf>,
    /// The program of ccusage.
    ccusage: Option<PathBuf>,
    /// Whether to write the baseline of instructions.
    renews_baseline: bool,
}

impl Plan {
    /// Returns the number of rounds, where `n` give a reliable result.
    fn rounds(&self, n: usize) -> usize {
        if self.is_quick { n.div_ceil(3) } else { n }
    }
}

type Group = (&'static str, fn(&Plan) -> io::Result<Vec<Row>>);

const GROUPS: &[Group] = &[
    ("replay", replay::rows),
    ("readers", readers::rows),
    ("instructions", instructions::rows),
    ("deadlines", deadlines::rows),
    ("engine", engine::rows),
    ("detectors", detectors::rows),
    ("record", record::rows),
    ("memory", memory::rows),
    ("fingerprint", fingerprint::rows),
];

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1).peekable();
    if args.next_if(|it| it == replay::AS_PROGRAM).is_some() {
        return run_watchkeeper(args);
    }
    if args.next_if(|it| it == typed::AS_TYPED).is_some() {
        let sum = typed::read(args.map(PathBuf::from));
        return sum.map_or_else(|err| fail(err.to_string()), |sum| print(&format!("{sum}\n")));
    }
    let args: Vec<String> = args.map(|it| it.to_string_lossy().into_owned()).collect();
    if let [flag, n_events] = &args[..]
        && flag == memory::AS_SESSIONS
    {
        let bytes = n_events.parse().map_err(|_| "not a number".to_owned()).and_then(memory::fill);
        return bytes.map_or_else(fail, |bytes| print(&format!("{bytes}\n")));
    }
    if let [flag, name, amount] = &args[..]
        && flag == instructions::AS_WORK
    {
        let amount = amount.parse().map_err(|_| "not a number".to_owned());
        let result = amount.and_then(|amount| instructions::work(name, amount));
        return result.map_or_else(fail, |result| print(&format!("{result}\n")));
    }
    match run(&args) {
        Ok((text, is_met)) => {
            let code = print(&text);
            if is_met { code } else { ExitCode::FAILURE }
        }
        Err(message) => fail(message),
    }
}

/// Measures. Returns the table and whether all goals are met.
fn run(args: &[String]) -> Result<(String, bool), String> {
    // `cargo bench` passes `--bench`; `cargo test` does not.
    if !args.iter().any(|it| it == "--bench") {
        return Ok(("use `cargo bench -p watchkeeper-benches` to measure\n".to_owned(), true));
    }
    let mut plan = Plan {
        policy: traffic::policy()?,
        is_quick: false,
        against: None,
        megabytes: 200,
        folder: None,
        ccusage: None,
        renews_baseline: false,
    };
    let mut wanted = Vec::new();
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or_else(|| format!("`{arg}` needs a value"));
        match arg.as_str() {
            "--bench" => {}
            "--quick" => plan.is_quick = true,
            "--renew-baseline" => plan.renews_baseline = true,
            "--against" => plan.against = Some(existing(value()?)?),
            "--folder" => plan.folder = Some(existing(value()?)?),
            "--ccusage" => plan.ccusage = Some(existing(value()?)?),
            "--megabytes" => {
                let value = value()?;
                plan.megabytes =
                    value.parse().map_err(|_| format!("`{value}` is not a number of megabytes"))?;
            }
            flag if flag.starts_with('-') => return Err(format!("unknown flag `{flag}`")),
            group => wanted.push(group),
        }
    }
    let is_wanted = |name: &str| wanted.is_empty() || wanted.iter().any(|it| name.contains(it));
    let groups: Vec<&Group> = GROUPS.iter().filter(|(name, _)| is_wanted(name)).collect();
    if groups.is_empty() {
        let names = GROUPS.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
        return Err(format!("unknown group, expected one of {names}"));
    }
    let mut rows = Vec::new();
    for (name, measure) in groups {
        // Shows progress, as the table is printed at the end.
        let _ = writeln!(io::stderr(), "measuring {name}");
        rows.extend(measure(&plan).map_err(|err| format!("cannot measure {name}: {err}"))?);
    }
    let is_met = rows.iter().all(|it| it.is_met() != Some(false));
    Ok((table::render(&rows), is_met))
}

/// Returns the absolute path of a file or folder.
fn existing(path: &str) -> Result<PathBuf, String> {
    fs::canonicalize(path).map_err(|err| format!("cannot find `{path}`: {err}"))
}

/// Runs this program as `watchkeeper`.
fn run_watchkeeper(args: impl Iterator<Item = OsString>) -> ExitCode {
    let args = std::iter::once(OsString::from("watchkeeper")).chain(args);
    let mut output =
        Output { out: &mut io::stdout().lock(), err: &mut io::stderr(), styles: Styles::default() };
    ExitCode::from(watchkeeper_cli::run(args, &mut output).code())
}

fn print(text: &str) -> ExitCode {
    match io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn fail(message: String) -> ExitCode {
    let _ = writeln!(io::stderr(), "error: {message}");
    ExitCode::FAILURE
}
