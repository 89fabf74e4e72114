//! Runs detectors over recorded sessions.

use std::{
    collections::{BTreeSet, HashMap},
    num::NonZeroUsize,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use indicatif::ProgressBar;
use thiserror::Error;
use watchkeeper_core::{
    Engine, Event, Finding, SessionId, SignedDuration, Timestamp,
    author::{ClientTotal, DedupCache, SkippedLines},
    embed::{EngineConfig, Kinds, NamedDetector, Registry, Routed, Router, SourceEntry},
};
use watchkeeper_policy::{MatchTracker, Policy};
use watchkeeper_sources::{Discovery, OpenError};

use crate::{
    causes::with_causes,
    output::{quoted_path, safe_path},
    pages::PageRecorder,
    recorded::{self, Group, GroupRead, MisdatedLines, ReadError, Step, UnreadFile},
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
    /// The named paths that do not exist.
    pub(crate) missing: Vec<PathBuf>,
}

/// The detectors of a policy, and the configuration of their engine.
#[derive(Clone)]
pub(crate) struct ConfiguredDetectors {
    pub(crate) detectors: Vec<NamedDetector>,
    pub(crate) config: EngineConfig,
}

impl From<Policy> for ConfiguredDetectors {
    fn from(policy: Policy) -> Self {
        Self { config: policy.engine_config(), detectors: policy.detectors }
    }
}

/// Receives the events of a recording together with the engine, for a command that needs
/// more than the report.
pub(crate) trait Observer {
    /// Returns the groups to read. `is_shared` is set if detectors count several sessions
    /// together.
    fn select(
        &mut self,
        groups: Vec<Group>,
        is_shared: bool,
        kinds: &Kinds<SourceEntry>,
    ) -> Vec<Group>;

    /// Called before the engine observes an event.
    fn before_event(&mut self, event: &Event, engine: &mut Engine);

    /// Called after the engine has observed an event.
    fn after_event(&mut self, event: &Event, engine: &mut Engine, registry: &Registry);
}

/// Options of [`check`].
pub(crate) struct CheckOptions<'a> {
    pub(crate) observer: Option<&'a mut dyn Observer>,
    pub(crate) window: Window,
    /// `true` to record the usage of each session by day and model.
    pub(crate) with_usage: bool,
    /// `true` to record the timeline of each session for a page.
    pub(crate) with_page: bool,
    /// Number of threads that read sessions.
    pub(crate) jobs: NonZeroUsize,
}

/// Runs the detectors of a policy over all sessions of a recording.
///
/// Sessions are read independently of each other on several threads, and reported in order.
/// If a detector counts several sessions together or there is an observer, one thread reads
/// them, in the first case in order of time.
pub(crate) fn check(
    configured: ConfiguredDetectors,
    registry: &Registry,
    recording: Recording,
    options: CheckOptions<'_>,
    bar: &ProgressBar,
) -> Report {
    let ConfiguredDetectors { detectors, config } = configured;
    let CheckOptions { mut observer, window, with_usage, with_page, jobs } = options;
    let Recording { found, source, named, missing } = recording;
    let named: BTreeSet<PathBuf> = named.into_iter().collect();
    let mut report = Report { window, ..Report::default() };
    report.unread_sub_agents = unread_sub_agents(&found.files, &named);
    let found = add_unread_paths(found, missing, &named, &mut report);
    let (groups, without) = recorded::group(found, source, &registry.sources);
    for unread in without {
        add_unread(unread, &named, &mut report);
    }
    let shared = detectors.iter().filter(|detector| detector.per.is_some());
    let shared: BTreeSet<Arc<str>> = shared.map(|detector| detector.id.clone()).collect();
    let is_shared = !shared.is_empty();
    let groups = match &mut observer {
        Some(observer) => observer.select(groups, is_shared, &registry.sources),
        None => groups,
    };
    let config = EngineConfig { follows_episodes: true, ..unlimited(config) };
    let new_run = |n_groups: usize| Run {
        engine: Engine::new(detectors.clone(), config.clone()),
        episodes: EpisodeRecorder::new(shared.clone()),
        usage: with_usage.then(|| UsageRecorder::new(window)),
        pages: with_page.then(|| PageRecorder::new(registry)),
        unfinished: vec![BTreeSet::new(); n_groups],
        n_groups: HashMap::new(),
        findings: Vec::new(),
        checked: Checked::default(),
    };
    let on_end = |group_idx: usize| {
        if !bar.is_hidden() {
            let files = groups[group_idx].files.iter();
            bar.inc(files.map(|file| recorded::size_of(file)).sum());
        }
    };
    if !is_shared && observer.is_none() && 1 < jobs.get() {
        let checked = check_in_parallel(&groups, &named, jobs, registry, &new_run, &on_end);
        if let Some(checked) = checked {
            return finish(report, checked);
        }
        bar.set_position(0);
    }
    let mut run = new_run(groups.len());
    let on_step = &mut |step| match step {
        Step::Event(group_idx, event) => {
            if let Some(observer) = &mut observer {
                observer.before_event(&event, &mut run.engine);
            }
            run.observe(group_idx, &event);
            if let Some(observer) = &mut observer {
                observer.after_event(&event, &mut run.engine, registry);
            }
        }
        Step::End(group_idx, read) => {
            run.end_group(group_idx, &groups[group_idx], read, &named);
            on_end(group_idx);
        }
    };
    if is_shared {
        recorded::read_merged(&groups, &registry.sources, on_step);
    } else {
        recorded::read_in_turn(&groups, &registry.sources, on_step);
    }
    finish(report, run.finish())
}

