//! Splits a JSON document of many lines into its entries.
//!
//! Some agents store a session as one JSON object with a list of events. A
//! [`Document`] passes on each complete entry of that list at once, and keeps at most
//! one entry in memory. Other values of the object are skipped, except for a
//! few members.

use memchr::{memchr_iter, memchr2};
use watchkeeper_core::author::EventSink;

use crate::{
    MAX_LINE,
    json::{Malformed, Text, parse_value},
};

/// Reads a document, line by line.
#[derive(Debug)]
pub(crate) struct Document {
    wanted: &'static Wanted,
    place: Place,
    /// The number of open brackets in the current value.
    depth: usize,
    /// The number of open lists inside the requested one.
    n_inner: usize,
    is_in_string: bool,
    is_escaped: bool,
    /// The name of the current member, or the beginning of the name.
    key: Vec<u8>,
    /// The text of the current value so far, if it is requested.
    text: Vec<u8>,
    /// The first line of the current value.
    first_line: u64,
    /// The latest line.
    line: u64,
    /// The kind of the current value, if it is requested.
    part_kind: Option<PartKind>,
    is_too_long: bool,
    whole: Whole,
    /// Whether the latest document began like one that fits in a line.
    is_of_lines: bool,
}

/// The requested parts of a document.
#[derive(Debug)]
pub(crate) struct Wanted {
    /// The lists whose objects are entries.
    pub(crate) lists: &'static [&'static str],
    /// The members that are passed on.
    pub(crate) members: &'static [&'static str],
    /// Whether a file may have other forms: a list, or a list of lists; an object
    /// without any of the lists, which is an entry itself; and several documents in
    /// sequence.
    pub(crate) is_loose: bool,
    /// Whether text may precede the document.
    pub(crate) has_preface: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Before the document.
    Start,
    /// Before a key, or after a value.
    Object,
    Key,
    Colon,
    /// Between a colon and a value.
    Value,
    InValue,
    /// Between the entries of the list.
    List,
    InEntry,
    End,
    /// After invalid JSON.
    Lost,
}

/// The current object, which may be an entry itself.
#[derive(Debug, Default)]
struct Whole {
    /// Whether the document is an object without a requested list so far.
    is_possible: bool,
    is_too_long: bool,
    first_line: u64,
    /// The offset in the latest line at which the object continues.
    at: usize,
    /// The text of the object in earlier lines.
    text: Vec<u8>,
}

/// A requested part of a document.
pub(crate) struct Part<'a> {
    pub(crate) kind: PartKind,
    /// The JSON of the part.
    pub(crate) text: &'a [u8],
    /// The first line of the part.
    first_line: u64,
}

/// The kind of a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PartKind {
    /// An entry of a list.
    Entry,
    /// A member of the object, by its name.
    Member(&'static str),
    /// A document that is an entry itself.
    Whole,
    /// The end of a document in loose form that is a list or contains one. No text.
    End,
}

/// Computes the lines of offsets in a part.
#[derive(Clone)]
pub(crate) struct LineCounter<'a> {
    text: &'a [u8],
    at: usize,
    line: u64,
}

/// The size of the buffer that is kept for the next part, in bytes.
const KEPT_CAPACITY: usize = 64 << 10;
/// The number of bytes of a key that are compared.
const MAX_KEY: usize = 32;
const ENDS_EARLY: Malformed = "ends in the middle of JSON";

impl Document {
    pub(crate) fn new(wanted: &'static Wanted) -> Self {
        Self {
            wanted,
            place: Place::Start,
            depth: 0,
            n_inner: 0,
            is_in_string: false,
            is_escaped: false,
            key: Vec::new(),
            text: Vec::new(),
            first_line: 0,
            line: 0,
            part_kind: None,
            is_too_long: false,
            whole: Whole::default(),
            is_of_lines: false,
        }
    }

