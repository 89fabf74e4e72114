//! Equal messages, or equal thoughts, in a row.

use watchkeeper_core::{
    Context, EventKind, Fingerprint, Report, Timestamp,
    author::{Place, Start},
    quote,
};

use crate::{hash::Hash, text_kind::TextKind};

/// The part of a streamed message that is kept for the finding's message, in
/// bytes.
const MAX_HEAD: usize = 160;

/// Two messages shorter than this, in bytes, count as one: `Ok` is a fair reply
/// to different prompts.
const SHORT: usize = 12;

/// The least number of equal messages in a row that count.
const MIN_TIMES: u64 = 3;

/// The number of restarts, seconds after a turn ended, that count as one
/// message. They count as one message more at most: each may be a reply to an
/// event of its own.
const RESTARTS_PER_COUNT: u64 = 12;

/// The latest message and thought of an agent, each with its repetitions since
/// the latest tool call or prompt of a person.
#[derive(Clone, Debug, Default)]
pub(crate) struct RepeatedMessages {
    message: Option<Box<Repetition>>,
    thought: Option<Box<Repetition>>,
    /// The message that is being streamed, if any.
    partial: Option<Box<PartialMessage>>,
}

/// A text and the number of times that it was sent in a row.
#[derive(Clone, Debug)]
struct Repetition {
    text: Fingerprint,
    since: Timestamp,
    n_times: u32,
    /// The number of times that the harness restarted the agent in between.
    n_restarts: u32,
    first: Option<Place>,
}

#[derive(Clone, Debug)]
struct PartialMessage {
    hash: Hash,
    head: String,
    since: Timestamp,
    first: Option<Place>,
}

impl RepeatedMessages {
    pub(crate) fn observe(&mut self, event: &EventKind, cx: &mut Context<'_>) {
        match event {
            EventKind::Message { text, delta: true } => {
                self.add_part(text, cx);
                return;
            }
            EventKind::ToolCall(_) => return self.reset(cx, "a tool was called"),
            EventKind::Prompt { .. } => {
                let start = cx.agent().start();
                if let Some(reason) = start.reason() {
                    return self.reset(cx, reason);
                }
                self.complete_partial(cx);
                if start == Start::Restarted {
                    self.add_restart();
                }
                return;
            }
            // These may arrive in the middle of a streamed message.
            EventKind::ToolResult(_) | EventKind::Waiting(_) | EventKind::Resumed(_) => return,
            _ => {}
        }
        self.complete_partial(cx);
        match event {
            EventKind::Message { text, .. } => self.add_text(TextKind::Message, text, cx),
            // Many agents record that the model thought, but not the text.
            EventKind::Thinking { text } if !text.trim_ascii().is_empty() => {
                self.add_text(TextKind::Thought, text, cx);
            }
            _ => {}
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.message.is_none() && self.thought.is_none() && self.partial.is_none()
    }

    fn add_restart(&mut self) {
        for latest in [&mut self.message, &mut self.thought].into_iter().flatten() {
            latest.n_restarts = latest.n_restarts.saturating_add(1);
        }
    }

    /// Adds a complete message or thought.
    fn add_text(&mut self, kind: TextKind, text: &str, cx: &mut Context<'_>) {
        let mut hash = Hash::default();
        push_text(&mut hash, text);
        let first = Repetition {
            text: Fingerprint::from(hash.get()),
            n_times: 1,
            n_restarts: 0,
            since: cx.now(),
            first: cx.place(),
        };
        self.count(kind, first, text, cx);
    }

    /// Adds a part of a streamed message.
    fn add_part(&mut self, text: &str, cx: &Context<'_>) {
        let partial = self.partial.get_or_insert_with(|| {
            Box::new(PartialMessage {
                hash: Hash::default(),
                head: String::new(),
                since: cx.now(),
                first: cx.place(),
            })
        });
        push_text(&mut partial.hash, text);
        for c in text.chars() {
            if MAX_HEAD < partial.head.len() + c.len_utf8() {
                break;
            }
            partial.head.push(c);
        }
    }

    /// Adds the streamed message, if there is one, as a complete message.
    fn complete_partial(&mut self, cx: &mut Context<'_>) {
        let Some(partial) = self.partial.take() else { return };
        let PartialMessage { hash, head, since, first } = *partial;
        let text = Fingerprint::from(hash.get());
        let first = Repetition { text, n_times: 1, n_restarts: 0, since, first };
        self.count(TextKind::Message, first, &head, cx);
    }

    fn count(&mut self, kind: TextKind, new: Repetition, text: &str, cx: &mut Context<'_>) {
        let latest = match kind {
            TextKind::Message => &mut self.message,
            TextKind::Thought => &mut self.thought,
        };
        let Some(repeated) = latest.as_mut().filter(|latest| latest.text == new.text) else {
            let replaced_another = latest.replace(Box::new(new)).is_some();
            resolve(kind, "the text changed", cx);
            if kind == TextKind::Message && replaced_another {
                resolve(TextKind::Thought, "the text changed", cx);
                self.thought = None;
            }
            return;
        };
        repeated.n_times = repeated.n_times.saturating_add(1);
        let n = u64::from(repeated.n_times);
        let took = cx.within(cx.now().duration_since(repeated.since));
        let text = text.trim();
        let is_short = !text.is_empty() && text.len() < SHORT;
        let measure = repeated.measure(is_short);
        cx.report(subject(kind), measure, || {
            let message = match (kind, text) {
                (TextKind::Message, "") => {
                    format!("the agent sent {n} empty messages in a row{took}")
                }
                (TextKind::Message, text) => {
                    let text = quote(text);
                    format!("the agent sent the same message {n} times in a row{took}: {text}")
                }
                (TextKind::Thought, text) => {
                    let text = quote(text);
                    format!("the agent had the same thought {n} times in a row{took}: {text}")
                }
            };
            Report::new(message)
                .with("repeats", n)
                .since(repeated.first.as_ref().map(Place::evidence))
        });
    }

    fn reset(&mut self, cx: &mut Context<'_>, reason: &str) {
        *self = Self::default();
        resolve(TextKind::Message, reason, cx);
        resolve(TextKind::Thought, reason, cx);
    }
}

impl Repetition {
    fn measure(&self, is_short: bool) -> u64 {
        let n_restarts = u64::from(self.n_restarts);
        let n = u64::from(self.n_times.saturating_sub(self.n_restarts));
        let n = if is_short { n / 2 } else { n };
        if MIN_TIMES <= n { n } else { 1 + (n_restarts / RESTARTS_PER_COUNT).min(1) }
    }
}

fn resolve(kind: TextKind, reason: &str, cx: &mut Context<'_>) {
    cx.resolve(subject(kind), || Report::new(format!("no further repetition: {reason}")));
}

fn subject(kind: TextKind) -> Fingerprint {
    match kind {
        TextKind::Message => Fingerprint::NONE,
        TextKind::Thought => Fingerprint::from(1),
    }
}

/// Adds a text, or a part of one, to a hash that ignores white space.
fn push_text(hash: &mut Hash, text: &str) {
    text.bytes().filter(|byte| !byte.is_ascii_whitespace()).for_each(|byte| hash.push(byte));
}
