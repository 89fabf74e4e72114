//! Cuts a JSON document that is written over many lines into its entries.
//!
//! Some agents keep a session as one JSON object, in which a list holds what
//! happened. A [`Document`] hands on each entry of that list as soon as its end
//! has come, and holds no more than one of them. All else in the object is
//! passed over, but for a few members.

use memchr::{memchr_iter, memchr2};
use watchkeeper_core::EventSink;

use crate::{MAX_LINE, json::Malformed};

/// Reads a document, line by line.
#[derive(Debug)]
pub(crate) struct Document {
    wanted: &'static Wanted,
    place: Place,
    /// How many brackets are open in the value that is read.
    depth: usize,
    /// How many lists are open inside the one that is wanted.
    n_inner: usize,
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
    /// What the value is, if it is wanted.
    what: Option<What>,
    is_too_long: bool,
    whole: Whole,
    /// Whether the latest document began like one that stands in a line.
    is_of_lines: bool,
}

/// What is wanted of a document.
#[derive(Debug)]
pub(crate) struct Wanted {
    /// The lists whose objects are entries.
    pub(crate) lists: &'static [&'static str],
    /// The members that are handed on.
    pub(crate) members: &'static [&'static str],
    /// Whether a file may hold other forms as well: a list alone, also one of
    /// lists; an object without any of the lists, which is an entry itself; and
    /// several documents, one after the other.
    pub(crate) is_loose: bool,
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

/// The object that is read, which may turn out to be an entry itself.
#[derive(Debug, Default)]
struct Whole {
    /// Whether the document is an object, and no list was found in it.
    is_possible: bool,
    is_too_long: bool,
    first_line: u64,
    /// Where in its latest line the rest of it begins.
    at: usize,
    /// What came of it in earlier lines.
    text: Vec<u8>,
}

/// A part of a document that is wanted.
pub(crate) struct Part<'a> {
    pub(crate) what: What,
    /// What it says.
    pub(crate) text: &'a [u8],
    /// The line at which it begins.
    first_line: u64,
}

