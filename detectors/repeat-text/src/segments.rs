//! Cuts text into segments where its content says so, so that what is repeated
//! is cut in the same places each time.

use crate::hash::Hash;

/// Words of fewer letters than this join the next one.
const SHORTEST_LAST_WORD: u8 = 4;
/// From this length on, a segment ends where its bytes descend: text that knows
/// no spaces is cut too, and a repetition has the same descents each time.
const MIN_CUT: u8 = 8;
/// No segment has more letters than this.
const MAX_CUT: u8 = 24;
/// What a gap between two letters counts for at most, in bytes.
const MAX_GAP: u8 = 4;
/// A fence has at least this many backticks, or tildes.
const FENCE: u32 = 3;

/// What text consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    /// A few words, or a part of a long one.
    Segment {
        /// Equal for segments that have the same letters, and never zero.
        symbol: u32,
        /// How many bytes it takes up, long gaps aside.
        len: u8,
    },
    /// Something that repeats by design begins or ends: code, an item of a list,
    /// a row of a table, a heading, a quotation, a line drawn with characters.
    Break,
}

/// Cuts text that comes in parts.
///
/// It makes no difference where one part ends and the next begins.
#[derive(Clone, Debug)]
pub(crate) struct Segments {
    /// Of the letters of the segment.
    hash: Hash,
    n_letters: u8,
    len: u8,
    /// How many bytes came since the latest letter: they belong to the next.
    gap: u8,
    latest: u8,
    /// How many letters the word has, as far as that matters.
    word: u8,
    line: Line,
    /// How many backticks, or tildes, came last, in a row.
    n_ticks: u32,
    /// Which of the two they were.
    tick: u8,
    /// How many opened the code that this is; none, if it is none.
    fence: u32,
    /// Which of the two they were.
    fence_tick: u8,
}

/// What is known of a line from how it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Line {
    /// Nothing but space so far.
    Blank,
    /// Digits so far: it may be an item of a list.
    Number,
    /// Digits and a full stop, or a bracket, so far.
    NumberAndStop,
    /// Marks so far, such as a bullet.
    Marks,
    /// It is text, or has been told from it.
    Known,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Letter,
    Mark,
    Space,
}

impl Default for Segments {
    fn default() -> Self {
        Self {
            hash: Hash::default(),
            n_letters: 0,
            len: 0,
            gap: 0,
            latest: 0,
            word: 0,
            line: Line::Blank,
            n_ticks: 0,
            tick: 0,
            fence: 0,
            fence_tick: 0,
        }
    }
}

impl Segments {
    /// Takes the next part of the text. Each piece is given out with where it
    /// ends in this part.
    pub(crate) fn read(&mut self, text: &str, mut out: impl FnMut(Piece, usize)) {
        let bytes = text.as_bytes();
        let mut at = 0;
        while let Some(&byte) = bytes.get(at) {
            if is_tick(byte) {
                if self.tick != byte {
                    self.end_ticks(at, &mut out);
                }
                self.tick = byte;
                self.n_ticks = self.n_ticks.saturating_add(1);
            } else if self.n_ticks != 0 {
                self.end_ticks(at, &mut out);
            }
            if self.fence != 0 {
                let rest = &bytes[at + 1..];
                let n_skipped = if is_tick(byte) {
                    0
                } else {
                    rest.iter().position(|it| is_tick(*it)).unwrap_or(rest.len())
                };
                at += 1 + n_skipped;
                continue;
            }
            let class = CLASSES[usize::from(byte)];
            if self.line != Line::Known {
                self.begin_line(byte, class, at, &mut out);
            }
            match class {
                Class::Letter if byte == 0xe2 && is_drawn(&bytes[at..]) => {
                    self.skip(1);
                    at += 2;
                }
                Class::Letter => {
                    self.letter(byte);
                    if MIN_CUT <= self.n_letters && self.is_cut(byte) {
                        out(self.take(), at + 1);
                    }
                    self.latest = byte;
                }
                Class::Mark => self.skip(1),
                Class::Space => {
                    if SHORTEST_LAST_WORD <= self.word && self.n_letters != 0 {
                        out(self.take(), at);
                    }
                    self.word = 0;
                    self.skip(1);
                    if byte == b'\n' {
                        self.line = Line::Blank;
                    }
                }
            }
            at += 1;
        }
    }

