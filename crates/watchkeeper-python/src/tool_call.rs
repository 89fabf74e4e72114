use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use pyo3::{
    Bound, Py, PyAny, PyResult, Python, exceptions::PyException, pyclass, pymethods,
    types::PyAnyMethods as _,
};
use watchkeeper::Cause;

use crate::{
    call_id::CallId,
    outcome::{Outcome, parse_cause},
    recorder::Recorder,
    text,
};

/// A tool call without a result yet.
///
/// Records the first result; later ones are ignored. A call whose handle is dropped without
/// a result is recorded as interrupted.
#[pyclass(frozen, module = "watchkeeper")]
#[derive(Debug)]
pub(crate) struct ToolCall {
    recorder: Arc<Recorder>,
    id: CallId,
    is_finished: AtomicBool,
}

impl ToolCall {
    pub(crate) fn new(recorder: Arc<Recorder>, id: CallId) -> Self {
        Self { recorder, id, is_finished: AtomicBool::new(false) }
    }

    /// Records a result, unless there is one. If code of the output raises an exception that
    /// must pass on, the result has no output.
    fn finish(
        &self,
        py: Python<'_>,
        outcome: Outcome,
        output: impl FnOnce() -> PyResult<Option<String>>,
    ) -> PyResult<()> {
        if self.is_finished.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        let id = self.id.clone();
        let (output, passed) = match output() {
            Ok(output) => (output, Ok(())),
            Err(err) => (None, Err(err)),
        };
        let outcome = Outcome { output, ..outcome };
        self.recorder.record_deferred(py, None, move || outcome.of_call(&id));
        passed
    }
}

#[pymethods]
impl ToolCall {
    /// The id of the call, a `str`.
    #[getter]
    fn id(&self) -> String {
        self.id.to_string()
    }

    /// Records that the tool did what the call requested. `output` is any object.
    #[pyo3(signature = (output=None))]
    fn succeed(&self, py: Python<'_>, output: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
        self.finish(py, Outcome::returned(true), || output.map(text::of_event).transpose())
    }

    /// Records that the tool failed. `output` is any object.
    #[pyo3(signature = (output=None))]
    fn fail(&self, py: Python<'_>, output: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
        self.finish(py, Outcome::returned(false), || output.map(text::of_event).transpose())
    }

    /// Records the result of a command. `exit_code` is an `int`, and any but 0 is a failure.
    /// `output` is any object.
    #[pyo3(signature = (exit_code, output=None))]
    fn exit(
        &self,
        py: Python<'_>,
        exit_code: i32,
        output: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let outcome = Outcome { exit_code: Some(exit_code), ..Outcome::returned(exit_code == 0) };
        self.finish(py, outcome, || output.map(text::of_event).transpose())
    }

    /// Records that the call has no result of its tool. `cause` is one of `"declined"`,
    /// `"blocked"`, `"sibling"`, `"interrupted"` and `"timeout"`.
    fn cancel(&self, py: Python<'_>, cause: &str) -> PyResult<()> {
        let cause = parse_cause(cause)?;
        self.finish(py, Outcome::cancelled(cause), || Ok(None))
    }

    /// Leaves the call without a result, which `Session.tool_result` records. Returns the
    /// id, a `str`.
    fn detach(&self) -> String {
        self.is_finished.store(true, Ordering::Release);
        self.id.to_string()
    }

    fn __enter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    /// Records a failure if the block raised an exception, and otherwise a success, unless
    /// the block recorded a result.
    fn __exit__(
        &self,
        py: Python<'_>,
        exception_type: &Bound<'_, PyAny>,
        exception: &Bound<'_, PyAny>,
        _traceback: &Bound<'_, PyAny>,
    ) -> PyResult<bool> {
        if exception_type.is_none() {
            self.succeed(py, None)?;
        } else if exception.is_instance_of::<PyException>() {
            self.finish(py, Outcome::returned(false), || {
                let (name, text) = (text::type_name(exception), text::of_event(exception)?);
                Ok(Some(format!("{name}: {text}")))
            })?;
        } else {
            // Others, such as `KeyboardInterrupt` and `CancelledError`, are not failures.
            self.finish(py, Outcome::cancelled(Cause::Interrupted), || Ok(None))?;
        }
        Ok(false)
    }

    fn __repr__(&self) -> String {
        format!("ToolCall({:?})", self.id.to_string())
    }
}

impl Drop for ToolCall {
    fn drop(&mut self) {
        if !*self.is_finished.get_mut() {
            // Python drops objects on attached threads only.
            Python::attach(|py| {
                let _ = self.finish(py, Outcome::cancelled(Cause::Interrupted), || Ok(None));
            });
        }
    }
}
