//! The levels that a person would choose.

/// The digits of the levels of each power of ten, in tenths.
const TENTHS: [u64; 12] = [10, 12, 15, 20, 25, 30, 40, 50, 60, 70, 80, 90];
/// Levels above this are of no use.
const MAX: u64 = 10_000_000;

/// Returns the round numbers up to ten million in ascending order: 1 to 10, then 12, 15,
/// 20, 25, 30, 40 and so on.
pub(super) fn round_numbers() -> impl Iterator<Item = u64> {
    let powers = std::iter::successors(Some(1), |power: &u64| power.checked_mul(10));
    let powers = powers.take_while(|power| *power <= MAX);
    powers.flat_map(|power| {
        let whole = TENTHS.iter().map(move |tenths| tenths * power);
        whole.filter(|tenths| tenths % 10 == 0).map(|tenths| tenths / 10)
    })
}

/// Returns the lowest round number that is at least `n`, or `n` if there is none.
pub(super) fn round_up(n: u64) -> u64 {
    round_numbers().find(|round| n <= *round).unwrap_or(n)
}

#[cfg(test)]
mod tests {
    use super::{round_numbers, round_up};

    #[test]
    fn round_numbers_are_unique_and_sorted() {
        let numbers: Vec<u64> = round_numbers().collect();
        assert_eq!(numbers[..16], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 15, 20, 25, 30, 40]);
        assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]), "{numbers:?}");
        assert_eq!([1, 11, 95, 101, u64::MAX].map(round_up), [1, 12, 100, 120, u64::MAX]);
    }
}
