//! The line around a phrase, and the name beside the phrase.

use std::ops::Range;

use super::class::ErrorClass;
use crate::purpose::first_program;

/// The longest line, in bytes, that is examined on each side of a phrase.
const LONGEST_SIDE: usize = 300;
/// The longest name, in bytes.
const LONGEST_NAME: usize = 120;
/// Words that may precede an error, as in `npm ERR!`, in addition to words that end in a
/// colon and to numbers.
const MARKS: &[&str] = &["line", "error", "Error", "ERR!", "npm", "fatal", "-", "[Errno"];

/// Shells that print a line number directly behind their name.
const NUMBERED_SHELLS: &[&str] = &["(eval):", "zsh:"];
/// System calls between a path and its error.
const CALLS: &[&str] = &[": open", ": read", ": stat"];
/// The starts of lines about a test, whose name may contain an error.
const TESTS: &[&str] = &[
    "(fail)", "(pass)", "(skip)", "FAIL", "PASS", "not ok ", "ok ", "test ", "\u{2713}",
    "\u{2714}", "\u{2717}", "\u{d7}",
];
const LOGIN_SHELLS: &[&str] = &["-ash:", "-bash:", "-sh:"];

/// A line with a phrase. All ranges are of the output.
pub(super) struct Line<'a> {
    pub(super) output: &'a str,
    pub(super) range: Range<usize>,
    pub(super) phrase: Range<usize>,
}

impl<'a> Line<'a> {
    pub(super) fn around(output: &'a str, phrase: Range<usize>) -> Self {
        let bytes = output.as_bytes();
        let from = floor(output, phrase.start.saturating_sub(LONGEST_SIDE));
        let to = floor(output, (phrase.end + LONGEST_SIDE).min(output.len()));
        let start =
            memchr::memrchr(b'\n', &bytes[from..phrase.start]).map_or(from, |it| from + it + 1);
        let end = memchr::memchr(b'\n', &bytes[phrase.end..to]).map_or(to, |it| phrase.end + it);
        Self { output, range: start..end, phrase }
    }

    pub(super) fn text(&self) -> &'a str {
        &self.output[self.range.clone()]
    }

    pub(super) fn text_until(&self, end: usize) -> &'a str {
        &self.output[self.range.start..end]
    }

    pub(super) fn before(&self) -> &'a str {
        self.text_until(self.phrase.start)
    }

    pub(super) fn after(&self) -> &'a str {
        &self.output[self.phrase.end..self.range.end]
    }

    /// Returns true if a line shows another text: it is numbered, a comment, a part of a diff, or
    /// the name of a test.
    pub(super) fn is_quoted(&self) -> bool {
        let text = self.text().trim_start();
        let after_number = text.trim_start_matches(|c: char| c.is_ascii_digit());
        if after_number.len() < text.len() {
            let after_number = after_number.trim_start_matches(' ');
            return after_number.starts_with([':', '|', '-', '\t', '\u{2192}', '\u{2502}']);
        }
        let is_comment = ["//", "#", "/*", "* ", "<!--", "--> "];
        let is_quote = ["> ", "| ", "\u{2502}", "+++", "---", "@@"];
        let is_diff = match text.as_bytes() {
            [b'+', ..] => true,
            [b'-', next, ..] => *next != b' ',
            _ => false,
        };
        // The name of a login shell begins with a hyphen.
        let is_diff = is_diff && !LOGIN_SHELLS.iter().any(|start| text.starts_with(start));
        let starts = is_comment.iter().chain(&is_quote).chain(TESTS);
        is_diff || starts.into_iter().any(|start| text.starts_with(start))
    }

    /// Returns the name at the end of the text before the phrase: a text in quotes, or else the
    /// last word.
    pub(super) fn name_before(&self) -> Option<Range<usize>> {
        let text = self.before().trim_end_matches([' ', ':', ',', '\t']);
        // `wc: a.txt: open: No such file or directory`
        let verb = CALLS.iter().find_map(|call| text.strip_suffix(call));
        let text = verb.unwrap_or(text);
        let end = self.range.start + text.len();
        let last = text.chars().next_back()?;
        if let Some(open) = opening(last) {
            let inner = &text[..text.len() - last.len_utf8()];
            let at = inner.rfind(open)?;
            let start = at + inner[at..].chars().next()?.len_utf8();
            return named(self.range.start + start..end - last.len_utf8());
        }
        // Some white space has several bytes.
        let word = text.rsplit(char::is_whitespace).next().unwrap_or(text);
        let start = text.len() - word.len();
        let start = start + text[start..].rfind(": ").map_or(0, |at| at + 2);
        named(self.range.start + start..end)
    }

    /// Returns the name at the start of the text after the phrase: a text in quotes, or else the
    /// first word. Skips `, open ` and the like before a text in quotes.
    pub(super) fn name_after(&self) -> Option<Range<usize>> {
        let text = self.after();
        let trimmed = text.trim_start_matches([' ', ':', '\t', '(', ',']);
        let trimmed = match trimmed.split_once(' ') {
            Some((verb, quoted))
                if quoted.starts_with(is_opening)
                    && verb.bytes().all(|it| it.is_ascii_lowercase()) =>
            {
                quoted
            }
            _ => trimmed,
        };
        let start = self.phrase.end + (text.len() - trimmed.len());
        let first = trimmed.chars().next()?;
        if is_opening(first) {
            let inner = &trimmed[first.len_utf8()..];
            let start = start + first.len_utf8();
            let end = inner.find(|c| is_closing(first, c))?;
            return named(start..start + end);
        }
        let ends =
            |c: char| c.is_whitespace() || matches!(c, ',' | ';' | ')' | '"' | '\'' | '`' | '<');
        let end = trimmed.find(ends).unwrap_or(trimmed.len());
        let word = trimmed[..end].trim_end_matches(['.', ':', '!']);
        named(start..start + word.len())
    }
}

