//! Operations that differ between systems: identifying a file, and opening a path
//! that may not be a regular file.

use std::{
    fs::{File, Metadata, OpenOptions},
    io,
    path::Path,
};

/// Identifies a file independently of its path.
#[cfg(unix)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Identity {
    device: u64,
    inode: u64,
}

#[cfg(unix)]
impl Identity {
    /// Returns the device and the inode.
    pub(crate) fn of(_path: &Path, metadata: &Metadata) -> Self {
        use std::os::unix::fs::MetadataExt as _;
        Self { device: metadata.dev(), inode: metadata.ino() }
    }
}

/// Opens a file for reading. Opening a FIFO does not block, and a terminal does not
/// become the controlling terminal.
#[cfg(unix)]
pub(crate) fn open(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt as _;
    OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path)
}

/// Identifies a file by its path. A renamed file is another one.
#[cfg(not(unix))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Identity(watchkeeper_core::Fingerprint);

#[cfg(not(unix))]
impl Identity {
    pub(crate) fn of(path: &Path, _metadata: &Metadata) -> Self {
        Self(watchkeeper_core::Fingerprint::of(path.as_os_str().as_encoded_bytes()))
    }
}

/// Opens a file for reading.
#[cfg(not(unix))]
pub(crate) fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).open(path)
}

/// Returns the id of the user who owns a file.
#[cfg(unix)]
#[expect(clippy::unnecessary_wraps, reason = "other systems have no such id")]
pub(crate) fn owner(metadata: &Metadata) -> Option<u32> {
    use std::os::unix::fs::MetadataExt as _;
    Some(metadata.uid())
}

/// Returns `None`: files have no such owner on this system.
#[cfg(not(unix))]
pub(crate) fn owner(_metadata: &Metadata) -> Option<u32> {
    None
}
