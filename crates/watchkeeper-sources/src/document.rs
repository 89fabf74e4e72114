//! Cuts a JSON document that is written over many lines into its entries.
//!
//! Some agents keep a session as one JSON object, in which a list holds what
//! happened. A [`Document`] hands on each entry of that list as soon as its end
//! has come, and holds no more than one of them. All else in the object is
//! passed over, but for the member `info`.

use memchr::{memchr_iter, memchr2};
use watchkeeper_core::Intake;

use crate::{MAX_LINE, json::Malformed};

/// Reads a document, line by line.
#[derive(Debug)]
pub(crate) struct Document {
    /// The list that is wanted.
    list: &'static str,
    place: Place,
    /// How many brackets are open in the value that is read.
    depth: usize,
    is_in_string: bool,
    is_escaped: bool,
    /// The member that is read, or the beginning of its name.
    key: Vec<u8>,
    /// What came of the value that is read, if it is wanted.
    text: Vec<u8>,
    /// The line at which the value begins.
    first_line: u64,
    /// The latest line.
    line: u64,
    keeps: bool,
    is_too_long: bool,
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
    /// After something that is no JSON.
    Lost,
}

/// A part of a document that is wanted.
pub(crate) struct Part<'a> {
    /// Whether it is an entry of the list, rather than the member `info`.
    pub(crate) is_entry: bool,
    /// What it says.
    pub(crate) text: &'a [u8],
    /// The line at which it begins.
    first_line: u64,
}

/// Tells the lines at which things stand in a part.
pub(crate) struct LineCounter<'a> {
    text: &'a [u8],
    at: usize,
    line: u64,
}

/// How much room is kept for the next part, in bytes.
const ROOM: usize = 64 << 10;
/// Keys are told apart by this many bytes.
const MAX_KEY: usize = 32;

impl Document {
    /// Reads a document of whose lists the one called `list` is wanted.
    pub(crate) fn new(list: &'static str) -> Self {
        Self {
            list,
            place: Place::Start,
            depth: 0,
            is_in_string: false,
            is_escaped: false,
            key: Vec::new(),
            text: Vec::new(),
            first_line: 0,
            line: 0,
            keeps: false,
            is_too_long: false,
        }
    }

    /// Reads the next line of the file, and has `read` read each part that it
    /// completes.
    pub(crate) fn read_line(
        &mut self,
        line: &[u8],
        intake: &mut Intake<'_>,
        mut read: impl FnMut(&Part<'_>, &mut Intake<'_>) -> Result<(), Malformed>,
    ) {
        let number = intake.line();
        self.begin_line(number);
        let mut rest = line;
        while let Some(part) = self.next(&mut rest) {
            intake.at_line(number);
            if let Err(reason) = part.and_then(|it| read(&it, intake)) {
                intake.unread(reason);
            }
        }
    }

    /// Says what is missing at the end of the file, if anything is.
    pub(crate) fn end(&self, intake: &mut Intake<'_>) {
        if let Err(reason) = self.finish() {
            intake.unread(reason);
        }
    }

    /// Begins to read the line of this number.
    fn begin_line(&mut self, number: u64) {
        // A line that was too long to be handed on counts, too.
        let n_breaks = number.saturating_sub(self.line);
        self.line = number;
        self.is_escaped = false;
        if matches!(self.place, Place::InValue | Place::InEntry) {
            for _ in 0..n_breaks {
                self.keep(b"\n");
            }
        }
    }

    /// Takes from `rest` of a line up to the next part that ends in it.
    fn next(&mut self, rest: &mut &[u8]) -> Option<Result<Part<'_>, Malformed>> {
        while let Some((&byte, after)) = rest.split_first() {
            let is_space = byte.is_ascii_whitespace();
            match self.place {
                Place::InValue | Place::InEntry => {
                    let (n_bytes, has_ended) = self.pass(rest);
                    let (of_value, after) = rest.split_at(n_bytes);
                    *rest = after;
                    self.keep(of_value);
                    if has_ended {
                        let is_entry = self.place == Place::InEntry;
                        self.place = if is_entry { Place::List } else { Place::Object };
                        if self.keeps {
                            return Some(self.part(is_entry));
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
                    let is_wanted = self.key_is(self.list);
                    if is_wanted && byte == b'[' {
                        self.place = Place::List;
                    } else {
                        self.begin(Place::InValue, self.key_is("info"));
                        continue;
                    }
                }
                Place::List if byte == b']' => self.place = Place::Object,
                Place::List if byte == b'{' => {
                    self.begin(Place::InEntry, true);
                    continue;
                }
                Place::Object if byte == b'"' => {
                    self.begin(Place::Key, false);
                    self.key.clear();
                    continue;
                }
                Place::Start if byte == b'{' => self.place = Place::Object,
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
                    *rest = &[];
                    return Some(Err(match place {
                        Place::End => "something follows the JSON",
                        // Where a quote is missing, what follows is upside down.
                        Place::List => "not a JSON object",
                        _ => "not JSON",
                    }));
                }
            }
            *rest = after;
        }
        None
    }

