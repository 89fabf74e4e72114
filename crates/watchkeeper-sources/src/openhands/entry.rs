//! The members of an event that are used.

use super::{
    outcome::Outcome,
    usage::{Totals, Usage},
};
use crate::{
    content::{Content, join},
    json::{Located, Malformed, Number, Raw, RawText, Text, TextOr, check_utf8, object, parse},
};

object! {
    /// An event, with the members of both generations.
    pub(super) struct Entry<'a> {
        /// The id as written: a number, or a string with its quotes.
        b"id" => id: Raw<'a>,
        b"timestamp" => timestamp: Text<'a>,
        b"source" => source: Text<'a>,
        /// The kind of event in the SDK.
        b"kind" => kind: Text<'a>,
        /// The action of the SDK, or the kind of an earlier action.
        b"action" => action: TextOr<'a, Located<'a, Args<'a>>>,
        /// The observation of the SDK, or the kind of an earlier observation.
        b"observation" => observation: TextOr<'a, Outcome<'a>>,
        // Members of an action.
        b"args" => args: Located<'a, Args<'a>>,
        b"tool_name" => tool_name: Text<'a>,
        b"tool_call_id" => call: Text<'a>,
        b"tool_call" => model_call: ModelToolCall<'a>,
        b"tool_call_metadata" => metadata: ToolCallMetadata<'a>,
        b"llm_response_id" => response: Text<'a>,
        /// The total usage so far.
        b"llm_metrics" => totals: Totals<'a>,
        b"thought" => thought: Content<'a>,
        b"reasoning_content" => reasoning: Text<'a>,
        b"llm_message" => message: ModelMessage<'a>,
        // Members of an observation.
        /// The id of the action.
        b"cause" => cause: Number<'a>,
        b"content" => content: Located<'a, Content<'a>>,
        b"exit_code" => exit_code: i32,
        b"is_error" => is_error: bool,
        b"extras" => extras: Outcome<'a>,
        // Members of an error, or of a declined call.
        b"error" | b"detail" | b"rejection_reason" => error: Text<'a>,
        b"code" => code: Text<'a>,
        // Members of an update of the state of a conversation.
        b"key" => key: Text<'a>,
        b"value" => value: Raw<'a>,
        // Members of a call by another agent, through the Agent Client Protocol.
        b"status" => status: Text<'a>,
        b"tool_kind" => tool_kind: Text<'a>,
        b"title" => title: Text<'a>,
        b"parent_tool_call_id" => parent_call: Text<'a>,
        b"raw_input" => raw_input: RawText<'a>,
        b"raw_output" => raw_output: RawText<'a>,
    }
}

object! {
    /// The arguments of an action.
    pub(super) struct Args<'a> {
        b"content" => content: Text<'a>,
        b"thought" => thought: Text<'a>,
        b"final_thought" => final_thought: Text<'a>,
        b"message" => message: Text<'a>,
        b"command" => command: Text<'a>,
        b"code" => code: Text<'a>,
        b"name" => name: Text<'a>,
        b"openhands_version" => version: Text<'a>,
        b"wait_for_response" => waits: bool,
    }
}

object! {
    /// A call as the model wrote it.
    pub(super) struct ModelToolCall<'a> {
        b"arguments" => arguments: Text<'a>,
    }
}

object! {
    pub(super) struct ToolCallMetadata<'a> {
        b"function_name" => tool: Text<'a>,
        b"model_response" => response: ModelResponse<'a>,
    }
}

object! {
    pub(super) struct ModelResponse<'a> {
        b"id" => id: Text<'a>,
        b"model" => model: Text<'a>,
        b"usage" => usage: Usage<'a>,
    }
}

object! {
    pub(super) struct ModelMessage<'a> {
        b"content" => content: Content<'a>,
        b"reasoning_content" => reasoning: Text<'a>,
    }
}

impl<'a> Entry<'a> {
    pub(super) fn parse(text: &'a [u8]) -> Result<Self, Malformed> {
        let mut entry: Self = parse(text)?;
        if entry.arguments().is_none() && entry.action_kind().is_some() {
            // The arguments of early actions are members of the event.
            entry.args = Some(Located { at: 0, raw: text, value: parse(text)? });
        }
        entry.args().map_or(Ok(""), |args| check_utf8(args.raw))?;
        Ok(entry)
    }

    /// Returns whether the event has the source `name`.
    pub(super) fn is_from(&self, name: &str) -> bool {
        self.source.is_some_and(|source| source.is(name))
    }

    /// Returns the kind of an action before the SDK.
    pub(super) fn action_kind(&self) -> Option<Text<'a>> {
        match self.action {
            Some(TextOr::Text(kind)) => Some(kind),
            _ => None,
        }
    }

    /// Returns the kind of an observation before the SDK.
    pub(super) fn observation_kind(&self) -> Option<Text<'a>> {
        match self.observation {
            Some(TextOr::Text(kind)) => Some(kind),
            _ => None,
        }
    }

    fn args(&self) -> Option<&Located<'a, Args<'a>>> {
        match &self.action {
            Some(TextOr::Other(args)) => Some(args),
            _ => self.args.as_ref(),
        }
    }

    /// Returns an argument of an action.
    pub(super) fn arg(&self, arg: impl Fn(&Args<'a>) -> Option<Text<'a>>) -> Option<Text<'a>> {
        self.args().and_then(|args| arg(&args.value))
    }

    /// Returns whether the agent waits for a response to its message.
    pub(super) fn waits_for_response(&self) -> bool {
        self.args().is_some_and(|args| args.value.waits == Some(true))
    }

    /// Returns the arguments of a call as written.
    pub(super) fn arguments(&self) -> Option<&'a [u8]> {
        let args = self.args().map(|args| args.raw);
        args.or(self.raw_input.map(|input| input.0.as_bytes()))
    }

    /// Returns arguments that the tool did not understand.
    pub(super) fn raw_arguments(&self) -> Option<Text<'a>> {
        self.model_call.as_ref().and_then(|call| call.arguments)
    }

    pub(super) fn tool(&self) -> Option<Text<'a>> {
        self.tool_name.or(self.metadata.as_ref().and_then(|metadata| metadata.tool))
    }

    /// Returns the model response of a call.
    pub(super) fn response(&self) -> Option<&ModelResponse<'a>> {
        self.metadata.as_ref().and_then(|metadata| metadata.response.as_ref())
    }

    /// Returns the id of the model response of a call.
    pub(super) fn response_id(&self) -> Option<Text<'a>> {
        self.response.or(self.response().and_then(|response| response.id))
    }

    /// Returns the text of a message, or the thought of an action.
    pub(super) fn message(&self) -> Box<str> {
        let message = self.message.as_ref().and_then(|message| message.content.as_ref());
        let contents = [self.thought.as_ref(), message];
        let texts = contents.into_iter().flatten().flat_map(|content| &content.texts);
        join(&texts.copied().collect::<Vec<_>>())
    }

    pub(super) fn reasoning(&self) -> Option<Text<'a>> {
        let of_message = self.message.as_ref().and_then(|message| message.reasoning);
        self.reasoning.or(of_message).filter(|text| !text.raw().is_empty())
    }
}
