//! The report about a failed check.

use std::{fmt, sync::Arc};

use super::law::Law;
use crate::trace::Trace;

/// A failed check of the laws.
#[derive(Clone, Debug)]
pub struct Violation {
    pub(super) detector: Arc<str>,
    pub(super) law: Option<Law>,
    pub(super) message: String,
    pub(super) trace: Option<Trace>,
    /// A call of the check, up to its traces.
    pub(super) code: Option<Arc<str>>,
    pub(super) seed: u64,
    pub(super) n_cases: u32,
}

impl Violation {
    /// The broken law; `None` if the run was vacuous.
    pub fn law(&self) -> Option<Law> {
        self.law
    }

    /// The shortest trace found that breaks the law; `None` for laws that need a
    /// very long trace, and for vacuous runs.
    pub fn trace(&self) -> Option<&Trace> {
        self.trace.as_ref()
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { detector, law, message, trace, code, seed, n_cases } = self;
        match law {
            Some(law) => {
                writeln!(f, "`{detector}` is not {}: {message}", law.name())?;
                writeln!(f, "\nthe law: {}", law.requirement())?;
            }
            None => writeln!(f, "`{detector}` {message}")?,
        }
        if let Some(trace) = trace {
            let trace = trace.to_string();
            writeln!(f, "\nthe shortest trace that shows it:\n\n{trace}")?;
            if let (Some(law), Some(code)) = (law, code) {
                let (name, fence) = (law.name(), fence(&trace));
                writeln!(f, "as a test:\n")?;
                writeln!(f, "    #[test]\n    fn is_{name}() {{")?;
                writeln!(f, "        {code}")?;
                writeln!(f, "            .traces([r{fence}\"\n{trace}\"{fence}])")?;
                writeln!(f, "            .check();\n    }}\n")?;
            }
        }
        if law.is_some() {
            write!(f, "to repeat this run: PROPTEST_RNG_SEED={seed} PROPTEST_CASES={n_cases} ")?;
            write!(f, "cargo test")?;
        }
        Ok(())
    }
}

impl std::error::Error for Violation {}

/// Returns the number signs that a raw string needs around a text.
pub(super) fn fence(text: &str) -> String {
    (1..=text.len() + 1)
        .map(|n| "#".repeat(n))
        .find(|signs| !text.contains(&format!("\"{signs}")))
        .unwrap_or_default()
}
