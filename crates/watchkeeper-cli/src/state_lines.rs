//! Files of the state folder with a JSON object in each line, which several programs change.
//!
//! Each object has the version `v` of its format. Lines of other versions are kept, so that an
//! earlier program removes nothing.

use std::{
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use serde::{Serialize, de::DeserializeOwned};
use thiserror::Error;
use watchkeeper_core::clock::Deadline;
use watchkeeper_delivery::{create_private_file, create_private_folder, open_private_file};
use watchkeeper_policy::read_opened;

use crate::{
    output::quoted_path,
    replace_file::{NEW, replace_file},
};

/// The longest line, in bytes: all lines of a file are less than the program reads.
const MAX_LINE: usize = 8 << 10;

/// The longest wait for another program that changes the lines.
const LOCK_WAIT: Duration = Duration::from_secs(5);
/// The time between two attempts to lock the lines.
const LOCK_INTERVAL: Duration = Duration::from_millis(20);

/// A line of a file.
pub(crate) trait StateLine: Serialize + DeserializeOwned {
    /// The name of the file.
    const FILE: &'static str;
    /// The file that programs lock while they change the lines.
    const LOCK: &'static str;
    /// The version of the format.
    const VERSION: u32;

    /// Returns the version of the line.
    fn version(&self) -> u32;
}

/// The lines cannot be read or written.
#[derive(Debug, Error)]
pub(crate) enum StateLinesError {
    #[error("cannot read {}", quoted_path(.path))]
    Read { path: PathBuf, source: io::Error },
    #[error("cannot write {}", quoted_path(.path))]
    Write { path: PathBuf, source: io::Error },
    #[error("another program has locked {}; try again when it has ended", quoted_path(.0))]
    InUse(PathBuf),
    #[error("this is more than {} KiB; shorten the texts", MAX_LINE >> 10)]
    TooLong,
}

/// Returns the lines in a state folder.
pub(crate) fn read<L: StateLine>(folder: &Path) -> Result<Vec<L>, StateLinesError> {
    Ok(read_all(&folder.join(L::FILE))?.0)
}

/// Changes the lines in a state folder, one program at a time. Writes nothing if `change` fails.
pub(crate) fn change<L: StateLine, T, E: From<StateLinesError>>(
    folder: &Path,
    change: impl FnOnce(&mut Vec<L>) -> Result<T, E>,
) -> Result<T, E> {
    let path = folder.join(L::FILE);
    let failed = |source| StateLinesError::Write { path: path.clone(), source };
    create_private_folder(folder).map_err(failed)?;
    let _lock = lock(&folder.join(L::LOCK), LOCK_WAIT)?;
    remove_unfinished(folder, L::FILE);
    let (mut lines, mut texts) = read_all(&path)?;
    let changed = change(&mut lines)?;
    for line in &lines {
        let text = serde_json::to_string(line).map_err(|err| failed(err.into()))?;
        if MAX_LINE < text.len() {
            return Err(StateLinesError::TooLong.into());
        }
        texts.push(text);
    }
    let text: String = texts.into_iter().map(|line| line + "\n").collect();
    replace_file(&path, text.as_bytes()).map_err(failed)?;
    Ok(changed)
}

/// Locks a file until the returned one is dropped. Waits for another program for `wait` at most: a
/// client of the page waits, too.
fn lock(path: &Path, wait: Duration) -> Result<File, StateLinesError> {
    let failed = |source| StateLinesError::Write { path: path.to_owned(), source };
    let lock = create_private_file(path).map_err(failed)?;
    let deadline = Deadline::after(wait);
    loop {
        match lock.try_lock() {
            Ok(()) => return Ok(lock),
            Err(TryLockError::Error(err)) => return Err(failed(err)),
            Err(TryLockError::WouldBlock) => {}
        }
        let remaining = deadline.remaining();
        if remaining.is_zero() {
            return Err(StateLinesError::InUse(path.to_owned()));
        }
        thread::park_timeout(remaining.min(LOCK_INTERVAL));
    }
}

/// Removes the files of programs that were killed while they replaced the lines. Needs the lock.
fn remove_unfinished(folder: &Path, file: &str) {
    let prefix = format!(".{file}.");
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let is_unfinished = |name: &str| name.starts_with(&prefix) && name.ends_with(NEW);
        if name.to_str().is_some_and(is_unfinished) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Returns the lines, and the texts of those of other versions.
fn read_all<L: StateLine>(path: &Path) -> Result<(Vec<L>, Vec<String>), StateLinesError> {
    let text = match open_private_file(path).and_then(read_opened) {
        Ok(text) => text,
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok((Vec::new(), Vec::new())),
        Err(source) => return Err(StateLinesError::Read { path: path.to_owned(), source }),
    };
    let (mut lines, mut others) = (Vec::new(), Vec::new());
    for text in text.lines().filter(|line| !line.trim().is_empty()) {
        match serde_json::from_str::<L>(text) {
            Ok(line) if line.version() == L::VERSION => lines.push(line),
            _ => others.push(text.to_owned()),
        }
    }
    Ok((lines, others))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{StateLinesError, lock};

    #[test]
    fn lines_that_another_program_has_locked_are_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let held = lock(&path, Duration::ZERO).unwrap();
        let err = lock(&path, Duration::from_millis(1)).unwrap_err();
        assert!(matches!(err, StateLinesError::InUse(_)), "{err}");
        drop(held);
        lock(&path, Duration::ZERO).unwrap();
    }
}
