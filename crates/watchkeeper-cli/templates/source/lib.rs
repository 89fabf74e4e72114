#![doc = include_str!("../README.md")]

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;
use watchkeeper_core::{
    EventKind, Json, Source, SourceKind, Timestamp, ToolCall, ToolResult,
    author::{Environment, EventSink},
};

/// Reads one file of the agent.
///
/// This format needs no state. A source that joins several lines into one event keeps
/// them in fields.
#[derive(Debug)]
pub struct KindName;

/// One line of a file.
#[derive(Deserialize)]
struct Line {
    time: Timestamp,
    run: String,
    #[serde(flatten)]
    step: Step,
}

/// One step of a run.
#[derive(Deserialize)]
#[serde(tag = "step", rename_all = "snake_case")]
enum Step {
    User {
        text: Box<str>,
    },
    Agent {
        text: Box<str>,
    },
    Call {
        id: Box<str>,
        tool: String,
        input: Value,
    },
    Result {
        id: Box<str>,
        ok: bool,
        output: Option<Box<str>>,
    },
    Done,
    #[serde(other)]
    Unknown,
}

watchkeeper_core::register_source!(KindName);

impl SourceKind for KindName {
    const KIND: &'static str = "kind-name";
    const DOCS: &'static str = include_str!("../README.md");
    const FILES: &'static [&'static str] = &["*.jsonl"];

    fn recognizes(_path: &Path, head: &[u8]) -> bool {
        // The last line of `head` may be incomplete, but a run begins with a short line.
        let first = head.split(|byte| *byte == b'\n').next().unwrap_or_default();
        serde_json::from_slice::<Line>(first).is_ok()
    }

    fn folders(environment: &Environment<'_>) -> Vec<PathBuf> {
        let home = environment("HOME").map(PathBuf::from);
        home.map(|home| home.join(".kind-name/runs"))
            .into_iter()
            .collect()
    }

    fn new(_path: &Path) -> Self {
        Self
    }
}

impl Source for KindName {
    fn read_line(&mut self, line: &[u8], sink: &mut EventSink<'_>) {
        if line.trim_ascii().is_empty() {
            return;
        }
        let Ok(Line { time, run, step }) = serde_json::from_slice(line) else {
            return sink.skip_line("not a step of a run");
        };
        if run.is_empty() {
            return sink.skip_line("no name of a run");
        }
        let kind = match step {
            Step::User { text } => EventKind::Prompt {
                text,
                synthetic: false,
            },
            Step::Agent { text } => EventKind::Message { text, delta: false },
            Step::Call { id, tool, input } => {
                EventKind::ToolCall(ToolCall::new(id, tool, Json::from(&input)))
            }
            Step::Result { id, ok, output } => {
                EventKind::ToolResult(ToolResult::new(id, ok, output))
            }
            Step::Done => EventKind::TurnEnd,
            Step::Unknown => return sink.skip_part("unknown step"),
        };
        sink.event(time, &run.as_str().into(), None, kind);
    }
}

#[cfg(test)]
mod tests {
    use watchkeeper_testing::source;

    use super::KindName;

    const RUN: (&str, &str) = ("r1.jsonl", include_str!("../samples/r1.jsonl"));

    #[test]
    fn reads_a_run() {
        let lines: Vec<&str> = RUN.1.lines().take(3).collect();
        let reading = source::read::<KindName>("r1.jsonl", lines.join("\n"));
        assert_eq!(
            reading.trace(),
            r##"0s session r1: prompt "fix the build"
5s session r1: call #c1 shell {"command":"make"}
6s session r1: result #c1 fail "no rule to make target `all`"
"##
        );
        assert_eq!(reading.skipped_lines.total(), 0);
    }

    #[test]
    fn counts_lines_of_other_formats() {
        let reading = source::read::<KindName>("r1.jsonl", "hello\n");
        assert_eq!(reading.skipped_lines.total(), 1);
    }

    #[test]
    fn keeps_the_promises_of_sources() {
        source::check::<KindName>(&[RUN]);
    }
}
