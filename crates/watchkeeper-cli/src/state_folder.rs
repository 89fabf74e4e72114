//! The folder in which the program keeps state between its runs.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

use clap::Args;
use watchkeeper_policy::Policy;

/// The argument `--state-dir`.
#[derive(Debug, Args)]
pub(crate) struct StateFolder {
    /// Folder for silences, accepted findings, and waiting findings
    /// [default: `state_dir` of the policy, or `watchkeeper` in `$XDG_STATE_HOME` or
    /// `~/.local/state`]
    #[arg(long, value_name = "DIR", global = true)]
    state_dir: Option<PathBuf>,
}

impl StateFolder {
    /// Returns the folder that arguments name which were not parsed, or else the usual one. `None`
    /// if the environment names no home folder.
    pub(crate) fn of_args(args: &[OsString]) -> Option<PathBuf> {
        const OPTION: &str = "--state-dir";
        let value = args.iter().enumerate().find_map(|(at, arg)| match arg.to_str()? {
            OPTION => args.get(at + 1).map(PathBuf::from),
            text => text.strip_prefix(OPTION)?.strip_prefix('=').map(PathBuf::from),
        });
        let state_dir = value.filter(|folder| !folder.as_os_str().is_empty());
        Self { state_dir }.path(None)
    }

    /// Returns the folder of the argument.
    pub(crate) fn given(&self) -> Option<&Path> {
        self.state_dir.as_deref()
    }

    /// Returns the folder that a person has chosen: the one of the argument, or else of the policy.
    pub(crate) fn chosen(&self, policy: Option<&Policy>) -> Option<PathBuf> {
        let of_policy = || policy.and_then(|policy| policy.monitor.state_dir.clone());
        self.state_dir.clone().or_else(of_policy)
    }

    /// Returns the folder that a person has chosen, or else the usual one. `None` if the environment
    /// names no home folder.
    pub(crate) fn path(&self, policy: Option<&Policy>) -> Option<PathBuf> {
        let usual = || usual_folder(&|name| std::env::var_os(name));
        self.chosen(policy).or_else(usual)
    }
}

fn usual_folder(variable: &dyn Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let absolute = |name: &str| variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let state = absolute("XDG_STATE_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".local").join("state")))?;
    Some(state.join("watchkeeper"))
}

#[cfg(test)]
mod tests {
    use std::{ffi::OsString, path::PathBuf};

    use super::{StateFolder, usual_folder};

    #[test]
    fn a_folder_is_found_in_invalid_arguments() {
        for args in [&["--state-dir", "/s", "--x"][..], &["hook", "--state-dir=/s"]] {
            let args: Vec<OsString> = args.iter().map(OsString::from).collect();
            assert_eq!(StateFolder::of_args(&args), Some("/s".into()));
        }
    }

    #[test]
    fn the_usual_folder_follows_the_environment() {
        let folder = |variables: &[(&str, &str)]| {
            usual_folder(&|name| {
                let variable = variables.iter().find(|(known, _)| *known == name);
                variable.map(|(_, value)| OsString::from(value))
            })
        };
        let home = ("HOME", "/home/me");
        let usual = Some(PathBuf::from("/home/me/.local/state/watchkeeper"));
        assert_eq!(folder(&[home]), usual);
        assert_eq!(folder(&[home, ("XDG_STATE_HOME", "relative")]), usual);
        let state = Some(PathBuf::from("/state/watchkeeper"));
        assert_eq!(folder(&[home, ("XDG_STATE_HOME", "/state")]), state);
        assert_eq!(folder(&[]), None);
    }
}
