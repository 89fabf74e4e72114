//! The options of a follower.

use watchkeeper_core::{SignedDuration, embed::SourceEntry};

/// Options of a [`Follower`](crate::Follower).
#[derive(Clone, Copy, Debug)]
pub struct FollowOptions {
    /// The kind of source of all files. With `None`, each file is recognized by its
    /// content.
    pub kind: Option<&'static SourceEntry>,
    /// The maximum age of the last change of a file that is read when it is first
    /// found.
    ///
    /// An older file in a folder is read when it changes. Both are read from the beginning: a
    /// loop may have started there, and only the whole session has the totals that
    /// the agent itself shows. The events have the times of the file.
    pub recent: SignedDuration,
    /// The interval between two walks through all folders while some changes may cause
    /// no notification by the system: the maximum delay of such a change.
    pub rescan: SignedDuration,
    /// Check the files at intervals instead of using notifications of the system.
    pub poll_only: bool,
}

impl Default for FollowOptions {
    /// Any kind, one hour, ten seconds, with notifications.
    fn default() -> Self {
        Self {
            kind: None,
            recent: SignedDuration::from_hours(1),
            rescan: SignedDuration::from_secs(10),
            poll_only: false,
        }
    }
}
