//! The usual places of a policy.

use std::{
    ffi::OsString,
    fs::{self, File, Metadata},
    io,
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
    /// A file in the working folder, which is in no repository.
    Folder(PathBuf),
    /// The file in the user's folder for configuration.
    User(PathBuf),
    /// No file was found.
    BuiltIn,
}

/// The result of a search for the policy of a command.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct PolicySearch {
    pub(crate) policy: PolicyFile,
    /// Files at the usual places that belong to other users. They are not used: a
    /// policy selects what is reported and which files and hosts receive it.
    pub(crate) foreign: Vec<PathBuf>,
}

impl PolicyFile {
    /// Returns the policy of `--policy`, or else the first of the usual places that
    /// exists.
    pub(crate) fn find(given: Option<&Path>) -> PolicySearch {
        if let Some(path) = given {
            return PolicySearch { policy: Self::Given(path.to_owned()), foreign: Vec::new() };
        }
        let folder = std::env::current_dir().unwrap_or_default();
        let is_own = |path: &Path| is_own(path, &fs::metadata(path)?);
        Self::find_in(&folder, &|name| std::env::var_os(name), &is_own)
    }

    fn find_in(
        folder: &Path,
        variable: &dyn Fn(&str) -> Option<OsString>,
        is_own: &dyn Fn(&Path) -> io::Result<bool>,
    ) -> PolicySearch {
        let mut foreign = Vec::new();
        let root = folder.ancestors().find(|ancestor| ancestor.join(".git").exists());
        // Outside of a repository, only the folder itself is searched.
        let inside =
            folder.ancestors().take_while(|ancestor| ancestor.starts_with(root.unwrap_or(folder)));
        let files = inside.map(|ancestor| ancestor.join(REPOSITORY_POLICY));
        for path in files.filter(|path| path.is_file()) {
            // A file whose owner is unknown counts as foreign.
            if is_own(&path).unwrap_or(false) {
                let policy =
                    if root.is_some() { Self::Repository(path) } else { Self::Folder(path) };
                return PolicySearch { policy, foreign };
            }
            foreign.push(path);
        }
        let user = user_policy(variable).filter(|path| path.is_file());
        PolicySearch { policy: user.map_or(Self::BuiltIn, Self::User), foreign }
    }

    /// Returns the path of a file.
    pub(crate) fn path(&self) -> Option<&Path> {
        match self {
            Self::Given(path) | Self::Repository(path) | Self::Folder(path) | Self::User(path) => {
                Some(path)
            }
            Self::BuiltIn => None,
        }
    }

    /// Returns whether the file is in the folder of a project, where the monitored
    /// agents can write.
    pub(crate) fn is_in_project(&self) -> bool {
        matches!(self, Self::Repository(_) | Self::Folder(_))
    }

    /// Returns whether the file at `path`, which is open as `file`, is this policy in the folder
    /// of a project and belongs to another user, who may have replaced the policy that was found.
    /// A file whose owner is unknown counts as foreign.
    pub(crate) fn is_foreign(&self, path: &Path, file: &File) -> bool {
        let is_own = || is_own(path, &file.metadata()?);
        self.is_in_project() && self.path() == Some(path) && !is_own().unwrap_or(false)
    }

    /// Returns the reason for which this policy applies.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self::Given(_) => "given by --policy",
            Self::Repository(_) => "found in this repository",
            Self::Folder(_) => "found in this folder",
            Self::User(_) => "found in your folder for configuration",
            Self::BuiltIn => "no policy was found",
        }
    }
}

/// Returns whether the file with this metadata, and the link to it at `path` if there is one,
/// belong to the user of this process. Git has the same rule for repositories.
#[cfg(unix)]
fn is_own(path: &Path, file: &Metadata) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt as _;

    let user = rustix::process::geteuid().as_raw();
    Ok(fs::symlink_metadata(path)?.uid() == user && file.uid() == user)
}

/// Returns `true`: other platforms have no user ids.
#[cfg(not(unix))]
fn is_own(_: &Path, _: &Metadata) -> io::Result<bool> {
    Ok(true)
}

