//! The findings that one notification delivers.

use std::time::Duration;

use crate::Fingerprint;

/// A group of findings. Members that are added to a queue within a short time are delivered in
/// one notification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Group {
    /// Identifies the group.
    pub(crate) key: Fingerprint,
    /// The time for which the first finding waits for others.
    pub(crate) wait: Duration,
}

/// The group of a finding in a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Membership {
    pub(super) key: Fingerprint,
    /// The time at which the group is delivered; zero if it is not joined by others any longer.
    pub(super) due: Duration,
}
