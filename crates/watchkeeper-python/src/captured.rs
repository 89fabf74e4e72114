//! The arguments of a tool call, copied from Python objects.

use std::{borrow::Cow, cell::Cell};

use pyo3::{
    Bound, PyAny, PyResult, PyTypeInfo, pyfunction,
    types::{
        PyAnyMethods as _, PyBool, PyBoolMethods as _, PyDict, PyDictMethods as _, PyFloat,
        PyFloatMethods as _, PyInt, PyList, PyListMethods as _, PyString, PyTuple,
        PyTupleMethods as _,
    },
};
use watchkeeper::Json;

use crate::{
    converted::{self, Converted},
    text,
    tokens::{self, TokenWriter},
};

/// The deepest nesting that is recorded. Parsers of JSON accept 128 levels.
const MAX_DEPTH: usize = 100;
/// The largest number of values. An object that contains another one several times has more
/// values as text than in memory, and one that contains itself has no end.
const MAX_VALUES: usize = 100_000;
/// The largest text of one value, in bytes, if the others exceed the limit of a text.
const MIN_CUT_LEN: usize = 256;
/// The largest buffer that is allocated before its size is known.
const MAX_BUFFER: usize = 1 << 12;
/// The text in place of values that exceed a limit.
const CUT: &str = "\u{2026}";

thread_local! {
    /// The number of bytes of the last copy. A buffer that need not grow saves most of the
    /// time of a copy.
    static LAST_LEN: Cell<usize> = const { Cell::new(0) };
}

/// Arguments as a sequence of values.
///
/// An agent waits while its arguments are recorded, so recording only copies values. The
/// monitor's thread makes the JSON text of the copy.
///
/// Objects that JSON has no form for become text: integers beyond 64 bits, NaN, and objects
/// of other types.
#[derive(Debug)]
pub(crate) struct Captured {
    tokens: Vec<u8>,
    /// The forms of objects of other types.
    converted: Vec<Self>,
}

/// Returns the JSON text that `Session.tool_call` records for these arguments.
#[pyfunction]
pub(crate) fn arguments_to_json(arguments: &Bound<'_, PyAny>) -> PyResult<String> {
    Ok(Captured::new(arguments)?.to_json().as_str().to_owned())
}

impl Captured {
    /// Copies any object. Fails only by an exception that code of the object has raised, and
    /// that is no `Exception`.
    pub(crate) fn new(arguments: &Bound<'_, PyAny>) -> PyResult<Self> {
        Self::of_value(arguments, 0, &mut Budget { n_values: 0, n_bytes: 0 })
    }

    /// Copies an object that is nested in `depth` others.
    fn of_value(value: &Bound<'_, PyAny>, depth: usize, budget: &mut Budget) -> PyResult<Self> {
        let mut buffer = Vec::with_capacity(LAST_LEN.get().min(MAX_BUFFER));
        let tokens = TokenWriter(&mut buffer);
        let mut capture = Capture { tokens, depth, pending: Vec::new(), budget };
        capture.value(value);
        let pending = capture.pending;
        LAST_LEN.set(buffer.len());
        if buffer.len() < buffer.capacity() / 2 {
            buffer.shrink_to_fit();
        }
        let tokens = buffer;
        // Code of the objects runs after the copying, since such code can change a container.
        let converted = pending.into_iter().map(|Pending { object, depth, is_key }| {
            let text = match converted::convert(&object)? {
                Converted::Object(object) if !is_key && depth < MAX_DEPTH => {
                    return Self::of_value(&object, depth + 1, budget);
                }
                Converted::Object(_) => text::of_object(&object)?,
                Converted::Text(text) => text,
            };
            Ok(Self::of_text(&text, budget))
        });
        Ok(Self { tokens, converted: converted.collect::<PyResult<_>>()? })
    }

    fn of_text(text: &str, budget: &mut Budget) -> Self {
        let mut tokens = Vec::new();
        TokenWriter(&mut tokens).text(&budget.limited(text));
        Self { tokens, converted: Vec::new() }
    }

    /// Returns the arguments as JSON. A text that is valid JSON remains unchanged.
    pub(crate) fn to_json(&self) -> Json {
        if let Some(text) = tokens::only_text(&self.tokens) {
            return Json::parse_or_text(&text);
        }
        let mut json = String::with_capacity(self.tokens.len() + self.tokens.len() / 8);
        self.write(&mut json);
        Json::parse_or_text(&json)
    }