/// Checks groups on several threads. Returns `None` if there is a finding about the monitor
/// itself: it is about all sessions of one engine.
fn check_in_parallel<'a>(
    groups: &[Group],
    named: &BTreeSet<PathBuf>,
    jobs: NonZeroUsize,
    registry: &Registry,
    new_run: &dyn Fn(usize) -> Run<'a>,
    on_end: &dyn Fn(usize),
) -> Option<Checked> {
    let is_about_monitor = AtomicBool::new(false);
    let read = |run: &mut Run<'_>, group_idx: usize, seen: &mut DedupCache| {
        // The results of the remaining groups are not used.
        if is_about_monitor.load(Ordering::Relaxed) {
            return Checked::default();
        }
        let group = &groups[group_idx];
        let read = recorded::read_group(group, &registry.sources, seen, &mut |event| {
            run.observe(0, &event);
        });
        run.end_group(0, group, read, named);
        if run.episodes.has_finding_about_monitor() {
            is_about_monitor.store(true, Ordering::Relaxed);
        }
        std::mem::take(&mut run.checked)
    };
    let mut all = Checked::default();
    let on_result = |group_idx, checked| {
        all.add(checked);
        on_end(group_idx);
    };
    recorded::read_in_parallel(groups.len(), jobs, || new_run(1), read, on_result);
    (!is_about_monitor.into_inner()).then_some(all)
}

/// Adds the missing paths, the unreadable folders and the files of unsupported agents to
/// the report. Returns the other files.
fn add_unread_paths(
    found: Discovery,
    missing: Vec<PathBuf>,
    named: &BTreeSet<PathBuf>,
    report: &mut Report,
) -> Vec<PathBuf> {
    report.totals.files = found.files.len() as u64;
    let missing = missing.into_iter().map(|path| (path, "does not exist".to_owned()));
    let unreadable = found.unreadable.into_iter();
    let unreadable =
        unreadable.map(|(path, error)| (path, format!("cannot read the folder: {error}")));
    for (file, reason) in missing.chain(unreadable) {
        let is_named = named.contains(&file);
        report.skipped_files.push(SkippedFile::new(
            file,
            reason,
            &SkippedLines::default(),
            is_named,
        ));
    }
    for (file, agent) in found.unsupported {
        report.unsupported_files.entry(agent).or_default().push(file);
    }
    found.files
}

