use std::{
    fs::{self, Metadata},
    path::Path,
    time::SystemTime,
};

use crate::database;

/// The length and time of change of a file. They are equal if the file did not
/// change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(super) len: u64,
    pub(super) modified: Option<SystemTime>,
    /// The length of the log of a database, to which an agent writes first.
    log_len: Option<u64>,
}

impl Stamp {
    pub(crate) fn of(metadata: &Metadata) -> Self {
        Self { len: metadata.len(), modified: metadata.modified().ok(), log_len: None }
    }

    /// Adds the log of the database at `path`, if there is one.
    pub(super) fn with_log(self, path: &Path) -> Self {
        let Ok(log) = fs::metadata(database::beside(path, database::LOG)) else { return self };
        let modified = self.modified.zip(log.modified().ok()).map(|(own, log)| own.max(log));
        Self { modified, log_len: Some(log.len()), ..self }
    }
}
