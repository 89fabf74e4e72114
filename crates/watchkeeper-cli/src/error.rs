//! Failures of commands.

use std::{io, path::PathBuf};

use thiserror::Error as ThisError;
use watchkeeper_delivery::StateError;

use crate::{
    causes::with_causes,
    commands::{FactError, NewError, SilenceError, UiError},
    explain_request::ExplainError,
    installation::InstallError,
    live::{ConnectionError, Outcome, StandardInputError},
    loading::LoadError,
    logging::LoggingError,
    numbers::counted,
    output::{Status, quoted_path},
    policy_tests::TestsError,
    recorded::ReadError,
    replay::ProbeError,
    session_paths::SessionPathsError,
    similar::similar_hint,
    tune::LabelsFileError,
};

/// Failure of a command. Printed after `error: `, together with its causes.
#[derive(Debug, ThisError)]
pub(crate) enum Error {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    State(StateError),
    #[error(
        "process {process} follows the same paths; stop it, or choose another folder for its \
         state with --state-dir"
    )]
    StateInUse { process: String },
    #[error(transparent)]
    Policy(#[from] LoadError),
    #[error(transparent)]
    Logging(#[from] LoggingError),
    #[error(transparent)]
    SessionPaths(#[from] SessionPathsError),
    #[error(transparent)]
    Explain(#[from] ExplainError),
    #[error(transparent)]
    Tests(#[from] TestsError),
    #[error(transparent)]
    Probe(#[from] ProbeError),
    #[error(transparent)]
    New(#[from] NewError),
    #[error(transparent)]
    Labels(#[from] LabelsFileError),
    #[error(transparent)]
    Silence(#[from] SilenceError),
    #[error(transparent)]
    Fact(#[from] FactError),
    #[error(transparent)]
    Ui(#[from] UiError),
    #[error(transparent)]
    Install(#[from] InstallError),
    /// No detector, sink, source or key of a policy has this name.
    #[error(
        "unknown name {name}{}; `watchkeeper detectors` lists the kinds, and `watchkeeper policy` \
         the names of the policy",
        similar_hint(.similar.as_deref())
    )]
    UnknownName {
        /// The name, quoted.
        name: String,
        /// The most similar of the known names.
        similar: Option<String>,
    },
    #[error(
        "the policy has no active sink {name}{}; its sinks are: {}",
        similar_hint(.similar.as_deref()),
        if .known.is_empty() { "none".to_owned() } else { .known.join(", ") }
    )]
    UnknownSink {
        /// The name, quoted.
        name: String,
        /// The most similar of the known names.
        similar: Option<String>,
        known: Vec<String>,
    },
    #[error("`--since` is not before `--until`, so that no session can match")]
    EmptyPeriod,
    #[error("`--group-by` supports the formats `text`, `json` and `csv`")]
    GroupFormat,
    #[error("a page is for a browser; write it to a file with `--output report.html`")]
    PageOnTerminal,
    #[error("no policy tests found; name a file, or write `policy.test.toml` beside `policy.toml`")]
    NoTestFiles,
    #[error("--update rewrites scenarios (`.md`), and none of the files is one")]
    NothingToUpdate,
    #[error("no test name contains the text of --filter")]
    NoMatchingTest,
    #[error(
        "sinks lost {}{}{}",
        counted(*.lost, "finding"),
        sinks_list(.sinks),
        timeout_hint(*.timed_out)
    )]
    FindingsLost {
        lost: u64,
        /// The sinks that lost findings, each with its last error.
        sinks: Vec<String>,
        /// `true` if the shutdown timeout expired.
        timed_out: bool,
    },
    #[error("not all findings were delivered in time; see `shutdown_timeout`")]
    NotAllDelivered,
    #[error("the demo needs the built-in detectors")]
    DemoDetectors,
    #[error("the demo agent failed to write its session")]
    DemoAgent,
    #[error("cannot read the demo session")]
    DemoSession { source: ReadError },
    #[error("{} exists already; use --force to replace it", quoted_path(.path))]
    PolicyExists { path: PathBuf },
    #[error(
        "cannot write {}: the folder {} does not exist",
        quoted_path(.path),
        quoted_path(.folder)
    )]
    NoFolder { folder: PathBuf, path: PathBuf },
    #[error(
        "the report would replace {}, which is read; choose another --output",
        quoted_path(.0)
    )]
    OutputIsRead(PathBuf),
    #[error("no folder for the user's configuration: set HOME or XDG_CONFIG_HOME")]
    NoUserFolder,
    #[error("`-` is the only path: standard input and session files are not followed together")]
    StandardInputAndFiles,
    #[error(transparent)]
    StandardInput(#[from] StandardInputError),
    #[cfg(feature = "top")]
    #[error("--top draws on a terminal; standard input or standard output is none")]
    NoTerminal,
    #[cfg(feature = "top")]
    #[error("cannot draw on the terminal")]
    Screen(#[source] io::Error),
    #[error(transparent)]
    Connection(#[from] ConnectionError),
    #[error("sessions are read twice; write standard input to a file, and name the file")]
    StandardInputTwice,
    #[error(
        "the proposed policy extends {}, and cannot replace it; name another file",
        quoted_path(.path)
    )]
    TunedPolicy { path: PathBuf },
    #[error("--against takes recorded sessions, and {} is a policy; name the policy before --against", quoted_path(.path))]
    PolicyAgainst { path: PathBuf },
    #[error("cannot write {}", quoted_path(.path))]
    Write { path: PathBuf, source: io::Error },
    #[error("cannot read {}", quoted_path(.path))]
    Read { path: PathBuf, source: io::Error },
    #[error("{} is not valid TOML; `watchkeeper validate` shows the mistakes", quoted_path(.path))]
    NotToml { path: PathBuf },
    #[error("no policy file found; name a file")]
    NoPolicyFile,
}

fn sinks_list(sinks: &[String]) -> String {
    if sinks.is_empty() { String::new() } else { format!(": {}", sinks.join("; ")) }
}

fn timeout_hint(timed_out: bool) -> &'static str {
    if timed_out { "; see `shutdown_timeout`" } else { "" }
}

impl Error {
    /// Returns the error of a monitor that has lost findings, or has not delivered them in time.
    pub(crate) fn of_losses(outcome: Outcome) -> Option<Self> {
        if 0 < outcome.counts.lost {
            return Some(Self::FindingsLost {
                lost: outcome.counts.lost,
                sinks: outcome.losses,
                timed_out: !outcome.all_delivered,
            });
        }
        (!outcome.all_delivered).then_some(Self::NotAllDelivered)
    }

    /// Returns the exit status of the program.
    pub(crate) fn status(&self) -> Status {
        match self {
            Self::Policy(LoadError::Invalid { .. }) | Self::Tests(TestsError::Invalid { .. }) => {
                Status::InvalidPolicy
            }
            _ => Status::Failure,
        }
    }

    /// Returns the message and its causes, for people.
    pub(crate) fn render(&self) -> String {
        match self {
            // Rendered diagnostics begin with `error`, each with its location.
            Self::Policy(LoadError::Invalid { rendered, .. })
            | Self::Tests(TestsError::Invalid { rendered }) => rendered.clone(),
            _ => format!("error: {}", with_causes(self)),
        }
    }
}

impl From<StateError> for Error {
    fn from(err: StateError) -> Self {
        match err {
            StateError::InUse { process, .. } => Self::StateInUse { process },
            err => Self::State(err),
        }
    }
}
