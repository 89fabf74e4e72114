//! Programs that read session files, in turn.

use std::{
    ffi::OsStr,
    fs,
    io::{self, Read as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::Value;

use crate::{
    Plan, measure,
    replay::AS_PROGRAM,
    session_file,
    table::{Figure, Row},
    typed,
};

/// The number of files of the input with many files.
const N_FILES: u64 = 20;
/// Runs of `wc` per round, as one run is short compared to the resolution of processor time.
const N_WC: u32 = 4;

/// Session files in the folders in which agents keep theirs.
struct Input {
    name: String,
    home: tempfile::TempDir,
    files: Vec<PathBuf>,
    len: u64,
}

/// A program that reads an input.
struct Reader {
    name: &'static str,
    /// Largest ratio of the time of `check` to the time of this program: on one core, and of many
    /// files by the clock.
    goals: [Option<f64>; 2],
    command: fn(&Plan, &Input) -> io::Result<Command>,
    n_runs: u32,
}

const READERS: &[Reader] = &[
    Reader { name: "wc -l", goals: [None, None], command: wc, n_runs: N_WC },
    Reader { name: "ccusage", goals: [Some(0.4), Some(0.35)], command: ccusage, n_runs: 1 },
    Reader { name: "serde_json typed", goals: [None, None], command: typed, n_runs: 1 },
    Reader { name: "jq", goals: [None, None], command: jq, n_runs: 1 },
];

/// The time of one run, in seconds.
#[derive(Clone, Copy)]
struct Time {
    cpu: f64,
    wall: f64,
}

impl Time {
    fn cpu(&self) -> f64 {
        self.cpu
    }

    fn wall(&self) -> f64 {
        self.wall
    }
}

pub(crate) fn rows(plan: &Plan) -> io::Result<Vec<Row>> {
    let len = plan.megabytes * 1_000_000;
    let megabytes = plan.megabytes;
    let mut inputs =
        vec![Input::new(format!("{megabytes} MB in 1 file"), &[session_file::path(len, 0)?])?];
    if let Some(folder) = &plan.folder {
        let name = folder.file_name().unwrap_or(folder.as_os_str()).to_string_lossy();
        inputs.push(Input::new(format!("`{name}`"), &session_files(folder)?)?);
    }
    let mut rows = Vec::new();
    for input in &inputs {
        rows.extend(compare(plan, input, true)?);
    }
    let files = (1..=N_FILES).map(|n| session_file::path(len / N_FILES, n));
    let files = files.collect::<io::Result<Vec<_>>>()?;
    let many = Input::new(format!("{megabytes} MB in {N_FILES} files"), &files)?;
    rows.extend(compare(plan, &many, false)?);
    Ok(rows)
}

/// Compares `check` with each other program, in turn: the processor time on one core, or the time
/// by the clock on all cores.
fn compare(plan: &Plan, input: &Input, on_one_core: bool) -> io::Result<Vec<Row>> {
    // Brings the files into the page cache.
    for file in &input.files {
        fs::read(file)?;
    }
    let kind = if on_one_core { "CPU, 1 core" } else { "wall, all cores" };
    let part = if on_one_core { Time::cpu } else { Time::wall };
    let mut rows = Vec::new();
    for reader in READERS {
        let name = format!("{}, {kind}: `check` / `{}`", input.name, reader.name);
        // `jq` takes most of the time, and its ratio is large.
        let n_rounds = if reader.name == "jq" { 1 } else { plan.rounds(5) };
        let (mut checks, mut others, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
        let mut missing = None;
        for _ in 0..n_rounds {
            let other = (reader.command)(plan, input)
                .and_then(|command| run(command, reader.n_runs, on_one_core));
            match other {
                Ok(time) => others.push(time),
                Err(err) => {
                    missing = Some(err);
                    break;
                }
            }
            let check = run(check(input)?, 1, on_one_core)?;
            ratios.push(part(&check) / others.last().map_or(f64::NAN, part));
            checks.push(check);
        }
        if let Some(err) = missing {
            rows.push(Row::unmeasured(name, err));
            continue;
        }
        let median = |times: &[Time], part: fn(&Time) -> f64| {
            Figure::Seconds(measure::median(times.iter().map(part).collect()))
        };
        let remark = format!(
            "CPU {} of {}, wall {} of {}; {} MB",
            median(&checks, Time::cpu),
            median(&others, Time::cpu),
            median(&checks, Time::wall),
            median(&others, Time::wall),
            input.len / 1_000_000,
        );
        let mut row = Row::new(name, median(&checks, part)).times(measure::median(ratios));
        if let Some(goal) = reader.goals[usize::from(!on_one_core)] {
            row = row.at_most_times(goal);
        }
        rows.push(row.remark(remark));
    }
    Ok(rows)
}

impl Input {
    fn new(name: String, files: &[PathBuf]) -> io::Result<Self> {
        let home = tempfile::tempdir()?;
        let claude = home.path().join("claude/projects/bench");
        let codex = home.path().join("codex/sessions/2026/01/01");
        fs::create_dir_all(&claude)?;
        fs::create_dir_all(&codex)?;
        let mut input = Self { name, home, files: Vec::new(), len: 0 };
        for (idx, file) in files.iter().enumerate() {
            let name = file.file_stem().unwrap_or_default().to_string_lossy();
            let path = if is_codex(file)? {
                codex.join(format!("rollout-{idx}-{name}.jsonl"))
            } else {
                claude.join(format!("{name}-{idx}.jsonl"))
            };
            let file = fs::canonicalize(file)?;
            // Some programs do not follow symbolic links.
            fs::hard_link(&file, &path).or_else(|_| fs::copy(&file, &path).map(drop))?;
            input.len += fs::metadata(&path)?.len();
            input.files.push(path);
        }
        Ok(input)
    }
}

/// Returns the files of a folder and of its folders that are named like session files.
fn session_files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            files.extend(session_files(&path)?);
        } else if path.extension() == Some(OsStr::new("jsonl")) {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn is_codex(file: &Path) -> io::Result<bool> {
    let mut head = String::new();
    fs::File::open(file)?.take(4096).read_to_string(&mut head).or_else(|err| match err.kind() {
        io::ErrorKind::InvalidData => Ok(0),
        _ => Err(err),
    })?;
    Ok(head.contains("\"session_meta\""))
}

/// Runs a command `n` times. Returns the time of one run.
fn run(command: Command, n: u32, on_one_core: bool) -> io::Result<Time> {
    let mut command = if on_one_core { on_core_0(command) } else { command };
    let (cpu, wall) = (measure::children_cpu()?, measure::elapsed()?);
    for _ in 0..n {
        let output = command.stdout(Stdio::null()).stderr(Stdio::piped()).output()?;
        if !matches!(output.status.code(), Some(0 | 1)) {
            let message = String::from_utf8_lossy(&output.stderr);
            return Err(io::Error::other(message.lines().next().unwrap_or_default().to_owned()));
        }
    }
    let time = |before: f64, after: f64| (after - before) / f64::from(n);
    Ok(Time {
        cpu: time(cpu, measure::children_cpu()?),
        wall: time(wall, measure::elapsed()?) / 1e9,
    })
}

/// Binds a command to one core, on systems that have `taskset`.
fn on_core_0(command: Command) -> Command {
    if !is_installed("taskset") {
        return command;
    }
    let mut bound = Command::new("taskset");
    bound.args(["-c", "0"]).arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => bound.env(name, value),
            None => bound.env_remove(name),
        };
    }
    bound
}

fn check(input: &Input) -> io::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args([AS_PROGRAM, "check", "--format", "json"]).arg(input.home.path());
    Ok(command)
}

