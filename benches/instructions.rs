//! Instructions by callgrind, compared with a committed baseline. They do not depend on other
//! programs that run, unlike times.

use std::{
    env,
    fmt::Write as _,
    fs, io,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::json;
use watchkeeper_core::{Event, EventKind, SessionId, Timestamp};
use watchkeeper_testing::Dice;

use crate::{
    Plan, detectors,
    readers::is_installed,
    replay::AS_PROGRAM,
    table::{Figure, Row},
    traffic::{self, Engines, Traffic},
};

/// The argument that makes this program do some work under callgrind. The name of the work and
/// its amount follow.
pub(crate) const AS_WORK: &str = "--as-work";
/// The tolerance of the comparison.
const TOLERANCE: f64 = 0.03;

/// A measurement: the instructions of a larger amount of work, minus those of a smaller one.
struct Measurement {
    /// The name in the baseline.
    name: &'static str,
    amounts: [usize; 2],
    run: fn(usize) -> io::Result<Vec<Command>>,
}

const MEASUREMENTS: &[Measurement] = &[
    Measurement { name: "event", amounts: [10_000, 30_000], run: events },
    Measurement { name: "byte of result", amounts: [1_000_000, 3_000_000], run: results },
    Measurement { name: "byte of repeated text", amounts: [200_000, 600_000], run: text },
];

pub(crate) fn rows(plan: &Plan) -> io::Result<Vec<Row>> {
    let row_name = |name: &str| format!("instructions, {}", with_article(name));
    if !is_installed("valgrind") {
        let reason = "`valgrind` is not installed";
        return Ok(MEASUREMENTS
            .iter()
            .map(|it| Row::unmeasured(row_name(it.name), reason))
            .collect());
    }
    let compiler = compiler()?;
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("instructions.tsv");
    let baseline = fs::read_to_string(&path).unwrap_or_default();
    let of_baseline =
        |name: &str| baseline.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('\t'));
    let is_comparable = of_baseline("compiler") == Some(&*compiler);
    let mut renewed = format!("compiler\t{compiler}\n");
    let mut rows = Vec::new();
    for Measurement { name, amounts, run } in MEASUREMENTS {
        let [few, many] = amounts.map(|amount| count(run(amount)?));
        #[expect(clippy::cast_precision_loss, reason = "a measurement is not that exact")]
        let count = (many? - few?) / (amounts[1] - amounts[0]) as f64;
        let _ = writeln!(renewed, "{name}\t{count:.2}");
        let row = Row::new(row_name(name), Figure::Instructions(count));
        let expected = of_baseline(name).and_then(|count| count.parse::<f64>().ok());
        rows.push(match expected {
            Some(expected) if is_comparable => {
                row.times(count / expected).at_most_times(1.0 + TOLERANCE).remark(format!(
                    "relative to the baseline: {expected:.2}{}",
                    hint(count / expected)
                ))
            }
            _ => row.remark(format!("no baseline for {compiler}")),
        });
    }
    if plan.renews_baseline {
        fs::write(path, renewed)?;
    }
    Ok(rows)
}

fn with_article(name: &str) -> String {
    let article = if name.starts_with('e') { "an" } else { "a" };
    format!("{article} {name}")
}

fn hint(ratio: f64) -> &'static str {
    if ratio < 1.0 - TOLERANCE { "; renew it with `--renew-baseline`" } else { "" }
}

/// Returns the version of the compiler. The instructions of others differ.
fn compiler() -> io::Result<String> {
    let output = Command::new(env::var_os("RUSTC").unwrap_or("rustc".into())).arg("-V").output()?;
    let version = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    Ok(format!("{version} {}", env::consts::ARCH))
}

