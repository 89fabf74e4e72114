//! Sets of ASCII characters, and beginnings of words.

/// A set of ASCII characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Set(u16);

impl Set {
    pub(super) const DIGIT: Self = Self(1);
    pub(super) const LOWER: Self = Self(1 << 1);
    pub(super) const UPPER: Self = Self(1 << 2);
    /// The hexadecimal digits, of both cases.
    pub(super) const HEX: Self = Self(1 << 3);
    pub(super) const UNDERSCORE: Self = Self(1 << 4);
    pub(super) const DASH: Self = Self(1 << 5);
    pub(super) const DOT: Self = Self(1 << 6);
    pub(super) const TILDE: Self = Self(1 << 7);
    pub(super) const PLUS: Self = Self(1 << 8);
    pub(super) const SLASH: Self = Self(1 << 9);
    pub(super) const EQUALS: Self = Self(1 << 10);

    pub(super) const ALNUM: Self = Self::DIGIT.or(Self::LOWER).or(Self::UPPER);
    pub(super) const UPPER_DIGIT: Self = Self::DIGIT.or(Self::UPPER);
    pub(super) const WORD: Self = Self::ALNUM.or(Self::UNDERSCORE);
    /// The characters of base64 for URLs.
    pub(super) const TOKEN: Self = Self::WORD.or(Self::DASH);
    /// Several parts of base64 for URLs.
    pub(super) const DOTTED: Self = Self::TOKEN.or(Self::DOT).or(Self::EQUALS);
    pub(super) const HEX_DASH: Self = Self::HEX.or(Self::DASH);
    pub(super) const BASE64: Self = Self::TOKEN.or(Self::PLUS).or(Self::SLASH).or(Self::EQUALS);
    /// The characters that a token contains before its padding.
    pub(super) const RUN: Self =
        Self::TOKEN.or(Self::DOT).or(Self::TILDE).or(Self::PLUS).or(Self::SLASH);

    /// Returns the union of two sets.
    pub(super) const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(super) const fn has(self, byte: u8) -> bool {
        SETS_OF[byte as usize] & self.0 != 0
    }

    /// Returns the number of characters of the set at the beginning of a text.
    pub(super) fn run_len(self, text: &[u8]) -> usize {
        text.iter().position(|byte| !self.has(*byte)).unwrap_or(text.len())
    }
}

/// Up to four bytes at the start of a word, to be compared in one step.
#[derive(Clone, Copy, Debug)]
pub(super) struct Beginning {
    bytes: u32,
    mask: u32,
}

impl Beginning {
    pub(super) const fn of(word: &[u8]) -> Self {
        let mut bytes = [0; 4];
        let mut mask = [0; 4];
        let mut idx = 0;
        while idx < 4 && idx < word.len() {
            bytes[idx] = word[idx];
            mask[idx] = 0xff;
            idx += 1;
        }
        Self { bytes: u32::from_le_bytes(bytes), mask: u32::from_le_bytes(mask) }
    }

    /// Returns whether a text begins with the bytes.
    pub(super) fn begins(self, text: [u8; 4]) -> bool {
        u32::from_le_bytes(text) & self.mask == self.bytes
    }
}

/// The sets that contain each byte.
static SETS_OF: [u16; 256] = {
    let mut sets = [0; 256];
    let mut byte = 0_u8;
    while byte < 128 {
        let mut of = 0;
        if byte.is_ascii_digit() {
            of |= Set::DIGIT.0;
        }
        if byte.is_ascii_lowercase() {
            of |= Set::LOWER.0;
        }
        if byte.is_ascii_uppercase() {
            of |= Set::UPPER.0;
        }
        if byte.is_ascii_hexdigit() {
            of |= Set::HEX.0;
        }
        of |= match byte {
            b'_' => Set::UNDERSCORE.0,
            b'-' => Set::DASH.0,
            b'.' => Set::DOT.0,
            b'~' => Set::TILDE.0,
            b'+' => Set::PLUS.0,
            b'/' => Set::SLASH.0,
            b'=' => Set::EQUALS.0,
            _ => 0,
        };
        sets[byte as usize] = of;
        byte += 1;
    }
    sets
};
