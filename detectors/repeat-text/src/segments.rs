//! Content-defined segments of text: a repeated span is cut at the same places
//! in every round.

use crate::hash::Hash;

/// A word of fewer letters than this is joined with the next word.
const SHORTEST_LAST_WORD: u8 = 4;
/// From this number of letters on, a segment ends with a byte that is smaller
/// than the previous byte. This also cuts text without spaces, and cuts every
/// round at the same places.
const MIN_CUT: u8 = 8;
/// The largest number of letters in a segment.
const MAX_CUT: u8 = 24;
/// The largest length of a gap between two letters, in bytes; longer gaps count
/// as this.
pub(crate) const MAX_GAP: u8 = 4;
/// The number of letters from which on a word with digits is data, such as
/// base64.
const MIN_DATA: u8 = u8::MAX;
/// The least number of backticks, or tildes, in a fence.
const FENCE: u32 = 3;

/// A piece of text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    /// A few words, or a part of a long one.
    Segment {
        /// Equal for segments with the same letters, and never zero.
        symbol: u32,
        /// The length in bytes, with long gaps shortened.
        len: u8,
    },
    /// The start of text that repeats by design: a list item, a table row, a
    /// heading, a quotation or a drawn line. Also the end of data or code.
    Break,
    /// The start of code between fences.
    Code,
}

/// Cuts text that arrives in parts. The segments do not depend on the
/// boundaries between the parts.
#[derive(Clone, Debug)]
pub(crate) struct Segments {
    /// The hash of the letters of the segment.
    hash: Hash,
    n_letters: u8,
    len: u8,
    /// The number of bytes since the latest letter. They belong to the next
    /// segment.
    gap: u8,
    latest: u8,
    /// The number of letters in the current word, saturating.
    word: u8,
    /// The type of the current word.
    long_word: LongWord,
    line: Line,
    /// The number of consecutive backticks, or tildes, before this position.
    n_ticks: u32,
    /// The character of those: a backtick or a tilde.
    tick: u8,
    /// The number of ticks that opened the current code block; 0 outside code.
    fence: u32,
    /// The character of the opening fence.
    fence_tick: u8,
}

/// The type of a word, as far as the ends of its segments after the first
/// `MIN_DATA` letters show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LongWord {
    Unknown,
    /// ASCII letters and digits.
    Data,
    /// Text in a script without spaces.
    Text,
}

/// The type of a line, as far as its start has been read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Line {
    /// Only white space so far.
    Blank,
    /// Only digits so far: possibly a list item.
    Number,
    /// Digits and a full stop, or a bracket, so far.
    NumberAndStop,
    /// Only marks so far, such as a bullet.
    Marks,
    /// The start of the line has been read.
    Started,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Letter,
    /// The first byte of a drawing character, or of a letter.
    DrawnOrLetter,
    /// Emphasis, or a part of a drawn line. In code, a mark belongs to the next
    /// letter.
    Mark,
    /// A character of a fence.
    Tick,
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
            long_word: LongWord::Unknown,
            line: Line::Blank,
            n_ticks: 0,
            tick: 0,
            fence: 0,
            fence_tick: 0,
        }
    }
}

impl Segments {
    /// Reads the next part of the text, and passes each piece to `out` with the
    /// position of its end in this part.
    pub(crate) fn read(&mut self, text: &str, mut out: impl FnMut(Piece, usize)) {
        let bytes = text.as_bytes();
        let mut at = 0;
        while let Some(&byte) = bytes.get(at) {
            let class = CLASSES[usize::from(byte)];
            // Most bytes.
            if class == Class::Letter && self.n_ticks == 0 && self.continues_segment() {
                at += self.read_letters(&bytes[at..]);
                continue;
            }
            if class == Class::Tick {
                if self.tick != byte {
                    self.end_ticks(at, &mut out);
                }
                self.tick = byte;
                self.n_ticks = self.n_ticks.saturating_add(1);
            } else if self.n_ticks != 0 {
                self.end_ticks(at, &mut out);
            }
            if self.line != Line::Started {
                self.begin_line(byte, class, at, &mut out);
            }
            match class {
                Class::DrawnOrLetter if self.fence == 0 && is_drawn(&bytes[at..]) => {
                    self.skip(1);
                    at += 2;
                }
                Class::Mark => {
                    if self.fence != 0 {
                        self.hash.push(byte);
                    }
                    self.skip(1);
                }
                Class::Tick => self.skip(1),
                Class::Letter | Class::DrawnOrLetter if self.continues_segment() => {
                    at += self.read_letters(&bytes[at..]);
                    continue;
                }
                Class::Letter | Class::DrawnOrLetter => {
                    self.letter(byte);
                    if MIN_CUT <= self.n_letters && self.is_cut(byte) {
                        out(self.take(), at + 1);
                        if self.word == MIN_DATA && self.is_data(byte) {
                            out(Piece::Break, at + 1);
                        }
                    }
                    self.latest = byte;
                }
                Class::Space => {
                    if SHORTEST_LAST_WORD <= self.word && self.n_letters != 0 {
                        out(self.take(), at);
                    }
                    self.end_word();
                    self.skip(1);
                    if byte == b'\n' && self.fence == 0 {
                        self.line = Line::Blank;
                    }
                }
            }
            at += 1;
        }
    }

