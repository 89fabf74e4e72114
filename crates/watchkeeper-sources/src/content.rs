//! Content that is a string or a list of parts.

use watchkeeper_core::{Fingerprint, ToolResult};

use crate::json::{
    FromJson, Located, Malformed, Reader, Text, object, push_element, read_located, read_value,
};

/// The content of a prompt, a message or a result.
#[derive(Debug, Default)]
pub(crate) struct Content<'a> {
    /// The strings, and the texts of the other parts.
    pub(crate) texts: Vec<Text<'a>>,
    /// The fingerprint of the parts without text, such as images.
    pub(crate) other: Option<Fingerprint>,
}

object! {
    /// A part of a content.
    struct Part<'a> {
        b"text" => text: Text<'a>,
    }
}

impl<'a> FromJson<'a> for Content<'a> {
    fn read(slot: &mut Option<Self>, reader: &mut Reader<'a>) -> Result<(), Malformed> {
        if reader.peek()? != b'[' {
            let text = reader.text()?;
            *slot = text.map(|text| Self { texts: vec![text], other: None });
            return Ok(());
        }
        let content = slot.insert(Self::default());
        reader.array(|reader| content.read_part(reader))?;
        Ok(())
    }
}

impl<'a> FromJson<'a> for Located<'a, Content<'a>> {
    fn read(slot: &mut Option<Self>, reader: &mut Reader<'a>) -> Result<(), Malformed> {
        read_located(slot, reader)
    }
}

impl<'a> Content<'a> {
    fn read_part(&mut self, reader: &mut Reader<'a>) -> Result<(), Malformed> {
        if reader.peek()? == b'"' {
            return reader.text()?.map_or(Ok(()), |text| push_element(&mut self.texts, text));
        }
        let start = reader.offset();
        let part: Option<Part<'a>> = read_value(reader)?;
        match part.and_then(|part| part.text) {
            Some(text) => push_element(&mut self.texts, text)?,
            None => {
                let part = Fingerprint::of(reader.text_since(start));
                self.other = Some(self.other.unwrap_or_default().and(part));
            }
        }
        Ok(())
    }

    /// Returns whether there is neither text nor another part.
    pub(crate) fn is_empty(&self) -> bool {
        self.other.is_none() && self.texts.iter().all(|text| text.raw().is_empty())
    }

    /// Distinguishes the result of this content from one with the same text and other images.
    pub(crate) fn distinguish(&self, result: &mut ToolResult) {
        if let (Some(fingerprint), Some(other)) = (&mut result.fingerprint, self.other) {
            *fingerprint = fingerprint.and(other);
        }
    }

    /// Returns the texts, joined by line breaks.
    pub(crate) fn text(&self) -> Box<str> {
        join(&self.texts)
    }
}

/// Decodes texts, and joins them by line breaks.
pub(crate) fn join(texts: &[Text<'_>]) -> Box<str> {
    match texts {
        [text] => text.boxed(),
        texts => texts.iter().map(|text| text.read()).collect::<Vec<_>>().join("\n").into(),
    }
}
