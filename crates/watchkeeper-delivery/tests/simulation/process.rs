//! A process that watches sessions: the engine, the delivery, and the state on the disk.

use std::{io, sync::Arc};

use watchkeeper_core::{
    Context, Detector, Engine, Event, EventKind, Finding, Fingerprint, Level, Report, Severity,
    author::Period,
    clock::{Clock as _, ManualClock},
    embed::{
        Backlog, Delivery, Durability, EngineConfig, Grouping, Matcher, NamedDetector, Queue,
        QueueCounts, QueueStep, QueueWorker, Route, Router, SessionFilter,
    },
};
use watchkeeper_delivery::{Cursors, FileLedger};

use crate::{
    disk::{Disk, OpenFile},
    receiver::{Receiver, Sender},
};

/// The time for which a finding waits for others of its group.
const GROUP_WAIT: Period = Period::from_secs(20);

pub(crate) const SINKS: [&str; 2] = ["ops", "team"];

/// Reports the number of errors since the last `fixed`, for each text of an error.
#[derive(Clone, Debug)]
struct Errors(Vec<(Box<str>, u64)>);

impl Detector for Errors {
    fn observe(&mut self, event: &Event, cx: &mut Context<'_>) {
        match &event.kind {
            EventKind::Error { message, .. } => {
                let known = self.0.iter().position(|(text, _)| text == message);
                let idx = known.unwrap_or_else(|| {
                    self.0.push((message.clone(), 0));
                    self.0.len() - 1
                });
                let n = &mut self.0[idx].1;
                *n += 1;
                cx.report(Fingerprint::of(&**message), *n, || Report::new("errors"));
            }
            EventKind::Message { text: fixed, .. } => {
                self.0.retain(|(text, _)| text != fixed);
                cx.resolve(Fingerprint::of(&**fixed), || Report::new("fixed"));
            }
            _ => {}
        }
    }
}

pub(crate) fn engine() -> Engine {
    let detector = NamedDetector {
        id: "errors".into(),
        kind: "errors".into(),
        class: "error".into(),
        annotations: Arc::default(),
        levels: vec![
            Level::new(1, Severity::Low),
            Level::new(2, Severity::Medium),
            Level::new(4, Severity::High),
        ],
        inhibited_by: Vec::new(),
        per: None,
        sessions: SessionFilter::default(),
        options: Fingerprint::NONE,
        detector: Box::new(Errors(Vec::new())),
    };
    Engine::new(vec![detector], EngineConfig::default())
}

/// The machine on which processes run one after the other.
pub(crate) struct Machine {
    pub(crate) clock: ManualClock,
    pub(crate) disk: Disk,
    pub(crate) receivers: [Receiver; 2],
    pub(crate) durability: Durability,
    /// The number of findings that a queue keeps in memory.
    pub(crate) capacity: usize,
    /// The largest number of findings in one request.
    pub(crate) max_group: usize,
}

/// A process.
pub(crate) struct Process {
    clock: ManualClock,
    engine: Engine,
    delivery: Delivery,
    pub(crate) workers: Vec<QueueWorker>,
    cursors: Cursors<OpenFile>,
}

impl Machine {
    /// Starts a process, which reads everything that is recorded.
    pub(crate) fn start(&self, events: &[Event]) -> io::Result<Process> {
        let (mut queues, mut workers, mut worked_until) = (Vec::new(), Vec::new(), None);
        for (name, receiver) in SINKS.into_iter().zip(&self.receivers) {
            let clock = Arc::new(self.clock.clone());
            let ledger = FileLedger::open(self.disk.open(name), clock.clone(), self.durability)?;
            worked_until = worked_until.max(ledger.last_outcome());
            let sink = Box::new(Sender {
                receiver: receiver.clone(),
                clock: self.clock.clone(),
                disk: self.disk.clone(),
                max_group: self.max_group,
            });
            let (queue, worker) =
                Queue::with_worker(name, sink, self.capacity, Box::new(ledger), clock);
            queues.push(queue);
            workers.push(worker);
        }
        let mut cursors = Cursors::open(self.disk.open("cursors"), &self.clock, worked_until)?;
        let names = SINKS.map(str::to_owned);
        let mut route = Route::new("all", Matcher::default(), names.to_vec());
        route.send_resolved = true;
        route.grouping = (1 < self.max_group).then(|| Grouping::new(GROUP_WAIT));
        let router = Router::new(vec![route], &names);
        let mut backlog = Backlog::new(engine(), Delivery::new(router, queues));
        for event in events {
            let is_new = cursors.is_new(event);
            backlog.observe(event, is_new);
            cursors.advance(event);
        }
        let (engine, delivery, _) = backlog.finish();
        let mut process = Process { clock: self.clock.clone(), engine, delivery, workers, cursors };
        process.commit();
        Ok(process)
    }
}

impl Process {
    /// Handles a line that was appended to a session, as the thread of a monitor does.
    pub(crate) fn read(&mut self, event: &Event) {
        let mut findings = Vec::new();
        self.engine.observe(event, &mut findings);
        for finding in &findings {
            self.delivery.deliver(finding);
        }
        self.cursors.advance(event);
        self.look();
    }

    /// Reports failures of sinks, and stores how far the sessions were read.
    pub(crate) fn look(&mut self) {
        self.delivery.report_failures(self.clock.now());
        self.delivery.commit();
        self.commit();
    }

    fn commit(&mut self) {
        // In this order: without the findings of an event, its line is new to the next process.
        if self.delivery.queues().iter().all(|queue| queue.is_stored()) {
            // Lines that cannot be written are written later.
            let _ = self.cursors.commit(&self.clock);
        }
    }

    /// Delivers the waiting findings, as far as the sinks accept them at once. Returns the
    /// final counts.
    pub(crate) fn stop(mut self) -> Vec<QueueCounts> {
        self.look();
        self.delivery.close();
        for worker in &mut self.workers {
            while worker.step() != QueueStep::End {}
        }
        self.end()
    }

    /// Ends without any of this.
    pub(crate) fn end(self) -> Vec<QueueCounts> {
        let Self { delivery, workers, .. } = self;
        drop(workers);
        delivery.counts().into_iter().map(|(_, counts)| counts).collect()
    }
}

/// Returns the findings of a process that is never interrupted, in order.
pub(crate) fn expected(events: &[Event]) -> Vec<Finding> {
    let (mut engine, mut findings) = (engine(), Vec::new());
    for event in events {
        engine.observe(event, &mut findings);
    }
    findings
}
