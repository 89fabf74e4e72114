use pyo3::{pyclass, pymethods};
use watchkeeper::core::author;

/// The location of an event that contributed to a finding.
#[pyclass(frozen, eq, hash, get_all, module = "watchkeeper")]
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Evidence {
    /// The file, a `str`; `None` for an event that this process recorded.
    file: Option<String>,
    /// The line, an `int` counted from 1, or `None`.
    line: Option<u64>,
    /// The name of the event, a `str`.
    event: &'static str,
}

impl From<&author::Evidence> for Evidence {
    fn from(evidence: &author::Evidence) -> Self {
        let file = evidence.file.as_deref().map(str::to_owned);
        Self { file, line: evidence.line, event: evidence.event }
    }
}

#[pymethods]
impl Evidence {
    fn __repr__(&self) -> String {
        match (&self.file, self.line) {
            (Some(file), Some(line)) => format!("Evidence({}, {file:?}:{line})", self.event),
            _ => format!("Evidence({})", self.event),
        }
    }
}
