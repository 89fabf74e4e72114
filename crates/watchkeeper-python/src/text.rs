//! Text from Python objects.

use std::{borrow::Cow, sync::Arc};

use pyo3::{
    Borrowed, Bound, FromPyObject, PyAny, PyErr, PyResult, Python,
    exceptions::PyException,
    types::{PyAnyMethods as _, PyString, PyStringMethods as _, PyTypeMethods as _},
};
use watchkeeper::core::{Fingerprint, author::grouped};

use crate::gate;

/// The largest text of an event in bytes.
pub(crate) const MAX_LEN: usize = 1 << 20;
/// The largest id or name in bytes.
const MAX_NAME_LEN: usize = 1 << 12;
/// The recorded parts of a text that is too large, at its start and its end. The detectors
/// read these parts of an output.
const HEAD_LEN: usize = 1 << 16;
const TAIL_LEN: usize = 1 << 10;

/// A string argument. Unlike `&str`, accepts a string with lone surrogates.
pub(crate) struct Text<'a>(pub(crate) Cow<'a, str>);

impl<'a, 'py> FromPyObject<'a, 'py> for Text<'a> {
    type Error = PyErr;

    fn extract(object: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        if let Ok(text) = object.extract::<&'a str>() {
            return Ok(Self(limited(Cow::Borrowed(text), MAX_NAME_LEN)));
        }
        let string = object.cast::<PyString>()?;
        let text = Cow::Owned(string.to_string_lossy().into_owned());
        Ok(Self(limited(text, MAX_NAME_LEN)))
    }
}

impl<'a> From<Text<'a>> for Box<str> {
    fn from(text: Text<'a>) -> Self {
        text.0.into()
    }
}

impl<'a> From<Text<'a>> for Arc<str> {
    fn from(text: Text<'a>) -> Self {
        text.0.into()
    }
}

/// Returns the text of a string. Lone surrogates become U+FFFD.
pub(crate) fn of_string<'a>(string: &'a Bound<'_, PyString>) -> Cow<'a, str> {
    match string.to_str() {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => string.to_string_lossy(),
    }
}

/// Returns the text of any object: a string itself, or `str(object)`.
///
/// If `str` raises an `Exception`, returns the name of the type; other exceptions pass on.
/// Addresses are left out, because they differ between otherwise equal objects.
pub(crate) fn of_object(object: &Bound<'_, PyAny>) -> PyResult<String> {
    if let Ok(string) = object.cast::<PyString>() {
        return Ok(of_string(string).into_owned());
    }
    let name = || format!("<{}>", type_name(object));
    let Some(_inside) = gate::enter() else { return Ok(name()) };
    let string = ordinary(object.py(), object.str())?;
    Ok(string.map_or_else(name, |string| without_addresses(&of_string(&string))))
}

/// Returns the text of any object for an event. The middle of a large text is left out.
pub(crate) fn of_event(object: &Bound<'_, PyAny>) -> PyResult<String> {
    Ok(limited(Cow::Owned(of_object(object)?), MAX_LEN).into_owned())
}

/// Ignores an `Exception`. Others, such as `KeyboardInterrupt` and `SystemExit`, are not for
/// the code that they occur in.
pub(crate) fn ordinary<T>(py: Python<'_>, result: PyResult<T>) -> PyResult<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(err) if err.is_instance_of::<PyException>(py) => Ok(None),
        Err(err) => Err(err),
    }
}

/// Cuts a text with more than `max_len` bytes.
///
/// The result has a hash of the text, so that two texts that differ in the middle do not
/// count as the same.
pub(crate) fn limited(text: Cow<'_, str>, max_len: usize) -> Cow<'_, str> {
    if text.len() <= max_len {
        return text;
    }
    let head = &text[..boundary(text.as_ref(), HEAD_LEN.min(max_len / 2))];
    let tail_len = TAIL_LEN.min(max_len / 4);
    let tail = &text[boundary(text.as_ref(), text.len() - tail_len)..];
    let (len, hash) = (grouped(text.len() as u64), Fingerprint::of(&*text));
    Cow::Owned(format!("{head}\u{2026} ({len} bytes, hash {hash}) \u{2026}{tail}"))
}

/// Returns the last boundary between two characters that is not after `at`.
fn boundary(text: &str, at: usize) -> usize {
    (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}

/// Returns the name of the type of an object.
pub(crate) fn type_name(object: &Bound<'_, PyAny>) -> String {
    object.get_type().name().map_or_else(|_| "object".to_owned(), |it| of_string(&it).into_owned())
}

/// Removes ` at 0x7f…` from the text of an object.
fn without_addresses(text: &str) -> String {
    const START: &str = " at 0x";
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(START) {
        kept.push_str(&rest[..at]);
        let address = &rest[at + START.len()..];
        rest = address.trim_start_matches(|c: char| c.is_ascii_hexdigit());
    }
    kept.push_str(rest);
    kept
}
