//! Takes the place of SQLite in programs that are built without it.

use std::{io, path::Path};

use watchkeeper_core::{Timestamp, author::Database};

use super::row::Batch;

pub(crate) fn has_tables(_path: &Path, _tables: &[&str]) -> io::Result<bool> {
    Err(error())
}

pub(crate) fn start(_path: &Path, _database: Database, _since: Timestamp) -> io::Result<u64> {
    Err(error())
}

pub(crate) fn read_rows(_path: &Path, _database: Database, _after: u64) -> io::Result<Batch> {
    Err(error())
}

fn error() -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, "this program was built without SQLite")
}
