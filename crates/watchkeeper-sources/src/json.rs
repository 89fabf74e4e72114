//! A lenient JSON reader that makes one pass and builds no tree.
//!
//! Session files are large, and most of their bytes are not used. [`object!`] declares the
//! members of an object that are used, with their types. A [`Reader`] reads these and skips the
//! others. In skipped values it only checks that strings and brackets are closed. Skipping does
//! not recurse, and reading recurses to a fixed depth. A value of an unexpected type is skipped,
//! too: agents change their formats, and the other members of the line are still useful.

mod number;
mod object;
mod reader;
mod text;
mod value;

pub(crate) use self::{
    object::{Members, object, parse, parse_head, parse_into, read_members},
    reader::{Malformed, Reader},
    text::{Text, decode},
    value::{
        Elements, FromJson, Located, Millis, Number, Present, Raw, Seconds, TextOr, Values,
        parse_value, read_located, read_value,
    },
};

#[cfg(test)]
mod tests;