/// Returns the folders with the sub-agents of named files, if none of their files is
/// read.
fn unread_sub_agents(files: &[PathBuf], named: &BTreeSet<PathBuf>) -> Vec<PathBuf> {
    let folders = named.iter().filter_map(|file| watchkeeper_sources::sub_agent_folder(file));
    folders.filter(|folder| !files.iter().any(|file| file.starts_with(folder))).collect()
}

/// Adds a file without a session to the report.
fn add_unread(unread: UnreadFile, named: &BTreeSet<PathBuf>, report: &mut Report) {
    let UnreadFile { file, error, skipped } = unread;
    let is_named = named.contains(&file);
    let agent = match &error {
        _ if is_named => None,
        ReadError::Open(OpenError::Unrecognized { agent, .. }) => Some(*agent),
        ReadError::NoSession => Some(watchkeeper_sources::unsupported_agent(&file)),
        _ => None,
    };
    match agent {
        Some(agent) => {
            report.totals.files -= 1;
            match agent {
                Some(agent) => report.unsupported_files.entry(agent).or_default().push(file),
                None => report.other_files.push(file),
            }
        }
        None => {
            report.totals.skipped_lines += skipped.total();
            let reason = with_causes(&error);
            // The report names the file.
            let prefix = format!("{} ", safe_path(&file));
            let reason = reason.strip_prefix(&prefix).unwrap_or(&reason).to_owned();
            report.skipped_files.push(SkippedFile::new(file, reason, &skipped, is_named));
        }
    }
}

/// Results of checking groups, in their order.
#[derive(Default)]
struct Checked {
    /// Sessions that have ended.
    sessions: Vec<SessionReport>,
    /// Files that were not read to their end.
    skipped_files: Vec<SkippedFile>,
    misdated_files: Vec<(PathBuf, MisdatedLines)>,
    skipped_lines: u64,
    about_monitor: Vec<Finding>,
}

impl Checked {
    /// Adds the results of later groups.
    fn add(&mut self, later: Self) {
        self.sessions.extend(later.sessions);
        self.skipped_files.extend(later.skipped_files);
        self.misdated_files.extend(later.misdated_files);
        self.skipped_lines += later.skipped_lines;
        self.about_monitor.extend(later.about_monitor);
    }
}

/// Adds the results of all groups to a report.
fn finish(mut report: Report, checked: Checked) -> Report {
    report.totals.skipped_lines += checked.skipped_lines;
    report.skipped_files.extend(checked.skipped_files);
    report.misdated_files.extend(checked.misdated_files);
    report.about_monitor = checked.about_monitor;
    checked.sessions.into_iter().for_each(|session| report.add(session));
    tracing::info!(
        target: "watchkeeper::engine",
        sessions = report.totals.sessions,
        findings = report.totals.findings.total(),
        "recorded sessions checked"
    );
    report.sort();
    report
}

/// An engine that reads groups, and its results.
struct Run<'a> {
    engine: Engine,
    episodes: EpisodeRecorder,
    usage: Option<UsageRecorder>,
    pages: Option<PageRecorder<'a>>,
    /// Sessions of each group that has not ended.
    unfinished: Vec<BTreeSet<SessionId>>,
    /// Number of unfinished groups that contain each session.
    n_groups: HashMap<SessionId, usize>,
    /// Findings of one event.
    findings: Vec<Finding>,
    checked: Checked,
}

