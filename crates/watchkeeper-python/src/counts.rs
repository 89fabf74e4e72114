use pyo3::{pyclass, pymethods};
use watchkeeper::MonitorCounts;

/// The counts of a monitor since its start, each an `int`.
#[pyclass(frozen, eq, get_all, module = "watchkeeper")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Events that the detectors have seen.
    events: u64,
    /// Findings that opened or escalated.
    findings: u64,
    /// Repeats of findings that the cooldowns of routes have suppressed.
    suppressed: u64,
    /// Events that were dropped: the queue was full, or the monitor did not run.
    dropped: u64,
    /// Findings that sinks and callbacks did not deliver.
    lost: u64,
    /// Exceptions that callbacks have raised.
    callback_errors: u64,
}

impl Counts {
    pub(crate) fn new(counts: MonitorCounts, n_not_recorded: u64, callback_errors: u64) -> Self {
        let MonitorCounts { events, findings, suppressed, dropped, lost, .. } = counts;
        let dropped = dropped.saturating_add(n_not_recorded);
        Self { events, findings, suppressed, dropped, lost, callback_errors }
    }
}

#[pymethods]
impl Counts {
    fn __repr__(&self) -> String {
        let Self { events, findings, suppressed, dropped, lost, callback_errors } = self;
        format!(
            "Counts(events={events}, findings={findings}, suppressed={suppressed}, \
             dropped={dropped}, lost={lost}, callback_errors={callback_errors})"
        )
    }
}
