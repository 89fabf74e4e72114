//! pi and OpenClaw: a line for each message.
//!
//! OpenClaw embeds pi and writes the same lines.

use std::path::{Path, PathBuf};

use memchr::memmem;
use watchkeeper_core::{
    EventKind, ModelCall, Source, SourceKind,
    author::{Environment, EventSink, Tokens},
    register_source,
};

use crate::{
    blocks::{Blocks, is_never_synthetic},
    conversation::{Conversation, tokens},
    document::LineCounter,
    home::in_home,
    json::{Malformed, Text, object, parse_head},
    json_line::read_object,
    lines::lines_of,
};

/// Reads the sessions of pi.
#[derive(Debug)]
pub struct Pi(Session);

/// Reads the sessions of OpenClaw.
#[derive(Debug)]
pub struct OpenClaw(Session);

register_source!(Pi);
register_source!(OpenClaw);

impl SourceKind for Pi {
    const KIND: &'static str = "pi";
    const DOCS: &'static str = include_str!("../docs/pi.md");

    fn recognizes(path: &Path, head: &[u8]) -> bool {
        is_session(head) && !is_of_openclaw(path, head)
    }

    fn folders(environment: &Environment<'_>) -> Vec<PathBuf> {
        if let Some(folder) = environment("PI_CODING_AGENT_DIR").filter(|it| !it.is_empty()) {
            return vec![PathBuf::from(folder).join("sessions")];
        }
        in_home(environment, &[".pi/agent/sessions"])
    }

    fn new(path: &Path) -> Self {
        Self(Session::new(path))
    }
}

impl SourceKind for OpenClaw {
    const KIND: &'static str = "openclaw";
    const DOCS: &'static str = include_str!("../docs/openclaw.md");

    fn recognizes(path: &Path, head: &[u8]) -> bool {
        is_session(head) && is_of_openclaw(path, head)
    }

    fn folders(environment: &Environment<'_>) -> Vec<PathBuf> {
        in_home(environment, &[".openclaw/agents"])
    }

    fn new(path: &Path) -> Self {
        Self(Session::new(path))
    }
}

impl Source for Pi {
    fn read_line(&mut self, line: &[u8], sink: &mut EventSink<'_>) {
        self.0.read_line(line, sink);
    }
}

impl Source for OpenClaw {
    fn read_line(&mut self, line: &[u8], sink: &mut EventSink<'_>) {
        self.0.read_line(line, sink);
    }
}

/// Returns whether a file begins with the header of a session.
fn is_session(head: &[u8]) -> bool {
    let first: Line<'_> = parse_head(lines_of(head).next().unwrap_or_default());
    first.is("session") && first.id.is_some() && first.version.is_some() && first.cwd.is_some()
}

/// Returns whether a session is of OpenClaw: by its folder, or by the lines that OpenClaw adds.
fn is_of_openclaw(path: &Path, head: &[u8]) -> bool {
    path.iter().any(|folder| folder == ".openclaw") || memmem::find(head, b"openclaw").is_some()
}

/// A session file.
#[derive(Debug)]
struct Session {
    conversation: Conversation,
    /// The model that was selected last.
    model: Option<Box<str>>,
}

object! {
    struct Line<'a> {
        b"type" => kind: Text<'a>,
        b"id" => id: Text<'a>,
        b"timestamp" => at: Text<'a>,
        // Members of the header.
        b"version" => version: u64,
        b"cwd" => cwd: Text<'a>,
        b"parentSession" => parent: Text<'a>,
        // Members of other lines.
        b"modelId" => model: Text<'a>,
        b"tokensBefore" => tokens_before: u64,
        b"message" => message: Message<'a>,
    }
}

object! {
    struct Message<'a> {
        b"role" => role: Text<'a>,
        b"content" => content: Blocks<'a>,
        // Members of a response.
        b"model" => model: Text<'a>,
        b"usage" => usage: Usage,
        b"stopReason" => stop_reason: Text<'a>,
        b"errorMessage" => error: Text<'a>,
        // Members of a result.
        b"toolCallId" => call: Text<'a>,
        b"isError" => is_error: bool,
    }
}

