use std::{
    collections::BTreeSet,
    fmt, io,
    path::{Path, PathBuf},
};

use jiff::civil::Date;
use thiserror::Error;
use toml::{Spanned, de::DeValue};
use tracing::{debug, info};
use watchkeeper_core::{
    author::{Labels, grouped, make_safe},
    embed::{EngineConfig, LabelRule, NamedDetector, Prices, Registry, Routes},
};

use crate::{
    builtin::{BUILTIN_DEFAULT, builtin},
    coverage,
    diagnostic::{Diagnostic, DiagnosticLevel, hide_foreign, render_diagnostics},
    diagnostic_list::DiagnosticList,
    effective::Effective,
    effort::Effort,
    extends::Reading,
    files::{Files, SourceFile},
    heartbeat::Heartbeat,
    known_labels::KnownLabels,
    layers::Layers,
    limits::{MAX_COMPARED, MAX_DETECTORS, MAX_ENTRIES},
    lists,
    match_tracker::MatchTracker,
    read_file::{ResolvedFile, read_file, resolve_file},
    reader::{Reader, Variables},
    settings::MonitorOptions,
    sinks::NamedSink,
    tree::Table,
};

/// The target of this crate's `tracing` events.
const TARGET: &str = "watchkeeper::policy";

/// Reads policies and their tests.
///
/// ```
/// use std::{fs, path::Path};
///
/// use watchkeeper_core::embed::Registry;
/// use watchkeeper_policy::Loader;
///
/// let registry = Registry::linked()?;
/// let read_file = |path: &Path| fs::read_to_string(path);
/// let loaded = Loader::new(&registry, &read_file).load(Path::new("policy.toml"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy)]
pub struct Loader<'a> {
    registry: &'a Registry,
    reading: Reading<'a>,
    environment: Option<Variables<'a>>,
    today: Option<Date>,
    home: Option<&'a Path>,
    has_effective: bool,
}

impl fmt::Debug for Loader<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Loader").finish_non_exhaustive()
    }
}

/// The result of reading a policy.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Loaded {
    /// The policy; `None` if any of the diagnostics is an error.
    pub policy: Option<Policy>,
    /// The errors and warnings, ordered by file and position.
    pub diagnostics: Vec<Diagnostic>,
    /// The files that were read: the policy itself, then the files that it
    /// extends, in the order of `extends`.
    pub files: Vec<SourceFile>,
    /// The files that it extends and that could not be read.
    pub unreadable: Vec<PathBuf>,
}

impl Loaded {
    /// Returns the policy, or all diagnostics if one of them is an error.
    pub fn into_policy(self) -> Result<Policy, InvalidPolicy> {
        let Self { policy, diagnostics, files, .. } = self;
        policy.ok_or(InvalidPolicy { diagnostics, files })
    }
}

/// A policy that cannot be used. The `Display` form shows every diagnostic with
/// its source lines.
#[derive(Debug, Error)]
#[error("{}", render_diagnostics(.diagnostics, .files, false))]
#[non_exhaustive]
pub struct InvalidPolicy {
    /// The errors and warnings, ordered by file and position.
    pub diagnostics: Vec<Diagnostic>,
    /// The files that the diagnostics refer to.
    pub files: Vec<SourceFile>,
}

/// Renders all diagnostics of a policy for a person, each with its source lines.
/// `styled` adds ANSI colors.
pub fn render(loaded: &Loaded, styled: bool) -> String {
    render_diagnostics(&loaded.diagnostics, &loaded.files, styled)
}

