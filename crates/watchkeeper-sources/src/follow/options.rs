//! The options of a follower.

use std::{collections::BTreeSet, path::PathBuf};

use watchkeeper_core::{SignedDuration, Timestamp, embed::SourceEntry};

/// Options of a [`Follower`](crate::Follower).
#[derive(Clone, Debug)]
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
    /// Files that are read when they are first found, whatever their age.
    pub wanted: BTreeSet<PathBuf>,
    /// The time from which a file is new that was created before the first step, such as the end
    /// of an earlier process: its events are moved to its creation if the clock of its agent is
    /// slow. With `None`, and without a time of creation, the events have the times of the file.
    pub new_since: Option<Timestamp>,
    /// The interval between two walks through all folders while some changes may cause
    /// no notification by the system: the maximum delay of such a change.
    pub rescan: SignedDuration,
    /// Check the files at intervals instead of using notifications of the system.
    pub poll_only: bool,
}

impl Default for FollowOptions {
    /// Any kind, one hour, no other files, ten seconds, with notifications.
    fn default() -> Self {
        Self {
            kind: None,
            recent: SignedDuration::from_hours(1),
            wanted: BTreeSet::new(),
            new_since: None,
            rescan: SignedDuration::from_secs(10),
            poll_only: false,
        }
    }
}
