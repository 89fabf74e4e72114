//! Loads the policy of a command.

use std::{fs, io, path::Path};

use jiff::{civil::Date, tz::TimeZone};
use thiserror::Error;
use watchkeeper_core::{
    clock::{Clock as _, SystemClock},
    embed::Registry,
};
use watchkeeper_policy::{Loaded, Loader, Policy, render};

use crate::{
    global::Global,
    output::{Output, safe_path},
    policy_file::PolicyFile,
};

/// A policy with mistakes.
#[derive(Debug, Error)]
#[error("{rendered}")]
pub(crate) struct InvalidPolicy {
    /// All diagnostics, rendered for people.
    pub(crate) rendered: String,
}

/// Loads the policy of `--policy`, or the first policy at the usual places. Prints
/// warnings unless `--quiet` is set, and the place if `--verbose` is.
pub(crate) fn policy(
    global: &Global,
    registry: &Registry,
    output: &mut Output<'_>,
) -> Result<Policy, InvalidPolicy> {
    let file = PolicyFile::find(global.policy.as_deref());
    print_place(&file, global, output);
    let environment = |name: &str| std::env::var_os(name);
    let loader = Loader::new(registry, &read_text).environment(&environment).today(today());
    policy_in(&file, loader, global, output)
}

/// Prints the place of the policy if `--verbose` is set.
pub(crate) fn print_place(file: &PolicyFile, global: &Global, output: &mut Output<'_>) {
    if global.is_verbose() {
        let name = policy_name(file.path());
        output.fail(&format!("policy: {name} ({})\n", file.reason()));
    }
}

/// Loads a policy, and prints warnings unless `--quiet` is set.
pub(crate) fn policy_in(
    file: &PolicyFile,
    loader: Loader<'_>,
    global: &Global,
    output: &mut Output<'_>,
) -> Result<Policy, InvalidPolicy> {
    let loaded = load(&loader, file.path());
    let rendered = if loaded.diagnostics.is_empty() {
        String::new()
    } else {
        render(&loaded, output.styles.err)
    };
    match loaded.policy {
        Some(policy) => {
            if !rendered.is_empty() && !global.quiet {
                output.fail(&format!("{rendered}\n"));
            }
            Ok(policy)
        }
        None => Err(InvalidPolicy { rendered }),
    }
}

/// Loads a policy file, or the built-in policy.
pub(crate) fn load(loader: &Loader<'_>, path: Option<&Path>) -> Loaded {
    path.map_or_else(|| loader.load_builtin(), |path| loader.load(path))
}

/// Reads a text file. Errors suggest a remedy.
pub(crate) fn read_text(path: &Path) -> io::Result<String> {
    if path.is_dir() {
        return Err(io::Error::other("it is a folder; name a file in it"));
    }
    String::from_utf8(fs::read(path)?).map_err(|err| {
        let bytes = err.as_bytes();
        let reason = if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
            "it is UTF-16; save it as UTF-8".to_owned()
        } else {
            let before = &bytes[..err.utf8_error().valid_up_to()];
            let line = before.split(|byte| *byte == b'\n').count();
            format!("line {line} is not UTF-8; save it as UTF-8")
        };
        io::Error::new(io::ErrorKind::InvalidData, reason)
    })
}

/// Returns the current date in UTC.
pub(crate) fn today() -> Date {
    SystemClock.now().to_zoned(TimeZone::UTC).date()
}

/// Loads a policy that is embedded in the program. Returns `None` if it needs
/// kinds that are not linked.
pub(crate) fn embedded(registry: &Registry, name: &str, text: &str) -> Option<Policy> {
    let read_file = |_: &Path| Ok(text.to_owned());
    let loader = Loader::new(registry, &read_file);
    let Loaded { policy, .. } = load(&loader, Some(Path::new(name)));
    policy
}

/// Returns the name of a policy file for messages.
pub(crate) fn policy_name(path: Option<&Path>) -> String {
    path.map_or("the built-in policy".to_owned(), safe_path)
}
