use watchkeeper_core::{Context, Fingerprint, Report, quote};

use crate::{
    rounds::{Chant, MAX_SEGMENTS, MIN_ROUNDS, Rounds},
    segments::{Piece, Segments},
};

/// What repeats within a text counts as one for as many bytes as this. Three
/// are ten rounds of a sentence of 50 bytes, less what is lost at both ends:
/// the first round and the latest are seen as far as whole segments go.
const BYTES_PER_COUNT: u32 = 155;
/// What a message counts as, at least, that ends in a chant: it was cut off, or
/// gave up.
const ENDS_IN_CHANT: u64 = 3;
/// With fewer words than this, the end of a message says too little.
const MIN_WORDS: usize = 12;
/// A message of fewer bytes has fewer words than that.
const MIN_BYTES: usize = 2 * MIN_WORDS - 1;
/// How many words of the end of a message are looked at.
const MAX_WORDS: usize = 256;
/// How much of a chant is shown, in bytes; `quote` shows less.
const MAX_SHOWN: usize = 160;

/// A text that is being read.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reading {
    /// `None` for as long as the text is too short for a chant: many are never
    /// longer.
    scan: Option<Box<Scan>>,
    /// The end of what was read, to show a chant by.
    tail: String,
}

/// How far a text was searched for chants.
#[derive(Clone, Debug, Default)]
struct Scan {
    segments: Segments,
    rounds: Rounds,
    /// How many segments came since the latest chant.
    n_since: usize,
}

/// Whether a chant was reported that has not ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct IsChanting(bool);

impl IsChanting {
    /// Says that the chant has ended, if there was one.
    pub(crate) fn end(&mut self, cx: &mut Context<'_>, why: &str) {
        if std::mem::take(&mut self.0) {
            cx.resolve(Fingerprint::NONE, || Report::new(format!("the chant ended: {why}")));
        }
    }

    fn begin(
        &mut self,
        measure: u64,
        chant: Chant,
        shown: impl FnOnce() -> String,
        cx: &mut Context<'_>,
    ) {
        self.0 = true;
        cx.report(Fingerprint::NONE, measure, || {
            let (n_rounds, round) = (chant.n_rounds(), chant.round);
            Report::new(format!(
                "the same {round} bytes {n_rounds} times in a row: {}",
                quote(shown().trim())
            ))
            .with("repeats", n_rounds)
            .with("round_bytes", round)
            .with("bytes", chant.covered)
        });
    }
}

impl Reading {
    /// Forgets the text, and keeps its room.
    pub(crate) fn clear(&mut self) {
        self.scan = None;
        self.tail.clear();
    }

    /// Reads the next part of a text.
    pub(crate) fn read(&mut self, text: &str, is_chanting: &mut IsChanting, cx: &mut Context<'_>) {
        let Self { scan, tail } = self;
        if scan.is_none() && tail.len() + text.len() < BYTES_PER_COUNT as usize {
            tail.push_str(text);
            return;
        }
        let scan = scan.get_or_insert_with(|| {
            let mut res = Box::<Scan>::default();
            res.read("", tail, is_chanting, cx);
            res
        });
        scan.read(tail, text, is_chanting, cx);
        keep_tail(tail, text);
    }
}

/// Reads a text that is whole.
pub(crate) fn read_whole(text: &str, is_chanting: &mut IsChanting, cx: &mut Context<'_>) {
    let was_chanting = std::mem::take(is_chanting);
    if MIN_BYTES <= text.len() {
        let mut scan = Scan::default();
        let broken_at = scan.read("", text, is_chanting, cx);
        let end = if scan.segments.is_code() { None } else { chant_at_end(&text[broken_at..]) };
        if let Some(chant) = end {
            let measure = measure(chant).max(ENDS_IN_CHANT);
            is_chanting.begin(measure, chant, || excerpt("", text.as_bytes(), chant.round), cx);
        }
    }
    if was_chanting.0 && !is_chanting.0 {
        *is_chanting = was_chanting;
        is_chanting.end(cx, "the next message had none");
    }
}

impl Scan {
    /// Reads the next part of a text, where what is in `tail` came before. Returns
    /// where in it the latest break was.
    fn read(
        &mut self,
        tail: &str,
        text: &str,
        is_chanting: &mut IsChanting,
        cx: &mut Context<'_>,
    ) -> usize {
        let Self { segments, rounds, n_since } = self;
        let mut broken_at = 0;
        segments.read(text, |piece, at| {
            let Piece::Segment { symbol, len } = piece else {
                *rounds = Rounds::default();
                broken_at = at;
                return;
            };
            let run = rounds.push(symbol, len);
            // All rounds but one are in the run.
            let is_enough = BYTES_PER_COUNT * (MIN_ROUNDS - 1) <= run * MIN_ROUNDS;
            let chant = if is_enough { rounds.chant() } else { None };
            if let Some(chant) = chant.filter(|it| BYTES_PER_COUNT <= it.covered) {
                *n_since = 0;
                let shown = || excerpt(tail, &text.as_bytes()[..at], chant.round);
                is_chanting.begin(measure(chant), chant, shown, cx);
            } else if is_chanting.0 {
                *n_since += 1;
                if *n_since == MAX_SEGMENTS {
                    is_chanting.end(cx, "the text went on");
                }
            }
        });
        broken_at
    }
}

fn measure(chant: Chant) -> u64 {
    u64::from(chant.covered / BYTES_PER_COUNT)
}

/// What a text ends in, word by word.
fn chant_at_end(text: &str) -> Option<Chant> {
    let words: Vec<&str> = text
        .rsplit(|it: char| it.is_ascii_whitespace())
        .filter(|it| it.bytes().any(|it| it.is_ascii_alphanumeric() || !it.is_ascii()))
        .take(MAX_WORDS)
        .collect();
    let n_bytes = |words: &[&str]| {
        u32::try_from(words.iter().map(|it| it.len() + 1).sum::<usize>()).unwrap_or(u32::MAX)
    };
    (1..=words.len() / MIN_ROUNDS as usize).find_map(|period| {
        let n_equal = words.iter().zip(&words[period..]).take_while(|(a, b)| a == b).count();
        let n_words = n_equal + period;
        (MIN_ROUNDS as usize * period <= n_words && MIN_WORDS <= n_words).then(|| Chant {
            round: n_bytes(&words[..period]),
            covered: n_bytes(&words[..n_words]),
        })
    })
}

/// The latest bytes of what was read, which may begin in an earlier part.
fn excerpt(tail: &str, text: &[u8], n_bytes: u32) -> String {
    let n_bytes = usize::try_from(n_bytes).unwrap_or(MAX_SHOWN).min(MAX_SHOWN);
    let n_earlier = n_bytes.saturating_sub(text.len()).min(tail.len());
    let earlier = &tail.as_bytes()[tail.len() - n_earlier..];
    let text = &text[text.len().saturating_sub(n_bytes)..];
    let bytes = [earlier, text].concat();
    String::from_utf8_lossy(&bytes).trim_matches(char::REPLACEMENT_CHARACTER).to_owned()
}

/// Adds the next part to the end of what was read, which stays short.
fn keep_tail(tail: &mut String, text: &str) {
    let begins_at = |it: &str| {
        let from = it.len().saturating_sub(MAX_SHOWN);
        (from..it.len()).find(|at| it.is_char_boundary(*at)).unwrap_or(it.len())
    };
    let text = &text[begins_at(text)..];
    tail.reserve_exact(2 * MAX_SHOWN - tail.len());
    tail.push_str(text);
    tail.drain(..begins_at(tail));
}
