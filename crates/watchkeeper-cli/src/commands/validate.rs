use std::{fs, io, path::PathBuf};

use clap::Args;
use watchkeeper_core::{Registry, make_safe};
use watchkeeper_policy::{DiagnosticLevel, Loader, render};

use crate::{Global, Output, Status, counted::counted, loading};

/// Check a policy, and say what is wrong with it and where
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
}

impl Validate {
    pub(crate) fn run(
        self,
        global: &Global,
        registry: &Registry,
        output: &mut Output<'_>,
    ) -> io::Result<Status> {
        let environment = |name: &str| std::env::var_os(name);
        let environment: &dyn Fn(&str) -> Option<std::ffi::OsString> = &environment;
        let loader = Loader {
            registry,
            read_file: &|path| fs::read_to_string(path),
            environment: (!self.no_environment).then_some(environment),
            today: Some(loading::today()),
        };
        let path = self.file.or_else(|| global.policy.clone());
        let loaded = match &path {
            Some(path) => loader.load(path),
            None => loader.load_builtin(),
        };
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
                        "{name} is sound: {}, {}, {}",
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
