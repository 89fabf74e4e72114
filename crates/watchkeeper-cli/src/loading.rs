//! Loads the policy of a command.

use std::{
    cell::Cell,
    io,
    path::{Path, PathBuf},
    slice,
};

use jiff::{civil::Date, tz::TimeZone};
use thiserror::Error;
use watchkeeper_core::{
    clock::{Clock as _, SystemClock},
    embed::Registry,
    quote,
};
use watchkeeper_policy::{
    Diagnostic, DiagnosticLevel, Loaded, Loader, NamedSink, Policy, SourceFile, builtin, open_file,
    read_opened, render, resolve_file,
};

use crate::{
    causes::with_causes,
    global::Global,
    output::{Output, quoted_path, safe_path},
    policy_file::{PolicyFile, PolicySearch},
};

/// A policy is not used.
#[derive(Debug, Error)]
pub(crate) enum LoadError {
    #[error("{rendered}")]
    Invalid {
        /// All diagnostics, rendered for people.
        rendered: String,
        /// The first error, in one line.
        first_error: String,
        /// The files of the policy, also unreadable ones.
        files: Vec<PathBuf>,
    },
    #[error("cannot read the policy {}", quoted_path(.path))]
    Unreadable { path: PathBuf, source: io::Error },
    #[error(
        "the sink {sink} of the policy {path} runs a program, and agents may be able to write \
         this policy; if you trust it, use --policy {path}",
        path = quoted_path(.path)
    )]
    RunsProgram {
        /// The name of the sink, quoted.
        sink: String,
        path: PathBuf,
        /// The files of the policy.
        files: Vec<PathBuf>,
    },
    #[error(
        "the policy {path} belongs to another user; if you trust it, use --policy {path}",
        path = quoted_path(.path)
    )]
    Foreign { path: PathBuf },
}

impl LoadError {
    /// Returns the first problem, in one line.
    pub(crate) fn summary(&self) -> String {
        match self {
            Self::Invalid { first_error, .. } => first_error.clone(),
            _ => with_causes(self),
        }
    }

    /// Returns the files that may be changed so that the policy can be used.
    pub(crate) fn files(&self) -> &[PathBuf] {
        match self {
            Self::Invalid { files, .. } | Self::RunsProgram { files, .. } => files,
            Self::Unreadable { path, .. } | Self::Foreign { path } => slice::from_ref(path),
        }
    }
}

/// The kind of sink that runs programs.
const PROGRAM_SINK: &str = "exec";

/// Finds the policy of a command. Warns of files that are not used, also with `--quiet`: a
/// command with another policy than expected must not succeed silently.
pub(crate) fn find(given: Option<&Path>, output: &mut Output<'_>) -> PolicyFile {
    let PolicySearch { policy, foreign } = PolicyFile::find(given);
    for path in &foreign {
        let path = safe_path(path);
        output.fail(&format!(
            "warning: `{path}` is not used, because it belongs to another user; if you trust it, \
             use `--policy {path}`\n"
        ));
    }
    policy
}

/// Prints the place of a policy.
pub(crate) fn print_place(file: &PolicyFile, output: &mut Output<'_>) {
    let name = policy_name(file.path());
    output.fail(&format!("policy: {name} ({})\n", file.reason()));
}

/// Loads a policy for a command that delivers no findings: secrets are not looked up.
/// Prints warnings unless `--quiet` is set.
pub(crate) fn policy(
    file: &PolicyFile,
    global: &Global,
    registry: &Registry,
    output: &mut Output<'_>,
) -> Result<Policy, LoadError> {
    let home = home();
    let loader = Loader::of_files(registry).home(home.as_deref()).today(today());
    finish(load(&loader, file.path())?, global, output)
}

/// Loads a policy without its text, for a command that has to be fast. Prints nothing.
pub(crate) fn policy_without_text(
    file: &PolicyFile,
    registry: &Registry,
) -> Result<Policy, LoadError> {
    let home = home();
    let loader = Loader::of_files(registry).home(home.as_deref()).today(today());
    require_valid(load(&loader.without_effective(), file.path())?)
}

