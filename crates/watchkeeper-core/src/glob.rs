use std::{borrow::Cow, convert::Infallible, fmt, str::FromStr};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A pattern in which `*` matches any text, including none; every other character matches
/// itself.
///
/// Every text is a valid pattern. Matching takes time linear in the text and the pattern
/// together.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Glob(Box<str>);

impl Glob {
    /// Creates a pattern.
    pub fn new(pattern: impl Into<Box<str>>) -> Self {
        Self(pattern.into())
    }

    /// Returns whether the pattern matches the whole of `text`.
    pub fn matches(&self, text: &str) -> bool {
        matches(&self.0, text)
    }

    /// Returns whether the pattern matches the path of a folder. A pattern that ends in
    /// `/*` also matches the folder before it: `*/nightly/*` matches `/srv/nightly` and
    /// all folders in it.
    pub fn matches_folder(&self, folder: &str) -> bool {
        let parent = self.0.strip_suffix('*').map(|start| start.trim_end_matches('*'));
        let parent = parent.and_then(|start| start.strip_suffix('/'));
        self.matches(folder) || parent.is_some_and(|parent| matches(parent, folder))
    }

    /// Returns the pattern.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn matches(pattern: &str, text: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else { return pattern == text };
    let (middle, tail) = rest.rsplit_once('*').unwrap_or(("", rest));
    let Some(mut text) = text.strip_prefix(head).and_then(|it| it.strip_suffix(tail)) else {
        return false;
    };
    // The leftmost match of each part leaves the most text for the parts after it.
    for part in middle.split('*') {
        let Some(at) = text.find(part) else { return false };
        text = &text[at + part.len()..];
    }
    true
}

impl From<&str> for Glob {
    fn from(pattern: &str) -> Self {
        Self::new(pattern)
    }
}

impl FromStr for Glob {
    type Err = Infallible;

    fn from_str(pattern: &str) -> Result<Self, Self::Err> {
        Ok(Self::new(pattern))
    }
}

impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for Glob {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Glob {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::new)
    }
}

impl JsonSchema for Glob {
    fn schema_name() -> Cow<'static, str> {
        "Glob".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "A pattern for the whole of a text, in which `*` matches any text, including none.",
            "examples": ["Bash", "mcp__*", "*/nightly/*"],
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{from_value, json};

    use super::Glob;

    #[test]
    fn a_star_matches_any_text() {
        for (pattern, text, matches) in [
            ("", "", true),
            ("", "a", false),
            ("*", "", true),
            ("a*", "a", true),
            ("a*a", "a", false),
            ("a*a", "aa", true),
            ("*b*", "abc", true),
            ("*/nightly/*", "/srv/nightly/x", true),
            ("*/nightly/*", "/srv/nightly", false),
            ("é*é", "éaé", true),
        ] {
            assert_eq!(Glob::new(pattern).matches(text), matches, "{pattern} {text}");
        }
    }

    #[test]
    fn a_pattern_of_the_content_matches_the_folder_itself() {
        for (pattern, folder, matches) in [
            ("*/nightly/*", "/srv/nightly", true),
            ("*/nightly/**", "/srv/nightly", true),
            ("*/nightly/*", "/srv/nightly/app/src", true),
            ("*/nightly/*", "/srv/nightly2", false),
            ("*/nightly/*", "/srv", false),
            ("*/nightly*", "/srv", false),
            ("*/nightly/", "/srv/nightly", false),
            ("*/nightly", "/srv/nightly/app", false),
            ("/srv/app/*", "/srv/app", true),
            ("/*", "/", true),
            ("*", "/srv", true),
        ] {
            assert_eq!(Glob::new(pattern).matches_folder(folder), matches, "{pattern} {folder}");
        }
    }

    fn naive(pattern: &[char], text: &[char]) -> bool {
        match pattern.split_first() {
            None => text.is_empty(),
            Some(('*', rest)) => (0..=text.len()).any(|it| naive(rest, &text[it..])),
            Some((c, rest)) => text.first() == Some(c) && naive(rest, &text[1..]),
        }
    }

    proptest! {
        #[test]
        fn agrees_with_the_naive_matcher(pattern in "[ab*é]{0,8}", text in "[abé]{0,10}") {
            let chars = |it: &str| it.chars().collect::<Vec<_>>();
            let expected = naive(&chars(&pattern), &chars(&text));
            prop_assert_eq!(Glob::new(pattern).matches(&text), expected);
        }

        #[test]
        fn every_text_is_a_pattern(pattern: String) {
            let glob = Glob::new(&*pattern);
            prop_assert_eq!(glob.to_string().parse(), Ok(glob.clone()));
            prop_assert_eq!(from_value::<Glob>(json!(glob)).unwrap(), glob);
        }
    }
}
