//! Junie, the agent of JetBrains: a line for each state of a block on its screen.

use std::path::{Path, PathBuf};

use watchkeeper_core::{
    EventKind, Json, ModelCall, Source, SourceKind, ToolResult,
    author::{Environment, EventSink},
    register_source,
};

use crate::{
    conversation::{Conversation, tokens},
    home::in_home,
    json::{Malformed, Millis, RawText, Text, object, parse_head},
    json_line::read_object,
    lines::lines_of,
};

/// Reads the sessions of Junie.
#[derive(Debug)]
pub struct Junie {
    conversation: Conversation,
    /// The ids of the latest blocks, each with the state that was read.
    blocks: Vec<(Box<str>, State)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Begun,
    Ended,
}

/// The largest number of blocks that are remembered. Junie repeats only the latest ones.
const MAX_BLOCKS: usize = 256;

register_source!(Junie);

impl SourceKind for Junie {
    const KIND: &'static str = "junie";
    const DOCS: &'static str = include_str!("../docs/junie.md");

    fn recognizes(_path: &Path, head: &[u8]) -> bool {
        lines_of(head).take(16).any(|line| {
            let line: Line<'_> = parse_head(line);
            match line.kind.map(Text::raw) {
                Some(b"UserPromptEvent") => line.prompt.is_some(),
                Some(b"SessionA2uxEvent") => line.event.is_some(),
                _ => false,
            }
        })
    }

    fn folders(environment: &Environment<'_>) -> Vec<PathBuf> {
        in_home(environment, &[".junie/sessions"])
    }

    fn new(path: &Path) -> Self {
        let mut conversation = Conversation::new(path);
        // The file is `<session>/events.jsonl`.
        if let Some(folder) = path.parent().and_then(Path::file_name)
            && path.file_stem().is_some_and(|stem| stem == "events")
        {
            conversation.identify(&folder.to_string_lossy());
        }
        Self { conversation, blocks: Vec::new() }
    }
}

object! {
    struct Line<'a> {
        b"kind" => kind: Text<'a>,
        b"timestampMs" => at: Millis,
        b"prompt" => prompt: Text<'a>,
        b"event" => event: Event<'a>,
    }
}

object! {
    struct Event<'a> {
        b"agentEvent" => agent_event: AgentEvent<'a>,
    }
}

object! {
    struct AgentEvent<'a> {
        b"kind" => kind: Text<'a>,
        b"stepId" => id: Text<'a>,
        b"status" => status: Text<'a>,
        b"text" | b"result" | b"message" => text: Text<'a>,
        b"toolCall" => call: Text<'a>,
        b"command" => command: Text<'a>,
        b"output" => output: Text<'a>,
        b"details" => details: Text<'a>,
        b"exitCode" => exit_code: i32,
        b"files" | b"changes" => files: RawText<'a>,
        b"modelUsage" => usage: Vec<Usage<'a>>,
    }
}

object! {
    struct Usage<'a> {
        b"model" => model: Text<'a>,
        b"cost" => cost_usd: f64,
        b"inputTokens" => input: u64,
        b"cacheInputTokens" => cache_read: u64,
        b"cacheCreateTokens" => cache_write: u64,
        b"outputTokens" => output: u64,
    }
}

impl Source for Junie {
    fn read_line(&mut self, line: &[u8], sink: &mut EventSink<'_>) {
        read_object(line, sink, |line, sink| self.read(line, sink));
    }
}

