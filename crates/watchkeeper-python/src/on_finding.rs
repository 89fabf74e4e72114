use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use pyo3::{
    Py, PyAny, PyErr, PyResult, Python,
    types::{IntoPyDict as _, PyAnyMethods as _},
};
use watchkeeper::{Sink, SinkError, core};

use crate::{finding::Finding, gate, text};

/// A sink that calls a Python function.
pub(crate) struct OnFinding {
    pub(crate) callback: Py<PyAny>,
    pub(crate) n_errors: Arc<AtomicU64>,
}

impl Sink for OnFinding {
    fn deliver(&mut self, finding: &core::Finding) -> Result<(), SinkError> {
        let called = gate::attach(|py| {
            let finding = Finding::from(finding.clone());
            let Err(err) = self.callback.call1(py, (finding,)) else { return Ok(()) };
            self.n_errors.fetch_add(1, Ordering::Relaxed);
            let name = text::type_name(err.value(py));
            // Python prints errors of `logging` itself.
            let _ = log_exception(py, &err);
            Err(SinkError::refused(format!("the callback raised {name}")))
        });
        called.unwrap_or_else(|| Err(SinkError::refused("the interpreter has ended")))
    }
}

/// Logs an exception of a callback, with its traceback.
pub(crate) fn log_exception(py: Python<'_>, err: &PyErr) -> PyResult<()> {
    let logger = py.import("logging")?.call_method1("getLogger", ("watchkeeper.callback",))?;
    let options = [("exc_info", err.value(py))].into_py_dict(py)?;
    logger.call_method("error", ("a callback raised an exception",), Some(&options))?;
    Ok(())
}
