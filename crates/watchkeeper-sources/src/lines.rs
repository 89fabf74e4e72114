//! Splits a growing stream of bytes into lines.

use std::{
    cell::Cell,
    io::{self, Read},
};

use memchr::memchr;

/// The length of the longest line that is read, in bytes. Longer than any line in
/// known sessions, and short enough to be kept in memory.
pub const MAX_LINE: usize = 16 << 20;

/// The size of the first read, in bytes. Most sessions are short, and the memory of a
/// read is cleared first.
const FIRST_CHUNK: usize = 16 << 10;
/// The size of each read after a read that was full, in bytes, unless a long line is being
/// read. In smaller reads, more of the bytes are those of unfinished lines, which are moved.
const CHUNK: usize = 256 << 10;
/// The alignment of reads in memory. Copying to the start of an allocation, 16
/// bytes into a page, is several times slower on some processors.
const ALIGNMENT: usize = 64;
/// The free space before a read, for the unfinished line that precedes it.
const HEADROOM: usize = 64 << 10;
/// The size of the largest storage that is kept for the next buffer, in bytes.
const MAX_SPARE: usize = HEADROOM + ALIGNMENT + CHUNK;

thread_local! {
    /// The storage of a buffer that was dropped, for the next one. A file is opened to find its
    /// first event, and again to read all events, and the memory of new storage is cleared first.
    static SPARE: Cell<Storage> = const { Cell::new(Storage { bytes: Vec::new(), read_at: 0 }) };
}

pub(crate) const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// A line, without its line break.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// The number of the line, counted from 1.
    pub number: u64,
    /// The offset of the line in the file, in bytes.
    pub offset: u64,
    /// The content of the line.
    pub bytes: LineBytes<'a>,
}

/// The content of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineBytes<'a> {
    /// The whole line.
    Whole(&'a [u8]),
    /// The line is longer than [`MAX_LINE`], and was skipped.
    TooLong,
}

/// A position in a file at which reading can continue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// The number of bytes before the position.
    pub offset: u64,
    /// The number of lines that end before the position.
    pub lines: u64,
    /// The number of skipped bytes before the position, of an unfinished line that is
    /// longer than [`MAX_LINE`].
    pub skipped: u64,
}

/// Splits bytes into lines.
///
/// The lines do not depend on the sizes of the reads. An unfinished line is kept.
/// Memory is bounded by [`MAX_LINE`], and is allocated at the first read.
///
/// ```
/// use watchkeeper_sources::{LineBuffer, LineBytes};
///
/// let mut lines = LineBuffer::default();
/// lines.fill(&mut &b"one\ntw"[..])?;
/// assert_eq!(lines.next_line().map(|line| line.bytes), Some(LineBytes::Whole(b"one")));
/// assert_eq!(lines.next_line(), None);
/// lines.fill(&mut &b"o\n"[..])?;
/// assert_eq!(lines.next_line().map(|line| (line.number, line.offset)), Some((2, 4)));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug, Default)]
pub struct LineBuffer {
    storage: Storage,
    /// The remaining bytes are at `start..end`.
    start: usize,
    end: usize,
    /// The number of remaining bytes that contain no line break.
    n_searched: usize,
    /// The position of `start` in the file.
    position: Position,
}

/// The memory of a [`LineBuffer`].
#[derive(Debug, Default)]
struct Storage {
    bytes: Vec<u8>,
    /// The index at which reads are stored, aligned to `ALIGNMENT`.
    read_at: usize,
}

/// A line, as a range of the storage.
pub(crate) struct Found {
    number: u64,
    offset: u64,
    start: usize,
    end: usize,
    is_too_long: bool,
}

impl LineBuffer {
    /// Drops the remaining bytes, and continues at another position or in another
    /// file.
    pub fn restart(&mut self, position: Position) {
        (self.start, self.end, self.n_searched) = (self.storage.read_at, self.storage.read_at, 0);
        self.position = position;
    }