    /// Whether what comes is code.
    pub(crate) fn is_code(&self) -> bool {
        self.fence != 0
    }

    fn letter(&mut self, byte: u8) {
        self.n_letters += 1;
        self.len += 1 + std::mem::take(&mut self.gap);
        self.word = self.word.saturating_add(1);
        self.hash.push(byte);
    }

    fn is_cut(&self, byte: u8) -> bool {
        byte < self.latest || self.n_letters == MAX_CUT
    }

    fn skip(&mut self, n: u8) {
        self.gap = MAX_GAP.min(self.gap + n);
    }

    /// Ends the segment.
    fn take(&mut self) -> Piece {
        let len = self.len;
        let hash = self.hash.get();
        let [low, high] = [hash & 0xffff_ffff, hash >> 32];
        let symbol = u32::try_from(low ^ high).unwrap_or_default().max(1);
        self.clear();
        Piece::Segment { symbol, len }
    }

    fn clear(&mut self) {
        (self.hash, self.n_letters, self.len, self.latest) = (Hash::default(), 0, 0, 0);
    }

    /// Learns of a line by the word it begins with.
    fn begin_line(
        &mut self,
        byte: u8,
        class: Class,
        at: usize,
        out: &mut impl FnMut(Piece, usize),
    ) {
        let is_marked = match (self.line, class) {
            (Line::Blank, _) if matches!(byte, b'>' | b'|') => true,
            (Line::Marks | Line::NumberAndStop, Class::Space) => true,
            (Line::Blank, Class::Space) => return,
            (Line::Blank | Line::Number, _) if byte.is_ascii_digit() => {
                self.line = Line::Number;
                return;
            }
            (Line::Number, _) if matches!(byte, b'.' | b')') => {
                self.line = Line::NumberAndStop;
                return;
            }
            (Line::Blank | Line::Marks, Class::Mark) => {
                self.line = Line::Marks;
                return;
            }
            // The rest of a character that is drawn is no letter.
            (Line::Blank | Line::Marks, _) if byte == 0xe2 => {
                self.line = Line::Marks;
                return;
            }
            _ => false,
        };
        self.line = Line::Known;
        if is_marked {
            self.interrupt(at, out);
        }
    }

    fn end_ticks(&mut self, at: usize, out: &mut impl FnMut(Piece, usize)) {
        let n_ticks = std::mem::take(&mut self.n_ticks);
        if n_ticks < FENCE {
            return;
        }
        if self.fence == 0 {
            (self.fence, self.fence_tick) = (n_ticks, self.tick);
            self.interrupt(at, out);
        } else if self.fence <= n_ticks && self.fence_tick == self.tick {
            self.fence = 0;
            self.line = Line::Known;
        }
    }

    fn interrupt(&mut self, at: usize, out: &mut impl FnMut(Piece, usize)) {
        self.clear();
        (self.word, self.gap) = (0, 0);
        out(Piece::Break, at);
    }
}

fn is_tick(byte: u8) -> bool {
    matches!(byte, b'`' | b'~')
}

/// Whether a character that begins so is one that lines and boxes are drawn
/// with, or a dash, an ellipsis or a bullet.
fn is_drawn(bytes: &[u8]) -> bool {
    matches!(bytes, [0xe2, 0x80 | 0x94..=0x97, _, ..])
}

const CLASSES: [Class; 256] = {
    let mut res = [Class::Letter; 256];
    let marks = b"-+_=*~#|.>`";
    let mut at = 0;
    while at < marks.len() {
        res[marks[at] as usize] = Class::Mark;
        at += 1;
    }
    let spaces = b" \t\n\r\x0b\x0c";
    let mut at = 0;
    while at < spaces.len() {
        res[spaces[at] as usize] = Class::Space;
        at += 1;
    }
    res
};
