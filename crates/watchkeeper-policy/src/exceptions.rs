//! `[[detectors.ID.exceptions]]`.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use jiff::civil::Date;
use toml::{Spanned, de::DeValue, value::Datetime};
use watchkeeper_core::{
    AgentId, Context, Detector, Event, EventKind, EventSet, Fingerprint, Glob, Subscription,
    ToolCall, make_safe,
};

use crate::{
    Diagnostic,
    diagnostic::Fix,
    reader::Reader,
    toml_text,
    tree::{Span, Table, Value},
};

/// The keys of an exception.
const EXCEPTION_KEYS: &[&str] = &["arguments", "expires", "reason", "tool"];
const EXAMPLE: &str = "write `tool = \"gdb*\"` and `reason = \"stepping repeats by design\"`";
pub(crate) const WHY: &str = "say why, for whoever reads it next";
/// How many calls of one stream are kept in mind until their results come; of
/// more, the result of the oldest is seen.
const MAX_PENDING: usize = 256;
/// What means something in other languages of patterns, and is in no tool's name.
const ODD: &[char] = &['?', '[', ']', '{', '}', '^', '$', '+', '\\'];

/// The calls that one exception is about: those that all of its parts match.
#[derive(Clone, Debug)]
pub(crate) struct Exception {
    tool: Vec<Glob>,
    arguments: BTreeMap<String, Vec<Glob>>,
    pub(crate) reason: Option<String>,
}

/// An exception, and where it stands.
#[derive(Debug)]
pub(crate) struct WrittenException {
    pub(crate) span: Span,
    pub(crate) exception: Exception,
}

/// How far an exception is about a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Match {
    Not,
    /// It is for such a tool, and other arguments.
    ToolOnly,
    Whole,
}

/// A detector that does not see some calls, nor their results.
///
/// Whatever else it would do, it does. Its context does not show it those calls as
/// pending; the other facts still count them: they are the session's and not
/// the detector's.
#[derive(Clone, Debug)]
struct Excepting {
    inner: Box<dyn Detector>,
    exceptions: Arc<[Exception]>,
    /// The calls it did not see that have no result, oldest first.
    pending: VecDeque<Hidden>,
}

#[derive(Clone, Debug)]
struct Hidden {
    /// One for each call of all agents and sessions of a stream.
    key: Fingerprint,
    id: Fingerprint,
}

/// Hides the calls from a detector that one of these is about.
pub(crate) fn except(
    inner: Box<dyn Detector>,
    exceptions: &[WrittenException],
) -> Box<dyn Detector> {
    if exceptions.is_empty() {
        return inner;
    }
    let exceptions = exceptions.iter().map(|it| it.exception.clone()).collect();
    Box::new(Excepting { inner, exceptions, pending: VecDeque::new() })
}

impl Exception {
    pub(crate) fn matches(&self, call: &ToolCall) -> Match {
        let any = |globs: &[Glob], text: &str| globs.iter().any(|it| it.matches(text));
        if !any(&self.tool, &call.tool) {
            return Match::Not;
        }
        if self.arguments.is_empty() {
            return Match::Whole;
        }
        let arguments = call.arguments.to_value();
        let is_whole = self.arguments.iter().all(|(key, globs)| match arguments.get(key) {
            None => false,
            Some(serde_json::Value::String(text)) => any(globs, text),
            Some(it) => any(globs, &it.to_string()),
        });
        if is_whole { Match::Whole } else { Match::ToolOnly }
    }

    /// Whether it is about every call that the other is about.
    pub(crate) fn covers(&self, other: &Self) -> bool {
        // Where a pattern matches the text of another, each `*` of that one is part of
        // what a `*` of its own stands for.
        let covers = |globs: &[Glob], others: &[Glob]| {
            others.iter().all(|other| globs.iter().any(|it| it.matches(other.as_str())))
        };
        covers(&self.tool, &other.tool)
            && self
                .arguments
                .iter()
                .all(|(key, it)| other.arguments.get(key).is_some_and(|other| covers(it, other)))
    }
}

impl Excepting {
    fn sees(&mut self, event: &Event) -> bool {
        match &event.kind {
            EventKind::ToolCall(call) => {
                let is_excepted = self.exceptions.iter().any(|it| it.matches(call) == Match::Whole);
                if is_excepted || !self.pending.is_empty() {
                    let key = key(event, &call.id);
                    // A call that has the id of an earlier one takes its result.
                    self.pending.retain(|it| it.key != key);
                    if is_excepted {
                        if self.pending.len() == MAX_PENDING {
                            self.pending.pop_front();
                        }
                        self.pending.push_back(Hidden { key, id: Fingerprint::of(&*call.id) });
                    }
                }
                !is_excepted
            }
            EventKind::ToolResult(result) if !self.pending.is_empty() => {
                let key = key(event, &result.id);
                let place = self.pending.iter().position(|it| it.key == key);
                place.and_then(|it| self.pending.remove(it)).is_none()
            }
            _ => true,
        }
    }
}

