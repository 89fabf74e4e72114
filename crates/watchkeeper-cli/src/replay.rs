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
    author::{ClientTotal, DedupCache, SkippedLines},
    embed::{EngineConfig, Registry, Router, SourceEntry},
};
use watchkeeper_policy::{MatchTracker, Policy};
use watchkeeper_sources::{Discovery, OpenError};

use crate::{
    causes::with_causes,
    explain_request::ExplainRequest,
    output::{quoted_path, safe_path},
    recorded::{self, Group, ReadError, UnreadFile},
    report::{EpisodeRecorder, Report, SessionReport, SkippedFile, UsageRecorder, Window},
    session_paths::{SessionPathsError, require_all},
};

/// Recorded files, and how to read them.
pub(crate) struct Recording {
    pub(crate) found: Discovery,
    /// Source of all files; `None` recognizes each file.
    pub(crate) source: Option<&'static SourceEntry>,
    /// Paths from the command line. A file in a folder is counted if it contains no
    /// session; a named file is an error.
    pub(crate) named: Vec<PathBuf>,
}

/// Runs the detectors of a policy over all sessions of a recording, one session
/// after the other.
pub(crate) fn check(
    policy: Policy,
    registry: &Registry,
    recording: Recording,
    options: CheckOptions<'_>,
    bar: &ProgressBar,
) -> Report {
    let Recording { found, source, named } = recording;
    let CheckOptions { mut request, window, with_usage } = options;
    let named: BTreeSet<PathBuf> = named.into_iter().collect();
    let config = unlimited(policy.engine_config());
    let config = EngineConfig { follows_episodes: true, ..config };
    let mut report = Report { window, ..Report::default() };
    report.totals.files = found.files.len() as u64;
    for (folder, error) in found.unreadable {
        let reason = format!("cannot read the folder: {error}");
        let is_named = named.contains(&folder);
        report.skipped_files.push(SkippedFile { file: folder, reason, skipped_lines: 0, is_named });
    }
    for (file, agent) in found.unsupported {
        report.unsupported_files.entry(agent).or_default().push(file);
    }
    let (groups, without) = recorded::group(found.files, source, &registry.sources);
    for unread in without {
        add_unread(unread, &named, &mut report);
    }
    let groups = match &mut request {
        Some(request) => request.select(groups),
        None => groups,
    };
    let mut run = Run {
        engine: Engine::new(policy.detectors, config),
        episodes: EpisodeRecorder::default(),
        usage: with_usage.then(UsageRecorder::default),
        report,
    };
    let (mut seen, mut findings) = (DedupCache::default(), Vec::new());
    let (mut n_sessions, mut n_findings) = (0, 0);
    for group in groups {
        let mut sessions: BTreeSet<SessionId> = BTreeSet::new();
        let read = group.read(&registry.sources, &mut seen, &mut |event| {
            if let Some(request) = &mut request {
                request.before_event(&event, &mut run.engine);
            }
            run.engine.observe(&event, &mut findings);
            if let Some(request) = &mut request {
                request.after_event(&event, &mut run.engine, registry);
            }
            n_findings += findings.len();
            run.episodes.record(&mut findings, run.engine.take_updates());
            if let Some(usage) = &mut run.usage
                && let Some(facts) = run.engine.session(&event.session)
            {
                usage.observe(&event, facts);
            }
            if !sessions.contains(&event.session) {
                sessions.insert(event.session);
            }
        });
        n_sessions += sessions.len();
        // The totals of a client are of one session.
        let client_total = read.client_total.filter(|_| sessions.len() == 1);
        run.add_sessions(&group, sessions, read.skipped, client_total);
        for UnreadFile { file, error, skipped_lines } in read.failed {
            let is_named = named.contains(&file);
            let reason = format!("not read to its end: {}", with_causes(&error));
            let skipped = SkippedFile { file, reason, skipped_lines, is_named };
            run.report.skipped_files.push(skipped);
        }
        bar.inc(size_of(&group.files));
    }
    tracing::info!(
        target: "watchkeeper::engine",
        sessions = n_sessions,
        findings = n_findings,
        "recorded sessions checked"
    );
    run.report.sort();
    run.report
}

/// Options of [`check`].
pub(crate) struct CheckOptions<'a> {
    pub(crate) request: Option<&'a mut ExplainRequest>,
    pub(crate) window: Window,
    /// `true` to record the usage of each session by day and model.
    pub(crate) with_usage: bool,
}

/// Adds a file without a session to the report.
fn add_unread(unread: UnreadFile, named: &BTreeSet<PathBuf>, report: &mut Report) {
    let UnreadFile { file, error, skipped_lines } = unread;
    let is_named = named.contains(&file);
    let agent = match &error {
        ReadError::Open(OpenError::Unrecognized { agent, .. }) => Some(*agent),
        ReadError::NoSession => Some(watchkeeper_sources::unsupported_agent(&file)),
        _ => None,
    };
    match agent {
        Some(agent) if !is_named => {
            report.totals.files -= 1;
            match agent {
                Some(agent) => report.unsupported_files.entry(agent).or_default().push(file),
                None => report.other_files.push(file),
            }
        }
        _ => {
            report.totals.skipped_lines += skipped_lines;
            let reason = with_causes(&error);
            // The report names the file.
            let prefix = format!("{} ", safe_path(&file));
            let reason = reason.strip_prefix(&prefix).unwrap_or(&reason).to_owned();
            report.skipped_files.push(SkippedFile { file, reason, skipped_lines, is_named });
        }
    }
}

/// State of [`check`].
struct Run {
    engine: Engine,
    episodes: EpisodeRecorder,
    usage: Option<UsageRecorder>,
    report: Report,
}

impl Run {
    /// Moves the sessions of a group from the engine to the report.
    fn add_sessions(
        &mut self,
        group: &Group,
        sessions: BTreeSet<SessionId>,
        mut skipped: SkippedLines,
        client_total: Option<ClientTotal>,
    ) {
        for id in sessions {
            let open = self.engine.open_findings(&id);
            if let Some(facts) = self.engine.session(&id) {
                let findings = self.episodes.finish(facts, open);
                let mut session =
                    SessionReport::new(facts, group.files.clone(), findings, &skipped);
                if let Some(total) = client_total {
                    session.compare(total);
                }
                if let Some(usage) = &mut self.usage {
                    session.usage = usage.finish(facts);
                }
                self.report.add(session);
                // The lines of a file with several sessions are counted once.
                skipped = SkippedLines::default();
            }
            self.engine.forget(&id);
        }
    }
}

/// Returns a configuration that keeps every session until it is forgotten.
fn unlimited(config: EngineConfig) -> EngineConfig {
    EngineConfig { max_sessions: usize::MAX, session_expiry: SignedDuration::MAX, ..config }
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
        let read = group.read(&registry.sources, &mut seen, &mut |event| {
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
        watchkeeper_sources::discover(paths, registry.sources.iter()).files,
        None,
        &registry.sources,
    );
    for group in groups {
        let mut sessions: BTreeSet<SessionId> = BTreeSet::new();
        let read = group.read(&registry.sources, &mut seen, &mut |event| {
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
