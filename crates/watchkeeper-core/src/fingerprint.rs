use std::{fmt, num::NonZeroU32};

use memchr::memchr2;
use rapidhash::v3::rapidhash_v3;
use serde::{Serialize, Serializer};

/// What makes two things the same: a 64-bit hash, equal on every machine.
///
/// It says nothing of what it was made from, and is no defence against
/// somebody who looks for two things with the same one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint(u64);

/// How much of an output counts from its start, after blurring, in bytes.
const HEAD: usize = 4096;
/// How much of an output that is longer counts from its end, in bytes.
const TAIL: usize = 512;
/// Nesting deeper than this is hashed without regard to its structure.
const MAX_DEPTH: usize = 128;

impl Fingerprint {
    /// The fingerprint of nothing: a subject for detectors that have only one.
    pub const NONE: Self = Self(0);

    /// Takes the fingerprint of some bytes, each of which matters.
    pub fn of(bytes: impl AsRef<[u8]>) -> Self {
        Self(rapidhash_v3(bytes.as_ref()))
    }

    /// Takes the fingerprint of JSON: the order of keys and the space between
    /// tokens do not matter, nor do the `volatile` keys of the outermost object.
    pub fn of_json(text: &str, volatile: &[&str]) -> Self {
        JsonWalk { rest: text.as_bytes(), stack: Vec::new(), excess: 0, volatile }.run()
    }

    /// Takes the fingerprint of a tool's output: numbers, hashes, ids and times
    /// do not matter, since a tool that says the same again changes those. A
    /// number that tells of progress does, like `40%` or `3/12`.
    ///
    /// Of a long output the first 4 KiB and the last 512 bytes count.
    pub fn of_output(text: &str) -> Self {
        let text = text.trim_ascii().as_bytes();
        let (head, n_read) = blurred(text, HEAD);
        let rest = &text[n_read..];
        if rest.len() <= TAIL {
            return head.and(blurred(rest, usize::MAX).0);
        }
        // From the start of a line, so that a longer number before the tail
        // does not shift what is in it.
        let tail = &rest[rest.len() - TAIL..];
        let line = memchr::memchr(b'\n', tail).map_or(tail, |at| &tail[at..]);
        head.and(blurred(line, usize::MAX).0)
    }

    /// Joins two fingerprints; the order matters.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(mix(self.0, other.0))
    }

    /// The 64 bits.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// Half of it, with room for `None`: enough to tell a few things apart, for
    /// a detector that keeps them.
    #[expect(clippy::cast_possible_truncation, reason = "half of it is kept")]
    pub const fn brief(self) -> NonZeroU32 {
        match NonZeroU32::new(self.0 as u32) {
            Some(it) => it,
            None => NonZeroU32::MAX,
        }
    }
}

const fn mix(a: u64, b: u64) -> u64 {
    // The folded multiplication of wyhash; the constants are two of its secrets.
    #[expect(clippy::cast_possible_truncation, reason = "the two halves are folded together")]
    const fn fold(a: u64, b: u64) -> u64 {
        let product = (a as u128).wrapping_mul(b as u128);
        (product as u64) ^ ((product >> 64) as u64)
    }
    fold(a.rotate_left(23) ^ 0x2d35_8dcc_aa6c_78a5, b ^ 0x8bb8_4b93_962e_acc9)
}

/// Hashes text with its numbers and ids blurred, until `limit` bytes have been
/// read that are neither. Says how many bytes that took.
fn blurred(text: &[u8], limit: usize) -> (Fingerprint, usize) {
    let mut res = Fingerprint::NONE;
    // Where the stretch of plain bytes that is not hashed yet begins.
    let mut start = 0;
    let mut n_plain = 0;
    let mut at = 0_usize;
    // Where the stretch of hexadecimal digits ends that was looked at last: a
    // long one that is no id must not be gone through for each of its digits.
    let mut hex_end = 0;
    loop {
        let cap = at.saturating_add(limit.saturating_sub(n_plain)).min(text.len());
        let Some(digit) = first_digit(&text[at..cap]).map(|it| at + it) else {
            return (res.and(Fingerprint::of(&text[start..cap])), cap);
        };
        n_plain += digit - at;
        if hex_end <= digit {
            hex_end = digit + text[digit..].iter().take_while(|it| it.is_ascii_hexdigit()).count();
        }
        let (from, to) = id_around(text, start, digit, hex_end);
        if tells_progress(text, from, to) {
            n_plain += to - digit;
            at = to;
            continue;
        }
        res = res.and(Fingerprint::of(&text[start..from])).and(Fingerprint::NONE);
        start = to;
        at = to;
    }
}

