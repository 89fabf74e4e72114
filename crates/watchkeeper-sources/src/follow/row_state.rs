use watchkeeper_core::{Timestamp, author::Database};

/// The state of a database that is read, beside that of every file.
#[derive(Clone, Copy, Debug)]
pub(super) struct RowState {
    pub(super) database: Database,
    /// Sessions that did not change since this time are not read.
    pub(super) since: Timestamp,
    /// The first row to read is known.
    pub(super) has_started: bool,
}

impl RowState {
    pub(super) fn new(database: Database, since: Timestamp) -> Self {
        Self { database, since, has_started: false }
    }
}
