use watchkeeper_core::{Context, Elapsed, Fingerprint, PackedTimestamp, Place, Report, quote};

use crate::hash::Hash;

/// How much of a message that comes in parts is kept to name it by, in bytes.
const MAX_HEAD: usize = 160;

/// Of messages shorter than this, in bytes, two count as one: `Ok` is a fair
/// answer to several things.
const SHORT: usize = 12;

/// What an agent said last, and how often in a row.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sayings {
    message: Option<Box<Saying>>,
    thought: Option<Box<Saying>>,
    /// The message that is coming in, if it comes in parts.
    coming: Option<Box<Coming>>,
}

/// What was said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    Message,
    Thought,
}

#[derive(Clone, Debug)]
struct Saying {
    text: Fingerprint,
    since: PackedTimestamp,
    n_times: u32,
    first: Option<Place>,
}

#[derive(Clone, Debug)]
struct Coming {
    hash: Hash,
    head: String,
    since: PackedTimestamp,
    first: Option<Place>,
}

impl Sayings {
    /// Whether nothing was said.
    pub(crate) fn is_empty(&self) -> bool {
        self.message.is_none() && self.thought.is_none() && self.coming.is_none()
    }

    /// Takes a message or a thought.
    pub(crate) fn say(&mut self, what: What, text: &str, cx: &mut Context<'_>) {
        let mut hash = Hash::default();
        read(&mut hash, text);
        let said = Saying {
            text: Fingerprint::from(hash.get()),
            n_times: 1,
            since: cx.now().into(),
            first: cx.place(),
        };
        self.said(what, said, text, cx);
    }

    /// Takes a part of a message.
    pub(crate) fn say_part(&mut self, text: &str, cx: &Context<'_>) {
        let coming = self.coming.get_or_insert_with(|| {
            Box::new(Coming {
                hash: Hash::default(),
                head: String::new(),
                since: cx.now().into(),
                first: cx.place(),
            })
        });
        read(&mut coming.hash, text);
        for c in text.chars() {
            if MAX_HEAD < coming.head.len() + c.len_utf8() {
                break;
            }
            coming.head.push(c);
        }
    }

    /// Ends the message that comes in parts, if one does.
    pub(crate) fn end_parts(&mut self, cx: &mut Context<'_>) {
        let Some(coming) = self.coming.take() else { return };
        let Coming { hash, head, since, first } = *coming;
        let said = Saying { text: Fingerprint::from(hash.get()), n_times: 1, since, first };
        self.said(What::Message, said, &head, cx);
    }

    fn said(&mut self, what: What, said: Saying, text: &str, cx: &mut Context<'_>) {
        let latest = match what {
            What::Message => &mut self.message,
            What::Thought => &mut self.thought,
        };
        let Some(repeated) = latest.as_mut().filter(|it| it.text == said.text) else {
            let was_another_said = latest.replace(Box::new(said)).is_some();
            what.end(cx, "it said something else");
            if what == What::Message && was_another_said {
                What::Thought.end(cx, "it said something else");
                self.thought = None;
            }
            return;
        };
        repeated.n_times = repeated.n_times.saturating_add(1);
        let (n, took) =
            (u64::from(repeated.n_times), Elapsed(cx.now().duration_since(repeated.since.into())));
        let text = text.trim();
        let is_short = !text.is_empty() && text.len() < SHORT;
        let measure = if is_short { n / 2 } else { n };
        cx.report(what.subject(), measure, || {
            let message = match (what, text) {
                (What::Message, "") => format!("{n} empty messages in a row in {took}"),
                (What::Message, text) => {
                    format!("the same message {n} times in a row in {took}: {}", quote(text))
                }
                (What::Thought, text) => {
                    format!("the same thought {n} times in a row in {took}: {}", quote(text))
                }
            };
            Report::new(message)
                .with("repeats", n)
                .since(repeated.first.as_ref().map(Place::evidence))
        });
    }
}

impl What {
    /// Says that whatever was repeated is repeated no more.
    pub(crate) fn end(self, cx: &mut Context<'_>, why: &str) {
        cx.resolve(self.subject(), || Report::new(format!("no more repeats: {why}")));
    }

    fn subject(self) -> Fingerprint {
        match self {
            Self::Message => Fingerprint::NONE,
            Self::Thought => Fingerprint::from(1),
        }
    }
}

/// Reads a text, or a part of one; the space in it does not matter.
fn read(hash: &mut Hash, text: &str) {
    text.bytes().filter(|it| !it.is_ascii_whitespace()).for_each(|it| hash.push(it));
}
