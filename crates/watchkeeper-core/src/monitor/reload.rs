use std::{fmt, sync::Arc, time::Duration};

use crate::{
    Queue, Router,
    engine::{EngineConfig, NamedDetector},
};

/// The parts of a running monitor that a changed policy replaces.
///
/// [`Engine::replace`](crate::Engine::replace) describes what becomes of detectors, and
/// [`Delivery::replace`](crate::embed::Delivery::replace) what becomes of routes and queues.
pub struct Reload {
    /// The detectors.
    pub detectors: Vec<NamedDetector>,
    /// The configuration of the engine.
    pub engine: EngineConfig,
    /// The routes.
    pub router: Router,
    /// The queues of the sinks, in the order of the router's sinks.
    pub queues: Vec<Arc<Queue>>,
    /// The queues that receive every finding.
    pub observers: Vec<Arc<Queue>>,
    /// See [`MonitorConfig::check_interval`](crate::embed::MonitorConfig::check_interval).
    pub check_interval: Duration,
    /// See [`MonitorConfig::shutdown_timeout`](crate::embed::MonitorConfig::shutdown_timeout).
    pub shutdown_timeout: Duration,
}

impl fmt::Debug for Reload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.queues.iter().map(|queue| queue.name()).collect();
        f.debug_struct("Reload").field("sinks", &names).finish_non_exhaustive()
    }
}
