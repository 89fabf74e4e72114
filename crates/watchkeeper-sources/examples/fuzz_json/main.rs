//! Compares the JSON reader of this crate with `serde_json` on random lines:
//!
//! ```text
//! cargo run --release -p watchkeeper-sources --example fuzz_json -- --minutes 10
//! cargo run --release -p watchkeeper-sources --example fuzz_json -- --seed 7 --minutes 0.5
//! ```
//!
//! The lines have the shape of lines of agents, with changed bytes and moved parts. The
//! program prints its seed. After a difference, the program prints the shortest line with a
//! difference that it finds, and its exit status is 1. Add this line to the test
//! `reads_as_serde_json_does` in `src/json/tests.rs`.

use std::{
    env,
    io::{self, Write as _},
    process::ExitCode,
    time::{Duration, Instant, UNIX_EPOCH},
};

use watchkeeper_testing::{Dice, shortest};

use self::{lines::line, model::compare, sources::json};

mod lines;
mod model;

/// The modules of the library that are not public.
#[path = "../../src"]
mod sources {
    #[expect(dead_code, unused_imports, reason = "the sources use all items")]
    pub(crate) mod json;
}

const USAGE: &str = "usage: fuzz_json [--minutes N] [--seed N]";
/// The number of lines between two looks at the clock.
const N_LINES: u64 = 1_000;

struct Options {
    duration: Duration,
    seed: u64,
}

fn main() -> ExitCode {
    let result = match options(env::args().skip(1)) {
        Ok(options) => fuzz(&options),
        Err(message) => {
            writeln!(io::stderr(), "error: {message}\n{USAGE}").map(|()| ExitCode::from(2))
        }
    };
    result.unwrap_or(ExitCode::from(2))
}

fn options(mut args: impl Iterator<Item = String>) -> Result<Options, String> {
    let mut options = Options { duration: Duration::from_secs(60), seed: seed() };
    while let Some(arg) = args.next() {
        let value = args.next().ok_or_else(|| format!("`{arg}` needs a value"))?;
        let invalid = || format!("`{value}` is not a value of `{arg}`");
        match arg.as_str() {
            "--minutes" => {
                let minutes: f64 = value.parse().map_err(|_| invalid())?;
                options.duration =
                    Duration::try_from_secs_f64(minutes * 60.0).map_err(|_| invalid())?;
            }
            "--seed" => options.seed = value.parse().map_err(|_| invalid())?,
            _ => return Err(format!("unknown option `{arg}`")),
        }
    }
    Ok(options)
}

#[expect(clippy::disallowed_methods, reason = "the seed is printed")]
fn seed() -> u64 {
    let since = std::time::SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::from(since.subsec_nanos())
}

/// Compares lines until the time is over.
#[expect(clippy::disallowed_methods, reason = "the time limits the number of lines only")]
fn fuzz(options: &Options) -> io::Result<ExitCode> {
    let mut out = io::stdout().lock();
    writeln!(out, "seed {}", options.seed)?;
    let start = Instant::now();
    let mut dice = Dice::new(options.seed);
    let (mut n_lines, mut n_bytes) = (0_u64, 0);
    while start.elapsed() < options.duration {
        for _ in 0..N_LINES {
            let line = line(&mut dice);
            n_lines += 1;
            n_bytes += line.len();
            if let Err(difference) = compare(&line) {
                let line = shortest(line, |line| compare(line).is_err());
                let difference = compare(&line).err().unwrap_or(difference);
                writeln!(out, "difference in line {n_lines}: {difference}")?;
                writeln!(out, "b\"{}\"", line.escape_ascii())?;
                return Ok(ExitCode::FAILURE);
            }
        }
    }
    writeln!(out, "no difference in {n_lines} lines with {n_bytes} bytes")?;
    Ok(ExitCode::SUCCESS)
}
