use std::{
    ffi::OsString,
    fs,
    io::{self, ErrorKind, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use schemars::JsonSchema;
use serde::Deserialize;
use watchkeeper_core::{
    ByteSize, Finding, InvalidOption, Retry, Sink, SinkError, SinkKind, make_safe,
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
    /// The file that had the name when it was last looked at.
    opened: Option<fs::File>,
    /// The mode of the next file.
    mode: u32,
}

/// The options of `kind = "file"`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FileOptions {
    /// The file. Folders that are missing on the way to it are made.
    path: PathBuf,
    /// When to begin a new file. Without it the file grows, or something else
    /// moves it away: its name is then given to a new one.
    #[serde(default)]
    rotate: Option<Rotate>,
}

/// When a sink begins a new file, and how many old ones it keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Rotate {
    /// The size that no file exceeds, unless a single line does.
    max_size: ByteSize,
    /// How many old files are kept: `path.1` is the youngest.
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
        let ends_like_a_folder = path.as_os_str().as_encoded_bytes().last() == Some(&b'/');
        if path.file_name().is_none() || ends_like_a_folder {
            return Err(InvalidOption::new("path", "names no file; write `findings.ndjson`"));
        }
        Ok(Self { path, rotate, opened: None, mode: platform::NEW_FILE })
    }
}

impl Sink for File {
    fn open(&mut self) -> Result<(), SinkError> {
        current(&mut self.opened, &self.path, self.mode).map(drop)
    }

    fn deliver(&mut self, finding: &Finding) -> Result<(), SinkError> {
        let line = render_json(finding) + "\n";
        let Self { path, rotate, opened, mode } = self;
        for _ in 0..MAX_ROUNDS {
            let file = current(opened, path, *mode)?;
            let _lock = Lock::new(file);
            if !has_name(file, path) {
                // It was moved away while we waited for the lock.
                continue;
            }
            let metadata = file.metadata()?;
            if let Some(Rotate { max_size, keep }) = rotate
                && 0 < metadata.len()
                && max_size.get() < metadata.len().saturating_add(line.len() as u64)
                && shift(path, *keep).is_ok()
            {
                *mode = platform::mode(&metadata);
                continue;
            }
            // Where the file can't be moved away it grows, for a finding is
            // worth more than a limit.
            return Ok(append(file, &line)?);
        }
        Err(moved_away_again().into())
    }

    /// For some minutes, after which the trouble is reported: a disk that is
    /// full may soon have room again, or need somebody to see to it.
    fn retry(&self) -> Retry {
        Retry { max_attempts: 20, initial: Duration::from_secs(1), max: Duration::from_secs(60) }
    }
}

/// How often a file may be moved away under us before we stop running after it.
const MAX_ROUNDS: usize = 16;

fn moved_away_again() -> io::Error {
    io::Error::new(ErrorKind::NotFound, "the file is moved away again and again")
}

/// Keeps other monitors from the file for as long as it lives, where files
/// have locks; elsewhere a monitor must have its file alone.
struct Lock<'a>(&'a fs::File);

impl<'a> Lock<'a> {
    fn new(file: &'a fs::File) -> Self {
        while file.lock().is_err_and(|err| err.kind() == ErrorKind::Interrupted) {}
        Self(file)
    }
}

impl Drop for Lock<'_> {
    fn drop(&mut self) {
        // If that fails there was no lock.
        self.0.unlock().ok();
    }
}

/// The file that has the name now.
fn current<'a>(
    opened: &'a mut Option<fs::File>,
    path: &Path,
    mode: u32,
) -> Result<&'a fs::File, SinkError> {
    let file = match opened.take() {
        Some(it) if has_name(&it, path) => it,
        _ => open(path, mode)?,
    };
    Ok(opened.insert(file))
}

/// Moves the file away, and those that were moved before it, up to `keep`.
fn shift(path: &Path, keep: Keep) -> io::Result<()> {
    let numbered = |n: u32| {
        let mut res = OsString::from(path);
        res.push(format!(".{n}"));
        PathBuf::from(res)
    };
    // Up to the first name that is free, so that nothing goes before it must,
    // not even after an attempt that failed half-way.
    let is_free = |n: &u32| fs::symlink_metadata(numbered(*n)).is_err();
    let last = (1..keep.get()).find(is_free).unwrap_or(keep.get());
    for n in (1..last).rev() {
        fs::rename(numbered(n), numbered(n + 1))?;
    }
    fs::rename(path, numbered(1))
}