/// Returns the path of the user's policy: `watchkeeper/policy.toml` in
/// `$XDG_CONFIG_HOME`, or in `~/.config`.
pub(crate) fn user_policy(variable: &dyn Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let absolute = |name: &str| variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let config = absolute("XDG_CONFIG_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".config")))?;
    Some(config.join("watchkeeper").join("policy.toml"))
}

#[cfg(test)]
mod tests {
    use std::{
        ffi::OsString,
        fs::{self, File},
        io,
        path::{Path, PathBuf},
    };

    use super::{PolicyFile, PolicySearch};

    fn is_own(path: &Path) -> io::Result<bool> {
        super::is_own(path, &fs::metadata(path)?)
    }

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

    impl Folder {
        fn new(name: &str) -> Self {
            let name = format!("watchkeeper-policy-file-{name}-{}", std::process::id());
            Self(std::env::temp_dir().join(name))
        }
    }

    #[test]
    fn the_nearest_place_takes_precedence() {
        let folder = Folder::new("precedence");
        let (home, repository) = (folder.0.join("home"), folder.0.join("repository"));
        let working = repository.join("a/b");
        fs::create_dir_all(&working).unwrap();
        let home_text = OsString::from(&home);
        let find = || {
            let variable = |name: &str| (name == "HOME").then(|| home_text.clone());
            let PolicySearch { policy, foreign } =
                PolicyFile::find_in(&working, &variable, &is_own);
            assert_eq!(foreign, Vec::<PathBuf>::new());
            policy
        };
        // A file above the working folder counts in a repository only.
        let at_root = repository.join(".watchkeeper.toml");
        write(&at_root);
        assert_eq!(find(), PolicyFile::BuiltIn);
        let user = home.join(".config/watchkeeper/policy.toml");
        write(&user);
        assert_eq!(find(), PolicyFile::User(user));
        let own = working.join(".watchkeeper.toml");
        write(&own);
        assert_eq!(find(), PolicyFile::Folder(own.clone()));
        fs::remove_file(&own).unwrap();
        write(&repository.join(".git/HEAD"));
        assert_eq!(find(), PolicyFile::Repository(at_root));
        let nearer = repository.join("a/.watchkeeper.toml");
        write(&nearer);
        assert_eq!(find(), PolicyFile::Repository(nearer));
        write(&own);
        assert_eq!(find(), PolicyFile::Repository(own));
    }

    #[test]
    fn a_file_of_another_user_is_not_used() {
        let folder = Folder::new("foreign");
        write(&folder.0.join(".git/HEAD"));
        let (own, foreign) =
            (folder.0.join(".watchkeeper.toml"), folder.0.join("a/.watchkeeper.toml"));
        write(&foreign);
        let find = |is_own: &dyn Fn(&Path) -> bool| {
            let is_own = |path: &Path| Ok(is_own(path));
            PolicyFile::find_in(&folder.0.join("a"), &|_| None, &is_own)
        };
        let nothing = PolicySearch { policy: PolicyFile::BuiltIn, foreign: vec![foreign.clone()] };
        assert_eq!(find(&|_| false), nothing);
        write(&own);
        let above = PolicySearch {
            policy: PolicyFile::Repository(own.clone()),
            foreign: vec![foreign.clone()],
        };
        assert_eq!(find(&|path| path == own), above);
    }

    #[cfg(unix)]
    #[test]
    fn a_link_and_its_target_belong_to_this_user() {
        use std::os::unix::fs::{MetadataExt as _, chown, lchown, symlink};

        let folder = Folder::new("links");
        let (file, link) = (folder.0.join("file"), folder.0.join("link"));
        write(&file);
        symlink(&file, &link).unwrap();
        assert!(is_own(&file).unwrap() && is_own(&link).unwrap());
        assert!(is_own(&folder.0.join("missing")).is_err());
        let foreign = folder.0.join("foreign");
        if rustix::process::geteuid().is_root() {
            if lchown(&link, Some(1), None).is_err() {
                // A container may have one user only.
                return;
            }
            assert!(is_own(&file).unwrap() && !is_own(&link).unwrap());
            chown(&file, Some(1), None).unwrap();
            assert!(!is_own(&file).unwrap());
            let opened = File::open(&file).unwrap();
            let policy = |path: &Path| PolicyFile::Folder(path.to_owned());
            assert!(policy(&file).is_foreign(&file, &opened));
            // The file that was opened counts, and not another one that has replaced it.
            fs::remove_file(&file).unwrap();
            write(&file);
            assert!(policy(&file).is_foreign(&file, &opened));
            assert!(!policy(&file).is_foreign(&file, &File::open(&file).unwrap()));
            assert!(!PolicyFile::Given(file.clone()).is_foreign(&file, &opened));
            fs::remove_file(&file).unwrap();
            // The owner is unknown.
            assert!(policy(&file).is_foreign(&file, &opened));
            write(&file);
            chown(&file, Some(1), None).unwrap();
            symlink(&file, &foreign).unwrap();
        } else {
            symlink("/", &foreign).unwrap();
            if fs::metadata("/").unwrap().uid() == rustix::process::geteuid().as_raw() {
                // Nothing here belongs to another user.
                return;
            }
        }
        assert!(!is_own(&foreign).unwrap());
    }
}
