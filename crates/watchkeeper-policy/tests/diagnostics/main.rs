//! Rendered diagnostics of invalid policies.

mod any_text;
mod changes;
mod detectors;
mod exceptions;
mod hostile;
mod labels;
mod layers;
mod levels;
mod lists;
mod overrides;
mod paths;
mod routes;
mod settings;
mod silences;
mod sinks;
mod syntax;

use std::{
    ffi::OsString,
    io,
    path::{Path, PathBuf},
};

use jiff::civil::date;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use watchkeeper_core::{
    Context, Detector, DetectorKind, Event, Finding, InvalidOption, Sink, SinkKind, Unit,
    author::{Period, Secret, SinkError},
    embed::Registry,
};
use watchkeeper_policy::{Loaded, Loader, Variables, render};

/// A detector with levels in percent of a limit.
#[derive(Clone, Debug)]
struct Quiet;

#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "read, and not used")]
struct QuietOptions {
    of: Of,
    max: Period,
    /// An optional table.
    extra: Option<Extra>,
}

#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "read, and not used")]
struct Extra {
    depth: u8,
}

#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Of {
    Session,
    Turn,
}

watchkeeper_core::register!(Quiet);

impl DetectorKind for Quiet {
    const KIND: &'static str = "quiet";
    const DOCS: &'static str = "# quiet\n\nFinds quiet.\n";
    const CLASS: &'static str = "timeout";
    const UNIT: Unit = Unit::Percent;
    type Options = QuietOptions;

    fn new(_: QuietOptions) -> Result<Self, InvalidOption> {
        Ok(Self)
    }
}

impl Detector for Quiet {
    fn observe(&mut self, _: &Event, _: &mut Context<'_>) {}
}

/// A detector with levels in counts.
#[derive(Clone, Debug)]
struct Repeat;

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct RepeatOptions {
    same: Vec<String>,
    least: u8,
}

impl Default for RepeatOptions {
    fn default() -> Self {
        Self { same: vec!["tool".to_owned()], least: 2 }
    }
}

watchkeeper_core::register!(Repeat);

impl DetectorKind for Repeat {
    const KIND: &'static str = "repeat";
    const DOCS: &'static str = "# repeat\n\nFinds repeats.\n";
    const CLASS: &'static str = "runaway";
    type Options = RepeatOptions;

    fn new(options: RepeatOptions) -> Result<Self, InvalidOption> {
        if options.least < 2 {
            return Err(InvalidOption::new("least", "one call is no repeat; use 2 or more"));
        }
        if let Some(idx) = options.same.iter().position(String::is_empty) {
            return Err(InvalidOption::new("same", "an empty name matches no field").element(idx));
        }
        Ok(Self)
    }
}

impl Detector for Repeat {
    fn observe(&mut self, _: &Event, _: &mut Context<'_>) {}
}

/// A sink that drops findings.
#[derive(Debug)]
struct Hook;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "read, and not used")]
struct HookOptions {
    url: Secret,
    patience: Option<Period>,
    #[schemars(extend("format" = "path"))]
    key: Option<PathBuf>,
    #[schemars(extend("format" = "input-path"))]
    trusted: Option<PathBuf>,
}

watchkeeper_core::register_sink!(Hook);

impl SinkKind for Hook {
    const KIND: &'static str = "hook";
    const DOCS: &'static str = "# hook\n\nDelivers nowhere.\n";
    type Options = HookOptions;

    fn new(options: HookOptions) -> Result<Self, InvalidOption> {
        if options.url.expose().is_some_and(|it| !it.starts_with("https:")) {
            return Err(InvalidOption::new("url", "not an https address"));
        }
        if let Some(path) = options.trusted.filter(|path| path.ends_with("empty.pem")) {
            let reason = format!("no certificate in {}", path.display());
            return Err(InvalidOption::new("trusted", reason));
        }
        Ok(Self)
    }
}

impl Sink for Hook {
    fn deliver(&mut self, _: &Finding) -> Result<(), SinkError> {
        Ok(())
    }
}

/// Loads the first of the files as a policy.
fn load(files: &[(&str, &str)], environment: Option<Variables<'_>>) -> Loaded {
    let registry = Registry::linked().expect("no two kinds share a name");
    let read_file = |path: &Path| {
        let file = files.iter().find(|(name, _)| Path::new(name) == path);
        file.map(|(_, text)| (*text).to_owned())
            .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "no such file"))
    };
    let mut loader = Loader::new(&registry, &read_file).today(date(2027, 1, 1));
    if let Some(environment) = environment {
        loader = loader.environment(environment);
    }
    let loaded = loader.load(Path::new(files[0].0));
    let is_wrong = render(&loaded, false).contains("error: ");
    assert_eq!(loaded.policy.is_none(), is_wrong, "a policy or an error");
    loaded
}

fn environment(name: &str) -> Option<OsString> {
    match name {
        "URL" => Some("https://example.test/hook".into()),
        "TEXT" => Some("hunter2\"".into()),
        "EMPTY" => Some("".into()),
        _ => None,
    }
}

/// Returns the rendered diagnostics of a policy.
fn check(text: &str) -> String {
    let text = text.trim_start_matches('\n');
    check_files(&[("policy.toml", &format!("version = 1\n{text}"))])
}

fn check_files(files: &[(&str, &str)]) -> String {
    render(&load(files, Some(&environment)), false)
}

/// Returns the text of the effective policy.
fn effective(files: &[(&str, &str)]) -> String {
    let loaded = load(files, Some(&environment));
    let policy = loaded.policy.as_ref().unwrap_or_else(|| panic!("{}", render(&loaded, false)));
    policy.effective.to_string()
}
