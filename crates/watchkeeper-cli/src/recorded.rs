//! Reads recorded sessions. The files of a session are read together, in order of
//! time.

mod cursor;
mod group;
mod merge;
mod misdated;
mod parallel;
mod pipe;
mod read_error;

use std::{collections::BTreeMap, path::PathBuf};

use watchkeeper_core::{
    Event, SessionId, Timestamp,
    author::DedupCache,
    embed::{Kinds, SourceEntry},
};

pub(crate) use self::{
    group::{Group, GroupRead, UnreadFile, group, is_standard_input, size_of},
    merge::{Step, read_group, read_in_turn, read_merged},
    misdated::MisdatedLines,
    parallel::{available_threads, read_in_parallel},
    read_error::ReadError,
};

/// A session of recorded files.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct RecordedSession {
    pub(crate) started_at: Timestamp,
    pub(crate) session: SessionId,
    pub(crate) file: PathBuf,
}

/// Reads all groups, and returns the sessions that have events: a file that only
/// contains copied lines has none.
pub(crate) fn sessions(groups: &[Group], kinds: &Kinds<SourceEntry>) -> Vec<RecordedSession> {
    let mut seen = DedupCache::default();
    let mut sessions: BTreeMap<SessionId, (Timestamp, PathBuf)> = BTreeMap::new();
    for group in groups {
        read_group(group, kinds, &mut seen, &mut |event| {
            let Event { at, session, origin, .. } = event;
            sessions.entry(session).or_insert_with(|| {
                let file = origin.map(|origin| PathBuf::from(&*origin.file));
                (at, file.unwrap_or_else(|| group.files[0].clone()))
            });
        });
    }
    let sessions = sessions.into_iter();
    sessions
        .map(|(session, (started_at, file))| RecordedSession { started_at, session, file })
        .collect()
}
