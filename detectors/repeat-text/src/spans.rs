//! Spans that repeat within a message or within thoughts.

use watchkeeper_core::{Context, EventKind, Fingerprint, Report, quote};

use crate::{
    repetitions::{MAX_SEGMENTS, MIN_ROUNDS, RepeatedSpan, Repetitions},
    segments::{Piece, Segments},
    text_kind::TextKind,
};

/// The number of repeated bytes that count as one. Three are ten rounds of a
/// sentence of 50 bytes, minus the loss at both ends: the first and the latest
/// round are measured in whole segments.
const BYTES_PER_COUNT: u32 = 155;
/// The least measure of a whole message that ends in a repeated span: the
/// message was cut off, or the model gave up.
const MIN_MEASURE_AT_END: u64 = 3;
/// The least number of words in a repeated span at the end of a message.
const MIN_WORDS: usize = 12;
/// The least length of a message with that many words, in bytes.
const MIN_BYTES: usize = 2 * MIN_WORDS - 1;
/// The number of words searched at the end of a message.
const MAX_WORDS: usize = 256;
/// The longest excerpt of a span, in bytes; `quote` may cut it further.
const MAX_EXCERPT: usize = 160;

/// The repeated spans in the text that an agent is streaming.
#[derive(Clone, Debug, Default)]
pub(crate) struct RepeatedSpans {
    /// The kind of text that is being streamed, if any.
    streaming: Option<TextKind>,
    /// The text that has been streamed so far.
    reader: SpanReader,
    finding: SpanFinding,
}

/// The streamed text of one message or thought.
#[derive(Clone, Debug, Default)]
struct SpanReader {
    /// `None` while the text is too short for a repeated span, which many texts
    /// always are.
    scan: Option<Box<Scan>>,
    /// The end of the text, for the excerpt of a span.
    tail: String,
}

/// The state of the search for repeated spans in one text.
#[derive(Clone, Debug, Default)]
struct Scan {
    segments: Segments,
    repetitions: Repetitions,
    /// The number of segments since the latest repeated span.
    n_since: usize,
}

/// True while a finding about a repeated span is open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct SpanFinding(bool);

impl RepeatedSpans {
    pub(crate) fn observe(&mut self, event: &EventKind, cx: &mut Context<'_>) {
        match event {
            EventKind::Message { text, delta: true } => self.read(TextKind::Message, text, cx),
            EventKind::Message { text, delta: false } => {
                self.end_text();
                read_whole(text, &mut self.finding, cx);
            }
            EventKind::Thinking { text } => self.read(TextKind::Thought, text, cx),
            // The next thought belongs to another response.
            EventKind::ModelCall(_) if self.streaming == Some(TextKind::Thought) => self.end_text(),
            EventKind::ToolCall(_) => self.resolve(cx, "a tool was called"),
            EventKind::Prompt { synthetic: false, .. } => {
                self.resolve(cx, "a person sent a prompt");
            }
            EventKind::TurnEnd | EventKind::AgentEnd | EventKind::SessionEnd { .. } => {
                self.resolve(cx, "the turn ended");
            }
            EventKind::Prompt { .. }
            | EventKind::Handoff { .. }
            | EventKind::Compaction { .. }
            | EventKind::Error { .. }
            | EventKind::SessionStart(_) => self.end_text(),
            // All other events may arrive in the middle of a streamed message.
            _ => {}
        }
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.streaming.is_none() && self.finding == SpanFinding::default()
    }

    fn read(&mut self, kind: TextKind, text: &str, cx: &mut Context<'_>) {
        if self.streaming != Some(kind) {
            self.end_text();
            self.streaming = Some(kind);
        }
        self.reader.read(text, &mut self.finding, cx);
    }

    fn resolve(&mut self, cx: &mut Context<'_>, reason: &str) {
        self.end_text();
        self.finding.resolve(cx, reason);
    }

    fn end_text(&mut self) {
        self.streaming = None;
        self.reader.clear();
    }
}

impl SpanFinding {
    fn report(
        &mut self,
        measure: u64,
        span: RepeatedSpan,
        excerpt: impl FnOnce() -> String,
        cx: &mut Context<'_>,
    ) {
        self.0 = true;
        cx.report(Fingerprint::NONE, measure, || {
            let (n_rounds, span_bytes) = (span.n_rounds(), span.span_bytes);
            let text = quote(excerpt().trim());
            Report::new(format!(
                "the agent wrote the same {span_bytes} bytes {n_rounds} times in a row: {text}"
            ))
            .with("repeats", n_rounds)
            .with("span_bytes", span_bytes)
            .with("bytes", span.total_bytes)
        });
    }

    fn resolve(&mut self, cx: &mut Context<'_>, reason: &str) {
        if std::mem::take(&mut self.0) {
            let message = || Report::new(format!("no further repetition: {reason}"));
            cx.resolve(Fingerprint::NONE, message);
        }
    }
}

impl SpanReader {
    /// Clears the text and keeps the allocation.
    fn clear(&mut self) {
        self.scan = None;
        self.tail.clear();
    }

