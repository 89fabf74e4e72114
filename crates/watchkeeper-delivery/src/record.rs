//! The records of a ledger file.
//!
//! A record is four bytes that no JSON text contains, the length of the body and a CRC-32 of
//! length and body (little-endian), and the body. A reader finds the next record after damage
//! by these four bytes.

use memchr::memmem;

/// The start of each record. The first byte occurs in no UTF-8 text.
const MARK: [u8; 4] = [0xff, b'w', b'k', b'r'];
/// The length of a record without its body.
pub(crate) const HEAD: usize = 12;
/// The longest body, in bytes.
pub(crate) const MAX_BODY: usize = 1 << 20;

/// Appends a record to `out`.
pub(crate) fn encode(body: &[u8], out: &mut Vec<u8>) {
    let len = u32::try_from(body.len()).unwrap_or(u32::MAX).to_le_bytes();
    out.extend(MARK);
    out.extend(len);
    out.extend(checksum(len, body).to_le_bytes());
    out.extend(body);
}

fn checksum(len: [u8; 4], body: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&len);
    hasher.update(body);
    hasher.finalize()
}

/// The intact records of a file, in order.
pub(crate) struct Records<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Damaged places so far. The rest of a record at the end of the file is none.
    pub(crate) n_damaged: u64,
    /// The end of the last intact record so far.
    pub(crate) intact_len: usize,
}

impl<'a> Records<'a> {
    /// Reads the records after the first `start` bytes.
    pub(crate) fn new(bytes: &'a [u8], start: usize) -> Self {
        Self { bytes, at: start, n_damaged: 0, intact_len: start }
    }
}

/// Returns the offset of the body and the body.
impl<'a> Iterator for Records<'a> {
    type Item = (usize, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let rest = self.bytes.get(self.at..).filter(|rest| !rest.is_empty())?;
        let starts = std::iter::once(0).chain(memmem::find_iter(rest, &MARK));
        let found = starts.into_iter().find_map(|start| Some((start, body_of(&rest[start..])?)));
        let Some((start, body)) = found else {
            self.n_damaged += u64::from(!is_cut(rest));
            self.at = self.bytes.len();
            return None;
        };
        self.n_damaged += u64::from(start != 0);
        let body_at = self.at + start + HEAD;
        self.at = body_at + body.len();
        self.intact_len = self.at;
        Some((body_at, body))
    }
}

/// Returns the body of the record at the start of `bytes`; `None` if it is not intact.
fn body_of(bytes: &[u8]) -> Option<&[u8]> {
    let (mark, rest) = bytes.split_first_chunk()?;
    let (len, rest) = rest.split_first_chunk()?;
    let (crc, rest) = rest.split_first_chunk()?;
    let body = rest.get(..usize::try_from(u32::from_le_bytes(*len)).ok()?)?;
    let is_intact =
        *mark == MARK && body.len() <= MAX_BODY && u32::from_le_bytes(*crc) == checksum(*len, body);
    is_intact.then_some(body)
}

/// Returns whether `bytes` are the first part of a record, which a crash leaves behind.
fn is_cut(bytes: &[u8]) -> bool {
    let n_mark = bytes.len().min(MARK.len());
    let len = bytes.get(MARK.len()..).and_then(|rest| rest.first_chunk());
    let fits = len.is_some_and(|len| {
        let len = usize::try_from(u32::from_le_bytes(*len)).unwrap_or(usize::MAX);
        len <= MAX_BODY && HEAD + len <= bytes.len()
    });
    bytes[..n_mark] == MARK[..n_mark] && !fits
}

#[cfg(test)]
mod tests {
    use std::ops::Range;

    use proptest::{collection::vec, prelude::*};

    use super::{HEAD, Records, encode};

    fn encoded(bodies: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for body in bodies {
            encode(body, &mut bytes);
        }
        bytes
    }

    /// Returns the bodies, and the number of damaged places.
    fn read(bytes: &[u8]) -> (Vec<Vec<u8>>, u64) {
        let mut records = Records::new(bytes, 0);
        let bodies = records.by_ref().map(|(at, body)| {
            assert_eq!(bytes[at..][..body.len()], *body);
            body.to_vec()
        });
        (bodies.collect(), records.n_damaged)
    }

    /// Sixty-four KiB of records.
    fn large() -> Vec<Vec<u8>> {
        (0..256_u16).map(|n| vec![n.to_le_bytes()[0]; 244]).collect()
    }

    /// Returns the number of damaged places. Asserts that all records are read except those in
    /// `lost`.
    #[track_caller]
    fn assert_lost(bytes: &[u8], bodies: &[Vec<u8>], lost: Range<usize>) -> u64 {
        let mut records = Records::new(bytes, 0);
        let kept = bodies[..lost.start].iter().chain(&bodies[lost.end..]);
        assert!(records.by_ref().map(|(_, body)| body).eq(kept.map(Vec::as_slice)), "{lost:?}");
        records.n_damaged
    }

    #[test]
    fn a_cut_at_every_byte_keeps_all_whole_records() {
        let bodies = large();
        let bytes = encoded(&bodies);
        assert_eq!(bytes.len(), 65_536);
        for len in 0..bytes.len() {
            let n_whole = len / (HEAD + 244);
            assert_eq!(assert_lost(&bytes[..len], &bodies, n_whole..bodies.len()), 0, "{len}");
        }
    }

    #[test]
    fn a_flip_at_every_byte_costs_one_record() {
        let bodies = large();
        let mut bytes = encoded(&bodies);
        for at in 0..bytes.len() {
            bytes[at] ^= 1 << (at % 8);
            let flipped = at / (HEAD + 244);
            let n_damaged = assert_lost(&bytes, &bodies, flipped..flipped + 1);
            // The flipped length of the last record looks like a record that is cut.
            assert!(n_damaged == 1 || flipped == bodies.len() - 1, "flip at {at}: {n_damaged}");
            bytes[at] ^= 1 << (at % 8);
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_between_records_cost_no_record(
            bodies in vec(vec(any::<u8>(), 0..40), 0..6),
            noise in vec(vec(any::<u8>(), 0..40), 6),
        ) {
            let mut bytes = Vec::new();
            for (body, noise) in bodies.iter().zip(&noise) {
                bytes.extend(noise);
                encode(body, &mut bytes);
            }
            let (read, n_damaged) = read(&bytes);
            // Noise may end with the start of a record, which then takes the next one with it
            // only by a collision of checksums.
            prop_assert_eq!(read, bodies.clone());
            let n_noisy = noise.iter().take(bodies.len()).filter(|it| !it.is_empty()).count();
            prop_assert_eq!(n_damaged, n_noisy as u64);
        }

        #[test]
        fn arbitrary_bytes_are_no_records(bytes in vec(any::<u8>(), 0..400)) {
            prop_assert!(read(&bytes).0.is_empty());
        }
    }
}
