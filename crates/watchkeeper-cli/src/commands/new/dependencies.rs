//! Dependencies on the crates of watchkeeper.

use std::{
    fs,
    path::{Component, Path, PathBuf},
};

use super::NewError;

/// The prefix of the crates of the detectors that ship with watchkeeper.
pub(super) const DETECTOR_PREFIX: &str = "watchkeeper-detector-";

/// A checkout of the repository of watchkeeper.
pub(super) struct Checkout {
    /// The absolute path, without symbolic links.
    root: PathBuf,
}

impl Checkout {
    pub(super) fn open(path: &Path) -> Result<Self, NewError> {
        let root = fs::canonicalize(path)
            .map_err(|source| NewError::Checkout { path: path.to_owned(), source })?;
        if !root.join("crates/watchkeeper-core/Cargo.toml").is_file() {
            return Err(NewError::NotACheckout { path: path.to_owned() });
        }
        Ok(Self { root })
    }

    /// Returns the path of a crate, relative to `folder`. `folder` is absolute and without
    /// symbolic links.
    fn crate_path(&self, package: &str, folder: &Path) -> PathBuf {
        let path = match package.strip_prefix(DETECTOR_PREFIX) {
            Some(kind) => self.root.join("detectors").join(kind),
            None => self.root.join("crates").join(package),
        };
        relative(folder, &path).unwrap_or(path)
    }
}

/// Returns the line of the `Cargo.toml` in `folder` that depends on `package`.
pub(super) fn dependency(
    package: &str,
    version: &str,
    checkout: Option<&Checkout>,
    folder: &Path,
) -> String {
    match checkout {
        None => format!("{package} = \"{version}\""),
        Some(checkout) => {
            let path = checkout.crate_path(package, folder);
            // The escapes of a TOML string are those of JSON.
            let path = serde_json::Value::from(path.to_string_lossy());
            format!("{package} = {{ path = {path} }}")
        }
    }
}

/// Returns the path from the folder `from` to `to`; `None` on another drive. Both are absolute.
fn relative(from: &Path, to: &Path) -> Option<PathBuf> {
    let (mut from, mut to) = (from.components().peekable(), to.components().peekable());
    let is_drive = |first: &&Component<'_>| matches!(first, Component::Prefix(_));
    if from.peek().filter(is_drive) != to.peek().filter(is_drive) {
        return None;
    }
    while from.peek().is_some() && from.peek() == to.peek() {
        from.next();
        to.next();
    }
    Some(from.map(|_| Component::ParentDir).chain(to).collect())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::relative;

    #[test]
    fn leads_from_one_folder_to_another() {
        for (from, to, expected) in [
            ("/a/b", "/a/b/c", "c"),
            ("/a/b", "/a/c/d", "../c/d"),
            ("/a/b/c", "/x", "../../../x"),
            ("/a/b", "/a/bc", "../bc"),
        ] {
            let path = relative(Path::new(from), Path::new(to));
            assert_eq!(path.as_deref(), Some(Path::new(expected)), "{from} {to}");
        }
    }
}
