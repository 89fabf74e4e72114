//! Cuts a growing stream of bytes into lines.

use std::io::{self, Read};

use memchr::memchr;

/// The longest line that is handed on, in bytes: longer than any line an agent
/// was seen to write, and short enough to be held in memory.
pub const MAX_LINE: usize = 16 << 20;

/// How much is asked of the reader at once.
const CHUNK: usize = 256 << 10;
/// Reads end up at a multiple of this. Copying to where an allocation begins,
/// 16 bytes into a page, is several times slower on some processors.
const ALIGNMENT: usize = 64;
/// The room in front of a read for the part of a line that came before it.
const HEADROOM: usize = 64 << 10;
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// A line, without its line break.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// Its number, counted from 1.
    pub number: u64,
    /// Where in the file it begins, in bytes.
    pub offset: u64,
    /// What it says.
    pub bytes: LineBytes<'a>,
}

/// What a line says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineBytes<'a> {
    /// All of it.
    Whole(&'a [u8]),
    /// It is longer than [`MAX_LINE`], and was passed over.
    TooLong,
}

/// A place in a file from which its lines can be read on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// How many bytes lie before it.
    pub offset: u64,
    /// How many lines end before it.
    pub lines: u64,
    /// How many of those belong to a line that is longer than [`MAX_LINE`] and
    /// has not ended.
    pub passed_over: u64,
}

/// Cuts what it is filled with into lines.
///
/// However the bytes arrive, the lines are the same. A line of which the end
/// has not arrived is kept. Memory is bounded by [`MAX_LINE`], and none is
/// held before the first read.
///
/// ```
/// use watchkeeper_sources::{LineBuffer, LineBytes};
///
/// let mut lines = LineBuffer::default();
/// lines.fill(&mut &b"one\ntw"[..])?;
/// assert_eq!(lines.next_line().map(|it| it.bytes), Some(LineBytes::Whole(b"one")));
/// assert_eq!(lines.next_line(), None);
/// lines.fill(&mut &b"o\n"[..])?;
/// assert_eq!(lines.next_line().map(|it| (it.number, it.offset)), Some((2, 4)));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug, Default)]
pub struct LineBuffer {
    storage: Vec<u8>,
    /// Where reads end up, at a multiple of `ALIGNMENT`.
    read_at: usize,
    /// What arrived and was not handed on: `start..end`.
    start: usize,
    end: usize,
    /// How much of that has no line break in it.
    n_searched: usize,
    /// Where `start` is.
    position: Position,
}

/// A line that was found, as a range of the storage.
struct Found {
    number: u64,
    offset: u64,
    start: usize,
    end: usize,
    is_too_long: bool,
}

impl LineBuffer {
    /// Goes on to another place, or to another file, and forgets what arrived.
    pub fn restart(&mut self, position: Position) {
        (self.start, self.end, self.n_searched) = (self.read_at, self.read_at, 0);
        self.position = position;
    }