impl Junie {
    fn read(&mut self, line: &Line<'_>, sink: &mut EventSink<'_>) -> Result<(), Malformed> {
        let kind = line.kind.ok_or("no kind")?;
        self.conversation.begin(line.at.map(|at| at.0), None);
        match kind.raw() {
            b"UserPromptEvent" | b"UserResponseEvent" => {
                let prompt = line.prompt.map(Text::read).unwrap_or_default();
                self.conversation.prompt(&prompt, false, sink);
            }
            b"SessionA2uxEvent" => {
                let event = line.event.as_ref().and_then(|event| event.agent_event.as_ref());
                if let Some(event) = event {
                    self.read_event(event, sink)?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn read_event(
        &mut self,
        event: &AgentEvent<'_>,
        sink: &mut EventSink<'_>,
    ) -> Result<(), Malformed> {
        let text = || event.text.map(Text::read).unwrap_or_default();
        match event.kind.ok_or("no kind of event")?.raw() {
            b"LlmResponseMetadataEvent" => {
                for usage in event.usage.as_deref().unwrap_or_default() {
                    let call = ModelCall {
                        model: usage.model.map(Text::boxed),
                        tokens: tokens(
                            usage.input,
                            usage.output,
                            usage.cache_read,
                            usage.cache_write,
                        ),
                        cost_usd: usage.cost_usd,
                        ..ModelCall::default()
                    };
                    self.conversation.usage(call, sink);
                }
            }
            b"AgentThoughtBlockUpdatedEvent" if self.reaches(event.id, State::Ended) => {
                self.conversation.thinking(&text(), sink);
            }
            b"ResultBlockUpdatedEvent" if self.reaches(event.id, State::Ended) => {
                self.conversation.message(&text(), sink);
                self.conversation.turn_end(sink);
            }
            b"AgentFailureEvent" => {
                let message = text().into();
                self.conversation.emit(EventKind::Error { message, retry: None }, sink);
            }
            b"TerminalBlockUpdatedEvent" => self.read_block("terminal", event, sink),
            b"ViewFilesBlockUpdatedEvent" => self.read_block("view_files", event, sink),
            b"FileChangesBlockUpdatedEvent" => self.read_block("edit_files", event, sink),
            b"ToolBlockUpdatedEvent" => self.read_block("tool", event, sink),
            b"McpBlockUpdatedEvent" => self.read_block("mcp", event, sink),
            _ => {}
        }
        Ok(())
    }

    /// Reads a state of a call. Only the command of a terminal is complete when the call begins.
    fn read_block(&mut self, tool: &str, event: &AgentEvent<'_>, sink: &mut EventSink<'_>) {
        let has_ended = event.status.is_some_and(|it| it.is("COMPLETED") || it.is("FAILED"));
        if !has_ended && event.command.is_none() {
            return;
        }
        let id = event.id.map(Text::boxed).unwrap_or_default();
        if self.reaches(event.id, State::Begun) {
            let arguments = match (event.command, &event.files) {
                (Some(command), _) => {
                    Json::from(&serde_json::json!({ "command": &*command.read() }))
                }
                (None, Some(files)) => Json::parse_or_text(files.0),
                _ => Json::text(&event.call.or(event.text).map(Text::read).unwrap_or_default()),
            };
            let response = self.conversation.entry_id();
            self.conversation.call(Some(id.clone()), tool, arguments, &response, sink);
        }
        if has_ended && self.reaches(event.id, State::Ended) {
            let exit_code = event.exit_code;
            let has_failed = event.status.is_some_and(|status| status.is("FAILED"));
            let ok = !has_failed && exit_code.is_none_or(|code| code == 0);
            let output = event.output.or(event.details).map(Text::boxed);
            let mut result = ToolResult::new(id, ok, output);
            result.exit_code = exit_code;
            self.conversation.result(result, sink);
        }
    }

    /// Records the state of a block, and returns whether it was not recorded before. Junie
    /// writes a state repeatedly.
    fn reaches(&mut self, id: Option<Text<'_>>, state: State) -> bool {
        let id = id.map(Text::boxed).unwrap_or_default();
        match self.blocks.iter_mut().find(|(known, _)| *known == id) {
            Some((_, known)) if *known == state || *known == State::Ended => return false,
            Some((_, known)) => *known = state,
            None => {
                if self.blocks.len() == MAX_BLOCKS {
                    self.blocks.remove(0);
                }
                self.blocks.push((id, state));
            }
        }
        true
    }
}
