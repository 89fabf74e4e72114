//! The fields of a protobuf message.
//!
//! A message is a list of fields, each a number and a value. The values of a message, a string
//! and a list of bytes have the same form: a length and bytes.

use crate::json::Malformed;

/// The value of a field.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Value<'a> {
    Varint(u64),
    Fixed64(u64),
    Bytes(&'a [u8]),
    Fixed32,
}

/// The fields of a message that are not read yet.
#[derive(Clone, Debug)]
pub(super) struct Fields<'a>(&'a [u8]);

const ENDS_EARLY: Malformed = "ends in the middle of a protobuf field";
const INVALID_FIELD: Malformed = "invalid protobuf field";

impl<'a> Fields<'a> {
    pub(super) fn new(message: &'a [u8]) -> Self {
        Self(message)
    }

    /// Returns the messages, strings or bytes with this number.
    pub(super) fn bytes_of(self, wanted: u64) -> impl Iterator<Item = Result<&'a [u8], Malformed>> {
        self.filter_map(move |field| match field {
            Ok((number, Value::Bytes(bytes))) if number == wanted => Some(Ok(bytes)),
            Ok(_) => None,
            Err(reason) => Some(Err(reason)),
        })
    }

    fn read(&mut self) -> Result<(u64, Value<'a>), Malformed> {
        let key = self.varint()?;
        let number = key >> 3;
        // The number has 29 bits.
        if number == 0 || 1 << 29 <= number {
            return Err(INVALID_FIELD);
        }
        let value = match key & 0b111 {
            0 => Value::Varint(self.varint()?),
            1 => {
                let (bytes, rest) = self.0.split_first_chunk().ok_or(ENDS_EARLY)?;
                self.0 = rest;
                Value::Fixed64(u64::from_le_bytes(*bytes))
            }
            2 => {
                let len = usize::try_from(self.varint()?).map_err(|_| ENDS_EARLY)?;
                let (bytes, rest) = self.0.split_at_checked(len).ok_or(ENDS_EARLY)?;
                self.0 = rest;
                Value::Bytes(bytes)
            }
            5 => {
                self.0 = self.0.get(4..).ok_or(ENDS_EARLY)?;
                Value::Fixed32
            }
            // Groups do not exist in OTLP.
            _ => return Err(INVALID_FIELD),
        };
        Ok((number, value))
    }

    fn varint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.0.split_first().ok_or(ENDS_EARLY)?;
            self.0 = rest;
            let bits = u64::from(byte & 0x7f);
            // The tenth byte has room for one bit.
            if shift == 63 && 1 < bits {
                return Err(INVALID_FIELD);
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(INVALID_FIELD)
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u64, Value<'a>), Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.read();
        if field.is_err() {
            self.0 = &[];
        }
        Some(field)
    }
}

#[cfg(test)]
mod tests {
    use super::{ENDS_EARLY, Fields, INVALID_FIELD, Value};

    fn read(message: &[u8]) -> Vec<Result<(u64, Value<'_>), &'static str>> {
        Fields::new(message).collect()
    }

    #[test]
    fn reads_each_type_of_field() {
        let message = b"\x08\x96\x01\x11\x01\0\0\0\0\0\0\0\x1a\x02hi\x25\0\0\0\0";
        let expected = [
            (1, Value::Varint(150)),
            (2, Value::Fixed64(1)),
            (3, Value::Bytes(b"hi")),
            (4, Value::Fixed32),
        ];
        assert_eq!(read(message), expected.map(Ok));
        let largest = b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01";
        assert_eq!(read(largest), [Ok((1, Value::Varint(u64::MAX)))]);
    }

    #[test]
    fn stops_at_an_invalid_field() {
        for (message, reason) in [
            (&b"\x08"[..], ENDS_EARLY),
            (b"\x1a\x03hi", ENDS_EARLY),
            (b"\x1a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", ENDS_EARLY),
            (b"\x11\0", ENDS_EARLY),
            (b"\x25\0\0", ENDS_EARLY),
            (b"\x00\x00", INVALID_FIELD),
            (b"\x0b", INVALID_FIELD),
            (b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", INVALID_FIELD),
            (b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", INVALID_FIELD),
        ] {
            assert_eq!(read(message), [Err(reason)], "{message:x?}");
        }
    }
}
