//! The parser of patterns.

use std::fmt;

use crate::{automaton::Tree, nearest::nearest};

/// The longest pattern, in bytes.
pub(crate) const MAX_LEN: usize = 8192;
/// The largest number of positions after expanding counted repetitions.
pub(crate) const MAX_POSITIONS: u64 = 1024;
/// The deepest nesting of parentheses.
const MAX_DEPTH: usize = 64;

/// An error in a pattern, with its column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PatternError {
    /// In characters, starting at 1; `None` for the whole pattern.
    column: Option<usize>,
    message: String,
}

impl fmt::Display for PatternError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(column) = self.column {
            write!(f, "column {column}: ")?;
        }
        f.write_str(&self.message)
    }
}

/// Parses a pattern over symbols with these names.
pub(crate) fn parse(text: &str, names: &[&str]) -> Result<Tree, PatternError> {
    let whole = |message: String| PatternError { column: None, message };
    if text.trim().is_empty() {
        return Err(whole(
            "the pattern is empty; write the symbols in the order of their events".to_owned(),
        ));
    }
    if MAX_LEN < text.len() {
        return Err(whole(format!(
            "the pattern has {} bytes, the maximum is {MAX_LEN}; use `{{m,n}}` for repetitions",
            text.len()
        )));
    }
    let mut parser = Parser { chars: text.chars().collect(), at: 0, depth: 0, names };
    let tree = parser.choice()?;
    if parser.peek().is_some() {
        return Err(parser.error("unmatched `)`; remove it"));
    }
    check_size(&tree).map_err(whole)?;
    if tree.is_nullable() {
        return Err(whole(
            "the pattern matches without any event, because all parts are optional; replace `*` \
             with `+` or remove a `?`"
                .to_owned(),
        ));
    }
    Ok(tree)
}

fn check_size(tree: &Tree) -> Result<(), String> {
    match tree.n_positions() {
        ..=MAX_POSITIONS => Ok(()),
        n => Err(format!(
            "the pattern has {n} positions after expanding counted repetitions, the maximum is \
             {MAX_POSITIONS}; use fewer repetitions, or count matches with levels"
        )),
    }
}

struct Parser<'a> {
    chars: Vec<char>,
    at: usize,
    depth: usize,
    names: &'a [&'a str],
}

