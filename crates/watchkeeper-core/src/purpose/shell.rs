//! Splits a shell script into its simple commands.

/// The largest nesting of substitutions and subshells that is followed.
const MAX_DEPTH: u8 = 4;

/// A simple command of a script.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SimpleCommand<'a> {
    /// The words, as written.
    pub(super) text: &'a str,
    /// True if the command reads the output of the previous command.
    pub(super) is_piped: bool,
    /// True if the output is redirected into a file.
    pub(super) writes_file: bool,
}

/// Calls `visit` for each simple command of a script, including those in substitutions and
/// subshells. Quoted text, comments and the bodies of here-documents contain no commands.
pub(super) fn for_each_command<'a>(script: &'a str, visit: &mut dyn FnMut(SimpleCommand<'a>)) {
    Splitter { script, at: 0, depth: 0, delimiters: Vec::new(), visit }.split(None);
}

/// True for bytes that begin or end something outside quotes. Most bytes do not.
static SPECIAL: [bool; 256] = {
    let bytes = b"\\'\"`$<>&(#\n;|)";
    let mut special = [false; 256];
    let mut idx = 0;
    while idx < bytes.len() {
        special[bytes[idx] as usize] = true;
        idx += 1;
    }
    special
};

struct Splitter<'a, 'v> {
    script: &'a str,
    at: usize,
    depth: u8,
    /// The delimiters of the here-documents that begin at the next line.
    delimiters: Vec<&'a str>,
    visit: &'v mut dyn FnMut(SimpleCommand<'a>),
}

impl Splitter<'_, '_> {
    /// Visits the commands up to an unquoted `end`, or up to the end of the script.
    fn split(&mut self, end: Option<u8>) {
        let mut start = self.at;
        let (mut is_piped, mut writes_file) = (false, false);
        loop {
            self.skip_plain();
            let Some(byte) = self.peek(0).filter(|byte| Some(*byte) != end) else { break };
            let from = self.at;
            self.at += 1;
            match byte {
                b'\\' => self.at += 1,
                b'\'' => self.skip_past(b'\''),
                b'"' => self.skip_double_quoted(),
                b'`' => self.split_nested(b'`'),
                b'$' if self.peek(0) == Some(b'(') => self.split_substitution(),
                b'<' if self.peek(0) == Some(b'<') => self.start_here_document(),
                b'>' => writes_file |= self.is_file_next(),
                // `2>&1`, `&>log`
                b'&' if self.peek(0) == Some(b'>') || self.script[..from].ends_with(['>', '<']) => {
                }
                b'(' if self.peek(0) == Some(b'(') => self.skip_arithmetic(),
                b'#' if self.starts_word(from) => {
                    self.visit(start, from, is_piped, writes_file);
                    let rest = self.script.as_bytes().get(self.at..).unwrap_or_default();
                    self.at += memchr::memchr(b'\n', rest).unwrap_or(rest.len());
                    start = self.at;
                }
                b'\n' | b';' | b'&' | b'|' | b'(' | b')' => {
                    self.visit(start, from, is_piped, writes_file);
                    let is_double = self.peek(0) == Some(byte) && matches!(byte, b'&' | b'|');
                    self.at += usize::from(is_double);
                    is_piped = byte == b'|' && !is_double;
                    writes_file = false;
                    match byte {
                        b'(' => self.split_nested(b')'),
                        b'\n' => self.skip_here_documents(),
                        _ => {}
                    }
                    start = self.at;
                }
                _ => {}
            }
        }
        self.visit(start, self.at, is_piped, writes_file);
    }

    fn visit(&mut self, start: usize, end: usize, is_piped: bool, writes_file: bool) {
        let text = self.script.get(start..end.min(self.script.len())).unwrap_or_default().trim();
        if !text.is_empty() {
            (self.visit)(SimpleCommand { text, is_piped, writes_file });
        }
    }

    /// Skips bytes that have no meaning outside quotes.
    fn skip_plain(&mut self) {
        let rest = self.script.as_bytes().get(self.at..).unwrap_or_default();
        let is_special = |byte: &u8| SPECIAL[usize::from(*byte)];
        self.at += rest.iter().position(is_special).unwrap_or(rest.len());
    }

    fn peek(&self, offset: usize) -> Option<u8> {
        self.script.as_bytes().get(self.at + offset).copied()
    }

    /// Visits the commands of a substitution whose parenthesis is next.
    fn split_substitution(&mut self) {
        self.at += 1;
        if self.peek(0) == Some(b'(') {
            self.skip_arithmetic();
        } else {
            self.split_nested(b')');
        }
    }

    /// Skips an arithmetic expression, up to its double parenthesis.
    fn skip_arithmetic(&mut self) {
        let rest = self.script.as_bytes().get(self.at..).unwrap_or_default();
        self.at += memchr::memmem::find(rest, b"))").map_or(rest.len(), |at| at + 2);
    }

    fn split_nested(&mut self, end: u8) {
        if self.depth < MAX_DEPTH {
            self.depth += 1;
            self.split(Some(end));
            self.depth -= 1;
            self.at += 1;
        }
    }

    fn skip_past(&mut self, end: u8) {
        let rest = self.script.as_bytes().get(self.at..).unwrap_or_default();
        self.at += memchr::memchr(end, rest).map_or(rest.len(), |at| at + 1);
    }

