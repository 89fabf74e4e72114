use std::path::Path;

use crate::hook::{Act, Client};

/// Copilot CLI refuses the call if the command fails, for example because it is missing.
const FALLBACK: &str = " || true";
/// Replaces the shell by the program.
const EXEC: &str = "exec ";
/// Hides messages.
const SILENT: &str = " 2>/dev/null";

/// The command line with which a client calls this program.
#[derive(Clone, Debug)]
pub(crate) struct HookCommand {
    /// The program, quoted for a shell.
    program: String,
    act: Option<Act>,
}

impl HookCommand {
    /// Creates the command line for a program: a path, or a name that a shell looks up.
    pub(crate) fn new(program: &str, act: Option<Act>) -> Self {
        Self { program: quoted(program), act }
    }

    /// Returns the command line for a client.
    pub(crate) fn text(&self, client: Client) -> String {
        let act = self.act.map(|act| format!(" --act {}", act.name())).unwrap_or_default();
        let command = format!("{} hook {}{act}", self.program, client.name());
        match client {
            Client::ClaudeCode | Client::Codex | Client::Cursor => command,
            Client::CopilotCli => command + FALLBACK,
            // Gemini CLI and its fork refuse everything after a failure with a message, such as
            // the one of a shell about a missing program. Without a shell in between, a client ends
            // the program itself when it has waited for too long.
            Client::GeminiCli | Client::QwenCode | Client::Opencode => {
                format!("{EXEC}{command}{SILENT}")
            }
        }
    }

    /// Returns a command line that shows the failures of the program.
    pub(crate) fn without_fallback(command: &str) -> &str {
        let mut suffixes = [FALLBACK, SILENT].into_iter();
        suffixes.find_map(|suffix| command.strip_suffix(suffix)).unwrap_or(command)
    }

    /// Returns whether a command line calls this program, or another one that is built from the
    /// same library, for a client, and does nothing else.
    pub(crate) fn is_own(command: &str, client: Client) -> bool {
        Self::program_of(command, client).is_some()
    }

    /// Returns the program of such a command line. Other words of a shell make it a foreign one:
    /// `doctor` runs it.
    pub(crate) fn program_of(command: &str, client: Client) -> Option<String> {
        let command = Self::without_fallback(command.strip_prefix(EXEC).unwrap_or(command));
        let (program, arguments) = command.rsplit_once(" hook ")?;
        let program = unquoted(program)?;
        let name = Path::new(&program).file_name()?.to_string_lossy();
        let mut words = arguments.split(' ');
        let is_call = words.next() == Some(client.name()) && words.all(is_plain);
        (is_call && name.ends_with("watchkeeper")).then_some(program)
    }
}

/// Returns whether a shell passes a word on unchanged.
fn is_plain(word: &str) -> bool {
    let is_plain = |char: char| char.is_ascii_alphanumeric() || "/._-+@".contains(char);
    !word.is_empty() && word.chars().all(is_plain)
}

/// Quotes a word for a POSIX shell, if it needs quotes.
fn quoted(word: &str) -> String {
    if is_plain(word) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// Returns the word that is quoted; `None` for any other text.
fn unquoted(text: &str) -> Option<String> {
    let inner = text.strip_prefix('\'').and_then(|text| text.strip_suffix('\''));
    let word = inner.map_or_else(|| text.to_owned(), |inner| inner.replace(r"'\''", "'"));
    (quoted(&word) == text).then_some(word)
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum as _;

    use super::HookCommand;
    use crate::hook::{Act, Client};

    #[test]
    fn the_command_is_recognized_again() {
        for program in ["watchkeeper", "/opt/my tools/acme-watchkeeper", "/it's/watchkeeper"] {
            for act in [None, Some(Act::Nudge), Some(Act::Stop)] {
                for client in Client::value_variants() {
                    let command = HookCommand::new(program, act).text(*client);
                    let found = HookCommand::program_of(&command, *client);
                    assert_eq!(found.as_deref(), Some(program), "{command}");
                    let other =
                        Client::value_variants().iter().find(|other| *other != client).unwrap();
                    assert!(!HookCommand::is_own(&command, *other), "{command}");
                }
            }
        }
    }

    #[test]
    fn commands_of_others_are_not_recognized() {
        for command in [
            "",
            "watchkeeper",
            "other hook codex",
            "watchkeeper hook codexx",
            "echo watchkeeper hook codex",
            "rm x; watchkeeper hook codex",
            "watchkeeper hook codex; rm x",
            "watchkeeper hook codex $(rm x)",
            "watchkeeper hook codex\nrm x",
            "'watchkeeper' 'rm' hook codex",
            "$(rm x)/watchkeeper hook codex",
            "exec rm watchkeeper hook codex || true",
        ] {
            assert!(!HookCommand::is_own(command, Client::Codex), "{command}");
        }
    }

    #[test]
    fn quotes_what_a_shell_would_split() {
        let text = |program: &str| HookCommand::new(program, None).text(Client::Codex);
        assert_eq!(text("/usr/bin/watchkeeper"), "/usr/bin/watchkeeper hook codex");
        assert_eq!(text("/a b/it's"), r"'/a b/it'\''s' hook codex");
    }
}
