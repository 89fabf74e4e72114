use std::{fmt, io};

use ring::rand::{SecureRandom as _, SystemRandom};
use thiserror::Error;

/// The shortest token that a person may choose, in characters.
const MIN_LEN: usize = 16;
/// The longest token, in characters.
const MAX_LEN: usize = 256;

/// A secret that a client shows, in the first address that a person opens, then in a cookie, or in
/// the header `Authorization: Bearer`.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(Box<str>);

/// A text is not fit for a [`Token`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error(
    "a token has {MIN_LEN} to {MAX_LEN} letters, digits and characters of `-._~`; \
     `openssl rand -hex 16` makes one"
)]
pub struct InvalidToken;

impl Token {
    /// Makes a token of 128 random bits.
    pub fn random() -> io::Result<Self> {
        let mut bytes = [0; 16];
        SystemRandom::new()
            .fill(&mut bytes)
            .map_err(|_| io::Error::other("the system provides no random numbers"))?;
        let digits = bytes.iter().map(|byte| format!("{byte:02x}"));
        Ok(Self(digits.collect::<String>().into()))
    }

    /// Takes a token that a person has chosen, without white space around it.
    pub fn new(text: &str) -> Result<Self, InvalidToken> {
        let text = text.trim();
        let is_valid = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
        let has_length = (MIN_LEN..=MAX_LEN).contains(&text.len());
        if has_length && text.bytes().all(is_valid) {
            Ok(Self(text.into()))
        } else {
            Err(InvalidToken)
        }
    }

    /// Returns the text of the token.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Returns whether a client has shown this token, in a time that does not depend on the
    /// position of the first difference.
    pub(crate) fn matches(&self, shown: &[u8]) -> bool {
        let own = self.0.as_bytes();
        let differences = own.iter().zip(shown).fold(0, |bits, (a, b)| bits | (a ^ b));
        own.len() == shown.len() && differences == 0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

#[cfg(test)]
mod tests {
    use super::{InvalidToken, Token};

    #[test]
    fn a_token_matches_only_itself() {
        let token = Token::new(" 0123456789abcdef\n").unwrap();
        assert!(token.matches(b"0123456789abcdef"));
        for other in ["", "0123456789abcde", "0123456789abcdeg", "0123456789abcdef0"] {
            assert!(!token.matches(other.as_bytes()), "{other}");
        }
        assert_eq!(format!("{token:?}"), "[secret]");
    }

    #[test]
    fn random_tokens_differ_and_are_valid() {
        let (a, b) = (Token::random().unwrap(), Token::random().unwrap());
        assert_ne!(a, b);
        assert_eq!(Token::new(a.expose()), Ok(a));
    }

    #[test]
    fn short_tokens_and_those_that_need_escapes_are_refused() {
        for text in ["short", "0123456789abcde ", "0123456789abc/ef", &"x".repeat(257)] {
            assert_eq!(Token::new(text), Err(InvalidToken), "{text}");
        }
    }
}
