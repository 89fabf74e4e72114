//! What was spent lately, and what is spent usually.

use watchkeeper_core::{Period, Timestamp};

/// Into how many pieces a window is cut.
const N_BUCKETS: usize = 12;
#[expect(clippy::cast_possible_wrap, reason = "it is small")]
const N_PIECES: i64 = N_BUCKETS as i64;
/// How many pieces what is usual is the average of: ten windows of work.
const MEMORY: u8 = 120;

/// How far back counts, and what that is cut into.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    pub(crate) period: Period,
    /// How long one piece of it is, in nanoseconds: so long that there are fewer
    /// than 2^63 of them in all time.
    width: i64,
}

impl Window {
    pub(crate) fn new(period: Period) -> Self {
        let width = period.get().as_nanos() / i128::from(N_PIECES);
        Self { period, width: i64::try_from(width).unwrap_or(i64::MAX).max(128) }
    }

    /// In which piece of all time a point in time is.
    fn piece(self, at: Timestamp) -> i64 {
        let piece = at.as_nanosecond().div_euclid(self.width.into());
        i64::try_from(piece).unwrap_or(i64::MAX)
    }

    /// Whether a point in time is in a piece: known without a division, which is
    /// slow in 128 bits.
    fn contains(self, piece: i64, at: Timestamp) -> bool {
        let start = i128::from(piece) * i128::from(self.width);
        (0..self.width.into()).contains(&(at.as_nanosecond() - start))
    }

    /// When a piece is no longer in it.
    fn without(self, piece: i64) -> Option<Timestamp> {
        let nanos = i128::from(piece.checked_add(N_PIECES)?) * i128::from(self.width);
        Timestamp::from_nanosecond(nanos).ok()
    }
}

/// What was spent lately, by the piece of the window in which it was.
#[derive(Clone, Debug)]
pub(crate) struct Recent {
    /// In units of the limit; the latest is empty until it comes to its end.
    buckets: [u32; N_BUCKETS],
    /// Which piece of all time the latest of the buckets is.
    latest: i64,
    /// What is usually spent in a piece in which anything is, before the window,
    /// in units of the limit: pauses make it no less. The longer ago, the less
    /// it counts.
    usual: f32,
    /// Of how many pieces that is the average.
    n_usual: u8,
    /// Whether a finding is open that is over when less is left.
    pub(crate) is_open: bool,
}

impl Default for Recent {
    fn default() -> Self {
        let buckets = [0; N_BUCKETS];
        Self { buckets, latest: i64::MIN, usual: 0.0, n_usual: 0, is_open: false }
    }
}

impl Recent {
    /// Whether the piece of the window that is now is the latest.
    pub(crate) fn is_latest(&self, now: Timestamp, window: Window) -> bool {
        window.contains(self.latest, now)
    }

    /// Lets time pass. Says how much left the window, in units.
    pub(crate) fn pass(&mut self, now: Timestamp, window: Window) -> u64 {
        let piece = window.piece(now);
        let n_passed = piece.saturating_sub(self.latest).clamp(0, N_PIECES);
        let mut gone = 0;
        for it in piece - n_passed..piece {
            let left = std::mem::take(&mut self.buckets[slot(it + 1)]);
            self.get_used_to(left);
            gone += u64::from(left);
        }
        self.latest = self.latest.max(piece);
        gone
    }

    /// Puts what the window holds beside what is in its buckets into the latest,
    /// as that comes to its end.
    ///
    /// So what is less than a unit is not lost, but counted with what follows.
    pub(crate) fn fill_up(&mut self, n_units: u64) {
        let more = u32::try_from(n_units.saturating_sub(self.total())).unwrap_or(u32::MAX);
        let bucket = &mut self.buckets[slot(self.latest)];
        *bucket = bucket.saturating_add(more);
    }

    pub(crate) fn total(&self) -> u64 {
        self.buckets.iter().copied().map(u64::from).sum()
    }

    /// What a window of steady work usually takes, in units; unknown until
    /// there was as much work as that.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        clippy::cast_sign_loss,
        reason = "it is at least one, and too much becomes the most there is"
    )]
    pub(crate) fn usual(&self) -> Option<u64> {
        (N_PIECES <= self.n_usual.into()).then(|| (f64::from(self.usual) * N_PIECES as f64) as u64)
    }

    /// When the oldest of what is in the window leaves it.
    pub(crate) fn less_at(&self, window: Window) -> Option<Timestamp> {
        let mut before = self.latest.checked_sub(N_PIECES - 1)?..self.latest;
        let oldest = before.find(|it| self.buckets[slot(*it)] != 0);
        window.without(oldest.unwrap_or(self.latest))
    }

    /// When the last of what is in the window leaves it.
    pub(crate) fn nothing_at(&self, window: Window) -> Option<Timestamp> {
        window.without(self.latest)
    }

    #[expect(clippy::cast_precision_loss, reason = "an average need not be exact")]
    fn get_used_to(&mut self, left: u32) {
        if left != 0 {
            self.n_usual = (self.n_usual + 1).min(MEMORY);
            self.usual += (left as f32 - self.usual) / f32::from(self.n_usual);
        }
    }
}

fn slot(piece: i64) -> usize {
    usize::try_from(piece.rem_euclid(N_PIECES)).unwrap_or_default()
}
