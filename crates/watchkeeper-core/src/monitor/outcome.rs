use super::shared::TARGET;

/// The counts of a monitor so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct MonitorCounts {
    /// Events handled.
    pub events: u64,
    /// Findings that opened or escalated, whatever their routes. Findings that
    /// [`MonitorConfig::since`](crate::embed::MonitorConfig::since) leaves out are not counted.
    pub findings: u64,
    /// Repeats of findings that the cooldowns of routes have suppressed.
    pub suppressed: u64,
    /// Findings that silences have hidden.
    pub silenced: u64,
    /// Events dropped because too many were waiting or the monitor had
    /// stopped. After a stop, `events` and `dropped` add up to the number of
    /// events that were recorded and fed.
    pub dropped: u64,
    /// Findings that sinks lost; a finding that two sinks lost counts twice.
    pub lost: u64,
}

/// The final counts of a monitor.
///
/// `recorded` is always the sum of `handled` and `dropped`, and `sent` the sum
/// of `delivered`, `lost` and `pending`, also where a sink blocked or panicked and the
/// shutdown timeout passed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "check whether findings were lost"]
#[non_exhaustive]
pub struct Stopped {
    /// Events recorded and fed until the stop.
    pub recorded: u64,
    /// Events that the detectors have seen.
    pub handled: u64,
    /// Events that were dropped because too many were waiting, or because the
    /// monitor was stopping.
    pub dropped: u64,
    /// Findings sent to sinks; a finding that goes to two sinks counts twice.
    pub sent: u64,
    /// Findings that sinks delivered.
    pub delivered: u64,
    /// Findings that sinks did not deliver, for whatever reason.
    pub lost: u64,
    /// Findings that ledgers keep for the next start.
    pub pending: u64,
    /// The shutdown timeout passed before everything was delivered.
    pub timed_out: bool,
    /// The counts of each sink.
    pub sinks: Vec<SinkOutcome>,
}

/// The final counts of a sink.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SinkOutcome {
    /// The name of the sink in the policy.
    pub name: String,
    /// Findings that the sink delivered.
    pub delivered: u64,
    /// Findings that the sink did not deliver.
    pub lost: u64,
    /// Findings that the ledger of the sink keeps for the next start.
    pub pending: u64,
    /// The error of the finding that the sink failed to deliver last. It may
    /// quote the receiver: make it safe before it is printed.
    pub last_error: Option<String>,
}

impl Stopped {
    pub(super) fn trace(&self) {
        let Self { handled, dropped, delivered, lost, pending, timed_out, .. } = *self;
        if 0 < lost {
            tracing::warn!(
                target: TARGET, handled, dropped, delivered, lost, pending, timed_out,
                "stopped the monitor; findings were lost"
            );
        } else {
            tracing::debug!(target: TARGET, handled, dropped, delivered, pending, "stopped the monitor");
        }
    }
}
