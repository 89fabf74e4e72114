//! The position in a JSON text, and the values there.

use std::mem;

use watchkeeper_core::author::{end_of_string, nested_len};

use super::{
    Text,
    strict::{ENDS_EARLY, Malformed, is_scalar, string_len},
};

/// Reads one JSON text.
pub(crate) struct Reader<'a> {
    text: &'a [u8],
    /// The part of the text that is not read yet.
    rest: &'a [u8],
    /// The number of objects around the current value.
    depth: u8,
}

const NOT_JSON: Malformed = "not JSON";
/// The depth from which objects are skipped. Some declarations contain themselves, and no
/// format nests objects as deep.
const MAX_DEPTH: u8 = 16;

impl<'a> Reader<'a> {
    pub(crate) fn new(text: &'a [u8]) -> Self {
        Self { text, rest: text, depth: 0 }
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
        self.rest = &self.rest[1..];
        if self.peek()? == b'}' {
            self.rest = &self.rest[1..];
            return Ok(());
        }
        loop {
            if self.peek()? != b'"' {
                return Err(NOT_JSON);
            }
            let key = self.quoted()?;
            self.take(b':')?;
            member(self, key)?;
            if !self.has_next(b'}')? {
                return Ok(());
            }
        }
    }

    /// Reads a value whose objects do not count as those around it. `read` must limit the depth.
    pub(crate) fn nested<T>(&mut self, read: impl FnOnce(&mut Self) -> T) -> T {
        let depth = mem::take(&mut self.depth);
        let res = read(self);
        self.depth = depth;
        res
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
        self.rest = &self.rest[1..];
        if self.peek()? == b']' {
            self.rest = &self.rest[1..];
            return Ok(true);
        }
        loop {
            element(self)?;
            if !self.has_next(b']')? {
                return Ok(true);
            }
        }
    }

    /// Reads a comma, or the bracket `end`. Returns whether there is a comma.
    #[inline]
    fn has_next(&mut self, end: u8) -> Result<bool, Malformed> {
        let byte = self.peek()?;
        if byte != b',' && byte != end {
            return Err(NOT_JSON);
        }
        self.rest = &self.rest[1..];
        Ok(byte == b',')
    }

    /// Reads the byte `expected`.
    #[inline]
    fn take(&mut self, expected: u8) -> Result<(), Malformed> {
        if self.peek()? != expected {
            return Err(NOT_JSON);
        }
        self.rest = &self.rest[1..];
        Ok(())
    }

    /// Reads a string.
    pub(crate) fn text(&mut self) -> Result<Option<Text<'a>>, Malformed> {
        if self.peek()? == b'"' {
            let body = &self.rest[1..];
            let len = string_len(body)?;
            self.rest = &body[len + 1..];
            return Ok(Some(Text::new(&body[..len])));
        }
        self.raw()?;
        Ok(None)
    }

    /// Returns the first byte of the next value without reading it.
    #[inline]
    pub(crate) fn peek(&mut self) -> Result<u8, Malformed> {
        match self.rest.first() {
            Some(&byte) if b' ' < byte => Ok(byte),
            _ => self.skip_space(),
        }
    }

    /// Skips white space, of which most agents write none. Returns the next byte.
    #[inline(never)]
    fn skip_space(&mut self) -> Result<u8, Malformed> {
        let is_space = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\n' | b'\r');
        let n_spaces = self.rest.iter().take_while(|byte| is_space(byte)).count();
        self.rest = &self.rest[n_spaces..];
        self.rest.first().copied().ok_or(ENDS_EARLY)
    }

    /// Returns the current offset.
    pub(crate) fn offset(&self) -> usize {
        self.text.len() - self.rest.len()
    }

    /// Returns the text from the offset `start` to the current one.
    pub(crate) fn text_since(&self, start: usize) -> &'a [u8] {
        &self.text[start..self.offset()]
    }

    /// Skips a value. Returns its text. Numbers and literals are checked; of other values, only
    /// that their strings and brackets are closed.
    pub(crate) fn raw(&mut self) -> Result<&'a [u8], Malformed> {
        let first = self.peek()?;
        let value = self.rest;
        match first {
            b'"' => {
                self.quoted()?;
            }
            b'{' | b'[' => self.rest = &self.rest[nested_len(self.rest).ok_or(ENDS_EARLY)?..],
            b'0'..=b'9' | b'-' | b't' | b'f' | b'n' => {
                let end = self.rest.iter().position(|byte| ends_scalar(*byte));
                let (scalar, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
                if !is_scalar(scalar) {
                    return Err(if end.is_none() { ENDS_EARLY } else { NOT_JSON });
                }
                self.rest = rest;
            }
            _ => return Err(NOT_JSON),
        }
        Ok(&value[..value.len() - self.rest.len()])
    }

    /// Reads a whole number of few digits, as most counts are. Returns `None` and reads nothing
    /// if the next value is another one.
    #[inline]
    pub(crate) fn digits(&mut self) -> Result<Option<u64>, Malformed> {
        /// Numbers with more digits may be too large.
        const MAX_DIGITS: usize = 19;
        self.peek()?;
        let mut number = 0;
        for (n_digits, byte) in self.rest.iter().take(MAX_DIGITS + 1).enumerate() {
            let digit = byte.wrapping_sub(b'0');
            if digit < 10 && n_digits < MAX_DIGITS {
                number = number * 10 + u64::from(digit);
                continue;
            }
            let has_leading_zero = 1 < n_digits && self.rest[0] == b'0';
            if n_digits == 0 || has_leading_zero || !ends_scalar(*byte) {
                break;
            }
            self.rest = &self.rest[n_digits..];
            return Ok(Some(number));
        }
        Ok(None)
    }

    /// Skips a value.
    #[inline]
    pub(crate) fn skip(&mut self) -> Result<(), Malformed> {
        if self.peek()? == b'"' {
            return self.quoted().map(|_| ());
        }
        self.raw().map(|_| ())
    }

    /// Reads the string at the current offset. Returns it without its quotes.
    #[inline]
    fn quoted(&mut self) -> Result<&'a [u8], Malformed> {
        let body = &self.rest[1..];
        let end = end_of_string(body).ok_or(ENDS_EARLY)?;
        self.rest = &body[end + 1..];
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
#[inline]
fn ends_scalar(byte: u8) -> bool {
    static ENDS: [bool; 256] = {
        let mut ends = [false; 256];
        let bytes = b",:\"{}[] \t\n\r";
        let mut idx = 0;
        while idx < bytes.len() {
            ends[bytes[idx] as usize] = true;
            idx += 1;
        }
        ends
    };
    ENDS[usize::from(byte)]
}
