use std::{borrow::Cow, fmt, ops::Deref, str::FromStr};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, de};
use thiserror::Error;

use crate::quote::is_unsafe;

/// The texts of a policy about a detector, which its findings carry to the people and programs
/// that receive them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[non_exhaustive]
pub struct Annotations {
    /// The page that describes what to do about a finding.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runbook_url: Option<Link>,
    /// Words by which routes select findings.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<Tag>,
    /// Pages with background, such as the report of an incident.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub references: Vec<Link>,
}

impl Annotations {
    /// The largest number of tags of a detector.
    pub const MAX_TAGS: usize = 16;
    /// The largest number of references of a detector.
    pub const MAX_REFERENCES: usize = 16;

    /// Returns whether there is none.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// The address of a page: `http` or `https`, at most 512 bytes, without a user name.
///
/// It has only characters that an address may have (RFC 3986), so it is safe for a terminal, and
/// between the brackets and quotes of other formats.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Link(Box<str>);

/// A word of at most 64 bytes: visible letters, digits, and `-`, `_`, `.`, `:` or `/`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Tag(Box<str>);

/// The text is no [`Link`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ParseLinkError {
    /// The scheme or the host is missing.
    #[error("expected an address that begins with `https://` or `http://` and a host")]
    Address,
    /// The port is no number of 16 bits.
    #[error("the port of an address is a number from 0 to 65535")]
    Port,
    /// The address is too long.
    #[error("an address may have {} bytes", Link::MAX_LEN)]
    TooLong,
    /// A character has to be percent-encoded.
    #[error(
        "an address has no spaces, quotes, brackets or letters outside of ASCII: write `%20` for a space"
    )]
    Character,
    /// The address has a user name or a password.
    #[error("an address that findings carry must not contain a user name or a password")]
    UserInfo,
}

/// The text is no [`Tag`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error(
    "a tag has 1 to {} bytes: visible letters, digits, and `-`, `_`, `.`, `:` or `/`",
    Tag::MAX_LEN
)]
pub struct ParseTagError;

impl Link {
    /// The largest length, in bytes.
    pub const MAX_LEN: usize = 512;
}

impl Tag {
    /// The largest length, in bytes.
    pub const MAX_LEN: usize = 64;
}

impl FromStr for Link {
    type Err = ParseLinkError;

    fn from_str(text: &str) -> Result<Self, ParseLinkError> {
        let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
        let rest = rest.ok_or(ParseLinkError::Address)?;
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        if authority.contains('@') {
            return Err(ParseLinkError::UserInfo);
        }
        if authority.is_empty() || authority.starts_with(':') {
            return Err(ParseLinkError::Address);
        }
        if Self::MAX_LEN < text.len() {
            return Err(ParseLinkError::TooLong);
        }
        let is_allowed = |c: char| c.is_ascii_alphanumeric() || "-._~:/?#@!$&'()*+,;=%".contains(c);
        if !text.chars().all(is_allowed) {
            return Err(ParseLinkError::Character);
        }
        let is_port = |text: &str| {
            text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u16>().is_ok()
        };
        if authority.split_once(':').is_some_and(|(_, port)| !is_port(port)) {
            return Err(ParseLinkError::Port);
        }
        Ok(Self(text.into()))
    }
}

impl FromStr for Tag {
    type Err = ParseTagError;

    fn from_str(text: &str) -> Result<Self, ParseTagError> {
        let is_letter = |c: char| c.is_alphanumeric() && !is_unsafe(c);
        let is_allowed = |c: char| is_letter(c) || "-_.:/".contains(c);
        let is_valid = (1..=Self::MAX_LEN).contains(&text.len()) && text.chars().all(is_allowed);
        if is_valid { Ok(Self(text.into())) } else { Err(ParseTagError) }
    }
}

macro_rules! text {
    ($($name:ident, $schema:tt;)*) => {$(
        impl Deref for $name {
            type Target = str;

            fn deref(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(de::Error::custom)
            }
        }

        impl JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        }
    )*};
}

text! {
    Link, { "type": "string", "format": "uri", "pattern": "^https?://", "maxLength": Link::MAX_LEN };
    Tag, { "type": "string", "pattern": "^[\\p{L}\\p{N}_.:/-]+$", "maxLength": Tag::MAX_LEN };
}

#[cfg(test)]
mod tests {
    use super::{Link, ParseLinkError, ParseTagError, Tag};

    #[test]
    fn a_link_is_an_address_of_the_web_that_needs_no_escape() {
        for text in ["https://wiki.example/r?q=1#top", "http://h:65535", "https://h/%20@b:c"] {
            assert!(text.parse::<Link>().is_ok(), "{text}");
        }
        let long = format!("https://h/{}", "a".repeat(Link::MAX_LEN));
        for (text, expected) in [
            ("", ParseLinkError::Address),
            ("javascript:alert(1)", ParseLinkError::Address),
            ("file:///etc/passwd", ParseLinkError::Address),
            ("HTTPS://h", ParseLinkError::Address),
            ("https://", ParseLinkError::Address),
            ("https:///path", ParseLinkError::Address),
            ("https://:80", ParseLinkError::Address),
            ("https://user:word@h/", ParseLinkError::UserInfo),
            ("https://h:65536", ParseLinkError::Port),
            ("https://h:99999/path", ParseLinkError::Port),
            ("https://h:+80?q", ParseLinkError::Port),
            ("https://h:/", ParseLinkError::Port),
            ("https://h:80:80", ParseLinkError::Port),
            ("http://[::1]/", ParseLinkError::Character),
            ("https://h/a b", ParseLinkError::Character),
            ("https://h/\u{1b}[2J", ParseLinkError::Character),
            ("https://h/>|x", ParseLinkError::Character),
            ("https://h/\u{202e}", ParseLinkError::Character),
            (&long, ParseLinkError::TooLong),
        ] {
            assert_eq!(text.parse::<Link>(), Err(expected), "{text}");
        }
    }

    #[test]
    fn a_tag_is_one_word() {
        for text in ["payments", "owner:sre", "attack.t1059", "a/b_c-d", "見張り"] {
            assert!(text.parse::<Tag>().is_ok(), "{text}");
        }
        let long = "x".repeat(Tag::MAX_LEN + 1);
        for text in ["", "two words", "a,b", "\u{202e}", "x\n", &long] {
            assert_eq!(text.parse::<Tag>(), Err(ParseTagError), "{text:?}");
        }
        for invisible in ["a\u{3164}", "\u{115f}", "\u{1160}", "a\u{ffa0}b"] {
            assert_eq!(invisible.parse::<Tag>(), Err(ParseTagError), "{invisible:?}");
        }
    }

    #[test]
    fn a_stored_text_is_checked_again() {
        assert!(serde_json::from_str::<Link>("\"https://h\"").is_ok());
        assert!(serde_json::from_str::<Link>("\"ftp://h\"").is_err());
        assert!(serde_json::from_str::<Tag>("\"a b\"").is_err());
    }
}
