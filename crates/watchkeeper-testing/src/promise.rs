//! Promises of sinks and sources, and the report of a broken one.

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
};

use crate::laws::panics::capture;

/// A promise that a kind breaks.
pub(crate) struct Violation {
    /// The kind of sink or source.
    pub(crate) kind: &'static str,
    /// The promise, in one clause.
    pub(crate) promise: &'static str,
    /// The observed behaviour, in one clause.
    pub(crate) message: String,
    /// The statement that repeats the behaviour.
    pub(crate) code: Option<String>,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, promise, message, code } = self;
        write!(f, "`{kind}` breaks a promise: {message}\n\nthe promise: {promise}")?;
        if let Some(code) = code {
            write!(f, "\n\nto repeat the failure, add this test:\n\n    #[test]\n")?;
            write!(f, "    fn repeats_the_failure() {{\n        {code}\n    }}")?;
        }
        Ok(())
    }
}

/// Calls a sink or a source. Returns a panic as its message and location.
pub(crate) fn guard<T>(call: impl FnOnce() -> T) -> Result<T, Panic> {
    let (result, panic) = capture(|| catch_unwind(AssertUnwindSafe(call)));
    result.map_err(|_| Panic(panic.unwrap_or_else(|| "no message".to_owned())))
}

/// The message and the location of a panic.
pub(crate) struct Panic(String);

impl fmt::Display for Panic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "panicked: {}", self.0)
    }
}