    /// Reads the next line of the file, and calls `read` for each part that the line
    /// completes.
    pub(crate) fn read_line(
        &mut self,
        line: &[u8],
        sink: &mut EventSink<'_>,
        mut read: impl FnMut(&Part<'_>, &mut EventSink<'_>) -> Result<(), Malformed>,
    ) {
        let number = sink.line();
        if let Err(reason) = self.begin_line(line, number) {
            sink.skip_line(reason);
        }
        let mut rest = line;
        while let Some(part) = self.next(line, &mut rest) {
            sink.at_line(number);
            if let Err(reason) = part.and_then(|part| read(&part, sink)) {
                sink.skip_line(reason);
            }
        }
        self.whole.append(line);
    }

    /// Counts a skipped line if the document is incomplete at the end of the file.
    pub(crate) fn end(&self, sink: &mut EventSink<'_>) {
        if let Err(reason) = self.finish() {
            sink.skip_line(reason);
        }
    }

    /// Begins the line `number`.
    fn begin_line(&mut self, line: &[u8], number: u64) -> Result<(), Malformed> {
        // Lines that were skipped because they are too long count, too.
        let n_breaks = number.saturating_sub(self.line);
        self.line = number;
        self.is_escaped = false;
        // In a file with a document in each line, an incomplete or invalid document
        // does not affect the next ones.
        if self.is_of_lines && line.starts_with(b"{\"") {
            match self.place {
                Place::Start | Place::List => {}
                Place::Lost => self.end_document(),
                _ => {
                    self.end_document();
                    return Err(ENDS_EARLY);
                }
            }
        }
        if matches!(self.place, Place::InValue | Place::InEntry) {
            for _ in 0..n_breaks {
                self.append(b"\n");
            }
        }
        Ok(())
    }

