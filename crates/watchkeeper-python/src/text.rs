//! Text from Python objects.

use std::borrow::Cow;

use pyo3::{
    Bound, PyAny,
    types::{PyAnyMethods as _, PyString, PyStringMethods as _, PyTypeMethods as _},
};

/// Returns the text of a string. Lone surrogates become U+FFFD.
pub(crate) fn of_string<'a>(string: &'a Bound<'_, PyString>) -> Cow<'a, str> {
    match string.to_str() {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => string.to_string_lossy(),
    }
}

/// Returns the text of any object: a string itself, or `str(object)`.
///
/// If `str` raises, returns the name of the type. Addresses are left out, because they
/// differ between otherwise equal objects.
pub(crate) fn of_object(object: &Bound<'_, PyAny>) -> String {
    if let Ok(string) = object.cast::<PyString>() {
        return of_string(string).into_owned();
    }
    match object.str() {
        Ok(string) => without_addresses(&of_string(&string)),
        Err(_) => format!("<{}>", type_name(object)),
    }
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
