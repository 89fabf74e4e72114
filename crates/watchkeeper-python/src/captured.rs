//! The arguments of a tool call, copied from Python objects.

use std::borrow::Cow;

use pyo3::{
    Bound, PyAny, pyfunction,
    types::{
        PyAnyMethods as _, PyBool, PyBoolMethods as _, PyDict, PyDictMethods as _, PyFloat,
        PyFloatMethods as _, PyInt, PyList, PyListMethods as _, PyString, PyTuple,
        PyTupleMethods as _,
    },
};
use watchkeeper::Json;

use crate::{
    converted::{self, Converted},
    json_text, text,
};

/// The deepest nesting that is recorded. Parsers of JSON accept 128 levels.
const MAX_DEPTH: usize = 100;
/// The largest number of values. An object that contains another one several times has more
/// values as text than in memory, and one that contains itself has no end.
const MAX_VALUES: usize = 100_000;
/// The largest text of one value, in bytes, if the others exceed the limit of a text.
const MIN_CUT_LEN: usize = 256;
/// The text in place of values that exceed a limit.
const CUT: &str = "\u{2026}";

/// Arguments as a sequence of tokens.
///
/// An agent waits while its arguments are recorded, so recording only copies values. The
/// monitor's thread makes the JSON text of the copy.
///
/// Objects that JSON has no form for become text: integers beyond 64 bits, NaN, and objects
/// of other types.
#[derive(Debug, Default)]
pub(crate) struct Captured {
    tokens: Vec<Token>,
    /// The texts of the tokens, in order.
    texts: String,
    /// The forms of objects of other types.
    converted: Vec<Self>,
    /// Whether the arguments are a text, which may be JSON.
    is_text: bool,
}

#[derive(Clone, Copy, Debug)]
enum Token {
    Null,
    Bool(bool),
    Int(i64),
    UInt(u64),
    Float(f64),
    /// The length of the text.
    Text(usize),
    /// The index of the form of an object of another type.
    Converted(usize),
    StartObject,
    StartArray,
    End,
}

/// Returns the JSON text that `Session.tool_call` records for these arguments.
#[pyfunction]
pub(crate) fn arguments_to_json(arguments: &Bound<'_, PyAny>) -> String {
    Captured::new(arguments).to_json().as_str().to_owned()
}

impl Captured {
    /// Copies any object.
    pub(crate) fn new(arguments: &Bound<'_, PyAny>) -> Self {
        if let Ok(string) = arguments.cast::<PyString>() {
            let mut captured = Self { is_text: true, ..Self::default() };
            captured.push_text(&text::of_string(string), 0);
            return captured;
        }
        Self::of_value(arguments, 0, &mut Budget { n_values: 0, n_bytes: 0 })
    }

    /// Copies an object that is nested in `depth` others.
    fn of_value(value: &Bound<'_, PyAny>, depth: usize, budget: &mut Budget) -> Self {
        let tokens = Vec::with_capacity(16);
        let captured = Self { tokens, ..Self::default() };
        let mut capture = Capture { captured, depth, pending: Vec::new(), budget };
        capture.value(value);
        let Capture { mut captured, pending, .. } = capture;
        // Code of the objects runs after the copying, since such code can change a container.
        for Pending { object, depth, is_key } in pending {
            let converted = match converted::convert(&object) {
                Converted::Object(object) if !is_key && depth < MAX_DEPTH => {
                    Self::of_value(&object, depth + 1, budget)
                }
                Converted::Object(_) => Self::of_text(&text::of_object(&object), budget),
                Converted::Text(text) => Self::of_text(&text, budget),
            };
            captured.converted.push(converted);
        }
        captured
    }

    fn of_text(text: &str, budget: &mut Budget) -> Self {
        let mut captured = Self::default();
        captured.push_text(text, budget.n_bytes);
        budget.n_bytes += captured.texts.len();
        captured
    }

    /// Adds a text after others with a length of `n_bytes`.
    fn push_text(&mut self, text: &str, n_bytes: usize) {
        let start = self.texts.len();
        let max_len = text::MAX_LEN.saturating_sub(n_bytes).max(MIN_CUT_LEN);
        self.texts.push_str(&text::limited(Cow::Borrowed(text), max_len));
        self.tokens.push(Token::Text(self.texts.len() - start));
    }

    /// Returns the arguments as JSON. A text that is valid JSON remains unchanged.
    pub(crate) fn to_json(&self) -> Json {
        if self.is_text {
            return Json::parse_or_text(&self.texts);
        }
        let mut json = String::with_capacity(self.texts.len() + 8 * self.tokens.len());
        self.write(&mut json);
        Json::parse_or_text(&json)
    }

