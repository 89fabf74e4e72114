use std::{
    fmt,
    sync::{
        OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use jiff::Timestamp;

use crate::{
    Finding,
    clock::{Clock as _, SystemClock},
    engine::EngineTotals,
    metrics::{FindingNumbers, Numbers},
    sync::{Mutex, MutexGuard},
};

/// Keeps the numbers of a monitor, from the first recorded event on, for readers on any thread.
///
/// A [`Delivery`](crate::embed::Delivery) makes it, and a [`Backlog`](crate::embed::Backlog) and a
/// [`Monitor`](crate::Monitor) with this delivery keep it up to date. Reading costs the same for any
/// number of sessions.
pub struct Meter {
    started_at: Timestamp,
    lines_skipped: AtomicU64,
    counts: Mutex<Counts>,
    /// Set when the monitor starts.
    monitor: OnceLock<Box<ReadMonitor>>,
}

type ReadMonitor = dyn Fn(&mut Numbers) + Send + Sync;

#[derive(Default)]
struct Counts {
    engine: EngineTotals,
    findings: FindingNumbers,
    n_silenced: u64,
}

impl Meter {
    pub(crate) fn new() -> Self {
        Self {
            started_at: SystemClock.now(),
            lines_skipped: AtomicU64::new(0),
            counts: Mutex::default(),
            monitor: OnceLock::new(),
        }
    }

    /// Counts lines of session files, or records of telemetry, that were not read.
    pub fn add_skipped_lines(&self, n_lines: u64) {
        self.lines_skipped.fetch_add(n_lines, Ordering::Relaxed);
    }

    /// Returns the present numbers.
    pub fn numbers(&self) -> Numbers {
        let mut numbers = Numbers {
            started_at: self.started_at,
            lines_skipped: self.lines_skipped.load(Ordering::Relaxed),
            ..Numbers::default()
        };
        // First, so that no sink has more findings than are counted.
        if let Some(read) = self.monitor.get() {
            read(&mut numbers);
        }
        let counts = self.counts();
        Numbers {
            engine: counts.engine,
            findings: counts.findings.clone(),
            findings_silenced: counts.n_silenced,
            ..numbers
        }
    }

    /// Counts a finding that no silence hides.
    pub(crate) fn add(&self, finding: &Finding) {
        self.counts().findings.add(&finding.kind, finding.severity, finding.status);
    }

    pub(crate) fn set(&self, engine: EngineTotals, n_silenced: u64) {
        let mut counts = self.counts();
        (counts.engine, counts.n_silenced) = (engine, n_silenced);
    }

    /// Adds the numbers of dropped events and of sinks whenever the numbers are read.
    pub(crate) fn connect(&self, read: impl Fn(&mut Numbers) + Send + Sync + 'static) {
        // One delivery has one monitor.
        let _ = self.monitor.set(Box::new(read));
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Meter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Meter").field("numbers", &self.numbers()).finish_non_exhaustive()
    }
}
