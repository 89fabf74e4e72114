//! The members of an object, without a parser of values: the text is valid JSON.

use std::borrow::Cow;

use memchr::memchr;

use super::unescape::unescaped;
use crate::near::{end_of_string, nested_len};

/// Returns the members at the top level of an object as written: keys with their quotes, and
/// values. Other values have none.
pub(crate) fn members(json: &str) -> impl Iterator<Item = (&str, &str)> {
    let mut rest = json.trim_start().strip_prefix('{').unwrap_or_default();
    std::iter::from_fn(move || {
        let key = next_value(&mut rest)?;
        Some((key, next_value(&mut rest)?))
    })
}

/// Decodes a string as written, with its quotes. Returns `None` for other values.
pub(crate) fn decode(value: &str) -> Option<Cow<'_, str>> {
    let raw = value.strip_prefix('"')?.strip_suffix('"')?;
    let Some(first) = memchr(b'\\', raw.as_bytes()) else { return Some(raw.into()) };
    let text = unescaped(raw.as_bytes(), first, |text| String::from_utf8_lossy(text).into_owned());
    Some(text.into())
}

/// Takes the next value from the inside of an object, or `None` at its end.
fn next_value<'a>(rest: &mut &'a str) -> Option<&'a str> {
    let text = rest.trim_start_matches([',', ':', ' ', '\t', '\n', '\r']);
    let len = match text.as_bytes() {
        [b'}', ..] | [] => return None,
        [b'"', body @ ..] => end_of_string(body)? + 2,
        [b'{' | b'[', ..] => nested_len(text.as_bytes())?,
        scalar => {
            let is_end = |byte: &u8| matches!(byte, b',' | b'}' | b' ' | b'\t' | b'\n' | b'\r');
            scalar.iter().position(is_end)?
        }
    };
    let (value, after) = text.split_at(len);
    *rest = after;
    Some(value)
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};
    use serde_json::Value;

    use super::{decode, members};
    use crate::Json;

    fn json_value() -> impl Strategy<Value = Value> {
        let text = "[a\"\\\\\n\u{e9}{}:, ]{0,3}|.{0,40}";
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<i8>().prop_map(Value::from),
            any::<f32>().prop_map(Value::from),
            text.prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 12, 3, move |inner| {
            prop_oneof![
                vec(inner.clone(), 0..3).prop_map(Value::from),
                vec((text, inner), 0..4)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn reads_the_members_that_a_parser_reads(value in json_value(), is_pretty: bool) {
            let text = if is_pretty { format!(" {value:#}") } else { value.to_string() };
            let json = Json::parse(&text).unwrap();
            let parsed = members(json.as_str()).map(|(key, value)| {
                (decode(key).unwrap().into_owned(), serde_json::from_str(value).unwrap())
            });
            let expected: Vec<(String, Value)> = match &value {
                Value::Object(members) => members.clone().into_iter().collect(),
                _ => Vec::new(),
            };
            prop_assert_eq!(parsed.collect::<Vec<_>>(), expected);
            if let Value::String(text) = &value {
                let decoded = decode(json.as_str());
                prop_assert_eq!(decoded.as_deref(), Some(&**text));
            }
        }
    }
}
