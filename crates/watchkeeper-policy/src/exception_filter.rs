//! Hides calls from a detector that has exceptions.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use watchkeeper_core::{
    AgentId, Context, Detector, Event, EventKind, EventSet, Fingerprint, Subscription, ToolCall,
    author::{Glob, make_safe},
};

use crate::tree::Span;

/// The maximum number of hidden calls of one stream that are remembered until
/// their results arrive. Beyond it, the result of the oldest call is not hidden.
const MAX_PENDING: usize = 256;

/// The calls to ignore: those for which the tool and all arguments match.
#[derive(Clone, Debug)]
pub(crate) struct Exception {
    pub(crate) tool: Vec<Glob>,
    pub(crate) arguments: BTreeMap<String, Vec<Glob>>,
    pub(crate) reason: Option<String>,
}

/// An exception and its location in the policy.
#[derive(Debug)]
pub(crate) struct SpannedException {
    pub(crate) span: Span,
    pub(crate) exception: Exception,
}

/// The degree to which an exception matches a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Match {
    None,
    /// The tool matches, but not the arguments.
    ToolOnly,
    Full,
}

impl Exception {
    pub(crate) fn matches(&self, call: &ToolCall) -> Match {
        let any = |globs: &[Glob], text: &str| globs.iter().any(|it| it.matches(text));
        if !any(&self.tool, &call.tool) {
            return Match::None;
        }
        if self.arguments.is_empty() {
            return Match::Full;
        }
        let arguments = call.arguments.to_value();
        let is_full = self.arguments.iter().all(|(key, globs)| match arguments.get(key) {
            None => false,
            Some(serde_json::Value::String(text)) => any(globs, text),
            Some(value) => any(globs, &value.to_string()),
        });
        if is_full { Match::Full } else { Match::ToolOnly }
    }

    /// Returns the patterns of the tool and of all arguments.
    pub(crate) fn patterns(&self) -> impl Iterator<Item = &str> {
        self.tool.iter().chain(self.arguments.values().flatten()).map(Glob::as_str)
    }

    /// Returns whether this exception matches every call that `other` matches.
    pub(crate) fn covers(&self, other: &Self) -> bool {
        // If a pattern matches the text of another pattern, each `*` of the latter
        // is part of a text that one of its own `*` matches.
        let covers = |globs: &[Glob], others: &[Glob]| {
            others.iter().all(|other| globs.iter().any(|it| it.matches(other.as_str())))
        };
        covers(&self.tool, &other.tool)
            && self.arguments.iter().all(|(key, globs)| {
                other.arguments.get(key).is_some_and(|other| covers(globs, other))
            })
    }
}

/// A detector that receives neither the calls its exceptions match nor their
/// results.
///
/// Its context does not list these calls as pending. The session's other facts
/// still count them, because they describe the session and not the detector.
#[derive(Clone, Debug)]
struct ExceptionFilter {
    inner: Box<dyn Detector>,
    exceptions: Arc<[Exception]>,
    /// The hidden calls without a result, oldest first.
    pending: VecDeque<HiddenCall>,
}

#[derive(Clone, Debug)]
struct HiddenCall {
    /// Unique among the calls of all agents and sessions of a stream.
    key: Fingerprint,
    id: Fingerprint,
}

/// Wraps a detector so that it does not receive the calls that any of the
/// exceptions matches.
pub(crate) fn with_exceptions(
    inner: Box<dyn Detector>,
    exceptions: &[SpannedException],
) -> Box<dyn Detector> {
    if exceptions.is_empty() {
        return inner;
    }
    let exceptions = exceptions.iter().map(|it| it.exception.clone()).collect();
    Box::new(ExceptionFilter { inner, exceptions, pending: VecDeque::new() })
}

impl ExceptionFilter {
    /// Returns whether to pass an event on, and updates the hidden calls.
    fn passes(&mut self, event: &Event) -> bool {
        match &event.kind {
            EventKind::ToolCall(call) => {
                let is_excepted = self.exceptions.iter().any(|it| it.matches(call) == Match::Full);
                if is_excepted || !self.pending.is_empty() {
                    let key = key(event, &call.id);
                    // A call that reuses the id of an earlier call receives its result.
                    self.pending.retain(|it| it.key != key);
                    if is_excepted {
                        if self.pending.len() == MAX_PENDING {
                            self.pending.pop_front();
                        }
                        self.pending.push_back(HiddenCall { key, id: Fingerprint::of(&*call.id) });
                    }
                }
                !is_excepted
            }
            EventKind::ToolResult(result) if !self.pending.is_empty() => {
                let key = key(event, &result.id);
                let call_idx = self.pending.iter().position(|it| it.key == key);
                call_idx.and_then(|it| self.pending.remove(it)).is_none()
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

impl Detector for ExceptionFilter {
    fn observe(&mut self, event: &Event, cx: &mut Context<'_>) {
        if self.passes(event) {
            cx.hide(self.pending.iter().map(|it| it.id));
            self.inner.observe(event, cx);
            return;
        }
        if let EventKind::ToolCall(call) = &event.kind {
            cx.note(|| {
                let matching = self.exceptions.iter().find(|it| it.matches(call) == Match::Full);
                let reason = matching.and_then(|it| it.reason.as_deref()).unwrap_or_default();
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
        // Hiding the results requires every call.
        subscription.is_timer_only = false;
        subscription
    }

    fn is_idle(&self) -> bool {
        self.pending.is_empty() && self.inner.is_idle()
    }

    fn shared_memory(&self) -> usize {
        self.inner.shared_memory()
    }
}
