//! Features of Unix alone: modes, links, and flags of `open`.

use std::{
    fs::{self, DirBuilder, File, Metadata, OpenOptions, Permissions},
    io::{self, ErrorKind},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{self, Path, PathBuf},
};

/// The mode of a new file: only its owner can read and write it.
const NEW_FILE: u32 = 0o600;
const NEW_FOLDER: u32 = 0o700;
/// The permissions of the group and of all users.
const FOR_OTHERS: u32 = 0o077;
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

/// Sets the mode of a new file, independent of the umask.
pub(super) fn set_mode_of_new(file: &File) -> io::Result<()> {
    file.set_permissions(Permissions::from_mode(NEW_FILE))
}

/// Returns the mode of a file if other users than its owner have any permission.
pub(super) fn mode_for_others(file: &Metadata) -> Option<u32> {
    let mode = file.permissions().mode() & 0o7777;
    (mode & FOR_OTHERS != 0).then_some(mode)
}

/// Returns whether both describe the same file.
pub(super) fn is_same(a: &Metadata, b: &Metadata) -> bool {
    (a.dev(), a.ino()) == (b.dev(), b.ino())
}

/// Returns whether the file has another hard link.
pub(super) fn has_other_names(metadata: &Metadata) -> bool {
    1 < metadata.nlink()
}

/// Returns the folder on the way to a file in which any user may replace the file, or a folder
/// that contains it. Missing folders are created with other permissions.
///
/// In a sticky folder such as `/tmp`, users replace only their own files, so that the next name
/// on the way has to belong to this user.
pub(super) fn folder_open_to_others(path: &Path) -> io::Result<Option<PathBuf>> {
    let path = path::absolute(path)?;
    if let Some(open) = open_ancestor(&path)? {
        return Ok(Some(open));
    }
    // Symbolic links lead to other folders.
    let real = path.ancestors().find_map(|next| {
        let folder = fs::canonicalize(next.parent()?).ok()?;
        Some(folder.join(next.file_name()?))
    });
    real.map_or(Ok(None), |path| open_ancestor(&path))
}

fn open_ancestor(path: &Path) -> io::Result<Option<PathBuf>> {
    let user = rustix::process::geteuid().as_raw();
    let is_own = |path: &Path| match fs::symlink_metadata(path) {
        Ok(found) => Ok(found.uid() == user || found.uid() == 0),
        Err(err) if is_absence(&err) => Ok(true),
        Err(err) => Err(err),
    };
    let mut next = path;
    while let Some(folder) = next.parent() {
        let mode = match fs::metadata(folder) {
            Ok(found) => found.permissions().mode(),
            Err(err) if is_absence(&err) => 0,
            Err(err) => return Err(err),
        };
        if mode & WORLD_WRITABLE != 0 && (mode & STICKY == 0 || !is_own(next)?) {
            return Ok(Some(folder.to_owned()));
        }
        next = folder;
    }
    Ok(None)
}

fn is_absence(err: &io::Error) -> bool {
    matches!(err.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}
