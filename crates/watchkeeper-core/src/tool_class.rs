use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::name_words::{without_server, words};

/// The effect that a tool has outside the session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ToolClass {
    /// Reads without changing anything.
    Read,
    /// Changes a file or a record.
    Write,
    /// Runs a command or a program, with any effect.
    Run,
    /// Waits for a running command or agent.
    Wait,
    /// Asks a person a question.
    Ask,
    /// Delegates work to another agent.
    Delegate,
    /// An unknown effect, or none.
    #[default]
    Other,
}

impl ToolClass {
    /// Returns the name used in policies and findings.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Run => "run",
            Self::Wait => "wait",
            Self::Ask => "ask",
            Self::Delegate => "delegate",
            Self::Other => "other",
        }
    }

    /// Guesses the class from the words of a tool's name, for sources without better
    /// information.
    ///
    /// A server in front of the name, as in `mcp__github__get_issue`, is ignored. A verb such
    /// as `get` at the beginning decides. Otherwise the words are looked up in a fixed order of
    /// precedence; they come from the tools of agents and of public servers.
    pub fn of_name(name: &str) -> Self {
        let name = without_server(name);
        let names: Vec<String> = words(name).map(str::to_ascii_lowercase).collect();
        match &*names {
            [only] => match &**only {
                "task" | "subtask" => return Self::Delegate,
                // Ends in `patch`.
                "dispatch" => return Self::Other,
                "ls" | "cat" => return Self::Read,
                _ => {}
            },
            [first, ..] if GETTERS.contains(&&**first) => return Self::Read,
            _ => {}
        }
        let has = |phrase: &str| match phrase.split_once('_') {
            None => names.iter().any(|name| name == phrase),
            Some(phrase) => names.windows(2).any(|names| (&*names[0], &*names[1]) == phrase),
        };
        let find = |has: &dyn Fn(&str) -> bool| {
            WORDS.iter().find(|(word, _)| has(word)).map(|(_, class)| *class)
        };
        find(&has)
            // A name without separators, such as `webfetch`.
            .or_else(|| match &*names {
                [only] => find(&|word| is_joined(only, word)),
                _ => None,
            })
            .unwrap_or_default()
    }
}

/// Returns true if a name without separators begins or ends with a word.
fn is_joined(name: &str, word: &str) -> bool {
    /// Fewer letters are no word: `ready`, `credit`, `thread`.
    const SHORTEST_OTHER: usize = 3;
    /// Many words end in three letters that are a verb: `runtask`, `unmask`, `widget`.
    const SHORTEST_END: usize = 4;
    let is_start = name.starts_with(word);
    let is_end = SHORTEST_END <= word.len() && name.ends_with(word);
    word.len() + SHORTEST_OTHER <= name.len() && (is_start || is_end)
}

/// Verbs at the beginning of a name that decide its class.
const GETTERS: &[&str] = &["describe", "fetch", "get", "list", "retrieve"];

/// Words and their class, the highest precedence first.
const WORDS: &[(&str, ToolClass)] = &[
    ("wait", ToolClass::Wait),
    ("sleep", ToolClass::Wait),
    ("poll", ToolClass::Wait),
    ("output", ToolClass::Wait),
    ("ask", ToolClass::Ask),
    ("followup", ToolClass::Ask),
    ("agent", ToolClass::Delegate),
    ("subagent", ToolClass::Delegate),
    ("delegate", ToolClass::Delegate),
    ("send_message", ToolClass::Delegate),
    ("todo", ToolClass::Other),
    ("todos", ToolClass::Other),
    ("plan", ToolClass::Other),
    ("write_stdin", ToolClass::Run),
    ("write", ToolClass::Write),
    ("edit", ToolClass::Write),
    ("multiedit", ToolClass::Write),
    ("patch", ToolClass::Write),
    ("replace", ToolClass::Write),
    ("create", ToolClass::Write),
    ("insert", ToolClass::Write),
    ("delete", ToolClass::Write),
    ("apply", ToolClass::Write),
    ("append", ToolClass::Write),
    ("rename", ToolClass::Write),
    ("remove", ToolClass::Write),
    ("mkdir", ToolClass::Write),
    ("move_file", ToolClass::Write),
    ("bash", ToolClass::Run),
    ("shell", ToolClass::Run),
    ("powershell", ToolClass::Run),
    ("exec", ToolClass::Run),
    ("execute", ToolClass::Run),
    ("run", ToolClass::Run),
    ("command", ToolClass::Run),
    ("terminal", ToolClass::Run),
    ("python", ToolClass::Run),
    ("ipython", ToolClass::Run),
    ("read", ToolClass::Read),
    ("grep", ToolClass::Read),
    ("glob", ToolClass::Read),
    ("search", ToolClass::Read),
    ("find", ToolClass::Read),
    ("list", ToolClass::Read),
    ("view", ToolClass::Read),
    ("open", ToolClass::Read),
    ("fetch", ToolClass::Read),
    ("get", ToolClass::Read),
];

#[cfg(test)]
mod tests {
    use super::ToolClass;

    #[test]
    fn guesses_the_class_from_the_name() {
        for (name, class) in [
            ("Bash", ToolClass::Run),
            ("BashOutput", ToolClass::Wait),
            ("TaskOutput", ToolClass::Wait),
            ("Task", ToolClass::Delegate),
            ("Agent", ToolClass::Delegate),
            ("TaskList", ToolClass::Read),
            ("AskUserQuestion", ToolClass::Ask),
            ("Edit", ToolClass::Write),
            ("apply_patch", ToolClass::Write),
            ("apply_diff", ToolClass::Write),
            ("move_file", ToolClass::Write),
            ("str_replace_editor", ToolClass::Write),
            ("Read", ToolClass::Read),
            ("TodoWrite", ToolClass::Other),
            ("frobnicate", ToolClass::Other),
            // Words inside of other words do not count.
            ("reddit_credits", ToolClass::Other),
            ("spreadsheet_update", ToolClass::Other),
            ("slack_reply_to_thread", ToolClass::Other),
            ("dispatch_event", ToolClass::Other),
            ("truncate_table", ToolClass::Other),
            ("apply_mask", ToolClass::Write),
            ("magento_orders", ToolClass::Other),
            ("listen_to_playlist", ToolClass::Other),
            ("mcp__agent-browser__click", ToolClass::Other),
            ("mcp__task-runner__get_tasks", ToolClass::Read),
            ("get_terminal_output", ToolClass::Read),
            ("runSubagent", ToolClass::Delegate),
            ("webfetch", ToolClass::Read),
            ("readfile", ToolClass::Read),
            ("todowrite", ToolClass::Other),
            ("runcommand", ToolClass::Run),
            ("runtask", ToolClass::Run),
            ("subtask", ToolClass::Delegate),
            ("dispatch", ToolClass::Other),
            ("unmask", ToolClass::Other),
            ("widget", ToolClass::Other),
            ("thread", ToolClass::Other),
            ("credit", ToolClass::Other),
            ("listen", ToolClass::Other),
            ("API-patch-page", ToolClass::Write),
        ] {
            assert_eq!(ToolClass::of_name(name), class, "{name}");
        }
    }
}
