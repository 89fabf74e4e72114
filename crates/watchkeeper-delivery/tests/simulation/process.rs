//! A process that watches sessions: the engine, the delivery, and the state on the disk.

use std::{io, sync::Arc};

use watchkeeper_core::{
    Context, Detector, Engine, Event, EventKind, Finding, Fingerprint, Level, Report, Severity,
    author::{Origin, Period},
    clock::{Clock as _, ManualClock},
    embed::{
        Backlog, Delivery, Durability, EngineConfig, Grouping, Matcher, NamedDetector, Queue,
        QueueCounts, QueueStep, QueueWorker, Route, Router, SessionFilter,
    },
};
use watchkeeper_delivery::{Cursors, FileLedger, Place};

use crate::{
    disk::{Disk, OpenFile},
    receiver::{Receiver, Sender},
};

/// The time for which a finding waits for others of its group.
const GROUP_WAIT: Period = Period::from_secs(20);

/// The time for which a finding for [`PAGER`] has to be open.
pub(crate) const OPEN_FOR: Period = Period::from_secs(120);

pub(crate) const SINKS: [&str; 3] = ["ops", "team", "pager"];
/// The index of the sink whose route has a `for`.
pub(crate) const PAGER: usize = 2;

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

/// A detector that each second policy adds, in front of the other.
#[derive(Clone, Debug)]
struct Silent;

impl Detector for Silent {
    fn observe(&mut self, _: &Event, _: &mut Context<'_>) {}
}

fn named(id: &str, detector: Box<dyn Detector>) -> NamedDetector {
    NamedDetector {
        id: id.into(),
        kind: id.into(),
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
        detector,
    }
}

/// The parts of the policy that change while a process runs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Policy {
    /// The number of earlier policies.
    pub(crate) version: usize,
    /// The number of findings that a queue keeps in memory.
    pub(crate) capacity: usize,
    /// The largest number of findings in one request.
    pub(crate) max_group: usize,
}

impl Policy {
    fn detectors(self) -> Vec<NamedDetector> {
        let silent = (self.version % 2 == 1).then(|| named("silent", Box::new(Silent)));
        silent.into_iter().chain([named("errors", Box::new(Errors(Vec::new())))]).collect()
    }

    fn router(self) -> Router {
        let names = SINKS.map(str::to_owned);
        let route = |name: &str, sinks: &[String]| {
            let name = format!("{name} {}", self.version);
            let mut route = Route::new(name, Matcher::default(), sinks.to_vec());
            route.send_resolved = true;
            route.grouping = (1 < self.max_group).then(|| Grouping::new(GROUP_WAIT));
            route
        };
        let mut held = route("held", &names[PAGER..]);
        held.open_for = Some(OPEN_FOR);
        let mut routes = vec![route("all", &names[..PAGER]), held];
        // The order of routes changes, too.
        routes.rotate_left(self.version % 2);
        Router::new(routes, &names)
    }
}

/// The machine on which processes run one after the other.
pub(crate) struct Machine {
    pub(crate) clock: ManualClock,
    pub(crate) disk: Disk,
    pub(crate) receivers: [Receiver; 3],
    pub(crate) durability: Durability,
    pub(crate) policy: Policy,
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
            let (sink, ledger) = (Box::new(self.sender(receiver)), Box::new(ledger));
            let (queue, worker) =
                Queue::with_worker(name, sink, self.policy.capacity, ledger, clock);
            queues.push(queue);
            workers.push(worker);
        }
        let mut cursors = Cursors::open(self.disk.open("cursors"), &self.clock, worked_until)?;
        let engine = Engine::new(self.policy.detectors(), EngineConfig::default());
        let mut backlog = Backlog::new(engine, Delivery::new(self.policy.router(), queues));
        for event in events {
            let is_new = cursors.is_new(event);
            backlog.observe(event, is_new);
            advance(&mut cursors, event);
        }
        let (engine, delivery, _) = backlog.finish();
        let mut process = Process { clock: self.clock.clone(), engine, delivery, workers, cursors };
        process.commit();
        Ok(process)
    }

    fn sender(&self, receiver: &Receiver) -> Sender {
        Sender {
            receiver: receiver.clone(),
            clock: self.clock.clone(),
            disk: self.disk.clone(),
            max_group: self.policy.max_group,
        }
    }
}

/// Adds the line of an event to the next commit.
fn advance(cursors: &mut Cursors<OpenFile>, event: &Event) {
    if let Some(Origin { file, line, .. }) = &event.origin {
        cursors.advance(file, None, Place { line: *line, content: None });
    }
}

impl Process {
    /// Handles a line that was appended to a session, as the thread of a monitor does.
    pub(crate) fn read(&mut self, event: &Event) {
        let mut findings = Vec::new();
        self.delivery.advance(event.at);
        self.engine.observe(event, &mut findings);
        for finding in &findings {
            self.delivery.deliver(finding);
        }
        advance(&mut self.cursors, event);
        self.look();
    }

    /// Takes over a changed policy, with other options of the sinks.
    pub(crate) fn reload(&mut self, machine: &Machine) {
        let (policy, now) = (machine.policy, self.clock.now());
        let mut findings = Vec::new();
        self.engine.replace(policy.detectors(), EngineConfig::default(), now, &mut findings);
        assert!(findings.is_empty(), "the detector continues: {findings:?}");
        for (queue, receiver) in self.delivery.queues().iter().zip(&machine.receivers) {
            queue.replace_sink(Box::new(machine.sender(receiver)), policy.capacity, &[]);
        }
        let queues = self.delivery.queues().to_vec();
        self.delivery.replace(policy.router(), queues, Vec::new(), now);
        self.look();
    }

    /// Lets time pass for findings that wait, reports failures of sinks, and stores how far the
    /// sessions were read.
    pub(crate) fn look(&mut self) {
        self.delivery.advance(self.clock.now());
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
    let detectors = vec![named("errors", Box::new(Errors(Vec::new())))];
    let (mut engine, mut findings) = (Engine::new(detectors, EngineConfig::default()), Vec::new());
    for event in events {
        engine.observe(event, &mut findings);
    }
    findings
}
