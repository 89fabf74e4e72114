//! Help, the version, and errors in the arguments.

use std::ffi::OsString;

use clap::{
    Error,
    error::{ContextKind, ContextValue},
};
use watchkeeper_core::author::{is_unsafe, make_safe};

use crate::output::{Output, Status};

/// Prints help or the version, or a usage error about the arguments.
pub(crate) fn print(err: Error, args: &[OsString], output: &mut Output<'_>) -> Status {
    if !err.use_stderr() {
        return output.succeed(&text(&err, output.styles.out));
    }
    let is_safe = |arg: &OsString| !arg.to_string_lossy().contains(is_unsafe);
    if args.iter().all(is_safe) {
        return output.fail(&text(&err, output.styles.err));
    }
    output.fail(&safe_text(err))
}

fn text(err: &Error, is_styled: bool) -> String {
    let text = err.render();
    if is_styled { text.ansi().to_string() } else { text.to_string() }
}

/// Returns the text of an error without styles, with unsafe characters of the arguments escaped.
fn safe_text(mut err: Error) -> String {
    let context: Vec<(ContextKind, ContextValue)> = err
        .context()
        // The only text of several lines; it contains no arguments.
        .filter(|(kind, _)| *kind != ContextKind::Usage)
        .map(|(kind, value)| (kind, safe_value(value)))
        .collect();
    for (kind, value) in context {
        err.insert(kind, value);
    }
    // The cause of an error may contain an argument, too.
    text(&err, false).lines().map(|line| make_safe(line) + "\n").collect()
}

fn safe_value(value: &ContextValue) -> ContextValue {
    match value {
        ContextValue::String(text) => ContextValue::String(make_safe(text)),
        ContextValue::Strings(texts) => {
            ContextValue::Strings(texts.iter().map(|text| make_safe(text)).collect())
        }
        ContextValue::StyledStr(text) => {
            ContextValue::StyledStr(make_safe(&text.to_string()).into())
        }
        ContextValue::StyledStrs(texts) => {
            let texts = texts.iter().map(|text| make_safe(&text.to_string()).into());
            ContextValue::StyledStrs(texts.collect())
        }
        other => other.clone(),
    }
}
