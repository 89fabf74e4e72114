//! The results of commands between changes that are made again: measurements, or the same again.

use watchkeeper_core::{Fingerprint, Purpose, ToolClass, ToolResult, author::Call};

/// Words in a line that sums up a build or a test: its numbers are times and sizes.
const SUMMARIES: &[&str] = &[
    "passed",
    "failed",
    "tests",
    "ok ",
    "finished",
    "built",
    "done",
    "compiled",
    "formatted",
    "issues",
    "warning",
    "error",
];
/// Words in a line that measures something nevertheless.
const RATES: &[&str] = &["bench", "/op", "/iter", "/s"];

/// The results of the commands since a change was made again for the first time.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Measurements {
    /// The latest command, and its result.
    latest: Option<(Fingerprint, Fingerprint)>,
    /// The number of results that differ from the previous one of the same command.
    n_different: u32,
    /// The number of equal results and of failures.
    n_equal: u32,
}

impl Measurements {
    /// Adds the result of a call, if it runs a command.
    pub(crate) fn add(&mut self, call: &Call, result: &ToolResult) {
        let runs = matches!(call.class, ToolClass::Run | ToolClass::Other)
            && matches!(call.purpose, Purpose::Run | Purpose::Other);
        if !runs {
            return;
        }
        if !result.ok {
            self.n_equal = self.n_equal.saturating_add(1);
            return;
        }
        let key = call.fingerprint;
        let value = measured(result.output.as_deref().unwrap_or_default());
        if let Some((_, previous)) = self.latest.filter(|(latest, _)| *latest == key) {
            let n = if previous == value { &mut self.n_equal } else { &mut self.n_different };
            *n = n.saturating_add(1);
        }
        self.latest = Some((key, value));
    }

    /// Returns true if the agent compares variants: most results of one command differ.
    pub(crate) fn differ(self) -> bool {
        self.n_equal.saturating_mul(2) < self.n_different
    }
}

/// Hashes an output with its numbers, except in lines that sum up a build or a test.
fn measured(output: &str) -> Fingerprint {
    output.lines().fold(Fingerprint::NONE, |hash, line| {
        let lower = line.to_ascii_lowercase();
        let has = |words: &[&str]| words.iter().any(|word| lower.contains(word));
        let is_summary = has(SUMMARIES) && !has(RATES);
        hash.and(if is_summary { Fingerprint::of_output(line) } else { Fingerprint::of(line) })
    })
}