/// Whether a number says how far something has come, as in `40%` or `3/12`: an
/// answer in which that changes is another answer.
fn tells_progress(text: &[u8], from: usize, to: usize) -> bool {
    let is_digit =
        |at: Option<usize>| at.and_then(|it| text.get(it)).is_some_and(u8::is_ascii_digit);
    let before = from.checked_sub(1);
    match text.get(to) {
        Some(b'%') => true,
        Some(b'/') => is_digit(Some(to + 1)),
        _ => {
            before.is_some_and(|it| text[it] == b'/')
                && is_digit(before.and_then(|it| it.checked_sub(1)))
        }
    }
}

/// Where the first digit is. Outputs are long and all of them are searched, so
/// this looks at eight bytes at a time.
fn first_digit(text: &[u8]) -> Option<usize> {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    let (words, rest) = text.as_chunks::<8>();
    for (word_idx, word) in words.iter().enumerate() {
        // Digits become 0 to 9. What is less than 10 borrows when 10 is taken
        // away, and shows in its highest bit; only bytes after it can be
        // wrong about that.
        let word = u64::from_le_bytes(*word) ^ (ONES * u64::from(b'0'));
        let digits = word.wrapping_sub(ONES * 10) & !word & (ONES << 7);
        if digits != 0 {
            return Some(word_idx * 8 + digits.trailing_zeros() as usize / 8);
        }
    }
    let in_rest = rest.iter().position(u8::is_ascii_digit)?;
    Some(text.len() - rest.len() + in_rest)
}

/// The number or the id that the digit at `digit` belongs to, as a range that
/// begins no earlier than `start`. The hexadecimal digits around it end at
/// `hex_end`.
fn id_around(text: &[u8], start: usize, digit: usize, hex_end: usize) -> (usize, usize) {
    const SHORTEST_HASH: usize = 6;
    /// The inner groups of a UUID.
    const UUID_GROUP: usize = 4;
    let is_hex = |it: &&u8| it.is_ascii_hexdigit();
    let from = digit - text[start..digit].iter().rev().take_while(is_hex).count();
    let to = hex_end;
    let is_word = |it: Option<&u8>| it.is_some_and(u8::is_ascii_alphanumeric);
    let is_whole =
        !is_word(from.checked_sub(1).and_then(|it| text.get(it))) && !is_word(text.get(to));
    let is_in_uuid = to - from == UUID_GROUP
        && (text.get(to) == Some(&b'-') || from.checked_sub(1).is_some_and(|it| text[it] == b'-'));
    if is_whole && (is_in_uuid || SHORTEST_HASH <= to - from) {
        return (from, to);
    }
    // A number, with its fraction: `1`, `1.25` and `10` are equal.
    let is_number = |it: &&u8| it.is_ascii_digit() || **it == b'.';
    let to = digit + text[digit..].iter().take_while(is_number).count();
    (digit, to)
}

struct JsonWalk<'a> {
    rest: &'a [u8],
    stack: Vec<Frame>,
    /// How many brackets are open beyond `MAX_DEPTH`.
    excess: usize,
    volatile: &'a [&'a str],
}

struct Frame {
    is_object: bool,
    /// In an object a sum, which no order changes; in an array a chain.
    hash: Fingerprint,
    /// The key that waits for its value, and whether it counts.
    key: Option<(Fingerprint, bool)>,
}

impl<'a> JsonWalk<'a> {
    fn run(mut self) -> Fingerprint {
        let mut top = Fingerprint::NONE;
        while let Some(&byte) = self.rest.first() {
            let done = match byte {
                b' ' | b'\t' | b'\n' | b'\r' | b',' | b':' => {
                    self.rest = &self.rest[1..];
                    continue;
                }
                b'{' | b'[' => {
                    self.rest = &self.rest[1..];
                    if self.stack.len() < MAX_DEPTH {
                        let is_object = byte == b'{';
                        let hash = Fingerprint(u64::from(byte));
                        self.stack.push(Frame { is_object, hash, key: None });
                        continue;
                    }
                    self.excess += 1;
                    Fingerprint(u64::from(byte))
                }
                b'}' | b']' => {
                    self.rest = &self.rest[1..];
                    if 0 < self.excess {
                        self.excess -= 1;
                        Fingerprint(u64::from(byte))
                    } else if let Some(frame) = self.stack.pop() {
                        frame.hash.and(Fingerprint(1))
                    } else {
                        continue;
                    }
                }
                b'"' => {
                    let text = self.string();
                    let hash = Fingerprint::of(text);
                    let is_outermost = self.stack.len() == 1;
                    if let Some(frame) = self.stack.last_mut()
                        && frame.is_object
                        && frame.key.is_none()
                        && self.excess == 0
                    {
                        let counts =
                            !(is_outermost && self.volatile.iter().any(|it| it.as_bytes() == text));
                        frame.key = Some((hash, counts));
                        continue;
                    }
                    hash.and(Fingerprint(2))
                }
                _ => Fingerprint::of(self.scalar()),
            };
            match self.stack.last_mut() {
                None => top = top.and(done),
                Some(Frame { is_object: false, hash, .. }) => *hash = hash.and(done),
                Some(Frame { hash, key, .. }) => match key.take() {
                    Some((key, true)) => hash.0 = hash.0.wrapping_add(key.and(done).0),
                    Some((_, false)) => {}
                    None => *hash = hash.and(done),
                },
            }
        }
        top
    }

