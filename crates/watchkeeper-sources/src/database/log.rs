//! The files that SQLite keeps beside a database.

use std::path::{Path, PathBuf};

/// The suffix of the log of changes.
pub(crate) const LOG: &str = "-wal";

/// Returns the path of a file that SQLite keeps beside the database at `path`, such as its log
/// of changes with the suffix `-wal`.
pub(crate) fn beside(path: &Path, suffix: &str) -> PathBuf {
    // SQLite keeps it beside the file itself, not beside a link.
    let mut name = path.canonicalize().unwrap_or_else(|_| path.to_owned()).into_os_string();
    name.push(suffix);
    name.into()
}

/// Returns the path of the database whose log of changes is at `path`.
pub(crate) fn of_log(path: &Path) -> Option<PathBuf> {
    let name = path.file_name()?.to_str()?.strip_suffix(LOG)?;
    Some(path.with_file_name(name))
}
