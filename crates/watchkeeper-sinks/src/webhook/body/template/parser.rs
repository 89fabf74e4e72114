//! Parses a template.

use std::vec;

use serde_json::Value;
use watchkeeper_core::author::make_safe;

use super::{
    lexer::{Piece, Tag, TagKind, Token, pieces},
    syntax::{Comparison, Expr, Filter, Node, Step},
};

/// The depth to which statements, and the parentheses of an expression, can nest.
const MAX_DEPTH: usize = 32;
/// The words that cannot be names.
const KEYWORDS: [&str; 13] = [
    "and", "elif", "else", "endfor", "endif", "false", "for", "if", "in", "is", "none", "not", "or",
];
const FILTERS: &str = "`default`, `first`, `join`, `last`, `length`, `lower`, `string`, `tojson`, \
                       `trim`, `truncate` or `upper`";

/// Parses a template that uses the names of the object `known`.
pub(super) fn parse(template: &str, known: &Value) -> Result<Vec<Node>, String> {
    let pieces = pieces(template)?.into_iter();
    let mut parser = Parser { pieces, known, variables: Vec::new() };
    match parser.nodes(0)? {
        (nodes, None) => Ok(nodes),
        (_, Some(end)) => Err(end.unexpected()),
    }
}

struct Parser<'a> {
    pieces: vec::IntoIter<Piece<'a>>,
    known: &'a Value,
    /// The variables of the statements that enclose the next piece, with `loop`.
    variables: Vec<&'a str>,
}

impl<'a> Parser<'a> {
    /// Parses up to a word that continues or ends a statement, and returns its tag.
    fn nodes(&mut self, depth: usize) -> Result<(Vec<Node>, Option<TagParser<'a>>), String> {
        let mut nodes = Vec::new();
        while let Some(piece) = self.pieces.next() {
            let mut tag = match piece {
                Piece::Text(text) => {
                    nodes.push(Node::Text(text.to_owned()));
                    continue;
                }
                Piece::Tag(tag) => TagParser::new(tag),
            };
            if tag.kind == TagKind::Value {
                nodes.push(Node::Value(self.last_expr(&mut tag)?));
                continue;
            }
            if depth == MAX_DEPTH {
                return Err(tag.mistake(format!("statements nest deeper than {MAX_DEPTH}")));
            }
            let word = tag.statement;
            nodes.push(match word {
                Some("if") => self.if_statement(tag, depth + 1)?,
                Some("for") => self.for_statement(tag, depth + 1)?,
                Some("elif" | "else" | "endif" | "endfor") => return Ok((nodes, Some(tag))),
                _ => return Err(tag.unexpected()),
            });
        }
        Ok((nodes, None))
    }

    fn if_statement(&mut self, mut tag: TagParser<'a>, depth: usize) -> Result<Node, String> {
        let line = tag.line;
        let mut branches = Vec::new();
        loop {
            let condition = self.last_expr(&mut tag)?;
            let (nodes, end) = self.nodes(depth)?;
            branches.push((condition, nodes));
            let end = end.ok_or_else(|| format!("line {line}: `if` has no `endif`"))?;
            if end.statement == Some("elif") {
                tag = end;
                continue;
            }
            let otherwise = self.otherwise(end, line, "if", "endif", depth)?;
            return Ok(Node::If { branches, otherwise });
        }
    }

    fn for_statement(&mut self, mut tag: TagParser<'a>, depth: usize) -> Result<Node, String> {
        let line = tag.line;
        let name = match tag.next() {
            Some(Token::Name(name)) if !KEYWORDS.contains(&name) => name,
            other => return Err(tag.expected("the name of a variable", other.as_ref())),
        };
        if !tag.take_word("in") {
            let other = tag.next();
            return Err(tag.expected("`in`", other.as_ref()));
        }
        let list = self.last_expr(&mut tag)?;
        self.variables.extend([name, "loop"]);
        let (body, end) = self.nodes(depth)?;
        self.variables.truncate(self.variables.len() - 2);
        let end = end.ok_or_else(|| format!("line {line}: `for` has no `endfor`"))?;
        let otherwise = self.otherwise(end, line, "for", "endfor", depth)?;
        Ok(Node::For { name: name.to_owned(), list, body, otherwise })
    }

