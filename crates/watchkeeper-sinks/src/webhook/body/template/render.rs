//! Renders a parsed template.

use std::{borrow::Cow, cmp::Ordering, io};

use serde_json::{Value, json};

use super::syntax::{Comparison, Expr, Filter, Node, Step};

/// The budget of one rendering: the bytes of all texts that it writes, and one for each
/// expression. So this bounds both time and memory.
const BUDGET: usize = 1 << 20;
/// The cost of one round of a loop, which makes the value of `loop`.
const ROUND: usize = 32;

/// Returns the output of a template for the names of the object `names`.
pub(super) fn render<'a>(nodes: &'a [Node], names: &'a Value) -> Result<String, String> {
    let mut rendering = Rendering { names, variables: Vec::new(), left: BUDGET };
    let mut output = Vec::new();
    let rendered = rendering.nodes(nodes, &mut output);
    rendered.map_err(|Exhausted| format!("a rendering makes more than {BUDGET} bytes"))?;
    Ok(String::from_utf8_lossy(&output).into_owned())
}

struct Rendering<'a> {
    names: &'a Value,
    variables: Vec<(&'a str, Cow<'a, Value>)>,
    /// The rest of the budget.
    left: usize,
}

/// The budget is spent.
struct Exhausted;

type Result<T, E = Exhausted> = std::result::Result<T, E>;