    /// Reads `rest` of a line up to the end of the next part. Returns the part.
    fn next<'a, 'line: 'a>(
        &'a mut self,
        line: &'line [u8],
        rest: &mut &'line [u8],
    ) -> Option<Result<Part<'a>, Malformed>> {
        while let Some((&byte, after)) = rest.split_first() {
            let is_space = byte.is_ascii_whitespace();
            let is_loose = self.wanted.is_loose;
            match self.place {
                Place::InValue | Place::InEntry => {
                    let (n_bytes, has_ended) = self.pass(rest);
                    let (of_value, after) = rest.split_at(n_bytes);
                    *rest = after;
                    self.append(of_value);
                    if has_ended {
                        let is_entry = self.place == Place::InEntry;
                        self.place = if is_entry { Place::List } else { Place::Object };
                        if let Some(kind) = self.part_kind {
                            return Some(self.part(kind));
                        }
                    }
                    continue;
                }
                Place::Key => {
                    let (n_bytes, has_ended) = self.pass(rest);
                    let n_kept = n_bytes.min(MAX_KEY.saturating_sub(self.key.len()));
                    self.key.extend(&rest[..n_kept]);
                    *rest = &rest[n_bytes..];
                    if has_ended {
                        self.place = Place::Colon;
                    }
                    continue;
                }
                Place::Value if !is_space => {
                    if byte == b'[' && self.key_of(self.wanted.lists).is_some() {
                        self.place = Place::List;
                        self.whole = Whole::default();
                    } else {
                        let member = self.key_of(self.wanted.members);
                        self.begin(Place::InValue, member.map(PartKind::Member));
                        continue;
                    }
                }
                Place::List if byte == b'[' && is_loose => self.n_inner += 1,
                Place::List if byte == b']' && 0 < self.n_inner => self.n_inner -= 1,
                Place::List if byte == b']' && self.key.is_empty() => {
                    *rest = after;
                    self.end_document();
                    return Some(self.part(PartKind::End));
                }
                Place::List if byte == b']' => self.place = Place::Object,
                Place::List if byte == b'{' => {
                    self.begin(Place::InEntry, Some(PartKind::Entry));
                    continue;
                }
                Place::Object if byte == b'"' => {
                    self.begin(Place::Key, None);
                    self.key.clear();
                    continue;
                }
                Place::Start if byte == b'{' => {
                    self.place = Place::Object;
                    self.is_of_lines = is_loose && rest.starts_with(b"{\"");
                    let at = line.len() - rest.len();
                    self.whole = Whole {
                        is_possible: is_loose,
                        first_line: self.line,
                        at,
                        ..Whole::default()
                    };
                }
                Place::Start if byte == b'[' && is_loose => self.place = Place::List,
                Place::Start if self.wanted.has_preface => {}
                Place::Object if byte == b'}' && is_loose => {
                    *rest = after;
                    let text = &line[..line.len() - after.len()];
                    return Some(self.end_object(text));
                }
                Place::Object if byte == b'}' => self.place = Place::End,
                Place::Colon if byte == b':' => self.place = Place::Value,
                Place::Lost => {
                    *rest = &[];
                    return None;
                }
                Place::Object if byte == b',' => {}
                _ if is_space => {}
                Place::List if byte == b',' => {}
                place => {
                    self.place = Place::Lost;
                    self.whole = Whole::default();
                    *rest = &[];
                    return Some(Err(match place {
                        Place::End => "something follows the JSON",
                        // After a missing quote, strings and values are swapped.
                        Place::List => "not a JSON object",
                        _ => "not JSON",
                    }));
                }
            }
            *rest = after;
        }
        None
    }

    /// Returns an error if the document is incomplete.
    fn finish(&self) -> Result<(), Malformed> {
        match self.place {
            Place::Start | Place::End | Place::Lost => Ok(()),
            _ => Err(ENDS_EARLY),
        }
    }

    /// Returns the name that equals the current key.
    fn key_of(&self, names: &[&'static str]) -> Option<&'static str> {
        let key = self.key.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
        names.iter().find(|it| it.as_bytes() == key).copied()
    }

    /// Begins a value.
    fn begin(&mut self, place: Place, kind: Option<PartKind>) {
        self.place = place;
        self.part_kind = kind;
        self.first_line = self.line;
        (self.depth, self.is_in_string, self.is_escaped) = (0, false, false);
        self.is_too_long = false;
        self.text.clear();
        self.text.shrink_to(KEPT_CAPACITY);
    }

    fn append(&mut self, bytes: &[u8]) {
        if self.part_kind.is_none() || self.is_too_long {
            return;
        }
        if MAX_LINE < self.text.len() + bytes.len() {
            self.is_too_long = true;
            self.text = Vec::new();
        } else {
            self.text.extend(bytes);
        }
    }

    fn part(&self, kind: PartKind) -> Result<Part<'_>, Malformed> {
        if self.is_too_long {
            return Err("too long");
        }
        Ok(Part { kind, text: &self.text, first_line: self.first_line })
    }

    /// Resets the state for the next document, and frees the buffers: there may be
    /// many files with one document each.
    fn end_document(&mut self) {
        let (line, is_of_lines) = (self.line, self.is_of_lines);
        *self = Self { line, is_of_lines, ..Self::new(self.wanted) };
    }

    /// Ends an object in loose form. `line` is the last line up to the end of the
    /// object.
    fn end_object<'a>(&'a mut self, line: &'a [u8]) -> Result<Part<'a>, Malformed> {
        let whole = std::mem::take(&mut self.whole);
        self.end_document();
        if !whole.is_possible {
            return self.part(PartKind::End);
        }
        if whole.is_too_long || MAX_LINE < whole.text.len() + line.len() {
            return Err("too long");
        }
        let mut text = line.get(whole.at..).unwrap_or_default();
        if whole.first_line < self.line {
            self.text = whole.text;
            self.text.extend(text);
            text = &self.text;
        }
        Ok(Part { kind: PartKind::Whole, text, first_line: whole.first_line })
    }

    /// Skips bytes of the current value. Returns their number, and whether the value
    /// has ended.
    fn pass(&mut self, bytes: &[u8]) -> (usize, bool) {
        let mut at = 0;
        while let Some(&byte) = bytes.get(at) {
            if self.is_in_string {
                if std::mem::take(&mut self.is_escaped) {
                    at += 1;
                    continue;
                }
                let Some(n) = memchr2(b'"', b'\\', &bytes[at..]) else {
                    return (bytes.len(), false);
                };
                at += n + 1;
                if bytes[at - 1] == b'\\' {
                    self.is_escaped = true;
                } else {
                    self.is_in_string = false;
                    if self.depth == 0 {
                        return (at, true);
                    }
                }
                continue;
            }
            match byte {
                b'"' => self.is_in_string = true,
                b'{' | b'[' => self.depth += 1,
                // The end of a number or a literal.
                b'}' | b']' | b',' | b' ' | b'\t' | b'\r' | b'\n' if self.depth == 0 => {
                    return (at, true);
                }
                b'}' | b']' => {
                    self.depth -= 1;
                    if self.depth == 0 {
                        return (at + 1, true);
                    }
                }
                _ => {}
            }
            at += 1;
        }
        (at, false)
    }
}

