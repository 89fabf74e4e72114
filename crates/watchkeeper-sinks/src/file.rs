use std::{
    ffi::OsString,
    fs::{self, TryLockError},
    io::{self, ErrorKind, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use schemars::JsonSchema;
use serde::Deserialize;
use watchkeeper_core::{
    Finding, InvalidOption, Sink, SinkKind,
    author::{ByteSize, Retry, SinkError, make_safe},
    clock::Deadline,
};

#[cfg(not(unix))]
use self::portable as platform;
#[cfg(unix)]
use self::unix as platform;
use crate::{count::Count, render_json};

#[cfg(not(unix))]
mod portable;
#[cfg(unix)]
mod unix;

/// Appends findings to a file, one line of JSON each.
#[derive(Debug)]
pub struct File {
    path: PathBuf,
    rotate: Option<Rotate>,
    /// The file that had this path at the last delivery.
    opened: Option<fs::File>,
    /// The longest wait for the lock of another program.
    lock_timeout: Duration,
}

/// The options of `kind = "file"`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FileOptions {
    /// The file. Missing folders on its path are created. A relative path starts at the
    /// folder of the policy; `~/` is the home folder.
    #[schemars(extend("format" = "path"))]
    path: PathBuf,
    /// The size at which to start a new file. Without this option the file
    /// grows until another program, such as logrotate, renames it.
    #[serde(default)]
    rotate: Option<Rotate>,
}

/// The size at which a sink starts a new file, and the number of old files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Rotate {
    /// The largest size of a file; only a single longer line exceeds it.
    max_size: ByteSize,
    /// The number of old files to keep; `path.1` is the newest.
    #[serde(default = "default_keep")]
    keep: Keep,
}

type Keep = Count<1, 999>;

const fn default_keep() -> Keep {
    Keep::new(10)
}

watchkeeper_core::register_sink!(File);

impl SinkKind for File {
    const KIND: &'static str = "file";
    const DOCS: &'static str = include_str!("file.md");
    type Options = FileOptions;

    fn new(FileOptions { path, rotate }: FileOptions) -> Result<Self, InvalidOption> {
        let is_folder = path.as_os_str().as_encoded_bytes().last() == Some(&b'/');
        if path.file_name().is_none() || is_folder {
            return Err(InvalidOption::new(
                "path",
                "is not the path of a file; write a path such as `findings.ndjson`",
            ));
        }
        Ok(Self { path, rotate, opened: None, lock_timeout: LOCK_TIMEOUT })
    }
}

impl Sink for File {
    fn open(&mut self) -> Result<(), SinkError> {
        current(&mut self.opened, &self.path).map(drop)
    }

    fn deliver(&mut self, finding: &Finding) -> Result<(), SinkError> {
        let line = render_json(finding) + "\n";
        let Self { path, rotate, opened, lock_timeout } = self;
        for _ in 0..MAX_ROUNDS {
            let file = current(opened, path)?;
            let _lock = Lock::new(file, *lock_timeout).ok_or_else(|| {
                let shown = make_safe(&path.display().to_string());
                SinkError::unavailable(format!("another program holds a lock on `{shown}`"))
            })?;
            if !has_name(file, path) {
                // Another program renamed the file while this one waited for the lock.
                continue;
            }
            let len = file.metadata()?.len();
            if let Some(Rotate { max_size, keep }) = rotate
                && 0 < len
                && max_size.get() < len.saturating_add(line.len() as u64)
                && shift(path, *keep).is_ok()
            {
                continue;
            }
            // If the file cannot be renamed it grows: delivering a finding is
            // more important than the limit.
            let shown = make_safe(&path.display().to_string());
            return append(file, &line)
                .map_err(|err| failure(format!("cannot write to `{shown}`"), err));
        }
        Err(renamed_again().into())
    }

    /// Retries for some minutes, in which a full disk may have room again; then
    /// the finding is lost and the loss is reported.
    fn retry(&self) -> Retry {
        Retry::new(20, Duration::from_secs(1), Duration::from_secs(60))
    }
}

/// The number of times that another program may rename the file during one delivery.
const MAX_ROUNDS: usize = 16;

fn renamed_again() -> io::Error {
    io::Error::new(ErrorKind::NotFound, "another program keeps renaming the file")
}

/// The longest wait for the lock of another program: a monitor keeps the lock for one line.
const LOCK_TIMEOUT: Duration = Duration::from_secs(5);
/// The time between two attempts to lock the file.
const LOCK_INTERVAL: Duration = Duration::from_millis(10);

/// An exclusive lock on the file, which monitors that share the file respect.
/// On systems without file locks, each monitor needs a file of its own.
struct Lock<'a>(&'a fs::File);

impl<'a> Lock<'a> {
    /// Returns `None` if another program keeps the lock: any program that can read the file can
    /// lock it.
    fn new(file: &'a fs::File, timeout: Duration) -> Option<Self> {
        let deadline = Deadline::after(timeout);
        loop {
            match file.try_lock() {
                Err(TryLockError::Error(err)) if err.kind() == ErrorKind::Interrupted => {}
                Ok(()) | Err(TryLockError::Error(_)) => return Some(Self(file)),
                Err(TryLockError::WouldBlock) => {
                    let remaining = deadline.remaining();
                    if remaining.is_zero() {
                        return None;
                    }
                    thread::park_timeout(remaining.min(LOCK_INTERVAL));
                }
            }
        }
    }
}

impl Drop for Lock<'_> {
    fn drop(&mut self) {
        // Fails only if there is no lock.
        self.0.unlock().ok();
    }
}

