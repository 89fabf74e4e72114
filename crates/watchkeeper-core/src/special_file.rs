use std::{fmt, fs::Metadata, path::Path};

/// A file that is neither a regular file nor a folder. Reading one can take forever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SpecialFile {
    /// A named pipe.
    Pipe,
    /// A device, such as `/dev/zero`.
    Device,
    /// A socket.
    Socket,
}

impl SpecialFile {
    /// Returns the kind of a file. Returns `None` for a regular file and a folder, and for an
    /// open file of this process, such as `/dev/fd/3`: a shell passes pipes by such paths.
    pub fn of(path: &Path, metadata: &Metadata) -> Option<Self> {
        if metadata.is_file() || metadata.is_dir() || is_open_file(path) {
            return None;
        }
        Self::of_type(metadata)
    }

    #[cfg(unix)]
    #[expect(clippy::unnecessary_wraps, reason = "other platforms have no such files")]
    fn of_type(metadata: &Metadata) -> Option<Self> {
        use std::os::unix::fs::FileTypeExt as _;

        let kind = metadata.file_type();
        Some(match () {
            () if kind.is_fifo() => Self::Pipe,
            () if kind.is_socket() => Self::Socket,
            () => Self::Device,
        })
    }

    #[cfg(not(unix))]
    fn of_type(_: &Metadata) -> Option<Self> {
        None
    }
}

impl fmt::Display for SpecialFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pipe => "a named pipe",
            Self::Device => "a device",
            Self::Socket => "a socket",
        })
    }
}

fn is_open_file(path: &Path) -> bool {
    const FOLDERS: [&str; 3] = ["/dev/fd", "/proc/self/fd", "/proc/thread-self/fd"];
    path == Path::new("/dev/stdin")
        || path.parent().is_some_and(|folder| FOLDERS.iter().any(|it| folder == Path::new(it)))
}

#[cfg(all(test, unix))]
mod tests {
    use std::{fs, path::Path};

    use super::SpecialFile;

    #[test]
    fn names_devices_but_no_open_files() {
        let of = |path: &str| SpecialFile::of(Path::new(path), &fs::metadata("/dev/null").unwrap());
        assert_eq!(of("/dev/null"), Some(SpecialFile::Device));
        assert_eq!(of("/dev/fd/x/3"), Some(SpecialFile::Device));
        for path in ["/dev/stdin", "/dev/fd/3", "/proc/self/fd/3"] {
            assert_eq!(of(path), None, "{path}");
        }
        let folder = Path::new("/");
        assert_eq!(SpecialFile::of(folder, &fs::metadata(folder).unwrap()), None);
    }
}
