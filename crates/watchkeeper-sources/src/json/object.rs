//! The declaration of the members of an object.

use super::{Malformed, Reader};

/// Declares a struct with the members of a JSON object that are used.
///
/// Each field has the names of its member and its type, and is `None` if the member is absent
/// or of another type. Of a repeated member, the first value of the type counts. Other members
/// are skipped.
///
/// ```text
/// object! {
///     /// A model call.
///     pub(super) struct Call<'a> {
///         b"model" => model: Text<'a>,
///         b"usage" | b"token_usage" => usage: Usage,
///     }
/// }
/// ```
macro_rules! object {
    (
        $(#[$attr:meta])*
        $vis:vis struct $name:ident $(<$text:lifetime>)? {
            $($(#[$field_attr:meta])* $($key:literal)|+ => $field:ident: $type:ty,)*
        }
    ) => {
        $(#[$attr])*
        #[derive(Debug, Default)]
        $vis struct $name $(<$text>)? {
            $($(#[$field_attr])* $vis $field: Option<$type>,)*
        }

        $crate::json::object!(@impl $name $(<$text>)? { $($($key)|+ => $field,)* });
    };
    (@impl $name:ident { $($members:tt)* }) => {
        impl<'a> $crate::json::Members<'a> for $name {
            $crate::json::object!(@members 'a { $($members)* });
        }
        impl<'a> $crate::json::FromJson<'a> for $name {
            $crate::json::object!(@from_json 'a);
        }
    };
    (@impl $name:ident <$text:lifetime> { $($members:tt)* }) => {
        impl<$text> $crate::json::Members<$text> for $name<$text> {
            $crate::json::object!(@members $text { $($members)* });
        }
        impl<$text> $crate::json::FromJson<$text> for $name<$text> {
            $crate::json::object!(@from_json $text);
        }
    };
    (@members $text:lifetime {}) => {
        fn read_member(
            &mut self,
            reader: &mut $crate::json::Reader<$text>,
            _: &[u8],
        ) -> Result<(), $crate::json::Malformed> {
            reader.skip()
        }
    };
    (@members $text:lifetime { $($($key:literal)|+ => $field:ident,)+ }) => {
        #[inline]
        fn read_member(
            &mut self,
            reader: &mut $crate::json::Reader<$text>,
            key: &[u8],
        ) -> Result<(), $crate::json::Malformed> {
            // In a `match`, keys would be compared byte by byte.
            $(if ($(key == $key)||+) && self.$field.is_none() {
                return $crate::json::FromJson::read(&mut self.$field, reader);
            })+
            reader.skip()
        }
    };
    (@from_json $text:lifetime) => {
        fn read(
            slot: &mut Option<Self>,
            reader: &mut $crate::json::Reader<$text>,
        ) -> Result<(), $crate::json::Malformed> {
            $crate::json::read_members(slot, reader)
        }
    };
}
pub(crate) use object;

/// The members of an object, which [`object!`] declares.
pub(crate) trait Members<'a>: Default {
    /// Reads the value of the member `key`, or skips it.
    fn read_member(&mut self, reader: &mut Reader<'a>, key: &[u8]) -> Result<(), Malformed>;
}

/// Reads the text of an object.
pub(crate) fn parse<'a, T: Members<'a>>(text: &'a [u8]) -> Result<T, Malformed> {
    let mut object = T::default();
    parse_into(&mut object, text)?;
    Ok(object)
}

/// Reads the text of an object into `object`, which can be large. After an error, the members
/// before the error are read.
pub(crate) fn parse_into<'a, T: Members<'a>>(
    object: &mut T,
    text: &'a [u8],
) -> Result<(), Malformed> {
    let mut reader = Reader::new(text);
    let is_object = reader.object(|reader, key| object.read_member(reader, key))?;
    reader.end()?;
    if is_object { Ok(()) } else { Err("not a JSON object") }
}

/// Reads the objects of a text, which follow each other, and passes each one to `read`.
pub(crate) fn parse_each<'a, T: Members<'a>>(
    text: &'a [u8],
    mut read: impl FnMut(&T),
) -> Result<(), Malformed> {
    let mut reader = Reader::new(text);
    let mut follows: Malformed = "not a JSON object";
    loop {
        let mut object = None;
        if reader.peek()? == b'{' {
            read_members(&mut object, &mut reader)?;
        }
        read(&object.ok_or(follows)?);
        if reader.end().is_ok() {
            return Ok(());
        }
        follows = "something follows the JSON";
    }
}

/// Reads the beginning of an object: the members before the end of the text, or before the
/// first error.
pub(crate) fn parse_head<'a, T: Members<'a>>(text: &'a [u8]) -> T {
    let mut object = T::default();
    let _: Result<(), Malformed> = parse_into(&mut object, text);
    object
}

/// Reads the members of the next value, if it is an object.
pub(crate) fn read_members<'a, T: Members<'a>>(
    slot: &mut Option<T>,
    reader: &mut Reader<'a>,
) -> Result<(), Malformed> {
    let object = slot.insert(T::default());
    let is_object = reader.object(|reader, key| object.read_member(reader, key))?;
    if !is_object {
        *slot = None;
    }
    Ok(())
}