fn key(event: &Event, id: &str) -> Fingerprint {
    let agent = event.agent.as_ref().map(AgentId::as_str);
    let agent = agent.map_or(Fingerprint::NONE, Fingerprint::of);
    Fingerprint::of(event.session.as_str()).and(agent).and(Fingerprint::of(id))
}

impl Detector for Excepting {
    fn observe(&mut self, event: &Event, cx: &mut Context<'_>) {
        if self.sees(event) {
            cx.hide(self.pending.iter().map(|it| it.id));
            self.inner.observe(event, cx);
            return;
        }
        if let EventKind::ToolCall(call) = &event.kind {
            cx.note(|| {
                let is_about = |it: &&Exception| it.matches(call) == Match::Whole;
                let excepting = self.exceptions.iter().find(is_about);
                let reason = excepting.and_then(|it| it.reason.as_deref()).unwrap_or_default();
                format!("excepted: {}", make_safe(reason))
            });
        }
    }

    fn wake(&mut self, cx: &mut Context<'_>) {
        cx.hide(self.pending.iter().map(|it| it.id));
        self.inner.wake(cx);
    }

    fn subscription(&self) -> Subscription {
        const CALLS: EventSet = EventSet::of(&["tool_call"]);
        const RESULTS: EventSet = EventSet::of(&["tool_result"]);
        let mut subscription = self.inner.subscription();
        subscription.events = subscription.events.or(CALLS).or(RESULTS);
        subscription.start_events = subscription.start_events.or(CALLS);
        // Every call must be seen, to know which results to hide.
        subscription.is_timer_only = false;
        subscription
    }

    fn is_idle(&self) -> bool {
        self.pending.is_empty() && self.inner.is_idle()
    }
}

impl Reader<'_> {
    /// Reads exceptions; those that have expired are left out.
    pub(crate) fn exceptions(&mut self, value: Value<'_>) -> Vec<WrittenException> {
        let span = value.span();
        let DeValue::Array(items) = value.into_inner() else {
            let note = "each exception begins with `[[detectors.ID.exceptions]]`";
            self.push(Diagnostic::error(span, "`exceptions` is not a list").note(note));
            return Vec::new();
        };
        let mut res = Vec::new();
        for it in items {
            let Some(table) = self.table_like(it, EXAMPLE) else { continue };
            res.extend(self.exception(table));
        }
        res
    }

    fn exception(&mut self, table: Spanned<Table<'_>>) -> Option<WrittenException> {
        let whole = table.span();
        let mut keys = table.into_inner();
        for it in ["tool", "reason"].into_iter().filter(|it| !keys.contains_key(*it)) {
            let message = format!("`{it}` is missing");
            self.push(Diagnostic::error(whole.clone(), message).note(EXAMPLE));
        }
        let tool = keys.remove("tool").map(|it| self.tools(it));
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
        let exception = Exception { tool: tool?, arguments, reason };
        Some(WrittenException { span: whole, exception })
    }

    /// Reads the names of tools, and points at those that no tool can have.
    fn tools(&mut self, value: Value<'_>) -> Vec<Glob> {
        let globs = self.spanned_globs(value);
        for it in &globs {
            let (text, span) = (it.get_ref().as_str(), it.span());
            let note = match text.split_once('(') {
                Some((tool, inner)) => {
                    let inner = inner.strip_suffix(')').unwrap_or(inner);
                    format!(
                        "the tool and its arguments are matched apart, as in `tool = {}` and \
                         `arguments = {{ command = {} }}`",
                        toml_text::string(tool),
                        toml_text::string(inner)
                    )
                }
                None if text.contains('|') => {
                    let parts: Vec<String> = text.split('|').map(toml_text::string).collect();
                    format!("write a list: `tool = [{}]`", parts.join(", "))
                }
                None if text.contains(".*") || text.contains(ODD) => {
                    "only `*` is special, and stands for any text".to_owned()
                }
                None if text.trim() != text || text.is_empty() => {
                    "write its whole name, as the sessions have it".to_owned()
                }
                None => continue,
            };
            let message = format!("no tool is called `{text}`");
            self.push(Diagnostic::warning(span, message).note(note));
        }
        globs.into_iter().map(Spanned::into_inner).collect()
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