    /// Parses the part after `else`, if `tag` is that, and the end of a statement.
    fn otherwise(
        &mut self,
        mut tag: TagParser<'a>,
        line: usize,
        statement: &str,
        end: &str,
        depth: usize,
    ) -> Result<Vec<Node>, String> {
        let mut otherwise = Vec::new();
        if tag.statement == Some("else") {
            tag.finish()?;
            let (nodes, next) = self.nodes(depth)?;
            otherwise = nodes;
            tag = next.ok_or_else(|| format!("line {line}: `{statement}` has no `{end}`"))?;
        }
        if tag.statement != Some(end) {
            return Err(tag.unexpected());
        }
        tag.finish()?;
        Ok(otherwise)
    }

    /// Parses an expression that ends its tag.
    fn last_expr(&self, tag: &mut TagParser<'a>) -> Result<Expr, String> {
        let expr = self.expr(tag, 0)?;
        tag.finish()?;
        Ok(expr)
    }

    fn expr(&self, tag: &mut TagParser<'a>, depth: usize) -> Result<Expr, String> {
        if depth == MAX_DEPTH {
            return Err(tag.mistake(format!("an expression nests deeper than {MAX_DEPTH}")));
        }
        let then = self.or(tag, depth)?;
        if !tag.take_word("if") {
            return Ok(then);
        }
        let condition = Box::new(self.or(tag, depth)?);
        let otherwise =
            if tag.take_word("else") { Some(Box::new(self.expr(tag, depth + 1)?)) } else { None };
        Ok(Expr::Choice { condition, then: Box::new(then), otherwise })
    }

    fn or(&self, tag: &mut TagParser<'a>, depth: usize) -> Result<Expr, String> {
        chain(tag, |tag| self.and(tag, depth), |tag| tag.take_word("or"), Expr::Or)
    }

    fn and(&self, tag: &mut TagParser<'a>, depth: usize) -> Result<Expr, String> {
        chain(tag, |tag| self.not(tag, depth), |tag| tag.take_word("and"), Expr::And)
    }

    fn not(&self, tag: &mut TagParser<'a>, depth: usize) -> Result<Expr, String> {
        if tag.take_word("not") {
            return Ok(not(self.comparison(tag, depth)?));
        }
        self.comparison(tag, depth)
    }

    fn comparison(&self, tag: &mut TagParser<'a>, depth: usize) -> Result<Expr, String> {
        let left = self.concat(tag, depth)?;
        if tag.take_word("is") {
            let is_negated = tag.take_word("not");
            let is_none = Expr::IsNone(Box::new(left));
            return match tag.next() {
                Some(Token::Name("none")) => Ok(if is_negated { not(is_none) } else { is_none }),
                Some(Token::Name("defined")) => Ok(if is_negated { is_none } else { not(is_none) }),
                other => Err(tag.expected("`none` or `defined`", other.as_ref())),
            };
        }
        let is_negated = tag.take_word("not");
        let (comparison, is_swapped, is_negated) = if tag.take_word("in") {
            (Comparison::In, false, is_negated)
        } else if is_negated {
            let other = tag.next();
            return Err(tag.expected("`in`", other.as_ref()));
        } else {
            let Some(&Token::Symbol(symbol)) = tag.peek() else { return Ok(left) };
            match symbol {
                "==" => (Comparison::Equal, false, false),
                "!=" => (Comparison::Equal, false, true),
                "<" => (Comparison::Less, false, false),
                "<=" => (Comparison::LessOrEqual, false, false),
                ">" => (Comparison::Less, true, false),
                ">=" => (Comparison::LessOrEqual, true, false),
                _ => return Ok(left),
            }
        };
        if comparison != Comparison::In {
            tag.next();
        }
        let right = self.concat(tag, depth)?;
        let (left, right) = if is_swapped { (right, left) } else { (left, right) };
        let compared = Expr::Compare(Box::new(left), comparison, Box::new(right));
        Ok(if is_negated { not(compared) } else { compared })
    }

