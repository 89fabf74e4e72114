//! The types of values that are read.

use std::str::FromStr;

use jiff::{SignedDuration, Timestamp};

use super::{
    Malformed, Members, Reader, Text,
    number::{number, whole},
    strict::{check_string, check_utf8},
};

/// A value that can be read from JSON.
pub(crate) trait FromJson<'a>: Sized {
    /// Reads the next value into an empty `slot`. Skips a value of another type.
    ///
    /// An object or a list whose text ends early, or that has an error, leaves its earlier members
    /// in the slot.
    fn read(slot: &mut Option<Self>, reader: &mut Reader<'a>) -> Result<(), Malformed>;
}

/// A value of any type, as written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Raw<'a>(pub(crate) &'a [u8]);

/// A value of any type, as written, which is UTF-8: for a value that is used as text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RawText<'a>(pub(crate) &'a str);

/// A number as written, with or without quotes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Number<'a>(&'a str);

/// A value whose content is not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Present;

/// A value with its text.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Located<'a, T> {
    /// The offset of the value, in bytes.
    pub(crate) at: usize,
    pub(crate) raw: &'a [u8],
    pub(crate) value: T,
}

/// An object whose members have any names, and values of one type.
#[derive(Debug)]
pub(crate) struct Values<'a, T>(pub(crate) Vec<(Text<'a>, T)>);

/// All elements of a list. An element of another type is the default value, so that the
/// positions of the others remain.
#[derive(Debug, Default)]
pub(crate) struct Elements<T>(pub(crate) Vec<T>);

/// A string, or a value of another type.
#[derive(Clone, Copy, Debug)]
pub(crate) enum TextOr<'a, T> {
    Text(Text<'a>),
    Other(T),
}

/// A time in milliseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Millis(pub(crate) Timestamp);

/// A time as a string, or in milliseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Time(pub(crate) Timestamp);

/// A time in seconds since 1970, with a fraction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Seconds(pub(crate) Timestamp);

impl<'a> Number<'a> {
    /// Returns the number as written.
    pub(crate) fn as_str(self) -> &'a str {
        self.0
    }

    /// Parses the number, and returns `None` if the type does not contain it.
    pub(crate) fn parse<T: FromStr>(self) -> Option<T> {
        self.0.parse().ok()
    }
}

/// Reads the next value.
pub(crate) fn read_value<'a, T: FromJson<'a>>(
    reader: &mut Reader<'a>,
) -> Result<Option<T>, Malformed> {
    let mut value = None;
    T::read(&mut value, reader)?;
    Ok(value)
}

/// Reads the first value of a text. Returns `None` if the value is of another type.
pub(crate) fn parse_value<'a, T: FromJson<'a>>(text: &'a [u8]) -> Result<Option<T>, Malformed> {
    read_value(&mut Reader::new(text))
}

impl<'a> FromJson<'a> for Text<'a> {
    fn read(slot: &mut Option<Self>, reader: &mut Reader<'a>) -> Result<(), Malformed> {
        *slot = reader.text()?;
        Ok(())
    }
}

impl<'a> FromJson<'a> for Raw<'a> {
    fn read(slot: &mut Option<Self>, reader: &mut Reader<'a>) -> Result<(), Malformed> {
        *slot = Some(Self(reader.raw()?));
        Ok(())
    }
}

impl<'a> FromJson<'a> for RawText<'a> {
    fn read(slot: &mut Option<Self>, reader: &mut Reader<'a>) -> Result<(), Malformed> {
        *slot = Some(Self(check_utf8(reader.raw()?)?));
        Ok(())
    }
}

impl<'a> FromJson<'a> for Present {
    fn read(slot: &mut Option<Self>, reader: &mut Reader<'a>) -> Result<(), Malformed> {
        *slot = Some(Self);
        reader.skip()
    }
}

impl<'a> FromJson<'a> for bool {
    fn read(slot: &mut Option<Self>, reader: &mut Reader<'a>) -> Result<(), Malformed> {
        *slot = match reader.raw()? {
            b"true" => Some(true),
            b"false" => Some(false),
            _ => None,
        };
        Ok(())
    }
}

/// A count, which may be written as a float or in quotes.
impl<'a> FromJson<'a> for u64 {
    fn read(slot: &mut Option<Self>, reader: &mut Reader<'a>) -> Result<(), Malformed> {
        *slot = reader.digits()?;
        if slot.is_none() {
            let parsed = |number: &str| number.parse().ok().or_else(|| whole(number.parse().ok()?));
            *slot = number(reader.raw()?).and_then(parsed);
        }
        Ok(())
    }
}

impl<'a> FromJson<'a> for Number<'a> {
    fn read(slot: &mut Option<Self>, reader: &mut Reader<'a>) -> Result<(), Malformed> {
        *slot = number(reader.raw()?).map(Self);
        Ok(())
    }
}

impl<'a> FromJson<'a> for i32 {
    fn read(slot: &mut Option<Self>, reader: &mut Reader<'a>) -> Result<(), Malformed> {
        *slot = read_value(reader)?.and_then(Number::parse);
        Ok(())
    }
}

impl<'a> FromJson<'a> for f64 {
    fn read(slot: &mut Option<Self>, reader: &mut Reader<'a>) -> Result<(), Malformed> {
        *slot = read_value(reader)?.and_then(Number::parse);
        Ok(())
    }
}

