use std::{fmt, num::NonZeroU32};

use rapidhash::v3::rapidhash_v3;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::near::end_of_string;

/// A 64-bit hash that decides whether two things count as equal.
///
/// The same on every machine and in every version of a build. Not cryptographic: an attacker can
/// construct collisions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint(u64);

/// The number of bytes at the start of an output that count, numbers and ids excluded.
const HEAD: usize = 4096;
/// The number of bytes at the end of a longer output that count.
const TAIL: usize = 512;
/// The maximum nesting that is tracked. Deeper values are hashed as flat sequences of tokens.
const MAX_DEPTH: usize = 128;

/// The arguments in which agents state the intent of a call. They differ between otherwise equal
/// calls.
pub(crate) const STATED_INTENT: &[&str] = &[
    "description",
    "intent",
    "intention",
    "reason",
    "reasoning",
    "explanation",
    "rationale",
    "justification",
    "purpose",
    "toolAction",
    "toolSummary",
];

impl Fingerprint {
    /// The fingerprint of every result that reports that nothing was found.
    pub(crate) const NOTHING_FOUND: Self = Self(0x6e6f_7468_696e_6721);

    /// A constant, for detectors with a single subject.
    pub const NONE: Self = Self(0);

    /// Hashes bytes.
    pub fn of(bytes: impl AsRef<[u8]>) -> Self {
        Self(rapidhash_v3(bytes.as_ref()))
    }

    /// Hashes a JSON text. Ignores the order of keys, the whitespace between tokens, and the
    /// entries of the outermost object whose keys are `volatile`.
    pub fn of_json(text: &str, volatile: &[&str]) -> Self {
        JsonHasher::new(text, volatile).run().0
    }

    /// Hashes the arguments of a call. Ignores the entries whose keys are `volatile`, and those
    /// that state an intent unless there are no others.
    pub(crate) fn of_arguments(text: &str, volatile: &[&str], intent: &'static [&str]) -> Self {
        let mut hasher = JsonHasher::new(text, volatile);
        hasher.intent = intent;
        let (hash, ignored_intent) = hasher.run();
        if ignored_intent && hash == Self::of_json("{}", &[]) {
            return Self::of_json(text, volatile);
        }
        hash
    }

    /// Hashes the output of a tool.
    ///
    /// Ignores numbers, hashes, ids and times, because they differ between otherwise equal
    /// outputs. Numbers that show progress, such as `40%` and `3/12`, count. Of a long output
    /// only the first 4 KiB and the last 512 bytes count.
    pub fn of_output(text: &str) -> Self {
        let text = text.trim_ascii().as_bytes();
        let (head, n_read) = without_ids(text, HEAD);
        let rest = &text[n_read..];
        if rest.len() <= TAIL {
            return head.and(without_ids(rest, usize::MAX).0);
        }
        // Starts at a line break, so that a number of another length before the tail does not
        // shift the text within the tail.
        let tail = &rest[rest.len() - TAIL..];
        let line = memchr::memchr(b'\n', tail).map_or(tail, |at| &tail[at..]);
        head.and(without_ids(line, usize::MAX).0)
    }

