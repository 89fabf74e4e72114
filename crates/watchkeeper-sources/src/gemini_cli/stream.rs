//! The stream that `gemini --output-format stream-json` writes: an event for each step.

use watchkeeper_core::{
    EventKind, ModelCall, SessionId, ToolResult,
    author::{EventSink, Tokens},
};

use super::calls::{cause, class};
use crate::{
    blocks::Arguments,
    conversation::Conversation,
    json::{Malformed, Text, Time, Values, object, parse},
};

/// The first bytes of a stream.
pub(super) const FIRST: &[u8] = br#"{"type":"init","timestamp":"#;
/// The first bytes of each line.
pub(super) const START: &[u8] = br#"{"type":""#;

/// The memory of a stream.
#[derive(Debug)]
pub(super) struct Stream(Conversation);

object! {
    struct Line<'a> {
        b"type" => kind: Text<'a>,
        b"timestamp" => at: Time,
        b"session_id" => session: Text<'a>,
        b"model" => model: Text<'a>,
        // Members of a message or an error.
        b"role" => role: Text<'a>,
        b"content" | b"message" => text: Text<'a>,
        b"delta" => is_delta: bool,
        b"severity" => severity: Text<'a>,
        // Members of a call or a result.
        b"tool_name" => tool: Text<'a>,
        b"tool_id" => call: Text<'a>,
        b"parameters" => arguments: Arguments<'a>,
        b"status" => status: Text<'a>,
        b"output" => output: Text<'a>,
        b"error" => error: Failure<'a>,
        b"stats" => totals: Totals<'a>,
    }
}

object! {
    struct Failure<'a> {
        b"message" => message: Text<'a>,
    }
}

object! {
    /// The totals at the end.
    struct Totals<'a> {
        b"models" => models: Values<'a, Usage>,
    }
}

object! {
    struct Usage {
        b"total_tokens" => total: u64,
        b"input_tokens" => input: u64,
        b"output_tokens" => output: u64,
        b"cached" => cache_read: u64,
    }
}

impl Stream {
    /// Creates the memory. The session has this id until a line names it.
    pub(super) fn new(session: &SessionId) -> Self {
        Self(Conversation::of_session(session).with_classes(class))
    }

    pub(super) fn read(&mut self, line: &[u8], sink: &mut EventSink<'_>) -> Result<(), Malformed> {
        let line: Line<'_> = parse(line)?;
        let Self(conversation) = self;
        conversation.begin(line.at.map(|at| at.0), None);
        let text = line.text.map(Text::read).unwrap_or_default();
        match line.kind.ok_or("no type")?.raw() {
            b"init" => {
                conversation.identify(&line.session.map(Text::read).unwrap_or_default());
                conversation.start.model = line.model.map(Text::boxed);
            }
            b"message" if line.role.is_some_and(|role| role.is("user")) => {
                conversation.prompt(&text, false, sink);
            }
            b"message" if text.is_empty() => {}
            b"message" => {
                let delta = line.is_delta == Some(true);
                conversation.emit(EventKind::Message { text: text.into(), delta }, sink);
            }
            b"tool_use" => {
                let name = line.tool.map_or_else(|| "unknown".into(), Text::read);
                let arguments = line.arguments.as_ref().map(Arguments::json).unwrap_or_default();
                let response = conversation.entry_id();
                conversation.call(line.call.map(Text::boxed), &name, arguments, &response, sink);
            }
            b"tool_result" => conversation.result(line.result(), sink),
            b"error" => {
                let kind = EventKind::Error { message: text.into(), retry: None };
                if line.severity.is_none_or(|severity| !severity.is("warning")) {
                    conversation.emit(kind, sink);
                }
            }
            b"result" => {
                let models = line.totals.as_ref().and_then(|totals| totals.models.as_ref());
                for (model, usage) in models.iter().flat_map(|models| &models.0) {
                    let call = ModelCall {
                        model: Some(model.boxed()),
                        tokens: usage.tokens(),
                        ..ModelCall::default()
                    };
                    conversation.usage(call, sink);
                }
                if let Some(error) = &line.error {
                    let message = error.message.map(Text::boxed).unwrap_or_default();
                    conversation.emit(EventKind::Error { message, retry: None }, sink);
                }
                conversation.turn_end(sink);
            }
            _ => sink.skip_part("unknown type of line"),
        }
        Ok(())
    }
}

impl Line<'_> {
    fn result(&self) -> ToolResult {
        let id = self.call.map(Text::boxed).unwrap_or_default();
        let ok = self.status.is_none_or(|status| status.is("success"));
        let error = self.error.as_ref().and_then(|error| error.message);
        let text = error.or(self.output).map(Text::boxed);
        // Only outputs that a person would see are written. The others are unknown, not empty.
        let text = text.filter(|text| !text.is_empty());
        let cause = text.as_deref().and_then(cause);
        let mut result = ToolResult::new(id, ok && cause.is_none(), text);
        result.cause = cause;
        result
    }
}

impl Usage {
    /// Returns the tokens. The input includes cached input, and the total includes thoughts.
    fn tokens(&self) -> Tokens {
        let (input, cache_read) = (self.input.unwrap_or(0), self.cache_read.unwrap_or(0));
        let output = self.output.unwrap_or(0);
        Tokens {
            input: input.saturating_sub(cache_read),
            cache_read,
            output: self.total.map_or(output, |total| output.max(total.saturating_sub(input))),
            ..Tokens::default()
        }
    }
}