    /// Reads once. Gives back how many bytes arrived; zero says that the
    /// reader is at its end.
    ///
    /// Read only when [`next_line`](Self::next_line) has no more: what was not
    /// handed on is kept.
    pub fn fill(&mut self, reader: &mut impl Read) -> io::Result<usize> {
        self.make_room();
        let room = &mut self.storage[self.read_at..self.read_at + CHUNK];
        loop {
            match reader.read(room) {
                Ok(n) => {
                    self.end = self.read_at + n.min(CHUNK);
                    return Ok(n);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Moves what is kept to just before where the next read ends up.
    fn make_room(&mut self) {
        let kept = self.start..self.end;
        let needs = kept.len().next_multiple_of(ALIGNMENT);
        if self.storage.is_empty() || self.read_at < needs {
            // Twice the need, so that a long line is moved few times.
            let headroom = if needs <= HEADROOM { HEADROOM } else { needs * 2 };
            let mut storage = vec![0; headroom + CHUNK + ALIGNMENT];
            let aligned = storage.as_ptr().align_offset(ALIGNMENT);
            // An offset that cannot be known is no reason to fail.
            let read_at = headroom + if aligned < ALIGNMENT { aligned } else { 0 };
            storage[read_at - kept.len()..read_at].copy_from_slice(&self.storage[kept.clone()]);
            (self.storage, self.read_at) = (storage, read_at);
        } else {
            self.storage.copy_within(kept.clone(), self.read_at - kept.len());
        }
        self.start = self.read_at - kept.len();
        self.end = self.read_at;
    }

    /// Takes the next line of which the end has arrived.
    pub fn next_line(&mut self) -> Option<Line<'_>> {
        let found = self.find()?;
        Some(self.line(&found))
    }

    /// Takes what follows the last line break, if anything does: the last line
    /// of a file that ends without one.
    pub fn last_line(&mut self) -> Option<Line<'_>> {
        let len = self.end - self.start;
        if len == 0 && self.position.passed_over == 0 {
            return None;
        }
        let found = self.take(len, 0);
        Some(self.line(&found))
    }

    /// The beginning of the line that comes next: where to read on, with what
    /// arrived of that line read again.
    pub fn position(&self) -> Position {
        self.position
    }

    /// Looks for the end of a line, and moves on past it.
    fn find(&mut self) -> Option<Found> {
        let unread = &self.storage[self.start..self.end];
        match memchr(b'\n', &unread[self.n_searched..]) {
            Some(at) => Some(self.take(self.n_searched + at, 1)),
            None => {
                self.n_searched = unread.len();
                if 0 < self.position.passed_over || MAX_LINE < self.n_searched {
                    self.position.passed_over += self.n_searched as u64;
                    self.position.offset += self.n_searched as u64;
                    (self.start, self.n_searched) = (self.end, 0);
                }
                None
            }
        }
    }

    /// Moves on past `len` bytes of a line and its line break.
    fn take(&mut self, len: usize, n_break: usize) -> Found {
        let Position { offset, lines, passed_over } = self.position;
        let found = Found {
            number: lines + 1,
            offset: offset - passed_over,
            start: self.start,
            end: self.start + len,
            is_too_long: 0 < passed_over || MAX_LINE < len,
        };
        let n_taken = len + n_break;
        self.start += n_taken;
        self.n_searched = 0;
        self.position =
            Position { offset: offset + n_taken as u64, lines: lines + 1, passed_over: 0 };
        found
    }

    fn line(&self, found: &Found) -> Line<'_> {
        let bytes = if found.is_too_long {
            LineBytes::TooLong
        } else {
            let mut bytes = &self.storage[found.start..found.end];
            bytes = bytes.strip_suffix(b"\r").unwrap_or(bytes);
            if found.offset == 0 {
                bytes = bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes);
            }
            LineBytes::Whole(bytes)
        };
        Line { number: found.number, offset: found.offset, bytes }
    }
}

/// The lines of a reader, to its end. The last one need not have a line break.
#[derive(Debug)]
pub struct Lines<R> {
    reader: R,
    buffer: LineBuffer,
}

impl<R: Read> Lines<R> {
    /// The lines that `reader` has yet to give.
    pub fn new(reader: R) -> Self {
        Self { reader, buffer: LineBuffer::default() }
    }

    /// The next line; `None` at the end.
    #[expect(clippy::should_implement_trait, reason = "a line borrows from what reads it")]
    pub fn next(&mut self) -> io::Result<Option<Line<'_>>> {
        loop {
            if let Some(found) = self.buffer.find() {
                return Ok(Some(self.buffer.line(&found)));
            }
            if self.buffer.fill(&mut self.reader)? == 0 {
                return Ok(self.buffer.last_line());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, Read};

    use proptest::prelude::*;

    use super::{ALIGNMENT, Line, LineBuffer, LineBytes, Lines, MAX_LINE, Position};

    /// Gives what it has in pieces of some sizes, over and over.
    struct Pieces<'a> {
        rest: &'a [u8],
        sizes: std::iter::Cycle<std::slice::Iter<'a, usize>>,
    }

