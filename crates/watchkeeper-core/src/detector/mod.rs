//! The contract between detectors and the engine.
//!
//! A [`Detector`] handles the events and wake-ups of one stream. It reads facts
//! from a [`Context`], and reports measures to it. The modules here import the
//! vocabulary and the facts, and nothing of the engine.

pub(crate) mod condition;
mod context;
pub(crate) mod outbox;
mod report;
mod subscription;

use std::fmt;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;

pub(crate) use self::context::{Input, Observed};
pub use self::{
    context::Context,
    report::Report,
    subscription::{Scope, Subscription},
};
use crate::{Event, InvalidOption, Level, Severity, Unit};

/// Finds one kind of condition in one stream of events.
///
/// The smallest correct detector implements [`observe`](Self::observe) alone.
///
/// A detector is a state machine: its findings depend on the events and wake-ups
/// that it receives, in order, and on nothing else. It does no I/O, reads no
/// clock, and cannot fail. Its state is bounded for every stream.
///
/// The engine holds one pristine detector for each entry of the policy and clones
/// it for each stream. So a detector derives [`Clone`], keeps shared values behind
/// an [`Arc`](std::sync::Arc), and has state of its own stream only. Its
/// [`Debug`](fmt::Debug) output contains its whole state: the laws compare states
/// and measure their size with it.
///
/// If a detector panics, the engine emits a finding of class `error` and turns the
/// detector off for the session.
pub trait Detector: CloneDetector + fmt::Debug + Send + Sync {
    /// Handles the next event of the stream.
    fn observe(&mut self, event: &Event, cx: &mut Context<'_>);

    /// Handles the wake-up that was requested last with [`Context::wake_at`] or
    /// [`Context::wake_after`].
    fn wake(&mut self, cx: &mut Context<'_>) {
        let _: &mut Context<'_> = cx;
    }

    /// Returns the events that the detector receives, and the definition of its
    /// stream.
    ///
    /// The engine calls this once, for the detector that the policy built. The
    /// default is every event of one agent. A narrower subscription makes the monitor
    /// faster and must change no finding; the laws check that.
    fn subscription(&self) -> Subscription {
        Subscription::default()
    }

    /// Returns whether the state equals the state of a new detector.
    ///
    /// The engine drops the state of an idle detector and clones the pristine
    /// detector again when an event arrives, so that inactive sessions need almost
    /// no memory. An idle detector and a new one have the same
    /// [`Debug`](fmt::Debug) output.
    fn is_idle(&self) -> bool {
        false
    }

    /// Returns an upper bound for the memory that all streams share, in bytes, for options
    /// that take up much more memory than their text: compiled regular expressions.
    ///
    /// A policy is refused if its detectors together exceed a limit. Return the memory in
    /// use, if values are compiled later.
    fn shared_memory(&self) -> usize {
        0
    }
}

/// A kind of detector, which `kind = "…"` selects in a policy.
pub trait DetectorKind: Detector + Clone + Sized + 'static {
    /// The name, in kebab-case. It describes the condition, not the remedy.
    const KIND: &'static str;

    /// The README of the crate, which `watchkeeper explain` and docs.rs show.
    const DOCS: &'static str;

    /// The class of its findings: `timeout`, `runaway`, `budget`, `error`, or a
    /// word of your own.
    const CLASS: &'static str;

    /// The unit of its measures.
    const UNIT: Unit = Unit::Count;

    /// The levels of a policy entry without `levels`, the lowest first.
    const LEVELS: &'static [Level] = &[Level::new(1, Severity::Medium)];

    /// The measure of the only level of a policy entry with `severity` and without
    /// `levels`.
    const LIMIT: u64 = match Self::UNIT {
        Unit::Count => Self::LEVELS[0].at,
        Unit::Percent => 100,
    };

    /// The keys of its table in a policy, beside the keys of every detector. A kind
    /// without options uses an empty struct: `()` refuses a table.
    type Options: DeserializeOwned + JsonSchema;

    /// Builds a detector in its pristine state.
    ///
    /// Returns the name of an option that contradicts the others. The policy reader
    /// points at its line.
    fn new(options: Self::Options) -> Result<Self, InvalidOption>;
}

/// Clones boxed detectors. Every [`Clone`] detector implements it.
pub trait CloneDetector {
    /// Clones into a new box.
    fn clone_box(&self) -> Box<dyn Detector>;
}

impl Clone for Box<dyn Detector> {
    fn clone(&self) -> Self {
        self.as_ref().clone_box()
    }
}

impl<D: Detector + Clone + 'static> CloneDetector for D {
    fn clone_box(&self) -> Box<dyn Detector> {
        Box::new(self.clone())
    }
}
