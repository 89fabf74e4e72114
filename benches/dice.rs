//! A deterministic random number generator.

/// The generator `SplitMix64`: the same numbers on every machine.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mixed(self.0)
    }

    /// Returns a number from 0 to `n - 1`.
    #[expect(clippy::cast_possible_truncation, reason = "the result is less than `n`")]
    pub(crate) fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    /// Returns a number from `least` to `most`.
    pub(crate) fn between(&mut self, least: u64, most: u64) -> u64 {
        least + self.next() % (most - least + 1)
    }

    /// Returns `true` in `percent` of 100 calls, on average.
    pub(crate) fn is_below(&mut self, percent: u64) -> bool {
        self.next() % 100 < percent
    }

    /// Returns a number from `least` to `most`, small ones more often: each doubling is at most as
    /// likely as the one before it.
    #[expect(clippy::cast_possible_truncation, reason = "a length")]
    pub(crate) fn skewed(&mut self, least: u64, most: u64) -> usize {
        let n_doublings = (most / least).ilog2() as usize + 1;
        let low = least << self.below(n_doublings).min(self.below(n_doublings + 2));
        self.between(low, most.min(low * 2)) as usize
    }

    pub(crate) fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}

/// Spreads the bits of a number over all 64.
pub(crate) fn mixed(n: u64) -> u64 {
    let n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ (n >> 31)
}