    /// What is missing at the end of a file, if anything is.
    fn finish(&self) -> Result<(), Malformed> {
        match self.place {
            Place::Start | Place::End | Place::Lost => Ok(()),
            _ => Err("ends in the middle of JSON"),
        }
    }

    fn key_is(&self, name: &str) -> bool {
        self.key.strip_prefix(b"\"").and_then(|it| it.strip_suffix(b"\"")) == Some(name.as_bytes())
    }

    /// Begins to read a value.
    fn begin(&mut self, place: Place, keeps: bool) {
        self.place = place;
        self.keeps = keeps;
        self.first_line = self.line;
        (self.depth, self.is_in_string, self.is_escaped) = (0, false, false);
        self.is_too_long = false;
        self.text.clear();
        self.text.shrink_to(ROOM);
    }

    fn keep(&mut self, bytes: &[u8]) {
        if !self.keeps || self.is_too_long {
            return;
        }
        if MAX_LINE < self.text.len() + bytes.len() {
            self.is_too_long = true;
            self.text = Vec::new();
        } else {
            self.text.extend(bytes);
        }
    }

    fn part(&self, is_entry: bool) -> Result<Part<'_>, Malformed> {
        if self.is_too_long {
            return Err("too long");
        }
        Ok(Part { is_entry, text: &self.text, first_line: self.first_line })
    }

    /// Passes over bytes of a value. Says how many, and whether it has ended.
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
                // What follows a number or a word.
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

impl<'a> Part<'a> {
    pub(crate) fn lines(&self) -> LineCounter<'a> {
        LineCounter { text: self.text, at: 0, line: self.first_line }
    }
}

impl LineCounter<'_> {
    /// The line of the byte at `offset`, which lies after those asked for
    /// before.
    pub(crate) fn line_of(&mut self, offset: usize) -> u64 {
        let passed = self.text.get(self.at..offset).unwrap_or_default();
        self.line += memchr_iter(b'\n', passed).count() as u64;
        self.at = self.at.max(offset);
        self.line
    }
}

/// JSON in one line: what is written over several stands between its tokens.
pub(crate) fn compact(json: &str) -> String {
    let mut res = String::with_capacity(json.len());
    let mut rest = json;
    while let Some(quote) = rest.find('"') {
        let (between, string) = rest.split_at(quote);
        res.extend(between.split_ascii_whitespace());
        let mut is_escaped = false;
        let end = string[1..].bytes().position(|it| {
            let is_end = it == b'"' && !is_escaped;
            is_escaped = it == b'\\' && !is_escaped;
            is_end
        });
        let (string, after) = string.split_at(end.map_or(string.len(), |it| it + 2));
        res.push_str(string);
        rest = after;
    }
    res.extend(rest.split_ascii_whitespace());
    res
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;
    use proptest::prelude::*;

    use super::{Document, compact};
    use crate::MAX_LINE;

    /// The parts of a document, each with the line at which it begins, and what
    /// is wrong with it.
    fn parts(text: &str) -> String {
        let mut document = Document::new("list");
        let mut res = Vec::new();
        for (number, line) in (1..).zip(text.split('\n')) {
            document.begin_line(number);
            let mut rest = line.as_bytes();
            while let Some(part) = document.next(&mut rest) {
                res.push(match part {
                    Ok(it) => {
                        let name = if it.is_entry { "entry" } else { "info" };
                        let text = String::from_utf8_lossy(it.text);
                        let text = if text.len() < 99 { text } else { "long".into() };
                        let lines = it.text.len().saturating_sub(1);
                        let last = it.lines().line_of(lines);
                        format!("{}-{last} {name} {text:?}", it.first_line)
                    }
                    Err(reason) => format!("{number} {reason}"),
                });
            }
        }
        res.extend(document.finish().err().map(|it| format!("end {it}")));
        res.join("\n")
    }

    #[test]
    fn entries_are_handed_on_one_by_one() {
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
    fn what_is_no_document_is_told_once() {
        assert_snapshot!(parts("# Notes\n\nmore\n"), @"1 not JSON");
        assert_snapshot!(parts("[1]"), @"1 not JSON");
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
    fn an_entry_that_is_too_long_is_passed_over() {
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
    fn depth_costs_nothing() {
        let deep = "[".repeat(1_000_000);
        let text = format!("{{\"x\":{deep}{},\"list\":[{{}},{{\"a\":{deep}", "]".repeat(1_000_000));
        assert_snapshot!(parts(&text), @r#"
        1-1 entry "{}"
        end ends in the middle of JSON
        "#);
    }

    proptest! {
        #[test]
        fn any_text_can_be_read(text in "([\\[\\]{}\":,\\\\ \n1a]|\"list\":|\"info\":)*") {
            parts(&text);
            compact(&text);
        }

        #[test]
        fn compact_json_says_the_same(text in r#"(\\PC|["\\ \n])*"#, n in any::<i64>()) {
            let value = serde_json::json!({"a b": [text, n, {}, []], "c": {"d": [null]}});
            let pretty = serde_json::to_string_pretty(&value).expect("a value can be written");
            prop_assert_eq!(compact(&pretty), value.to_string());
        }
    }
}
