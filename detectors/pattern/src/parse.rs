//! Reads a pattern.

use std::fmt;

use crate::{automaton::Tree, nearest};

/// The longest pattern, in bytes.
pub(crate) const MAX_LEN: usize = 8192;
/// The most positions, once counted repetitions are written out.
pub(crate) const MAX_POSITIONS: u64 = 1024;
/// The deepest nesting of parentheses.
const MAX_DEPTH: usize = 64;

/// What is wrong with a pattern, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PatternError {
    /// In characters, counted from 1; `None` is the whole.
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

/// Reads a pattern over symbols of these names.
pub(crate) fn parse(text: &str, names: &[&str]) -> Result<Tree, PatternError> {
    let whole = |message: String| PatternError { column: None, message };
    if text.trim().is_empty() {
        return Err(whole("it is empty; name the symbols in the order they come in".to_owned()));
    }
    if MAX_LEN < text.len() {
        return Err(whole(format!(
            "it has {} bytes, and {MAX_LEN} are the most; repeat what recurs with `{{m,n}}`",
            text.len()
        )));
    }
    let mut parser = Parser { chars: text.chars().collect(), at: 0, depth: 0, names };
    let tree = parser.choice()?;
    if parser.peek().is_some() {
        return Err(parser.error("this `)` closes nothing; take it out"));
    }
    check_size(&tree).map_err(whole)?;
    if tree.is_nullable() {
        return Err(whole(
            "it fits where nothing happens: all of it may be left out; use `+` for `*` or take \
             away a `?`"
                .to_owned(),
        ));
    }
    Ok(tree)
}

fn check_size(tree: &Tree) -> Result<(), String> {
    match tree.n_positions() {
        ..=MAX_POSITIONS => Ok(()),
        n => Err(format!(
            "with counted repetitions written out, the pattern has {n} positions, and \
             {MAX_POSITIONS} are the most; repeat less, or let levels count the matches"
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
            0 => Err(self.error("a symbol is missing here; put a `?` after what may be left out")),
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
                "a repetition is repeated by `{next}`; put what it repeats in parentheses"
            )));
        }
        let res = Tree::Repeat { inner: Box::new(atom), min, max };
        check_size(&res).map_err(|message| PatternError { column: Some(start + 1), message })?;
        Ok(res)
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
                        format!("parentheses are nested deeper than {MAX_DEPTH}; write it flatter"),
                    ));
                }
                let res = self.choice()?;
                if !self.eat(')') {
                    return Err(self.error_at(start, "this `(` is not closed; add a `)`"));
                }
                self.depth -= 1;
                Ok(res)
            }
            Some(c) if is_name(c) => {
                while self.chars.get(self.at).is_some_and(|it| is_name(*it)) {
                    self.at += 1;
                }
                let name: String = self.chars[start..self.at].iter().collect();
                self.symbol(&name, start)
            }
            Some(c @ ('?' | '*' | '+' | '{')) => {
                Err(self.error(format!("there is nothing before this `{c}` to repeat")))
            }
            Some('.') => Err(self.error(
                "no `.` stands for any event: events that satisfy no symbol of the pattern are \
                 passed over anyway",
            )),
            Some(c) => Err(self.error(format!(
                "`{c}` means nothing here; there are names, spaces, `( ) | ? * +` and `{{m,n}}`"
            ))),
            None => Err(self.error("a symbol is missing at the end")),
        }
    }

    fn symbol(&self, name: &str, start: usize) -> Result<Tree, PatternError> {
        if let Some(idx) = self.names.iter().position(|it| *it == name) {
            return Ok(Tree::Symbol(u8::try_from(idx).unwrap_or(u8::MAX)));
        }
        // Whoever writes `EF` has been writing other regular expressions.
        let letters: Vec<String> = name.chars().map(String::from).collect();
        let hint = if letters.iter().all(|it| self.names.contains(&it.as_str())) {
            format!("write `{}`", letters.join(" "))
        } else if let Some(near) = nearest(name, self.names.iter().copied()) {
            format!("did you mean `{near}`?")
        } else {
            format!("there are `{}`", self.names.join("`, `"))
        };
        Err(self.error_at(start, format!("no symbol is called `{name}`; {hint}")))
    }

    /// Reads `{m}`, `{m,}` or `{m,n}`.
    fn bounds(&mut self) -> Result<(u32, Option<u32>), PatternError> {
        let start = self.at;
        let len = self.chars[start..].iter().position(|it| *it == '}');
        let Some(end) = len.map(|it| start + it) else {
            return Err(self.error("this `{` is not closed; write `{m}`, `{m,}` or `{m,n}`"));
        };
        let inner: String = self.chars[start + 1..end].iter().collect();
        self.at = end + 1;
        let (min, max) = inner.split_once(',').map_or((&*inner, None), |(a, b)| (a, Some(b)));
        let number = |it: &str| it.trim().parse::<u32>().ok();
        let (min, max) = match (number(min), max.map(str::trim)) {
            (Some(min), None) => (min, Some(min)),
            (Some(min), Some("")) => (min, None),
            (Some(min), Some(max)) if number(max).is_some() => (min, number(max)),
            _ => {
                return Err(self.error_at(
                    start,
                    format!(
                        "`{{{inner}}}` is no number of times; write `{{m}}`, `{{m,}}` or `{{m,n}}`"
                    ),
                ));
            }
        };
        if max == Some(0) {
            return Err(self.error_at(start, "what comes 0 times can be taken out"));
        }
        if max.is_some_and(|it| it < min) {
            let right = format!("{{{},{min}}}", max.unwrap_or_default());
            return Err(self.error_at(
                start,
                format!("`{{{inner}}}` is the wrong way round; write `{right}`"),
            ));
        }
        Ok((min, max))
    }

    /// The next character that is no space.
    fn peek(&mut self) -> Option<char> {
        while self.chars.get(self.at).is_some_and(|it| it.is_whitespace()) {
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

/// Whether a character may stand in the name of a symbol.
pub(crate) fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}
