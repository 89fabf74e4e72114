use std::ops::{BitAnd, BitOr, Sub};

/// Some of the 32 detectors of one block: those whose indexes have the same quotient by 32. Most
/// policies have one block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct DetectorSet(u32);

impl DetectorSet {
    /// Returns the block of a detector.
    pub(super) const fn block_of(detector_idx: u32) -> u32 {
        detector_idx / u32::BITS
    }

    /// Returns the detectors that are in a block.
    pub(super) fn new(block: u32, detectors: impl Iterator<Item = u32>) -> Self {
        let in_block = detectors.filter(|idx| Self::block_of(*idx) == block);
        in_block.fold(Self::default(), |set, idx| set | Self::one(idx))
    }

    /// Returns the set of one detector of its block.
    pub(super) const fn one(detector_idx: u32) -> Self {
        Self(1 << (detector_idx % u32::BITS))
    }

    /// Returns the set of one detector if the detector is in the first block.
    pub(super) const fn in_first_block(detector_idx: u32) -> Self {
        if Self::block_of(detector_idx) == 0 { Self::one(detector_idx) } else { Self(0) }
    }

    pub(super) const fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(super) fn contains(self, detector_idx: u32) -> bool {
        !(self & Self::one(detector_idx)).is_empty()
    }

    /// Removes the first detector, and returns its index.
    pub(super) fn pop(&mut self, block: u32) -> Option<u32> {
        if self.is_empty() {
            return None;
        }
        let idx = block * u32::BITS + self.0.trailing_zeros();
        self.0 &= self.0 - 1;
        Some(idx)
    }

    /// Returns the indexes, in ascending order.
    pub(super) fn iter(mut self, block: u32) -> impl Iterator<Item = u32> {
        std::iter::from_fn(move || self.pop(block))
    }
}

impl BitOr for DetectorSet {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitAnd for DetectorSet {
    type Output = Self;

    fn bitand(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

impl Sub for DetectorSet {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}
