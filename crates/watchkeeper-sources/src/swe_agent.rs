//! SWE-agent: `trajectories/<user>/<run>/<task>/<task>.traj`.
//!
//! A trajectory is one JSON object: `{"trajectory": [step, …], "history": […],
//! "info": {…}}`, with a step for each action. It has no times, and the file
//! is rewritten after every step. The steps contain everything that the history does.

use std::path::Path;

use jiff::Timestamp;
use watchkeeper_core::{
    EventKind, Fingerprint, Json, ModelCall, SessionId, SourceKind, ToolCall, ToolClass,
    ToolResult,
    author::{Cause, EventSink, SessionStart, Targets, Tokens, untimed},
    register_source,
};

use crate::{
    document::{Part, Wanted},
    document_reader::{DocumentReader, source_of_documents},
    json::{Located, Malformed, Number, Present, Text, object, parse, parse_head, parse_value},
    tool_names::ToolNames,
};

/// Reads the trajectories of SWE-agent.
#[derive(Debug)]
pub struct SweAgent(DocumentReader<Task>);

/// The task of a trajectory.
#[derive(Debug)]
struct Task {
    session: SessionId,
    has_started: bool,
    /// The number of steps so far.
    n_steps: u32,
    tools: ToolNames,
}

static WANTED: Wanted =
    Wanted { lists: &["trajectory"], members: &["info"], is_loose: false, has_preface: false };

register_source!(SweAgent);

impl SourceKind for SweAgent {
    const KIND: &'static str = "swe-agent";
    const DOCS: &'static str = include_str!("../docs/swe-agent.md");
    const FILES: &'static [&'static str] = &["*.traj", "*.json", "!*.meta.json"];
    const IS_REWRITTEN: bool = true;

    fn recognizes(_path: &Path, head: &[u8]) -> bool {
        // The head may be incomplete. Its first members are enough.
        let head: Head = parse_head(head);
        head.steps.iter().flatten().any(|step| step.is_step.is_some())
    }

    fn new(path: &Path) -> Self {
        let task = Task {
            session: SessionId::from(name(path)),
            has_started: false,
            n_steps: 0,
            tools: ToolNames::default(),
        };
        Self(DocumentReader::new(&WANTED, task, |part, task, sink| task.read(part, sink)))
    }
}

/// Returns the name of a task: its run and its own name. Several runs, each with a
/// folder, may contain the same task.
fn name(path: &Path) -> String {
    let task = path.file_stem().map(|it| it.to_string_lossy()).unwrap_or_default();
    let folders = path.ancestors().skip(1).filter_map(Path::file_name);
    let run = folders.map(|it| it.to_string_lossy()).find(|it| *it != task);
    run.map_or_else(|| task.clone().into_owned(), |run| format!("{run}/{task}"))
}

object! {
    /// A step of a trajectory.
    struct Step<'a> {
        b"action" => action: Located<'a, Text<'a>>,
        b"observation" => observation: Located<'a, Text<'a>>,
        b"thought" => thought: Located<'a, Text<'a>>,
    }
}

object! {
    struct Info<'a> {
        b"exit_status" => exit_status: Text<'a>,
        b"model_stats" => stats: ModelStats<'a>,
    }
}

object! {
    /// The usage of the model in a task.
    struct ModelStats<'a> {
        // `total_cost` is the cost of all tasks of a run.
        b"instance_cost" => cost: Number<'a>,
        b"tokens_sent" => sent: u64,
        b"tokens_received" => received: u64,
        b"api_calls" => n_calls: u64,
    }
}

object! {
    /// The beginning of a file.
    struct Head {
        b"trajectory" => steps: Vec<StepHead>,
    }
}

object! {
    struct StepHead {
        b"action" | b"observation" => is_step: Present,
    }
}

source_of_documents!(SweAgent);

impl Task {
    fn read(&mut self, part: &Part<'_>, sink: &mut EventSink<'_>) -> Result<(), Malformed> {
        if part.is_entry() {
            self.read_step(&parse(part.text)?, part, sink);
        } else {
            let info: Option<Info<'_>> = parse_value(part.text)?;
            self.read_info(&info.unwrap_or_default(), part, sink);
        }
        Ok(())
    }

    /// Returns the time of the latest step.
    fn now(&self) -> Timestamp {
        untimed(self.n_steps.saturating_sub(1))
    }

    fn event(&self, kind: EventKind, sink: &mut EventSink<'_>) {
        sink.event(self.now(), &self.session, None, kind);
    }

    /// Records `key` for this session, and returns whether it is new.
    fn is_new(&self, key: Fingerprint, sink: &mut EventSink<'_>) -> bool {
        sink.is_new(Fingerprint::of(self.session.as_str()).and(key))
    }