impl<'a> Rendering<'a> {
    fn nodes(&mut self, nodes: &'a [Node], output: &mut Vec<u8>) -> Result<()> {
        for node in nodes {
            match node {
                Node::Text(text) => {
                    self.spend(text.len())?;
                    output.extend(text.as_bytes());
                }
                Node::Value(expr) => {
                    let value = self.value(expr)?;
                    self.write_json(&value, output)?;
                }
                Node::If { branches, otherwise } => {
                    let mut selected = otherwise;
                    for (condition, nodes) in branches {
                        if is_true(&*self.value(condition)?) {
                            selected = nodes;
                            break;
                        }
                    }
                    self.nodes(selected, output)?;
                }
                Node::For { name, list, body, otherwise } => {
                    let items = self.items(list)?;
                    let n = items.len();
                    for (idx, item) in items.into_iter().enumerate() {
                        self.spend(ROUND)?;
                        let (first, last) = (idx == 0, idx + 1 == n);
                        let round = json!({
                            "index": idx + 1, "index0": idx, "first": first, "last": last, "length": n,
                        });
                        self.variables.push((name, item));
                        self.variables.push(("loop", Cow::Owned(round)));
                        self.nodes(body, output)?;
                        self.variables.truncate(self.variables.len() - 2);
                    }
                    if n == 0 {
                        self.nodes(otherwise, output)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Returns the elements of a list, or the names of the members of an object.
    fn items(&mut self, list: &'a Expr) -> Result<Vec<Cow<'a, Value>>> {
        let items: Vec<_> = match self.value(list)? {
            Cow::Borrowed(Value::Array(items)) => items.iter().map(Cow::Borrowed).collect(),
            Cow::Owned(Value::Array(items)) => items.into_iter().map(Cow::Owned).collect(),
            value => match &*value {
                Value::Object(members) => {
                    self.spend(members.keys().map(String::len).sum())?;
                    members.keys().map(|name| Cow::Owned(Value::from(name.as_str()))).collect()
                }
                _ => Vec::new(),
            },
        };
        self.spend(items.len())?;
        Ok(items)
    }

    fn value(&mut self, expr: &'a Expr) -> Result<Cow<'a, Value>> {
        self.spend(1)?;
        Ok(match expr {
            Expr::Constant(value) => Cow::Borrowed(value),
            Expr::Name(name) => {
                let variable = self.variables.iter().rev().find(|(variable, _)| variable == name);
                let value = match variable {
                    Some((_, value)) => value.clone(),
                    None => self.names.get(name).map_or(NULL, Cow::Borrowed),
                };
                if let Cow::Owned(Value::String(copied)) = &value {
                    self.spend(copied.len())?;
                }
                value
            }
            Expr::Steps(first, steps) => {
                let mut value = self.value(first)?;
                for step in steps {
                    self.spend(1)?;
                    value = match step {
                        Step::Member(name) => member(value, name),
                        Step::Index(index) => element(value, &*self.value(index)?),
                        Step::Filter(filter) => self.filtered(value, filter)?,
                    };
                }
                value
            }
            Expr::Concat(operands) => {
                let mut text = Vec::new();
                for operand in operands {
                    let value = self.value(operand)?;
                    self.write_text(&value, &mut text)?;
                }
                text_value(&text)
            }
            Expr::And(operands) => self.first_of(operands, false)?,
            Expr::Or(operands) => self.first_of(operands, true)?,
            Expr::Not(operand) => Cow::Owned(Value::Bool(!is_true(&*self.value(operand)?))),
            Expr::Compare(left, comparison, right) => {
                let (left, right) = (self.value(left)?, self.value(right)?);
                Cow::Owned(Value::Bool(self.compare(&left, *comparison, &right)?))
            }
            Expr::IsNone(operand) => Cow::Owned(Value::Bool(self.value(operand)?.is_null())),
            Expr::Choice { condition, then, otherwise } => {
                if is_true(&*self.value(condition)?) {
                    self.value(then)?
                } else if let Some(otherwise) = otherwise {
                    self.value(otherwise)?
                } else {
                    NULL
                }
            }
        })
    }

    /// Returns the first value that is true, or the first one that is not; otherwise the last.
    fn first_of(&mut self, operands: &'a [Expr], is_wanted: bool) -> Result<Cow<'a, Value>> {
        let mut value = NULL;
        for operand in operands {
            value = self.value(operand)?;
            if is_true(&value) == is_wanted {
                break;
            }
        }
        Ok(value)
    }

    fn compare(&mut self, left: &Value, comparison: Comparison, right: &Value) -> Result<bool> {
        if let (Value::String(left), Value::String(right)) = (left, right) {
            self.spend(left.len().max(right.len()))?;
        }
        Ok(match comparison {
            Comparison::Equal => self.is_equal(left, right)?,
            Comparison::Less => order(left, right).is_some_and(Ordering::is_lt),
            Comparison::LessOrEqual => order(left, right).is_some_and(Ordering::is_le),
            Comparison::In => match (left, right) {
                (Value::String(part), Value::String(whole)) => whole.contains(part.as_str()),
                (Value::String(name), Value::Object(members)) => members.contains_key(name),
                (_, Value::Array(elements)) => {
                    for element in elements {
                        if self.compare(left, Comparison::Equal, element)? {
                            return Ok(true);
                        }
                    }
                    false
                }
                _ => false,
            },
        })
    }

    fn is_equal(&mut self, left: &Value, right: &Value) -> Result<bool> {
        self.spend(1)?;
        Ok(match (left, right) {
            (Value::Array(_), Value::Array(_)) | (Value::Object(_), Value::Object(_)) => {
                self.json(left)? == self.json(right)?
            }
            (Value::Number(_), Value::Number(_)) => order(left, right) == Some(Ordering::Equal),
            _ => left == right,
        })
    }

    fn filtered(&mut self, value: Cow<'a, Value>, filter: &'a Filter) -> Result<Cow<'a, Value>> {
        Ok(match (filter, &*value) {
            (Filter::Default(otherwise), Value::Null) => self.value(otherwise)?,
            (Filter::First, Value::Array(_)) => element(value, &json!(0)),
            (Filter::Last, Value::Array(elements)) => {
                let last = json!(elements.len().saturating_sub(1));
                element(value, &last)
            }
            (Filter::Join(separator), Value::Array(elements)) => {
                let separator = match separator {
                    Some(separator) => self.value(separator)?,
                    None => NULL,
                };
                let mut text = Vec::new();
                for (idx, element) in elements.iter().enumerate() {
                    self.spend(1)?;
                    if 0 < idx && !separator.is_null() {
                        self.write_text(&separator, &mut text)?;
                    }
                    self.write_text(element, &mut text)?;
                }
                text_value(&text)
            }
            (Filter::Length, value) => {
                let len = match value {
                    Value::String(text) => {
                        self.spend(text.len())?;
                        text.chars().count()
                    }
                    Value::Array(elements) => elements.len(),
                    Value::Object(members) => members.len(),
                    Value::Null | Value::Bool(_) | Value::Number(_) => 0,
                };
                Cow::Owned(json!(len))
            }
            (Filter::String, value) => {
                let mut text = Vec::new();
                self.write_text(value, &mut text)?;
                text_value(&text)
            }
            (Filter::Lower, Value::String(text)) => {
                self.spend(text.len())?;
                Cow::Owned(Value::String(text.to_lowercase()))
            }
            (Filter::Upper, Value::String(text)) => {
                self.spend(text.len())?;
                Cow::Owned(Value::String(text.to_uppercase()))
            }
            (Filter::Trim, Value::String(text)) => {
                self.spend(text.len())?;
                Cow::Owned(text.trim().into())
            }
            (Filter::Truncate(len), Value::String(text)) => {
                let len = self.value(len)?;
                self.spend(text.len())?;
                Cow::Owned(truncated(text, &len).into())
            }
            // The filter does not fit the value. Each value is written as JSON already.
            _ => value,
        })
    }

    fn spend(&mut self, n: usize) -> Result<()> {
        self.left = self.left.checked_sub(n).ok_or(Exhausted)?;
        Ok(())
    }

    fn json(&mut self, value: &Value) -> Result<Vec<u8>> {
        let mut json = Vec::new();
        self.write_json(value, &mut json)?;
        Ok(json)
    }

    /// Writes a value as JSON.
    fn write_json(&mut self, value: &Value, output: &mut Vec<u8>) -> Result<()> {
        let mut writer = Limited { output, left: &mut self.left };
        serde_json::to_writer(&mut writer, value).map_err(|_| Exhausted)
    }

    /// Writes a text without quotes, nothing for `none`, and any other value as JSON.
    fn write_text(&mut self, value: &Value, output: &mut Vec<u8>) -> Result<()> {
        match value {
            Value::Null => Ok(()),
            Value::String(text) => {
                self.spend(text.len())?;
                output.extend(text.as_bytes());
                Ok(())
            }
            _ => self.write_json(value, output),
        }
    }
}

/// A writer that spends the budget.
struct Limited<'o> {
    output: &'o mut Vec<u8>,
    left: &'o mut usize,
}

impl io::Write for Limited<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        *self.left = self.left.checked_sub(bytes.len()).ok_or(io::ErrorKind::StorageFull)?;
        self.output.extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

const NULL: Cow<'_, Value> = Cow::Owned(Value::Null);

fn text_value<'a>(text: &[u8]) -> Cow<'a, Value> {
    Cow::Owned(String::from_utf8_lossy(text).into())
}

fn is_true(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(is_true) => *is_true,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(elements) => !elements.is_empty(),
        Value::Object(members) => !members.is_empty(),
    }
}

/// Returns the order of two numbers or two texts.
fn order(left: &Value, right: &Value) -> Option<Ordering> {
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => match (left.as_i64(), right.as_i64()) {
            (Some(left), Some(right)) => Some(left.cmp(&right)),
            _ => left.as_f64()?.partial_cmp(&right.as_f64()?),
        },
        (Value::String(left), Value::String(right)) => Some(left.cmp(right)),
        _ => None,
    }
}

fn member<'a>(value: Cow<'a, Value>, name: &str) -> Cow<'a, Value> {
    match value {
        Cow::Borrowed(value) => value.get(name).map_or(NULL, Cow::Borrowed),
        Cow::Owned(mut value) => value.get_mut(name).map_or(NULL, |it| Cow::Owned(it.take())),
    }
}

/// Returns the element of a list or the member of an object that `index` selects.
fn element<'a>(value: Cow<'a, Value>, index: &Value) -> Cow<'a, Value> {
    if let Some(name) = index.as_str() {
        return member(value, name);
    }
    let Some(idx) = index.as_u64().and_then(|idx| usize::try_from(idx).ok()) else { return NULL };
    match value {
        Cow::Borrowed(value) => value.get(idx).map_or(NULL, Cow::Borrowed),
        Cow::Owned(mut value) => value.get_mut(idx).map_or(NULL, |it| Cow::Owned(it.take())),
    }
}

/// Returns a text of at most `len` characters, the last of which is `…` if some are missing.
fn truncated(text: &str, len: &Value) -> String {
    let len = len.as_u64().and_then(|len| usize::try_from(len).ok()).unwrap_or(0);
    if text.chars().nth(len).is_none() {
        return text.to_owned();
    }
    match len.checked_sub(1) {
        Some(n_kept) => text.chars().take(n_kept).chain(['…']).collect(),
        None => String::new(),
    }
}
