//! Kimi Code, the command-line agent of Moonshot: a log with a line for each change.

use std::{
    borrow::Cow,
    path::{Path, PathBuf},
};

use watchkeeper_core::{
    EventKind, ModelCall, Source, SourceKind, ToolResult,
    author::{Environment, EventSink, Tokens, WaitingFor},
    register_source,
};

use crate::{
    blocks::{Arguments, Blocks, Output, is_never_synthetic},
    conversation::{Conversation, tokens},
    document::LineCounter,
    home::in_home,
    json::{Malformed, Millis, Present, Text, object, parse_head},
    json_line::read_object,
    lines::first_line,
};

/// Reads the sessions of Kimi Code.
#[derive(Debug)]
pub struct Kimi {
    conversation: Conversation,
    /// The model that was selected last.
    model: Option<Box<str>>,
}

register_source!(Kimi);

impl SourceKind for Kimi {
    const KIND: &'static str = "kimi";
    const DOCS: &'static str = include_str!("../docs/kimi.md");

    fn recognizes(_path: &Path, head: &[u8]) -> bool {
        let first = first_line(head);
        let line: Line<'_> = parse_head(first);
        line.is("metadata") && line.protocol.is_some()
    }

    fn folders(environment: &Environment<'_>) -> Vec<PathBuf> {
        in_home(environment, &[".kimi-code/sessions", ".kimi/sessions"])
    }

    fn new(path: &Path) -> Self {
        let mut conversation = Conversation::new(path);
        // The file is `<session>/agents/<agent>/wire.jsonl`; `main` is no sub-agent.
        let folder = path.parent();
        let agents = folder.and_then(Path::parent);
        if name(Some(path)).is_some_and(|name| name == "wire.jsonl") {
            if agents.is_some_and(|agents| agents.ends_with("agents")) {
                conversation.identify(&name(agents.and_then(Path::parent)).unwrap_or_default());
                let agent = name(folder).unwrap_or_default();
                if agent != "main" {
                    conversation.set_agent(&agent);
                }
            } else {
                conversation.identify(&name(folder).unwrap_or_default());
            }
        }
        Self { conversation, model: None }
    }
}

fn name(path: Option<&Path>) -> Option<Cow<'_, str>> {
    Some(path?.file_name()?.to_string_lossy())
}

object! {
    struct Line<'a> {
        b"type" => kind: Text<'a>,
        b"time" | b"created_at" => at: Millis,
        b"protocol_version" => protocol: Present,
        b"modelAlias" | b"model" => model: Text<'a>,
        b"cwd" => cwd: Text<'a>,
        b"attempt" => attempt: Text<'a>,
        b"input" => input: Blocks<'a>,
        b"origin" => origin: Origin<'a>,
        b"event" => event: Event<'a>,
        b"reason" => reason: Text<'a>,
        b"tokensBefore" => tokens_before: u64,
        b"tokensAfter" => tokens_after: u64,
        b"usage" => usage: Usage,
        b"usageScope" => usage_scope: Text<'a>,
    }
}

object! {
    /// The author of a prompt.
    struct Origin<'a> {
        b"kind" => kind: Text<'a>,
    }
}

object! {
    /// An event of the loop of model calls.
    struct Event<'a> {
        b"type" => kind: Text<'a>,
        b"uuid" => id: Text<'a>,
        b"stepUuid" => step: Text<'a>,
        b"part" => part: Blocks<'a>,
        b"toolCallId" => call: Text<'a>,
        b"name" => tool: Text<'a>,
        b"args" => arguments: Arguments<'a>,
        b"result" => result: CallResult<'a>,
        b"model" => model: Text<'a>,
        b"usage" => usage: Usage,
        b"finishReason" => finish: Text<'a>,
    }
}

object! {
    struct CallResult<'a> {
        b"output" | b"message" => output: Output<'a>,
        b"isError" => is_error: bool,
    }
}

object! {
    struct Usage {
        b"inputOther" => input: u64,
        b"output" => output: u64,
        b"inputCacheRead" => cache_read: u64,
        b"inputCacheCreation" => cache_write: u64,
    }
}

impl Line<'_> {
    fn is(&self, kind: &str) -> bool {
        self.kind.is_some_and(|own| own.is(kind))
    }
}

impl Source for Kimi {
    fn read_line(&mut self, line: &[u8], sink: &mut EventSink<'_>) {
        read_object(line, sink, |line, sink| self.read(line, sink));
    }
}

