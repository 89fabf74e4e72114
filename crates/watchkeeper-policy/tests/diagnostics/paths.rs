//! Paths in a policy.

use std::{
    io,
    path::{Path, PathBuf},
};

use watchkeeper_core::embed::Registry;
use watchkeeper_policy::{Loaded, Loader, render};

/// Loads `team/policy.toml` from a list of files.
fn load_with_home(files: &[(&str, &str)], home: Option<&str>) -> Loaded {
    let registry = Registry::linked().expect("no two kinds share a name");
    let read_file = |path: &Path| {
        let file = files.iter().find(|(name, _)| Path::new(name) == path);
        let text = file.map(|(_, text)| format!("version = 1\n{text}"));
        text.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "no such file"))
    };
    let loader = Loader::new(&registry, &read_file).home(home.map(Path::new));
    loader.load(Path::new("team/policy.toml"))
}

fn policy_with(key: &str) -> String {
    format!("[detectors.repeat]\n[sinks.hook]\nurl = 'https://x'\nkey = '{key}'\n")
}

#[test]
fn files_of_sinks_are_relative_to_the_policy() {
    for (key, expected) in [
        ("key.pem", "team/key.pem"),
        ("../key.pem", "team/../key.pem"),
        ("/etc/key.pem", "/etc/key.pem"),
        ("~/key.pem", "/home/me/key.pem"),
        ("~you/key.pem", "team/~you/key.pem"),
        ("a/~/key.pem", "team/a/~/key.pem"),
    ] {
        let policy = policy_with(key);
        let loaded = load_with_home(&[("team/policy.toml", &policy)], Some("/home/me/"));
        let policy = loaded.policy.as_ref().unwrap_or_else(|| panic!("{}", render(&loaded, false)));
        assert_eq!(policy.sinks[0].files, [PathBuf::from(expected)], "{key}");
    }
    // A file of an extended policy is relative to that policy.
    let files = [
        ("team/policy.toml", "extends = ['base/policy.toml']\n"),
        ("team/base/policy.toml", &policy_with("key.pem")),
    ];
    let policy = load_with_home(&files, None).policy.expect("a valid policy");
    assert_eq!(policy.sinks[0].files, [PathBuf::from("team/base/key.pem")]);
}

#[test]
fn files_that_a_sink_reads_are_relative_to_the_policy_and_not_listed() {
    let load = |file: &str| {
        let policy = format!("{}trusted = '{file}'\n", policy_with("key.pem"));
        load_with_home(&[("team/policy.toml", &policy)], None)
    };
    let policy = load("ca.pem").policy.expect("a valid policy");
    assert_eq!(policy.sinks[0].files, [PathBuf::from("team/key.pem")]);
    let refused = render(&load("empty.pem"), false);
    assert!(refused.contains("no certificate in team/empty.pem"), "{refused}");
}

#[test]
fn an_unknown_home_folder_is_an_error() {
    let load = |policy: &str| render(&load_with_home(&[("team/policy.toml", policy)], None), false);
    assert!(load(&policy_with("~/key.pem")).contains("error: the home folder is unknown"));
    let labels = "[detectors.repeat]\n[[labels]]\nlabels = { a = 'b' }\n";
    let in_home = load(&format!("{labels}match = {{ cwd = ['/srv/*', '~/code/*'] }}"));
    assert!(in_home.contains("error: the home folder is unknown"), "{in_home}");
    assert_eq!(load(&format!("{labels}match = {{ cwd = '/srv/~/*' }}")), "");
}

#[test]
fn patterns_for_folders_can_begin_with_the_home_folder() {
    let policy = "[detectors.repeat]\n[[labels]]\nlabels = { a = 'b' }\nmatch = { cwd = '~/code/*' }\n[[overrides]]\nreason = 'x'\nmatch = { cwd = '~' }\ndetectors.repeat.least = 4\n";
    let policy = load_with_home(&[("team/policy.toml", policy)], Some("/home/me"));
    let policy = policy.policy.expect("a valid policy");
    let rules = format!("{:?}", policy.label_rules);
    assert!(rules.contains("/home/me/code/*"), "{rules}");
    let sessions: Vec<_> =
        policy.detectors.iter().map(|detector| format!("{:?}", detector.sessions)).collect();
    assert!(sessions.iter().any(|filter| filter.contains("\"/home/me\"")), "{sessions:?}");
}
