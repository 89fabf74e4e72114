//! Reads SQLite databases without a trace: no file is created or changed, and no writer waits.

use std::{
    fmt::Write as _,
    fs::{self, File, Metadata},
    io::{self, Read as _},
    path::Path,
    time::{Duration, SystemTime},
};

use rusqlite::{
    Connection, ErrorCode, OpenFlags, config::DbConfig, limits::Limit, params, types::ValueRef,
};
use watchkeeper_core::{Timestamp, author::Database};

use super::{
    log::{LOG, beside},
    row::{Batch, Row},
};
use crate::MAX_LINE;

/// The time for which a read waits for a writer that does not keep a log of changes.
const BUSY: Duration = Duration::from_millis(100);
/// The number of attempts to read a database that changes meanwhile.
const MAX_ATTEMPTS: usize = 4;
/// The largest number of rows of a batch.
const MAX_ROWS: usize = 1024;
/// The number of bytes after which a batch ends.
const MAX_BATCH: usize = 1 << 20;
/// The room for the columns beside a line, in bytes.
const ROOM: usize = 64 << 10;

/// The way in which a database is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Access {
    /// With locks that let others write, in a database that keeps no log of changes.
    Locked,
    /// With locks, and together with the memory that writers share.
    Shared,
    /// No writer is active, and all changes are in the database: without locks.
    Still,
    /// No writer is active, and some changes are in the log: without locks, so that SQLite keeps
    /// the index of the log in its own memory.
    Alone,
}

impl Access {
    fn to(path: &Path) -> io::Result<Self> {
        let mut header = [0; 20];
        File::open(path)?.read_exact(&mut header)?;
        // The versions of the format that writers and readers need.
        let has_log = header[18..].contains(&2);
        let log = fs::metadata(beside(path, LOG));
        Ok(if !has_log {
            Self::Locked
        } else if log.map_or(0, |log| log.len()) == 0 {
            Self::Still
        } else if beside(path, "-shm").exists() {
            Self::Shared
        } else {
            Self::Alone
        })
    }

    /// Returns the parameters of the address of a database.
    fn parameters(self) -> &'static str {
        match self {
            Self::Locked => "mode=ro",
            Self::Shared => "mode=ro&readonly_shm=1",
            Self::Still => "mode=ro&immutable=1",
            Self::Alone => "mode=ro&vfs=unix-none",
        }
    }

    /// Returns whether another process may change the database during a read unnoticed.
    fn is_unlocked(self) -> bool {
        matches!(self, Self::Still | Self::Alone)
    }
}

/// Returns whether a database has some tables.
pub(crate) fn has_tables(path: &Path, tables: &[&str]) -> io::Result<bool> {
    const QUERY: &str = "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = ?1";
    read(path, |connection| {
        let mut statement = connection.prepare(QUERY)?;
        let mut has_table =
            |table: &&str| statement.query_row([table], |row| Ok(row.get::<_, i64>(0)? == 1));
        tables.iter().map(&mut has_table).try_fold(true, |all, has| Ok(all && has?))
    })
}

/// Returns the id before the first row of the sessions that changed since a time.
pub(crate) fn start(path: &Path, database: Database, since: Timestamp) -> io::Result<u64> {
    let id = read(path, |connection| {
        connection
            .query_row(database.start, [since.as_millisecond()], |row| row.get::<_, Option<i64>>(0))
    })?;
    Ok(id.map_or(0, |id| u64::try_from(id).unwrap_or(0)))
}

/// Reads the first rows with larger ids than `after`.
pub(crate) fn read_rows(path: &Path, database: Database, after: u64) -> io::Result<Batch> {
    read(path, |connection| {
        let mut batch = Batch::default();
        let mut n_bytes = 0;
        let mut statement = connection.prepare(database.rows)?;
        let after = i64::try_from(after).unwrap_or(i64::MAX);
        let max_line = i64::try_from(MAX_LINE).unwrap_or(i64::MAX);
        let has_more = 2 < statement.column_count();
        let mut rows = statement.query(params![after, max_line])?;
        while batch.rows.len() < MAX_ROWS && n_bytes < MAX_BATCH {
            let Some(row) = rows.next()? else {
                batch.is_last = true;
                break;
            };
            let id = u64::try_from(row.get::<_, i64>(0)?).unwrap_or(0);
            let mut text = text_of(row.get_ref(1)?).map(<[u8]>::to_vec);
            let fixed_len = text.as_ref().map_or(0, Vec::len);
            if let Some(text) = text.as_mut().filter(|_| has_more) {
                text.extend_from_slice(text_of(row.get_ref(2)?).unwrap_or_default());
            }
            let text = text.filter(|text| text.len() <= MAX_LINE);
            let fixed_len = fixed_len.min(text.as_ref().map_or(0, Vec::len));
            n_bytes += text.as_ref().map_or(0, Vec::len);
            batch.rows.push(Row { id, text, fixed_len });
        }
        Ok(batch)
    })
}

fn text_of(value: ValueRef<'_>) -> Option<&[u8]> {
    match value {
        ValueRef::Text(text) | ValueRef::Blob(text) => Some(text),
        _ => None,
    }
}

/// Reads a database in its state at one time.
fn read<T>(
    path: &Path,
    mut query: impl FnMut(&Connection) -> rusqlite::Result<T>,
) -> io::Result<T> {
    for _ in 0..MAX_ATTEMPTS {
        let access = Access::to(path)?;
        let before = access.is_unlocked().then(|| state(path));
        let mut result = open(path, access.parameters()).and_then(|it| query(&it));
        if access == Access::Shared && result.as_ref().is_err_and(needs_writable_memory) {
            result = open(path, Access::Locked.parameters()).and_then(|it| query(&it));
        }
        if before.is_none_or(|before| before == state(path)) {
            return result.map_err(io_error);
        }
    }
    Err(io::Error::new(io::ErrorKind::WouldBlock, "the database changes while it is read"))
}

fn open(path: &Path, parameters: &str) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY
        | OpenFlags::SQLITE_OPEN_URI
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(address(path, parameters), flags)?;
    connection.busy_timeout(BUSY)?;
    let max_len = i32::try_from(MAX_LINE + ROOM).unwrap_or(i32::MAX);
    connection.set_limit(Limit::SQLITE_LIMIT_LENGTH, max_len)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    // Otherwise, the last one to close a database moves its log into it.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    if parameters == Access::Alone.parameters() {
        connection.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
    }
    Ok(connection)
}

/// Returns the address of a database for SQLite, which has its own syntax of parameters.
fn address(path: &Path, parameters: &str) -> String {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let mut address = "file://".to_owned();
    for byte in path.as_os_str().as_encoded_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' => {
                address.push(char::from(*byte));
            }
            _ => _ = write!(address, "%{byte:02x}"),
        }
    }
    address + "?" + parameters
}

/// Returns whether a read failed because a reader has to take part in the memory that writers
/// share: their writes have not been read yet.
fn needs_writable_memory(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::FileLockingProtocolFailed)
    )
}

/// The lengths and times of change of a database and its log.
fn state(path: &Path) -> [Option<(u64, Option<SystemTime>)>; 2] {
    let of = |metadata: Metadata| (metadata.len(), metadata.modified().ok());
    [path.to_owned(), beside(path, LOG)].map(|file| fs::metadata(file).ok().map(of))
}

fn io_error(error: rusqlite::Error) -> io::Error {
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            io::Error::new(io::ErrorKind::WouldBlock, "another process has locked the database")
        }
        _ => io::Error::other(error),
    }
}
