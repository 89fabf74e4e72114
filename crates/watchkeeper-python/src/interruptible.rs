//! Waits that Ctrl+C interrupts.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{self, RecvTimeoutError},
    },
    thread,
    time::Duration,
};

use pyo3::{PyResult, Python, exceptions::PyRuntimeError};

/// The time between two looks for a signal.
const SLICE: Duration = Duration::from_millis(50);

/// Calls a function that waits, on a thread of its own. The exception of a signal handler,
/// such as `KeyboardInterrupt`, ends the wait, and the function continues without it.
pub(crate) fn wait<T: Send + 'static>(
    py: Python<'_>,
    call: impl FnOnce() -> T + Send + 'static,
) -> PyResult<T> {
    let call = Arc::new(Mutex::new(Some(call)));
    let take = |call: &Mutex<Option<_>>| call.lock().unwrap_or_else(PoisonError::into_inner).take();
    let (sender, mut receiver) = mpsc::sync_channel(1);
    let of_thread = call.clone();
    let run = move || {
        if let Some(call) = take(&of_thread) {
            // The caller may have been interrupted.
            let _ = sender.send(call());
        }
    };
    let spawned = thread::Builder::new().name("watchkeeper-wait".to_owned()).spawn(run);
    let mut running = spawned.ok();
    if running.is_none()
        && let Some(call) = take(&call)
    {
        return Ok(py.detach(call));
    }
    loop {
        let received = py.detach(|| {
            // A shared reference cannot be passed on while the thread is detached.
            let receiver = &mut receiver;
            let received = receiver.recv_timeout(SLICE);
            if received.is_ok()
                && let Some(thread) = running.take()
            {
                // The thread returns right after it has sent.
                let _ = thread.join();
            }
            received
        });
        match received {
            Ok(result) => return Ok(result),
            Err(RecvTimeoutError::Timeout) => py.check_signals()?,
            Err(RecvTimeoutError::Disconnected) => {
                return Err(PyRuntimeError::new_err("the monitor has panicked"));
            }
        }
    }
}

/// Calls a function that waits for a time and returns whether it was successful. Waits as
/// [`wait`] does, but a short wait needs no thread.
pub(crate) fn wait_for(
    py: Python<'_>,
    timeout: Duration,
    call: impl Fn(Duration) -> bool + Send + Sync + 'static,
) -> PyResult<bool> {
    let first = timeout.min(SLICE);
    if py.detach(|| call(first)) {
        return Ok(true);
    }
    py.check_signals()?;
    match timeout.saturating_sub(first) {
        Duration::ZERO => Ok(false),
        remaining => wait(py, move || call(remaining)),
    }
}
