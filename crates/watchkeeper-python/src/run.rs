//! The monitor that sessions record to, which a restart replaces.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use pyo3::Python;
use watchkeeper::Running;

use crate::{call_id::CallId, gate};

/// The present run of a monitor.
///
/// A session keeps a handle of one run, and compares its generation with this one before
/// each event: after a restart or a fork the handle must not be used.
#[derive(Debug, Default)]
pub(crate) struct Run {
    /// Changes only while `running` is locked.
    generation: AtomicU64,
    /// Locked by attached threads only, and never while they wait.
    running: Mutex<Option<Arc<Running>>>,
    is_forked: AtomicBool,
    /// Whether the log has a line about events after a fork.
    has_reported_fork: AtomicBool,
    /// Events recorded while there was no monitor.
    n_not_recorded: AtomicU64,
    n_callback_errors: Arc<AtomicU64>,
    n_ids: AtomicU64,
}

impl Run {
    /// Returns the number of the run. Each start and each fork changes the number.
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Returns the monitor, also after its stop. Returns `None` before the first start, and
    /// in a forked process.
    pub(crate) fn running(&self) -> Option<Arc<Running>> {
        self.lock().clone()
    }

    /// Returns the monitor and the number of its run.
    pub(crate) fn present(&self) -> Option<(Arc<Running>, u64)> {
        let running = self.lock();
        running.clone().map(|running| (running, self.generation()))
    }

    /// Replaces the monitor, and returns the previous one.
    pub(crate) fn set(&self, running: Running) -> Option<Arc<Running>> {
        let mut present = self.lock();
        let previous = present.replace(Arc::new(running));
        self.is_forked.store(false, Ordering::Release);
        self.n_not_recorded.store(0, Ordering::Release);
        self.n_callback_errors.store(0, Ordering::Release);
        self.generation.fetch_add(1, Ordering::AcqRel);
        previous
    }

    /// Forgets the monitor, whose threads a forked process does not have.
    pub(crate) fn abandon(&self) {
        // A thread that no longer exists can have locked the parts of the monitor, so that
        // dropping the monitor could wait forever.
        gate::reset();
        let mut present = self.lock();
        std::mem::forget(present.take());
        self.is_forked.store(true, Ordering::Release);
        self.has_reported_fork.store(false, Ordering::Release);
        self.n_not_recorded.store(0, Ordering::Release);
        self.generation.fetch_add(1, Ordering::AcqRel);
    }

    /// Returns whether this process was forked from the one that started the monitor.
    pub(crate) fn is_forked(&self) -> bool {
        self.is_forked.load(Ordering::Acquire)
    }

    /// Counts an event for which there is no monitor. Returns whether this is the first
    /// one after a fork.
    pub(crate) fn count_not_recorded(&self) -> bool {
        self.n_not_recorded.fetch_add(1, Ordering::Relaxed);
        self.is_forked() && !self.has_reported_fork.swap(true, Ordering::AcqRel)
    }

    /// Returns the number of events for which there was no monitor.
    pub(crate) fn n_not_recorded(&self) -> u64 {
        self.n_not_recorded.load(Ordering::Relaxed)
    }

    /// Returns the counter of exceptions in callbacks.
    pub(crate) fn callback_errors(&self) -> &Arc<AtomicU64> {
        &self.n_callback_errors
    }

    /// Returns an id that no other call of this monitor has.
    pub(crate) fn next_call_id(&self) -> CallId {
        CallId::Number(self.next_number())
    }

    /// Returns an id that no other model call of this monitor has.
    pub(crate) fn next_response_id(&self) -> String {
        format!("response-{}", self.next_number())
    }

    fn next_number(&self) -> u64 {
        self.n_ids.fetch_add(1, Ordering::Relaxed) + 1
    }

    fn lock(&self) -> MutexGuard<'_, Option<Arc<Running>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        let running = self.running.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(running) = running {
            // Dropping the monitor stops it, and a callback may wait for the interpreter.
            Python::attach(|py| py.detach(|| drop(running)));
        }
    }
}
