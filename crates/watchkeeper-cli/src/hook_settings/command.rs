use std::{env, path::Path};

use crate::hook::{Act, Client};

/// Copilot CLI refuses the call if the command fails, for example because it is missing.
const FALLBACK: &str = " || true";
/// Replaces the shell by the program.
const EXEC: &str = "exec ";
/// Hides messages.
const SILENT: &str = " 2>/dev/null";
/// The end of the name of this program, and of others that are built from the same library.
const NAME: &str = "watchkeeper";

/// The command line with which a client calls this program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HookCommand {
    /// A path, or a name that a shell looks up.
    program: String,
    /// Those after the client.
    arguments: Vec<String>,
}

impl HookCommand {
    /// Creates the command line for a program: a path, or a name that a shell looks up.
    pub(crate) fn new(program: &str, act: Option<Act>) -> Self {
        let command = Self { program: program.to_owned(), arguments: Vec::new() };
        match act {
            Some(act) => command.with_option("--act", act.name()),
            None => command,
        }
    }

    /// Adds an option of `watchkeeper hook`.
    pub(crate) fn with_option(mut self, name: &str, value: &str) -> Self {
        self.arguments.extend([name, value].map(str::to_owned));
        self
    }

    /// Returns the program.
    pub(crate) fn program(&self) -> &str {
        &self.program
    }

    /// Returns the value of an option.
    pub(crate) fn option(&self, name: &str) -> Option<&str> {
        let at = self.arguments.iter().position(|argument| argument == name)?;
        self.arguments.get(at + 1).map(String::as_str)
    }

    /// Returns an argument that is neither an option of these names nor its value.
    pub(crate) fn other_than(&self, names: &[&str]) -> Option<&str> {
        let is_known = |option: &[String]| option.len() == 2 && names.contains(&&*option[0]);
        let other = self.arguments.chunks(2).find(|option| !is_known(option))?;
        other.first().map(String::as_str)
    }

    /// Returns the command line for a client.
    pub(crate) fn text(&self, client: Client) -> String {
        let command = self.text_with_messages(client);
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
    pub(crate) fn text_with_messages(&self, client: Client) -> String {
        let words = [&*self.program, "hook", client.name()];
        let words = words.into_iter().chain(self.arguments.iter().map(String::as_str));
        words.map(quoted).collect::<Vec<_>>().join(" ")
    }

    /// Reads the command line of this program, or of another one that is built from the same
    /// library, for a client. Returns `None` for any other command line, such as one that does
    /// more: `doctor` runs it.
    pub(crate) fn parse(text: &str, client: Client) -> Option<Self> {
        let text = text.strip_prefix(EXEC).unwrap_or(text);
        let text = [FALLBACK, SILENT].iter().find_map(|end| text.strip_suffix(end)).unwrap_or(text);
        let mut words = words(text)?.into_iter();
        let program = words.next().filter(|program| is_own_name(program))?;
        let is_call = words.next()? == "hook" && words.next()? == client.name();
        // `--act=deny` is the same as `--act deny`.
        let arguments = words.flat_map(|word| match word.split_once('=') {
            Some((name, value)) if name.starts_with("--") => {
                vec![name.to_owned(), value.to_owned()]
            }
            _ => vec![word],
        });
        is_call.then(|| Self { program, arguments: arguments.collect() })
    }
}

/// Returns the name of this program, without its folder.
pub(crate) fn program_name() -> Option<String> {
    Some(env::current_exe().ok()?.file_name()?.to_str()?.to_owned())
}

/// Returns whether a program has the name of this one, which its user may have chosen.
fn is_own_name(program: &str) -> bool {
    let name = Path::new(program).file_name().and_then(|name| name.to_str());
    name.is_some_and(|name| name.ends_with(NAME) || Some(name) == program_name().as_deref())
}

/// Returns whether a shell passes a character on unchanged.
fn is_plain(char: char) -> bool {
    char.is_ascii_alphanumeric() || "/._-+@:,".contains(char)
}

/// Quotes a word for a POSIX shell, if it needs quotes.
fn quoted(word: &str) -> String {
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// Splits a command line as a POSIX shell does. Returns `None` if a shell does more than that.
fn words(text: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = text.chars();
    while let Some(char) = chars.next() {
        match char {
            ' ' => words.extend(word.take()),
            '\'' => {
                let word = word.get_or_insert_default();
                loop {
                    match chars.next()? {
                        '\'' => break,
                        char => word.push(char),
                    }
                }
            }
            '\\' => word.get_or_insert_default().push(chars.next().filter(|it| *it == '\'')?),
            char if is_plain(char) => word.get_or_insert_default().push(char),
            _ => return None,
        }
    }
    words.extend(word);
    Some(words)
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
                    let command = HookCommand::new(program, act);
                    let command = command.with_option("--policy", "/it's my/policy.toml");
                    let text = command.text(*client);
                    let found = HookCommand::parse(&text, *client);
                    assert_eq!(found.as_ref(), Some(&command), "{text}");
                    assert_eq!(command.option("--act"), act.map(Act::name));
                    assert_eq!(command.option("--policy"), Some("/it's my/policy.toml"));
                    let other =
                        Client::value_variants().iter().find(|other| *other != client).unwrap();
                    assert_eq!(HookCommand::parse(&text, *other), None, "{text}");
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
            assert_eq!(HookCommand::parse(command, Client::Codex), None, "{command}");
        }
    }

    #[test]
    fn options_are_found_in_either_form() {
        let parse = |text: &str| HookCommand::parse(text, Client::Codex).unwrap();
        for text in ["--act deny --policy p", "'--act=deny' --policy p"] {
            let command = parse(&format!("watchkeeper hook codex {text}"));
            assert_eq!(
                (command.option("--act"), command.option("--policy")),
                (Some("deny"), Some("p"))
            );
            assert_eq!(command.other_than(&["--act", "--policy"]), None);
            assert_eq!(command.other_than(&["--act"]), Some("--policy"));
        }
        for text in ["'--state-dir=/x'", "--act deny --state-dir /x", "x", "--act"] {
            let command = parse(&format!("watchkeeper hook codex {text}"));
            assert!(command.other_than(&["--act"]).is_some(), "{text}");
        }
    }

    #[test]
    fn quotes_what_a_shell_would_split() {
        let text = |program: &str| HookCommand::new(program, None).text(Client::Codex);
        assert_eq!(text("/usr/bin/watchkeeper"), "/usr/bin/watchkeeper hook codex");
        assert_eq!(text("/a b/it's"), r"'/a b/it'\''s' hook codex");
    }
}
