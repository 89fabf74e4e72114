//! Loads the policy that a command runs under.

use std::{fs, io, path::Path};

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
    let loader = Loader::new(registry, &read_text).environment(&environment).today(today());
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

/// Reads a file that a person wrote. What is wrong with it says what to do.
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
            let line = before.split(|it| *it == b'\n').count();
            format!("line {line} is not UTF-8; save it as UTF-8")
        };
        io::Error::new(io::ErrorKind::InvalidData, reason)
    })
}

/// The day it is, in UTC.
pub(crate) fn today() -> Date {
    SystemClock.now().to_zoned(TimeZone::UTC).date()
}

/// Loads a policy that is part of the program.
pub(crate) fn embedded(registry: &Registry, name: &str, text: &str) -> Option<Policy> {
    let read_file = |_: &Path| Ok(text.to_owned());
    Loader::new(registry, &read_file).load(Path::new(name)).policy
}
