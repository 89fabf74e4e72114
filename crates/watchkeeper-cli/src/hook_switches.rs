//! Settings that switch hooks off.

use std::path::PathBuf;

use jsonc_parser::cst::{CstNode, CstObject};

use crate::hook_settings::{parse, root_object};

/// A file with settings of a client that may switch hooks off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SettingsFile {
    pub(crate) path: PathBuf,
    /// An administrator manages the file.
    pub(crate) is_managed: bool,
}

/// The switches with the value that switches hooks off. The last members are those of clients
/// whose settings are TOML.
///
/// Claude Code and Qwen Code have the first one, Gemini CLI the next two, of later and earlier
/// versions, and Codex the others.
const SWITCHES: &[(&[&str], bool)] = &[
    (&["disableAllHooks"], true),
    (&["hooksConfig", "enabled"], false),
    (&["tools", "enableHooks"], false),
    (&["features", "hooks"], false),
    (&["features", "codex_hooks"], false),
];
/// The switch of Claude Code that only an administrator can use.
const MANAGED_ONLY: &[&str] = &["allowManagedHooksOnly"];
/// The list of the names of hooks that Gemini CLI does not run, and our name.
const DISABLED: (&[&str], &str) = (&["hooksConfig", "disabled"], "watchkeeper");

/// Returns the file whose settings switch the hook of this program off, and the switch. `files` are
/// those of one client with their texts, of which a later one takes precedence. A text that cannot
/// be read counts as empty: the client reports it.
pub(crate) fn off_switch(files: &[(SettingsFile, String)]) -> Option<(&SettingsFile, String)> {
    let settings: Vec<(&SettingsFile, Settings)> =
        files.iter().map(|(file, text)| (file, Settings::of(file, text))).collect();
    let latest = |path: &[&str]| {
        settings.iter().rev().find_map(|(file, settings)| Some((*file, settings.switch(path)?)))
    };
    let off = SWITCHES.iter().find_map(|(path, off)| {
        let (file, _) = latest(path).filter(|(_, value)| value == off)?;
        Some((file, format!("`{} = {off}`", path.join("."))))
    });
    let managed = || {
        let (file, _) = settings.iter().find(|(file, settings)| {
            file.is_managed && settings.switch(MANAGED_ONLY) == Some(true)
        })?;
        Some((*file, format!("`{} = true`", MANAGED_ONLY.join("."))))
    };
    let listed = || {
        let (path, name) = DISABLED;
        let (file, _) = settings.iter().find(|(_, settings)| settings.lists(path, name))?;
        Some((*file, format!("`{}` with {name}", path.join("."))))
    };
    off.or_else(managed).or_else(listed)
}

/// The settings of one file.
enum Settings {
    Json(CstObject),
    Toml(toml::Table),
    Unreadable,
}

impl Settings {
    fn of(file: &SettingsFile, text: &str) -> Self {
        if file.path.extension().is_some_and(|extension| extension == "toml") {
            return text.parse().map_or(Self::Unreadable, Self::Toml);
        }
        match parse(text).and_then(|root| root_object(&root)) {
            Ok(settings) => Self::Json(settings),
            Err(_) => Self::Unreadable,
        }
    }

    /// Returns the value of a switch, if it is there.
    fn switch(&self, path: &[&str]) -> Option<bool> {
        match self {
            Self::Json(settings) => Some(json_member(settings, path)?.as_boolean_lit()?.value()),
            Self::Toml(settings) => {
                let (name, tables) = path.split_last()?;
                let mut table = settings;
                for name in tables {
                    table = table.get(*name)?.as_table()?;
                }
                table.get(*name)?.as_bool()
            }
            Self::Unreadable => None,
        }
    }

    /// Returns whether a list contains a name.
    fn lists(&self, path: &[&str], name: &str) -> bool {
        let Self::Json(settings) = self else { return false };
        let list = json_member(settings, path).and_then(|member| member.as_array());
        let names = list.into_iter().flat_map(|list| list.elements());
        let mut names = names.filter_map(|it| it.as_string_lit()?.decoded_value().ok());
        names.any(|it| it == name)
    }
}

fn json_member(settings: &CstObject, path: &[&str]) -> Option<CstNode> {
    let (name, objects) = path.split_last()?;
    let mut object = settings.clone();
    for name in objects {
        object = object.object_value(name)?;
    }
    object.get(name)?.value()
}

#[cfg(test)]
mod tests {
    use super::{SettingsFile, off_switch};

    /// Returns the file and the switch that the program finds. The last file is managed.
    fn found(files: &[(&str, &str)]) -> Option<(String, String)> {
        let n_files = files.len();
        let files: Vec<_> = files
            .iter()
            .enumerate()
            .map(|(idx, (path, text))| {
                let file = SettingsFile { path: path.into(), is_managed: idx + 1 == n_files };
                (file, (*text).to_owned())
            })
            .collect();
        off_switch(&files).map(|(file, switch)| (file.path.display().to_string(), switch))
    }

    #[test]
    fn each_switch_is_found() {
        for (name, text, switch) in [
            ("a.json", r#"{"disableAllHooks": true} // all"#, "`disableAllHooks = true`"),
            ("a.json", r#"{"hooksConfig": {"enabled": false}}"#, "`hooksConfig.enabled = false`"),
            ("a.json", r#"{"tools": {"enableHooks": false}}"#, "`tools.enableHooks = false`"),
            ("a.json", r#"{"allowManagedHooksOnly": true}"#, "`allowManagedHooksOnly = true`"),
            (
                "a.json",
                r#"{"hooksConfig": {"disabled": ["a", "watchkeeper"]}}"#,
                "`hooksConfig.disabled` with watchkeeper",
            ),
            ("a.toml", "[features]\nhooks = false", "`features.hooks = false`"),
            ("a.toml", "features.codex_hooks = false", "`features.codex_hooks = false`"),
        ] {
            assert_eq!(found(&[(name, text)]), Some((name.to_owned(), switch.to_owned())));
        }
    }

    #[test]
    fn settings_without_a_switch_switch_nothing_off() {
        for text in [
            "",
            "[]",
            "{",
            "{}",
            r#"{"disableAllHooks": "true"}"#,
            r#"{"hooksConfig": {"enabled": true, "disabled": ["other"]}}"#,
            r#"{"hooksConfig": [], "tools": 1}"#,
        ] {
            assert_eq!(found(&[("a.json", text)]), None, "{text}");
        }
        for text in ["", "[features]\nhooks = true", "features = 1", "["] {
            assert_eq!(found(&[("a.toml", text)]), None, "{text}");
        }
    }

    #[test]
    fn a_later_file_takes_precedence() {
        let (on, off) = (r#"{"disableAllHooks": false}"#, r#"{"disableAllHooks": true}"#);
        let switch = "`disableAllHooks = true`".to_owned();
        assert_eq!(found(&[("user", off), ("project", "{}")]), Some(("user".to_owned(), switch)));
        assert_eq!(found(&[("user", off), ("project", on)]), None);
        // Others cannot allow an administrator's hooks alone.
        assert_eq!(
            found(&[("user", r#"{"allowManagedHooksOnly": true}"#), ("managed", "{}")]),
            None
        );
    }
}