/// A policy, ready to run.
#[non_exhaustive]
pub struct Policy {
    /// The options of `[monitor]`.
    pub monitor: MonitorOptions,
    /// The labels of every finding.
    pub labels: Labels,
    /// The labels of the findings of some sessions.
    pub label_rules: Vec<LabelRule>,
    /// The prices of models.
    pub prices: Prices,
    /// The enabled detectors, ordered by name. A detector that overrides change
    /// occurs once for each combination of matching overrides.
    pub detectors: Vec<NamedDetector>,
    /// The enabled sinks, ordered by name.
    pub sinks: Vec<NamedSink>,
    /// The routes, in the order of the policy, and the silences that have not ended.
    pub routes: Routes,
    /// The requests that show that the monitor works.
    pub heartbeat: Option<Heartbeat>,
    /// Records which exceptions and overrides match recorded sessions.
    pub match_tracker: MatchTracker,
    /// A warning about findings that no sink receives, for programs that deliver findings.
    pub undelivered: Option<Diagnostic>,
    /// The merged policy as text, with the origin of every value. Empty if the loader
    /// [leaves it out](Loader::without_effective).
    pub effective: Effective,
    /// The files that were read, without built-in ones.
    pub files: Vec<PathBuf>,
}

impl fmt::Debug for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Policy({} detectors, {} sinks)", self.n_detectors(), self.sinks.len())
    }
}

impl Policy {
    /// Returns the number of enabled detectors. A detector counts once, however
    /// many overrides change it.
    pub fn n_detectors(&self) -> usize {
        let ids: BTreeSet<&str> = self.detectors.iter().map(|it| &*it.id).collect();
        ids.len()
    }

    /// Returns the engine's configuration, apart from the detectors.
    pub fn engine_config(&self) -> EngineConfig {
        EngineConfig {
            labels: self.labels.clone(),
            label_rules: self.label_rules.clone(),
            prices: self.prices.clone(),
            session_expiry: self.monitor.session_expiry.get(),
            max_sessions: self.monitor.max_sessions,
            ..EngineConfig::default()
        }
    }
}

impl<'a> Loader<'a> {
    /// Creates a loader for the kinds in `registry`. `read_file` reads policies,
    /// tests and the files of secrets.
    ///
    /// Without [`environment`](Self::environment) the loader does not look up
    /// secrets, without [`today`](Self::today) no exception expires, and without
    /// [`home`](Self::home) a path that begins with `~/` is an error.
    pub fn new(registry: &'a Registry, read_file: &'a dyn Fn(&Path) -> io::Result<String>) -> Self {
        let reading = Reading { read_file, resolve: None };
        Self { registry, reading, environment: None, today: None, home: None, has_effective: true }
    }

    /// Creates a loader that reads the files of this machine.
    pub fn of_files(registry: &'a Registry) -> Self {
        Self::new(registry, &read_file).resolve(&resolve_file)
    }

    /// Sets the function that follows links, and finds out to whom a file belongs. A policy then
    /// extends only files in its own folder. A trusted policy also extends others, by absolute
    /// paths.
    ///
    /// Without this method, paths are compared as texts, and all files are trusted.
    #[must_use]
    pub fn resolve(self, resolve: &'a dyn Fn(&Path) -> io::Result<ResolvedFile>) -> Self {
        Self { reading: Reading { resolve: Some(resolve), ..self.reading }, ..self }
    }

    /// Enables the lookup of secrets, both in `variables` and in files.
    ///
    /// A policy that was loaded without this method can be checked but its sinks
    /// cannot deliver if they use a secret.
    #[must_use]
    pub fn environment(self, variables: Variables<'a>) -> Self {
        Self { environment: Some(variables), ..self }
    }

    /// Sets the current date, in UTC. Exceptions with an earlier or equal
    /// `expires` are ignored, with a warning.
    #[must_use]
    pub fn today(self, date: Date) -> Self {
        Self { today: Some(date), ..self }
    }

    /// Sets the home folder of the user, which replaces `~` at the start of paths.
    #[must_use]
    pub fn home(self, folder: Option<&'a Path>) -> Self {
        Self { home: folder, ..self }
    }

    /// Leaves [`Policy::effective`] empty, which takes almost half of the time of loading a policy.
    #[must_use]
    pub fn without_effective(self) -> Self {
        Self { has_effective: false, ..self }
    }

