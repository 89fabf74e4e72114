use std::sync::Arc;

use thiserror::Error;
use watchkeeper_core::{Event, Fingerprint, author::make_safe};

use super::mark::ReadMark;
use crate::SourcePanic;

/// An event, or a change of the followed files.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Update {
    /// An event of a session.
    Event(Event),
    /// The reading of a session file began, at its first line.
    Began {
        /// The file, as in the origins of events.
        file: Arc<str>,
        /// The kind of its source.
        source: &'static str,
    },
    /// The first line of a session file was read.
    FirstLine {
        /// The file, as in the origins of events.
        file: Arc<str>,
        /// Identifies the file for later processes, under any name: a hash of its inode and of
        /// the beginning of its first line. A file that replaces another one has another
        /// identity, unless both begin alike and the system reuses the inode.
        id: Fingerprint,
    },
    /// Lines of a session file were read, after their events.
    Read {
        /// The file, as in the origins of events.
        file: Arc<str>,
        /// The identity of the file, as in [`FirstLine`](Self::FirstLine); `None` before it.
        id: Option<Fingerprint>,
        /// The line of the last event so far; 0 without one.
        line: u64,
        /// The number of lines.
        n_lines: u64,
        /// The end of the lines; `None` for a file that its agent
        /// [rewrites](watchkeeper_core::SourceKind::IS_REWRITTEN).
        mark: Option<ReadMark>,
    },
    /// A session file was renamed. No line is read again.
    Moved {
        /// The old name.
        from: Arc<str>,
        /// The new name, as in the origins of later events.
        to: Arc<str>,
    },
    /// The reading of a session file ended.
    Ended {
        /// The file, as in the origins of events.
        file: Arc<str>,
        /// The reason.
        reason: EndReason,
    },
    /// A line was skipped.
    SkippedLine {
        /// The file.
        file: Arc<str>,
        /// The number of the line, counted from 1.
        line: u64,
        /// The reason, in a few words.
        reason: &'static str,
    },
    /// A file or a folder cannot be read. Every walk tries it again. This update is
    /// repeated only after a success.
    Unreadable {
        /// The file or the folder.
        file: Arc<str>,
        /// The error of the system.
        reason: String,
    },
    /// The source of a file panicked. The file is not read any further.
    SourceFailed {
        /// The file.
        file: Arc<str>,
        /// The panic. [`SourcePanic::finding`] makes a finding of it.
        panic: SourcePanic,
    },
    /// A message for the user about a limit of following.
    Notice(FollowNotice),
}

/// A limit of following that the user should know about.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum FollowNotice {
    /// There are more files or folders than a follower keeps.
    #[error("there are more files or folders than can be followed; name fewer of them")]
    TooMany,
    /// Another machine is read again after a failure. `machine` is safe for a terminal.
    #[error("{machine} is read again")]
    ReadAgain {
        /// The name of the machine.
        machine: String,
    },
    /// The system does not notify the follower of changes. `reason` is safe for a
    /// terminal.
    #[error("the system reports no changes ({reason}); files are checked at intervals instead")]
    NotWatched {
        /// The error of the system.
        reason: String,
    },
}

impl FollowNotice {
    pub(super) fn not_watched(error: &notify::Error) -> Self {
        Self::NotWatched { reason: make_safe(&error.to_string()) }
    }
}

/// The reason why a file is no longer read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EndReason {
    /// The file was deleted, moved away, or replaced by something other than a
    /// file.
    Gone,
    /// The file was truncated or rewritten. Its new content is read from the
    /// beginning.
    Rewritten,
}
