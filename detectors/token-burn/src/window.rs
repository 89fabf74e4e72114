//! A sliding window of recent usage, and the usual usage of a session.

use watchkeeper_core::{Timestamp, author::Period};

use crate::calendar::Calendar;

/// The number of pieces of a window.
const N_BUCKETS: usize = 12;
#[expect(clippy::cast_possible_wrap, reason = "the number is small")]
const N_PIECES: i64 = N_BUCKETS as i64;
/// The number of pieces in the average of the usual usage: ten windows of work.
const MEMORY: u8 = 120;

/// The time in which a limit applies.
#[derive(Clone, Debug)]
pub(crate) enum Window {
    Sliding(SlidingWindow),
    Calendar(Calendar),
}

/// The length of a window and of its pieces.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SlidingWindow {
    pub(crate) period: Period,
    /// The length of one piece in nanoseconds, at least 128, so that the number
    /// of a piece fits into 63 bits.
    width: i64,
}

impl SlidingWindow {
    pub(crate) fn new(period: Period) -> Self {
        let width = period.get().as_nanos() / i128::from(N_PIECES);
        Self { period, width: i64::try_from(width).unwrap_or(i64::MAX).max(128) }
    }

    /// Returns the number of the piece, counted from the Unix epoch, that
    /// contains a time.
    fn piece(self, at: Timestamp) -> i64 {
        let piece = at.as_nanosecond().div_euclid(self.width.into());
        i64::try_from(piece).unwrap_or(i64::MAX)
    }

    /// Returns true if a piece contains a time, without a division, which is
    /// slow for 128 bits.
    fn contains(self, piece: i64, at: Timestamp) -> bool {
        let start = i128::from(piece) * i128::from(self.width);
        (0..self.width.into()).contains(&(at.as_nanosecond() - start))
    }

    /// Returns the time at which a piece leaves the window.
    fn leaves_at(self, piece: i64) -> Option<Timestamp> {
        let nanos = i128::from(piece.checked_add(N_PIECES)?) * i128::from(self.width);
        Timestamp::from_nanosecond(nanos).ok()
    }
}

/// The usage in each piece of the window.
#[derive(Clone, Debug)]
pub(crate) struct Recent {
    /// In units of the limit. The latest bucket is empty until its piece ends.
    buckets: [u32; N_BUCKETS],
    /// The number of the latest piece; for a calendar window, its end in seconds.
    latest: i64,
    /// The usual usage in a piece, in units of the limit: a moving average of
    /// the pieces that have left the window, without pieces of no usage.
    usual: f32,
    /// The number of pieces in the average, up to `MEMORY`.
    n_usual: u8,
    /// True while a finding is open.
    pub(crate) is_open: bool,
}

impl Default for Recent {
    fn default() -> Self {
        let buckets = [0; N_BUCKETS];
        Self { buckets, latest: i64::MIN, usual: 0.0, n_usual: 0, is_open: false }
    }
}

impl Recent {
    /// Returns true if `now` is in the latest piece.
    pub(crate) fn is_latest(&self, now: Timestamp, window: SlidingWindow) -> bool {
        window.contains(self.latest, now)
    }

    /// Starts the calendar window that contains `now`, unless it has started already.
    /// Returns whether it has just started.
    pub(crate) fn start_unit(&mut self, now: Timestamp, calendar: &Calendar) -> bool {
        let is_over = self.latest <= now.as_second();
        if is_over {
            self.latest = calendar.end(now);
        }
        is_over
    }

    /// Returns the end of the calendar window.
    pub(crate) fn unit_ends_at(&self) -> Option<Timestamp> {
        Timestamp::from_second(self.latest).ok()
    }

    /// Advances to `now`. Returns the number of units that left the window.
    pub(crate) fn advance(&mut self, now: Timestamp, window: SlidingWindow) -> u64 {
        let piece = window.piece(now);
        let n_passed = piece.saturating_sub(self.latest).clamp(0, N_PIECES);
        let mut n_removed = 0;
        for passed in piece - n_passed..piece {
            let units = std::mem::take(&mut self.buckets[slot(passed + 1)]);
            self.add_to_usual(units);
            n_removed += u64::from(units);
        }
        self.latest = self.latest.max(piece);
        n_removed
    }

    /// Completes the latest piece, so that all buckets together contain
    /// `n_units`. A remainder of less than one unit is then counted in a later
    /// piece.
    pub(crate) fn fill_up(&mut self, n_units: u64) {
        let more = u32::try_from(n_units.saturating_sub(self.total())).unwrap_or(u32::MAX);
        let bucket = &mut self.buckets[slot(self.latest)];
        *bucket = bucket.saturating_add(more);
    }

    pub(crate) fn total(&self) -> u64 {
        self.buckets.iter().copied().map(u64::from).sum()
    }

    /// Returns the usual usage in a window of steady work, in units; `None`
    /// until the session has worked that long.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        clippy::cast_sign_loss,
        reason = "the value is at least one, and large values saturate"
    )]
    pub(crate) fn usual(&self) -> Option<u64> {
        (N_PIECES <= self.n_usual.into()).then(|| (f64::from(self.usual) * N_PIECES as f64) as u64)
    }

    /// Returns the time at which the oldest usage leaves the window.
    pub(crate) fn oldest_leaves_at(&self, window: SlidingWindow) -> Option<Timestamp> {
        let mut before = self.latest.checked_sub(N_PIECES - 1)?..self.latest;
        let oldest = before.find(|piece| self.buckets[slot(*piece)] != 0);
        window.leaves_at(oldest.unwrap_or(self.latest))
    }

    /// Returns the time at which the latest usage leaves the window.
    pub(crate) fn empty_at(&self, window: SlidingWindow) -> Option<Timestamp> {
        window.leaves_at(self.latest)
    }

    /// Adds a piece that left the window to the average.
    #[expect(clippy::cast_precision_loss, reason = "an average need not be exact")]
    fn add_to_usual(&mut self, units: u32) {
        if units != 0 {
            self.n_usual = (self.n_usual + 1).min(MEMORY);
            self.usual += (units as f32 - self.usual) / f32::from(self.n_usual);
        }
    }
}

fn slot(piece: i64) -> usize {
    usize::try_from(piece.rem_euclid(N_PIECES)).unwrap_or_default()
}