    /// Reads the policy in a file, or the [built-in policy](BUILTIN_DEFAULT) if
    /// `path` is its name.
    pub fn load(&self, path: &Path) -> Loaded {
        let mut files = Files::default();
        let mut found = DiagnosticList::default();
        let layers = Layers::find(self.reading, path, &mut files, &mut found);
        let mut policy = self.read(&layers, &files, &mut found);
        if let Some(undelivered) = policy.as_mut().and_then(|it| it.undelivered.as_mut()) {
            undelivered.settle(&files);
        }
        let left_out = found.left_out();
        let mut diagnostics = found.settled(&files);
        hide_foreign(&mut files, path, &mut diagnostics);
        diagnostics.sort_by_key(|it| (it.file, it.span.start));
        diagnostics.extend(left_out);
        let has_errors = has_errors(&diagnostics);
        let (files, unreadable) = files.into_files();
        for file in &files {
            let file_path = make_safe(&file.path.display().to_string());
            debug!(target: TARGET, path = file_path, bytes = file.text.len(), "read a policy file");
        }
        let mut policy = policy.filter(|_| !has_errors);
        if let Some(policy) = &mut policy {
            let read = files.iter().map(|file| &file.path).filter(|path| builtin(path).is_none());
            policy.files = read.cloned().collect();
        }
        let path = make_safe(&path.display().to_string());
        match &policy {
            Some(policy) => info!(
                target: TARGET,
                file = path,
                layers = files.len(),
                detectors = policy.n_detectors(),
                sinks = policy.sinks.len(),
                routes = policy.routes.len(),
                diagnostics = diagnostics.len(),
                "policy loaded"
            ),
            None => info!(
                target: TARGET,
                file = path,
                diagnostics = diagnostics.len(),
                "policy is invalid"
            ),
        }
        Loaded { policy, diagnostics, files, unreadable }
    }

    /// Reads the built-in policy.
    pub fn load_builtin(&self) -> Loaded {
        self.load(Path::new(BUILTIN_DEFAULT))
    }

    /// Reads a file with the function that the caller passed.
    pub(crate) fn read_file(&self, path: &Path) -> io::Result<String> {
        (self.reading.read_file)(path)
    }

