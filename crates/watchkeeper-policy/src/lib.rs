//! Reads a watchkeeper policy, and says what is wrong with it and where.
//!
//! A policy is a TOML file, laid over the files that it extends. Reading never
//! stops at the first mistake: each one is a [`Diagnostic`] with its place in
//! its file, and all of them are found in one run. This crate opens no file
//! and reads no environment; whoever makes a [`Loader`] gives it both.
//!
//! # Architecture invariants
//!
//! * The files of a policy are laid end to end, and every span points into the
//!   whole, so a table merged from three files still knows where each of its
//!   keys stands. Only a finished [`Diagnostic`] is about one file.
//! * The text of a secret is put in at the last moment, just before its sink
//!   is built. What prints a policy never sees it.

mod detectors;
mod diagnostic;
mod effective;
mod exceptions;
mod files;
mod inhibitions;
mod layers;
mod match_tracker;
mod options;
mod overrides;
mod reader;
mod rounds;
mod routes;
mod schema;
mod secrets;
mod settings;
mod sinks;
mod test_file;
mod test_schema;
mod toml_text;
mod tree;

use std::{collections::BTreeSet, ffi::OsString, fmt, io, mem, path::Path};

use jiff::civil::Date;
use watchkeeper_core::{EngineConfig, Labels, NamedDetector, Prices, Registry, Route};

pub use crate::{
    diagnostic::{Diagnostic, DiagnosticLevel, Fix, render, render_diagnostics},
    effective::Effective,
    files::SourceFile,
    match_tracker::MatchTracker,
    rounds::Rounds,
    schema::schema,
    settings::MonitorOptions,
    sinks::NamedSink,
    test_file::{ExpectedFinding, LoadedTests, PolicyTest, PolicyTests, SessionFacts, Story},
    test_schema::test_schema,
};
use crate::{files::Files, layers::Layers, reader::Reader};

/// What the policy that is built in is called.
pub const BUILTIN_DEFAULT: &str = "builtin:default";

/// The text of the policy that is built in: its comments are its manual.
pub const BUILTIN: &str = include_str!("default.toml");

/// The text of a policy that is built in; `None` if none has this name.
pub fn builtin(name: &Path) -> Option<&'static str> {
    (name == Path::new(BUILTIN_DEFAULT)).then_some(BUILTIN)
}

/// Looks up a variable of the environment.
pub type Variables<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// Reads policies.
pub struct Loader<'a> {
    /// The kinds that a policy may name.
    pub registry: &'a Registry,
    /// Reads a file, for policies and for secrets.
    pub read_file: &'a dyn Fn(&Path) -> io::Result<String>,
    /// Finds the secrets of the environment. Without it no secret is looked up,
    /// also in no file, so a policy can be checked where its secrets are not; sinks that
    /// need one then cannot deliver.
    pub environment: Option<Variables<'a>>,
    /// The day, in UTC, by which exceptions expire. Without it none has expired.
    pub today: Option<Date>,
}

impl fmt::Debug for Loader<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Loader").finish_non_exhaustive()
    }
}

/// What came of reading a policy.
#[derive(Debug)]
pub struct Loaded {
    /// The policy; `None` if any of the diagnostics is an error.
    pub policy: Option<Policy>,
    /// What is wrong with it, in order of file and place.
    pub diagnostics: Vec<Diagnostic>,
    /// The files it was read from: first itself, then those it extends, in the
    /// order in which they are named.
    pub files: Vec<SourceFile>,
}

/// A policy, ready to run.
pub struct Policy {
    /// How the monitor runs.
    pub monitor: MonitorOptions,
    /// The labels of every finding.
    pub labels: Labels,
    /// What models cost.
    pub prices: Prices,
    /// The detectors that are on, in order of name. One that overrides change is
    /// here once for each way in which they do.
    pub detectors: Vec<NamedDetector>,
    /// The sinks that are on, in order of name.
    pub sinks: Vec<NamedSink>,
    /// Which findings go where, in the order of the policy.
    pub routes: Vec<Route>,
    /// Its exceptions and overrides, to see whether they are of use.
    pub match_tracker: MatchTracker,
    /// The policy as text, with the origin of every value.
    pub effective: Effective,
}

