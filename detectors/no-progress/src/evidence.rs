use std::num::NonZeroU32;

use watchkeeper_core::{Fingerprint, author::Contribution};

/// The weights of the [`Evidence`], in half steps.
///
/// `cargo run --release -p watchkeeper-benches --example fit` fits them to labelled sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Weights {
    /// Added by a call that found nothing.
    pub nothing: u32,
    /// Added by a call that failed.
    pub failed: u32,
    /// Added by a result that contains nothing new.
    pub known: u32,
    /// Added by a result that is new by half.
    pub partly_known: u32,
    /// Added by a change that was made recently.
    pub repeated_change: u32,
    /// Subtracted by a new result.
    pub new: u32,
    /// The number of new results in a row that are progress; zero if no number is.
    pub new_in_a_row: u8,
}

impl Weights {
    /// The weights of the detector.
    ///
    /// Fitted to 154 labelled sessions and rounded to half steps.
    pub const FITTED: Self = Self {
        nothing: 2,
        failed: 2,
        known: 2,
        partly_known: 1,
        repeated_change: 2,
        new: 2,
        new_in_a_row: 4,
    };

    /// Returns the weights with which only changes are progress.
    pub(crate) const fn of_changes(self) -> Self {
        Self { new: 0, new_in_a_row: 0, ..self }
    }

    /// Returns the half steps that a contribution adds.
    pub(crate) const fn of(&self, contribution: Contribution) -> u32 {
        match contribution {
            Contribution::Nothing => self.nothing,
            Contribution::Failed => self.failed,
            Contribution::Known => self.known,
            Contribution::PartlyKnown => self.partly_known,
            Contribution::RepeatedChange => self.repeated_change,
            _ => 0,
        }
    }
}

/// The evidence that an agent makes no progress: the sum of the weights of its steps, at least
/// zero.
///
/// This is the one-sided cumulative sum of E. S. Page, *Continuous Inspection Schemes*, 1954.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Evidence {
    half_steps: u32,
    n_new_in_a_row: u8,
    /// The response whose parallel calls have added evidence.
    added_by: Option<NonZeroU32>,
    /// The response whose parallel calls count as one new result in a row.
    new_by: Option<NonZeroU32>,
}

/// The reason why the evidence is zero again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reset {
    /// A change was made.
    Change,
    /// Results were new.
    New,
}

impl Evidence {
    /// Adds a call of a model response, and returns the reason if the call is progress.
    ///
    /// Of the parallel calls of one response, the first without progress adds evidence. Each
    /// new result subtracts, and together they are one of several in a row. A neutral call
    /// changes nothing.
    pub fn add(
        &mut self,
        contribution: Contribution,
        response: Option<Fingerprint>,
        weights: &Weights,
    ) -> Option<Reset> {
        let response = response.map(Fingerprint::brief);
        let reset = match contribution {
            Contribution::Neutral => return None,
            Contribution::Change => Some(Reset::Change),
            Contribution::New => self.subtract(response, weights),
            _ => {
                self.n_new_in_a_row = 0;
                if response.is_none() || self.added_by != response {
                    self.half_steps = self.half_steps.saturating_add(weights.of(contribution));
                    self.added_by = response;
                }
                None
            }
        };
        if reset.is_some() {
            *self = Self::default();
        }
        reset
    }

    fn subtract(&mut self, response: Option<NonZeroU32>, weights: &Weights) -> Option<Reset> {
        if response.is_none() || self.new_by != response {
            self.n_new_in_a_row = self.n_new_in_a_row.saturating_add(1);
            self.new_by = response;
        }
        self.half_steps = self.half_steps.saturating_sub(weights.new);
        let is_progress = self.half_steps == 0 || self.n_new_in_a_row == weights.new_in_a_row;
        is_progress.then_some(Reset::New)
    }

    /// Returns the evidence in whole steps.
    pub const fn steps(&self) -> u64 {
        (self.half_steps / 2) as u64
    }

    pub(crate) const fn half_steps(&self) -> u32 {
        self.half_steps
    }
}
