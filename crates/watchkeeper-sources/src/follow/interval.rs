use watchkeeper_core::{SignedDuration, Timestamp};

/// The time without a change after which a source may take a turn for ended.
pub(super) const PAUSE: SignedDuration = SignedDuration::from_secs(30);

/// Returns whether `interval` has passed since `since`. True if the clock was set
/// back.
pub(crate) fn has_passed(
    interval: SignedDuration,
    since: Option<Timestamp>,
    now: Timestamp,
) -> bool {
    since.is_none_or(|since| now < since || interval <= now.duration_since(since))
}