impl Kimi {
    fn read(&mut self, line: &Line<'_>, sink: &mut EventSink<'_>) -> Result<(), Malformed> {
        let conversation = &mut self.conversation;
        let kind = line.kind.ok_or("line of an earlier version")?;
        conversation.begin(line.at.map(|at| at.0), None);
        match kind.raw() {
            b"config.update" | b"profile.bind" => {
                self.model = line.model.map(Text::boxed).or(self.model.take());
                if let Some(cwd) = line.cwd {
                    conversation.start.cwd = Some(cwd.boxed());
                }
            }
            b"turn.prompt" | b"turn.steer" => {
                let origin = line.origin.as_ref().and_then(|origin| origin.kind);
                let is_synthetic: fn(&str) -> bool = if origin.is_none_or(|it| it.is("user")) {
                    is_never_synthetic
                } else {
                    |_| true
                };
                let lines = LineCounter::of_line(sink.line());
                let none = Blocks::default();
                let input = line.input.as_ref().unwrap_or(&none);
                conversation.read_prompt(input, lines, is_synthetic, sink);
            }
            b"context.append_loop_event" => {
                self.read_event(line.event.as_ref().ok_or("no event")?, sink)?;
            }
            b"llm.request" => {
                // The first attempt has no number. The number of another one is `2/10`.
                let attempt = line.attempt.map(Text::read).unwrap_or_default();
                if let Some(Ok(number)) = attempt.split_once('/').map(|(number, _)| number.parse())
                {
                    let message = "the request is sent again".into();
                    conversation.emit(EventKind::Error { message, retry: Some(number) }, sink);
                }
            }
            b"turn.cancel" => conversation.turn_end(sink),
            // A turn that ended by itself ends with its last step.
            b"turn.ended" if line.reason.is_some_and(|it| !it.is("completed")) => {
                conversation.turn_end(sink);
            }
            b"context.apply_compaction" => {
                let (before_tokens, after_tokens) = (line.tokens_before, line.tokens_after);
                conversation.emit(EventKind::Compaction { before_tokens, after_tokens }, sink);
            }
            // The steps of a turn state its usage, too. This is the usage of a compaction.
            b"usage.record" if line.usage_scope.is_some_and(|scope| scope.is("session")) => {
                let id = conversation.entry_id();
                let model = line.model.map(Text::boxed).or_else(|| self.model.clone());
                let tokens = line.usage.as_ref().map(Usage::tokens).unwrap_or_default();
                let call = ModelCall { id: Some(id), model, tokens, ..ModelCall::default() };
                conversation.usage(call, sink);
            }
            _ => {}
        }
        Ok(())
    }

    fn read_event(&mut self, event: &Event<'_>, sink: &mut EventSink<'_>) -> Result<(), Malformed> {
        let conversation = &mut self.conversation;
        let response = event.step.or(event.id).map(Text::boxed);
        let response = response.unwrap_or_else(|| conversation.entry_id());
        match event.kind.ok_or("no type of event")?.raw() {
            b"content.part" => {
                let none = Blocks::default();
                let part = event.part.as_ref().unwrap_or(&none);
                conversation.read_response(
                    part,
                    LineCounter::of_line(sink.line()),
                    &response,
                    sink,
                );
                // The call is written when it may run. Until then, a person decides.
                conversation.emit(EventKind::Waiting(WaitingFor::Permission), sink);
            }
            b"tool.call" => {
                let name = event.tool.map_or_else(|| "unknown".into(), Text::read);
                let arguments = event.arguments.as_ref().map(Arguments::json).unwrap_or_default();
                let id = event.call.map(Text::boxed);
                conversation.call(id, &name, arguments, &response, sink);
            }
            b"tool.result" => {
                let id = event.call.map(Text::boxed).ok_or("no id of the call")?;
                let result = event.result.as_ref();
                let ok = result.and_then(|result| result.is_error) != Some(true);
                let output = result.and_then(|result| result.output.as_ref());
                let result = match output {
                    Some(output) => output.result(id, ok),
                    None => ToolResult::new(id, ok, None),
                };
                conversation.result(result, sink);
            }
            b"step.end" => {
                let model = event.model.map(Text::boxed).or_else(|| self.model.clone());
                let tokens = event.usage.as_ref().map(Usage::tokens).unwrap_or_default();
                let call = ModelCall { id: Some(response), model, tokens, ..ModelCall::default() };
                conversation.usage(call, sink);
                if event.finish.is_some_and(|finish| !finish.is("tool_use")) {
                    conversation.turn_end(sink);
                }
            }
            _ => {}
        }
        Ok(())
    }
}

impl Usage {
    fn tokens(&self) -> Tokens {
        tokens(self.input, self.output, self.cache_read, self.cache_write)
    }
}
