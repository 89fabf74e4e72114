use std::sync::Arc;

use watchkeeper_page::Board;

use crate::{numbers::Numbers, otlp::OtlpReceiver, silences::SilenceStore};

/// The parts of a program that a server shows to its clients.
pub struct Backend {
    /// The sessions and findings.
    pub board: Arc<Board>,
    /// The state of the monitor.
    pub monitor: Arc<dyn MonitorState>,
    /// The silences; `None` if there is no place to store them.
    pub silences: Option<Arc<dyn SilenceStore>>,
    /// The receiver of OTLP; without it, the paths of OTLP do not exist.
    pub otlp: Option<Arc<dyn OtlpReceiver>>,
}

/// The state of a monitor. The methods run on the thread of the server, and must not wait.
pub trait MonitorState: Send + Sync + 'static {
    /// Returns whether the monitor runs.
    fn is_running(&self) -> bool;

    /// Returns whether the monitor has read everything that was recorded before its start.
    fn is_ready(&self) -> bool;

    /// Returns the numbers for `/metrics`.
    fn numbers(&self) -> Numbers;
}
