//! Fits the weights and the level of the kind `no-progress` to labelled sessions.
//!
//! ```text
//! cargo run --release -p watchkeeper-benches --example fit -- DIR LABELS
//! ```
//!
//! `DIR` is a folder of recorded sessions, and `LABELS` the table of their labels, as
//! `watchkeeper tune --labels` reads it. The program tries all weights of a grid, prints the best
//! ones beside those of the detector, and validates them: for each folder of sessions, the weights
//! that are best for all other folders are applied to this one. Sessions that have something in
//! common, such as a repository or a model, belong into one folder.

mod candidate;
mod sessions;
mod validation;

use std::{
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use clap::Parser;

use crate::{
    candidate::{Candidate, Score},
    validation::validate,
};

/// Fit the kind `no-progress` to labelled sessions
#[derive(Debug, Parser)]
struct Args {
    /// Folder of the sessions
    sessions: PathBuf,

    /// Table of the labels, with tab-separated columns
    labels: PathBuf,

    /// Share of the reports that have to be due
    #[arg(long, value_name = "SHARE", default_value_t = 0.95)]
    precision: f64,
}

#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Output(#[from] io::Error),
    #[error("{path}: {source}")]
    Labels { path: PathBuf, source: Box<dyn std::error::Error> },
    #[error("{path}: {source}")]
    Session { path: PathBuf, source: Box<dyn std::error::Error> },
    #[error("the sources are invalid: {0}")]
    Registry(#[from] watchkeeper_core::embed::RegistryError),
    #[error("no weights reach a precision of {0}; lower --precision, or label more sessions")]
    NoCandidate(f64),
}

fn main() -> ExitCode {
    match Args::parse().run(&mut io::stdout().lock()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "error: {error}");
            ExitCode::FAILURE
        }
    }
}

impl Args {
    fn run(&self, out: &mut dyn Write) -> Result<(), Error> {
        let sessions = sessions::read(&self.sessions, &self.labels)?;
        let shipped = Candidate::SHIPPED;
        let best = candidate::best(&sessions, self.precision);
        let (best, score) = best.ok_or(Error::NoCandidate(self.precision))?;
        writeln!(out, "{:10} {shipped}: {}", "shipped", Score::of(&shipped, &sessions))?;
        writeln!(out, "{:10} {best}: {score}", "best")?;
        let validated = validate(&sessions, self.precision);
        writeln!(out, "{:10} {}", "validated", validated.total)?;
        for (folder, candidate, score) in &validated.folders {
            writeln!(out, "  {}: {candidate}: {score}", folder.display())?;
        }
        Ok(())
    }
}
