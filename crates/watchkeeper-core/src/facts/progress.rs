//! The recent calls of an agent, which decide the [`Contribution`] of the next one.
//!
//! Recent are the latest five calls of the agent. Results are compared by a sketch: the smallest
//! hashes of their lines, as in `MinHash` (A. Broder, *On the resemblance and containment of
//! documents*, 1997). Five calls and four hashes suffice: in 154 labelled sessions, larger numbers
//! found no more stretches without progress, and delayed none. Lines that two recent results
//! contain are usual, and count only if a result contains no others.

#[cfg(test)]
mod tests;

use std::num::NonZeroU16;

use super::{call::Call, contribution::Contribution, step::Step};
use crate::{Fingerprint, Purpose, ResultClass, ToolClass, ToolResult, near};

/// The number of recent calls.
const N_RECENT: usize = 5;
/// The number of hashes in a sketch.
const N_HASHES: usize = 4;
/// The number of bytes of a result that are compared.
const COMPARED: usize = 8 * 1024;
/// The longest text, in bytes, that one hash stands for. Longer lines are cut into pieces.
const LONGEST: usize = 64;
/// The shortest piece, in bytes, that is compared: shorter lines are brackets and the like.
const SHORTEST: usize = 4;

/// The recent calls of an agent.
#[derive(Clone, Debug, Default)]
pub(super) struct RecentCalls(Option<Box<Calls>>);

/// The latest call is the last.
#[derive(Clone, Debug)]
struct Calls {
    /// Bits of the fingerprints of the calls; `None` if a call failed, or if there are fewer calls.
    fingerprints: [Option<NonZeroU16>; N_RECENT],
    /// The sketches of their results.
    sketches: [Sketch; N_RECENT],
    /// The number of calls since the latest change, that change included.
    n_since_change: u8,
}

/// The smallest hashes of a text, in ascending order. Absent hashes are at the end.
type Sketch = [u16; N_HASHES];

/// Stands for an absent hash.
const ABSENT: u16 = u16::MAX;

impl RecentCalls {
    /// Forgets all calls: a new stretch of work begins, or the agent has lost their results.
    pub(super) fn clear(&mut self) {
        self.0 = None;
    }

    /// Adds a finished call, and returns its contribution. For a successful result with text that
    /// changes nothing, it is provisional: [`Step::contribution`] takes the class into account.
    pub(super) fn add(&mut self, call: &Call, result: &ToolResult, step: &Step) -> Contribution {
        if matches!(call.purpose, Purpose::Poll | Purpose::Wait | Purpose::Plan | Purpose::Ask) {
            return Contribution::Neutral;
        }
        let is_change = call.class == ToolClass::Write || call.purpose == Purpose::Write;
        let text = result.output.as_deref().filter(|_| !is_change).unwrap_or_default();
        let sketch = sketch(text);
        // The change of a text is complete when the tool succeeds. Other changes, such as a
        // deployment, may go on.
        let needs_class = !result.ok || sketch[0] == ABSENT && !call.changes_text;
        let class = needs_class.then(|| step.result_class(result, call.purpose));
        if let Some(ResultClass::Declined | ResultClass::Outage | ResultClass::Unfinished) = class {
            return Contribution::Neutral;
        }
        let is_error = class == Some(ResultClass::Failed) || step.error_cause(result).is_some();
        let added = NonZeroU16::new(upper_bits(call.fingerprint)).filter(|_| !is_error);
        let recent = self.0.get_or_insert_default();
        let contribution = match class {
            _ if is_error => Contribution::Failed,
            _ if is_change && recent.position(added).is_none() => Contribution::Change,
            // Rows and messages may be written again.
            _ if call.class == ToolClass::Write && !call.changes_text => Contribution::Neutral,
            _ if is_change => Contribution::RepeatedChange,
            Some(ResultClass::Nothing) => Contribution::Nothing,
            _ => recent.contribution(added, sketch),
        };
        recent.push(added, sketch, contribution == Contribution::Change);
        contribution
    }
}

impl Default for Calls {
    fn default() -> Self {
        Self {
            fingerprints: [None; N_RECENT],
            sketches: [[ABSENT; N_HASHES]; N_RECENT],
            n_since_change: u8::MAX,
        }
    }
}

impl Calls {
    /// Returns the number of calls that were made since an equal call succeeded, that call
    /// included.
    fn position(&self, call: Option<NonZeroU16>) -> Option<usize> {
        let is_equal = |recent: &Option<NonZeroU16>| call.is_some() && *recent == call;
        self.fingerprints.iter().rev().position(is_equal).map(|idx| idx + 1)
    }

    /// Returns true if a recent result contains a hash.
    fn contain(&self, hash: u16) -> bool {
        // Without an early exit, so that the loop is vectorized.
        let is_equal = |known: &u16| u16::from(*known == hash);
        self.sketches.as_flattened().iter().map(is_equal).fold(0, |any, it| any | it) != 0
    }

