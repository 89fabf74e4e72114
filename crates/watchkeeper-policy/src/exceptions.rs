//! `[[detectors.ID.exceptions]]`.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use jiff::civil::Date;
use toml::{Spanned, de::DeValue, value::Datetime};
use watchkeeper_core::{
    AgentId, Context, Detector, Event, EventKind, Fingerprint, Glob, Scope, ToolCall,
};

use crate::{
    Diagnostic,
    diagnostic::Fix,
    reader::Reader,
    tree::{Span, Table, Value},
};

/// The keys of an exception.
const EXCEPTION_KEYS: &[&str] = &["arguments", "expires", "reason", "tool"];
const EXAMPLE: &str = "write `tool = \"gdb*\"` and `reason = \"stepping repeats by design\"`";
pub(crate) const WHY: &str = "say why, for whoever reads it next";
/// How many calls of one stream are kept in mind until their results come; of
/// more, the result of the oldest is seen.
const MAX_PENDING: usize = 256;

/// The calls that one exception is about: those that all of its parts match.
#[derive(Clone, Debug)]
pub(crate) struct Exception {
    tool: Vec<Glob>,
    arguments: BTreeMap<String, Vec<Glob>>,
}

/// A detector that does not see some calls, nor their results.
///
/// Whatever else it would do, it does. The facts in its context still count
/// those calls: they are the session's and not the detector's.
#[derive(Clone, Debug)]
struct Excepting {
    inner: Box<dyn Detector>,
    exceptions: Arc<[Exception]>,
    /// The calls it did not see that have no result, oldest first.
    pending: VecDeque<Fingerprint>,
}

/// Hides the calls from a detector that one of these is about.
pub(crate) fn except(inner: Box<dyn Detector>, exceptions: Vec<Exception>) -> Box<dyn Detector> {
    if exceptions.is_empty() {
        return inner;
    }
    Box::new(Excepting { inner, exceptions: exceptions.into(), pending: VecDeque::new() })
}

impl Exception {
    fn matches(&self, call: &ToolCall) -> bool {
        let any = |globs: &[Glob], text: &str| globs.iter().any(|it| it.matches(text));
        if !any(&self.tool, &call.tool) {
            return false;
        }
        if self.arguments.is_empty() {
            return true;
        }
        let arguments = call.arguments.to_value();
        self.arguments.iter().all(|(key, globs)| match arguments.get(key) {
            None => false,
            Some(serde_json::Value::String(text)) => any(globs, text),
            Some(it) => any(globs, &it.to_string()),
        })
    }
}

impl Excepting {
    fn sees(&mut self, event: &Event) -> bool {
        match &event.kind {
            EventKind::ToolCall(call) => {
                let is_excepted = self.exceptions.iter().any(|it| it.matches(call));
                if is_excepted || !self.pending.is_empty() {
                    let key = key(event, &call.id);
                    // A call that has the id of an earlier one takes its result.
                    self.pending.retain(|it| *it != key);
                    if is_excepted {
                        if self.pending.len() == MAX_PENDING {
                            self.pending.pop_front();
                        }
                        self.pending.push_back(key);
                    }
                }
                !is_excepted
            }
            EventKind::ToolResult(result) if !self.pending.is_empty() => {
                let key = key(event, &result.id);
                let place = self.pending.iter().position(|it| *it == key);
                place.and_then(|it| self.pending.remove(it)).is_none()
            }
            _ => true,
        }
    }
}

/// One for each call of all agents and sessions of a stream.
fn key(event: &Event, id: &str) -> Fingerprint {
    let agent = event.agent.as_ref().map(AgentId::as_str);
    let agent = agent.map_or(Fingerprint::NONE, Fingerprint::of);
    Fingerprint::of(event.session.as_str()).and(agent).and(Fingerprint::of(id))
}

impl Detector for Excepting {
    fn observe(&mut self, event: &Event, cx: &mut Context<'_>) {
        if self.sees(event) {
            self.inner.observe(event, cx);
        }
    }