impl Run<'_> {
    fn observe(&mut self, group_idx: usize, event: &Event) {
        if let Some(pages) = &mut self.pages {
            pages.before_event(event, &mut self.engine);
        }
        self.engine.observe(event, &mut self.findings);
        if let Some(pages) = &mut self.pages {
            pages.after_event(event, &mut self.engine);
        }
        self.episodes.record(event.at, &mut self.findings, self.engine.take_updates());
        if let Some(usage) = &mut self.usage
            && let Some(facts) = self.engine.session(&event.session)
        {
            usage.observe(event, facts);
        }
        let sessions = &mut self.unfinished[group_idx];
        if !sessions.contains(&event.session) {
            sessions.insert(event.session.clone());
            *self.n_groups.entry(event.session.clone()).or_default() += 1;
        }
    }

    /// Moves the sessions of a group from the engine to the results, unless another
    /// group continues them.
    fn end_group(
        &mut self,
        group_idx: usize,
        group: &Group,
        read: GroupRead,
        named: &BTreeSet<PathBuf>,
    ) {
        let sessions = std::mem::take(&mut self.unfinished[group_idx]);
        // The totals of a client are of one session.
        let client_total = read.client_total.filter(|_| sessions.len() == 1);
        let mut skipped = read.skipped;
        for id in sessions {
            if let Some(n_groups) = self.n_groups.get_mut(&id)
                && 1 < *n_groups
            {
                *n_groups -= 1;
                continue;
            }
            self.n_groups.remove(&id);
            self.end_session(&id, group, &mut skipped, client_total);
        }
        self.checked.skipped_lines += skipped.total();
        self.checked.misdated_files.extend(read.misdated);
        for UnreadFile { file, error, skipped } in read.failed {
            let is_named = named.contains(&file);
            let reason = format!("not read to its end: {}", with_causes(&error));
            let skipped = SkippedFile::new(file, reason, &skipped, is_named);
            self.checked.skipped_files.push(skipped);
        }
    }

    /// Moves a session from the engine to the results. The lines of a file with several
    /// sessions are counted in the first one, which takes `skipped`.
    fn end_session(
        &mut self,
        id: &SessionId,
        group: &Group,
        skipped: &mut SkippedLines,
        client_total: Option<ClientTotal>,
    ) {
        let open = self.engine.open_findings(id);
        if let Some(facts) = self.engine.session(id) {
            let findings = self.episodes.finish(facts, open);
            let skipped = std::mem::take(skipped);
            let mut session = SessionReport::new(facts, group.files.clone(), findings, &skipped);
            let used = session.usage();
            if let Some(total) = client_total {
                session.compare(total);
            }
            if let Some(usage) = &mut self.usage {
                session.usage = usage.finish(facts, used, session.usage());
            }
            if let Some(pages) = &mut self.pages {
                session.page = pages.finish(facts);
            }
            self.checked.sessions.push(session);
        }
        self.engine.forget(id);
    }

    /// Returns the results after the last group.
    fn finish(mut self) -> Checked {
        let (shared, about_monitor) = self.episodes.finish_shared();
        self.checked.about_monitor = about_monitor;
        let sessions = &mut self.checked.sessions;
        let positions: HashMap<SessionId, usize> = match &shared[..] {
            [] => HashMap::new(),
            _ => sessions.iter().map(|it| it.session.clone()).zip(0..).collect(),
        };
        for episode in shared {
            if let Some(idx) = positions.get(&episode.finding.session) {
                sessions[*idx].add_shared(episode);
            }
        }
        self.checked
    }
}

/// Returns a configuration that keeps every session until it is forgotten.
fn unlimited(config: EngineConfig) -> EngineConfig {
    EngineConfig { max_sessions: usize::MAX, session_expiry: SignedDuration::MAX, ..config }
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
    let (mut findings, mut n_events, mut end) = (Vec::new(), 0, Timestamp::MIN);
    let (groups, without) = recorded::group(vec![file.to_owned()], None, &registry.sources);
    if let Some(unread) = without.into_iter().next() {
        return Err(unread.error);
    }
    for group in groups {
        let mut seen = DedupCache::default();
        let read = recorded::read_group(&group, &registry.sources, &mut seen, &mut |event| {
            n_events += 1;
            end = end.max(event.at);
            engine.observe(&event, &mut findings);
        });
        read.complete().map_err(|unread| unread.error)?;
    }
    let ids: Vec<String> = policy.sinks.iter().map(|sink| sink.id.clone()).collect();
    let mut router = Router::new(policy.routes, &ids);
    let mut routed: Vec<Routed> = findings.iter().flat_map(|it| router.route(it)).collect();
    routed.extend(router.advance(end));
    Ok((routed.into_iter().map(|routed| routed.finding).collect(), n_events))
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
        let read = recorded::read_group(&group, &registry.sources, &mut seen, &mut |event| {
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
