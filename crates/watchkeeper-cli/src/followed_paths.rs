use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
};

use watchkeeper_sources::has_compressed_form;

/// The files and folders that `watch` follows.
#[derive(Clone, Debug)]
pub(crate) struct FollowedPaths(Vec<PathBuf>);

impl FollowedPaths {
    pub(crate) fn new(paths: &[PathBuf]) -> Self {
        let absolute = |path: &PathBuf| std::path::absolute(path).unwrap_or_else(|_| path.clone());
        Self(paths.iter().map(absolute).collect())
    }

    /// Returns whether a file was removed. Not if the folder that is followed is missing: its
    /// disk may be. Not if the file was compressed: its session is still there.
    pub(crate) fn have_lost(&self, file: &Path) -> bool {
        let is_missing =
            fs::symlink_metadata(file).is_err_and(|err| err.kind() == ErrorKind::NotFound);
        is_missing && self.are_present(file) && !has_compressed_form(file)
    }

    /// Returns whether the followed folder of a file is there.
    pub(crate) fn are_present(&self, file: &Path) -> bool {
        let mut roots = self.0.iter().filter(|root| file.starts_with(root));
        roots.any(|root| root.is_dir() || (root == file && file.parent().is_some_and(Path::is_dir)))
    }
}
