//! Files and folders that their owner alone can read and write.

use std::{
    fs::{DirBuilder, Metadata, OpenOptions},
    io,
    path::Path,
};

/// Returns options to read and write a private file. They refuse a symbolic link.
pub(crate) fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;

        options.mode(0o600).custom_flags(libc::O_NOFOLLOW);
    }
    options
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

/// Returns whether users other than the owner can write to a folder.
pub(crate) fn is_open_to_others(folder: &Metadata) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;

        folder.permissions().mode() & 0o022 != 0
    }
    #[cfg(not(unix))]
    {
        let _ = folder;
        false
    }
}
