use std::io;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Finding, Fingerprint};

/// The events that findings survive between a detector and a sink.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Durability {
    /// None: findings are in memory, and end with the process.
    Off,
    /// The end of the process. The operating system writes findings to the disk some seconds
    /// later.
    #[default]
    Process,
    /// A loss of power: the findings of each burst of events are written to the disk together.
    Power,
}

impl Durability {
    /// Returns the name used in policies.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Process => "process",
            Self::Power => "power",
        }
    }
}

/// Remembers the findings of one sink beyond the end of the process.
///
/// A [queue](crate::Queue) with a ledger adds each finding before the sink receives it, and
/// records the outcome afterwards. A finding without an outcome is *pending*: the queue
/// delivers it after the next start. A finding that was added before is not delivered again.
///
/// All methods run under the lock of the queue, and none may wait for anything but the disk.
pub trait Ledger: Send {
    /// Returns the id under which a finding is added: another one than its own if an earlier
    /// report with this id is [withdrawn](Finding::withdrawn). A receiver would take a report
    /// with the same id for a repeat.
    fn id_of(&self, finding: &Finding) -> Fingerprint {
        finding.id
    }

    /// Returns whether a finding was added under its [id](Self::id_of), now or by an earlier
    /// process.
    ///
    /// A finding that is dated after another one with its id and after the outcome of that one is
    /// not that one: a session with the same name was written again. A finding that an earlier
    /// monitor has [observed](Finding::was_observed) is that one, whatever its time.
    fn contains(&self, finding: &Finding) -> bool;

    /// Returns whether a finding was added under this id and has no outcome.
    fn is_pending(&self, id: Fingerprint) -> bool;

    /// Stores a pending finding, and returns its number. Numbers grow.
    ///
    /// After an error nothing is stored, and the finding is not remembered.
    fn add(&mut self, finding: &Finding) -> io::Result<u64>;

    /// Records that the sink has accepted a finding, which may not have been stored before.
    ///
    /// The ledger remembers an outcome that it cannot store, and stores it later: the error
    /// is for a report.
    fn accept(&mut self, id: Fingerprint) -> io::Result<()>;

    /// Records that a finding will never be delivered; otherwise as
    /// [`accept`](Self::accept).
    fn give_up(&mut self, id: Fingerprint) -> io::Result<()>;

    /// Returns the number of pending findings.
    fn n_pending(&self) -> usize;

    /// Returns at most `max` pending findings with numbers of at least `from`, in the order
    /// of their numbers. Findings that cannot be read are left out, and stay pending.
    fn pending(&mut self, from: u64, max: usize) -> Vec<(u64, Finding)>;

    /// Gives up the oldest of the least severe pending findings whose numbers are at least
    /// `from`.
    fn give_up_least_severe(&mut self, from: u64);

    /// Makes everything that was stored survive a loss of power, if the ledger is for that.
    fn sync(&mut self) -> io::Result<()>;
}
