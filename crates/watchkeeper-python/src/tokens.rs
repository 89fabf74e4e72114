//! A sequence of values in few bytes, which becomes JSON later.

use std::{borrow::Cow, fmt::Write as _};

use crate::json_text;

const NULL: u8 = 0;
const FALSE: u8 = 1;
const TRUE: u8 = 2;
const INT: u8 = 3;
const UINT: u8 = 4;
const FLOAT: u8 = 5;
const TEXT: u8 = 6;
const START_OBJECT: u8 = 7;
const START_ARRAY: u8 = 8;
const END: u8 = 9;
const REFERENCE: u8 = 10;

/// The number of bytes of a number and of the length of a text.
const N_BYTES: usize = 8;

/// Adds values to a buffer.
pub(crate) struct TokenWriter<'a>(pub(crate) &'a mut Vec<u8>);

impl TokenWriter<'_> {
    pub(crate) fn null(&mut self) {
        self.0.push(NULL);
    }

    pub(crate) fn bool(&mut self, value: bool) {
        self.0.push(if value { TRUE } else { FALSE });
    }

    pub(crate) fn int(&mut self, value: i64) {
        self.number(INT, value.to_le_bytes());
    }

    pub(crate) fn uint(&mut self, value: u64) {
        self.number(UINT, value.to_le_bytes());
    }

    /// Adds a finite number.
    pub(crate) fn float(&mut self, value: f64) {
        self.number(FLOAT, value.to_le_bytes());
    }

    pub(crate) fn text(&mut self, text: &str) {
        self.0.reserve(1 + N_BYTES + text.len());
        self.number(TEXT, (text.len() as u64).to_le_bytes());
        self.0.extend_from_slice(text.as_bytes());
    }

    /// Starts an object, whose keys and values alternate.
    pub(crate) fn start_object(&mut self) {
        self.0.push(START_OBJECT);
    }

    pub(crate) fn start_array(&mut self) {
        self.0.push(START_ARRAY);
    }

    /// Ends the innermost object or array.
    pub(crate) fn end(&mut self) {
        self.0.push(END);
    }

    /// Adds a value that is stored elsewhere.
    pub(crate) fn reference(&mut self, idx: u64) {
        self.number(REFERENCE, idx.to_le_bytes());
    }

    fn number(&mut self, tag: u8, bytes: [u8; N_BYTES]) {
        let mut token = [tag; 1 + N_BYTES];
        token[1..].copy_from_slice(&bytes);
        self.0.extend_from_slice(&token);
    }
}

/// Appends the JSON text of a sequence. `resolve` appends the value of a reference.
pub(crate) fn write_json(mut tokens: &[u8], json: &mut String, resolve: &dyn Fn(u64, &mut String)) {
    // The open containers: whether each is an object, and the number of its keys and
    // values so far.
    let mut open: Vec<(bool, usize)> = Vec::new();
    while let Some((tag, rest)) = tokens.split_first() {
        tokens = rest;
        if *tag == END {
            let is_object = open.pop().is_some_and(|(is_object, _)| is_object);
            json.push(if is_object { '}' } else { ']' });
            continue;
        }
        if let Some((is_object, n_items)) = open.last_mut() {
            match *n_items {
                0 => {}
                n if *is_object && n % 2 == 1 => json.push(':'),
                _ => json.push(','),
            }
            *n_items += 1;
        }
        match *tag {
            FALSE => json.push_str("false"),
            TRUE => json.push_str("true"),
            INT => json.push_str(&i64::from_le_bytes(take_number(&mut tokens)).to_string()),
            UINT => json.push_str(&u64::from_le_bytes(take_number(&mut tokens)).to_string()),
            FLOAT => {
                let number = f64::from_le_bytes(take_number(&mut tokens));
                // Writing to a string cannot fail.
                let _ = write!(json, "{number:?}");
            }
            TEXT => json_text::push_string(json, &take_text(&mut tokens)),
            START_OBJECT | START_ARRAY => {
                let is_object = *tag == START_OBJECT;
                json.push(if is_object { '{' } else { '[' });
                open.push((is_object, 0));
            }
            REFERENCE => resolve(u64::from_le_bytes(take_number(&mut tokens)), json),
            _ => json.push_str("null"),
        }
    }
}

/// Returns the text of a sequence that contains nothing else.
pub(crate) fn only_text(tokens: &[u8]) -> Option<String> {
    let (tag, mut rest) = tokens.split_first()?;
    (*tag == TEXT).then(|| take_text(&mut rest).into_owned())
}

fn take_number(tokens: &mut &[u8]) -> [u8; N_BYTES] {
    match tokens.split_first_chunk() {
        Some((bytes, rest)) => {
            *tokens = rest;
            *bytes
        }
        None => [0; N_BYTES],
    }
}

fn take_text<'a>(tokens: &mut &'a [u8]) -> Cow<'a, str> {
    let len = usize::try_from(u64::from_le_bytes(take_number(tokens))).unwrap_or(usize::MAX);
    let (text, rest) = tokens.split_at(len.min(tokens.len()));
    *tokens = rest;
    String::from_utf8_lossy(text)
}
