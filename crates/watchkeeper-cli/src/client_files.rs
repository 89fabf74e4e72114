//! The files in which clients of agents look for hooks.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

use crate::{hook::Client, hook_switches::SettingsFile};

/// The sessions whose client runs a hook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// All sessions of the user.
    User,
    /// Those in the project in this folder.
    Project(PathBuf),
}

impl Client {
    /// Returns the file in which the client looks for hooks. `None` if the environment names no
    /// home folder.
    pub(crate) fn hooks_file(
        self,
        scope: &Scope,
        variable: &dyn Fn(&str) -> Option<OsString>,
    ) -> Option<PathBuf> {
        let (folder, file) = match scope {
            Scope::User => (self.user_folder(variable)?, self.user_file()),
            Scope::Project(folder) => (folder.clone(), self.project_file()),
        };
        Some(folder.join(file))
    }

    /// Returns the folder with the user's settings of the client.
    pub(crate) fn user_folder(
        self,
        variable: &dyn Fn(&str) -> Option<OsString>,
    ) -> Option<PathBuf> {
        let absolute =
            |name: &str| variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let of_home = |folder: &str| absolute("HOME").map(|home| home.join(folder));
        match self {
            Self::ClaudeCode => absolute("CLAUDE_CONFIG_DIR").or_else(|| of_home(".claude")),
            Self::Codex => absolute("CODEX_HOME").or_else(|| of_home(".codex")),
            Self::GeminiCli => of_home(".gemini"),
            Self::CopilotCli => absolute("COPILOT_HOME").or_else(|| of_home(".copilot")),
            Self::Cursor => of_home(".cursor"),
            Self::QwenCode => of_home(".qwen"),
            Self::Opencode => absolute("XDG_CONFIG_HOME")
                .or_else(|| of_home(".config"))
                .map(|folder| folder.join("opencode")),
        }
    }

    /// Returns the files whose settings may switch hooks off. Of two, the later one takes
    /// precedence.
    pub(crate) fn settings_files(
        self,
        project: &Path,
        variable: &dyn Fn(&str) -> Option<OsString>,
    ) -> Vec<SettingsFile> {
        let user = |name: &str| self.user_folder(variable).map(|folder| folder.join(name));
        let of_project = |name: &str| Some(project.join(name));
        let (own, managed) = match self {
            Self::ClaudeCode => (
                vec![
                    user("settings.json"),
                    of_project(".claude/settings.json"),
                    of_project(".claude/settings.local.json"),
                ],
                Some(if cfg!(target_os = "macos") {
                    "/Library/Application Support/ClaudeCode/managed-settings.json"
                } else {
                    "/etc/claude-code/managed-settings.json"
                }),
            ),
            Self::GeminiCli | Self::QwenCode => (
                vec![self.hooks_file(&Scope::User, variable), of_project(self.project_file())],
                None,
            ),
            Self::Codex => (vec![user("config.toml"), of_project(".codex/config.toml")], None),
            // No setting is known.
            Self::CopilotCli | Self::Cursor | Self::Opencode => (Vec::new(), None),
        };
        let own = own.into_iter().flatten().map(|path| SettingsFile { path, is_managed: false });
        let managed = managed.map(|path| SettingsFile { path: path.into(), is_managed: true });
        own.chain(managed).collect()
    }

    fn user_file(self) -> &'static str {
        match self {
            Self::ClaudeCode | Self::GeminiCli | Self::QwenCode => "settings.json",
            Self::Codex | Self::Cursor => "hooks.json",
            Self::CopilotCli => "hooks/watchkeeper.json",
            Self::Opencode => "plugin/watchkeeper.js",
        }
    }

    fn project_file(self) -> &'static str {
        match self {
            Self::ClaudeCode => ".claude/settings.json",
            Self::Codex => ".codex/hooks.json",
            Self::GeminiCli => ".gemini/settings.json",
            Self::CopilotCli => ".github/hooks/watchkeeper.json",
            Self::Cursor => ".cursor/hooks.json",
            Self::QwenCode => ".qwen/settings.json",
            Self::Opencode => ".opencode/plugin/watchkeeper.js",
        }
    }

    /// Returns a step that is left to the user after an installation, if there is one.
    pub(crate) fn remaining_step(self) -> Option<&'static str> {
        match self {
            Self::Codex => Some(
                "Codex runs a new hook only after you have approved it: start `codex` and enter \
                 `/hooks`",
            ),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::{Client, Scope};

    #[test]
    fn files_follow_the_environment() {
        let file = |client: Client, variables: &[(&str, &str)]| {
            let variable = |name: &str| {
                let found = variables.iter().find(|(known, _)| *known == name);
                found.map(|(_, value)| OsString::from(value))
            };
            client.hooks_file(&Scope::User, &variable).map(|path| path.display().to_string())
        };
        let home = ("HOME", "/home/me");
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(file(Client::ClaudeCode, &[home]), some("/home/me/.claude/settings.json"));
        let variables = [home, ("CLAUDE_CONFIG_DIR", "/c")];
        assert_eq!(file(Client::ClaudeCode, &variables), some("/c/settings.json"));
        let variables = [home, ("CODEX_HOME", "relative")];
        assert_eq!(file(Client::Codex, &variables), some("/home/me/.codex/hooks.json"));
        let expected = some("/home/me/.config/opencode/plugin/watchkeeper.js");
        assert_eq!(file(Client::Opencode, &[home]), expected);
        assert_eq!(file(Client::Cursor, &[]), None);
    }
}
