use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use watchkeeper_core::Timestamp;

use super::{arrival::Arrival, reading::Reading, stamp::Stamp};
use crate::unsupported;

/// The largest number of unsupported files that are counted.
const MAX_UNSUPPORTED: usize = 1 << 16;

/// A file, read or not.
pub(super) struct Tracked {
    pub(super) path: Arc<Path>,
    pub(super) stamp: Stamp,
    pub(super) state: State,
    /// The file can be a database, whose log of changes is part of its stamp.
    pub(super) has_log: bool,
    /// The latest walk that found the file.
    pub(super) walk: u64,
    pub(super) changed_at: Timestamp,
    pub(super) is_queued: bool,
    /// The path is now another file, or none.
    pub(super) is_lost: bool,
    /// The latest attempt to read the file failed.
    pub(super) is_unreadable: bool,
    /// The file was read to its end, and has not changed since.
    pub(super) is_at_end: bool,
    /// The source was called about the pause since the latest change.
    pub(super) is_paused: bool,
    /// The arrival of the lines that are being read; `None` for lines that may be old.
    pub(super) arrival: Option<Arrival>,
    /// The agent without a source that wrote the file.
    pub(super) agent: Option<&'static str>,
}

impl Tracked {
    /// Returns whether the bytes up to the end of a line that is too long are being skipped.
    pub(super) fn is_skipping(&self) -> bool {
        matches!(&self.state, State::Reading(reading) if reading.is_skipping())
    }
}

pub(super) enum State {
    /// Not changed recently, and not read.
    Dormant,
    /// Not recognized by any source from this number of bytes, of which the last line
    /// may be unfinished.
    Unrecognized(usize),
    /// Not recognized by any source from whole lines of this number of bytes.
    Unknown(usize),
    Reading(Box<Reading>),
    /// The source panicked.
    Failed,
}

/// The session files of agents without a source whose names no source reads, each with its
/// agent and the latest walk that found the file.
#[derive(Debug, Default)]
pub(super) struct UnsupportedFiles(BTreeMap<PathBuf, (&'static str, u64)>);

impl UnsupportedFiles {
    /// Adds a file with a name that only an agent without a source uses.
    pub(super) fn find(&mut self, path: &Path, walk: u64) {
        let Some(agent) = unsupported::agent_of_name(path) else { return };
        if self.0.len() < MAX_UNSUPPORTED || self.0.contains_key(path) {
            self.0.insert(path.to_owned(), (agent, walk));
        }
    }

    /// Removes the files that the walk did not find.
    pub(super) fn end_walk(&mut self, walk: u64) {
        self.0.retain(|_, (_, found_by)| *found_by == walk);
    }

    /// Returns the number of files of each agent.
    pub(super) fn counts(&self) -> BTreeMap<&'static str, usize> {
        let mut counts = BTreeMap::new();
        for (agent, _) in self.0.values() {
            *counts.entry(*agent).or_default() += 1;
        }
        counts
    }
}
