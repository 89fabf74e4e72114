use std::{
    io,
    path::{Path, PathBuf},
};

use clap::Args;
use watchkeeper_core::{
    DedupCache, Engine, EngineConfig, Registry, SessionId, SignedDuration, make_safe,
};
use watchkeeper_policy::{DiagnosticLevel, Loader, MatchTracker, render};

use crate::{Global, Output, Status, counted::counted, loading, output::quoted_path, recorded};

/// Check a policy, and say what is wrong with it and where
///
/// With --against it also says which exceptions and overrides match nothing in
/// recorded sessions.
#[derive(Debug, Args)]
pub(crate) struct Validate {
    /// The policy [default: that of --policy, or the built-in one]
    file: Option<PathBuf>,

    /// Do not look for its secrets on this machine
    #[arg(long)]
    no_environment: bool,

    /// Take what is doubtful for wrong
    #[arg(long)]
    deny_warnings: bool,

    /// Session files, or folders of them, in which to look for what its exceptions
    /// and overrides are for
    #[arg(long, value_name = "PATH", num_args = 1..)]
    against: Vec<PathBuf>,
}

impl Validate {
    pub(crate) fn run(
        self,
        global: &Global,
        registry: &Registry,
        output: &mut Output<'_>,
    ) -> io::Result<Status> {
        let environment = |name: &str| std::env::var_os(name);
        let mut loader = Loader::new(registry, &loading::read_text).today(loading::today());
        if !self.no_environment {
            loader = loader.environment(&environment);
        }
        let path = self.file.or_else(|| global.policy.clone());
        let mut loaded = match &path {
            Some(path) => loader.load(path),
            None => loader.load_builtin(),
        };
        let mut held = String::new();
        if let Some(policy) = loaded.policy.as_ref().filter(|_| !self.against.is_empty()) {
            match hold_against(&policy.match_tracker, &self.against, registry) {
                Ok(n_sessions) => {
                    held = format!(", held against {}", counted(n_sessions, "session"));
                }
                Err(message) => return Ok(output.fail(&message)),
            }
            loaded.diagnostics.extend(policy.match_tracker.unmatched());
            loaded.diagnostics.sort_by_key(|it| (it.file, it.span.start));
        }
        if !loaded.diagnostics.is_empty() {
            writeln!(output.err, "{}", render(&loaded, output.styles.err))?;
        }
        let name = path
            .map_or("the built-in policy".to_owned(), |it| make_safe(&it.display().to_string()));
        let is_error =
            |level: &DiagnosticLevel| self.deny_warnings || *level == DiagnosticLevel::Error;
        let n_errors = loaded.diagnostics.iter().filter(|it| is_error(&it.level)).count();
        match &loaded.policy {
            Some(policy) if n_errors == 0 => {
                if !global.quiet {
                    writeln!(
                        output.err,
                        "{name} is sound: {}, {}, {}{held}",
                        counted(policy.n_detectors() as u64, "detector"),
                        counted(policy.sinks.len() as u64, "sink"),
                        counted(policy.routes.len() as u64, "route"),
                    )?;
                }
                Ok(Status::Success)
            }
            _ => {
                writeln!(output.err, "{name} is wrong: {}", counted(n_errors as u64, "mistake"))?;
                Ok(Status::BadPolicy)
            }
        }
    }
}

/// Looks in recorded sessions for what exceptions and overrides match. Gives
/// the number of sessions; the error is for a person, as it stands.
fn hold_against(
    match_tracker: &MatchTracker,
    paths: &[PathBuf],
    registry: &Registry,
) -> Result<u64, String> {
    if let Some(missing) = paths.iter().find(|it| !it.exists()) {
        return Err(format!("error: {} does not exist\n", quoted_path(missing)));
    }
    let config = EngineConfig {
        max_sessions: usize::MAX,
        session_expiry: SignedDuration::MAX,
        ..EngineConfig::default()
    };
    let mut engine = Engine::new(match_tracker.probes(), config);
    let (mut seen, mut findings) = (DedupCache::default(), Vec::new());
    let mut sessions: Vec<SessionId> = Vec::new();
    let mut n_sessions = 0;
    let (groups, _) = recorded::group(
        watchkeeper_sources::discover(paths, registry.sources.iter()),
        None,
        &registry.sources,
    );
    for group in groups {
        let read = group.read(None, &registry.sources, &mut seen, &mut |event| {
            engine.observe(&event, &mut findings);
            findings.clear();
            if !sessions.contains(&event.session) {
                sessions.push(event.session);
            }
        });
        read.map_err(|err| {
            let file: &Path = &group.files[0];
            format!("error: cannot read {}: {err}\n", quoted_path(file))
        })?;
        n_sessions += sessions.len() as u64;
        sessions.drain(..).for_each(|it| engine.forget(&it));
    }
    if n_sessions == 0 {
        return Err("error: there is no session in what --against names\n".to_owned());
    }
    Ok(n_sessions)
}
