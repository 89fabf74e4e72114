//! Reads a Watchkeeper policy and reports every mistake in it with its location.
//!
//! A policy is a TOML file, merged with the files that it extends. Reading does
//! not stop at the first mistake: one run reports all of them, each as a
//! [`Diagnostic`] with a file and a span. The loader reads files and environment
//! variables only with functions that its caller passes, such as [`read_file`].
//!
//! # Architecture invariants
//!
//! * The texts of all files are concatenated, and every span is an offset into
//!   the whole. A table merged from three files therefore keeps the location of
//!   each of its keys. Only a finished [`Diagnostic`] refers to a single file.
//! * Secrets are inserted immediately before their sink is built. Code that
//!   prints a policy has no access to them.
//! * Any text is accepted or refused in bounded time: `limits` has the bounds.
//! * Imports point in one direction: text and spans (`files`, `diagnostic`, `scan`, `tree`),
//!   then `extends` and `layers`, then `reader`, then one file for each section, then `loader`,
//!   then `test_file`.

mod annotations;
mod builtin;
mod coverage;
mod detectors;
mod diagnostic;
mod diagnostic_list;
mod effective;
mod effort;
mod exception_filter;
mod exceptions;
mod extends;
mod files;
mod generated_events;
mod globs;
mod heartbeat;
mod inhibitions;
mod known_labels;
mod labels;
mod layers;
mod limits;
mod lists;
mod loader;
mod match_tracker;
mod migrate;
mod options;
mod overrides;
mod paths;
mod read_file;
mod reader;
mod reference;
mod required_version;
mod routes;
mod scan;
mod schema;
mod secrets;
mod settings;
mod silences;
mod sinks;
mod test_file;
mod test_schema;
mod toml_text;
mod tree;

pub use crate::{
    builtin::{BUILTIN, BUILTIN_DEFAULT, BUILTINS, builtin},
    diagnostic::{Diagnostic, DiagnosticLevel, Fix, closest, render_diagnostics},
    effective::Effective,
    files::SourceFile,
    generated_events::GeneratedEvents,
    heartbeat::Heartbeat,
    loader::{InvalidPolicy, Loaded, Loader, Policy, render},
    match_tracker::MatchTracker,
    migrate::{Migration, Renamed, migrate},
    read_file::{ResolvedFile, open_file, read_file, read_opened, resolve_file},
    reader::Variables,
    reference::{REFERENCE, reference, reference_names},
    schema::schema,
    settings::{Mode, MonitorOptions},
    sinks::NamedSink,
    test_file::{ExpectedFinding, LoadedTests, PolicyTest, PolicyTests, TestInput, TestSession},
    test_schema::test_schema,
    toml_text::{key as toml_key, string as toml_string},
};