    impl Read for Pieces<'_> {
        fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
            let size = *self.sizes.next().unwrap();
            self.rest.read(&mut to[..size])
        }
    }

    fn lines(text: &[u8], sizes: &[usize]) -> Vec<(u64, u64, Option<Vec<u8>>)> {
        let mut lines = Lines::new(Pieces { rest: text, sizes: sizes.iter().cycle() });
        let mut res = Vec::new();
        while let Some(Line { number, offset, bytes }) = lines.next().unwrap() {
            let bytes = match bytes {
                LineBytes::Whole(bytes) => Some(bytes.to_vec()),
                LineBytes::TooLong => None,
            };
            res.push((number, offset, bytes));
        }
        res
    }

    #[test]
    fn marks_and_breaks_are_no_part_of_a_line() {
        let text = b"\xef\xbb\xbfa\r\n\n\xef\xbb\xbfb\nc";
        let expected = vec![
            (1, 0, Some(b"a".to_vec())),
            (2, 6, Some(b"".to_vec())),
            (3, 7, Some(b"\xef\xbb\xbfb".to_vec())),
            (4, 12, Some(b"c".to_vec())),
        ];
        for size in 1..=text.len() {
            assert_eq!(lines(text, &[size]), expected, "in pieces of {size}");
        }
    }

    #[test]
    fn a_line_that_is_too_long_is_passed_over() {
        let mut text = b"a\n".to_vec();
        text.resize(2 + MAX_LINE, b'x');
        text.extend(b"\nb\n");
        assert_eq!(lines(&text, &[200_000])[1].2.as_ref().map(Vec::len), Some(MAX_LINE));
        text.insert(2, b'x');
        let long = MAX_LINE as u64 + 4;
        let expected =
            vec![(1, 0, Some(b"a".to_vec())), (2, 2, None), (3, long, Some(b"b".to_vec()))];
        for size in [7_001, 100_000, 262_144] {
            assert_eq!(lines(&text, &[size]), expected, "in pieces of {size}");
        }
        text.truncate(3 + MAX_LINE);
        assert_eq!(lines(&text, &[262_144]), expected[..2]);
    }

    #[test]
    fn a_line_without_end_costs_no_more_memory_than_the_longest_line() {
        let mut lines = LineBuffer::default();
        let mut endless = io::repeat(b'[');
        for _ in 0..1_000 {
            lines.fill(&mut endless).unwrap();
            assert_eq!(lines.next_line(), None);
        }
        assert!(lines.storage.len() < 3 * MAX_LINE, "{}", lines.storage.len());
        assert_eq!(lines.position().passed_over, lines.position().offset);
        assert!(200 << 20 < lines.position().offset);
    }

    #[test]
    fn reads_end_up_where_they_are_fast() {
        let mut lines = LineBuffer::default();
        for text in [&b"a\nbcd"[..], b"e", b"\n"] {
            lines.fill(&mut { text }).unwrap();
            assert_eq!(lines.storage[lines.read_at..].as_ptr().align_offset(ALIGNMENT), 0);
            while lines.next_line().is_some() {}
        }
    }

    proptest! {
        #[test]
        fn lines_do_not_depend_on_how_bytes_arrive(
            text in prop::collection::vec(prop_oneof![Just(b'\n'), Just(b'\r'), any::<u8>()], 0..200),
            sizes in prop::collection::vec(1..20_usize, 1..5),
        ) {
            prop_assert_eq!(lines(&text, &sizes), lines(&text, &[text.len().max(1)]));
        }

        #[test]
        fn lines_can_be_read_on_from_where_they_were_left(
            text in prop::collection::vec(prop_oneof![Just(b'\n'), any::<u8>()], 0..60),
            cut in 0..60_usize,
        ) {
            let cut = cut.min(text.len());
            let mut buffer = LineBuffer::default();
            let mut res = Vec::new();
            let mut position = Position::default();
            for end in [cut, text.len()] {
                buffer.restart(position);
                let from = usize::try_from(position.offset).unwrap();
                buffer.fill(&mut &text[from..end]).unwrap();
                while let Some(line) = buffer.next_line() {
                    let LineBytes::Whole(bytes) = line.bytes else { unreachable!() };
                    res.push((line.number, line.offset, Some(bytes.to_vec())));
                }
                position = buffer.position();
            }
            let mut expected = lines(&text, &[1]);
            if text.last().is_some_and(|it| *it != b'\n') {
                expected.pop();
            }
            prop_assert_eq!(res, expected);
        }
    }
}
