//! The databases of agents, read as lines.
//!
//! Some agents keep all sessions in one SQLite database. A source declares the
//! [query](Database) whose rows are its lines. Each read is short and opens the database
//! anew, so that it never keeps the agent from writing for long, and finds a database that was
//! replaced.

#[cfg(feature = "sqlite")]
mod access;
#[cfg(not(feature = "sqlite"))]
#[path = "database/absent.rs"]
mod access;
mod log;
mod row;

use std::{
    fs::{self, File},
    io::{self, ErrorKind, Read as _},
    path::{Path, PathBuf},
    vec,
};

use watchkeeper_core::{author::Database, embed::SourceEntry};

pub(crate) use self::{
    access::{read_rows, start},
    log::{LOG, beside, of_log},
    row::Row,
};

/// The first bytes of a SQLite database.
const MAGIC: &[u8] = b"SQLite format 3\0";

/// The rows of a database from the first to the last, as of the time at which each is read.
pub(crate) struct Rows {
    path: PathBuf,
    database: Database,
    batch: vec::IntoIter<Row>,
    latest_id: u64,
    is_last_batch: bool,
}

impl Rows {
    pub(crate) fn new(path: PathBuf, database: Database) -> Self {
        Self::after(path, database, 0)
    }

    /// The rows with larger ids than `id`.
    pub(crate) fn after(path: PathBuf, database: Database, id: u64) -> Self {
        let batch = Vec::new().into_iter();
        Self { path, database, batch, latest_id: id, is_last_batch: false }
    }

    pub(crate) fn next(&mut self) -> io::Result<Option<Row>> {
        if self.batch.len() == 0 && !self.is_last_batch {
            let batch = read_rows(&self.path, self.database, self.latest_id)?;
            self.batch = batch.rows.into_iter();
            self.is_last_batch = batch.is_last;
        }
        let row = self.batch.next();
        self.latest_id = row.as_ref().map_or(self.latest_id, |row| row.id);
        Ok(row)
    }
}

/// Returns whether a file with these first bytes is a database.
pub(crate) fn is_database(head: &[u8]) -> bool {
    head.starts_with(MAGIC)
}

/// Returns whether the file at `path` is a database.
pub(crate) fn is_at(path: &Path) -> io::Result<bool> {
    if !fs::metadata(path)?.is_file() {
        return Ok(false);
    }
    let mut head = [0; MAGIC.len()];
    match File::open(path)?.read_exact(&mut head) {
        Ok(()) => Ok(is_database(&head)),
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

/// Returns the row with an id; `None` if there is none.
pub(crate) fn row(path: &Path, database: Database, id: u64) -> io::Result<Option<Row>> {
    let rows = read_rows(path, database, id.saturating_sub(1))?.rows;
    Ok(rows.into_iter().next().filter(|row| row.id == id))
}

/// Returns the first of `kinds` that has all the tables of its databases in the one at `path`.
pub(crate) fn kind_of(
    kinds: impl IntoIterator<Item = &'static SourceEntry>,
    path: &Path,
) -> io::Result<Option<&'static SourceEntry>> {
    for kind in kinds {
        if let Some(database) = kind.database()
            && access::has_tables(path, database.tables)?
        {
            return Ok(Some(kind));
        }
    }
    Ok(None)
}
