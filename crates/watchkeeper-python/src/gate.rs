//! Python code that native code calls.
//!
//! The interpreter ends a thread that waits for it while it exits, and ends the process with
//! the thread if native code has called the Python code of the thread. So the exit lets no
//! thread begin such a call.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use pyo3::{Python, pyfunction};

static N_INSIDE: AtomicUsize = AtomicUsize::new(0);
static IS_CLOSED: AtomicBool = AtomicBool::new(false);

/// Counts a thread for as long as it may run Python code.
pub(crate) struct Inside;

/// Begins a call of Python code. Returns `None` if the interpreter exits.
pub(crate) fn enter() -> Option<Inside> {
    N_INSIDE.fetch_add(1, Ordering::SeqCst);
    let inside = Inside;
    (!IS_CLOSED.load(Ordering::SeqCst)).then_some(inside)
}

impl Drop for Inside {
    fn drop(&mut self) {
        // A forked process has counted from zero since the thread came.
        let one_less = |n: usize| Some(n.saturating_sub(1));
        let _ = N_INSIDE.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less);
    }
}

/// Calls a function with the interpreter. Returns `None` if the interpreter exits.
pub(crate) fn attach<T>(call: impl FnOnce(Python<'_>) -> T) -> Option<T> {
    let _inside = enter()?;
    Python::try_attach(call)
}

/// Keeps native code from beginning to call Python code, for the exit of the interpreter.
/// Returns whether no such call is running any more.
#[pyfunction]
pub(crate) fn close_gate() -> bool {
    IS_CLOSED.store(true, Ordering::SeqCst);
    N_INSIDE.load(Ordering::SeqCst) == 0
}

/// Forgets the threads that a forked process does not have.
pub(crate) fn reset() {
    N_INSIDE.store(0, Ordering::SeqCst);
}
