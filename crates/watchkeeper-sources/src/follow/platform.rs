//! What only some systems have: which file stands at a path, and how to open a
//! path that may turn out to be no file.

use std::{
    fs::{File, Metadata, OpenOptions},
    io,
    path::Path,
};

/// Which file it is, wherever it stands and whatever it is called.
#[cfg(unix)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Identity {
    device: u64,
    inode: u64,
}

#[cfg(unix)]
impl Identity {
    /// The device and the inode.
    pub(super) fn of(_path: &Path, metadata: &Metadata) -> Self {
        use std::os::unix::fs::MetadataExt as _;
        Self { device: metadata.dev(), inode: metadata.ino() }
    }
}

/// Opens a file for reading. A FIFO that took the place of a file does not
/// block, and a terminal does not become ours.
#[cfg(unix)]
pub(super) fn open(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt as _;
    OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path)
}

/// Which file it is, as far as its path tells: one that is renamed is another.
#[cfg(not(unix))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Identity(watchkeeper_core::Fingerprint);

#[cfg(not(unix))]
impl Identity {
    pub(super) fn of(path: &Path, _metadata: &Metadata) -> Self {
        Self(watchkeeper_core::Fingerprint::of(path.as_os_str().as_encoded_bytes()))
    }
}

/// Opens a file for reading.
#[cfg(not(unix))]
pub(super) fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).open(path)
}
