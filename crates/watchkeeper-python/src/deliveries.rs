use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use pyo3::{
    Bound, Py, PyAny, PyErr, PyResult, Python, pyclass, pymethods,
    types::{IntoPyDict as _, PyAnyMethods as _},
};
use watchkeeper::{Deliveries as Queue, SinkError};

use crate::{finding::Finding, text};

/// The findings of one run of a monitor, for the thread that calls `on_finding`.
///
/// This thread is a thread of Python, which may run code while the interpreter ends: the
/// interpreter then ends the thread. It would end the process with a native thread.
#[pyclass(frozen, module = "watchkeeper._watchkeeper")]
#[derive(Debug)]
pub(crate) struct Deliveries {
    /// `None` without `on_finding`. Locked by the thread that calls `on_finding` only.
    queue: Mutex<Option<Queue>>,
    is_abandoned: AtomicBool,
    n_errors: Arc<AtomicU64>,
}

impl Deliveries {
    pub(crate) fn new(queue: Option<Queue>, n_errors: Arc<AtomicU64>) -> Self {
        Self { queue: Mutex::new(queue), is_abandoned: AtomicBool::new(false), n_errors }
    }

    fn queue(&self) -> MutexGuard<'_, Option<Queue>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[pymethods]
impl Deliveries {
    fn __iter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    /// Waits for a finding. The previous one counts as delivered, unless it has failed.
    fn __next__(&self, py: Python<'_>) -> Option<Finding> {
        if self.is_abandoned.load(Ordering::Acquire) {
            return None;
        }
        py.detach(|| self.queue().as_mut()?.next()).map(Finding::from)
    }

    /// Logs and counts an exception of the callback.
    fn fail(&self, py: Python<'_>, exception: Bound<'_, PyAny>) {
        if self.is_abandoned.load(Ordering::Acquire) {
            return;
        }
        self.n_errors.fetch_add(1, Ordering::Relaxed);
        let name = text::type_name(&exception);
        // Python prints errors of `logging` itself.
        let _ = log_exception(py, &PyErr::from_value(exception));
        py.detach(|| {
            if let Some(queue) = &mut *self.queue() {
                queue.fail(SinkError::refused(format!("the callback raised {name}")));
            }
        });
    }

    /// Ends the iteration in a forked process, which does not have the threads of the monitor.
    fn abandon(&self) {
        self.is_abandoned.store(true, Ordering::Release);
    }
}

impl Drop for Deliveries {
    fn drop(&mut self) {
        if *self.is_abandoned.get_mut() {
            // A thread that no longer exists can have locked the queue.
            let queue = self.queue.get_mut().unwrap_or_else(PoisonError::into_inner);
            std::mem::forget(queue.take());
        }
    }
}

/// Logs an exception of a callback, with its traceback.
pub(crate) fn log_exception(py: Python<'_>, err: &PyErr) -> PyResult<()> {
    let logger = py.import("logging")?.call_method1("getLogger", ("watchkeeper.callback",))?;
    let options = [("exc_info", err.value(py))].into_py_dict(py)?;
    logger.call_method("error", ("a callback raised an exception",), Some(&options))?;
    Ok(())
}