impl<'a> FromJson<'a> for Millis {
    fn read(slot: &mut Option<Self>, reader: &mut Reader<'a>) -> Result<(), Malformed> {
        let millis: Option<u64> = read_value(reader)?;
        let millis = millis.and_then(|millis| i64::try_from(millis).ok());
        *slot = millis.and_then(|millis| Timestamp::from_millisecond(millis).ok()).map(Self);
        Ok(())
    }
}

impl<'a> FromJson<'a> for Time {
    fn read(slot: &mut Option<Self>, reader: &mut Reader<'a>) -> Result<(), Malformed> {
        let time: Option<TextOr<'a, Millis>> = read_value(reader)?;
        *slot = match time {
            Some(TextOr::Text(text)) => text.time().map(Self),
            Some(TextOr::Other(Millis(at))) => Some(Self(at)),
            None => None,
        };
        Ok(())
    }
}

impl<'a> FromJson<'a> for Seconds {
    fn read(slot: &mut Option<Self>, reader: &mut Reader<'a>) -> Result<(), Malformed> {
        let secs: Option<f64> = read_value(reader)?;
        let since = secs.and_then(|secs| SignedDuration::try_from_secs_f64(secs).ok());
        *slot = since.and_then(|since| Timestamp::UNIX_EPOCH.checked_add(since).ok()).map(Self);
        Ok(())
    }
}

impl<'a, T: FromJson<'a>> FromJson<'a> for TextOr<'a, T> {
    fn read(slot: &mut Option<Self>, reader: &mut Reader<'a>) -> Result<(), Malformed> {
        *slot = match reader.peek()? {
            b'"' => reader.text()?.map(Self::Text),
            _ => read_value(reader)?.map(Self::Other),
        };
        Ok(())
    }
}

impl<'a, T: FromJson<'a>> FromJson<'a> for Box<T> {
    fn read(slot: &mut Option<Self>, reader: &mut Reader<'a>) -> Result<(), Malformed> {
        *slot = read_value(reader)?.map(Self::new);
        Ok(())
    }
}

/// The largest number of elements of a list. No line of an agent has as many, and an element can
/// use a hundred times the memory of its text.
const MAX_ELEMENTS: usize = 1 << 16;
const TOO_MANY: Malformed = "too many elements in a list";

/// Adds an element to a list. Fails if the list is full.
pub(crate) fn push_element<T>(list: &mut Vec<T>, element: T) -> Result<(), Malformed> {
    if list.len() == MAX_ELEMENTS {
        return Err(TOO_MANY);
    }
    list.push(element);
    Ok(())
}

/// A list, without the elements of other types.
impl<'a, T: FromJson<'a>> FromJson<'a> for Vec<T> {
    fn read(slot: &mut Option<Self>, reader: &mut Reader<'a>) -> Result<(), Malformed> {
        let values = slot.insert(Self::new());
        let is_array = reader.array(|reader| {
            // Of an incomplete element, the first members are read.
            let mut value = None;
            let result = T::read(&mut value, reader);
            value.map_or(Ok(()), |value| push_element(values, value))?;
            result
        })?;
        if !is_array {
            *slot = None;
        }
        Ok(())
    }
}

impl<'a, T: FromJson<'a> + Default> FromJson<'a> for Elements<T> {
    fn read(slot: &mut Option<Self>, reader: &mut Reader<'a>) -> Result<(), Malformed> {
        let elements = slot.insert(Self(Vec::new()));
        let is_array = reader.array(|reader| {
            let mut value = None;
            let result = T::read(&mut value, reader);
            push_element(&mut elements.0, value.unwrap_or_default())?;
            result
        })?;
        if !is_array {
            *slot = None;
        }
        Ok(())
    }
}

/// An object with its text.
impl<'a, T: Members<'a>> FromJson<'a> for Located<'a, T> {
    fn read(slot: &mut Option<Self>, reader: &mut Reader<'a>) -> Result<(), Malformed> {
        // Spaces do not belong to the value.
        reader.peek()?;
        let at = reader.offset();
        let located = slot.insert(Self { at, raw: b"", value: T::default() });
        let is_object = reader.object(|reader, key| located.value.read_member(reader, key))?;
        located.raw = reader.text_since(at);
        if !is_object {
            *slot = None;
        }
        Ok(())
    }
}

/// A string with its text.
impl<'a> FromJson<'a> for Located<'a, Text<'a>> {
    fn read(slot: &mut Option<Self>, reader: &mut Reader<'a>) -> Result<(), Malformed> {
        read_located(slot, reader)
    }
}

/// Reads a value with its text.
pub(crate) fn read_located<'a, T: FromJson<'a>>(
    slot: &mut Option<Located<'a, T>>,
    reader: &mut Reader<'a>,
) -> Result<(), Malformed> {
    // Spaces do not belong to the value.
    reader.peek()?;
    let at = reader.offset();
    let value = read_value(reader)?;
    *slot = value.map(|value| Located { at, raw: reader.text_since(at), value });
    Ok(())
}

impl<'a, T: FromJson<'a>> FromJson<'a> for Values<'a, T> {
    fn read(slot: &mut Option<Self>, reader: &mut Reader<'a>) -> Result<(), Malformed> {
        let mut values = Vec::new();
        let is_object = reader.object(|reader, key| {
            check_string(key)?;
            match read_value(reader)? {
                Some(value) => push_element(&mut values, (Text::new(key), value)),
                None => Ok(()),
            }
        })?;
        *slot = is_object.then_some(Self(values));
        Ok(())
    }
}