    fn letter(&mut self, byte: u8) {
        self.n_letters += 1;
        self.len += 1 + std::mem::take(&mut self.gap);
        self.word = self.word.saturating_add(1);
        self.hash.push(byte);
    }

    /// Returns true if a segment cannot end with the next letter.
    fn continues_segment(&self) -> bool {
        self.n_letters < MIN_CUT - 1 && self.line == Line::Started
    }

    /// Reads letters with which a segment cannot end. Returns their number. One
    /// step for several letters takes less time.
    #[inline]
    fn read_letters(&mut self, bytes: &[u8]) -> usize {
        let max = usize::from(MIN_CUT - 1 - self.n_letters);
        let is_letter = |byte: u8| CLASSES[usize::from(byte)] == Class::Letter;
        self.hash.push(bytes[0]);
        let mut n = 1;
        while n < max
            && let Some(&byte) = bytes.get(n)
            && is_letter(byte)
        {
            self.hash.push(byte);
            n += 1;
        }
        let n_letters = u8::try_from(n).unwrap_or(MIN_CUT);
        self.n_letters += n_letters;
        self.len += n_letters + std::mem::take(&mut self.gap);
        self.word = self.word.saturating_add(n_letters);
        self.latest = bytes[n - 1];
        n
    }

    /// Returns true if the word, in which a segment ends with this letter, is
    /// data.
    fn is_data(&mut self, letter: u8) -> bool {
        if !letter.is_ascii() {
            self.long_word = LongWord::Text;
        } else if letter.is_ascii_digit() && self.long_word == LongWord::Unknown {
            self.long_word = LongWord::Data;
        }
        self.long_word == LongWord::Data
    }

    fn end_word(&mut self) {
        (self.word, self.long_word) = (0, LongWord::Unknown);
    }

    fn is_cut(&self, byte: u8) -> bool {
        byte < self.latest || self.n_letters == MAX_CUT
    }

    fn skip(&mut self, n: u8) {
        self.gap = MAX_GAP.min(self.gap + n);
    }

    /// Ends the segment and returns it.
    fn take(&mut self) -> Piece {
        let (symbol, len) = (self.hash.symbol(), self.len);
        self.clear();
        Piece::Segment { symbol, len }
    }

    fn clear(&mut self) {
        (self.hash, self.n_letters, self.len, self.latest) = (Hash::default(), 0, 0, 0);
    }

    /// Updates the type of the line with its next byte. A list item, a table
    /// row, a heading or a quotation is a break.
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
            (Line::Blank | Line::Marks, Class::Mark | Class::Tick) => {
                self.line = Line::Marks;
                return;
            }
            // First byte of a drawing character; its other bytes are not letters.
            (Line::Blank | Line::Marks, _) if byte == 0xe2 => {
                self.line = Line::Marks;
                return;
            }
            _ => false,
        };
        self.line = Line::Started;
        if is_marked {
            self.interrupt(Piece::Break, at, out);
        }
    }

    fn end_ticks(&mut self, at: usize, out: &mut impl FnMut(Piece, usize)) {
        let n_ticks = std::mem::take(&mut self.n_ticks);
        if n_ticks < FENCE {
            return;
        }
        if self.fence == 0 {
            (self.fence, self.fence_tick) = (n_ticks, self.tick);
            self.line = Line::Started;
            self.interrupt(Piece::Code, at, out);
        } else if self.fence <= n_ticks && self.fence_tick == self.tick {
            self.fence = 0;
            self.line = Line::Started;
            self.interrupt(Piece::Break, at, out);
        }
    }

    fn interrupt(&mut self, piece: Piece, at: usize, out: &mut impl FnMut(Piece, usize)) {
        self.clear();
        self.end_word();
        self.gap = 0;
        out(piece, at);
    }
}

/// Returns true if `bytes` start with a line or box drawing character, a dash,
/// an ellipsis or a bullet.
fn is_drawn(bytes: &[u8]) -> bool {
    matches!(bytes, [0xe2, 0x80 | 0x94..=0x97, _, ..])
}

static CLASSES: [Class; 256] = {
    let mut classes = [Class::Letter; 256];
    let others: [(&[u8], Class); 4] = [
        (b"\xe2", Class::DrawnOrLetter),
        (b"-+_=*#|.>", Class::Mark),
        (b"`~", Class::Tick),
        (b" \t\n\r\x0b\x0c", Class::Space),
    ];
    let mut n = 0;
    while n < others.len() {
        let (bytes, class) = others[n];
        let mut at = 0;
        while at < bytes.len() {
            classes[bytes[at] as usize] = class;
            at += 1;
        }
        n += 1;
    }
    classes
};
