//! Files and folders that their owner alone can read and write.

use std::{
    fs::{DirBuilder, File, Metadata, OpenOptions},
    io::{self, ErrorKind},
    path::Path,
};

/// Opens a file to read and write it, and creates it for its owner alone if it is missing. Refuses
/// a symbolic link, anything but a file, and a file that other users can write to.
pub fn create_private_file(path: &Path) -> io::Result<File> {
    checked(options().write(true).create(true).truncate(false), path)
}

/// Opens a file to append to it, like [`create_private_file`]. Each write is at the end of the
/// file, also if other processes write to it.
pub fn append_private_file(path: &Path) -> io::Result<File> {
    checked(options().append(true).create(true), path)
}

/// Creates a file that its owner alone can read and write. Fails if the path exists.
pub fn create_new_private_file(path: &Path) -> io::Result<File> {
    options().write(true).create_new(true).open(path)
}

/// Opens a file to read it. Refuses what [`create_private_file`] refuses.
pub fn open_private_file(path: &Path) -> io::Result<File> {
    checked(&options(), path)
}

fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;

        // Without waiting for the other end of a pipe.
        options.mode(0o600).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
    }
    options
}

fn checked(options: &OpenOptions, path: &Path) -> io::Result<File> {
    if path.is_symlink() {
        return Err(is_link());
    }
    let file = options.open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::new(ErrorKind::InvalidInput, "it is no regular file; remove it"));
    }
    if is_open_to_others(&metadata) {
        let reason = "other users can write to it; run `chmod go-w` on it, or remove it";
        return Err(io::Error::new(ErrorKind::PermissionDenied, reason));
    }
    Ok(file)
}

pub(crate) fn is_link() -> io::Error {
    io::Error::new(ErrorKind::InvalidInput, "it is a symbolic link; remove it")
}

/// Creates a folder that its owner alone can read and write, and the missing ones above it.
pub fn create_private_folder(path: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::DirBuilderExt as _;

        builder.mode(0o700);
    }
    builder.create(path)
}

/// Returns whether users other than the owner can write to a file or a folder.
pub(crate) fn is_open_to_others(metadata: &Metadata) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;

        metadata.permissions().mode() & 0o022 != 0
    }
    #[cfg(not(unix))]
    {
        let _ = metadata;
        false
    }
}

/// Returns whether both describe the same file, as far as the system knows.
pub(crate) fn is_same(a: &Metadata, b: &Metadata) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt as _;

        (a.dev(), a.ino()) == (b.dev(), b.ino())
    }
    #[cfg(not(unix))]
    {
        a.created().ok() == b.created().ok()
    }
}

/// Lets the names in a folder survive a loss of power, where the system can.
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    if cfg!(not(unix)) {
        return Ok(());
    }
    match File::open(folder)?.sync_all() {
        Err(err) if matches!(err.kind(), ErrorKind::InvalidInput | ErrorKind::Unsupported) => {
            Ok(())
        }
        synced => synced,
    }
}
