use std::sync::Arc;

use watchkeeper_core::author::Numbers;
use watchkeeper_page::Board;

use crate::{
    acknowledgements::AcknowledgementStore, history::History, otlp::OtlpReceiver,
    silences::SilenceStore,
};

/// The parts of a program that a server shows to its clients.
pub struct Backend {
    /// The sessions and findings.
    pub board: Arc<Board>,
    /// The state of the monitor.
    pub monitor: Arc<dyn MonitorState>,
    /// The silences; `None` if there is no place to store them.
    pub silences: Option<Arc<dyn SilenceStore>>,
    /// The acknowledgements; `None` if there is no place to store them.
    pub acknowledgements: Option<Arc<dyn AcknowledgementStore>>,
    /// The findings of earlier runs; `None` if there is no place for them.
    pub history: Option<Arc<dyn History>>,
    /// The receiver of OTLP; without it, the paths of OTLP do not exist.
    pub otlp: Option<Arc<dyn OtlpReceiver>>,
}

/// The state of a monitor.
pub trait MonitorState: Send + Sync + 'static {
    /// Returns whether the monitor runs. Runs on the thread of the server, and must not wait.
    fn is_running(&self) -> bool;

    /// Returns whether the monitor has read everything that was recorded before its start. Runs on
    /// the thread of the server, and must not wait.
    fn is_ready(&self) -> bool;

    /// Returns the numbers for `/metrics`. Runs on a thread for reads, and may wait for a lock.
    fn numbers(&self) -> Numbers;
}
