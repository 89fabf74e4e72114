//! Spans that repeat within a message or within thoughts.

use watchkeeper_core::{Context, EventKind, Fingerprint, Report, quote};

use crate::{
    blocks::Blocks,
    repetitions::{MIN_ROUNDS, MeasuredSpan, RepeatedSpan, Repetitions},
    segments::{MAX_GAP, Piece, Segments},
    text_kind::TextKind,
};

/// The bar for plain text. Three counts are ten rounds of a sentence of 50
/// bytes, minus the loss at both ends: the first and the latest round are
/// measured in whole segments.
const PLAIN: Bar = Bar { min_rounds: MIN_ROUNDS, bytes_per_count: 155 };
/// The bar for text that may repeat by design. Three counts are about 4 KB.
const BY_DESIGN: Bar = Bar { min_rounds: 8, bytes_per_count: 1300 };
/// The longest round that repeats by design in text with lists, tables, headings
/// or data, in bytes.
const MAX_BY_DESIGN: u32 = 1024;
/// The least number of segments in a span of code: an array of zeros repeats a
/// single one.
const MIN_SEGMENTS_OF_CODE: usize = 2;
/// The number of bytes of other text that end a repetition, if its rounds are
/// not longer.
const MIN_OTHER_BYTES: u32 = 512;
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
    repetitions: Repetitions<u8>,
    /// `None` while the text is too short for a repeated block.
    blocks: Option<Box<Blocks>>,
    context: TextContext,
    latest: LatestSpan,
}

/// The position of a segment relative to text that repeats by design.
#[derive(Clone, Copy, Debug)]
struct TextContext {
    is_code: bool,
    /// The number of bytes since the latest break; saturating. Includes a gap
    /// before the first segment, as every other round has one.
    since_break: u32,
}

/// The latest repeated span.
#[derive(Clone, Copy, Debug, Default)]
struct LatestSpan {
    span_bytes: u32,
    /// The number of bytes since the end of the span; saturating.
    n_since: u32,
}

/// The least amount of repetition that counts.
#[derive(Clone, Copy, Debug)]
struct Bar {
    min_rounds: u32,
    bytes_per_count: u32,
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
        measured: MeasuredSpan,
        excerpt: impl FnOnce() -> String,
        cx: &mut Context<'_>,
    ) {
        self.0 = true;
        let MeasuredSpan { measure, span } = measured;
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
        if scan.is_none() && tail.len() + text.len() < PLAIN.bytes_per_count as usize {
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
        let span = if scan.context.is_code { None } else { span_at_end(&text[after_break..]) };
        if let Some(span) = span {
            let measure = PLAIN.measure(span).max(MIN_MEASURE_AT_END);
            let excerpt = || excerpt("", text.as_bytes(), span.span_bytes);
            finding.report(MeasuredSpan { measure, span }, excerpt, cx);
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
        let Self { segments, repetitions, blocks, context, latest } = self;
        let mut latest_break = 0;
        segments.read(text, |piece, at| {
            let Piece::Segment { symbol, len } = piece else {
                *context = TextContext { is_code: piece == Piece::Code, ..TextContext::default() };
                latest_break = at;
                return;
            };
            context.since_break = context.since_break.saturating_add(len.into());
            let mut span = None;
            if repetitions.push(symbol, len) {
                let min_segments = if context.is_code { MIN_SEGMENTS_OF_CODE } else { 1 };
                span = repetitions.span(min_segments, |span| context.measure(span));
            }
            if let Some(blocks) = blocks {
                let is_end = repetitions.is_at_minimum();
                let measure = |block| context.measure(block);
                let block = blocks.push(symbol, len.into(), is_end, &measure);
                span = span.or(block);
            } else if repetitions.is_full() {
                *blocks = Some(Box::default());
            }
            if let Some(span) = span {
                *latest = LatestSpan { span_bytes: span.span.span_bytes, n_since: 0 };
                let excerpt = || excerpt(tail, &text.as_bytes()[..at], latest.span_bytes);
                finding.report(span, excerpt, cx);
            } else if finding.0 {
                latest.n_since = latest.n_since.saturating_add(len.into());
                if latest.span_bytes.max(MIN_OTHER_BYTES) <= latest.n_since {
                    finding.resolve(cx, "other text followed");
                }
            }
        });
        latest_break
    }
}

impl Default for TextContext {
    fn default() -> Self {
        Self { is_code: false, since_break: MAX_GAP.into() }
    }
}

impl TextContext {
    /// Returns the part of a span that counts, and its measure.
    fn measure(self, span: RepeatedSpan) -> Option<MeasuredSpan> {
        let plain_bytes = if self.is_code { 0 } else { self.since_break };
        let plain = RepeatedSpan { total_bytes: span.total_bytes.min(plain_bytes), ..span };
        let measured = match PLAIN.measure(plain) {
            0 if !self.is_code && span.span_bytes <= MAX_BY_DESIGN => return None,
            0 => MeasuredSpan { measure: BY_DESIGN.measure(span), span },
            measure => MeasuredSpan { measure, span: plain },
        };
        (measured.measure != 0).then_some(measured)
    }
}

impl Bar {
    /// Returns the measure of a span; 0 if it has too few rounds.
    fn measure(self, span: RepeatedSpan) -> u64 {
        if span.n_rounds() < self.min_rounds {
            return 0;
        }
        u64::from(span.total_bytes / self.bytes_per_count)
    }
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

#[cfg(test)]
mod tests {
    use super::{Blocks, Scan};

    #[test]
    fn scan_is_small() {
        assert_eq!(size_of::<Scan>(), 288);
        assert_eq!(size_of::<Blocks>(), 288);
    }
}
