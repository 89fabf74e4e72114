//! Compares the built-in policy with the loop guards of agents.
//!
//! ```text
//! cargo run -p watchkeeper-benches --example peers -- CASES --labelled DIR --labels FILE > docs/comparison.md
//! cargo run -p watchkeeper-benches --example peers -- --labelled DIR --labels FILE --list
//! ```
//!
//! `CASES` is a folder with files of events in Watchkeeper's own format, and `cases.tsv` with one
//! line per case. Its columns are the file, the expected result (`medium`, `low` or `quiet`), the
//! rule, the system that the case comes from, and a comment. Standard error lists the cases in
//! which Watchkeeper does not give the expected result, and those in which a guard disagrees with
//! its own tests.
//!
//! `--labelled` names a folder of recorded sessions, and `--labels` the table of their labels; see
//! [`Labels`](watchkeeper_testing::labels::Labels). Without `CASES`, only the section about these
//! sessions is printed. `--list` prints a line for each stretch that Watchkeeper finds or misses,
//! and for each false alarm.

mod cases;
mod error;
mod labelled;
mod page;
mod repeated_text;
mod reports;
mod rules;
mod session;
mod watchkeeper;

use std::{
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use clap::Parser;
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

use crate::{error::Error, watchkeeper::Watchkeeper};

/// Compare the built-in policy with the loop guards of agents
#[derive(Debug, Parser)]
struct Args {
    /// Folder of cases, with `cases.tsv`
    #[arg(required_unless_present = "labelled")]
    cases: Option<PathBuf>,

    /// Folder of labelled sessions
    #[arg(long, value_name = "DIR", requires = "labels")]
    labelled: Option<PathBuf>,

    /// Table of the labels
    #[arg(long, value_name = "FILE", requires = "labelled")]
    labels: Option<PathBuf>,

    /// List the labelled stretches that Watchkeeper finds and misses, and its false alarms
    #[arg(long, requires = "labelled", conflicts_with = "cases")]
    list: bool,

    /// Policy of Watchkeeper, in place of the built-in one
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
}

fn main() -> ExitCode {
    match Args::parse().run(&mut io::stdout().lock(), &mut io::stderr()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "error: {error}");
            ExitCode::FAILURE
        }
    }
}

impl Args {
    fn run(&self, out: &mut dyn Write, err: &mut dyn Write) -> Result<(), Error> {
        let policy = self.policy.as_deref();
        let mut scores = None;
        if let (Some(folder), Some(labels)) = (&self.labelled, &self.labels) {
            let (labels, watchkeeper) = (labelled::labels(labels)?, Watchkeeper::new(policy)?);
            if self.list {
                return labelled::list(folder, &labels, &watchkeeper, out);
            }
            scores = Some(labelled::compare(folder, &labels, &watchkeeper)?);
        }
        let page = match (&self.cases, &scores) {
            (Some(folder), scores) => {
                let (ours, theirs) = cases::compare(folder, policy, err)?;
                page::render(&ours, &theirs, scores.as_ref())
            }
            (None, Some(scores)) => labelled::render(scores),
            (None, None) => String::new(),
        };
        out.write_all(page.as_bytes())?;
        Ok(())
    }
}
