//! The use of the interpreter by the threads of monitors.
//!
//! A thread that waits for the interpreter while it ends is ended by the interpreter, and the
//! process with the thread if the thread has native code. So the exit lets no thread begin to wait.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use pyo3::{Python, pyfunction};

static N_INSIDE: AtomicUsize = AtomicUsize::new(0);
static IS_CLOSED: AtomicBool = AtomicBool::new(false);

/// Counts a thread for as long as it may use the interpreter.
struct Inside;

impl Inside {
    fn enter() -> Self {
        N_INSIDE.fetch_add(1, Ordering::SeqCst);
        Self
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        // A forked process has counted from zero since the thread came.
        let one_less = |n: usize| Some(n.saturating_sub(1));
        let _ = N_INSIDE.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less);
    }
}

/// Calls a function with the interpreter. Returns `None` if the interpreter ends.
pub(crate) fn attach<T>(call: impl FnOnce(Python<'_>) -> T) -> Option<T> {
    let _inside = Inside::enter();
    if IS_CLOSED.load(Ordering::SeqCst) {
        return None;
    }
    Python::try_attach(call)
}

/// Keeps the threads of monitors from beginning to use the interpreter, for its exit. Returns
/// whether none of them uses the interpreter any more.
#[pyfunction]
pub(crate) fn close_gate() -> bool {
    IS_CLOSED.store(true, Ordering::SeqCst);
    N_INSIDE.load(Ordering::SeqCst) == 0
}

/// Forgets the threads that a forked process does not have.
pub(crate) fn reset() {
    N_INSIDE.store(0, Ordering::SeqCst);
}
