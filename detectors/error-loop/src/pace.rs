//! The weight of failures that are far apart, or that survive changes.

use watchkeeper_core::{Context, SignedDuration, Timestamp};

use crate::failure::{Failure, Weight};

/// Polls and outages with gaps of at least this length are measured by the time that has
/// passed: the agent gives the awaited service time.
const SPACED_GAP: SignedDuration = SignedDuration::from_secs(15);
/// The time of such failures that counts as one failure.
const SPACED_TIME: SignedDuration = SignedDuration::from_mins(30);
/// The number of changes after which an error that survives them has its full weight.
const MANY_CHANGES: u64 = 12;

/// Returns the weight of the latest of some failures if the gaps between them are long on
/// average.
pub(crate) fn spaced_weight(
    n_failures: u64,
    since: Timestamp,
    failure: &Failure<'_>,
    cx: &Context<'_>,
) -> Option<u64> {
    let n_gaps = i64::try_from(n_failures.checked_sub(1)?).ok().filter(|n| *n != 0)?;
    let gap = cx.now().duration_since(since).as_secs() / n_gaps;
    if gap < SPACED_GAP.as_secs() {
        return None;
    }
    let gap = u64::try_from(gap.min(SPACED_TIME.as_secs())).unwrap_or_default();
    let weight = Weight::UNIT * gap / SPACED_TIME.as_secs().unsigned_abs();
    Some(weight.min(failure.weight.get()))
}

/// The difference between two outputs with the same error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OutputChange {
    None,
    /// The numbers in the line of the error differ, or the error is at a place where it was before.
    AtKnownPlace,
    /// The output differs and shows no place: the error may have moved.
    WithoutPlace,
}

impl OutputChange {
    /// Returns the number of times that a weight is halved for this change.
    const fn n_halves(self) -> u32 {
        match self {
            Self::None => 0,
            Self::AtKnownPlace => 1,
            Self::WithoutPlace => 3,
        }
    }
}

/// Returns the weight of a failure that has survived a number of changes: the first ones are
/// honest work, and each further one is stronger evidence. Other output around the same error
/// shows that the change had an effect.
pub(crate) fn survived_weight(full: u64, n_survived: u32, change: OutputChange) -> u64 {
    (full * u64::from(n_survived).min(MANY_CHANGES) / MANY_CHANGES) >> change.n_halves()
}