impl Whole {
    /// Appends a line of an object that continues in the next line.
    fn append(&mut self, line: &[u8]) {
        if !self.is_possible || self.is_too_long {
            return;
        }
        let text = line.get(self.at..).unwrap_or_default();
        self.at = 0;
        if MAX_LINE <= self.text.len() + text.len() {
            (self.is_too_long, self.text) = (true, Vec::new());
        } else {
            self.text.extend(text);
            self.text.push(b'\n');
        }
    }
}

impl<'a> Part<'a> {
    pub(crate) fn is_entry(&self) -> bool {
        self.kind == PartKind::Entry
    }

    /// Returns the string of a member, or `None` if it has another value.
    pub(crate) fn string(&self) -> Result<Option<Box<str>>, Malformed> {
        Ok(parse_value(self.text)?.map(Text::boxed))
    }

    pub(crate) fn lines(&self) -> LineCounter<'a> {
        LineCounter { text: self.text, at: 0, line: self.first_line }
    }
}

impl LineCounter<'_> {
    /// Creates a counter for a text within one line.
    pub(crate) fn of_line(line: u64) -> Self {
        Self { text: b"", at: 0, line }
    }

    /// Returns the line of the byte at `offset`. Offsets must not decrease between
    /// calls.
    pub(crate) fn line_of(&mut self, offset: usize) -> u64 {
        let passed = self.text.get(self.at..offset).unwrap_or_default();
        self.line += memchr_iter(b'\n', passed).count() as u64;
        self.at = self.at.max(offset);
        self.line
    }
}