/// What a part is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// An entry of a list.
    Entry,
    /// A member of the object, by its name.
    Member(&'static str),
    /// A document that is an entry itself.
    Whole,
    /// Nothing: a document in loose form has ended, which was a list or had one.
    End,
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
            what: None,
            is_too_long: false,
            whole: Whole::default(),
            is_of_lines: false,
        }
    }

    /// Reads the next line of the file, and has `read` read each part that it
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
            if let Err(reason) = part.and_then(|it| read(&it, sink)) {
                sink.skip_line(reason);
            }
        }
        self.whole.keep(line);
    }

    /// Says what is missing at the end of the file, if anything is.
    pub(crate) fn end(&self, sink: &mut EventSink<'_>) {
        if let Err(reason) = self.finish() {
            sink.skip_line(reason);
        }
    }

    /// Begins to read the line of this number.
    fn begin_line(&mut self, line: &[u8], number: u64) -> Result<(), Malformed> {
        // A line that was too long to be handed on counts, too.
        let n_breaks = number.saturating_sub(self.line);
        self.line = number;
        self.is_escaped = false;
        // In a file with a document in each line, one that is cut or broken
        // leaves the others alone.
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
                self.keep(b"\n");
            }
        }
        Ok(())
    }

    /// Takes from `rest` of a line up to the next part that ends in it.
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
                    self.keep(of_value);
                    if has_ended {
                        let is_entry = self.place == Place::InEntry;
                        self.place = if is_entry { Place::List } else { Place::Object };
                        if let Some(what) = self.what {
                            return Some(self.part(what));
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
                        self.begin(Place::InValue, member.map(What::Member));
                        continue;
                    }
                }
                Place::List if byte == b'[' && is_loose => self.n_inner += 1,
                Place::List if byte == b']' && 0 < self.n_inner => self.n_inner -= 1,
                Place::List if byte == b']' && self.key.is_empty() => {
                    *rest = after;
                    self.end_document();
                    return Some(self.part(What::End));
                }
                Place::List if byte == b']' => self.place = Place::Object,
                Place::List if byte == b'{' => {
                    self.begin(Place::InEntry, Some(What::Entry));
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
            _ => Err(ENDS_EARLY),
        }
    }

    /// The one of some names that the key is.
    fn key_of(&self, names: &[&'static str]) -> Option<&'static str> {
        let key = self.key.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
        names.iter().find(|it| it.as_bytes() == key).copied()
    }

    /// Begins to read a value.
    fn begin(&mut self, place: Place, what: Option<What>) {
        self.place = place;
        self.what = what;
        self.first_line = self.line;
        (self.depth, self.is_in_string, self.is_escaped) = (0, false, false);
        self.is_too_long = false;
        self.text.clear();
        self.text.shrink_to(ROOM);
    }

    fn keep(&mut self, bytes: &[u8]) {
        if self.what.is_none() || self.is_too_long {
            return;
        }
        if MAX_LINE < self.text.len() + bytes.len() {
            self.is_too_long = true;
            self.text = Vec::new();
        } else {
            self.text.extend(bytes);
        }
    }

    fn part(&self, what: What) -> Result<Part<'_>, Malformed> {
        if self.is_too_long {
            return Err("too long");
        }
        Ok(Part { what, text: &self.text, first_line: self.first_line })
    }

    /// Makes ready for the next document, and holds nothing until it comes:
    /// there may be very many files that hold one document each.
    fn end_document(&mut self) {
        let (line, is_of_lines) = (self.line, self.is_of_lines);
        *self = Self { line, is_of_lines, ..Self::new(self.wanted) };
    }

    /// Ends an object in loose form, of whose last line `line` is what belongs
    /// to it.
    fn end_object<'a>(&'a mut self, line: &'a [u8]) -> Result<Part<'a>, Malformed> {
        let whole = std::mem::take(&mut self.whole);
        self.end_document();
        if !whole.is_possible {
            return self.part(What::End);
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
        Ok(Part { what: What::Whole, text, first_line: whole.first_line })
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

impl Whole {
    /// Keeps a line of an object that has not ended in it.
    fn keep(&mut self, line: &[u8]) {
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
        self.what == What::Entry
    }

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

    use super::{Document, Part, Wanted, What, compact};
    use crate::MAX_LINE;

    const WANTED: Wanted = Wanted { lists: &["list"], members: &["info"], is_loose: false };
    const LOOSE: Wanted = Wanted { is_loose: true, ..WANTED };

    fn parts(text: &str) -> String {
        parts_of(text, &WANTED)
    }

    /// The parts of a document, each with the line at which it begins, and what
    /// is wrong with it.
    fn parts_of(text: &str, wanted: &'static Wanted) -> String {
        let mut document = Document::new(wanted);
        let mut res = Vec::new();
        for (number, line) in (1..).zip(text.split('\n')) {
            let line = line.as_bytes();
            if let Err(reason) = document.begin_line(line, number) {
                res.push(format!("{number} {reason}"));
            }
            let mut rest = line;
            while let Some(part) = document.next(line, &mut rest) {
                res.push(match part {
                    Ok(Part { what: What::End, .. }) => format!("{number} end"),
                    Ok(it) => {
                        let name = match it.what {
                            What::Member(name) => name,
                            What::Whole => "whole",
                            _ => "entry",
                        };
                        let text = String::from_utf8_lossy(it.text);
                        let text = if text.len() < 99 { text } else { "long".into() };
                        let lines = it.text.len().saturating_sub(1);
                        let last = it.lines().line_of(lines);
                        format!("{}-{last} {name} {text:?}", it.first_line)
                    }
                    Err(reason) => format!("{number} {reason}"),
                });
            }
            document.whole.keep(line);
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
    fn a_loose_document_is_a_list_or_an_entry_itself() {
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
    fn a_line_that_is_broken_leaves_other_lines_alone() {
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
    fn a_document_that_is_too_long_for_an_entry_is_passed_over() {
        let line = "x".repeat(MAX_LINE / 2);
        let text = format!("{{\n\"a\":\"{line}\",\n\"b\":\"{line}\"\n}}\n{{}}");
        assert_snapshot!(parts_of(&text, &LOOSE), @r#"
        4 too long
        5-5 whole "{}"
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
            parts_of(&text, &LOOSE);
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
