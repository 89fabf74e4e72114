//! Messages in the notation of OpenAI's chat API, which several agents store.

use watchkeeper_core::author::EventSink;

use crate::{
    blocks::{Arguments, Blocks},
    conversation::Conversation,
    document::LineCounter,
    json::{Located, Malformed, Text, object},
};

object! {
    /// A message.
    pub(crate) struct ChatMessage<'a> {
        b"role" | b"type" => role: Text<'a>,
        b"content" => content: Blocks<'a>,
        b"reasoning" | b"reasoning_content" => reasoning: Text<'a>,
        b"tool_calls" | b"toolCalls" => calls: Vec<Located<'a, FunctionCall<'a>>>,
        b"tool_call_id" | b"toolCallId" => call: Text<'a>,
        b"finish_reason" => finish_reason: Text<'a>,
        b"timestamp" => at: Text<'a>,
    }
}

object! {
    /// A call, with or without an object `function`.
    pub(crate) struct FunctionCall<'a> {
        b"id" => id: Text<'a>,
        b"function" => function: Function<'a>,
        b"name" => name: Text<'a>,
        b"arguments" => arguments: Arguments<'a>,
    }
}

object! {
    pub(crate) struct Function<'a> {
        b"name" => name: Text<'a>,
        b"arguments" => arguments: Arguments<'a>,
    }
}

impl Conversation {
    /// Reads a message, as the current entry. A response without a call ends the turn.
    pub(crate) fn read_chat_message(
        &mut self,
        message: &ChatMessage<'_>,
        mut lines: LineCounter<'_>,
        is_synthetic: fn(&str) -> bool,
        sink: &mut EventSink<'_>,
    ) -> Result<(), Malformed> {
        let none = Blocks::default();
        let content = message.content.as_ref().unwrap_or(&none);
        match message.role.ok_or("no role")?.raw() {
            b"user" => self.read_prompt(content, lines, is_synthetic, sink),
            b"assistant" => {
                sink.at_line(lines.line_of(0));
                let response = self.entry_id();
                self.thinking(&message.reasoning.map(Text::read).unwrap_or_default(), sink);
                let mut has_call = self.read_response(content, lines.clone(), &response, sink);
                for Located { at, value: call, .. } in message.calls.iter().flatten() {
                    has_call = true;
                    sink.at_line(lines.line_of(*at));
                    self.read_function_call(call, &response, sink);
                }
                if !has_call {
                    self.turn_end(sink);
                }
            }
            b"tool" | b"tool_result" => {
                sink.at_line(lines.line_of(0));
                let id = message.call.map(Text::boxed).unwrap_or_default();
                let ok = message.finish_reason.is_none_or(|reason| !reason.is("error"));
                self.result(content.result(id, ok), sink);
            }
            b"system" | b"session_meta" => {}
            _ => sink.skip_part("unknown role"),
        }
        Ok(())
    }

    /// Reads a call of a response.
    pub(crate) fn read_function_call(
        &mut self,
        call: &FunctionCall<'_>,
        response: &str,
        sink: &mut EventSink<'_>,
    ) {
        let function = call.function.as_ref();
        let name = call.name.or_else(|| function?.name);
        let name = name.map_or_else(|| "unknown".into(), Text::read);
        let arguments = call.arguments.as_ref().or_else(|| function?.arguments.as_ref());
        let arguments = arguments.map(Arguments::json).unwrap_or_default();
        self.call(call.id.map(Text::boxed), &name, arguments, response, sink);
    }
}
