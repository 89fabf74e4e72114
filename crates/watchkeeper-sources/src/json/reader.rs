//! The position in a JSON text, and the values there.

use watchkeeper_core::author::end_of_string;

use super::{
    Text,
    strict::{check_string, is_scalar},
};

/// Reads one JSON text.
pub(crate) struct Reader<'a> {
    text: &'a [u8],
    at: usize,
    /// The number of objects around the current value.
    depth: u8,
}

/// The reason why a text is not JSON, in a few words.
pub(crate) type Malformed = &'static str;

const NOT_JSON: Malformed = "not JSON";
const ENDS_EARLY: Malformed = "ends in the middle of JSON";
/// The depth from which objects are skipped. Some declarations contain themselves, and no
/// format nests objects as deep.
const MAX_DEPTH: u8 = 16;

impl<'a> Reader<'a> {
    pub(crate) fn new(text: &'a [u8]) -> Self {
        Self { text, at: 0, depth: 0 }
    }

    /// Reads an object. `member` receives each key and must read its value. Skips any
    /// other value, and an object below [`MAX_DEPTH`], and returns `false`.
    pub(crate) fn object(
        &mut self,
        mut member: impl FnMut(&mut Self, &'a [u8]) -> Result<(), Malformed>,
    ) -> Result<bool, Malformed> {
        if self.peek()? != b'{' || self.depth == MAX_DEPTH {
            self.raw()?;
            return Ok(false);
        }
        self.depth += 1;
        self.members(&mut member)?;
        self.depth -= 1;
        Ok(true)
    }

    /// Reads the members of the object at the current offset.
    #[inline]
    fn members(
        &mut self,
        member: &mut impl FnMut(&mut Self, &'a [u8]) -> Result<(), Malformed>,
    ) -> Result<(), Malformed> {
        self.at += 1;
        if self.peek()? == b'}' {
            self.at += 1;
            return Ok(());
        }
        loop {
            if self.peek()? != b'"' {
                return Err(NOT_JSON);
            }
            let key = self.quoted()?;
            if self.peek()? != b':' {
                return Err(NOT_JSON);
            }
            self.at += 1;
            member(self, key)?;
            match self.peek()? {
                b',' => self.at += 1,
                b'}' => {
                    self.at += 1;
                    return Ok(());
                }
                _ => return Err(NOT_JSON),
            }
        }
    }

    /// Reads an array. `element` must read each value. Skips any other value and
    /// returns `false`.
    pub(crate) fn array(
        &mut self,
        mut element: impl FnMut(&mut Self) -> Result<(), Malformed>,
    ) -> Result<bool, Malformed> {
        if self.peek()? != b'[' {
            self.raw()?;
            return Ok(false);
        }
        self.at += 1;
        if self.peek()? == b']' {
            self.at += 1;
            return Ok(true);
        }
        loop {
            element(self)?;
            match self.peek()? {
                b',' => self.at += 1,
                b']' => {
                    self.at += 1;
                    return Ok(true);
                }
                _ => return Err(NOT_JSON),
            }
        }
    }

    /// Reads a string.
    pub(crate) fn text(&mut self) -> Result<Option<Text<'a>>, Malformed> {
        if self.peek()? == b'"' {
            let start = self.at + 1;
            let raw = self.quoted()?;
            check_string(&self.text[start..], raw.len())?;
            return Ok(Some(Text::new(raw)));
        }
        self.raw()?;
        Ok(None)
    }

    /// Returns the first byte of the next value without reading it.
    pub(crate) fn peek(&mut self) -> Result<u8, Malformed> {
        while let Some(&byte) = self.text.get(self.at) {
            if !matches!(byte, b' ' | b'\t' | b'\n' | b'\r') {
                return Ok(byte);
            }
            self.at += 1;
        }
        Err(ENDS_EARLY)
    }

    /// Returns the current offset.
    pub(crate) fn offset(&self) -> usize {
        self.at
    }

    /// Returns the text from the offset `start` to the current one.
    pub(crate) fn text_since(&self, start: usize) -> &'a [u8] {
        &self.text[start..self.at]
    }

    /// Skips a value. Returns its text. Numbers and literals are checked; of other values, only
    /// that their strings and brackets are closed.
    pub(crate) fn raw(&mut self) -> Result<&'a [u8], Malformed> {
        let first = self.peek()?;
        let start = self.at;
        match first {
            b'"' => {
                self.quoted()?;
            }
            b'{' | b'[' => self.skip_nested()?,
            b'0'..=b'9' | b'-' | b't' | b'f' | b'n' => {
                let rest = &self.text[start..];
                let end = rest.iter().position(|byte| ends_scalar(*byte));
                let len = end.unwrap_or(rest.len());
                if !is_scalar(&rest[..len]) {
                    return Err(if end.is_none() { ENDS_EARLY } else { NOT_JSON });
                }
                self.at += len;
            }
            _ => return Err(NOT_JSON),
        }
        Ok(&self.text[start..self.at])
    }

    /// Skips a value.
    pub(crate) fn skip(&mut self) -> Result<(), Malformed> {
        self.raw().map(|_| ())
    }

    /// Skips an object or an array.
    fn skip_nested(&mut self) -> Result<(), Malformed> {
        let mut depth = 0_usize;
        let mut at = self.at;
        while let Some(&byte) = self.text.get(at) {
            at += 1;
            match byte {
                b'"' => at += end_of_string(&self.text[at..]).ok_or(ENDS_EARLY)? + 1,
                b'{' | b'[' => depth += 1,
                b'}' | b']' => {
                    depth -= 1;
                    if depth == 0 {
                        self.at = at;
                        return Ok(());
                    }
                }
                _ => {}
            }
        }
        Err(ENDS_EARLY)
    }

    /// Reads the string at the current offset. Returns it without its quotes.
    fn quoted(&mut self) -> Result<&'a [u8], Malformed> {
        let body = &self.text[self.at + 1..];
        let end = end_of_string(body).ok_or(ENDS_EARLY)?;
        self.at += end + 2;
        Ok(&body[..end])
    }

    /// Checks that the text ends here.
    pub(crate) fn end(&mut self) -> Result<(), Malformed> {
        match self.peek() {
            Ok(_) => Err("something follows the JSON"),
            Err(_) => Ok(()),
        }
    }
}

/// Returns whether a byte ends a number or a literal: the beginning of another token, or a space.
fn ends_scalar(byte: u8) -> bool {
    matches!(byte, b',' | b':' | b'"' | b'{' | b'}' | b'[' | b']' | b' ' | b'\t' | b'\n' | b'\r')
}
