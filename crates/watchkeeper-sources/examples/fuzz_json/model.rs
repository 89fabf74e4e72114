//! Readers of lines, and their comparison.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{Error as _, MapAccess, Visitor},
};
use serde_json::{Map, Value, value::RawValue};

use crate::json::{
    Elements, Located, Malformed, Number, Present, Raw, Text, TextOr, Values, object, parse,
};

object! {
    /// A line with members of all types. The names are those of agents.
    struct Line<'a> {
        b"type" => text: Text<'a>,
        b"uuid" | b"id" => located: Located<'a, Text<'a>>,
        b"input_tokens" => count: u64,
        b"cost" => number: Number<'a>,
        b"elapsed" => float: f64,
        b"is_error" => flag: bool,
        b"input" => raw: Raw<'a>,
        b"payload" => present: Present,
        b"content" => blocks: Vec<Line<'a>>,
        b"command" => texts: Vec<Text<'a>>,
        b"usage" => counts: Values<'a, u64>,
        b"durations" => positions: Elements<u64>,
        b"error" => text_or: TextOr<'a, Box<Line<'a>>>,
        b"message" => child: Box<Line<'a>>,
    }
}

/// The type of a member. Corresponds to the declaration above.
enum Shape {
    Text,
    Count,
    Number,
    Float,
    Flag,
    Raw,
    Present,
    List(&'static Self),
    Elements(&'static Self),
    ByName(&'static Self),
    TextOr(&'static Self),
    Line,
}

use Shape::{ByName, Count, Elements as Positions, Flag, Float, List};

const MEMBERS: &[(&[&str], Shape)] = &[
    (&["type"], Shape::Text),
    (&["uuid", "id"], Shape::Text),
    (&["input_tokens"], Count),
    (&["cost"], Shape::Number),
    (&["elapsed"], Float),
    (&["is_error"], Flag),
    (&["input"], Shape::Raw),
    (&["payload"], Shape::Present),
    (&["content"], List(&Shape::Line)),
    (&["command"], List(&Shape::Text)),
    (&["usage"], ByName(&Count)),
    (&["durations"], Positions(&Count)),
    (&["error"], Shape::TextOr(&Shape::Line)),
    (&["message"], Shape::Line),
];

/// The depth from which the reader skips objects.
const MAX_DEPTH: usize = 16;

/// Compares the reader with `serde_json`. Returns the difference.
///
/// The reader must accept each line that `serde_json` accepts. The reader must accept any other
/// line if and only if `serde_json` accepts the line without the parts that are skipped or
/// replaced, and the values must be equal.
pub(crate) fn compare(line: &[u8]) -> Result<(), String> {
    let parsed: Result<Line<'_>, Malformed> = parse(line);
    let is_valid = serde_json::from_slice::<Map<String, Value>>(line).is_ok();
    if let Err(reason) = parsed
        && is_valid
    {
        return Err(format!("serde_json accepts the line, and the reader refuses it: {reason}"));
    }
    let expected = Plain::of(line).map(|plain| serde_json::from_slice::<Node>(&plain));
    match (parsed, expected) {
        (Ok(_), None) => Err("the reader accepts a line without the structure of JSON".to_owned()),
        (Ok(_), Some(Err(err))) => Err(format!("the reader accepts the line: {err}")),
        (Err(reason), Some(Ok(_))) => Err(format!("the reader refuses the line: {reason}")),
        (Err(_), _) => Ok(()),
        (Ok(line), Some(Ok(node))) => {
            let (value, expected) = (value_of(&line), node.value(&Shape::Line));
            if Some(&value) == expected.as_ref() {
                return Ok(());
            }
            Err(format!("the reader reads {value}, and not {expected:?}"))
        }
    }
}

/// Returns the members that the reader has read.
fn value_of(line: &Line<'_>) -> Value {
    let mut members = Map::new();
    let mut add = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            members.insert(name.to_owned(), value);
        }
    };
    let text = |text: Text<'_>| Value::from(text.read());
    add("type", line.text.map(text));
    add("uuid", line.located.map(|located| text(located.value)));
    add("input_tokens", line.count.map(Value::from));
    add("cost", line.number.map(|number| number.as_str().into()));
    add("elapsed", line.float.map(|float| float.to_string().into()));
    add("is_error", line.flag.map(Value::from));
    add("input", line.raw.map(|raw| String::from_utf8_lossy(raw.0).into()));
    add("payload", line.present.map(|_| true.into()));
    add("content", line.blocks.as_ref().map(|blocks| blocks.iter().map(value_of).collect()));
    add("command", line.texts.as_ref().map(|texts| texts.iter().map(|it| text(*it)).collect()));
    let counts = line.counts.as_ref();
    let named = |(name, count): &(Text<'_>, u64)| Value::from(vec![text(*name), (*count).into()]);
    add("usage", counts.map(|counts| counts.0.iter().map(named).collect()));
    add("durations", line.positions.as_ref().map(|elements| elements.0.clone().into()));
    add(
        "error",
        line.text_or.as_ref().map(|value| match value {
            TextOr::Text(value) => text(*value),
            TextOr::Other(line) => value_of(line),
        }),
    );
    add("message", line.child.as_deref().map(value_of));
    members.into()
}

/// A line without the parts that the reader skips or replaces, so that `serde_json` accepts the
/// line if all other parts are valid.
struct Plain<'a> {
    text: &'a [u8],
    at: usize,
    depth: usize,
    out: Vec<u8>,
}

impl<'a> Plain<'a> {
    /// Returns `None` if the line is not an object of the simplest structure: members with closed
    /// strings and brackets.
    fn of(line: &'a [u8]) -> Option<Vec<u8>> {
        let mut plain = Self { text: line, at: 0, depth: 0, out: Vec::new() };
        let is_object = plain.value(&Shape::Line)?;
        (is_object && plain.peek().is_none()).then_some(plain.out)
    }

    /// Copies the next value, or `null` if the reader skips the value. Returns whether the value
    /// is of the type.
    fn value(&mut self, shape: &Shape) -> Option<bool> {
        let first = self.peek()?;
        match (shape, first) {
            (Shape::Line, b'{') if self.depth < MAX_DEPTH => self.members(|this, name, read| {
                let idx = MEMBERS
                    .iter()
                    .position(|(names, _)| names.iter().any(|known| known.as_bytes() == name));
                match idx.filter(|idx| !read.contains(idx)) {
                    Some(idx) => {
                        this.out.extend(format!("\"{}\":", MEMBERS[idx].0[0]).bytes());
                        if this.value(&MEMBERS[idx].1)? {
                            read.push(idx);
                        }
                    }
                    None => {
                        this.out.extend(b"\"\":");
                        this.skip()?;
                    }
                }
                Some(())
            })?,
            (ByName(shape), b'{') if self.depth < MAX_DEPTH => self.members(|this, name, _| {
                this.string(name);
                this.out.push(b':');
                this.value(shape).map(|_| ())
            })?,
            (List(shape) | Positions(shape), b'[') => {
                self.list(b']', |this| this.value(shape).map(|_| ()))?;
            }
            (Shape::Text | Shape::TextOr(_), b'"') => {
                let text = self.quoted()?;
                self.string(text);
            }
            (Shape::TextOr(shape), _) => return self.value(shape),
            (Count | Shape::Number | Float, b'"') => {
                let start = self.at;
                let text = self.quoted()?;
                if !is_number(text) {
                    self.out.extend(b"null");
                    return Some(false);
                }
                self.out.extend(&self.text[start..self.at]);
                return Some(is_scalar(shape, text));
            }
            (Count | Shape::Number | Float | Flag, b'-' | b'0'..=b'9' | b't' | b'f') => {
                let token = self.token();
                self.out.extend(token);
                return Some(is_scalar(shape, token));
            }
            (Shape::Raw | Shape::Present, _) => {
                let start = self.at;
                let n_written = self.out.len();
                self.skip()?;
                // An invalid number remains in place of its string.
                if self.out[n_written..] == *b"null" {
                    self.out.truncate(n_written);
                    let raw = String::from_utf8_lossy(&self.text[start..self.at]);
                    self.out.extend(Value::from(raw).to_string().bytes());
                }
            }
            _ => {
                self.skip()?;
                return Some(false);
            }
        }
        Some(true)
    }

    /// Copies the members of an object. `member` copies one, and may add to a list.
    fn members(
        &mut self,
        mut member: impl FnMut(&mut Self, &'a [u8], &mut Vec<usize>) -> Option<()>,
    ) -> Option<()> {
        let mut read = Vec::new();
        self.depth += 1;
        self.list(b'}', |this| {
            let name = (this.peek()? == b'"').then(|| this.quoted())??;
            (this.peek()? == b':').then_some(())?;
            this.at += 1;
            member(this, name, &mut read)
        })?;
        self.depth -= 1;
        Some(())
    }

    /// Copies the elements between two brackets.
    fn list(&mut self, end: u8, mut element: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        self.out.push(self.text[self.at]);
        self.at += 1;
        if self.peek()? != end {
            element(self)?;
            while self.peek()? == b',' {
                self.at += 1;
                self.out.push(b',');
                element(self)?;
            }
        }
        self.out.push(end);
        (self.peek()? == end).then(|| self.at += 1)
    }

    /// Copies a string. Replaces halves of surrogate pairs, and escapes control characters.
    fn string(&mut self, text: &[u8]) {
        let unit = |text: &[u8]| {
            let digits = text.strip_prefix(b"\\u")?.get(..4)?;
            let is_unit = digits.iter().all(u8::is_ascii_hexdigit);
            let digits = str::from_utf8(digits).ok().filter(|_| is_unit)?;
            u32::from_str_radix(digits, 16).ok()
        };
        self.out.push(b'"');
        let mut at = 0;
        while at < text.len() {
            let rest = &text[at..];
            let len = match (unit(rest), rest.get(6..).and_then(unit)) {
                (Some(0xd800..0xdc00), Some(0xdc00..0xe000)) => 12,
                (Some(0xd800..0xe000), _) => {
                    self.out.extend(b"\\ufffd");
                    at += 6;
                    continue;
                }
                _ if rest[0] == b'\\' => 2,
                _ if rest[0] < b' ' => {
                    self.out.extend(format!("\\u{:04x}", rest[0]).bytes());
                    at += 1;
                    continue;
                }
                _ => 1,
            };
            self.out.extend(&rest[..len.min(rest.len())]);
            at += len;
        }
        self.out.push(b'"');
    }

    /// Writes `null` for the next value. An invalid number or literal is copied.
    fn skip(&mut self) -> Option<()> {
        match self.peek()? {
            b'"' => {
                self.quoted()?;
            }
            b'{' | b'[' => {
                let mut depth = 0_usize;
                loop {
                    match *self.text.get(self.at)? {
                        b'"' => {
                            self.quoted()?;
                            continue;
                        }
                        b'{' | b'[' => depth += 1,
                        b'}' | b']' => depth -= 1,
                        _ => {}
                    }
                    self.at += 1;
                    if depth == 0 {
                        break;
                    }
                }
            }
            b'-' | b'0'..=b'9' | b't' | b'f' | b'n' => {
                let token = self.token();
                if serde_json::from_slice::<&RawValue>(token).is_err() {
                    self.out.extend(token);
                    return Some(());
                }
            }
            _ => return None,
        }
        self.out.extend(b"null");
        Some(())
    }

    /// Reads a string. Returns the text between its quotes.
    fn quoted(&mut self) -> Option<&'a [u8]> {
        let start = self.at + 1;
        self.at = start;
        while *self.text.get(self.at)? != b'"' {
            self.at += if self.text[self.at] == b'\\' { 2 } else { 1 };
        }
        self.at += 1;
        Some(&self.text[start..self.at - 1])
    }

    /// Reads a number or a literal.
    fn token(&mut self) -> &'a [u8] {
        let rest = &self.text[self.at..];
        let ends = |byte: &u8| b",:\"{}[] \t\n\r".contains(byte);
        let len = rest.iter().position(ends).unwrap_or(rest.len());
        self.at += len;
        &rest[..len]
    }

    fn peek(&mut self) -> Option<u8> {
        while self.text.get(self.at).is_some_and(|byte| b" \t\n\r".contains(byte)) {
            self.at += 1;
        }
        self.text.get(self.at).copied()
    }
}

/// Returns whether a number or a literal is of the type.
fn is_scalar(shape: &Shape, text: &[u8]) -> bool {
    let text = String::from_utf8_lossy(text).into_owned();
    Node::Scalar(text).value(shape).is_some()
}

fn is_number(text: &[u8]) -> bool {
    text.first().is_some_and(|first| *first == b'-' || first.is_ascii_digit())
        && text.last().is_some_and(u8::is_ascii_digit)
        && serde_json::from_slice::<&RawValue>(text).is_ok()
}

/// A value that `serde_json` has parsed: with repeated members, and with numbers as written.
enum Node {
    Object(Vec<(String, Self)>),
    Array(Vec<Self>),
    Text(String),
    Scalar(String),
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        let raw = raw.get();
        let node = match raw.as_bytes()[0] {
            b'{' => serde_json::from_str(raw).map(|Pairs(pairs)| Self::Object(pairs)),
            b'[' => serde_json::from_str(raw).map(Self::Array),
            b'"' => serde_json::from_str(raw).map(Self::Text),
            _ => Ok(Self::Scalar(raw.to_owned())),
        };
        node.map_err(D::Error::custom)
    }
}