/// Loads a policy with its secrets, for a command that delivers findings. Prints
/// warnings unless `--quiet` is set. Warns of findings that no sink receives if
/// `needs_sinks` returns `true`. Refuses a policy in the folder of a project if it runs a program,
/// or now belongs to another user.
pub(crate) fn policy_with_secrets(
    file: &PolicyFile,
    global: &Global,
    registry: &Registry,
    needs_sinks: impl FnOnce(&Policy) -> bool,
    output: &mut Output<'_>,
) -> Result<Policy, LoadError> {
    let environment = |name: &str| std::env::var_os(name);
    let home = home();
    let is_foreign = Cell::new(false);
    let read_file = |path: &Path| {
        let opened = open_file(path)?;
        if file.is_foreign(path, &opened) {
            is_foreign.set(true);
            return Err(io::Error::other("it belongs to another user"));
        }
        read_opened(opened)
    };
    let loader = Loader::new(registry, &read_file).resolve(&resolve_file);
    let loader = loader.home(home.as_deref()).today(today()).environment(&environment);
    let loaded = load(&loader, file.path());
    if let Some(path) = file.path().filter(|_| is_foreign.get()) {
        return Err(LoadError::Foreign { path: path.to_owned() });
    }
    let mut loaded = loaded?;
    if let Some(policy) = loaded.policy.as_ref().filter(|policy| needs_sinks(policy)) {
        loaded.diagnostics.extend(policy.undelivered.clone());
    }
    let policy = finish(loaded, global, output)?;
    let runs_program = |sink: &&NamedSink| sink.kind == PROGRAM_SINK;
    if let (true, Some(path)) = (file.is_in_project(), file.path())
        && let Some(sink) = policy.sinks.iter().find(runs_program)
    {
        let (sink, path, files) = (quote(&sink.id), path.to_owned(), policy.files);
        return Err(LoadError::RunsProgram { sink, path, files });
    }
    Ok(policy)
}

/// Prints the warnings of a policy unless `--quiet` is set.
fn finish(loaded: Loaded, global: &Global, output: &mut Output<'_>) -> Result<Policy, LoadError> {
    let rendered = if loaded.diagnostics.is_empty() {
        String::new()
    } else {
        render(&loaded, output.styles.err)
    };
    if loaded.policy.is_some() && !rendered.is_empty() && !global.quiet {
        output.fail(&format!("{rendered}\n"));
    }
    valid(loaded, rendered)
}

/// Returns a policy, or an error with its rendered diagnostics.
fn valid(loaded: Loaded, rendered: String) -> Result<Policy, LoadError> {
    match loaded.policy {
        Some(policy) => Ok(policy),
        None => {
            let first_error = first_error(&loaded.diagnostics, &loaded.files);
            let read = loaded.files.into_iter().map(|file| file.path);
            let files = read.chain(loaded.unreadable).filter(|path| builtin(path).is_none());
            Err(LoadError::Invalid { rendered, first_error, files: files.collect() })
        }
    }
}

/// Returns the first error, such as "policy.toml:3: unknown key `x`".
fn first_error(diagnostics: &[Diagnostic], files: &[SourceFile]) -> String {
    let error = diagnostics.iter().find(|it| it.level == DiagnosticLevel::Error);
    let Some(error) = error else { return "the policy is invalid".to_owned() };
    let Some(file) = files.get(error.file) else { return error.message.clone() };
    let path = safe_path(&file.path);
    // The text of a file that is not quoted is empty.
    match file.text.get(..error.span.start) {
        Some(before) if !file.text.is_empty() => {
            format!("{path}:{}: {}", before.matches('\n').count() + 1, error.message)
        }
        _ => format!("{path}: {}", error.message),
    }
}

/// Returns a policy, or an error with its diagnostics.
pub(crate) fn require_valid(loaded: Loaded) -> Result<Policy, LoadError> {
    let rendered = if loaded.policy.is_none() { render(&loaded, false) } else { String::new() };
    valid(loaded, rendered)
}

/// Loads a policy file, or the built-in policy. A file that cannot be read is no
/// mistake in the policy.
pub(crate) fn load(loader: &Loader<'_>, path: Option<&Path>) -> Result<Loaded, LoadError> {
    let Some(path) = path else { return Ok(loader.load_builtin()) };
    let loaded = loader.load(path);
    if loaded.policy.is_none()
        && builtin(path).is_none()
        && let Err(source) = open_file(path)
    {
        return Err(LoadError::Unreadable { path: path.to_owned(), source });
    }
    Ok(loaded)
}

/// Returns the home folder of the user.
pub(crate) fn home() -> Option<PathBuf> {
    std::env::var_os("HOME").map(PathBuf::from).filter(|home| home.is_absolute())
}

/// Returns a line for each file that a sink of the policy writes to, with its absolute
/// path.
pub(crate) fn sink_files(policy: &Policy) -> String {
    let mut lines = String::new();
    for sink in &policy.sinks {
        for file in &sink.files {
            let file = std::path::absolute(file).unwrap_or_else(|_| file.clone());
            let (sink, file) = (quote(&sink.id), quoted_path(&file));
            lines.extend(["sink ", &*sink, " writes to ", &*file, "\n"]);
        }
    }
    lines
}

/// Returns the current date in UTC.
pub(crate) fn today() -> Date {
    SystemClock.now().to_zoned(TimeZone::UTC).date()
}

/// Loads a policy that is embedded in the program. Returns `None` if it needs
/// kinds that are not linked.
pub(crate) fn embedded(registry: &Registry, name: &str, text: &str) -> Option<Policy> {
    let read_file = |_: &Path| Ok(text.to_owned());
    Loader::new(registry, &read_file).load(Path::new(name)).policy
}

/// Returns the name of a policy file for messages.
pub(crate) fn policy_name(path: Option<&Path>) -> String {
    path.map_or("the built-in policy".to_owned(), safe_path)
}