/// Whether `path` still names `file`.
fn has_name(file: &fs::File, path: &Path) -> bool {
    let (Ok(named), Ok(opened)) = (fs::symlink_metadata(path), file.metadata()) else {
        return false;
    };
    platform::is_same(&named, &opened)
}

/// Opens a file to append to it; makes it, with `mode`, if it is missing.
/// Refuses whatever would have findings end up elsewhere.
fn open(path: &Path, mode: u32) -> Result<fs::File, SinkError> {
    let shown = make_safe(&path.display().to_string());
    let refused = |why: &str| SinkError::refused(format!("`{shown}` {why}"));
    let failed = |err: io::Error| failure(format!("cannot open `{shown}`"), err);

    let folder = path.parent().filter(|it| !it.as_os_str().is_empty()).unwrap_or(Path::new("."));
    platform::create_folders(folder)
        .map_err(|err| failure(format!("cannot create the folder of `{shown}`"), err))?;
    if platform::is_open_to_all(&fs::metadata(folder).map_err(failed)?) {
        return Err(refused(
            "is in a folder that anyone may write to; use one of its own inside it",
        ));
    }
    let file = match open_or_create(path, mode) {
        Ok(it) => it,
        Err(err) => {
            let found = fs::symlink_metadata(path).map(|it| it.file_type());
            return Err(match found {
                Ok(it) if it.is_symlink() => refused("is a symbolic link; name the file itself"),
                Ok(it) if it.is_dir() => refused("is a folder; name a file in it"),
                Ok(it) if !it.is_file() => refused("is no regular file"),
                _ => failed(err),
            });
        }
    };
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() {
        return Err(refused("is no regular file"));
    }
    if platform::has_other_names(&metadata) {
        return Err(refused("has another name (a hard link); use a file of its own"));
    }
    Ok(file)
}

/// Keeps the I/O error behind the action that failed. A later attempt may
/// succeed unless somebody has to change the file system first.
fn failure(action: String, err: io::Error) -> SinkError {
    let failed = match err.kind() {
        ErrorKind::AlreadyExists
        | ErrorKind::InvalidFilename
        | ErrorKind::NotADirectory
        | ErrorKind::PermissionDenied
        | ErrorKind::ReadOnlyFilesystem => SinkError::refused(action),
        _ => SinkError::unavailable(action),
    };
    failed.with_source(err)
}

fn open_or_create(path: &Path, mode: u32) -> io::Result<fs::File> {
    for _ in 0..MAX_ROUNDS {
        match platform::open_options().create_new(true).open(path) {
            Ok(file) => {
                platform::set_mode(&file, mode)?;
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
    Err(moved_away_again())
}

/// Appends a line, in one write, so that whoever reads along sees it whole.
/// After half a line, which a full disk leaves behind, it begins a fresh one.
fn append(mut file: &fs::File, line: &str) -> io::Result<()> {
    if ends_mid_line(file)? {
        write_once(&mut file, format!("\n{line}").as_bytes())
    } else {
        write_once(&mut file, line.as_bytes())
    }
}

fn ends_mid_line(mut file: &fs::File) -> io::Result<bool> {
    let len = file.seek(SeekFrom::End(0))?;
    let Some(last) = len.checked_sub(1) else { return Ok(false) };
    file.seek(SeekFrom::Start(last))?;
    let mut byte = [b'\n'];
    file.read_exact(&mut byte)?;
    Ok(byte != *b"\n")
}

fn write_once(writer: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    let n_written = loop {
        match writer.write(bytes) {
            Err(err) if err.kind() == ErrorKind::Interrupted => {}
            written => break written?,
        }
    };
    if n_written == bytes.len() {
        return Ok(());
    }
    let n_bytes = bytes.len();
    Err(io::Error::new(
        ErrorKind::StorageFull,
        format!("no room: {n_written} of {n_bytes} bytes were written"),
    ))
}

#[cfg(test)]
mod tests;
