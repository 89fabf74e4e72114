//! Messages that are a text or a list of blocks: texts, thoughts, calls and results.

use watchkeeper_core::{Fingerprint, Json, ToolResult, author::EventSink};

use crate::{
    content::{Content, join},
    conversation::Conversation,
    document::{LineCounter, compact},
    json::{
        FromJson, Located, Malformed, RawText, Reader, Text, TextOr, decode, object, parse_value,
        push_element, read_value,
    },
};

/// The blocks of a message. A string is a block of text.
#[derive(Debug, Default)]
pub(crate) struct Blocks<'a>(pub(crate) Vec<Located<'a, Block<'a>>>);

object! {
    /// A part of an output that has a result of its own.
    struct OutputPart {
        b"success" => success: bool,
    }
}

object! {
    /// A block, with the members of all types in the notations of several agents.
    pub(crate) struct Block<'a> {
        b"type" => kind: Text<'a>,
        b"text" | b"thinking" | b"think" => text: Text<'a>,
        b"id" | b"toolCallId" | b"tool_use_id" | b"toolUseID" => id: Text<'a>,
        b"name" | b"toolName" => name: Text<'a>,
        b"input" | b"arguments" => arguments: Arguments<'a>,
        b"content" => output: Output<'a>,
        b"is_error" | b"isError" => is_error: bool,
    }
}

/// The arguments of a call: a value, or JSON in a string.
#[derive(Debug)]
pub(crate) struct Arguments<'a>(TextOr<'a, RawText<'a>>);

/// The output of a result: a text, parts with texts, or another value.
#[derive(Debug)]
pub(crate) struct Output<'a> {
    content: Content<'a>,
    raw: &'a [u8],
}

impl<'a> FromJson<'a> for Blocks<'a> {
    fn read(slot: &mut Option<Self>, reader: &mut Reader<'a>) -> Result<(), Malformed> {
        let blocks = slot.insert(Self::default());
        if reader.peek()? != b'[' {
            return blocks.read_block(reader);
        }
        reader.array(|reader| blocks.read_block(reader))?;
        Ok(())
    }
}

impl<'a> Blocks<'a> {
    fn read_block(&mut self, reader: &mut Reader<'a>) -> Result<(), Malformed> {
        if reader.peek()? != b'"' {
            let block = read_value(reader)?;
            return block.map_or(Ok(()), |block| push_element(&mut self.0, block));
        }
        let at = reader.offset();
        let value = Block { text: reader.text()?, ..Block::default() };
        push_element(&mut self.0, Located { at, raw: reader.text_since(at), value })
    }
}

impl Blocks<'_> {
    /// Returns whether a block is a call.
    pub(crate) fn has_call(&self) -> bool {
        self.0.iter().any(|block| block.value.meaning() == Meaning::Call)
    }

    /// Returns the texts, joined by line breaks.
    pub(crate) fn text(&self) -> Box<str> {
        let texts: Vec<Text<'_>> = self.0.iter().filter_map(|block| block.value.text).collect();
        join(&texts)
    }

    /// Makes a result whose output is these blocks.
    pub(crate) fn result(&self, id: Box<str>, ok: bool) -> ToolResult {
        let mut result = ToolResult::new(id, ok, Some(self.text()));
        for other in self.0.iter().filter(|block| block.value.text.is_none()) {
            let other = Fingerprint::of(other.raw);
            result.fingerprint = result.fingerprint.map(|fingerprint| fingerprint.and(other));
        }
        result
    }
}

impl<'a> FromJson<'a> for Arguments<'a> {
    fn read(slot: &mut Option<Self>, reader: &mut Reader<'a>) -> Result<(), Malformed> {
        *slot = read_value(reader)?.map(Self);
        Ok(())
    }
}

impl Arguments<'_> {
    /// Returns the arguments as JSON.
    pub(crate) fn json(&self) -> Json {
        match &self.0 {
            TextOr::Text(text) => Json::parse_or_text(&text.read()),
            TextOr::Other(RawText(value)) => Json::parse_or_text(&compact(value)),
        }
    }
}

impl<'a> FromJson<'a> for Output<'a> {
    fn read(slot: &mut Option<Self>, reader: &mut Reader<'a>) -> Result<(), Malformed> {
        reader.peek()?;
        let at = reader.offset();
        let content: Option<Content<'a>> = read_value(reader)?;
        let raw = reader.text_since(at);
        *slot = (raw != b"null").then(|| Self { content: content.unwrap_or_default(), raw });
        Ok(())
    }
}

