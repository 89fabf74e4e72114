//! The members of a row that are used.

use crate::{
    content::Content,
    json::{Elements, FromJson, Malformed, RawText, Reader, Seconds, Text, object, read_value},
};

object! {
    /// A message.
    pub(super) struct Message<'a> {
        b"goose" => session: Text<'a>,
        b"role" => role: Text<'a>,
        b"created" => created: Seconds,
        b"content" => parts: Elements<Part<'a>>,
        b"metadata" => metadata: Metadata,
        // Members of the session.
        b"cwd" => cwd: Text<'a>,
        b"model" => model: Model<'a>,
        // The totals of the session, in its latest message.
        b"input" => input: u64,
        b"output" => output: u64,
        b"cost" => cost_usd: f64,
    }
}

object! {
    pub(super) struct Metadata {
        b"userVisible" => is_visible: bool,
    }
}

object! {
    pub(super) struct Model<'a> {
        b"model_name" => name: Text<'a>,
    }
}

object! {
    /// A part of a message, with the members of all types.
    pub(super) struct Part<'a> {
        b"type" => kind: Text<'a>,
        b"text" => text: Text<'a>,
        b"thinking" => thinking: Text<'a>,
        b"id" => id: Text<'a>,
        b"toolCall" => request: Request<'a>,
        b"toolResult" => result: ToolOutcome<'a>,
    }
}

object! {
    /// A request of a tool; without a call if the model made an invalid one.
    pub(super) struct Request<'a> {
        b"value" => call: RequestedCall<'a>,
    }
}

object! {
    pub(super) struct RequestedCall<'a> {
        b"name" => name: Text<'a>,
        b"arguments" => arguments: RawText<'a>,
    }
}

object! {
    /// The result of a tool.
    pub(super) struct ToolOutcome<'a> {
        b"status" => status: Text<'a>,
        b"value" => value: ToolValue<'a>,
        b"error" => error: Text<'a>,
    }
}

object! {
    struct CurrentValue<'a> {
        b"content" => content: Content<'a>,
        b"isError" => is_error: bool,
    }
}

object! {
    /// The arguments of the editor.
    pub(super) struct EditorArguments<'a> {
        b"command" => command: Text<'a>,
    }
}

/// The value of a result: an object, or in early versions its content.
#[derive(Debug, Default)]
pub(super) struct ToolValue<'a> {
    content: Content<'a>,
    is_error: bool,
}

/// The totals of a session, as goose counts them.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Totals {
    pub(super) input: u64,
    pub(super) output: u64,
    pub(super) cost_usd: Option<f64>,
}

impl<'a> FromJson<'a> for ToolValue<'a> {
    fn read(slot: &mut Option<Self>, reader: &mut Reader<'a>) -> Result<(), Malformed> {
        *slot = if reader.peek()? == b'[' {
            read_value(reader)?.map(|content| Self { content, is_error: false })
        } else {
            read_value(reader)?.map(|value: CurrentValue<'a>| Self {
                content: value.content.unwrap_or_default(),
                is_error: value.is_error == Some(true),
            })
        };
        Ok(())
    }
}

impl Message<'_> {
    /// Returns the totals of the session, if this is its latest message.
    pub(super) fn totals(&self) -> Option<Totals> {
        Some(Totals { input: self.input?, output: self.output?, cost_usd: self.cost_usd })
    }
}

impl<'a> Part<'a> {
    pub(super) fn request(&self) -> Option<&Request<'a>> {
        self.request.as_ref()
    }
}

impl ToolOutcome<'_> {
    pub(super) fn is_ok(&self) -> bool {
        let is_error = self.value.as_ref().is_some_and(|value| value.is_error);
        self.status.is_some_and(|status| status.is("success")) && !is_error
    }

    /// Returns the output, or the error.
    pub(super) fn text(&self) -> Box<str> {
        match &self.value {
            Some(value) if !value.content.is_empty() => value.content.text(),
            _ => self.error.map(Text::boxed).unwrap_or_default(),
        }
    }
}

impl EditorArguments<'_> {
    pub(super) fn is_view(&self) -> bool {
        self.command.is_some_and(|command| command.is("view"))
    }
}
