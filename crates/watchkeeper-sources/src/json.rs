//! A JSON reader that makes one pass and builds no tree.
//!
//! Session files are large, and most of their bytes are not used. [`object!`] declares the
//! members of an object that are used, with their types. A [`Reader`] reads these and skips the
//! others. Skipping does not recurse, and reading recurses to a fixed depth. A value of an
//! unexpected type is skipped, too: agents change their formats, and the other members of the line
//! are still useful.
//!
//! The reader accepts the values that `serde_json` accepts, with the exceptions in [`strict`].
//! The example `fuzz_json` compares the two on random lines.

mod number;
mod object;
mod reader;
mod strict;
mod text;
mod value;

pub(crate) use self::{
    object::{Members, object, parse, parse_each, parse_head, parse_into, read_members},
    reader::Reader,
    strict::{Malformed, check_utf8},
    text::{Text, decode},
    value::{
        Elements, FromJson, Located, Millis, Number, Present, Raw, RawText, Seconds, TextOr, Time,
        Values, parse_value, push_element, read_located, read_value,
    },
};

#[cfg(test)]
mod tests;