impl Output<'_> {
    /// Returns the text of the output, or the JSON of a value without a text.
    pub(crate) fn text(&self) -> Box<str> {
        if self.content.texts.is_empty() { decode(self.raw).into() } else { self.content.text() }
    }

    /// Returns the output as written.
    pub(crate) fn raw(&self) -> &[u8] {
        self.raw
    }

    /// Returns whether a part of the output states a failure.
    fn has_failed(&self) -> bool {
        let parts: Option<Vec<OutputPart>> = parse_value(self.raw).ok().flatten();
        parts.is_some_and(|parts| parts.iter().any(|part| part.success == Some(false)))
    }

    /// Makes a result with this output.
    pub(crate) fn result(&self, id: Box<str>, ok: bool) -> ToolResult {
        let mut result = ToolResult::new(id, ok, Some(self.text()));
        if !self.content.texts.is_empty() {
            self.content.distinguish(&mut result);
        }
        result
    }
}

/// The meaning of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meaning {
    Text,
    Thinking,
    Call,
    Result,
    /// An image or a file, which has no text.
    Attachment,
    Unknown,
}

impl Block<'_> {
    fn meaning(&self) -> Meaning {
        match self.kind.map(Text::raw) {
            None if self.text.is_some() => Meaning::Text,
            Some(b"text") => Meaning::Text,
            Some(b"thinking" | b"reasoning" | b"think") => Meaning::Thinking,
            Some(b"tool_use" | b"toolCall" | b"tool_call" | b"tool-call") => Meaning::Call,
            Some(b"tool_result" | b"tool-result") => Meaning::Result,
            Some(b"image" | b"file" | b"document" | b"redacted_thinking") => Meaning::Attachment,
            _ => Meaning::Unknown,
        }
    }
}

impl Conversation {
    /// Reads a message to the agent: its results, and then its texts as one prompt. A text that
    /// `is_synthetic` comes from the agent's client and not from a person, like every text in a
    /// message with results.
    pub(crate) fn read_prompt(
        &mut self,
        blocks: &Blocks<'_>,
        mut lines: LineCounter<'_>,
        is_synthetic: fn(&str) -> bool,
        sink: &mut EventSink<'_>,
    ) {
        let (mut texts, mut synthetic_texts) = (Vec::new(), Vec::new());
        let mut has_results = false;
        sink.at_line(lines.line_of(0));
        for Located { at, value: block, .. } in &blocks.0 {
            match block.meaning() {
                Meaning::Text => {
                    let text = block.text.map(Text::read).unwrap_or_default();
                    let texts = if is_synthetic(&text) { &mut synthetic_texts } else { &mut texts };
                    texts.push(text);
                }
                Meaning::Result => {
                    has_results = true;
                    sink.at_line(lines.line_of(*at));
                    let id = block.id.map(Text::boxed).unwrap_or_default();
                    let has_failed = block.output.as_ref().is_some_and(Output::has_failed);
                    let ok = block.is_error != Some(true) && !has_failed;
                    let result = match &block.output {
                        Some(output) => output.result(id, ok),
                        None => ToolResult::new(id, ok, block.text.map(Text::boxed)),
                    };
                    self.result(result, sink);
                }
                Meaning::Attachment => {}
                _ => sink.skip_part("unknown type of block"),
            }
        }
        let synthetic = has_results || texts.is_empty();
        if !has_results && texts.is_empty() {
            texts = synthetic_texts;
        }
        self.prompt(&texts.join("\n"), synthetic, sink);
    }

    /// Reads a message of the agent. Returns whether it contains a call.
    pub(crate) fn read_response(
        &mut self,
        blocks: &Blocks<'_>,
        mut lines: LineCounter<'_>,
        response: &str,
        sink: &mut EventSink<'_>,
    ) -> bool {
        let mut has_call = false;
        for Located { at, value: block, .. } in &blocks.0 {
            sink.at_line(lines.line_of(*at));
            let text = || block.text.map(Text::read).unwrap_or_default();
            match block.meaning() {
                Meaning::Text => self.message(&text(), sink),
                Meaning::Thinking => self.thinking(&text(), sink),
                Meaning::Call => {
                    has_call = true;
                    let name = block.name.map_or_else(|| "unknown".into(), Text::read);
                    let arguments =
                        block.arguments.as_ref().map(Arguments::json).unwrap_or_default();
                    self.call(block.id.map(Text::boxed), &name, arguments, response, sink);
                }
                Meaning::Attachment => {}
                Meaning::Result | Meaning::Unknown => sink.skip_part("unknown type of block"),
            }
        }
        has_call
    }
}

/// Returns false: the client of the agent adds no texts to prompts.
pub(crate) fn is_never_synthetic(_text: &str) -> bool {
    false
}

/// Returns whether a text is a tag of the agent's client, such as `<system-reminder>`.
pub(crate) fn is_reminder(text: &str) -> bool {
    const TAGS: &[&str] = &["<system-reminder>", "<system-notification>", "<environment_details>"];
    let text = text.trim_start();
    TAGS.iter().any(|tag| text.starts_with(tag))
}