    fn start(&mut self, sink: &mut EventSink<'_>) {
        if !std::mem::replace(&mut self.has_started, true)
            && self.is_new(Fingerprint::of("start"), sink)
        {
            self.event(EventKind::SessionStart(SessionStart::default()), sink);
        }
    }

    fn read_step(&mut self, step: &Step<'_>, part: &Part<'_>, sink: &mut EventSink<'_>) {
        self.n_steps = self.n_steps.saturating_add(1);
        let mut lines = part.lines();
        sink.at_line(lines.line_of(0));
        self.start(sink);
        let raw = |text: Option<Located<'_, Text<'_>>>| {
            Fingerprint::of(text.map(|text| text.value.raw()).unwrap_or_default())
        };
        let key = [step.action, step.observation, step.thought]
            .map(raw)
            .into_iter()
            .fold(Fingerprint::from(u64::from(self.n_steps)), Fingerprint::and);
        let action = step.action.map(|action| action.value.read()).unwrap_or_default();
        let action = action.trim();
        if is_exit(action) || !self.is_new(key, sink) {
            return;
        }
        if let Some(thought) = step.thought {
            let text = thought.value.read();
            if !text.trim().is_empty() {
                sink.at_line(part.lines().line_of(thought.at));
                let text = text.trim_end().into();
                self.event(EventKind::Message { text, delta: false }, sink);
            }
        }
        let Some(action_at) = step.action.map(|action| action.at).filter(|_| !action.is_empty())
        else {
            return;
        };
        let id = self.n_steps.to_string();
        let (tool, class) = tool(action);
        let (tool, class) = self.tools.get(tool, |_| Some(class));
        sink.at_line(part.lines().line_of(action_at));
        // One tool edits and reads.
        let class =
            if action.starts_with("str_replace_editor view") { ToolClass::Read } else { class };
        let call = ToolCall::of_class(id.as_str(), tool, Json::text(action), Some(class), &[])
            .with_targets(targets(action, class));
        self.event(EventKind::ToolCall(call), sink);
        if let Some(observation) = step.observation {
            sink.at_line(part.lines().line_of(observation.at));
            let output = observation.value.read();
            let outcome = outcome(&output);
            let mut result = ToolResult::new(id, outcome.is_ok(), Some(output.into()));
            result.cause = outcome.err().flatten();
            self.event(EventKind::ToolResult(result), sink);
        }
    }