    /// Skips double-quoted text, but visits the substitutions in it.
    fn skip_double_quoted(&mut self) {
        while let Some(byte) = self.peek(0) {
            self.at += 1;
            match byte {
                b'"' => return,
                b'\\' => self.at += 1,
                b'`' => self.split_nested(b'`'),
                b'$' if self.peek(0) == Some(b'(') => self.split_substitution(),
                _ => {}
            }
        }
    }

    /// Returns true if the target of a redirection is a file.
    fn is_file_next(&self) -> bool {
        let target = self.script.get(self.at..).unwrap_or_default();
        let target = target.strip_prefix('>').unwrap_or(target).trim_start();
        !(target.starts_with('&') || target.starts_with("/dev/null"))
    }

    fn starts_word(&self, at: usize) -> bool {
        let before = self.script.as_bytes()[..at].last();
        before.is_none_or(|byte| byte.is_ascii_whitespace() || b";&|(".contains(byte))
    }

    /// Reads the delimiter after `<<`, unless it is a here-string `<<<`.
    fn start_here_document(&mut self) {
        self.at += 1;
        if self.peek(0) == Some(b'<') {
            self.at += 1;
            return;
        }
        let rest = self.script.get(self.at..).unwrap_or_default();
        let word = rest.strip_prefix('-').unwrap_or(rest).trim_start_matches([' ', '\t']);
        let ends_word = |c: char| c.is_whitespace() || ";&|<>()".contains(c);
        let word = &word[..word.find(ends_word).unwrap_or(word.len())];
        let delimiter = word.trim_matches(['\'', '"', '\\']);
        if !delimiter.is_empty() {
            self.at += rest.find(word).unwrap_or_default() + word.len();
            self.delimiters.push(delimiter);
        }
    }

    fn skip_here_documents(&mut self) {
        for delimiter in std::mem::take(&mut self.delimiters) {
            loop {
                let rest = self.script.get(self.at..).unwrap_or_default();
                let Some(line) = rest.split_inclusive('\n').next() else { return };
                self.at += line.len();
                if line.trim_end_matches(['\n', '\r']).trim_start_matches('\t') == delimiter {
                    break;
                }
            }
        }
    }
}

/// The words of a simple command, with their quotes. A substitution is part of its word.
#[derive(Clone, Copy, Debug)]
pub(super) struct Words<'a> {
    rest: &'a str,
}

impl<'a> Words<'a> {
    pub(super) fn of(command: &'a str) -> Self {
        Self { rest: command }
    }

    /// Returns the text that has not been split yet.
    pub(super) fn rest(self) -> &'a str {
        self.rest.trim()
    }
}

#[expect(clippy::copy_iterator, reason = "a copy keeps a position in a command")]
impl<'a> Iterator for Words<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        self.rest = self.rest.trim_start();
        if self.rest.is_empty() {
            return None;
        }
        // Most words have no quotes.
        let is_special = |byte: &u8| SPECIAL[usize::from(*byte)] || byte.is_ascii_whitespace();
        let plain = self.rest.as_bytes().iter().position(is_special).unwrap_or(self.rest.len());
        let (mut quote, mut n_open, mut is_escaped) = (None, 0_u32, false);
        let end = self.rest.bytes().skip(plain).position(|byte| {
            let is_plain = std::mem::take(&mut is_escaped);
            match (byte, quote) {
                _ if is_plain => {}
                (b'\\', quote) => is_escaped = quote != Some(b'\''),
                (b'\'' | b'"', None) => quote = Some(byte),
                (byte, Some(open)) if byte == open => quote = None,
                (b'(', None) => n_open += 1,
                (b')', None) => n_open = n_open.saturating_sub(1),
                (byte, None) => return n_open == 0 && byte.is_ascii_whitespace(),
                _ => {}
            }
            false
        });
        let end = end.map_or(self.rest.len(), |at| plain + at);
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        Some(word)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Words, for_each_command};

    /// Returns the length of the first word, byte by byte.
    fn naive_len(text: &str) -> usize {
        let (mut quote, mut n_open, mut is_escaped) = (None, 0_u32, false);
        for (at, c) in text.char_indices() {
            if std::mem::take(&mut is_escaped) {
                continue;
            }
            match c {
                '\\' => is_escaped = quote != Some('\''),
                '\'' | '"' if quote.is_none() => quote = Some(c),
                _ if quote.is_some() => quote = quote.filter(|quote| *quote != c),
                '(' => n_open += 1,
                ')' => n_open = n_open.saturating_sub(1),
                _ if n_open == 0 && c.is_ascii_whitespace() => return at,
                _ => {}
            }
        }
        text.len()
    }

    fn commands(script: &str) -> Vec<(String, bool, bool)> {
        let mut commands = Vec::new();
        for_each_command(script, &mut |command| {
            commands.push((command.text.to_owned(), command.is_piped, command.writes_file));
        });
        commands
    }

    proptest! {
        #[test]
        fn splits_the_words_that_a_naive_search_splits(text in r#"[ab é$\n'"\\()&#]{0,24}"#) {
            let mut rest = &*text;
            for word in Words::of(&text) {
                rest = rest.trim_start();
                let len = naive_len(rest);
                prop_assert_eq!(word, &rest[..len]);
                rest = &rest[len..];
            }
            prop_assert!(rest.trim_start().is_empty());
        }

        #[test]
        fn longer_names_change_no_command(script in r#"[ab \n'"`\\$<>&(#;|)]{0,24}"#) {
            let longer = |text: &str| text.replace('a', "aaa");
            let mut expected = commands(&script);
            for (text, ..) in &mut expected {
                *text = longer(text);
            }
            prop_assert_eq!(commands(&longer(&script)), expected);
        }
    }
}
