//! Operations that differ between systems: identifying a file, opening a path that may
//! not be a regular file, and recognizing the file systems of this machine.

use std::{
    fs::{File, Metadata, OpenOptions},
    io,
    path::Path,
};

use watchkeeper_core::Fingerprint;

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

    /// Returns a hash that is the same after a restart of the system, which may number devices
    /// in another order.
    pub(super) fn lasting(self) -> Fingerprint {
        Fingerprint::from(self.inode)
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
pub(crate) struct Identity(Fingerprint);

#[cfg(not(unix))]
impl Identity {
    pub(crate) fn of(path: &Path, _metadata: &Metadata) -> Self {
        Self(Fingerprint::of(path.as_os_str().as_encoded_bytes()))
    }

    /// Returns the hash of the path.
    pub(super) fn lasting(self) -> Fingerprint {
        self.0
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

/// Returns whether only this machine changes the file system of a folder, so that the
/// system notifies of every change. False if that is unknown.
#[cfg(target_os = "linux")]
pub(super) fn is_local(folder: &Path) -> bool {
    /// The types of such file systems, from `statfs(2)` and the kernel's `magic.h`.
    const LOCAL: [u32; 13] = [
        0x0000_4d44, // FAT
        0x0000_ef53, // ext2, ext3, ext4
        0x0000_f15f, // eCryptfs
        0x0102_1994, // tmpfs
        0x2011_bab0, // exFAT
        0x2fc1_2fc1, // ZFS
        0x5846_5342, // XFS
        0x7366_746e, // NTFS
        0x794c_7630, // overlayfs
        0x8584_58f6, // ramfs
        0x9123_683e, // Btrfs
        0xca45_1a4e, // bcachefs
        0xf2f5_2010, // F2FS
    ];
    let kind = rustix::fs::statfs(folder).ok().map(|found| found.f_type);
    // Of 32 or 64 bits, signed or not.
    kind.is_some_and(|kind| {
        LOCAL.iter().any(|local| i128::from(kind) & 0xffff_ffff == i128::from(*local))
    })
}

/// Returns `false`: the type is not known on this system.
#[cfg(not(target_os = "linux"))]
pub(super) fn is_local(_folder: &Path) -> bool {
    false
}