    fn write(&self, json: &mut String) {
        let mut texts = &*self.texts;
        // The open containers: whether each is an object, and the number of its keys and
        // values so far.
        let mut open: Vec<(bool, usize)> = Vec::new();
        for token in &self.tokens {
            if let Token::End = token {
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
            match *token {
                Token::Null => json.push_str("null"),
                Token::Bool(true) => json.push_str("true"),
                Token::Bool(false) => json.push_str("false"),
                Token::Int(n) => json.push_str(&n.to_string()),
                Token::UInt(n) => json.push_str(&n.to_string()),
                Token::Float(number) => json.push_str(&format!("{number:?}")),
                Token::Text(len) => {
                    let (text, rest) = texts.split_at(len);
                    json_text::push_string(json, text);
                    texts = rest;
                }
                Token::Converted(idx) => self.converted[idx].write(json),
                Token::StartObject | Token::StartArray => {
                    let is_object = matches!(token, Token::StartObject);
                    json.push(if is_object { '{' } else { '[' });
                    open.push((is_object, 0));
                }
                Token::End => {}
            }
        }
    }
}

/// The number of values and bytes that are copied already.
struct Budget {
    n_values: usize,
    n_bytes: usize,
}

/// An object to convert after the copying.
struct Pending<'py> {
    object: Bound<'py, PyAny>,
    depth: usize,
    is_key: bool,
}

/// Copies an object without running Python code.
struct Capture<'a, 'py> {
    captured: Captured,
    depth: usize,
    pending: Vec<Pending<'py>>,
    budget: &'a mut Budget,
}

impl<'py> Capture<'_, 'py> {
    fn value(&mut self, value: &Bound<'py, PyAny>) {
        self.budget.n_values += 1;
        if MAX_VALUES < self.budget.n_values {
            self.text(CUT);
        } else if let Ok(string) = value.cast::<PyString>() {
            self.text(&text::of_string(string));
        } else if let Ok(dict) = value.cast::<PyDict>() {
            self.nested(Token::StartObject, |capture| capture.entries(dict));
        } else if let Ok(list) = value.cast::<PyList>() {
            self.nested(Token::StartArray, |capture| {
                list.iter().for_each(|value| capture.value(&value));
            });
        } else if value.is_none() {
            self.push(Token::Null);
        } else if let Ok(bool) = value.cast::<PyBool>() {
            self.push(Token::Bool(bool.is_true()));
        } else if let Ok(int) = value.cast::<PyInt>() {
            if let Ok(n) = int.extract::<i64>() {
                self.push(Token::Int(n));
            } else if let Ok(n) = int.extract::<u64>() {
                self.push(Token::UInt(n));
            } else {
                self.convert_later(int, false);
            }
        } else if let Ok(float) = value.cast::<PyFloat>() {
            let number = float.value();
            if number.is_finite() {
                self.push(Token::Float(number));
            } else {
                self.text(&number.to_string());
            }
        } else if let Ok(tuple) = value.cast::<PyTuple>() {
            self.nested(Token::StartArray, |capture| {
                tuple.iter().for_each(|value| capture.value(&value));
            });
        } else {
            self.convert_later(value, false);
        }
    }

    fn nested(&mut self, start: Token, copy: impl FnOnce(&mut Self)) {
        if self.depth == MAX_DEPTH {
            self.text(CUT);
            return;
        }
        self.depth += 1;
        self.push(start);
        copy(self);
        self.push(Token::End);
        self.depth -= 1;
    }

    fn entries(&mut self, dict: &Bound<'py, PyDict>) {
        if cfg!(Py_GIL_DISABLED) {
            // A copy, which other threads do not change.
            for entry in dict.items() {
                if let Ok((key, value)) = entry.extract::<(Bound<'py, PyAny>, Bound<'py, PyAny>)>()
                {
                    self.entry(&key, &value);
                }
            }
        } else {
            dict.iter().for_each(|(key, value)| self.entry(&key, &value));
        }
    }

    fn entry(&mut self, key: &Bound<'py, PyAny>, value: &Bound<'py, PyAny>) {
        match key.cast::<PyString>() {
            Ok(string) => self.text(&text::of_string(string)),
            Err(_) => self.convert_later(key, true),
        }
        self.value(value);
    }

    fn convert_later(&mut self, object: &Bound<'py, PyAny>, is_key: bool) {
        self.push(Token::Converted(self.pending.len()));
        self.pending.push(Pending { object: object.clone(), depth: self.depth, is_key });
    }

    fn text(&mut self, text: &str) {
        let n_bytes = self.captured.texts.len();
        self.captured.push_text(text, self.budget.n_bytes);
        self.budget.n_bytes += self.captured.texts.len() - n_bytes;
    }

    fn push(&mut self, token: Token) {
        self.captured.tokens.push(token);
    }
}
