//! A receiver behind a network that fails.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use watchkeeper_core::{
    Finding, Fingerprint, Sink,
    author::{Retry, SinkError},
    clock::ManualClock,
};
use watchkeeper_testing::Dice;

use crate::disk::Disk;

/// A receiver, and the network in front of it. Clones are the same receiver.
#[derive(Clone)]
pub(crate) struct Receiver(Arc<Mutex<State>>);

pub(crate) struct State {
    dice: Dice,
    /// Nothing reaches the receiver.
    pub(crate) is_down: bool,
    /// The network is reliable.
    pub(crate) is_healed: bool,
    /// The findings about sessions that were accepted, in order.
    pub(crate) accepted: Vec<Finding>,
    /// The findings that no later attempt was allowed for.
    pub(crate) refused: BTreeSet<Fingerprint>,
    /// The accepted findings whose answers were lost.
    pub(crate) n_lost_answers: usize,
}

impl Receiver {
    pub(crate) fn new(seed: u64) -> Self {
        let (accepted, refused) = (Vec::new(), BTreeSet::new());
        let dice = Dice::new(seed);
        let state =
            State { dice, is_down: false, is_healed: false, accepted, refused, n_lost_answers: 0 };
        Self(Arc::new(Mutex::new(state)))
    }

    pub(crate) fn with<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Returns the number of repeated findings.
    pub(crate) fn n_repeated(&self) -> usize {
        self.with(|state| {
            let mut counts: BTreeMap<Fingerprint, usize> = BTreeMap::new();
            state.accepted.iter().for_each(|it| *counts.entry(it.id).or_default() += 1);
            counts.values().map(|n| n - 1).sum()
        })
    }
}

impl State {
    fn accept(&mut self, findings: &[&Finding]) {
        // Those about sinks differ with their failures.
        let about_sessions = findings.iter().filter(|it| &*it.kind != "watchkeeper");
        self.accepted.extend(about_sessions.copied().cloned());
    }

    /// A group is not refused as a whole: its findings follow one by one.
    fn refuse(&mut self, findings: &[&Finding]) {
        if let [finding] = findings {
            self.refused.insert(finding.id);
        }
    }
}

/// The sink that sends to a [`Receiver`].
pub(crate) struct Sender {
    pub(crate) receiver: Receiver,
    pub(crate) clock: ManualClock,
    pub(crate) disk: Disk,
    pub(crate) max_group: usize,
}

impl Sender {
    fn send(&mut self, findings: &[&Finding]) -> Result<(), SinkError> {
        self.receiver.with(|receiver| {
            if self.disk.has_crashed() {
                // The process that makes this attempt has ended.
                return Err(SinkError::unavailable("crashed"));
            }
            if receiver.is_healed {
                receiver.accept(findings);
                return Ok(());
            }
            if receiver.is_down {
                return Err(SinkError::unavailable("connection refused"));
            }
            match receiver.dice.below(100) {
                0..65 => {
                    receiver.accept(findings);
                    Ok(())
                }
                // The process ends before it learns that the finding was accepted.
                65..68 => {
                    receiver.accept(findings);
                    self.disk.crash();
                    Ok(())
                }
                68..71 => {
                    receiver.accept(findings);
                    receiver.n_lost_answers += findings.len();
                    Err(SinkError::unavailable("the answer is lost"))
                }
                71..78 => {
                    self.clock.advance(Duration::from_secs(15));
                    Err(SinkError::unavailable("no answer in 15s"))
                }
                78..84 => {
                    let wait = Duration::from_secs(receiver.dice.between(0, 90_000));
                    Err(SinkError::unavailable("429").with_retry_after(wait))
                }
                84..86 => {
                    receiver.refuse(findings);
                    Err(SinkError::refused("400"))
                }
                86..87 => {
                    receiver.refuse(findings);
                    std::panic::resume_unwind(Box::new("a bug of the sink"))
                }
                _ => Err(SinkError::unavailable("503")),
            }
        })
    }
}

impl Sink for Sender {
    fn deliver(&mut self, finding: &Finding) -> Result<(), SinkError> {
        self.send(&[finding])
    }

    fn max_group(&self) -> usize {
        self.max_group
    }

    fn deliver_group(&mut self, findings: &[&Finding]) -> Result<(), SinkError> {
        self.send(findings)
    }

    fn retry(&self) -> Retry {
        const HOUR: Duration = Duration::from_secs(3_600);
        Retry::new(u32::MAX, Duration::from_secs(5), HOUR)
    }
}