impl Parser<'_> {
    fn choice(&mut self) -> Result<Tree, PatternError> {
        let mut parts = vec![self.sequence()?];
        while self.eat('|') {
            parts.push(self.sequence()?);
        }
        Ok(if parts.len() == 1 { parts.remove(0) } else { Tree::Choice(parts) })
    }

    fn sequence(&mut self) -> Result<Tree, PatternError> {
        let mut parts = Vec::new();
        while let Some(c) = self.peek() {
            match c {
                '|' | ')' => break,
                _ => parts.push(self.repetition()?),
            }
        }
        match parts.len() {
            0 => Err(self.error("missing symbol; put a `?` after an optional part")),
            1 => Ok(parts.remove(0)),
            _ => Ok(Tree::Sequence(parts)),
        }
    }

    fn repetition(&mut self) -> Result<Tree, PatternError> {
        let atom = self.atom()?;
        let Some(c) = self.peek() else { return Ok(atom) };
        let start = self.at;
        let (min, max) = match c {
            '?' => (0, Some(1)),
            '*' => (0, None),
            '+' => (1, None),
            '{' => self.bounds()?,
            _ => return Ok(atom),
        };
        if c != '{' {
            self.at += 1;
        }
        if let Some(next @ ('?' | '*' | '+' | '{')) = self.peek() {
            return Err(self.error(format!(
                "`{next}` follows another repetition; put the repeated part in parentheses"
            )));
        }
        let tree = Tree::Repeat { inner: Box::new(atom), min, max };
        check_size(&tree).map_err(|message| PatternError { column: Some(start + 1), message })?;
        Ok(tree)
    }

    fn atom(&mut self) -> Result<Tree, PatternError> {
        let start = self.at;
        match self.peek() {
            Some('(') => {
                self.at += 1;
                self.depth += 1;
                if self.depth > MAX_DEPTH {
                    return Err(self.error_at(
                        start,
                        format!("parentheses are nested deeper than {MAX_DEPTH}; nest fewer"),
                    ));
                }
                let tree = self.choice()?;
                if !self.eat(')') {
                    return Err(self.error_at(start, "unclosed `(`; add a `)`"));
                }
                self.depth -= 1;
                Ok(tree)
            }
            Some(c) if is_name(c) => {
                while self.chars.get(self.at).is_some_and(|c| is_name(*c)) {
                    self.at += 1;
                }
                let name: String = self.chars[start..self.at].iter().collect();
                self.symbol(&name, start)
            }
            Some(c @ ('?' | '*' | '+' | '{')) => {
                Err(self.error(format!("missing symbol before `{c}`")))
            }
            Some('.') => Err(self.error(
                "`.` is not supported; remove it: events that satisfy no symbol of the pattern \
                 are skipped",
            )),
            Some(c) => Err(self.error(format!(
                "unexpected `{c}`; use names, spaces, `( ) | ? * +` and `{{m,n}}`"
            ))),
            None => Err(self.error("missing symbol at the end")),
        }
    }

    fn symbol(&self, name: &str, start: usize) -> Result<Tree, PatternError> {
        if let Some(idx) = self.names.iter().position(|known| *known == name) {
            return Ok(Tree::Symbol(u8::try_from(idx).unwrap_or(u8::MAX)));
        }
        // `EF` is a sequence in other regular expressions.
        let letters: Vec<String> = name.chars().map(String::from).collect();
        let hint = if letters.iter().all(|letter| self.names.contains(&letter.as_str())) {
            format!("write `{}`", letters.join(" "))
        } else if let Some(near) = nearest(name, self.names.iter().copied()) {
            format!("did you mean `{near}`?")
        } else {
            format!("use one of `{}`", self.names.join("`, `"))
        };
        Err(self.error_at(start, format!("unknown symbol `{name}`; {hint}")))
    }

    /// Reads `{m}`, `{m,}` or `{m,n}`.
    fn bounds(&mut self) -> Result<(u32, Option<u32>), PatternError> {
        let start = self.at;
        let len = self.chars[start..].iter().position(|c| *c == '}');
        let Some(end) = len.map(|len| start + len) else {
            return Err(self.error("unclosed `{`; write `{m}`, `{m,}` or `{m,n}`"));
        };
        let inner: String = self.chars[start + 1..end].iter().collect();
        self.at = end + 1;
        let (min, max) = inner.split_once(',').map_or((&*inner, None), |(a, b)| (a, Some(b)));
        let number = |text: &str| text.trim().parse::<u32>().ok();
        let (min, max) = match (number(min), max.map(str::trim)) {
            (Some(min), None) => (min, Some(min)),
            (Some(min), Some("")) => (min, None),
            (Some(min), Some(max)) if number(max).is_some() => (min, number(max)),
            _ => {
                return Err(self.error_at(
                    start,
                    format!(
                        "invalid repetition `{{{inner}}}`; write `{{m}}`, `{{m,}}` or `{{m,n}}`"
                    ),
                ));
            }
        };
        if max == Some(0) {
            return Err(self.error_at(start, "zero repetitions; remove the repeated part"));
        }
        if max.is_some_and(|max| max < min) {
            let swapped = format!("{{{},{min}}}", max.unwrap_or_default());
            return Err(self.error_at(
                start,
                format!("the minimum in `{{{inner}}}` exceeds the maximum; write `{swapped}`"),
            ));
        }
        Ok((min, max))
    }

    /// Skips white space and returns the next character.
    fn peek(&mut self) -> Option<char> {
        while self.chars.get(self.at).is_some_and(|c| c.is_whitespace()) {
            self.at += 1;
        }
        self.chars.get(self.at).copied()
    }

    fn eat(&mut self, c: char) -> bool {
        let is_next = self.peek() == Some(c);
        self.at += usize::from(is_next);
        is_next
    }

    fn error(&self, message: impl Into<String>) -> PatternError {
        self.error_at(self.at, message)
    }

    fn error_at(&self, at: usize, message: impl Into<String>) -> PatternError {
        PatternError { column: Some(at + 1), message: message.into() }
    }
}

/// Returns true if a character is allowed in the name of a symbol.
pub(crate) fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}
