use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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

    /// Guesses the class from the name of a tool, for sources without better information.
    ///
    /// Searches the name for known words, in a fixed order of precedence. The words come from
    /// the tools of the agents that Watchkeeper supports.
    pub fn of_name(name: &str) -> Self {
        const WORDS: &[(&str, ToolClass)] = &[
            ("wait", ToolClass::Wait),
            ("sleep", ToolClass::Wait),
            ("poll", ToolClass::Wait),
            ("output", ToolClass::Wait),
            ("ask", ToolClass::Ask),
            ("followup", ToolClass::Ask),
            ("agent", ToolClass::Delegate),
            ("delegate", ToolClass::Delegate),
            ("send_message", ToolClass::Delegate),
            ("todo", ToolClass::Other),
            ("plan", ToolClass::Other),
            ("write_stdin", ToolClass::Run),
            ("write", ToolClass::Write),
            ("edit", ToolClass::Write),
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
            ("exec", ToolClass::Run),
            ("run", ToolClass::Run),
            ("command", ToolClass::Run),
            ("terminal", ToolClass::Run),
            ("python", ToolClass::Run),
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
        let name = name.to_ascii_lowercase();
        match name.as_str() {
            "task" => return Self::Delegate,
            "ls" | "cat" => return Self::Read,
            _ => {}
        }
        // "task" contains "ask", but is a different word.
        let has = |word: &str| {
            name.match_indices(word).any(|(at, _)| !(word == "ask" && name[..at].ends_with('t')))
        };
        WORDS.iter().find(|(word, _)| has(word)).map_or(Self::Other, |(_, class)| *class)
    }
}

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
        ] {
            assert_eq!(ToolClass::of_name(name), class, "{name}");
        }
    }
}
