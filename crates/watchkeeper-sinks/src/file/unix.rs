//! What only Unix has: modes, links, and flags of `open`.

use std::{
    fs::{DirBuilder, File, Metadata, OpenOptions, Permissions},
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    path::Path,
};

/// The mode of a new file: its owner's alone.
pub(super) const NEW_FILE: u32 = 0o600;
const NEW_FOLDER: u32 = 0o700;
const WORLD_WRITABLE: u32 = 0o002;
const STICKY: u32 = 0o1000;

/// Opens without following a link in the place of the file, and without
/// waiting for the other end of a pipe.
pub(super) fn open_options() -> OpenOptions {
    let mut res = OpenOptions::new();
    res.read(true).append(true).mode(NEW_FILE).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
    res
}

pub(super) fn create_folders(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(NEW_FOLDER).create(path)
}

/// Gives a file its mode, whatever the umask.
pub(super) fn set_mode(file: &File, mode: u32) -> io::Result<()> {
    file.set_permissions(Permissions::from_mode(mode))
}

pub(super) fn mode(metadata: &Metadata) -> u32 {
    metadata.permissions().mode() & 0o777
}

/// Whether two looks were at one file.
pub(super) fn is_same(a: &Metadata, b: &Metadata) -> bool {
    (a.dev(), a.ino()) == (b.dev(), b.ino())
}

/// Whether the file has more names than the one it was opened by.
pub(super) fn has_other_names(metadata: &Metadata) -> bool {
    1 < metadata.nlink()
}

/// Whether anyone may put another file in the place of one in this folder.
pub(super) fn is_open_to_all(folder: &Metadata) -> bool {
    let mode = folder.permissions().mode();
    mode & WORLD_WRITABLE != 0 && mode & STICKY == 0
}