    /// Combines two fingerprints. The order matters.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(mix(self.0, other.0))
    }

    /// Returns the 64 bits.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// Returns 32 of the bits, never zero: enough for a detector that stores a few fingerprints,
    /// and an `Option` of it takes no more space.
    #[expect(clippy::cast_possible_truncation, reason = "the lower half is returned")]
    pub const fn brief(self) -> NonZeroU32 {
        match NonZeroU32::new(self.0 as u32) {
            Some(half) => half,
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

/// Hashes text without its numbers and ids, until `limit` bytes that are neither have been
/// hashed. Returns the hash and the number of bytes read.
fn without_ids(text: &[u8], limit: usize) -> (Fingerprint, usize) {
    let mut hash = Fingerprint::NONE;
    // The start of the plain bytes that are not hashed yet.
    let mut start = 0;
    let mut n_plain = 0;
    let mut at = 0_usize;
    // The end of the most recent run of hexadecimal digits. Scanning a long run again for each of
    // its digits would take quadratic time.
    let mut hex_end = 0;
    loop {
        let cap = at.saturating_add(limit.saturating_sub(n_plain)).min(text.len());
        let Some(digit) = first_digit(&text[at..cap]).map(|it| at + it) else {
            return (hash.and(Fingerprint::of(&text[start..cap])), cap);
        };
        n_plain += digit - at;
        if hex_end <= digit {
            hex_end = digit + run_len(&text[digit..], HEX);
        }
        let (from, to) = id_around(text, start, digit, hex_end);
        if shows_progress(text, from, to) {
            n_plain += to - digit;
            at = to;
            continue;
        }
        hash = hash.and(Fingerprint::of(&text[start..from])).and(Fingerprint::NONE);
        start = to;
        at = to;
    }
}

/// Returns whether a number shows progress, as in `40%` or `3/12`.
fn shows_progress(text: &[u8], from: usize, to: usize) -> bool {
    let is_digit =
        |at: Option<usize>| at.and_then(|at| text.get(at)).is_some_and(u8::is_ascii_digit);
    let before = from.checked_sub(1);
    match text.get(to) {
        Some(b'%') => true,
        Some(b'/') => is_digit(Some(to + 1)),
        _ => {
            before.is_some_and(|at| text[at] == b'/')
                && is_digit(before.and_then(|at| at.checked_sub(1)))
        }
    }
}

/// Returns the offset of the first ASCII digit. Examines eight bytes at a time, as every output
/// is searched and many are long.
fn first_digit(text: &[u8]) -> Option<usize> {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    let (words, rest) = text.as_chunks::<8>();
    for (word_idx, word) in words.iter().enumerate() {
        // The XOR turns digits into 0 to 9. Subtracting 10 sets the highest bit of bytes less
        // than 10. The borrow can set it wrongly in later bytes only, never before the first.
        let word = u64::from_le_bytes(*word) ^ (ONES * u64::from(b'0'));
        let digits = word.wrapping_sub(ONES * 10) & !word & (ONES << 7);
        if digits != 0 {
            return Some(word_idx * 8 + digits.trailing_zeros() as usize / 8);
        }
    }
    let in_rest = rest.iter().position(u8::is_ascii_digit)?;
    Some(text.len() - rest.len() + in_rest)
}

/// Returns the range of the number or id that contains the digit at `digit`. The range begins at
/// `start` or later. `hex_end` is the end of the run of hexadecimal digits around `digit`.
fn id_around(text: &[u8], start: usize, digit: usize, hex_end: usize) -> (usize, usize) {
    const SHORTEST_HASH: usize = 6;
    /// The length of the inner groups of a UUID.
    const UUID_GROUP: usize = 4;
    let before = text[start..digit].iter().rposition(|byte| !is(*byte, HEX));
    let from = before.map_or(start, |at| start + at + 1);
    let to = hex_end;
    let is_word = |byte: Option<&u8>| byte.is_some_and(|byte| is(*byte, WORD));
    let is_whole =
        !is_word(from.checked_sub(1).and_then(|it| text.get(it))) && !is_word(text.get(to));
    let is_in_uuid = to - from == UUID_GROUP
        && (text.get(to) == Some(&b'-') || from.checked_sub(1).is_some_and(|it| text[it] == b'-'));
    if is_whole && (is_in_uuid || SHORTEST_HASH <= to - from) {
        return (from, to);
    }
    // A number includes its fraction: `1`, `1.25` and `10` count as equal.
    (digit, digit + run_len(&text[digit..], NUMBER))
}

/// Bits of the sorts of bytes in numbers and ids.
const HEX: u8 = 1;
const WORD: u8 = 2;
const NUMBER: u8 = 4;

/// The sorts of each byte. Outputs contain many numbers, and a look-up is faster than several
/// comparisons.
static SORTS: [u8; 256] = {
    let mut sorts = [0; 256];
    let mut byte = 0_u8;
    while byte < u8::MAX {
        if byte.is_ascii_hexdigit() {
            sorts[byte as usize] |= HEX;
        }
        if byte.is_ascii_alphanumeric() {
            sorts[byte as usize] |= WORD;
        }
        if byte.is_ascii_digit() || byte == b'.' {
            sorts[byte as usize] |= NUMBER;
        }
        byte += 1;
    }
    sorts
};

fn is(byte: u8, sort: u8) -> bool {
    SORTS[usize::from(byte)] & sort != 0
}

/// Returns the number of bytes of a sort at the start of a text.
fn run_len(text: &[u8], sort: u8) -> usize {
    text.iter().position(|byte| !is(*byte, sort)).unwrap_or(text.len())
}

/// Hashes JSON without recursion, so that deep nesting cannot overflow the stack.
struct JsonHasher<'a> {
    rest: &'a [u8],
    stack: Vec<Container>,
    /// The number of open brackets beyond `MAX_DEPTH`.
    excess: usize,
    volatile: &'a [&'a str],
    intent: &'static [&'static str],
    has_intent: bool,
}

