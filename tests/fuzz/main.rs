//! Feeds random input to the parts that read what others have written:
//!
//! ```text
//! cargo run --release -p watchkeeper-tests --example fuzz -- --minutes 10
//! cargo run --release -p watchkeeper-tests --example fuzz -- --target ledger --seed 7
//! ```
//!
//! The input is an example with changed bytes and moved parts. The program prints its seed. If
//! a property does not hold, the program prints the shortest input that it finds, and its exit
//! status is 1. The JSON reader has a program of its own: the example `fuzz_json` of
//! `watchkeeper-sources`.

#![expect(clippy::print_stdout, reason = "the report of this program")]

use std::{
    env,
    panic::{AssertUnwindSafe, catch_unwind},
    process::ExitCode,
    time::Duration,
};

use watchkeeper_core::{
    Timestamp,
    clock::{Clock as _, Deadline, SystemClock},
};
use watchkeeper_testing::{Dice, mutate, shortest};

mod ledger;
#[path = "../../crates/watchkeeper-sources/tests/formats/otlp_protobuf.rs"]
mod otlp_protobuf;
mod policy;
mod recognition;
mod telemetry;
mod text;

const USAGE: &str = "usage: fuzz [--minutes N] [--seed N] [--target NAME]";
/// The number of inputs between two looks at the clock.
const N_INPUTS: u64 = 50;

type Check = dyn Fn(&[u8]) -> Result<(), String>;

/// A part that reads hostile bytes.
struct Target {
    name: &'static str,
    /// Valid inputs.
    examples: Vec<Vec<u8>>,
    /// Bytes that often change the meaning of an input.
    tokens: &'static [&'static [u8]],
    /// Returns the property that an input breaks. A panic breaks one too.
    check: Box<Check>,
}

struct Options {
    duration: Duration,
    seed: u64,
    target: Option<String>,
}

fn main() -> ExitCode {
    let options = match options(env::args().skip(1)) {
        Ok(options) => options,
        Err(message) => {
            println!("error: {message}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let mut targets = vec![
        ledger::target(),
        policy::target(),
        recognition::target(),
        telemetry::json_target(),
        telemetry::protobuf_target(),
        text::safety_target(),
        text::redaction_target(),
    ];
    targets.retain(|target| options.target.as_ref().is_none_or(|name| name == target.name));
    println!("seed {}", options.seed);
    let n_targets = u32::try_from(targets.len()).unwrap_or(u32::MAX).max(1);
    let are_all_sound =
        targets.iter().all(|target| fuzz(target, options.duration / n_targets, options.seed));
    if are_all_sound { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn options(mut args: impl Iterator<Item = String>) -> Result<Options, String> {
    let seed = SystemClock.now().duration_since(Timestamp::UNIX_EPOCH).as_secs();
    let mut options =
        Options { duration: Duration::from_secs(60), seed: seed.unsigned_abs(), target: None };
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
            "--target" => options.target = Some(value),
            _ => return Err(format!("unknown option `{arg}`")),
        }
    }
    Ok(options)
}

/// Checks random inputs until the time is over. Returns whether the properties held.
fn fuzz(target: &Target, duration: Duration, seed: u64) -> bool {
    let deadline = Deadline::after(duration);
    let mut dice = Dice::new(seed);
    let (mut n_inputs, mut n_bytes) = (0, 0);
    while !deadline.remaining().is_zero() {
        for _ in 0..N_INPUTS {
            let mut input = dice.pick(&target.examples).clone();
            for _ in 0..=dice.skewed(1, 32) {
                mutate(&mut input, target.tokens, &mut dice);
            }
            n_inputs += 1;
            n_bytes += input.len();
            if check(target, &input).is_err() {
                let input = shortest(input, |input| check(target, input).is_err());
                let problem = check(target, &input).err().unwrap_or_default();
                println!("{}: {problem} in input {n_inputs}", target.name);
                println!("b\"{}\"", input.escape_ascii());
                return false;
            }
        }
    }
    println!("{}: {n_inputs} inputs with {n_bytes} bytes", target.name);
    true
}

fn check(target: &Target, input: &[u8]) -> Result<(), String> {
    let checked = catch_unwind(AssertUnwindSafe(|| (target.check)(input)));
    checked.unwrap_or_else(|_| Err("a panic".to_owned()))
}
