//! Loads the policy that a command runs under.

use std::{fs, path::Path};

use jiff::{civil::Date, tz::TimeZone};
use watchkeeper_core::{
    Registry,
    clock::{Clock as _, SystemClock},
};
use watchkeeper_policy::{Loader, Policy, render};

use crate::{Global, Output, Status};

/// The policy of `--policy`, or the built-in one. What is wrong with it is
/// shown, and so is, unless `quiet`, what is doubtful.
pub(crate) fn policy(
    global: &Global,
    registry: &Registry,
    output: &mut Output<'_>,
) -> Result<Policy, Status> {
    let environment = |name: &str| std::env::var_os(name);
    let loader = Loader {
        registry,
        read_file: &|path| fs::read_to_string(path),
        environment: Some(&environment),
        today: Some(today()),
    };
    let loaded = match &global.policy {
        Some(path) => loader.load(path),
        None => loader.load_builtin(),
    };
    if !loaded.diagnostics.is_empty() && (loaded.policy.is_none() || !global.quiet) {
        let text = render(&loaded, output.styles.err);
        output.fail(&format!("{text}\n"));
    }
    loaded.policy.ok_or(Status::BadPolicy)
}

/// The day it is, in UTC.
pub(crate) fn today() -> Date {
    SystemClock.now().to_zoned(TimeZone::UTC).date()
}

/// Loads a policy that is part of the program.
pub(crate) fn embedded(registry: &Registry, name: &str, text: &str) -> Option<Policy> {
    let read_file = |_: &Path| Ok(text.to_owned());
    let loader = Loader { registry, read_file: &read_file, environment: None, today: None };
    loader.load(Path::new(name)).policy
}
