use std::path::{Path, PathBuf};

use clap::Args;
use watchkeeper_core::embed::Registry;
use watchkeeper_policy::{DiagnosticLevel, Loader, render};

use crate::{
    error::Error,
    global::Global,
    loading,
    numbers::counted,
    output::{Output, Status},
    replay,
};

/// Check a policy and report its mistakes
#[derive(Debug, Args)]
pub(crate) struct Validate {
    /// Policy file [default: the file of --policy, or the first policy at the usual
    /// places]
    file: Option<PathBuf>,

    /// Do not look up the policy's secrets on this machine
    #[arg(long)]
    no_environment: bool,

    /// Treat warnings as errors
    #[arg(long)]
    deny_warnings: bool,

    /// Warn about exceptions and overrides that match nothing in these recorded
    /// sessions; can be repeated
    #[arg(long, value_name = "PATH")]
    against: Vec<PathBuf>,
}

impl Validate {
    pub(crate) fn run(
        self,
        global: &Global,
        registry: &Registry,
        output: &mut Output<'_>,
    ) -> Result<Status, Error> {
        if let Some(path) = self.against.iter().find(|path| is_policy(path)) {
            return Err(Error::PolicyAgainst { path: path.clone() });
        }
        let environment = |name: &str| std::env::var_os(name);
        let home = loading::home();
        let mut loader = Loader::of_files(registry).home(home.as_deref()).today(loading::today());
        if !self.no_environment {
            loader = loader.environment(&environment);
        }
        let given = self.file.or_else(|| global.policy.clone());
        let file = loading::find(given.as_deref(), output);
        if global.is_verbose() {
            loading::print_place(&file, output);
        }
        let mut loaded = loading::load(&loader, file.path())?;
        let mut compared = String::new();
        if let Some(policy) = loaded.policy.as_ref().filter(|_| !self.against.is_empty()) {
            let n_sessions = replay::probe(&policy.match_tracker, &self.against, registry)?;
            compared = format!("; compared with {}", counted(n_sessions, "session"));
            loaded.diagnostics.extend(policy.match_tracker.unmatched());
        }
        if let Some(policy) = &loaded.policy {
            loaded.diagnostics.extend(policy.undelivered.clone());
            loaded.diagnostics.sort_by_key(|it| (it.file, it.span.start));
        }
        if !loaded.diagnostics.is_empty() {
            writeln!(output.err, "{}", render(&loaded, output.styles.err))?;
        }
        let name = loading::policy_name(file.path());
        let is_error =
            |level: &DiagnosticLevel| self.deny_warnings || *level == DiagnosticLevel::Error;
        let n_errors = loaded.diagnostics.iter().filter(|it| is_error(&it.level)).count();
        match &loaded.policy {
            Some(policy) if n_errors == 0 => {
                if !global.quiet {
                    writeln!(
                        output.err,
                        "{name} is valid: {}, {}, {}{compared}",
                        counted(policy.n_detectors() as u64, "detector"),
                        counted(policy.sinks.len() as u64, "sink"),
                        counted(policy.routes.len() as u64, "route"),
                    )?;
                    write!(output.err, "{}", loading::sink_files(policy))?;
                }
                Ok(Status::Success)
            }
            _ => {
                writeln!(output.err, "{name} is invalid: {}", counted(n_errors as u64, "error"))?;
                Ok(Status::InvalidPolicy)
            }
        }
    }
}

/// Returns whether a path of recorded sessions names a policy, by its extension.
fn is_policy(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("toml"))
}
