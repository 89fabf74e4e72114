//! What the page and the metrics of a live monitor show: the board, and counts.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use watchkeeper_core::{
    Event, Finding, Severity, Sink, Status, Timestamp,
    author::{SinkError, StateKind, Tokens},
    embed::{EngineConfig, Queue, QueueCounts, Running},
};
use watchkeeper_http::{FindingNumber, MonitorState, Numbers, SinkNumbers};
use watchkeeper_page::{Board, BoardLimits};
use watchkeeper_sources::Update;

/// The queue of the page, which is no sink of the policy.
const QUEUE: &str = "live page";
/// The findings that wait for the page at most.
const CAPACITY: usize = 4096;
/// The largest number of kinds of detectors that are counted one by one.
const MAX_KINDS: usize = 256;

/// The data of the page of a live monitor.
pub(crate) struct LivePage {
    board: Arc<Board>,
    started_at: Timestamp,
    running: OnceLock<Arc<Running>>,
    /// Events that were handled before the monitor has started.
    n_recorded: AtomicU64,
    n_skipped: AtomicU64,
    counts: Mutex<Counts>,
}

/// Counts that never fall.
#[derive(Default)]
struct Counts {
    findings: BTreeMap<(Box<str>, Severity, bool), u64>,
    tokens: Tokens,
    cost_usd: f64,
}

impl LivePage {
    /// Creates the page of a monitor that starts now.
    pub(crate) fn new(config: EngineConfig, started_at: Timestamp) -> Arc<Self> {
        Arc::new(Self {
            board: Arc::new(Board::new(config, BoardLimits::default())),
            started_at,
            running: OnceLock::new(),
            n_recorded: AtomicU64::new(0),
            n_skipped: AtomicU64::new(0),
            counts: Mutex::default(),
        })
    }

    pub(crate) fn board(&self) -> Arc<Board> {
        self.board.clone()
    }

    /// Returns a queue through which the page receives findings.
    pub(crate) fn queue(self: &Arc<Self>) -> Queue {
        Queue::new(QUEUE, Box::new(PageSink(self.clone())), CAPACITY)
    }

    pub(super) fn observe(&self, event: &Event) {
        self.board.observe(event);
    }

    pub(super) fn on_update(&self, update: &Update) {
        if matches!(update, Update::SkippedLine { .. }) {
            self.n_skipped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Takes the monitor, once everything that was recorded before its start is read.
    pub(super) fn start(&self, running: &Arc<Running>, n_recorded: u64) {
        self.n_recorded.store(n_recorded, Ordering::Relaxed);
        // Started once.
        let _ = self.running.set(running.clone());
    }

    /// Uses the prices and labels of a changed policy.
    pub(super) fn reconfigure(&self, config: EngineConfig, now: Timestamp) {
        self.board.reconfigure(config, now);
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Counts {
    fn count(&mut self, finding: &Finding) {
        let is_open = finding.status == Status::Open;
        let is_known = |kind: &str| self.findings.keys().any(|(known, ..)| **known == *kind);
        let has_room = self.findings.len() < MAX_KINDS || is_known(&finding.kind);
        let kind = if has_room { &*finding.kind } else { "other" };
        *self.findings.entry((kind.into(), finding.severity, is_open)).or_default() += 1;
    }
}

/// Passes findings to the page.
struct PageSink(Arc<LivePage>);

impl Sink for PageSink {
    fn deliver(&mut self, finding: &Finding) -> Result<(), SinkError> {
        self.0.counts().count(finding);
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
        let rows = self.board.rows();
        let sessions = StateKind::ALL.iter().map(|state| {
            let n = rows.iter().filter(|row| row.state.kind == *state).count();
            (state.name(), n as u64)
        });
        let totals = self.board.totals();
        let mut counts = self.counts();
        // A response that is recorded again may be smaller, and sums of prices are not exact.
        counts.tokens = largest(counts.tokens, totals.tokens);
        counts.cost_usd = counts.cost_usd.max(totals.cost_usd);
        let Tokens { input, output, cache_read, cache_write, .. } = counts.tokens;
        let findings = counts.findings.iter().map(|((kind, severity, is_open), count)| {
            let status = if *is_open { "open" } else { "resolved" };
            FindingNumber { kind: kind.clone(), severity: severity.name(), status, count: *count }
        });
        let running = self.running.get();
        let monitor = running.map(|running| running.counts()).unwrap_or_default();
        let queues = running.map(|running| running.queue_counts()).unwrap_or_default();
        Numbers {
            started_at: self.started_at.as_duration().as_secs_f64(),
            events: self.n_recorded.load(Ordering::Relaxed) + monitor.events,
            events_dropped: monitor.dropped,
            lines_skipped: self.n_skipped.load(Ordering::Relaxed),
            sessions: sessions.collect(),
            // These classes do not overlap.
            tokens: vec![
                ("input", input),
                ("output", output),
                ("cache_read", cache_read),
                ("cache_write", cache_write),
            ],
            cost_usd: counts.cost_usd,
            findings: findings.collect(),
            findings_silenced: monitor.silenced,
            sinks: queues.into_iter().filter(|(name, _)| name != QUEUE).map(sink).collect(),
        }
    }
}

fn largest(a: Tokens, b: Tokens) -> Tokens {
    Tokens {
        input: a.input.max(b.input),
        output: a.output.max(b.output),
        cache_read: a.cache_read.max(b.cache_read),
        cache_write: a.cache_write.max(b.cache_write),
        ..b
    }
}

fn sink((name, counts): (String, QueueCounts)) -> SinkNumbers {
    let QueueCounts { received, delivered, dropped, failed, .. } = counts;
    let pending = received.saturating_sub(delivered + dropped + failed);
    SinkNumbers { name: name.into(), delivered, failed, dropped, pending }
}
