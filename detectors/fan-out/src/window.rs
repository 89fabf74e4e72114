//! The starts in a sliding window.

use watchkeeper_core::{SignedDuration, Timestamp};

/// The number of pieces of a window.
const N_PIECES: usize = 12;

/// The number of starts in each piece of a sliding window, which advances by one piece at a time.
#[derive(Clone, Debug, Default)]
pub(crate) struct Recent {
    pieces: [u32; N_PIECES],
    /// The number of the latest piece, counted from the Unix epoch.
    latest: i128,
}

impl Recent {
    /// Advances to `now`, and removes the starts that have left the window.
    pub(crate) fn advance(&mut self, now: Timestamp, window: SignedDuration) {
        let piece = now.as_nanosecond().div_euclid(width(window));
        let n_passed = piece.saturating_sub(self.latest).max(0);
        let n_passed = usize::try_from(n_passed).unwrap_or(N_PIECES).min(N_PIECES);
        self.pieces.rotate_left(n_passed);
        self.pieces[N_PIECES - n_passed..].fill(0);
        self.latest = self.latest.max(piece);
    }

    /// Adds a start to the latest piece.
    pub(crate) fn add(&mut self) {
        let latest = &mut self.pieces[N_PIECES - 1];
        *latest = latest.saturating_add(1);
    }

    pub(crate) fn total(&self) -> u64 {
        self.pieces.iter().copied().map(u64::from).sum()
    }

    /// Returns the time at which the oldest starts leave the window; `None` if the window is
    /// empty.
    pub(crate) fn oldest_leaves_at(&self, window: SignedDuration) -> Option<Timestamp> {
        let idx = self.pieces.iter().position(|n| *n != 0)?;
        self.leaves_at(idx, window)
    }

    /// Returns the time at which the latest starts leave the window; `None` if the window is
    /// empty.
    pub(crate) fn empty_at(&self, window: SignedDuration) -> Option<Timestamp> {
        let idx = self.pieces.iter().rposition(|n| *n != 0)?;
        self.leaves_at(idx, window)
    }

    fn leaves_at(&self, idx: usize, window: SignedDuration) -> Option<Timestamp> {
        let n_passed = i128::try_from(idx).ok()? + 1;
        Timestamp::from_nanosecond((self.latest + n_passed) * width(window)).ok()
    }
}

/// Returns the length of a piece in nanoseconds.
fn width(window: SignedDuration) -> i128 {
    let n_pieces = N_PIECES as i128;
    (window.as_nanos() / n_pieces).max(1)
}

#[cfg(test)]
mod tests {
    use watchkeeper_core::{SignedDuration, Timestamp};

    use super::Recent;

    #[test]
    fn starts_leave_the_window() {
        const WINDOW: SignedDuration = SignedDuration::from_secs(12);
        let at = |second| Timestamp::from_second(second).unwrap();
        let mut recent = Recent::default();
        for second in [100, 105, 105] {
            recent.advance(at(second), WINDOW);
            recent.add();
        }
        assert_eq!((recent.total(), recent.oldest_leaves_at(WINDOW)), (3, Some(at(112))));
        recent.advance(at(111), WINDOW);
        assert_eq!(recent.total(), 3);
        recent.advance(at(112), WINDOW);
        assert_eq!((recent.total(), recent.oldest_leaves_at(WINDOW)), (2, Some(at(117))));
        recent.advance(at(90), WINDOW);
        assert_eq!(recent.total(), 2);
        recent.advance(at(1_000_000), WINDOW);
        assert_eq!((recent.total(), recent.oldest_leaves_at(WINDOW)), (0, None));
        recent.advance(Timestamp::MAX, WINDOW);
        recent.add();
        assert_eq!((recent.total(), recent.oldest_leaves_at(WINDOW)), (1, None));
    }
}