    /// Takes a string, as it is written between its quotes.
    fn string(&mut self) -> &'a [u8] {
        let body = &self.rest[1..];
        let mut at = 0;
        while let Some(found) = memchr2(b'"', b'\\', &body[at..]) {
            at += found;
            if body[at] == b'"' {
                self.rest = &body[at + 1..];
                return &body[..at];
            }
            at = (at + 2).min(body.len());
        }
        self.rest = &[];
        body
    }

    /// Takes a number or a literal.
    fn scalar(&mut self) -> &'a [u8] {
        let ends =
            |it: &u8| matches!(it, b',' | b':' | b']' | b'}' | b'"' | b' ' | b'\n' | b'\t' | b'\r');
        let len = self.rest.iter().position(ends).unwrap_or(self.rest.len()).max(1);
        let (scalar, rest) = self.rest.split_at(len);
        self.rest = rest;
        scalar
    }
}

impl From<bool> for Fingerprint {
    fn from(it: bool) -> Self {
        Self(u64::from(it) + 1)
    }
}

impl From<u64> for Fingerprint {
    fn from(it: u64) -> Self {
        Self(it)
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl Serialize for Fingerprint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Fingerprint, first_digit};

    #[test]
    fn keys_have_no_order_and_volatile_ones_no_weight() {
        let of = |text| Fingerprint::of_json(text, &["description"]);
        let plain = of(r#"{"command":"ls","n":[1,2]}"#);
        assert_eq!(plain, of(r#" { "n" : [1, 2], "command": "ls" } "#));
        assert_eq!(plain, of(r#"{"command":"ls","description":{"a":[1]},"n":[1,2]}"#));
        for other in [
            r#"{"command":"ls","n":[2,1]}"#,
            r#"{"command":"ls","n":[12]}"#,
            r#"{"n":"ls","command":[1,2]}"#,
            r#"{"command":"ls","n":[1,2],"inner":{"description":1}}"#,
            r#"{"command":"ls","n":["1",2]}"#,
            r#"[{"command":"ls","n":[1,2]}]"#,
        ] {
            assert_ne!(plain, of(other), "{other}");
        }
    }

    #[test]
    fn depth_costs_no_stack() {
        let deep = |n| format!("{}{}", "[".repeat(n), "]".repeat(n));
        let of = |n| Fingerprint::of_json(&deep(n), &[]);
        assert_eq!(of(1_000_000), of(1_000_000));
        assert_ne!(of(1_000_000), of(999_999));
    }

    #[test]
    fn outputs_are_equal_but_for_numbers_and_ids() {
        let of = Fingerprint::of_output;
        for (a, b) in [
            ("bash: line 9: cd: no", "bash: line 10: cd: no"),
            ("took 1.25s", "took 11.5s"),
            ("chunk a1b2c3 read", "chunk 99ffee00 read"),
            (
                "id 0e7e1f6a-1f7c-4b6e-9f3e-0123456789ab.",
                "id 1e7e1f6a-2f7c-9b6e-af3e-f123456789ab.",
            ),
            ("  done\n", "done"),
        ] {
            assert_eq!(of(a), of(b), "{a}");
        }
        for (a, b) in [
            ("3 passed", "3 failed"),
            ("a1 ok", "b1 ok"),
            ("", "0"),
            ("at 8%, pod 1", "at 16%, pod 2"),
            ("3/12 done", "4/12 done"),
        ] {
            assert_ne!(of(a), of(b), "{a}");
        }
        let long = |n: usize, end: &str| format!("{n} {}\n{end}", "x".repeat(9000));
        assert_eq!(of(&long(1, "end")), of(&long(10_000, "end")));
        assert_ne!(of(&long(1, "end")), of(&long(1, "END")));
    }

    #[test]
    fn a_number_may_stand_where_the_head_ends() {
        let of = |percent| {
            Fingerprint::of_output(&format!("{}{percent}% of it", "x".repeat(super::HEAD - 1)))
        };
        assert_ne!(of(100), of(200));
    }

    proptest! {
        #[test]
        fn the_first_digit_is_found(text in any::<Vec<u8>>(), plain in 0..40_usize) {
            let text = [vec![b'/'; plain], text, b":9".to_vec()].concat();
            prop_assert_eq!(first_digit(&text), text.iter().position(u8::is_ascii_digit));
        }

        #[test]
        fn any_text_has_one(text in ".*") {
            prop_assert_eq!(Fingerprint::of_output(&text), Fingerprint::of_output(&text));
            prop_assert_eq!(Fingerprint::of_json(&text, &[]), Fingerprint::of_json(&text, &[]));
        }
    }
}
