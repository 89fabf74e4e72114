//! Features of Unix alone: modes, links, and flags of `open`.

use std::{
    fs::{DirBuilder, File, Metadata, OpenOptions, Permissions},
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    path::Path,
};

/// The mode of a new file: only its owner can read and write it.
pub(super) const NEW_FILE: u32 = 0o600;
const NEW_FOLDER: u32 = 0o700;
const WORLD_WRITABLE: u32 = 0o002;
const STICKY: u32 = 0o1000;

/// Returns options that refuse a symbolic link at the path, and do not wait
/// for the other end of a pipe.
pub(super) fn open_options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options
        .read(true)
        .append(true)
        .mode(NEW_FILE)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
    options
}

pub(super) fn create_folders(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(NEW_FOLDER).create(path)
}

/// Sets the mode of a file, independent of the umask.
pub(super) fn set_mode(file: &File, mode: u32) -> io::Result<()> {
    file.set_permissions(Permissions::from_mode(mode))
}

pub(super) fn mode(metadata: &Metadata) -> u32 {
    metadata.permissions().mode() & 0o777
}

/// Returns whether both describe the same file.
pub(super) fn is_same(a: &Metadata, b: &Metadata) -> bool {
    (a.dev(), a.ino()) == (b.dev(), b.ino())
}

/// Returns whether the file has another hard link.
pub(super) fn has_other_names(metadata: &Metadata) -> bool {
    1 < metadata.nlink()
}

/// Returns whether any user may replace a file in this folder.
pub(super) fn is_open_to_all(folder: &Metadata) -> bool {
    let mode = folder.permissions().mode();
    mode & WORLD_WRITABLE != 0 && mode & STICKY == 0
}