/// Removes the whitespace between the tokens of JSON.
pub(crate) fn compact(json: &str) -> String {
    let mut result = String::with_capacity(json.len());
    let mut rest = json;
    while let Some(quote) = rest.find('"') {
        let (between, string) = rest.split_at(quote);
        result.extend(between.split_ascii_whitespace());
        let mut is_escaped = false;
        let end = string[1..].bytes().position(|byte| {
            let is_end = byte == b'"' && !is_escaped;
            is_escaped = byte == b'\\' && !is_escaped;
            is_end
        });
        let (string, after) = string.split_at(end.map_or(string.len(), |it| it + 2));
        result.push_str(string);
        rest = after;
    }
    result.extend(rest.split_ascii_whitespace());
    result
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;
    use proptest::prelude::*;

    use super::{Document, Part, PartKind, Wanted, compact};
    use crate::MAX_LINE;

    const WANTED: Wanted =
        Wanted { lists: &["list"], members: &["info"], is_loose: false, has_preface: false };
    const WITH_PREFACE: Wanted = Wanted { has_preface: true, ..WANTED };
    const LOOSE: Wanted = Wanted { is_loose: true, ..WANTED };

    fn parts(text: &str) -> String {
        parts_of(text, &WANTED)
    }

    /// Returns the parts of a document with their first lines, and its errors.
    fn parts_of(text: &str, wanted: &'static Wanted) -> String {
        let mut document = Document::new(wanted);
        let mut result = Vec::new();
        for (number, line) in (1..).zip(text.split('\n')) {
            let line = line.as_bytes();
            if let Err(reason) = document.begin_line(line, number) {
                result.push(format!("{number} {reason}"));
            }
            let mut rest = line;
            while let Some(part) = document.next(line, &mut rest) {
                result.push(match part {
                    Ok(Part { kind: PartKind::End, .. }) => format!("{number} end"),
                    Ok(part) => {
                        let name = match part.kind {
                            PartKind::Member(name) => name,
                            PartKind::Whole => "whole",
                            _ => "entry",
                        };
                        let text = String::from_utf8_lossy(part.text);
                        let text = if text.len() < 99 { text } else { "long".into() };
                        let lines = part.text.len().saturating_sub(1);
                        let last = part.lines().line_of(lines);
                        format!("{}-{last} {name} {text:?}", part.first_line)
                    }
                    Err(reason) => format!("{number} {reason}"),
                });
            }
            document.whole.append(line);
        }
        result.extend(document.finish().err().map(|it| format!("end {it}")));
        result.join("\n")
    }

    #[test]
    fn passes_on_entries_one_by_one() {
        assert_snapshot!(parts(r#"{"a":[{}],"list":[{"b":"]}\"{"},{}],"info":{"c":null}}"#), @r#"
        1-1 entry "{\"b\":\"]}\\\"{\"}"
        1-1 entry "{}"
        1-1 info "{\"c\":null}"
        "#);
        let text = "\n {\"list\" :\n [ {\n\"b\": [\n2]}\n,\n{} ],\n \"info\": 3\n}\n\n";
        assert_snapshot!(parts(text), @r#"
        3-5 entry "{\n\"b\": [\n2]}"
        7-7 entry "{}"
        8-8 info "3\n"
        "#);
    }

    #[test]
    fn reports_an_invalid_document_once() {
        assert_snapshot!(parts("# Notes\n\nmore\n"), @"1 not JSON");
        assert_snapshot!(parts("[1]"), @"1 not JSON");
        let text = "Exporting session: [1]\nses_1{\"info\":3,\n\"list\":[{}]}";
        assert_snapshot!(parts_of(text, &WITH_PREFACE), @r#"
        2-2 info "3"
        3-3 entry "{}"
        "#);
        assert_snapshot!(parts("{\"list\":[{}]}\n{}\n{}"), @r#"
        1-1 entry "{}"
        2 something follows the JSON
        "#);
        assert_snapshot!(parts("{\"list\":[{},{\"a\":"), @r#"
        1-1 entry "{}"
        end ends in the middle of JSON
        "#);
        assert_snapshot!(parts("{\"list\":[{}]\n?"), @r#"
        1-1 entry "{}"
        2 not JSON
        "#);
        for entry in ["}", "]}", "1,{}", "\"x\"", ":"] {
            let text = format!("{{\"list\":[{{}},\n{entry}\n?");
            let expected = if entry == "]}" { "something follows the JSON" } else { "not" };
            assert!(parts(&text).contains(expected), "{entry}: {}", parts(&text));
            assert_eq!(parts(&text).lines().count(), 2, "{entry}");
        }
        assert_snapshot!(parts(""), @"");
    }

    #[test]
    fn skips_an_entry_that_is_too_long() {
        let line = "x".repeat(MAX_LINE / 2);
        let long = format!("{{\"a\":\"{line}\",\n\"b\":\"{line}\"}}");
        let list = format!("[{{}},{long},{{\"a\":\"{line}\"}}]");
        let text = format!("{{\"list\":{list},\"other\":{long},\"info\":{{}}}}");
        assert_snapshot!(parts(&text), @r#"
        1-1 entry "{}"
        2 too long
        2-2 entry "long"
        3-3 info "{}"
        "#);
    }

    #[test]
    fn reads_a_list_or_a_single_entry_in_loose_form() {
        let parts = |text: &str| parts_of(text, &LOOSE);
        assert_snapshot!(parts("[\n{\"a\":1},\n{\n}\n]\n"), @r#"
        2-2 entry "{\"a\":1}"
        3-4 entry "{\n}"
        5 end
        "#);
        assert_snapshot!(parts("[[{\"a\":1},{}],\n[{}],[]]"), @r#"
        1-1 entry "{\"a\":1}"
        1-1 entry "{}"
        2-2 entry "{}"
        2 end
        "#);
        assert_snapshot!(parts("{\"list\":[{}],\"info\":3}"), @r#"
        1-1 entry "{}"
        1-1 info "3"
        1 end
        "#);
        assert_snapshot!(parts("{\"a\":[{}]}"), @r#"1-1 whole "{\"a\":[{}]}""#);
        assert_snapshot!(parts(" {\n\"a\": {\n}\n} \n"), @r#"1-4 whole "{\n\"a\": {\n}\n}""#);
        assert_snapshot!(parts("{} {}[{}]"), @r#"
        1-1 whole "{}"
        1-1 whole "{}"
        1-1 entry "{}"
        1 end
        "#);
    }

    #[test]
    fn reads_other_lines_after_an_invalid_line() {
        let parts = |text: &str| parts_of(text, &LOOSE);
        let good = r#"{"a":1}"#;
        let list = r#"{"list":[{}]}"#;
        assert_snapshot!(
            parts(&format!("{good}\n{{\"a\":\"x\n{good}\n{{\"list\":[{{\"b\":\n{list}\n?\n{good}\n")),
            @r#"
        1-1 whole "{\"a\":1}"
        3 ends in the middle of JSON
        3-3 whole "{\"a\":1}"
        5 ends in the middle of JSON
        5-5 entry "{}"
        5 end
        6 not JSON
        7-7 whole "{\"a\":1}"
        "#
        );
        // A list with one entry in each line is no such file.
        assert_snapshot!(parts("[\n{\"a\":\n{\"b\":2}},\n?\n{\"c\":3}]"), @r#"
        2-3 entry "{\"a\":\n{\"b\":2}}"
        4 not a JSON object
        "#);
    }

    #[test]
    fn skips_a_document_that_is_too_long_for_an_entry() {
        let line = "x".repeat(MAX_LINE / 2);
        let text = format!("{{\n\"a\":\"{line}\",\n\"b\":\"{line}\"\n}}\n{{}}");
        assert_snapshot!(parts_of(&text, &LOOSE), @r#"
        4 too long
        5-5 whole "{}"
        "#);
    }

    #[test]
    fn reads_deeply_nested_values() {
        let deep = "[".repeat(1_000_000);
        let text = format!("{{\"x\":{deep}{},\"list\":[{{}},{{\"a\":{deep}", "]".repeat(1_000_000));
        assert_snapshot!(parts(&text), @r#"
        1-1 entry "{}"
        end ends in the middle of JSON
        "#);
    }

    proptest! {
        #[test]
        fn reads_any_text_without_a_panic(text in "([\\[\\]{}\":,\\\\ \n1a]|\"list\":|\"info\":)*") {
            parts(&text);
            parts_of(&text, &LOOSE);
            compact(&text);
        }

        #[test]
        fn compacts_json_without_changing_its_value(text in r#"(\\PC|["\\ \n])*"#, n in any::<i64>()) {
            let value = serde_json::json!({"a b": [text, n, {}, []], "c": {"d": [null]}});
            let pretty = serde_json::to_string_pretty(&value).expect("a value can be written");
            prop_assert_eq!(compact(&pretty), value.to_string());
        }
    }
}
