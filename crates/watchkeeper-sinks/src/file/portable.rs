//! Replaces `unix.rs` on other systems, where the permissions of the folder protect its files.

use std::{
    fs::{self, File, Metadata, OpenOptions},
    io,
    path::Path,
};

pub(super) const NEW_FILE: u32 = 0;

pub(super) fn open_options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).append(true);
    options
}

pub(super) fn create_folders(path: &Path) -> io::Result<()> {
    fs::create_dir_all(path)
}

#[expect(clippy::unnecessary_wraps, reason = "the function can fail on Unix")]
pub(super) fn set_mode(_: &File, _: u32) -> io::Result<()> {
    Ok(())
}

pub(super) fn mode(_: &Metadata) -> u32 {
    NEW_FILE
}

pub(super) fn is_same(_: &Metadata, _: &Metadata) -> bool {
    true
}

pub(super) fn has_other_names(_: &Metadata) -> bool {
    false
}

pub(super) fn is_open_to_all(_: &Metadata) -> bool {
    false
}