impl fmt::Debug for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Policy({} detectors, {} sinks)", self.n_detectors(), self.sinks.len())
    }
}

impl Policy {
    /// How many detectors are on, each counted once, however many overrides
    /// change it.
    pub fn n_detectors(&self) -> usize {
        let ids: BTreeSet<&str> = self.detectors.iter().map(|it| &*it.id).collect();
        ids.len()
    }

    /// What the engine needs to know besides the detectors.
    pub fn engine_config(&self) -> EngineConfig {
        EngineConfig {
            labels: self.labels.clone(),
            prices: self.prices.clone(),
            session_expiry: self.monitor.session_expiry.get(),
            max_sessions: self.monitor.max_sessions,
        }
    }
}

impl Loader<'_> {
    /// Reads the policy in a file, or the one that is [built
    /// in](BUILTIN_DEFAULT) if that is what `path` says.
    pub fn load(&self, path: &Path) -> Loaded {
        let mut files = Files::default();
        let mut diagnostics = Vec::new();
        let layers = Layers::find(self, path, &mut files, &mut diagnostics);
        let policy = self.read(&layers, &files, &mut diagnostics);
        for it in &mut diagnostics {
            it.settle(&files);
        }
        diagnostics.sort_by_key(|it| (it.file, it.span.start));
        let is_wrong = diagnostics.iter().any(|it| it.level == DiagnosticLevel::Error);
        Loaded { policy: policy.filter(|_| !is_wrong), diagnostics, files: files.into_files() }
    }

    /// Reads the policy that is used when none is given.
    pub fn load_builtin(&self) -> Loaded {
        self.load(Path::new(BUILTIN_DEFAULT))
    }

    fn read(
        &self,
        layers: &Layers,
        files: &Files,
        diagnostics: &mut Vec<Diagnostic>,
    ) -> Option<Policy> {
        let mut table = layers.merge(files, diagnostics)?;
        let effective = Effective::new(&table, files, self.registry);
        let mut reader = Reader::new(self, files, diagnostics);
        table.remove("version");
        let monitor = reader.monitor(table.remove("monitor"));
        let labels = reader.labels(table.remove("labels"));
        let prices = reader.prices(table.remove("prices"));
        let mut secrets = reader.secrets(table.remove("secrets"));
        let detectors = table.remove("detectors");
        // Also of those that are no tables, which are wrong enough.
        let detector_ids = detectors.as_ref().and_then(|it| it.get_ref().as_table());
        let detector_ids: Vec<String> =
            detector_ids.into_iter().flatten().map(|(id, _)| id.get_ref().to_string()).collect();
        let mut entries = reader.entries(detectors);
        let overrides = reader.overrides(table.remove("overrides"), &detector_ids);
        let inhibitions = reader.inhibitions(&mut entries, &detector_ids);
        let mut detectors = Vec::new();
        for (id, entry) in entries {
            detectors.extend(reader.detector_and_overridden(&id, entry, &overrides));
        }
        reader.inhibit(&mut detectors, &inhibitions);
        let mut sink_names = Vec::new();
        let mut sinks = Vec::new();
        for (id, entry) in reader.entries(table.remove("sinks")) {
            let (name, sink) = reader.sink(id, entry, &mut secrets);
            sink_names.push(name);
            sinks.extend(sink);
        }
        let routes = reader.routes(table.remove("routes"), &detector_ids, &sink_names);
        let mut match_tracker = mem::take(&mut reader.match_tracker);
        reader.warn_of_covered(&match_tracker);
        match_tracker.settle(files);
        reader.warn_of_unused(&secrets);
        reader.refuse_sections(&table);
        let is_sound = reader.diagnostics.iter().all(|it| it.level < DiagnosticLevel::Error);
        if detector_ids.is_empty() && is_sound {
            let message = "the policy has no detectors, so nothing is ever found";
            let note = format!("`extends = [{BUILTIN_DEFAULT:?}]` takes those that are built in");
            reader.push(Diagnostic::warning(0..0, message).note(note));
        }
        Some(Policy { monitor, labels, prices, detectors, sinks, routes, match_tracker, effective })
    }
}