    fn concat(&self, tag: &mut TagParser<'a>, depth: usize) -> Result<Expr, String> {
        chain(tag, |tag| self.steps(tag, depth), |tag| tag.take("~"), Expr::Concat)
    }

    /// Parses a value with its members, indexes and filters.
    fn steps(&self, tag: &mut TagParser<'a>, depth: usize) -> Result<Expr, String> {
        let first = self.primary(tag, depth)?;
        let mut steps = Vec::new();
        loop {
            if tag.take(".") {
                match tag.next() {
                    Some(Token::Name(name)) => steps.push(Step::Member(name.to_owned())),
                    other => return Err(tag.expected("the name of a member", other.as_ref())),
                }
            } else if tag.take("[") {
                steps.push(Step::Index(self.expr(tag, depth + 1)?));
                tag.close("]")?;
            } else if tag.take("|") {
                steps.push(Step::Filter(self.filter(tag, depth)?));
            } else {
                break;
            }
        }
        self.check_name(&first, steps.first()).map_err(|mistake| tag.mistake(mistake))?;
        Ok(if steps.is_empty() { first } else { Expr::Steps(Box::new(first), steps) })
    }

    /// Checks that a name exists, and a member of a known object.
    fn check_name(&self, first: &Expr, step: Option<&Step>) -> Result<(), String> {
        let Expr::Name(name) = first else { return Ok(()) };
        if self.variables.contains(&name.as_str()) {
            return Ok(());
        }
        let missing = match (self.known.get(name), step) {
            (None, _) => name.clone(),
            (Some(Value::Object(members)), Some(Step::Member(member)))
                if !members.contains_key(member) =>
            {
                format!("{name}.{member}")
            }
            _ => return Ok(()),
        };
        Err(format!("`{}` does not exist", make_safe(&missing)))
    }

    fn primary(&self, tag: &mut TagParser<'a>, depth: usize) -> Result<Expr, String> {
        match tag.next() {
            Some(Token::Symbol("(")) => {
                let expr = self.expr(tag, depth + 1)?;
                tag.close(")")?;
                Ok(expr)
            }
            Some(Token::Symbol("[")) => list(tag).map(Expr::Constant),
            Some(Token::Name(name)) if constant(Token::Name(name)).is_none() => {
                if KEYWORDS.contains(&name) {
                    return Err(tag.expected("a value", Some(&Token::Name(name))));
                }
                Ok(Expr::Name(name.to_owned()))
            }
            other => {
                let shown = other.clone();
                let value = other.and_then(constant);
                value.map(Expr::Constant).ok_or_else(|| tag.expected("a value", shown.as_ref()))
            }
        }
    }

    fn filter(&self, tag: &mut TagParser<'a>, depth: usize) -> Result<Filter, String> {
        let name = match tag.next() {
            Some(Token::Name(name)) => name,
            other => return Err(tag.expected("the name of a filter", other.as_ref())),
        };
        let mut argument = None;
        if tag.take("(") && !tag.take(")") {
            argument = Some(self.expr(tag, depth + 1)?);
            tag.close(")")?;
        }
        Ok(match (name, argument) {
            ("default", Some(value)) => Filter::Default(value),
            ("join", separator) => Filter::Join(separator),
            ("truncate", Some(len)) => Filter::Truncate(len),
            ("default" | "truncate", None) => {
                return Err(tag.mistake(format!("`{name}` needs an argument")));
            }
            ("first", None) => Filter::First,
            ("last", None) => Filter::Last,
            ("length", None) => Filter::Length,
            ("lower", None) => Filter::Lower,
            ("string", None) => Filter::String,
            ("tojson", None) => Filter::ToJson,
            ("trim", None) => Filter::Trim,
            ("upper", None) => Filter::Upper,
            ("first" | "last" | "length" | "lower" | "string" | "tojson" | "trim" | "upper", _) => {
                return Err(tag.mistake(format!("`{name}` has no arguments")));
            }
            _ => {
                let name = make_safe(name);
                return Err(tag.mistake(format!("`{name}` is no filter; use {FILTERS}")));
            }
        })
    }
}

fn not(expr: Expr) -> Expr {
    Expr::Not(Box::new(expr))
}