    /// Reads once. Returns the number of bytes, which is zero at the end of the
    /// reader.
    ///
    /// Call this when [`next_line`](Self::next_line) has no more lines: the remaining
    /// bytes are kept.
    pub fn fill(&mut self, reader: &mut impl Read) -> io::Result<usize> {
        self.make_room();
        let read_at = self.storage.read_at;
        let room = &mut self.storage.bytes[read_at..];
        loop {
            match reader.read(room) {
                Ok(n) => {
                    self.end = read_at + n.min(room.len());
                    return Ok(n);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Moves the remaining bytes to just before the next read.
    fn make_room(&mut self) {
        if self.storage.bytes.is_empty() {
            self.storage = SPARE.take();
            (self.start, self.end) = (self.storage.read_at, self.storage.read_at);
        }
        let Storage { bytes, read_at } = &mut self.storage;
        let kept = self.start..self.end;
        let needs = kept.len().next_multiple_of(ALIGNMENT);
        let was_full = self.end == bytes.len();
        let is_small = bytes.len() < CHUNK;
        if *read_at < needs || was_full && is_small {
            let (headroom, chunk) = match needs {
                _ if bytes.is_empty() => (0, FIRST_CHUNK),
                ..=HEADROOM => (HEADROOM, CHUNK),
                // Twice the size, and long reads, so that a long line is moved only a few times.
                _ => (needs * 2, CHUNK.max(needs / 4)),
            };
            let mut new = vec![0; headroom + ALIGNMENT + chunk];
            let aligned = new.as_ptr().align_offset(ALIGNMENT);
            // The offset may be unknown: the alignment only affects speed.
            *read_at = headroom + if aligned < ALIGNMENT { aligned } else { 0 };
            new.truncate(*read_at + chunk);
            new[*read_at - kept.len()..*read_at].copy_from_slice(&bytes[kept.clone()]);
            *bytes = new;
        } else {
            bytes.copy_within(kept.clone(), *read_at - kept.len());
        }
        self.start = *read_at - kept.len();
        self.end = *read_at;
    }

    /// Takes the next complete line.
    pub fn next_line(&mut self) -> Option<Line<'_>> {
        let found = self.find()?;
        Some(self.line(&found))
    }

    /// Takes the remaining bytes as a line: the last line of a file without a final
    /// line break.
    pub fn last_line(&mut self) -> Option<Line<'_>> {
        let len = self.end - self.start;
        if len == 0 && self.position.skipped == 0 {
            return None;
        }
        let found = self.take(len, 0);
        Some(self.line(&found))
    }

    /// Returns the position of the next line, at which reading can continue. Bytes of
    /// that line that were read are read again.
    pub fn position(&self) -> Position {
        self.position
    }

    /// Finds the end of the next line, and advances past it.
    pub(crate) fn find(&mut self) -> Option<Found> {
        let remaining = &self.storage.bytes[self.start..self.end];
        match memchr(b'\n', &remaining[self.n_searched..]) {
            Some(at) => Some(self.take(self.n_searched + at, 1)),
            None => {
                self.n_searched = remaining.len();
                if 0 < self.position.skipped || MAX_LINE < self.n_searched {
                    self.position.skipped += self.n_searched as u64;
                    self.position.offset += self.n_searched as u64;
                    (self.start, self.n_searched) = (self.end, 0);
                }
                None
            }
        }
    }

    /// Advances past `len` bytes of a line and its line break.
    fn take(&mut self, len: usize, n_break: usize) -> Found {
        let Position { offset, lines, skipped } = self.position;
        let found = Found {
            number: lines + 1,
            offset: offset - skipped,
            start: self.start,
            end: self.start + len,
            is_too_long: 0 < skipped || MAX_LINE < len,
        };
        let n_taken = len + n_break;
        self.start += n_taken;
        self.n_searched = 0;
        self.position = Position { offset: offset + n_taken as u64, lines: lines + 1, skipped: 0 };
        found
    }

    pub(crate) fn line(&self, found: &Found) -> Line<'_> {
        let bytes = if found.is_too_long {
            LineBytes::TooLong
        } else {
            let mut bytes = &self.storage.bytes[found.start..found.end];
            bytes = bytes.strip_suffix(b"\r").unwrap_or(bytes);
            if found.offset == 0 {
                bytes = bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes);
            }
            LineBytes::Whole(bytes)
        };
        Line { number: found.number, offset: found.offset, bytes }
    }
}

impl Drop for LineBuffer {
    fn drop(&mut self) {
        let storage = std::mem::take(&mut self.storage);
        if (1..=MAX_SPARE).contains(&storage.bytes.len()) {
            // At the end of a thread, there is no next buffer.
            _ = SPARE.try_with(|spare| spare.set(storage));
        }
    }
}

/// Removes NUL bytes at both ends of a line, which a power failure leaves in files. A line
/// of NUL bytes remains.
pub(crate) fn trim_nul(line: &[u8]) -> &[u8] {
    let Some(start) = line.iter().position(|byte| *byte != 0) else { return line };
    let end = line.iter().rposition(|byte| *byte != 0).map_or(line.len(), |idx| idx + 1);
    &line[start..end]
}

/// Splits the beginning of a file into lines, without NUL bytes at their ends.
pub(crate) fn lines_of(head: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(head.strip_prefix(BYTE_ORDER_MARK).unwrap_or(head));
    std::iter::from_fn(move || {
        let text = rest?;
        let end = memchr(b'\n', text);
        rest = end.map(|end| &text[end + 1..]);
        Some(trim_nul(&text[..end.unwrap_or(text.len())]))
    })
}

/// Returns the first line of the beginning of a file that is not blank.
pub(crate) fn first_line(head: &[u8]) -> &[u8] {
    lines_of(head).find(|line| !line.trim_ascii().is_empty()).unwrap_or_default()
}

/// The lines of a reader. The last one needs no line break.
#[derive(Debug)]
pub struct Lines<R> {
    reader: R,
    buffer: LineBuffer,
}

