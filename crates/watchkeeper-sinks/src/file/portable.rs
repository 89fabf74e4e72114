//! What stands in for `unix.rs` elsewhere: the folder's own rights guard its files.

use std::{
    fs::{self, File, Metadata, OpenOptions},
    io,
    path::Path,
};

pub(super) const NEW_FILE: u32 = 0;

pub(super) fn open_options() -> OpenOptions {
    let mut res = OpenOptions::new();
    res.read(true).append(true);
    res
}

pub(super) fn create_folders(path: &Path) -> io::Result<()> {
    fs::create_dir_all(path)
}

#[expect(clippy::unnecessary_wraps, reason = "it may fail on Unix")]
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
