//! Splits a template into its texts and tags.

use watchkeeper_core::author::make_safe;

/// A part of a template. Comments are no part.
pub(super) enum Piece<'a> {
    Text(&'a str),
    Tag(Tag<'a>),
}

/// The content of a tag.
pub(super) struct Tag<'a> {
    /// The line on which the tag begins.
    pub(super) line: usize,
    pub(super) kind: TagKind,
    pub(super) tokens: Vec<Token<'a>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum TagKind {
    /// `{{ … }}`
    Value,
    /// `{% … %}`
    Statement,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token<'a> {
    Name(&'a str),
    Text(String),
    Number(serde_json::Number),
    Symbol(&'static str),
}

impl Token<'_> {
    /// Returns the token for a message.
    pub(super) fn shown(&self) -> String {
        match self {
            Self::Name(name) => format!("`{}`", make_safe(name)),
            Self::Text(_) => "a text".to_owned(),
            Self::Number(number) => format!("`{number}`"),
            Self::Symbol(symbol) => format!("`{symbol}`"),
        }
    }
}

/// The symbols of expressions, and `=` of statements that do not exist. A symbol stands before
/// those that it begins with.
const SYMBOLS: [&str; 15] =
    ["==", "!=", "<=", ">=", "<", ">", "=", "~", "|", ".", ",", "(", ")", "[", "]"];

/// Returns the parts of a template.
pub(super) fn pieces(template: &str) -> Result<Vec<Piece<'_>>, String> {
    let mut lexer = Lexer { rest: template, line: 1 };
    let mut pieces = Vec::new();
    let mut trims_start = false;
    loop {
        let text = lexer.text();
        let is_trimmed_after = lexer.rest.get(2..3) == Some("-");
        let text = if trims_start { text.trim_start() } else { text };
        let text = if is_trimmed_after { text.trim_end() } else { text };
        if !text.is_empty() {
            pieces.push(Piece::Text(text));
        }
        let kind = match lexer.rest.get(..2) {
            Some("{{") => TagKind::Value,
            Some("{%") => TagKind::Statement,
            Some(_) => {
                trims_start = lexer.skip_comment()?;
                continue;
            }
            None => return Ok(pieces),
        };
        let line = lexer.line;
        lexer.advance(if is_trimmed_after { 3 } else { 2 });
        let (tokens, trims_next) = lexer.tokens(line, kind)?;
        trims_start = trims_next;
        pieces.push(Piece::Tag(Tag { line, kind, tokens }));
    }
}

struct Lexer<'a> {
    rest: &'a str,
    line: usize,
}

impl<'a> Lexer<'a> {
    fn advance(&mut self, len: usize) -> &'a str {
        let (passed, rest) = self.rest.split_at(len);
        self.line += passed.matches('\n').count();
        self.rest = rest;
        passed
    }

    /// Returns the text before the next tag or comment.
    fn text(&mut self) -> &'a str {
        let opens = |window: &[u8]| matches!(window, b"{{" | b"{%" | b"{#");
        let len = self.rest.as_bytes().windows(2).position(opens);
        self.advance(len.unwrap_or(self.rest.len()))
    }

    /// Skips a comment, and returns whether the text after the comment loses its leading space.
    fn skip_comment(&mut self) -> Result<bool, String> {
        let Some(len) = self.rest[2..].find("#}") else {
            return Err(format!("line {}: a comment has no end `#}}`", self.line));
        };
        Ok(self.advance(len + 4).ends_with("-#}"))
    }

    /// Reads a tag to its end, and returns whether the text after the tag loses its leading space.
    fn tokens(&mut self, start: usize, kind: TagKind) -> Result<(Vec<Token<'a>>, bool), String> {
        let end = if kind == TagKind::Value { "}}" } else { "%}" };
        let mut tokens = Vec::new();
        loop {
            let len = self.rest.len() - self.rest.trim_start().len();
            self.advance(len);
            let after_dash = self.rest.strip_prefix('-');
            if after_dash.unwrap_or(self.rest).starts_with(end) {
                let trims = after_dash.is_some();
                self.advance(end.len() + usize::from(trims));
                return Ok((tokens, trims));
            }
            let Some(first) = self.rest.chars().next() else {
                return Err(format!("line {start}: a tag has no end `{end}`"));
            };
            tokens.push(self.token(first)?);
        }
    }

    fn token(&mut self, first: char) -> Result<Token<'a>, String> {
        let is_in_name = |c: char| c.is_alphanumeric() || c == '_';
        let len_of = |rest: &str, is_part: &dyn Fn(char) -> bool| {
            rest.find(|c| !is_part(c)).unwrap_or(rest.len())
        };
        let is_number = first.is_ascii_digit()
            || (first == '-' && self.rest[1..].starts_with(|c: char| c.is_ascii_digit()));
        if is_number {
            let digits = &self.rest[1..];
            let len = 1 + len_of(digits, &|c| c == '.' || is_in_name(c));
            let number = self.advance(len);
            return serde_json::from_str(number).map(Token::Number).map_err(|_| {
                format!("line {}: `{}` is not a number", self.line, make_safe(number))
            });
        }
        if is_in_name(first) {
            let len = len_of(self.rest, &is_in_name);
            return Ok(Token::Name(self.advance(len)));
        }
        if first == '"' || first == '\'' {
            return self.string(first).map(Token::Text);
        }
        match SYMBOLS.into_iter().find(|symbol| self.rest.starts_with(symbol)) {
            Some(symbol) => {
                self.advance(symbol.len());
                Ok(Token::Symbol(symbol))
            }
            None => {
                let shown = make_safe(&first.to_string());
                Err(format!("line {}: unexpected `{shown}`", self.line))
            }
        }
    }

    fn string(&mut self, quote: char) -> Result<String, String> {
        let mut text = String::new();
        let mut chars = self.rest.char_indices().skip(1);
        while let Some((idx, c)) = chars.next() {
            if c == quote {
                self.advance(idx + 1);
                return Ok(text);
            }
            let c = match c {
                '\\' => match chars.next().map(|(_, escaped)| escaped) {
                    Some('n') => '\n',
                    Some('t') => '\t',
                    Some(escaped @ ('\\' | '"' | '\'')) => escaped,
                    _ => {
                        return Err(format!(
                            "line {}: a `\\` in a text stands before `n`, `t`, `\\` or a quote",
                            self.line
                        ));
                    }
                },
                c => c,
            };
            text.push(c);
        }
        Err(format!("line {}: a text has no end `{quote}`", self.line))
    }
}