fn named(range: Range<usize>) -> Option<Range<usize>> {
    (!range.is_empty()).then_some(range)
}

fn is_opening(c: char) -> bool {
    matches!(c, '\'' | '"' | '`' | '\u{2018}' | '\u{201c}')
}

fn is_closing(open: char, c: char) -> bool {
    match open {
        '`' => matches!(c, '`' | '\''),
        '\u{2018}' => c == '\u{2019}',
        '\u{201c}' => c == '\u{201d}',
        open => c == open,
    }
}

/// Returns the test for the quote that opens what `c` closes.
fn opening(c: char) -> Option<fn(char) -> bool> {
    match c {
        '\'' => Some(|open| matches!(open, '\'' | '`')),
        '"' => Some(|open| open == '"'),
        '`' => Some(|open| open == '`'),
        '\u{2019}' => Some(|open| open == '\u{2018}'),
        '\u{201d}' => Some(|open| open == '\u{201c}'),
        _ => None,
    }
}

/// Returns true if a text consists of the names of programs, numbers, and marks such as `Error:`.
pub(super) fn is_anchored(text: &str) -> bool {
    /// The most words before an error.
    const MOST_WORDS: usize = 7;
    let is_number = |word: &str| {
        let word = word.trim_matches(|c: char| !c.is_ascii_alphanumeric());
        word.bytes().all(|it| it.is_ascii_digit())
    };
    let mut n_words = 0;
    text.split_ascii_whitespace().all(|word| {
        n_words += 1;
        let is_name = word.strip_suffix(':').is_some_and(|name| {
            !name.contains(':') || NUMBERED_SHELLS.iter().any(|shell| name.starts_with(shell))
        });
        let is_mark = is_name || is_number(word) || MARKS.contains(&word);
        n_words <= MOST_WORDS && is_mark
    })
}

/// Returns the part of a name that identifies the cause: a program or a file without its folder,
/// the host of an address.
pub(super) fn essence(class: ErrorClass, output: &str, name: Range<usize>) -> Option<Range<usize>> {
    let text = &output[name.clone()];
    let part = match class {
        ErrorClass::Unreachable => host(text),
        ErrorClass::MissingModule if !text.starts_with(['.', '/']) => text,
        ErrorClass::InvalidArguments => text,
        _ => last_part(text),
    };
    let is_word = part.contains(|c: char| c.is_alphanumeric());
    let is_noun =
        ["file", "File", "path", "directory", "Directory", "error", "Error"].contains(&part);
    if !is_word || is_noun || LONGEST_NAME < part.len() {
        return None;
    }
    let start = name.start + text.find(part)?;
    Some(start..start + part.len())
}

/// Returns the last part of a path, without a line number.
fn last_part(path: &str) -> &str {
    let path = without_number(path);
    let path = path.trim_end_matches(['/', '\\', '.', ':']);
    path.rsplit(['/', '\\']).next().unwrap_or(path)
}

/// Returns the host of an address such as `https://example.org:8080/a`.
fn host(address: &str) -> &str {
    let address = address.split_once("://").map_or(address, |(_, rest)| rest);
    let address = address.split(['/', '?']).next().unwrap_or(address);
    let address = address.rsplit('@').next().unwrap_or(address);
    without_number(address).trim_matches(['[', ']', '.', ':'])
}

/// Removes the line number of a file, or the port of a host.
fn without_number(name: &str) -> &str {
    let number = name.rsplit_once(':').filter(|(_, end)| end.bytes().all(|it| it.is_ascii_digit()));
    number.map_or(name, |(name, _)| name)
}

/// Returns the range of the first program of a command.
pub(super) fn program(command: &str) -> Option<Range<usize>> {
    let name = first_program(command)?;
    let start = command.find(name)?;
    named(start..start + name.len())
}

fn floor(text: &str, at: usize) -> usize {
    (0..=at).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}
