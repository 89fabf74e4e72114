//! The check of recorded sessions, for programs that read the report themselves.

use std::path::PathBuf;

use indicatif::ProgressBar;
use serde_json::Value;
use thiserror::Error;
use watchkeeper_core::{Finding, Severity, Timestamp, embed::Registry, quote};
use watchkeeper_policy::Policy;

use crate::{
    recorded::available_threads,
    replay::{self, CheckOptions, Recording},
    report::{self, Window},
    session_paths::{default_folders, require_any},
};

/// Selects recorded sessions and their findings.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct RecordedSessions {
    /// Files and folders; `None` selects the session folders of all known agents on this
    /// machine, of which there may be none. The path `-` is standard input.
    pub paths: Option<Vec<PathBuf>>,
    /// The kind of source of all files; `None` recognizes each file.
    pub source: Option<String>,
    /// The start of the period, inclusive.
    pub since: Option<Timestamp>,
    /// The end of the period, exclusive.
    pub until: Option<Timestamp>,
    /// The lowest severity of the findings.
    pub min_severity: Option<Severity>,
}

/// The result of a check of recorded sessions.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RecordedReport {
    /// The report, as `check --format json` writes it.
    pub json: Value,
    /// The findings of all sessions, by severity and then in order of their sessions.
    pub findings: Vec<Finding>,
}

/// Recorded sessions that cannot be checked.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RecordedCheckError {
    /// There is no source of this kind.
    #[error("unknown source kind {}; known kinds: {}", quote(.kind), .known.join(", "))]
    #[non_exhaustive]
    UnknownSource {
        /// The kind.
        kind: String,
        /// The kinds of the linked sources.
        known: Vec<&'static str>,
    },
    /// None of the paths exists.
    #[error("none of the paths exists, the first is {}", quote(&.0.to_string_lossy()))]
    Missing(PathBuf),
    /// The report cannot be written.
    #[error("cannot write the report as JSON")]
    Json(#[source] serde_json::Error),
}

impl RecordedSessions {
    /// Runs the detectors of a policy over the sessions, like the command `check`.
    ///
    /// A path that is missing or cannot be read does not affect the other files; the report
    /// names the path. Returns an error if no path exists.
    pub fn check(
        self,
        policy: Policy,
        registry: &Registry,
    ) -> Result<RecordedReport, RecordedCheckError> {
        let Self { paths, source, since, until, min_severity } = self;
        let source = source.map(|kind| registry.sources.get(&kind)).transpose();
        let source = source.map_err(|err| RecordedCheckError::UnknownSource {
            kind: err.kind,
            known: err.known,
        })?;
        let paths = paths.unwrap_or_else(|| {
            let mut folders = default_folders(registry, source);
            folders.retain(|folder| folder.is_dir());
            folders
        });
        let missing = require_any(&paths)
            .map_err(|_| RecordedCheckError::Missing(paths.first().cloned().unwrap_or_default()))?;
        let existing = paths.iter().filter(|path| !missing.contains(path));
        let found = watchkeeper_sources::discover(existing, registry.sources.iter());
        let options = CheckOptions {
            observer: None,
            window: Window { since, until, min_severity },
            with_usage: false,
            with_page: false,
            jobs: available_threads(),
        };
        let recording = Recording { found, source, named: paths, missing };
        let bar = ProgressBar::hidden();
        let report = replay::check(policy.into(), registry, recording, options, &bar);
        let json = report::to_json(&report).map_err(RecordedCheckError::Json)?;
        Ok(RecordedReport { json, findings: report.into_findings() })
    }
}
