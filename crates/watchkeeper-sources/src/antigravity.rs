//! Antigravity: the transcripts of its agent, a line for each step.

use std::path::{Path, PathBuf};

use watchkeeper_core::{
    EventKind, Source, SourceKind, ToolResult,
    author::{Environment, EventSink},
    register_source,
};

use crate::{
    blocks::Arguments,
    conversation::Conversation,
    home::in_home,
    json::{Malformed, Text, object, parse_head},
    json_line::read_object,
    lines::first_line,
};

/// Reads the transcripts of Antigravity.
#[derive(Debug)]
pub struct Antigravity(Conversation);

register_source!(Antigravity);

impl SourceKind for Antigravity {
    const KIND: &'static str = "antigravity";
    const DOCS: &'static str = include_str!("../docs/antigravity.md");

    fn recognizes(_path: &Path, head: &[u8]) -> bool {
        let first = first_line(head);
        let step: Step<'_> = parse_head(first);
        step.index.is_some() && step.source.is_some() && step.kind.is_some()
    }

    fn folders(environment: &Environment<'_>) -> Vec<PathBuf> {
        in_home(environment, &[".gemini/antigravity", ".gemini/antigravity-cli"])
    }

    fn new(path: &Path) -> Self {
        let mut conversation = Conversation::new(path);
        // The file is `<conversation>/.system_generated/logs/transcript.jsonl`.
        let generated = path.parent().and_then(Path::parent);
        if let Some(folder) = generated.filter(|folder| folder.ends_with(".system_generated"))
            && let Some(name) = folder.parent().and_then(Path::file_name)
        {
            conversation.identify(&name.to_string_lossy());
        }
        Self(conversation)
    }
}

object! {
    struct Step<'a> {
        b"step_index" => index: u64,
        b"source" => source: Text<'a>,
        b"type" => kind: Text<'a>,
        b"status" => status: Text<'a>,
        b"created_at" => at: Text<'a>,
        b"content" => content: Text<'a>,
        b"thinking" => thinking: Text<'a>,
        b"tool_calls" => calls: Vec<Call<'a>>,
    }
}

object! {
    struct Call<'a> {
        b"name" => name: Text<'a>,
        b"args" => arguments: Arguments<'a>,
    }
}

impl Source for Antigravity {
    fn read_line(&mut self, line: &[u8], sink: &mut EventSink<'_>) {
        read_object(line, sink, |step, sink| self.read(step, sink));
    }
}

impl Antigravity {
    fn read(&mut self, step: &Step<'_>, sink: &mut EventSink<'_>) -> Result<(), Malformed> {
        let Self(conversation) = self;
        let kind = step.kind.ok_or("no type")?;
        conversation.begin(step.at.and_then(Text::time), None);
        let content = step.content.map(Text::read).unwrap_or_default();
        match (step.source.map(Text::raw), kind.raw()) {
            (Some(b"USER_EXPLICIT"), _) | (_, b"USER_INPUT") => {
                conversation.prompt(request(&content), false, sink);
            }
            (Some(b"MODEL"), b"PLANNER_RESPONSE") => {
                let response = conversation.entry_id();
                conversation.thinking(&step.thinking.map(Text::read).unwrap_or_default(), sink);
                conversation.message(&content, sink);
                let calls = step.calls.as_deref().unwrap_or_default();
                for call in calls {
                    let name = call.name.map_or_else(|| "unknown".into(), Text::read);
                    let arguments =
                        call.arguments.as_ref().map(Arguments::json).unwrap_or_default();
                    conversation.call(None, &name, arguments, &response, sink);
                }
                if calls.is_empty() {
                    conversation.turn_end(sink);
                }
            }
            (Some(b"MODEL"), _) => {
                // A step without a call belongs to one that is not in the transcript.
                if let Some(id) = conversation.open_call() {
                    let ok = step.status.is_none_or(|status| !status.is("ERROR"));
                    let output = Some(content.into());
                    conversation.result(ToolResult::new(id, ok, output), sink);
                }
            }
            (Some(b"SYSTEM"), b"CHECKPOINT") => {
                let kind = EventKind::Compaction { before_tokens: None, after_tokens: None };
                conversation.emit(kind, sink);
            }
            (Some(b"SYSTEM"), b"SYSTEM_MESSAGE") => conversation.prompt(&content, true, sink),
            _ => {}
        }
        Ok(())
    }
}

/// Returns the request in a prompt, without what the client adds.
fn request(content: &str) -> &str {
    let after = content.split_once("<USER_REQUEST>").map_or(content, |(_, after)| after);
    after.split_once("</USER_REQUEST>").map_or(after, |(request, _)| request).trim()
}