    /// Returns the contribution of a call that returned information.
    fn contribution(&self, call: Option<NonZeroU16>, sketch: Sketch) -> Contribution {
        let (mut n_new, mut n_known, mut n_usual) = (0, 0, 0);
        for hash in sketch.into_iter().filter(|hash| *hash != ABSENT) {
            let n_results = || self.sketches.iter().filter(|sketch| sketch.contains(&hash)).count();
            match () {
                () if !self.contain(hash) => n_new += 1,
                () if n_results() == 1 => n_known += 1,
                // Such as a licence at the beginning of each file.
                () => n_usual += 1,
            }
        }
        if n_new + n_known + n_usual == 0 {
            return Contribution::Neutral;
        }
        if n_new * 4 <= n_new + n_known {
            let is_check = |n_calls| usize::from(self.n_since_change) < n_calls;
            return match self.position(call) {
                Some(n_calls) if is_check(n_calls) => Contribution::Neutral,
                _ => Contribution::Known,
            };
        }
        if n_new <= n_known { Contribution::PartlyKnown } else { Contribution::New }
    }

    fn push(&mut self, call: Option<NonZeroU16>, sketch: Sketch, is_change: bool) {
        self.fingerprints.copy_within(1.., 0);
        self.fingerprints[N_RECENT - 1] = call;
        self.sketches.copy_within(1.., 0);
        self.sketches[N_RECENT - 1] = sketch;
        self.n_since_change = if is_change { 1 } else { self.n_since_change.saturating_add(1) };
    }
}

/// Returns the sketch of a text.
// Inlined into a large function, the loop would keep its variables in memory.
#[inline(never)]
fn sketch(text: &str) -> Sketch {
    let mut rest = &text.as_bytes()[..text.len().min(COMPARED)];
    let mut sketch = [ABSENT; N_HASHES];
    loop {
        if rest.first().is_some_and(u8::is_ascii_whitespace) {
            rest = rest.trim_ascii_start();
        }
        if rest.is_empty() {
            return sketch;
        }
        let window = &rest[..rest.len().min(LONGEST)];
        let line_break = find_line_break(window);
        let mut piece = &window[..line_break.unwrap_or(window.len())];
        rest = &rest[piece.len() + usize::from(line_break.is_some())..];
        if piece.last().is_some_and(u8::is_ascii_whitespace) {
            piece = piece.trim_ascii_end();
        }
        if SHORTEST <= piece.len() {
            insert(&mut sketch, hash(piece));
        }
    }
}

/// Returns the offset of the first line break. Most lines are short: for them, a call of `memchr`
/// takes longer than this search.
#[inline]
fn find_line_break(text: &[u8]) -> Option<usize> {
    let (chunks, rest) = text.as_chunks();
    for (chunk, start) in chunks.iter().zip((0..).step_by(near::CHUNK)) {
        if let Some(at) = near::find_in_chunk(b'\n', chunk) {
            return Some(start + at);
        }
    }
    let at = rest.iter().position(|byte| *byte == b'\n')?;
    Some(text.len() - rest.len() + at)
}

/// The number of bytes that are hashed at once.
const BLOCK: usize = 16;

/// Hashes a piece of `SHORTEST` to `LONGEST` bytes.
#[inline]
fn hash(piece: &[u8]) -> u16 {
    let mut hash = Fingerprint::from(piece.len() as u64);
    if let Some(last) = piece.last_chunk::<BLOCK>() {
        let (blocks, _) = piece[..piece.len() - 1].as_chunks::<BLOCK>();
        for block in blocks {
            hash = with_block(hash, block);
        }
        // Some of the last bytes may be hashed twice.
        hash = with_block(hash, last);
    } else {
        let mut block = [0; BLOCK];
        block[..piece.len()].copy_from_slice(piece);
        hash = with_block(hash, &block);
    }
    upper_bits(hash)
}

fn with_block(hash: Fingerprint, block: &[u8; BLOCK]) -> Fingerprint {
    let block = u128::from_le_bytes(*block);
    #[expect(clippy::cast_possible_truncation, reason = "the block is split in two")]
    let (low, high) = (block as u64, (block >> 64) as u64);
    Fingerprint::from(hash.get() ^ low).and(high.into())
}

fn upper_bits(fingerprint: Fingerprint) -> u16 {
    (fingerprint.get() >> 48) as u16
}

/// Inserts a hash into a sketch if it is smaller than another and not contained. The hash that
/// stands for an absent one is never inserted.
fn insert(sketch: &mut Sketch, mut hash: u16) {
    if sketch[N_HASHES - 1] <= hash || sketch.contains(&hash) {
        return;
    }
    for known in sketch {
        (*known, hash) = (hash.min(*known), hash.max(*known));
    }
}