    pub(crate) fn reader<'r>(
        &self,
        files: &'r Files,
        diagnostics: &'r mut DiagnosticList,
    ) -> Reader<'r>
    where
        'a: 'r,
    {
        Reader {
            registry: self.registry,
            read_file: self.reading.read_file,
            environment: self.environment,
            today: self.today,
            home: self.home,
            files,
            diagnostics,
            labels: KnownLabels::default(),
            tags: BTreeSet::new(),
            n_compared: MAX_COMPARED,
            effort: Effort::default(),
        }
    }

    fn read(
        &self,
        layers: &Layers,
        files: &Files,
        diagnostics: &mut DiagnosticList,
    ) -> Option<Policy> {
        let mut table = layers.merge(files, diagnostics)?;
        debug!(target: TARGET, layers = layers.len(), "merged the layers of the policy");
        if !has_few_entries(&table, diagnostics) || !lists::expand(&mut table, files, diagnostics) {
            return None;
        }
        let effective = self.has_effective.then(|| Effective::new(&table, files, self.registry));
        let mut match_tracker = MatchTracker::default();
        let mut reader = self.reader(files, diagnostics);
        table.remove("version");
        let mut secrets = reader.secrets(table.remove("secrets"));
        let monitor = reader.monitor(table.remove("monitor"), &mut secrets);
        let (labels, label_rules) = reader.labels(table.remove("labels"));
        let prices = reader.prices(table.remove("prices"));
        let detectors = table.remove("detectors");
        // Includes entries that are not tables: they have an error of their own.
        let detector_ids = detectors.as_ref().and_then(|it| it.get_ref().as_table());
        let detector_ids: BTreeSet<String> =
            detector_ids.into_iter().flatten().map(|(id, _)| id.get_ref().to_string()).collect();
        let mut entries = reader.entries(detectors);
        let overrides =
            reader.overrides(table.remove("overrides"), &detector_ids, &mut match_tracker);
        let inhibitions = reader.inhibitions(&mut entries, &detector_ids);
        let mut detectors = Vec::new();
        for (id, entry) in entries {
            if reader.is_full() || reader.effort.is_exceeded() {
                return None;
            }
            if MAX_DETECTORS < detectors.len() {
                let message = format!("overrides make more than {MAX_DETECTORS} detectors");
                let note = "each combination of the overrides of a detector counts";
                reader.push(Diagnostic::error(id.span(), message).note(note));
                return None;
            }
            let built = reader.detector_and_overridden(&id, entry, &overrides, &mut match_tracker);
            detectors.extend(built);
        }
        reader.inhibit(&mut detectors, &inhibitions);
        let routes_span = table.get("routes").map(Spanned::span);
        let mut sink_names = Vec::new();
        let mut sinks = Vec::new();
        for (id, entry) in reader.entries(table.remove("sinks")) {
            let (name, sink) = reader.sink(id, entry, &mut secrets);
            sink_names.push(name);
            sinks.extend(sink);
        }
        if reader.is_full() || reader.effort.is_exceeded() {
            return None;
        }
        let routes = reader.routes(table.remove("routes"), &detector_ids, &sink_names);
        let heartbeat = reader.heartbeat(table.remove("heartbeat"), &mut secrets);
        let silences = reader.silences(table.remove("silences"), &detector_ids);
        let n_patterns = coverage::n_patterns(&routes);
        let undelivered = reader
            .may_compare(n_patterns, detectors.iter().map(|it| &*it.id))
            .then(|| coverage::undelivered(&detectors, &routes, &sink_names))
            .flatten()
            .map(|undelivered| undelivered.warning(routes_span.unwrap_or(0..0)));
        reader.diagnostics.extend(match_tracker.covered_exceptions(files));
        match_tracker.settle(files);
        reader.warn_unused(&secrets);
        reader.diagnostics.extend(reader.labels.warnings());
        reader.reject_sections(&table);
        if detector_ids.is_empty() && !reader.diagnostics.has_errors() {
            let message = "the policy has no detectors, so it reports nothing";
            let note =
                format!("add `extends = [{BUILTIN_DEFAULT:?}]` to use the built-in detectors");
            reader.push(Diagnostic::warning(0..0, message).note(note));
        }
        Some(Policy {
            monitor,
            labels,
            label_rules,
            prices,
            detectors,
            sinks,
            routes: Routes::new(routes, silences),
            heartbeat,
            match_tracker,
            undelivered,
            effective: effective.unwrap_or_default(),
            files: Vec::new(),
        })
    }
}

/// Returns whether no section has too many entries, and reports those that have.
fn has_few_entries(policy: &Table<'_>, diagnostics: &mut DiagnosticList) -> bool {
    let mut has_few = true;
    for (section, max) in [
        ("detectors", MAX_DETECTORS),
        ("labels", MAX_ENTRIES),
        ("lists", MAX_ENTRIES),
        ("overrides", MAX_ENTRIES),
        ("prices", MAX_ENTRIES),
        ("routes", MAX_ENTRIES),
        ("secrets", MAX_ENTRIES),
        ("silences", MAX_ENTRIES),
        ("sinks", MAX_ENTRIES),
    ] {
        let Some((key, value)) = policy.get_key_value(section) else { continue };
        let n = match value.get_ref() {
            DeValue::Table(table) => table.len(),
            DeValue::Array(items) => items.len(),
            _ => continue,
        };
        if max < n {
            let (n, max) = (grouped(n as u64), grouped(max as u64));
            let message = format!("`{section}` has {n} entries, more than {max}");
            diagnostics.push(Diagnostic::error(key.span(), message));
            has_few = false;
        }
    }
    has_few
}

/// Returns whether any of the diagnostics is an error.
pub(crate) fn has_errors(diagnostics: &[Diagnostic]) -> bool {
    diagnostics.iter().any(|it| it.level == DiagnosticLevel::Error)
}
