use std::{
    io::{self, Write},
    path::PathBuf,
};

use serde::{Serialize, Serializer, ser::SerializeSeq as _};
use watchkeeper_core::author::is_unsafe;

/// Writes JSON with indentation, and a line break.
pub(crate) fn write_pretty(value: &impl Serialize, out: &mut dyn Write) -> io::Result<()> {
    serde_json::to_writer_pretty(SafeJson(&mut *out), value)?;
    writeln!(out)
}

/// Writes JSON as one line.
pub(super) fn write_line(value: &impl Serialize, out: &mut dyn Write) -> io::Result<()> {
    serde_json::to_writer(SafeJson(&mut *out), value)?;
    writeln!(out)
}

/// Serializes a path as text. Bytes that are not UTF-8 become U+FFFD.
#[expect(clippy::ptr_arg, reason = "serde passes the type of the field")]
pub(super) fn lossy_path<S: Serializer>(path: &PathBuf, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&path.to_string_lossy())
}

/// Serializes paths like [`lossy_path`].
pub(super) fn lossy_paths<S: Serializer>(paths: &[PathBuf], to: S) -> Result<S::Ok, S::Error> {
    let mut seq = to.serialize_seq(Some(paths.len()))?;
    for path in paths {
        seq.serialize_element(&path.to_string_lossy())?;
    }
    seq.end()
}

/// A writer of JSON that escapes every character that could control a terminal. All
/// of them are in strings, apart from line breaks.
struct SafeJson<W>(W);

impl<W: Write> Write for SafeJson<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.iter().all(|byte| matches!(byte, b'\n' | b' '..=b'~')) {
            return self.0.write(bytes);
        }
        let text = match str::from_utf8(bytes) {
            Ok(text) => text,
            // The end of a character comes with the next write.
            Err(error) if 0 < error.valid_up_to() => {
                return self.write(&bytes[..error.valid_up_to()]);
            }
            Err(error) => return Err(io::Error::new(io::ErrorKind::InvalidData, error)),
        };
        let mut plain = 0;
        for (at, c) in text.char_indices().filter(|(_, c)| is_unsafe(*c) && *c != '\n') {
            self.0.write_all(&bytes[plain..at])?;
            for unit in c.encode_utf16(&mut [0; 2]) {
                write!(self.0, "\\u{unit:04x}")?;
            }
            plain = at + c.len_utf8();
        }
        self.0.write_all(&bytes[plain..])?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}
