//! The usual places of a policy.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

/// The name of a policy in a repository.
pub(crate) const REPOSITORY_POLICY: &str = ".watchkeeper.toml";

/// The policy of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PolicyFile {
    /// The file of `--policy`.
    Given(PathBuf),
    /// A file in the working folder, or in a folder above it in the same repository.
    Repository(PathBuf),
    /// The file in the user's folder for configuration.
    User(PathBuf),
    /// No file was found.
    BuiltIn,
}

impl PolicyFile {
    /// Returns the policy of `--policy`, or else the first of the usual places that
    /// exists.
    pub(crate) fn find(given: Option<&Path>) -> Self {
        if let Some(path) = given {
            return Self::Given(path.to_owned());
        }
        let folder = std::env::current_dir().unwrap_or_default();
        Self::find_in(&folder, &|name| std::env::var_os(name))
    }

    fn find_in(folder: &Path, variable: &dyn Fn(&str) -> Option<OsString>) -> Self {
        if let Some(path) = in_repository(folder) {
            return Self::Repository(path);
        }
        user_policy(variable).filter(|path| path.is_file()).map_or(Self::BuiltIn, Self::User)
    }

    /// Returns the path of a file.
    pub(crate) fn path(&self) -> Option<&Path> {
        match self {
            Self::Given(path) | Self::Repository(path) | Self::User(path) => Some(path),
            Self::BuiltIn => None,
        }
    }

    /// Returns the reason for which this policy applies.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self::Given(_) => "given by --policy",
            Self::Repository(_) => "found in this repository",
            Self::User(_) => "found in your folder for configuration",
            Self::BuiltIn => "no policy was found",
        }
    }
}

/// Returns the policy in a folder, or in the folders above it up to the root of its
/// repository. Outside of a repository, only the folder itself is searched: anybody can
/// write into a folder such as `/tmp`.
fn in_repository(folder: &Path) -> Option<PathBuf> {
    let root = folder.ancestors().find(|it| it.join(".git").exists()).unwrap_or(folder);
    let inside = folder.ancestors().take_while(|it| it.starts_with(root));
    inside.map(|it| it.join(REPOSITORY_POLICY)).find(|path| path.is_file())
}

/// Returns the path of the user's policy: `watchkeeper/policy.toml` in
/// `$XDG_CONFIG_HOME`, or in `~/.config`.
pub(crate) fn user_policy(variable: &dyn Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let absolute = |name: &str| variable(name).map(PathBuf::from).filter(|it| it.is_absolute());
    let config = absolute("XDG_CONFIG_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".config")))?;
    Some(config.join("watchkeeper").join("policy.toml"))
}

#[cfg(test)]
mod tests {
    use std::{
        ffi::OsString,
        fs,
        path::{Path, PathBuf},
    };

    use super::PolicyFile;

    /// A folder of one test, removed on drop.
    struct Folder(PathBuf);

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn write(path: &Path) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "").unwrap();
    }

    #[test]
    fn the_nearest_place_takes_precedence() {
        let name = format!("watchkeeper-policy-file-{}", std::process::id());
        let folder = Folder(std::env::temp_dir().join(name));
        let (home, repository) = (folder.0.join("home"), folder.0.join("repository"));
        let working = repository.join("a/b");
        fs::create_dir_all(&working).unwrap();
        let home_text = OsString::from(&home);
        let find = || {
            let variable = |name: &str| (name == "HOME").then(|| home_text.clone());
            PolicyFile::find_in(&working, &variable)
        };
        // A file above the working folder counts in a repository only.
        let at_root = repository.join(".watchkeeper.toml");
        write(&at_root);
        assert_eq!(find(), PolicyFile::BuiltIn);
        let user = home.join(".config/watchkeeper/policy.toml");
        write(&user);
        assert_eq!(find(), PolicyFile::User(user));
        write(&repository.join(".git/HEAD"));
        assert_eq!(find(), PolicyFile::Repository(at_root));
        let nearer = repository.join("a/.watchkeeper.toml");
        write(&nearer);
        assert_eq!(find(), PolicyFile::Repository(nearer));
        let own = working.join(".watchkeeper.toml");
        write(&own);
        assert_eq!(find(), PolicyFile::Repository(own));
    }
}
