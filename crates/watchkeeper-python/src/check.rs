//! The check of recorded sessions.

use std::path::PathBuf;

use pyo3::{
    Bound, Py, PyAny, PyErr, PyResult, Python,
    exceptions::{PyFileNotFoundError, PyRuntimeError, PyValueError},
    pyfunction,
};
use watchkeeper::{Monitor, Severity, StartError};
use watchkeeper_cli::{RecordedCheckError, RecordedReport, RecordedSessions};

use crate::{
    finding::Finding,
    interruptible, json_value,
    policy_error::{policy_error, start_error},
    time,
};

enum CheckError {
    Policy(StartError),
    Sessions(RecordedCheckError),
}

/// Checks recorded sessions. Returns the JSON form of the report, and the findings.
#[pyfunction]
#[pyo3(signature = (
    paths, policy, policy_text, *, source=None, since=None, until=None, min_severity=None,
))]
pub(crate) fn check_recorded(
    py: Python<'_>,
    paths: Option<Vec<PathBuf>>,
    policy: Option<PathBuf>,
    policy_text: Option<String>,
    source: Option<String>,
    since: Option<&Bound<'_, PyAny>>,
    until: Option<&Bound<'_, PyAny>>,
    min_severity: Option<&str>,
) -> PyResult<(Py<PyAny>, Vec<Finding>)> {
    let mut sessions = RecordedSessions::default();
    sessions.paths = paths;
    sessions.source = source;
    sessions.since = since.map(time::timestamp).transpose()?;
    sessions.until = until.map(time::timestamp).transpose()?;
    sessions.min_severity = min_severity.map(parse_severity).transpose()?;
    let mut builder = Monitor::builder();
    if let Some(path) = policy {
        builder = builder.policy_file(path).map_err(|err| policy_error(py, err))?;
    }
    if let Some(text) = policy_text {
        builder = builder.policy_text(text);
    }
    let checked = interruptible::wait(py, move || {
        let (policy, registry) = builder.load_policy().map_err(CheckError::Policy)?;
        sessions.check(policy, &registry).map_err(CheckError::Sessions)
    })?;
    let RecordedReport { json, findings, .. } = checked.map_err(|err| match err {
        CheckError::Policy(err) => start_error(py, err),
        CheckError::Sessions(err) => sessions_error(&err),
    })?;
    let findings = findings.into_iter().map(Finding::from).collect();
    Ok((json_value::to_python(py, &json)?, findings))
}

fn sessions_error(err: &RecordedCheckError) -> PyErr {
    match err {
        RecordedCheckError::Missing(_) => PyFileNotFoundError::new_err(err.to_string()),
        RecordedCheckError::UnknownSource { .. } => PyValueError::new_err(err.to_string()),
        _ => PyRuntimeError::new_err(err.to_string()),
    }
}

fn parse_severity(name: &str) -> PyResult<Severity> {
    let severity = Severity::ALL.into_iter().find(|severity| severity.name() == name);
    severity.ok_or_else(|| {
        PyValueError::new_err(format!("unknown severity {name:?}; use low, medium or high"))
    })
}
