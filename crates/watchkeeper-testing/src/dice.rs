/// A generator of random numbers for tests, benchmarks and fuzzing: `SplitMix64`.
///
/// A seed gives the same numbers on every machine, so a failure that prints its seed can be
/// repeated. The numbers are no secrets.
///
/// ```
/// use watchkeeper_testing::Dice;
///
/// let (mut one, mut other) = (Dice::new(7), Dice::new(7));
/// assert_eq!(one.roll(), other.roll());
/// assert!(one.below(6) < 6);
/// ```
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// Creates a generator.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Returns a number of 64 bits.
    pub const fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        Self::mixed(self.0)
    }

    /// Spreads the bits of a number over all 64.
    pub const fn mixed(n: u64) -> u64 {
        let n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        n ^ (n >> 31)
    }

    /// Returns a number from 0 to `n - 1`, or 0 if `n` is 0.
    #[expect(clippy::cast_possible_truncation, reason = "the result is less than `n`")]
    pub fn below(&mut self, n: usize) -> usize {
        (self.roll() % n.max(1) as u64) as usize
    }

    /// Returns a number from `least` to `most`.
    pub const fn between(&mut self, least: u64, most: u64) -> u64 {
        least + self.roll() % (most - least + 1)
    }

    /// Returns `true` in `percent` of 100 calls, on average.
    pub const fn is_below(&mut self, percent: u64) -> bool {
        self.roll() % 100 < percent
    }

    /// Returns a number from `least` to `most`, small ones more often: each doubling is at most as
    /// likely as the one before it.
    #[expect(clippy::cast_possible_truncation, reason = "a length")]
    pub fn skewed(&mut self, least: u64, most: u64) -> usize {
        let n_doublings = (most / least).ilog2() as usize + 1;
        let low = least << self.below(n_doublings).min(self.below(n_doublings + 2));
        self.between(low, most.min(low * 2)) as usize
    }

    /// Returns one of the values.
    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}
