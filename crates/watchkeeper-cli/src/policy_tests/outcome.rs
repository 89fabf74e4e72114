use std::path::{Path, PathBuf};

use thiserror::Error;
use watchkeeper_core::{
    author::make_safe,
    embed::{Registry, UnknownKind},
};

use crate::{
    output::{quoted_path, safe_path},
    recorded::ReadError,
};

/// Options of a test run.
pub(crate) struct Setup<'a> {
    pub(crate) registry: &'a Registry,
    /// Home folder of the user, if it is known.
    pub(crate) home: Option<&'a Path>,
    /// Policy of `--policy`.
    pub(crate) policy: Option<&'a Path>,
    /// Part of the names of the tests to run.
    pub(crate) filter: Option<&'a str>,
    /// `true` writes the actual findings into scenarios.
    pub(crate) update: bool,
    pub(crate) styled: bool,
}

impl Setup<'_> {
    /// Returns `true` if a test of this name runs.
    pub(super) fn includes(&self, name: &str) -> bool {
        self.filter.is_none_or(|part| name.contains(part))
    }
}

/// Results of the tests of a file.
#[derive(Debug)]
pub(crate) struct TestResults {
    pub(crate) results: Vec<TestResult>,
    /// Warnings about the file and its policy, rendered for people.
    pub(crate) warnings: String,
}

/// Result of one test.
#[derive(Debug)]
pub(crate) struct TestResult {
    pub(crate) name: String,
    pub(crate) outcome: TestOutcome,
}

#[derive(Debug)]
pub(crate) enum TestOutcome {
    Passed,
    /// The actual findings were written into the file.
    Updated,
    /// The test failed, with the difference rendered for people.
    Failed(String),
}

/// The tests of a file did not run.
#[derive(Debug, Error)]
pub(crate) enum TestsError {
    /// The file or its policy has mistakes.
    #[error("{rendered}")]
    Invalid {
        /// All diagnostics, rendered for people.
        rendered: String,
    },
    #[error("{} does not exist", quoted_path(.0))]
    Missing(PathBuf),
    #[error("{} is a folder; name its files", quoted_path(.0))]
    Folder(PathBuf),
    #[error("{} does not exist; {} tests it", quoted_path(.policy), quoted_path(.tests))]
    MissingPolicy { policy: PathBuf, tests: PathBuf },
    #[error("cannot read {}", quoted_path(.path))]
    Read { path: PathBuf, source: std::io::Error },
    #[error("cannot write {}", quoted_path(.path))]
    Write { path: PathBuf, source: std::io::Error },
    #[error("{}:{line}: cannot read {}", safe_path(.tests), quoted_path(.session))]
    Session { tests: PathBuf, line: usize, session: PathBuf, source: SessionError },
}

/// The recorded session of a test cannot be read.
#[derive(Debug, Error)]
pub(crate) enum SessionError {
    #[error("no such file")]
    Missing,
    #[error("{}", make_safe(&.0.to_string()))]
    UnknownSource(UnknownKind),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("{0} of its lines cannot be read")]
    SkippedLines(u64),
}