/// Returns the file that has the path now.
fn current<'a>(opened: &'a mut Option<fs::File>, path: &Path) -> Result<&'a fs::File, SinkError> {
    let file = match opened.take() {
        Some(file) if has_name(&file, path) => file,
        _ => open(path)?,
    };
    Ok(opened.insert(file))
}

/// Renames the file to `path.1`, `path.1` to `path.2`, and so on up to `keep`.
fn shift(path: &Path, keep: Keep) -> io::Result<()> {
    let numbered = |n: u32| {
        let mut numbered = OsString::from(path);
        numbered.push(format!(".{n}"));
        PathBuf::from(numbered)
    };
    // Renaming up to the first free name keeps every old file as long as
    // possible, also after an attempt that failed half-way.
    let is_free = |n: &u32| fs::symlink_metadata(numbered(*n)).is_err();
    let last = (1..keep.get()).find(is_free).unwrap_or(keep.get());
    for n in (1..last).rev() {
        fs::rename(numbered(n), numbered(n + 1))?;
    }
    fs::rename(path, numbered(1))
}

/// Returns whether `path` still leads to `file`.
fn has_name(file: &fs::File, path: &Path) -> bool {
    let (Ok(named), Ok(opened)) = (fs::symlink_metadata(path), file.metadata()) else {
        return false;
    };
    platform::is_same(&named, &opened)
}

/// Opens a file to append to it; creates a missing file. Refuses links and other files that would
/// send findings elsewhere, files that others can use, and folders in which others can replace
/// the file.
fn open(path: &Path) -> Result<fs::File, SinkError> {
    let shown = make_safe(&path.display().to_string());
    let refused = |reason: &str| SinkError::refused(format!("`{shown}` {reason}"));
    let failed = |err: io::Error| failure(format!("cannot open `{shown}`"), err);

    let folder = path.parent().filter(|it| !it.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if let Some(open) = platform::folder_open_to_others(path).map_err(failed)? {
        let open = make_safe(&open.display().to_string());
        return Err(refused(&format!(
            "is in `{open}`, which any user may write to; run `chmod o-w {open}`, or use another folder"
        )));
    }
    platform::create_folders(folder)
        .map_err(|err| failure(format!("cannot create the folder of `{shown}`"), err))?;
    let file = match open_or_create(path) {
        Ok(file) => file,
        Err(err) => {
            let found = fs::symlink_metadata(path).map(|it| it.file_type());
            return Err(match found {
                Ok(kind) if kind.is_symlink() => {
                    refused("is a symbolic link; name the file itself")
                }
                Ok(kind) if kind.is_dir() => refused("is a folder; name a file in it"),
                Ok(kind) if !kind.is_file() => refused("is not a regular file"),
                _ => failed(err),
            });
        }
    };
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() {
        return Err(refused("is not a regular file"));
    }
    if platform::has_other_names(&metadata) {
        return Err(refused("has another name (a hard link); use a file of its own"));
    }
    if let Some(mode) = platform::mode_for_others(&metadata) {
        return Err(refused(&format!(
            "can be used by others (mode {mode:04o}); run `chmod 600 {shown}`"
        )));
    }
    Ok(file)
}

/// Keeps the I/O error behind the action that failed. A later attempt may
/// succeed unless somebody has to change the path first: a full disk gets room, and a disk that
/// the system made read-only is repaired.
fn failure(action: String, err: io::Error) -> SinkError {
    let failed = match err.kind() {
        ErrorKind::AlreadyExists
        | ErrorKind::InvalidFilename
        | ErrorKind::NotADirectory
        | ErrorKind::PermissionDenied => SinkError::refused(action),
        _ => SinkError::unavailable(action),
    };
    failed.with_source(err)
}

fn open_or_create(path: &Path) -> io::Result<fs::File> {
    for _ in 0..MAX_ROUNDS {
        match platform::open_options().create_new(true).open(path) {
            Ok(file) => {
                platform::set_mode_of_new(&file)?;
                return Ok(file);
            }
            Err(err) if err.kind() == ErrorKind::AlreadyExists => {}
            Err(err) => return Err(err),
        }
        match platform::open_options().open(path) {
            Err(err) if err.kind() == ErrorKind::NotFound => {}
            done => return done,
        }
    }
    Err(renamed_again())
}

/// Appends a line in one write, so that a program that follows the file reads
/// the line as a whole. If the disk has no room for all of it, removes the part that was written.
/// After half a line, which a loss of power can leave behind, starts a new line.
fn append(mut file: &fs::File, line: &str) -> io::Result<()> {
    let len = file.seek(SeekFrom::End(0))?;
    let line = if ends_mid_line(file, len)? { format!("\n{line}") } else { line.to_owned() };
    let n_written = write_once(&mut file, line.as_bytes())?;
    if n_written == line.len() {
        return Ok(());
    }
    // Another program, which does not lock the file, may have written more.
    if file.metadata().is_ok_and(|metadata| metadata.len() == len + n_written as u64) {
        file.set_len(len)?;
    }
    let n_bytes = line.len();
    Err(io::Error::new(
        ErrorKind::StorageFull,
        format!("wrote only {n_written} of {n_bytes} bytes"),
    ))
}

fn ends_mid_line(mut file: &fs::File, len: u64) -> io::Result<bool> {
    let Some(last) = len.checked_sub(1) else { return Ok(false) };
    file.seek(SeekFrom::Start(last))?;
    let mut byte = [b'\n'];
    file.read_exact(&mut byte)?;
    Ok(byte != *b"\n")
}

/// Writes once, and returns the number of bytes that were written.
fn write_once(writer: &mut impl Write, bytes: &[u8]) -> io::Result<usize> {
    loop {
        match writer.write(bytes) {
            Err(err) if err.kind() == ErrorKind::Interrupted => {}
            written => return written,
        }
    }
}

#[cfg(test)]
mod tests;