/// An open object or array.
struct Container {
    is_object: bool,
    /// For an object a sum of the entries, which is independent of their order; for an array a
    /// chain of the elements.
    hash: Fingerprint,
    /// The key whose value comes next, and whether the entry counts.
    key: Option<(Fingerprint, bool)>,
}

impl<'a> JsonHasher<'a> {
    fn new(text: &'a str, volatile: &'a [&'a str]) -> Self {
        Self {
            rest: text.as_bytes(),
            stack: Vec::new(),
            excess: 0,
            volatile,
            intent: &[],
            has_intent: false,
        }
    }

    /// Returns the hash, and whether an entry that states an intent was ignored.
    fn run(mut self) -> (Fingerprint, bool) {
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
                        self.stack.push(Container { is_object, hash, key: None });
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
                    } else if let Some(container) = self.stack.pop() {
                        container.hash.and(Fingerprint(1))
                    } else {
                        continue;
                    }
                }
                b'"' => {
                    let text = self.string();
                    let hash = Fingerprint::of(text);
                    let is_outermost = self.stack.len() == 1;
                    if let Some(container) = self.stack.last_mut()
                        && container.is_object
                        && container.key.is_none()
                        && self.excess == 0
                    {
                        let is_one_of =
                            |keys: &[&str]| keys.iter().any(|key| key.as_bytes() == text);
                        let states_intent = is_outermost && is_one_of(self.intent);
                        let counts = !(states_intent || is_outermost && is_one_of(self.volatile));
                        self.has_intent |= states_intent;
                        container.key = Some((hash, counts));
                        continue;
                    }
                    hash.and(Fingerprint(2))
                }
                _ => Fingerprint::of(self.scalar()),
            };
            match self.stack.last_mut() {
                None => top = top.and(done),
                Some(Container { is_object: false, hash, .. }) => *hash = hash.and(done),
                Some(Container { hash, key, .. }) => match key.take() {
                    Some((key, true)) => hash.0 = hash.0.wrapping_add(key.and(done).0),
                    Some((_, false)) => {}
                    None => *hash = hash.and(done),
                },
            }
        }
        (top, self.has_intent)
    }

    /// Consumes a string. Returns the text between its quotes, escapes included.
    fn string(&mut self) -> &'a [u8] {
        let body = &self.rest[1..];
        let end = end_of_string(body);
        self.rest = end.map_or(&[], |end| &body[end + 1..]);
        &body[..end.unwrap_or(body.len())]
    }

    /// Consumes a number or a literal.
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
    fn from(value: bool) -> Self {
        Self(u64::from(value) + 1)
    }
}

impl From<u64> for Fingerprint {
    fn from(value: u64) -> Self {
        Self(value)
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

impl<'de> Deserialize<'de> for Fingerprint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bits = u64::from_str_radix(&text, 16).map_err(de::Error::custom)?;
        Ok(Self(bits))
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};
    use serde_json::{Value, json};

