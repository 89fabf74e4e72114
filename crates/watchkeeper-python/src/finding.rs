use pyo3::{
    Bound, IntoPyObject as _, Py, PyAny, PyResult, Python,
    exceptions::PyValueError,
    pyclass, pymethods,
    types::{PyDateTime, PyDict, PyDictMethods as _, PyMappingProxy, PyTuple},
};
use serde_json::{Map, Value, json};
use watchkeeper::{Status, core};

use crate::{evidence::Evidence, json_value};

/// The report of a condition that a detector found. Immutable.
///
/// `at` is a `datetime` or `None`, `count` an `int`, `labels`, `annotations` and `data` are
/// read-only mappings, and `evidence` is a tuple of `Evidence`. The other fields are a `str` or `None`.
#[pyclass(frozen, module = "watchkeeper")]
#[derive(Debug)]
pub(crate) struct Finding(core::Finding);

impl From<core::Finding> for Finding {
    fn from(finding: core::Finding) -> Self {
        Self(finding)
    }
}

#[pymethods]
impl Finding {
    /// A hash of the cause: 16 hexadecimal digits.
    #[getter]
    fn id(&self) -> String {
        self.0.id.to_string()
    }

    /// The time at which the condition became true, in UTC; `None` if it is unknown.
    #[getter]
    fn at<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyDateTime>> {
        core::author::known_time(self.0.at)?.into_pyobject(py).ok()
    }

    /// The name of the detector in the policy.
    #[getter]
    fn detector(&self) -> &str {
        &self.0.detector
    }

    /// The detector of the previous finding with this fingerprint, if it was another one.
    #[getter]
    fn replaces(&self) -> Option<&str> {
        self.0.replaces.as_deref()
    }

    /// The kind of the detector.
    #[getter]
    fn kind(&self) -> &str {
        &self.0.kind
    }

    /// The category of the problem: `timeout`, `runaway`, `budget`, `error` or another one.
    #[getter]
    fn class_(&self) -> &str {
        &self.0.class
    }

    /// The importance: `low`, `medium` or `high`.
    #[getter]
    fn severity(&self) -> &'static str {
        self.0.severity.name()
    }

    /// The reaction that the policy suggests: `observe`, `nudge` or `stop`; `None` if the
    /// policy suggests none.
    #[getter]
    fn action(&self) -> Option<&'static str> {
        self.0.action.map(core::Action::name)
    }

    /// `open` while the condition holds, then `resolved`.
    #[getter]
    fn status(&self) -> &'static str {
        match self.0.status {
            Status::Open => "open",
            Status::Resolved => "resolved",
        }
    }

    /// Whether the finding is resolved only because its condition is no longer observed.
    #[getter]
    fn withdrawn(&self) -> bool {
        self.0.withdrawn
    }

    /// The number of occurrences so far.
    #[getter]
    fn count(&self) -> u64 {
        self.0.count
    }

    /// The session; empty for findings about the monitor itself.
    #[getter]
    fn session(&self) -> &str {
        self.0.session.as_str()
    }

    /// The sub-agent; `None` for the main agent.
    #[getter]
    fn agent(&self) -> Option<&str> {
        self.0.agent.as_ref().map(core::AgentId::as_str)
    }

    /// The kind of source that read the session; `None` for recorded events.
    #[getter]
    fn source(&self) -> Option<&'static str> {
        self.0.source
    }

    /// A hash that identifies the condition: 16 hexadecimal digits.
    #[getter]
    fn fingerprint(&self) -> String {
        self.0.fingerprint.to_string()
    }

    /// The labels of the policy and of the session.
    #[getter]
    fn labels<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyMappingProxy>> {
        let labels = PyDict::new(py);
        for (name, value) in &*self.0.labels {
            labels.set_item(name, value)?;
        }
        Ok(PyMappingProxy::new(py, labels.as_mapping()))
    }

    /// The texts of the policy about the detector: `runbook_url`, `tags` and `references`, if
    /// it has them.
    #[getter]
    fn annotations<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyMappingProxy>> {
        let annotations = json!(self.0.annotations);
        let annotations = json_value::to_dict(py, annotations.as_object().unwrap_or(&Map::new()))?;
        Ok(PyMappingProxy::new(py, annotations.as_mapping()))
    }

    /// A description for people, on one line.
    #[getter]
    fn message(&self) -> &str {
        &self.0.message
    }

    /// The facts of the message, for programs.
    #[getter]
    fn data<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyMappingProxy>> {
        let data = json_value::to_dict(py, &self.0.data)?;
        Ok(PyMappingProxy::new(py, data.as_mapping()))
    }

    /// The events that caused the finding, oldest first.
    #[getter]
    fn evidence<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        PyTuple::new(py, self.0.evidence.iter().map(Evidence::from))
    }

    /// Returns a new dictionary with the fields of the JSON form.
    fn to_dict(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        json_value::to_python(py, &self.to_value()?)
    }

    /// Returns the JSON form, on one line.
    fn to_json(&self) -> PyResult<String> {
        Ok(self.to_value()?.to_string())
    }

    fn __eq__(&self, other: &Self) -> bool {
        self.0 == other.0
    }

    fn __hash__(&self) -> u64 {
        self.0.id.get()
    }

    fn __repr__(&self) -> String {
        let core::Finding { severity, detector, session, message, .. } = &self.0;
        let status = self.status();
        format!("Finding({severity} {status}, {detector}, {:?}, {message:?})", session.as_str())
    }

    fn __copy__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __deepcopy__(slf: Py<Self>, _memo: &Bound<'_, PyAny>) -> Py<Self> {
        slf
    }
}

impl Finding {
    fn to_value(&self) -> PyResult<Value> {
        serde_json::to_value(&self.0).map_err(|err| PyValueError::new_err(err.to_string()))
    }
}
