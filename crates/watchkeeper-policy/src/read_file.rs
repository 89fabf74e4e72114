//! Reads the files of policies.

use std::{
    fs::{self, File, Metadata},
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use watchkeeper_core::embed::SpecialFile;

use crate::{builtin, diagnostic::closest};

/// The largest file, in bytes.
const MAX_LEN: u64 = 16 << 20;

/// A file that a policy extends.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ResolvedFile {
    /// The path, without links.
    pub path: PathBuf,
    /// Whether the file belongs to the user of this process or to the administrator. Only such a
    /// file may extend files outside of its folder, by absolute paths.
    pub is_trusted: bool,
}

impl ResolvedFile {
    /// Creates a file that is trusted, for texts that are part of a program.
    pub fn trusted(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), is_trusted: true }
    }
}

/// Follows the links of a path, for [`Loader::resolve`](crate::Loader::resolve).
pub fn resolve_file(path: &Path) -> io::Result<ResolvedFile> {
    let resolved = fs::canonicalize(path)?;
    let is_trusted = is_trusted(&fs::metadata(&resolved)?);
    Ok(ResolvedFile { path: resolved, is_trusted })
}

#[cfg(unix)]
fn is_trusted(metadata: &Metadata) -> bool {
    use std::os::unix::fs::MetadataExt as _;

    const ADMINISTRATOR: u32 = 0;
    let user = rustix::process::geteuid().as_raw();
    [user, ADMINISTRATOR].contains(&metadata.uid())
}

/// Returns `true`: other platforms have no user ids.
#[cfg(not(unix))]
fn is_trusted(_: &Metadata) -> bool {
    true
}

/// Opens a file for [`read_opened`]. Refuses folders, and files whose reading can take forever.
pub fn open_file(path: &Path) -> io::Result<File> {
    let metadata = fs::metadata(path).map_err(|err| without_file(path, err))?;
    if metadata.is_dir() {
        return Err(io::Error::other("it is a folder; name a file in it"));
    }
    if let Some(kind) = SpecialFile::of(path, &metadata) {
        return Err(io::Error::other(format!("it is {kind}; use a regular file")));
    }
    File::open(path)
}

/// Reads a policy, or another text file that belongs to one, of at most 16 MiB. Errors
/// suggest a remedy.
pub fn read_file(path: &Path) -> io::Result<String> {
    read_opened(open_file(path)?)
}

/// Reads a file of [`open_file`] as [`read_file`] does.
pub fn read_opened(file: File) -> io::Result<String> {
    let mut bytes = Vec::new();
    file.take(MAX_LEN + 1).read_to_end(&mut bytes)?;
    if MAX_LEN < bytes.len() as u64 {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is larger than 16 MiB"));
    }
    String::from_utf8(bytes).map_err(|err| {
        let bytes = err.as_bytes();
        let reason = if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
            "it is UTF-16; save it as UTF-8".to_owned()
        } else {
            let before = &bytes[..err.utf8_error().valid_up_to()];
            let line = before.split(|byte| *byte == b'\n').count();
            format!("line {line} is not UTF-8; save it as UTF-8")
        };
        io::Error::new(io::ErrorKind::InvalidData, reason)
    })
}

/// Returns the mode of a file if it gives permissions to all users; `None` for a file that does
/// not exist, and on systems without modes.
pub(crate) fn mode_for_all(path: &Path) -> Option<u32> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;

        let mode = fs::metadata(path).ok()?.permissions().mode() & 0o7777;
        (mode & 0o007 != 0).then_some(mode)
    }
    #[cfg(not(unix))]
    {
        let _ = path;
        None
    }
}

/// Names the built-in policies in the error of a file that does not exist, if the path looks
/// like the name of one.
fn without_file(path: &Path, err: io::Error) -> io::Error {
    let Some(name) = path.to_str().filter(|name| name.starts_with("builtin:")) else { return err };
    if err.kind() != io::ErrorKind::NotFound {
        return err;
    }
    let names: Vec<_> = builtin::names().map(|name| format!("`{name}`")).collect();
    let hint = closest(name, builtin::names());
    let hint = hint.map(|name| format!("; did you mean `{name}`?")).unwrap_or_default();
    let message = format!("the built-in policies are {}{hint}", names.join(" and "));
    io::Error::new(io::ErrorKind::NotFound, message)
}

#[cfg(test)]
mod tests {
    use std::{fs::File, path::Path};

    use super::read_file;

    fn error(path: &Path) -> String {
        read_file(path).unwrap_err().to_string()
    }

    #[test]
    fn a_misspelt_built_in_policy_has_a_suggestion() {
        let names = "the built-in policies are `builtin:default` and `builtin:safe-session`";
        let with_hint = format!("{names}; did you mean `builtin:safe-session`?");
        assert_eq!(error(Path::new("builtin:safe-sesion")), with_hint);
        assert_eq!(error(Path::new("builtin:xyzzy")), names);
    }

    #[test]
    fn refuses_files_that_are_too_large() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("large.toml");
        File::create(&path).unwrap().set_len((16 << 20) + 1).unwrap();
        assert_eq!(error(&path), "it is larger than 16 MiB");
        assert_eq!(error(folder.path()), "it is a folder; name a file in it");
    }

    #[cfg(unix)]
    #[test]
    fn refuses_pipes_and_devices() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
        assert!(made.success());
        assert_eq!(error(&pipe), "it is a named pipe; use a regular file");
        assert_eq!(error(Path::new("/dev/zero")), "it is a device; use a regular file");
    }
}