/// The members of an object in order.
struct Pairs(Vec<(String, Node)>);

impl<'de> Deserialize<'de> for Pairs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;

        impl<'de> Visitor<'de> for InOrder {
            type Value = Pairs;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Pairs(pairs))
            }
        }

        deserializer.deserialize_map(InOrder)
    }
}

impl Node {
    /// Returns the value if it is of the type.
    fn value(&self, shape: &Shape) -> Option<Value> {
        match (shape, self) {
            (Shape::Line, Self::Object(members)) => {
                let mut line = Map::new();
                for (name, node) in members {
                    let of_name = |(names, _): &&(&[&str], Shape)| names[0] == name;
                    let shape = MEMBERS.iter().find(of_name).map(|(_, shape)| shape);
                    if let Some(value) = shape.and_then(|shape| node.value(shape)) {
                        line.entry(name).or_insert(value);
                    }
                }
                Some(line.into())
            }
            (List(shape), Self::Array(nodes)) => {
                Some(nodes.iter().filter_map(|node| node.value(shape)).collect())
            }
            (Positions(shape), Self::Array(nodes)) => {
                Some(nodes.iter().map(|node| node.value(shape).unwrap_or(0.into())).collect())
            }
            (ByName(shape), Self::Object(members)) => {
                let typed = members.iter().filter_map(|(name, node)| {
                    Some(Value::from(vec![name.as_str().into(), node.value(shape)?]))
                });
                Some(typed.collect())
            }
            (Shape::Text | Shape::TextOr(_) | Shape::Raw, Self::Text(text)) => {
                Some(text.as_str().into())
            }
            (Shape::TextOr(shape), node) => node.value(shape),
            (Shape::Present, _) => Some(true.into()),
            (Count, Self::Text(text) | Self::Scalar(text)) => count(text).map(Value::from),
            (Shape::Number, Self::Text(text) | Self::Scalar(text)) => {
                is_number(text.as_bytes()).then(|| text.as_str().into())
            }
            (Float, Self::Text(text) | Self::Scalar(text)) if is_number(text.as_bytes()) => {
                text.parse::<f64>().ok().map(|float| float.to_string().into())
            }
            (Flag, Self::Scalar(text)) => text.parse::<bool>().ok().map(Value::from),
            _ => None,
        }
    }
}

/// Returns the whole part of a number that is a count.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the range is checked")]
fn count(number: &str) -> Option<u64> {
    number.parse().ok().or_else(|| {
        let float = number.parse::<f64>().ok().filter(|_| is_number(number.as_bytes()))?;
        (0.0..1e19).contains(&float).then_some(float as u64)
    })
}