object! {
    struct Usage {
        b"input" => input: u64,
        b"output" => output: u64,
        b"cacheRead" => cache_read: u64,
        b"cacheWrite" => cache_write: u64,
        b"cost" => cost: Cost,
    }
}

object! {
    struct Cost {
        b"total" => total: f64,
    }
}

impl Line<'_> {
    fn is(&self, kind: &str) -> bool {
        self.kind.is_some_and(|own| own.is(kind))
    }
}

impl Session {
    fn new(path: &Path) -> Self {
        Self { conversation: Conversation::new(path), model: None }
    }

    fn read_line(&mut self, line: &[u8], sink: &mut EventSink<'_>) {
        read_object(line, sink, |members, sink| self.read(members, sink));
    }

    fn read(&mut self, members: &Line<'_>, sink: &mut EventSink<'_>) -> Result<(), Malformed> {
        let conversation = &mut self.conversation;
        let kind = members.kind.ok_or("no type")?;
        match kind.raw() {
            b"session" => {
                conversation.identify(&members.id.map(Text::read).unwrap_or_default());
                conversation.start.cwd = members.cwd.map(Text::boxed);
            }
            b"model_change" => self.model = members.model.map(Text::boxed),
            b"compaction" => {
                conversation.begin(members.at.and_then(Text::time), None);
                let before_tokens = members.tokens_before;
                conversation
                    .emit(EventKind::Compaction { before_tokens, after_tokens: None }, sink);
            }
            b"message" => {
                let message = members.message.as_ref().ok_or("no message")?;
                let at = members.at.and_then(Text::time).ok_or("no time")?;
                conversation.begin(Some(at), None);
                self.read_message(message, members.id, sink)?;
            }
            b"thinking_level_change"
            | b"branch_summary"
            | b"custom"
            | b"custom_message"
            | b"label"
            | b"session_info" => {}
            _ => sink.skip_part("unknown type of line"),
        }
        Ok(())
    }

    fn read_message(
        &mut self,
        message: &Message<'_>,
        id: Option<Text<'_>>,
        sink: &mut EventSink<'_>,
    ) -> Result<(), Malformed> {
        let conversation = &mut self.conversation;
        let lines = LineCounter::of_line(sink.line());
        let none = Blocks::default();
        let blocks = message.content.as_ref().unwrap_or(&none);
        match message.role.ok_or("no role")?.raw() {
            b"user" => conversation.read_prompt(blocks, lines, is_never_synthetic, sink),
            b"assistant" => {
                let response = id.map_or_else(|| conversation.entry_id(), Text::boxed);
                let model = message.model.map(Text::boxed).or_else(|| self.model.clone());
                let usage = message.usage.as_ref();
                conversation.usage(
                    ModelCall {
                        id: Some(response.clone()),
                        model,
                        tokens: usage.map(Usage::tokens).unwrap_or_default(),
                        cost_usd: usage.and_then(|usage| usage.cost.as_ref()?.total),
                        ..ModelCall::default()
                    },
                    sink,
                );
                let has_call = conversation.read_response(blocks, lines, &response, sink);
                match message.stop_reason.map(Text::raw) {
                    Some(b"error") => {
                        let message = message.error.map(Text::boxed).unwrap_or_default();
                        conversation.emit(EventKind::Error { message, retry: None }, sink);
                    }
                    Some(b"aborted") => conversation.turn_end(sink),
                    _ if !has_call => conversation.turn_end(sink),
                    _ => {}
                }
            }
            b"toolResult" => {
                let id = message.call.map(Text::boxed).ok_or("no id of the call")?;
                let ok = message.is_error != Some(true);
                conversation.result(blocks.result(id, ok), sink);
            }
            // A command that a person ran, and texts of the agent's client.
            b"bashExecution" | b"custom" | b"branchSummary" | b"compactionSummary" | b"system" => {}
            _ => sink.skip_part("unknown role"),
        }
        Ok(())
    }
}

impl Usage {
    fn tokens(&self) -> Tokens {
        tokens(self.input, self.output, self.cache_read, self.cache_write)
    }
}
