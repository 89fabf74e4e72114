//! Replaces `unix.rs` on other systems, where the permissions of the folder protect its files.

use std::{
    fs::{self, File, Metadata, OpenOptions},
    io,
    path::{Path, PathBuf},
};

pub(super) fn open_options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).append(true);
    options
}

pub(super) fn create_folders(path: &Path) -> io::Result<()> {
    fs::create_dir_all(path)
}

#[expect(clippy::unnecessary_wraps, reason = "the function can fail on Unix")]
pub(super) fn set_mode_of_new(_: &File) -> io::Result<()> {
    Ok(())
}

pub(super) fn mode_for_others(_: &Metadata) -> Option<u32> {
    None
}

pub(super) fn is_same(_: &Metadata, _: &Metadata) -> bool {
    true
}

pub(super) fn has_other_names(_: &Metadata) -> bool {
    false
}

#[expect(clippy::unnecessary_wraps, reason = "the function can fail on Unix")]
pub(super) fn folder_open_to_others(_: &Path) -> io::Result<Option<PathBuf>> {
    Ok(None)
}