    /// Reads the next part of the text.
    fn read(&mut self, text: &str, finding: &mut SpanFinding, cx: &mut Context<'_>) {
        let Self { scan, tail } = self;
        if scan.is_none() && tail.len() + text.len() < BYTES_PER_COUNT as usize {
            tail.push_str(text);
            return;
        }
        let scan = scan.get_or_insert_with(|| {
            let mut scan = Box::<Scan>::default();
            scan.read("", tail, finding, cx);
            scan
        });
        scan.read(tail, text, finding, cx);
        keep_tail(tail, text);
    }
}

/// Reads a message that arrived as a whole.
fn read_whole(text: &str, finding: &mut SpanFinding, cx: &mut Context<'_>) {
    let previous = std::mem::take(finding);
    if MIN_BYTES <= text.len() {
        let mut scan = Scan::default();
        let after_break = scan.read("", text, finding, cx);
        let span = if scan.segments.is_code() { None } else { span_at_end(&text[after_break..]) };
        if let Some(span) = span {
            let measure = measure(span).max(MIN_MEASURE_AT_END);
            let excerpt = || excerpt("", text.as_bytes(), span.span_bytes);
            finding.report(measure, span, excerpt, cx);
        }
    }
    if previous.0 && !finding.0 {
        *finding = previous;
        finding.resolve(cx, "the next message has no repeated span");
    }
}

impl Scan {
    /// Reads the next part of a text that so far ends in `tail`. Returns the
    /// position of the latest break in this part.
    fn read(
        &mut self,
        tail: &str,
        text: &str,
        finding: &mut SpanFinding,
        cx: &mut Context<'_>,
    ) -> usize {
        let Self { segments, repetitions, n_since } = self;
        let mut latest_break = 0;
        segments.read(text, |piece, at| {
            let Piece::Segment { symbol, len } = piece else {
                *repetitions = Repetitions::default();
                latest_break = at;
                return;
            };
            let repeated = repetitions.push(symbol, len);
            // `repeated` includes all rounds except the first.
            let is_enough = BYTES_PER_COUNT * (MIN_ROUNDS - 1) <= repeated * MIN_ROUNDS;
            let span = if is_enough { repetitions.span() } else { None };
            if let Some(span) = span.filter(|span| BYTES_PER_COUNT <= span.total_bytes) {
                *n_since = 0;
                let excerpt = || excerpt(tail, &text.as_bytes()[..at], span.span_bytes);
                finding.report(measure(span), span, excerpt, cx);
            } else if finding.0 {
                *n_since += 1;
                if *n_since == MAX_SEGMENTS {
                    finding.resolve(cx, "other text followed");
                }
            }
        });
        latest_break
    }
}

fn measure(span: RepeatedSpan) -> u64 {
    u64::from(span.total_bytes / BYTES_PER_COUNT)
}

/// Returns the repeated span, in whole words, at the end of a text.
fn span_at_end(text: &str) -> Option<RepeatedSpan> {
    let words: Vec<&str> = text
        .rsplit(|c: char| c.is_ascii_whitespace())
        .filter(|word| word.bytes().any(|byte| byte.is_ascii_alphanumeric() || !byte.is_ascii()))
        .take(MAX_WORDS)
        .collect();
    let n_bytes = |words: &[&str]| {
        u32::try_from(words.iter().map(|word| word.len() + 1).sum::<usize>()).unwrap_or(u32::MAX)
    };
    (1..=words.len() / MIN_ROUNDS as usize).find_map(|period| {
        let n_equal = words.iter().zip(&words[period..]).take_while(|(a, b)| a == b).count();
        let n_words = n_equal + period;
        (MIN_ROUNDS as usize * period <= n_words && MIN_WORDS <= n_words).then(|| RepeatedSpan {
            span_bytes: n_bytes(&words[..period]),
            total_bytes: n_bytes(&words[..n_words]),
        })
    })
}

/// Returns the last `n_bytes` of the text, which may start in an earlier part.
fn excerpt(tail: &str, text: &[u8], n_bytes: u32) -> String {
    let n_bytes = usize::try_from(n_bytes).unwrap_or(MAX_EXCERPT).min(MAX_EXCERPT);
    let n_earlier = n_bytes.saturating_sub(text.len()).min(tail.len());
    let earlier = &tail.as_bytes()[tail.len() - n_earlier..];
    let text = &text[text.len().saturating_sub(n_bytes)..];
    let bytes = [earlier, text].concat();
    String::from_utf8_lossy(&bytes).trim_matches(char::REPLACEMENT_CHARACTER).to_owned()
}

/// Appends the next part to the tail, and shortens the tail.
fn keep_tail(tail: &mut String, text: &str) {
    let start_of_tail = |text: &str| {
        let from = text.len().saturating_sub(MAX_EXCERPT);
        (from..text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(text.len())
    };
    let text = &text[start_of_tail(text)..];
    tail.reserve_exact(2 * MAX_EXCERPT - tail.len());
    tail.push_str(text);
    tail.drain(..start_of_tail(tail));
}