/// Counts the instructions of the first command, minus those of the others.
fn count(commands: Vec<Command>) -> io::Result<f64> {
    let mut total = 0.0;
    for (idx, command) in commands.into_iter().enumerate() {
        let output = Command::new("valgrind")
            .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
            .arg(command.get_program())
            .args(command.get_args())
            .output()?;
        let printed = String::from_utf8_lossy(&output.stderr);
        let collected = printed.lines().find_map(|line| {
            line.split_once("Collected : ").and_then(|(_, count)| count.trim().parse::<f64>().ok())
        });
        let Some(collected) = collected else {
            return Err(io::Error::other(printed.into_owned()));
        };
        total += if idx == 0 { collected } else { -collected };
    }
    Ok(total)
}

/// Observes events, beyond making them.
fn events(amount: usize) -> io::Result<Vec<Command>> {
    ["observe", "make"]
        .map(|work| this_program(&[AS_WORK, work, &amount.to_string()]))
        .into_iter()
        .collect()
}

/// Searches a text for repetitions, beyond an engine without detectors.
fn text(amount: usize) -> io::Result<Vec<Command>> {
    ["search", "ignore"]
        .map(|work| this_program(&[AS_WORK, work, &amount.to_string()]))
        .into_iter()
        .collect()
}

/// Checks a session with results of `amount` bytes in total.
fn results(amount: usize) -> io::Result<Vec<Command>> {
    const N_RESULTS: usize = 100;
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("results-{amount}.jsonl"));
    let mut dice = Dice::new(29);
    let mut lines = String::new();
    for n in 0..N_RESULTS {
        let line = |kind: &str, n_line: usize, block: serde_json::Value| {
            let uuid = format!("00000000-0000-4000-8000-{:012}", 2 * n + n_line);
            let line = json!({
                "type": kind, "uuid": uuid, "sessionId": "instructions",
                "timestamp": format!("2026-01-01T00:{:02}:{:02}.000Z", n / 30, n % 30 * 2 + n_line),
                "message": { "role": kind, "content": [block] },
            });
            format!("{line}\n")
        };
        let id = format!("toolu_{n}");
        let input = json!({ "command": format!("make target-{n}") });
        let call = json!({ "type": "tool_use", "id": id, "name": "Bash", "input": input });
        lines.push_str(&line("assistant", 0, call));
        let mut output = String::new();
        while output.len() < amount / N_RESULTS {
            let _ = writeln!(output, "    let anchor = \"{:x}\";", dice.roll());
        }
        output.truncate(amount / N_RESULTS);
        let result = json!({ "type": "tool_result", "tool_use_id": id, "content": output });
        lines.push_str(&line("user", 1, result));
    }
    fs::write(&path, lines)?;
    let path = path.to_string_lossy();
    let args = [AS_PROGRAM, "check", "--format", "json", "--jobs", "1", &path];
    Ok(vec![this_program(&args)?])
}

fn this_program(args: &[&str]) -> io::Result<Command> {
    let mut command = Command::new(env::current_exe()?);
    command.args(args);
    Ok(command)
}

/// Does some work. Returns a number that depends on it.
pub(crate) fn work(name: &str, amount: usize) -> Result<usize, String> {
    let policy = traffic::policy()?;
    let engines = Engines::new(&policy);
    let mut findings = Vec::new();
    match name {
        "observe" | "make" => {
            let mut engine = engines.engine();
            let mut traffic = Traffic::new(10, 200);
            let mut sum = 0;
            for _ in 0..amount {
                let event = traffic.next();
                sum += event.session.as_str().len();
                if name == "observe" {
                    engine.observe(&event, &mut findings);
                }
            }
            Ok(sum + findings.len())
        }
        "search" | "ignore" => {
            let detectors =
                policy.detectors.iter().filter(|it| name == "search" && &*it.id == "repeated_text");
            let mut engine = engines.with(detectors.cloned().collect());
            let text = detectors::prose(amount).into();
            let kind = EventKind::Message { text, delta: false };
            let event = Event::new(Timestamp::UNIX_EPOCH, SessionId::from("s"), kind);
            engine.observe(&event, &mut findings);
            Ok(findings.len())
        }
        _ => Err(format!("unknown work `{name}`")),
    }
}