    fn read_info(&mut self, info: &Info<'_>, part: &Part<'_>, sink: &mut EventSink<'_>) {
        sink.at_line(part.lines().line_of(0));
        self.start(sink);
        let stats = info.stats.as_ref();
        let count = |count: fn(&ModelStats<'_>) -> Option<u64>| stats.and_then(count).unwrap_or(0);
        let tokens = Tokens {
            input: count(|stats| stats.sent),
            output: count(|stats| stats.received),
            ..Tokens::default()
        };
        let key = Fingerprint::of("usage").and(Fingerprint::from(tokens.total()));
        let has_calls = 0 < count(|stats| stats.n_calls);
        if (has_calls || 0 < tokens.total()) && self.is_new(key, sink) {
            let cost_usd = stats.and_then(|stats| stats.cost?.parse()).filter(|cost| 0.0 < *cost);
            // A later event with the same id replaces this one.
            let id = Some("all".into());
            let call = ModelCall { id, tokens, cost_usd, ..ModelCall::default() };
            self.event(EventKind::ModelCall(call), sink);
        }
        if let Some(status) = info.exit_status
            && self.is_new(Fingerprint::of("end").and(Fingerprint::of(status.raw())), sink)
        {
            self.event(EventKind::SessionEnd { reason: Some(status.boxed()) }, sink);
        }
    }
}

/// Returns whether an action is the exit reason of SWE-agent itself.
fn is_exit(action: &str) -> bool {
    matches!(
        action,
        "exit_api"
            | "exit_context"
            | "exit_cost"
            | "exit_environment_error"
            | "exit_error"
            | "exit_format"
            | "exit_forfeit"
            | "exit_total_execution_time"
            | "exit_command_timeout"
    )
}

/// Returns the tool of an action, and its class.
fn tool(action: &str) -> (&str, ToolClass) {
    const MAX_NAME: usize = 64;
    let is_in_name = |byte: u8| byte.is_ascii_alphanumeric() || b"_-./".contains(&byte);
    let word = action.split_ascii_whitespace().next().unwrap_or_default();
    let is_name = word.len() <= MAX_NAME
        && word.bytes().all(is_in_name)
        && word.bytes().any(|it| it.is_ascii_alphanumeric());
    let class = match word {
        "edit" | "create" | "insert" | "append" | "str_replace" | "str_replace_editor"
        | "undo_edit" => ToolClass::Write,
        "open" | "goto" | "scroll_up" | "scroll_down" | "search_dir" | "search_file"
        | "find_file" | "filemap" | "view" | "view_image" => ToolClass::Read,
        "submit" | "set_cursors" => ToolClass::Other,
        _ => ToolClass::Run,
    };
    if is_name { (word, class) } else { ("bash", ToolClass::Run) }
}

/// Returns the targets of an action.
fn targets(action: &str, class: ToolClass) -> Targets {
    let line = action.lines().next().unwrap_or_default();
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    match words[..] {
        ["open" | "create" | "view" | "view_image" | "filemap", path, ..]
        | ["str_replace_editor" | "search_file" | "search_dir" | "find_file", _, path, ..] => {
            Targets::new().with_path(path.trim_matches(['"', '\'']))
        }
        _ if class == ToolClass::Run => Targets::new().with_command(action),
        _ => Targets::new(),
    }
}

/// Returns whether an action succeeded, judged by its observation. The error is the
/// cause of the failure, if it is known.
fn outcome(observation: &str) -> Result<(), Option<Cause>> {
    const BEGINNINGS: &[&str] = &[
        "Your proposed edit has introduced new syntax error",
        "Your edit was not applied",
        "Your command ran into the following",
        "No replacement was performed",
        "Usage: ",
        "usage: ",
        "Error: ",
        "ERROR: ",
        "No file open",
        "Wrong flag",
        "Traceback (most recent call last):",
        "python: can't open file",
        "python3: can't open file",
        "/bin/bash: ",
        "/bin/sh: ",
        "bash: ",
    ];
    const ENDS: &[&str] = &["command not found", " not found", "No such file or directory"];
    const TOO_LONG: &[&str] = &["EXECUTION TIMED OUT", "was cancelled because it took more than"];

    let text = observation.trim_ascii();
    let first = text.lines().next().unwrap_or_default();
    let last = text.lines().next_back().unwrap_or_default().trim_ascii_end();
    if TOO_LONG.iter().any(|it| first.contains(it) || last.contains(it)) {
        return Err(Some(Cause::Timeout));
    }
    let has_failed = BEGINNINGS.iter().any(|it| text.starts_with(it))
        || ENDS.iter().any(|it| last.ends_with(it));
    if has_failed { Err(None) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use watchkeeper_core::{
        ToolClass,
        author::{Cause, Targets},
    };

    use super::{name, outcome, targets, tool};

    #[test]
    fn names_a_task_with_its_run() {
        for (path, expected) in [
            ("a-1.traj", "a-1"),
            ("run/a-1.traj", "run/a-1"),
            ("/w/run/a-1/a-1.traj", "run/a-1"),
            ("/a-1/a-1.traj", "a-1"),
            ("", ""),
        ] {
            assert_eq!(name(Path::new(path)), expected, "{path}");
        }
    }

    #[test]
    fn uses_the_first_word_as_the_tool() {
        for (action, expected) in [
            ("edit 1:2\nx\nend_of_edit", ("edit", ToolClass::Write)),
            ("find_file \"a\"", ("find_file", ToolClass::Read)),
            ("submit", ("submit", ToolClass::Other)),
            ("./rock", ("./rock", ToolClass::Run)),
            ("# look", ("bash", ToolClass::Run)),
            ("Let's look", ("bash", ToolClass::Run)),
            ("$(rm -r /)", ("bash", ToolClass::Run)),
        ] {
            assert_eq!(tool(action), expected, "{action}");
        }
        assert_eq!(tool(&"x".repeat(100)).0, "bash");
    }

    #[test]
    fn returns_the_targets_of_an_action() {
        let [path, none] = [Targets::new().with_path("a.py"), Targets::new()];
        for (action, expected) in [
            ("open \"a.py\" 12", &path),
            ("create a.py", &path),
            ("str_replace_editor view a.py", &path),
            ("search_file \"x\" a.py", &path),
            ("edit 1:2\nx\nend_of_edit", &none),
            ("python a.py\n", &Targets::new().with_command("python a.py\n")),
        ] {
            assert_eq!(targets(action, tool(action).1), *expected, "{action}");
        }
    }

    #[test]
    fn recognizes_failures_in_observations() {
        for (text, expected) in [
            ("", Ok(())),
            ("Found 1 matches", Ok(())),
            ("No matches found for \"x\" in /a", Ok(())),
            ("ok\nx: not found in the index, added", Ok(())),
            ("Your proposed edit has introduced new syntax error(s). Read", Err(None)),
            ("Usage: edit <start_line>:<end_line>", Err(None)),
            ("awk: cannot open x\nFile x not found\n", Err(None)),
            ("/bin/bash: line 7: mvn: command not found", Err(None)),
            ("ls: cannot access 'x': No such file or directory", Err(None)),
            ("\nEXECUTION TIMED OUT", Err(Some(Cause::Timeout))),
        ] {
            assert_eq!(outcome(text), expected, "{text}");
        }
    }
}