impl<R: Read> Lines<R> {
    /// Creates an iterator over the remaining lines of `reader`.
    pub fn new(reader: R) -> Self {
        Self { reader, buffer: LineBuffer::default() }
    }

    /// Returns the next line, or `None` at the end.
    #[expect(clippy::should_implement_trait, reason = "a line borrows from the reader")]
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

    use super::{
        ALIGNMENT, FIRST_CHUNK, Line, LineBuffer, LineBytes, Lines, MAX_LINE, Position, lines_of,
    };

    /// Returns its bytes in reads of the given sizes, which repeat.
    struct Pieces<'a> {
        rest: &'a [u8],
        sizes: std::iter::Cycle<std::slice::Iter<'a, usize>>,
    }

    impl Read for Pieces<'_> {
        fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
            let size = to.len().min(*self.sizes.next().unwrap());
            self.rest.read(&mut to[..size])
        }
    }

    fn lines(text: &[u8], sizes: &[usize]) -> Vec<(u64, u64, Option<Vec<u8>>)> {
        let mut lines = Lines::new(Pieces { rest: text, sizes: sizes.iter().cycle() });
        let mut result = Vec::new();
        while let Some(Line { number, offset, bytes }) = lines.next().unwrap() {
            let bytes = match bytes {
                LineBytes::Whole(bytes) => Some(bytes.to_vec()),
                LineBytes::TooLong => None,
            };
            result.push((number, offset, bytes));
        }
        result
    }

    #[test]
    fn removes_byte_order_mark_and_line_breaks() {
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
    fn splits_the_beginning_of_a_file() {
        for (head, expected) in [
            (&b"\xef\xbb\xbfa\n\0b\0\nc"[..], &[&b"a"[..], b"b", b"c"][..]),
            (b"a\n\n", &[b"a", b"", b""]),
            (b"", &[b""]),
        ] {
            assert!(lines_of(head).eq(expected.iter().copied()), "{head:?}");
        }
    }

    #[test]
    fn skips_a_line_that_is_too_long() {
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
    fn bounds_memory_for_a_line_without_an_end() {
        let mut lines = LineBuffer::default();
        let mut endless = io::repeat(b'[');
        while lines.position().offset <= 200 << 20 {
            lines.fill(&mut endless).unwrap();
            assert_eq!(lines.next_line(), None);
        }
        assert!(lines.storage.bytes.len() < 3 * MAX_LINE, "{}", lines.storage.bytes.len());
        assert_eq!(lines.position().skipped, lines.position().offset);
    }

    #[test]
    fn uses_the_storage_of_a_dropped_buffer_again() {
        let read = |mut lines: LineBuffer, mut text: &[u8]| {
            lines.fill(&mut text).unwrap();
            let line = lines.next_line().map(|line| (line.number, line.bytes));
            assert_eq!(line, Some((1, LineBytes::Whole(b"a"))));
            lines.storage.bytes.as_ptr()
        };
        let first = read(LineBuffer::default(), b"a\nbc");
        assert_eq!(first, read(LineBuffer::default(), b"a\n"));
    }

    #[test]
    fn aligns_reads_in_memory() {
        let mut lines = LineBuffer::default();
        let full = [b'x'; FIRST_CHUNK];
        for text in [&b"a\nbcd"[..], b"e", b"\n", &full, &full] {
            lines.fill(&mut { text }).unwrap();
            assert_eq!(
                lines.storage.bytes[lines.storage.read_at..].as_ptr().align_offset(ALIGNMENT),
                0
            );
            while lines.next_line().is_some() {}
        }
    }

    proptest! {
        #[test]
        fn splits_the_same_lines_for_all_sizes_of_reads(
            text in prop::collection::vec(prop_oneof![Just(b'\n'), Just(b'\r'), any::<u8>()], 0..200),
            sizes in prop::collection::vec(1..20_usize, 1..5),
        ) {
            prop_assert_eq!(lines(&text, &sizes), lines(&text, &[text.len().max(1)]));
        }

        #[test]
        fn continues_at_a_position(
            text in prop::collection::vec(prop_oneof![Just(b'\n'), any::<u8>()], 0..60),
            cut in 0..60_usize,
        ) {
            let cut = cut.min(text.len());
            let mut buffer = LineBuffer::default();
            let mut result = Vec::new();
            let mut position = Position::default();
            for end in [cut, text.len()] {
                buffer.restart(position);
                let from = usize::try_from(position.offset).unwrap();
                buffer.fill(&mut &text[from..end]).unwrap();
                while let Some(line) = buffer.next_line() {
                    let LineBytes::Whole(bytes) = line.bytes else { unreachable!() };
                    result.push((line.number, line.offset, Some(bytes.to_vec())));
                }
                position = buffer.position();
            }
            let mut expected = lines(&text, &[1]);
            if text.last().is_some_and(|byte| *byte != b'\n') {
                expected.pop();
            }
            prop_assert_eq!(result, expected);
        }
    }
}