    fn write(&self, json: &mut String) {
        tokens::write_json(&self.tokens, json, &|idx, json| {
            let converted = usize::try_from(idx).ok().and_then(|idx| self.converted.get(idx));
            match converted {
                Some(converted) => converted.write(json),
                None => json.push_str("null"),
            }
        });
    }
}

/// Returns a value as one of a type. Unlike a failed `cast`, this makes no error.
fn as_type<'a, 'py, T: PyTypeInfo>(value: &'a Bound<'py, PyAny>) -> Option<&'a Bound<'py, T>> {
    if value.is_instance_of::<T>() { value.cast().ok() } else { None }
}

/// The number of values and bytes that are copied already.
struct Budget {
    n_values: usize,
    n_bytes: usize,
}

impl Budget {
    /// Returns whether there are more values than are copied.
    fn is_exceeded(&self) -> bool {
        MAX_VALUES < self.n_values
    }

    /// Cuts a text that exceeds the limit of all texts, and counts the text.
    fn limited<'a>(&mut self, text: &'a str) -> Cow<'a, str> {
        let max_len = text::MAX_LEN.saturating_sub(self.n_bytes).max(MIN_CUT_LEN);
        let text = text::limited(Cow::Borrowed(text), max_len);
        self.n_bytes += text.len();
        text
    }
}

/// An object to convert after the copying.
struct Pending<'py> {
    object: Bound<'py, PyAny>,
    depth: usize,
    is_key: bool,
}

/// Copies an object without running Python code.
struct Capture<'a, 'py> {
    tokens: TokenWriter<'a>,
    depth: usize,
    pending: Vec<Pending<'py>>,
    budget: &'a mut Budget,
}

impl<'a, 'py> Capture<'a, 'py> {
    fn value(&mut self, value: &Bound<'py, PyAny>) {
        self.budget.n_values += 1;
        if self.budget.is_exceeded() {
            self.text(CUT);
        } else if let Some(string) = as_type::<PyString>(value) {
            self.text(&text::of_string(string));
        } else if let Some(dict) = as_type::<PyDict>(value) {
            self.nested(TokenWriter::start_object, |capture| capture.entries(dict));
        } else if let Some(list) = as_type::<PyList>(value) {
            self.nested(TokenWriter::start_array, |capture| capture.items(list.iter()));
        } else if value.is_none() {
            self.tokens.null();
        } else if let Some(bool) = as_type::<PyBool>(value) {
            self.tokens.bool(bool.is_true());
        } else if let Some(int) = as_type::<PyInt>(value) {
            if let Ok(n) = int.extract::<i64>() {
                self.tokens.int(n);
            } else if let Ok(n) = int.extract::<u64>() {
                self.tokens.uint(n);
            } else {
                self.convert_later(int, false);
            }
        } else if let Some(float) = as_type::<PyFloat>(value) {
            let number = float.value();
            if number.is_finite() {
                self.tokens.float(number);
            } else {
                self.text(&number.to_string());
            }
        } else if let Some(tuple) = as_type::<PyTuple>(value) {
            self.nested(TokenWriter::start_array, |capture| capture.items(tuple.iter()));
        } else {
            self.convert_later(value, false);
        }
    }

    fn nested(&mut self, start: fn(&mut TokenWriter<'a>), copy: impl FnOnce(&mut Self)) {
        if self.depth == MAX_DEPTH {
            self.text(CUT);
            return;
        }
        self.depth += 1;
        start(&mut self.tokens);
        copy(self);
        self.tokens.end();
        self.depth -= 1;
    }

    fn items(&mut self, values: impl Iterator<Item = Bound<'py, PyAny>>) {
        for value in values {
            self.value(&value);
            if self.budget.is_exceeded() {
                break;
            }
        }
    }

    fn entries(&mut self, dict: &Bound<'py, PyDict>) {
        if cfg!(Py_GIL_DISABLED) {
            // A copy, which other threads do not change.
            for entry in dict.items() {
                if let Ok((key, value)) = entry.extract::<(Bound<'py, PyAny>, Bound<'py, PyAny>)>()
                {
                    self.entry(&key, &value);
                }
                if self.budget.is_exceeded() {
                    break;
                }
            }
        } else {
            for (key, value) in dict {
                self.entry(&key, &value);
                if self.budget.is_exceeded() {
                    break;
                }
            }
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
        self.tokens.reference(self.pending.len() as u64);
        self.pending.push(Pending { object: object.clone(), depth: self.depth, is_key });
    }

    fn text(&mut self, text: &str) {
        self.tokens.text(&self.budget.limited(text));
    }
}