fn wc(_plan: &Plan, input: &Input) -> io::Result<Command> {
    let mut command = installed("wc")?;
    command.arg("-l").args(&input.files);
    Ok(command)
}

fn jq(_plan: &Plan, input: &Input) -> io::Result<Command> {
    let mut command = installed("jq")?;
    let sum = "reduce inputs as $line (0; . + ($line | .message?.usage?.output_tokens? // 0))";
    command.args(["-n", sum]).args(&input.files);
    Ok(command)
}

fn typed(_plan: &Plan, input: &Input) -> io::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(typed::AS_TYPED).args(&input.files);
    Ok(command)
}

/// Returns the command that reports tokens. Checks that the command finds the sessions.
fn ccusage(plan: &Plan, input: &Input) -> io::Result<Command> {
    let mut command = match &plan.ccusage {
        Some(program) => Command::new(program),
        None => installed("ccusage")?,
    };
    let home = input.home.path();
    command.args(["daily", "--offline", "--json"]);
    command.env("HOME", home).env("XDG_CONFIG_HOME", home.join("none"));
    command.env("CLAUDE_CONFIG_DIR", home.join("claude")).env("CODEX_HOME", home.join("codex"));
    let output = command.output()?;
    let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    match report["totals"]["outputTokens"].as_u64() {
        None | Some(0) => Err(io::Error::other("ccusage reports no tokens")),
        Some(_) => Ok(command),
    }
}

/// Returns a command, or an error if the program is not installed.
fn installed(program: &str) -> io::Result<Command> {
    if is_installed(program) {
        return Ok(Command::new(program));
    }
    Err(io::Error::other(format!("`{program}` is not installed")))
}

pub(crate) fn is_installed(program: &str) -> bool {
    let folders = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&folders).any(|folder| folder.join(program).is_file())
}