    fn wake(&mut self, cx: &mut Context<'_>) {
        self.inner.wake(cx);
    }

    fn scope(&self) -> Scope {
        self.inner.scope()
    }

    fn at_rest(&self) -> bool {
        self.pending.is_empty() && self.inner.at_rest()
    }
}

impl Reader<'_> {
    /// Reads exceptions; those that have expired are left out.
    pub(crate) fn exceptions(&mut self, value: Value<'_>) -> Vec<Exception> {
        let span = value.span();
        let DeValue::Array(items) = value.into_inner() else {
            let note = "each exception begins with `[[detectors.ID.exceptions]]`";
            self.push(Diagnostic::error(span, "`exceptions` is not a list").note(note));
            return Vec::new();
        };
        let mut res = Vec::new();
        for it in items {
            let Some(table) = self.table(it) else { continue };
            res.extend(self.exception(table));
        }
        res
    }

    fn exception(&mut self, table: Spanned<Table<'_>>) -> Option<Exception> {
        let whole = table.span();
        let mut keys = table.into_inner();
        for it in ["tool", "reason"].into_iter().filter(|it| !keys.contains_key(*it)) {
            let message = format!("`{it}` is missing");
            self.push(Diagnostic::error(whole.clone(), message).note(EXAMPLE));
        }
        let tool = keys.remove("tool").map(|it| self.any_globs(it));
        let reason = self.reason(&mut keys);
        let mut arguments = BTreeMap::new();
        if let Some(table) = keys.remove("arguments").and_then(|it| self.table(it)) {
            for (key, value) in table.into_inner() {
                arguments.insert(key.into_inner().into_owned(), self.any_globs(value));
            }
        }
        let expires = keys.remove("expires");
        let expires = expires.map(|it| (it.span(), self.day(it)));
        self.refuse_rest(&keys, EXCEPTION_KEYS);
        if let (Some((span, Some(day))), Some(today)) = (expires, self.loader.today)
            && day <= today
        {
            let message = format!("this exception no longer applies: it expired on {day}");
            let mut diagnostic = Diagnostic::warning(span, message)
                .note("take it out, or give it a later day if it still has a reason");
            if let Some(reason) = reason {
                diagnostic = diagnostic.note(format!("its reason was: {reason}"));
            }
            self.push(diagnostic);
            return None;
        }
        Some(Exception { tool: tool?, arguments })
    }

    /// Reads why something is as it is, which must be said.
    pub(crate) fn reason(&mut self, keys: &mut Table<'_>) -> Option<String> {
        let reason = self.take_string(keys, "reason")?;
        if reason.get_ref().trim().is_empty() {
            let diagnostic = Diagnostic::error(reason.span(), "`reason` is empty");
            self.push(diagnostic.note(WHY));
            return None;
        }
        Some(reason.into_inner())
    }

    fn day(&mut self, value: Value<'_>) -> Option<Date> {
        let span = value.span();
        match value.into_inner() {
            DeValue::Datetime(Datetime { date: Some(it), time, .. }) => {
                let day = civil(it);
                if time.is_some() {
                    self.no_day(span, day);
                    return None;
                }
                if day.is_none() {
                    self.no_day(span, None);
                }
                day
            }
            DeValue::String(text) => {
                self.no_day(span, text.trim().parse().ok());
                None
            }
            _ => {
                self.no_day(span, None);
                None
            }
        }
    }

    fn no_day(&mut self, span: Span, meant: Option<Date>) {
        let diagnostic = Diagnostic::error(span.clone(), "`expires` is not a day");
        self.push(match meant {
            Some(day) => diagnostic.fix(Fix::new("write it so", span, day.to_string())),
            None => diagnostic.note("write `expires = 2027-03-31`, without quotes"),
        });
    }
}

fn civil(date: toml::value::Date) -> Option<Date> {
    let toml::value::Date { year, month, day } = date;
    let year = i16::try_from(year).ok()?;
    Date::new(year, i8::try_from(month).ok()?, i8::try_from(day).ok()?).ok()
}
