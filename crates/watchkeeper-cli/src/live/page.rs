//! The page and the metrics of a live monitor: the board, and the numbers.

use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock},
    time::Duration,
};

use watchkeeper_core::{
    Event, Finding, Sink, Timestamp, Unit,
    author::{Numbers, SinkError},
    clock::{Clock as _, SystemClock},
    embed::{Entry as _, Meter, Queue, Registry, Running},
};
use watchkeeper_http::MonitorState;
use watchkeeper_page::{Board, BoardLimits, BudgetDetectors};
use watchkeeper_policy::Policy;

/// The queue of the page, which is no sink of the policy.
const QUEUE: &str = "live page";
/// The findings that wait for the page at most.
const CAPACITY: usize = 4096;

/// The data of the page of a live monitor.
pub(crate) struct LivePage {
    board: Arc<Board>,
    /// The units of the measures of all kinds of detectors.
    units: BTreeMap<&'static str, Unit>,
    /// Empty before the first event.
    meter: OnceLock<Arc<Meter>>,
    /// Empty until everything that was recorded before the start is read.
    running: OnceLock<Arc<Running>>,
}

impl LivePage {
    /// Creates the page of a monitor.
    pub(crate) fn new(policy: &Policy, registry: &Registry) -> Arc<Self> {
        let units = registry.detectors.iter().map(|entry| (entry.kind(), entry.unit)).collect();
        let budgets = budgets(policy, &units);
        let board = Board::new(budgets, policy.engine_config(), BoardLimits::default());
        Arc::new(Self {
            board: Arc::new(board),
            units,
            meter: OnceLock::new(),
            running: OnceLock::new(),
        })
    }

    pub(crate) fn board(&self) -> Arc<Board> {
        self.board.clone()
    }

    /// Returns a queue through which the page receives findings.
    pub(crate) fn queue(self: &Arc<Self>) -> Queue {
        Queue::new(QUEUE, Box::new(PageSink(self.clone())), CAPACITY).with_silenced()
    }

    pub(super) fn observe(&self, event: &Event) {
        self.board.observe(event);
    }

    /// Shows the numbers of a monitor, from before its start on.
    pub(super) fn connect(&self, meter: &Arc<Meter>) {
        // A page has one monitor.
        let _ = self.meter.set(meter.clone());
    }

    /// Takes the monitor, once everything that was recorded before its start is read.
    pub(super) fn start(&self, running: &Arc<Running>) {
        // Started once.
        let _ = self.running.set(running.clone());
    }

    /// Uses the budgets, prices and labels of a changed policy.
    pub(super) fn reconfigure(&self, policy: &Policy, now: Timestamp) {
        self.board.reconfigure(budgets(policy, &self.units), policy.engine_config(), now);
    }

    /// Ends the budgets whose time is over.
    pub(super) fn advance(&self) {
        self.board.advance(SystemClock.now());
    }

    /// Returns the longest wait until [`advance`](Self::advance) has work.
    pub(super) fn longest_wait(&self) -> Duration {
        let wait = self.board.next_wakeup().map(|at| at.duration_since(SystemClock.now()));
        wait.map_or(Duration::MAX, |wait| wait.try_into().unwrap_or_default())
    }
}

/// Selects the detectors of a policy that measure usage.
fn budgets(policy: &Policy, units: &BTreeMap<&'static str, Unit>) -> BudgetDetectors {
    BudgetDetectors::new(&policy.detectors, |kind| units.get(kind).copied())
}

/// Passes findings to the page.
struct PageSink(Arc<LivePage>);

impl Sink for PageSink {
    fn deliver(&mut self, finding: &Finding) -> Result<(), SinkError> {
        self.0.board.report(finding);
        Ok(())
    }
}

impl MonitorState for LivePage {
    fn is_running(&self) -> bool {
        self.running.get().is_none_or(|running| running.is_running())
    }

    fn is_ready(&self) -> bool {
        self.running.get().is_some_and(|running| running.is_running())
    }

    fn numbers(&self) -> Numbers {
        self.meter.get().map_or_else(Numbers::default, |meter| meter.numbers())
    }
}