    use super::{Fingerprint, first_digit};

    fn json_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i8>().prop_map(Value::from),
            "[a-c]{0,2}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 12, 3, |inner| {
            prop_oneof![
                vec(inner.clone(), 0..3).prop_map(Value::from),
                vec(("[a-c]", inner), 0..3).prop_map(|entries| {
                    entries.into_iter().fold(json!({}), |mut object, (key, value)| {
                        object[key] = value;
                        object
                    })
                }),
            ]
        })
    }

    #[test]
    fn json_ignores_key_order_whitespace_and_volatile_keys() {
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
    fn arguments_ignore_stated_intent() {
        let of = |text| Fingerprint::of_arguments(text, &["timeout"], super::STATED_INTENT);
        let plain = of(r#"{"command":"ls"}"#);
        assert_eq!(plain, of(r#"{"command":"ls","description":"List","reason":"to see"}"#));
        assert_eq!(plain, of(r#"{"intent":"look","command":"ls","timeout":3}"#));
        assert_ne!(plain, of(r#"{"command":"ls -l","description":"List"}"#));
        // An intent without other arguments is the argument.
        assert_ne!(of(r#"{"reason":"a"}"#), of(r#"{"reason":"b"}"#));
    }

    #[test]
    fn deeply_nested_json_does_not_overflow_the_stack() {
        let deep = |n| format!("{}{}", "[".repeat(n), "]".repeat(n));
        let of = |n| Fingerprint::of_json(&deep(n), &[]);
        assert_eq!(of(1_000_000), of(1_000_000));
        assert_ne!(of(1_000_000), of(999_999));
    }

    #[test]
    fn outputs_that_differ_in_numbers_and_ids_are_equal() {
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
    fn a_number_may_cross_the_end_of_the_head() {
        let of = |percent| {
            Fingerprint::of_output(&format!("{}{percent}% of it", "x".repeat(super::HEAD - 1)))
        };
        assert_ne!(of(100), of(200));
    }

    proptest! {
        #[test]
        fn finds_the_first_digit(text in any::<Vec<u8>>(), plain in 0..40_usize) {
            let text = [vec![b'/'; plain], text, b":9".to_vec()].concat();
            prop_assert_eq!(first_digit(&text), text.iter().position(u8::is_ascii_digit));
        }

        #[test]
        fn outputs_ignore_every_whole_number(
            words in vec("[a-z]{1,2}", 1..9),
            numbers in vec((any::<u32>(), any::<u32>()), 9),
        ) {
            let join = |number: fn(&(u32, u32)) -> u32| {
                let parts = words.iter().zip(&numbers);
                let lines = parts.map(|(word, pair)| format!("{word}: {};\n", number(pair)));
                lines.collect::<Vec<_>>().concat()
            };
            let (first, second) = (join(|it| it.0), join(|it| it.1));
            let of_first = Fingerprint::of_output(&first);
            prop_assert_eq!(of_first, Fingerprint::of_output(&second));
            prop_assert_ne!(of_first, Fingerprint::of_output(&first.replacen(';', "%;", 1)));
            prop_assert_ne!(of_first, Fingerprint::of_output(&format!("{first}x")));
        }

        #[test]
        fn json_ignores_layout_only(value in json_value(), other in json_value()) {
            let of = |value: &Value| Fingerprint::of_json(&value.to_string(), &[]);
            let pretty = serde_json::to_string_pretty(&value).unwrap();
            prop_assert_eq!(of(&value), Fingerprint::of_json(&pretty, &[]));
            prop_assert_eq!(of(&value) == of(&other), value == other);
        }

        #[test]
        fn hostile_text_does_not_panic(text in r#"[\[\]{}",:\\a0 é\n]{0,64}"#) {
            Fingerprint::of_output(&text);
            Fingerprint::of_json(&text, &["a"]);
        }
    }
}