/// Parses one operand, or several with an operator between them.
fn chain<'a>(
    tag: &mut TagParser<'a>,
    mut operand: impl FnMut(&mut TagParser<'a>) -> Result<Expr, String>,
    mut take_operator: impl FnMut(&mut TagParser<'a>) -> bool,
    join: fn(Vec<Expr>) -> Expr,
) -> Result<Expr, String> {
    let first = operand(tag)?;
    let mut operands = vec![first];
    while take_operator(tag) {
        operands.push(operand(tag)?);
    }
    Ok(match operands.len() {
        1 => operands.remove(0),
        _ => join(operands),
    })
}

/// Returns the value of a token that is a constant.
fn constant(token: Token<'_>) -> Option<Value> {
    Some(match token {
        Token::Text(text) => Value::String(text),
        Token::Number(number) => Value::Number(number),
        Token::Name("true") => Value::Bool(true),
        Token::Name("false") => Value::Bool(false),
        Token::Name("none") => Value::Null,
        Token::Name(_) | Token::Symbol(_) => return None,
    })
}

/// Parses the rest of a list, whose elements are constants: a list of variables could contain
/// the finding many times.
fn list(tag: &mut TagParser<'_>) -> Result<Value, String> {
    let mut elements = Vec::new();
    while !tag.take("]") {
        let token = tag.next();
        let shown = token.clone();
        let element = token.and_then(constant);
        elements.push(
            element.ok_or_else(|| tag.expected("a text or a number in a list", shown.as_ref()))?,
        );
        if !tag.take(",") {
            tag.close("]")?;
            break;
        }
    }
    Ok(Value::Array(elements))
}

/// The remaining tokens of a tag.
struct TagParser<'a> {
    line: usize,
    kind: TagKind,
    /// The first word of a statement.
    statement: Option<&'a str>,
    tokens: std::iter::Peekable<vec::IntoIter<Token<'a>>>,
}

impl<'a> TagParser<'a> {
    fn new(Tag { line, kind, tokens }: Tag<'a>) -> Self {
        let mut tag = Self { line, kind, statement: None, tokens: tokens.into_iter().peekable() };
        if kind == TagKind::Statement
            && let Some(&Token::Name(name)) = tag.peek()
        {
            tag.next();
            tag.statement = Some(name);
        }
        tag
    }

    fn peek(&mut self) -> Option<&Token<'a>> {
        self.tokens.peek()
    }

    fn next(&mut self) -> Option<Token<'a>> {
        self.tokens.next()
    }

    fn take(&mut self, symbol: &'static str) -> bool {
        self.tokens.next_if(|token| *token == Token::Symbol(symbol)).is_some()
    }

    fn take_word(&mut self, word: &str) -> bool {
        self.tokens.next_if(|token| matches!(token, Token::Name(name) if *name == word)).is_some()
    }

    fn close(&mut self, symbol: &'static str) -> Result<(), String> {
        if self.take(symbol) {
            return Ok(());
        }
        let other = self.next();
        Err(self.expected(&format!("`{symbol}`"), other.as_ref()))
    }

    /// Checks that nothing follows in the tag.
    fn finish(&mut self) -> Result<(), String> {
        match self.next() {
            None => Ok(()),
            token => Err(self.expected("the end of the tag", token.as_ref())),
        }
    }

    fn mistake(&self, mistake: impl std::fmt::Display) -> String {
        format!("line {}: {mistake}", self.line)
    }

    fn expected(&self, expected: &str, found: Option<&Token<'_>>) -> String {
        let found = found.map_or_else(|| "the end of the tag".to_owned(), Token::shown);
        self.mistake(format_args!("expected {expected}, not {found}"))
    }

    /// Returns the mistake of a statement that does not exist, or not here.
    fn unexpected(&self) -> String {
        match self.statement {
            Some(word @ ("elif" | "else" | "endif" | "endfor")) => {
                self.mistake(format_args!("`{word}` is outside of its statement"))
            }
            Some(word) => {
                let word = make_safe(word);
                self.mistake(format_args!("`{word}` is no statement; use `if` or `for`"))
            }
            None => self.mistake("a statement begins with `if` or `for`"),
        }
    }
}
