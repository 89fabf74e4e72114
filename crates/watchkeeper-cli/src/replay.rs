//! Runs detectors over recorded sessions.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use indicatif::ProgressBar;
use thiserror::Error;
use watchkeeper_core::{
    Engine, Finding, SessionId, SignedDuration,
    author::{DedupCache, SkippedLines},
    embed::{EngineConfig, Registry, Router, SourceEntry},
};
use watchkeeper_policy::{MatchTracker, Policy};

use crate::{
    causes::with_causes,
    explain_request::ExplainRequest,
    output::quoted_path,
    recorded::{self, Group, ReadError, UnreadFile},
    report::{Report, SessionReport, SkippedFile},
    session_paths::{SessionPathsError, require_all},
};

/// Recorded files, and how to read them.
pub(crate) struct Recording {
    pub(crate) files: Vec<PathBuf>,
    /// Source of all files; `None` recognizes each file.
    pub(crate) source: Option<&'static SourceEntry>,
    /// Paths from the command line. A file in a folder is skipped silently if it
    /// contains no session; a named file is reported.
    pub(crate) named: Vec<PathBuf>,
}

/// Runs the detectors of a policy over all sessions of a recording, one session
/// after the other.
pub(crate) fn check(
    policy: Policy,
    registry: &Registry,
    recording: Recording,
    mut request: Option<&mut ExplainRequest>,
    bar: &ProgressBar,
) -> Report {
    let Recording { files, source, named } = recording;
    let config = unlimited(policy.engine_config());
    let mut engine = Engine::new(policy.detectors, config);
    let mut seen = DedupCache::default();
    let mut report = Report::default();
    report.totals.files = files.len() as u64;
    let (groups, without) = recorded::group(files, source, &registry.sources);
    for UnreadFile { file, error, skipped_lines } in without {
        let is_named = named.contains(&file);
        if is_named || error.is_panic() {
            report.totals.skipped_lines += skipped_lines;
            let reason = with_causes(&error);
            report.skipped_files.push(SkippedFile { file, reason, skipped_lines, is_named });
        } else {
            report.totals.files -= 1;
        }
    }
    let groups = match &mut request {
        Some(request) => request.select(groups),
        None => groups,
    };
    let (mut n_sessions, mut n_findings) = (0, 0);
    for group in groups {
        let mut findings: Vec<Finding> = Vec::new();
        let mut sessions: BTreeSet<SessionId> = BTreeSet::new();
        let read = group.read(source, &registry.sources, &mut seen, &mut |event| {
            if let Some(request) = &mut request {
                request.before_event(&event, &mut engine);
            }
            engine.observe(&event, &mut findings);
            if let Some(request) = &mut request {
                request.after_event(&event, &mut engine, registry);
            }
            if !sessions.contains(&event.session) {
                sessions.insert(event.session);
            }
        });
        n_sessions += sessions.len();
        n_findings += findings.len();
        add_sessions(&group, sessions, findings, read.skipped, &mut engine, &mut report);
        for UnreadFile { file, error, skipped_lines } in read.failed {
            let is_named = named.contains(&file);
            let reason = format!("not read to its end: {}", with_causes(&error));
            report.skipped_files.push(SkippedFile { file, reason, skipped_lines, is_named });
        }
        bar.inc(size_of(&group.files));
    }
    tracing::info!(
        target: "watchkeeper::engine",
        sessions = n_sessions,
        findings = n_findings,
        "recorded sessions checked"
    );
    report
}

/// Returns a configuration that keeps every session until it is forgotten.
fn unlimited(config: EngineConfig) -> EngineConfig {
    EngineConfig { max_sessions: usize::MAX, session_expiry: SignedDuration::MAX, ..config }
}

