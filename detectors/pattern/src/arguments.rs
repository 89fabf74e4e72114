//! The arguments of a call, as text.

use std::{borrow::Cow, collections::BTreeMap, fmt};

use serde::{Deserializer, de};
use serde_json::value::RawValue;
use watchkeeper_core::Json;

/// The arguments of a call that the detector uses, by key.
#[derive(Debug, Default)]
pub(crate) struct Arguments<'a>(pub(crate) BTreeMap<&'a str, Cow<'a, str>>);

impl<'a> Arguments<'a> {
    /// Reads the arguments with these keys. A value that is not a string is kept
    /// as JSON text. Arguments that are not an object have no keys.
    pub(crate) fn read(json: &'a Json, keys: &'a [String]) -> Self {
        let mut deserializer = serde_json::Deserializer::from_str(json.as_str());
        deserializer.deserialize_map(ArgumentsVisitor { keys }).unwrap_or_default()
    }
}

struct ArgumentsVisitor<'a> {
    keys: &'a [String],
}

impl<'de> de::Visitor<'de> for ArgumentsVisitor<'de> {
    type Value = Arguments<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Arguments<'de>, A::Error> {
        let mut arguments = Arguments::default();
        while let Some(key) = map.next_key::<Cow<'_, str>>()? {
            let Some(key) = self.keys.iter().find(|used| **used == key) else {
                map.next_value::<de::IgnoredAny>()?;
                continue;
            };
            let json = map.next_value::<&RawValue>()?.get();
            // A lone surrogate is valid JSON but not a valid string.
            let text = serde_json::from_str::<String>(json);
            arguments.0.insert(key, text.map_or(Cow::Borrowed(json), Cow::Owned));
        }
        Ok(arguments)
    }
}
