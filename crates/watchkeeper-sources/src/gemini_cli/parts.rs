//! The parts of a message, as in the API of Gemini.

use std::borrow::Cow;

use crate::json::{
    FromJson, Malformed, RawText, Reader, Text, TextOr, object, push_element, read_value,
};

/// The content of a message: a string, a part, or a list of both.
#[derive(Debug, Default)]
pub(crate) struct Parts<'a>(pub(crate) Vec<Part<'a>>);

object! {
    /// A part of a message.
    pub(crate) struct Part<'a> {
        b"text" => text: Text<'a>,
        /// Whether the text is a thought.
        b"thought" => is_thought: bool,
        b"functionCall" => call: FunctionCall<'a>,
        b"functionResponse" => response: FunctionResponse<'a>,
    }
}

object! {
    /// A tool call.
    pub(crate) struct FunctionCall<'a> {
        b"id" => id: Text<'a>,
        b"name" => name: Text<'a>,
        b"args" => arguments: RawText<'a>,
    }
}

object! {
    /// The result of a tool call, as the model receives it.
    pub(crate) struct FunctionResponse<'a> {
        b"id" => id: Text<'a>,
        b"name" => name: Text<'a>,
        b"response" => response: Response<'a>,
    }
}

object! {
    pub(crate) struct Response<'a> {
        b"output" => output: TextOr<'a, RawText<'a>>,
        b"error" => error: TextOr<'a, RawText<'a>>,
    }
}

impl<'a> FromJson<'a> for Parts<'a> {
    fn read(slot: &mut Option<Self>, reader: &mut Reader<'a>) -> Result<(), Malformed> {
        if reader.peek()? != b'[' {
            *slot = read_part(reader)?.map(|part| Self(vec![part]));
            return Ok(());
        }
        let parts = slot.insert(Self::default());
        reader.array(|reader| match read_part(reader)? {
            Some(part) => push_element(&mut parts.0, part),
            None => Ok(()),
        })?;
        Ok(())
    }
}

fn read_part<'a>(reader: &mut Reader<'a>) -> Result<Option<Part<'a>>, Malformed> {
    Ok(match reader.peek()? {
        b'"' => reader.text()?.map(|text| Part { text: Some(text), ..Part::default() }),
        _ => read_value(reader)?,
    })
}

impl<'a> Parts<'a> {
    /// Returns the texts that are no thoughts, which are pieces of one text.
    pub(crate) fn text(&self) -> Box<str> {
        self.texts(false)
    }

    /// Returns the thoughts, which are pieces of one text.
    pub(crate) fn thoughts(&self) -> Box<str> {
        self.texts(true)
    }

    fn texts(&self, are_thoughts: bool) -> Box<str> {
        let is_wanted = |part: &&Part<'_>| (part.is_thought == Some(true)) == are_thoughts;
        let texts = self.0.iter().filter(is_wanted).filter_map(|part| part.text);
        texts.map(Text::read).collect::<String>().into()
    }

    /// Returns the calls.
    pub(crate) fn calls(&self) -> impl Iterator<Item = &FunctionCall<'a>> {
        self.0.iter().filter_map(|part| part.call.as_ref())
    }

    /// Returns the results of calls.
    pub(crate) fn responses(&self) -> impl Iterator<Item = &FunctionResponse<'a>> {
        self.0.iter().filter_map(|part| part.response.as_ref())
    }
}

impl<'a> FunctionResponse<'a> {
    /// Returns whether the call failed.
    pub(crate) fn is_error(&self) -> bool {
        self.response.as_ref().is_some_and(|response| response.error.is_some())
    }

    /// Returns the output, or the error message.
    pub(crate) fn text(&self) -> Option<Cow<'a, str>> {
        let response = self.response.as_ref()?;
        Some(match response.error.or(response.output)? {
            TextOr::Text(text) => text.read(),
            TextOr::Other(value) => value.0.into(),
        })
    }
}