/// Moves the sessions of a group from the engine to the report.
fn add_sessions(
    group: &Group,
    sessions: BTreeSet<SessionId>,
    mut findings: Vec<Finding>,
    mut skipped: SkippedLines,
    engine: &mut Engine,
    report: &mut Report,
) {
    for id in sessions {
        // The count of a finding dates from its emission; update it to the end.
        for (fingerprint, count) in engine.open_findings(&id) {
            let latest = findings.iter_mut().rfind(|it| it.fingerprint == fingerprint);
            if let Some(finding) = latest {
                finding.count = count;
            }
        }
        let (own, others) = findings.into_iter().partition(|it| it.session == id);
        findings = others;
        if let Some(facts) = engine.session(&id) {
            report.add(SessionReport::new(facts, group.files.clone(), own, &skipped));
            // The lines of a file with several sessions are counted once.
            skipped = SkippedLines::default();
        }
        engine.forget(&id);
    }
}

/// Returns the size of all readable files, in bytes.
pub(crate) fn size_of(files: &[PathBuf]) -> u64 {
    files.iter().filter_map(|file| fs::metadata(file).ok()).map(|it| it.len()).sum()
}

/// Runs the detectors of a policy over one session file. Returns the findings that
/// its routes deliver, and the number of events.
pub(crate) fn routed_findings(
    policy: Policy,
    registry: &Registry,
    file: &Path,
) -> Result<(Vec<Finding>, u64), ReadError> {
    let config = unlimited(policy.engine_config());
    let mut engine = Engine::new(policy.detectors, config);
    let (mut findings, mut n_events) = (Vec::new(), 0);
    let (groups, without) = recorded::group(vec![file.to_owned()], None, &registry.sources);
    if let Some(unread) = without.into_iter().next() {
        return Err(unread.error);
    }
    for group in groups {
        let mut seen = DedupCache::default();
        let read = group.read(None, &registry.sources, &mut seen, &mut |event| {
            n_events += 1;
            engine.observe(&event, &mut findings);
        });
        read.complete().map_err(|unread| unread.error)?;
    }
    let ids: Vec<String> = policy.sinks.iter().map(|sink| sink.id.clone()).collect();
    let mut router = Router::new(policy.routes, &ids);
    findings.retain(|finding| router.route(finding).into_iter().next().is_some());
    Ok((findings, n_events))
}

/// The sessions of `validate --against` cannot be read.
#[derive(Debug, Error)]
pub(crate) enum ProbeError {
    #[error(transparent)]
    Paths(#[from] SessionPathsError),
    #[error("cannot read {}", quoted_path(.file))]
    Read { file: PathBuf, source: ReadError },
    #[error("no session found in the paths of --against")]
    NoSession,
}

/// Tracks in recorded sessions which exceptions and overrides of a policy match.
/// Returns the number of sessions.
pub(crate) fn probe(
    match_tracker: &MatchTracker,
    paths: &[PathBuf],
    registry: &Registry,
) -> Result<u64, ProbeError> {
    require_all(paths)?;
    let mut engine = Engine::new(match_tracker.probes(), unlimited(EngineConfig::default()));
    let (mut seen, mut findings) = (DedupCache::default(), Vec::new());
    let mut n_sessions = 0;
    let (groups, _) = recorded::group(
        watchkeeper_sources::discover(paths, registry.sources.iter()),
        None,
        &registry.sources,
    );
    for group in groups {
        let mut sessions: BTreeSet<SessionId> = BTreeSet::new();
        let read = group.read(None, &registry.sources, &mut seen, &mut |event| {
            engine.observe(&event, &mut findings);
            findings.clear();
            if !sessions.contains(&event.session) {
                sessions.insert(event.session);
            }
        });
        read.complete()
            .map_err(|unread| ProbeError::Read { file: unread.file, source: unread.error })?;
        n_sessions += sessions.len() as u64;
        for session in &sessions {
            engine.forget(session);
        }
    }
    if n_sessions == 0 {
        return Err(ProbeError::NoSession);
    }
    Ok(n_sessions)
}
