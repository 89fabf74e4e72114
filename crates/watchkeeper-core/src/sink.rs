use std::{io, time::Duration};

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use thiserror::Error;

use crate::{Finding, InvalidOption};

/// Delivers findings to people or to other programs.
///
/// A sink runs on its own thread, behind a bounded [queue](crate::Queue): it
/// may block, and it may fail, without holding up the engine or any other
/// sink.
pub trait Sink: Send {
    /// Gets ready to deliver: opens the file, finds the terminal.
    ///
    /// Runs once, on the sink's own thread, before the first finding. Making a
    /// sink does no I/O, so that a policy can be checked on any machine.
    fn open(&mut self) -> Result<(), SinkError> {
        Ok(())
    }

    /// Delivers one finding.
    fn deliver(&mut self, finding: &Finding) -> Result<(), SinkError>;

    /// How often and how patiently the queue tries again.
    fn retry(&self) -> Retry {
        Retry::NEVER
    }
}

/// A kind of sink: what `kind = "…"` names in `[sinks.*]`.
pub trait SinkKind: Sink + Sized + 'static {
    /// The name, in kebab-case.
    const KIND: &'static str;

    /// Its manual, in Markdown.
    const DOCS: &'static str;

    /// What its table in a policy may hold, beside the keys that every sink has.
    type Options: DeserializeOwned + JsonSchema;

    /// Makes the sink; it does no I/O until [`Sink::open`].
    fn new(options: Self::Options) -> Result<Self, InvalidOption>;
}

/// How a queue tries again when its sink is unavailable: after the first
/// attempt it waits between nothing and `initial`, then up to twice that, and
/// so on up to `max` (exponential backoff with full jitter).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// How many attempts a finding gets, the first included.
    pub max_attempts: u32,
    /// The longest wait before the second attempt.
    pub initial: Duration,
    /// The longest wait before any attempt, one that the other side asks for
    /// included.
    pub max: Duration,
}

impl Retry {
    /// One attempt.
    pub const NEVER: Self = Self { max_attempts: 1, initial: Duration::ZERO, max: Duration::ZERO };
}

/// Why a finding was not delivered.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SinkError {
    /// Trying again later may help.
    #[error("unavailable: {reason}")]
    Unavailable {
        /// What went wrong.
        reason: String,
        /// When the other side asks to be tried again.
        retry_after: Option<Duration>,
    },

    /// Trying again won't help.
    #[error("refused: {reason}")]
    Refused {
        /// What it said.
        reason: String,
    },
}

impl From<io::Error> for SinkError {
    fn from(err: io::Error) -> Self {
        Self::Unavailable { reason: err.to_string(), retry_after: None }
    }
}
