//! Packed representations of values that every session or agent keeps.
//!
//! With 100,000 sessions, each byte of a session counts. Code outside this module
//! converts to the plain types at its border: detectors see [`Timestamp`].
//!
//! Each representation is needed for the goal of 1,536 bytes for a session, which the
//! benchmark `goals memory` measures: with all of them a session had 1,525 bytes,
//! with plain times 1,612, with plain locations 1,601, and with plain responses 1,604.

use std::{
    cmp::Ordering,
    fmt,
    num::{NonZeroU32, NonZeroU64},
    sync::Arc,
};

use jiff::{SignedDuration, Timestamp};

use crate::{Evidence, Fingerprint, Origin, Tokens, event::EVENT_NAMES};

/// A point in time in 12 bytes. `Option<PackedTimestamp>` has 12 bytes, too, where
/// an optional [`Timestamp`] has 24: for a detector that keeps a time until it reports.
///
/// Converts to and from a [`Timestamp`] without loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PackedTimestamp {
    /// Seconds, rounded down, in two halves so that nothing needs padding. In this order, most
    /// processors load both at once.
    low: u32,
    high: i32,
    /// Nanoseconds, counted from 1.
    nanos: NonZeroU32,
}

impl PackedTimestamp {
    /// Adds a duration; `None` if the sum is outside the range of [`Timestamp`].
    pub(crate) fn checked_add(self, duration: SignedDuration) -> Option<Self> {
        const SECOND: i32 = 1_000_000_000;
        // A sum outside the range of `i64` is outside the range of `Timestamp`.
        let mut secs = self.secs().saturating_add(duration.as_secs());
        let mut nanos = self.subsec_nanos() + duration.subsec_nanos();
        if SECOND <= nanos {
            (secs, nanos) = (secs.saturating_add(1), nanos - SECOND);
        } else if nanos < 0 {
            (secs, nanos) = (secs.saturating_sub(1), nanos + SECOND);
        }
        let range = Timestamp::MIN.as_second()..=Timestamp::MAX.as_second();
        range.contains(&secs).then(|| Self::new(secs, nanos))
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "seconds are cut in two, and nanoseconds are not negative"
    )]
    const fn new(secs: i64, nanos: i32) -> Self {
        let nanos = NonZeroU32::MIN.saturating_add(nanos as u32);
        Self { low: secs as u32, high: (secs >> 32) as i32, nanos }
    }

    const fn secs(self) -> i64 {
        ((self.high as i64) << 32) | self.low as i64
    }

    #[expect(clippy::cast_possible_wrap, reason = "there are fewer than 2^31 nanoseconds")]
    const fn subsec_nanos(self) -> i32 {
        (self.nanos.get() - 1) as i32
    }
}

impl Ord for PackedTimestamp {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.secs(), self.nanos).cmp(&(other.secs(), other.nanos))
    }
}

impl PartialOrd for PackedTimestamp {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl From<Timestamp> for PackedTimestamp {
    fn from(at: Timestamp) -> Self {
        let nanos = at.subsec_nanosecond();
        // Before 1970 the fraction is negative.
        let (secs, nanos) = if nanos < 0 {
            (at.as_second() - 1, nanos + 1_000_000_000)
        } else {
            (at.as_second(), nanos)
        };
        Self::new(secs, nanos)
    }
}

impl From<PackedTimestamp> for Timestamp {
    fn from(at: PackedTimestamp) -> Self {
        // Every packed time was made from a `Timestamp`.
        Self::new(at.secs(), at.subsec_nanos()).unwrap_or(Self::MIN)
    }
}

/// The location of an event in 24 bytes, where [`Evidence`] has 48: for a detector
/// that keeps a location until it reports.
#[derive(PartialEq, Eq)]
pub struct Place {
    file: Option<Arc<str>>,
    /// The line, and in the lowest byte the index of the event's name, plus 1.
    line_and_event: NonZeroU64,
}

impl Place {
    pub(crate) fn new(origin: Option<&Origin>, name_idx: u8) -> Self {
        Self {
            file: origin.map(|origin| origin.file.clone()),
            line_and_event: Self::packed(origin, name_idx),
        }
    }

    /// Sets the location. Keeps the name of the file if it is the same, without
    /// counting another reference.
    pub(crate) fn set(&mut self, origin: Option<&Origin>, name_idx: u8) {
        self.set_file(origin.map(|origin| &origin.file));
        self.line_and_event = Self::packed(origin, name_idx);
    }

    fn set_file(&mut self, file: Option<&Arc<str>>) {
        let is_same_file = match (&self.file, file) {
            (Some(file), Some(other)) => Arc::ptr_eq(file, other),
            (file, other) => file.is_none() && other.is_none(),
        };
        if !is_same_file {
            self.file = file.cloned();
        }
    }

    fn packed(origin: Option<&Origin>, name_idx: u8) -> NonZeroU64 {
        let line = origin.map_or(0, |origin| origin.line.min(u64::MAX >> 8));
        NonZeroU64::MIN.saturating_add((line << 8) | u64::from(name_idx))
    }

    /// Returns the location as evidence.
    pub fn evidence(&self) -> Evidence {
        let packed = self.line_and_event.get() - 1;
        let name_idx = usize::from(packed.to_le_bytes()[0]);
        Evidence {
            file: self.file.clone(),
            line: self.file.is_some().then_some(packed >> 8),
            event: EVENT_NAMES[name_idx],
        }
    }
}

impl Clone for Place {
    fn clone(&self) -> Self {
        Self { file: self.file.clone(), line_and_event: self.line_and_event }
    }

    fn clone_from(&mut self, other: &Self) {
        self.set_file(other.file.as_ref());
        self.line_and_event = other.line_and_event;
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.evidence().fmt(f)
    }
}

/// A model call that a later event may replace.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Response {
    pub(crate) id: ResponseId,
    pub(crate) tokens: Tokens,
    pub(crate) cost_usd: Option<f64>,
}

/// The lower half of the fingerprint of a response's id: enough to distinguish the
/// few that an agent keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ResponseId(NonZeroU32);

/// A [`Response`] in 36 bytes in place of 72. All zeros stand for no response.
///
/// Contains the id, the two halves of the cost, which is not a number if the cost is
/// unknown, and the tokens by class, at most `u32::MAX` of each.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct PackedResponse([u32; 9]);

impl ResponseId {
    pub(crate) fn of(id: &str) -> Self {
        Self(Fingerprint::of(id).brief())
    }
}

impl PackedResponse {
    pub(crate) fn has_id(&self, id: ResponseId) -> bool {
        self.0[0] == id.0.get()
    }

    pub(crate) fn unpacked(&self) -> Option<Response> {
        let [id, cost_low, cost_high, tokens @ ..] = self.0;
        let [input, cache_read, cache_write, output, reasoning, cache_write_1h] =
            tokens.map(u64::from);
        let cost_usd = f64::from_bits(u64::from(cost_low) | (u64::from(cost_high) << 32));
        Some(Response {
            id: ResponseId(NonZeroU32::new(id)?),
            tokens: Tokens { input, cache_read, cache_write, output, reasoning, cache_write_1h },
            cost_usd: (!cost_usd.is_nan()).then_some(cost_usd),
        })
    }
}

impl From<Response> for PackedResponse {
    #[expect(clippy::cast_possible_truncation, reason = "the cost is cut in two")]
    fn from(response: Response) -> Self {
        let Tokens { input, cache_read, cache_write, output, reasoning, cache_write_1h } =
            response.tokens;
        let narrow = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
        let cost = response.cost_usd.unwrap_or(f64::NAN).to_bits();
        let tokens = [input, cache_read, cache_write, output, reasoning, cache_write_1h];
        let [input, cache_read, cache_write, output, reasoning, cache_write_1h] =
            tokens.map(narrow);
        Self([
            response.id.0.get(),
            cost as u32,
            (cost >> 32) as u32,
            input,
            cache_read,
            cache_write,
            output,
            reasoning,
            cache_write_1h,
        ])
    }
}

#[cfg(test)]
mod tests {
    use jiff::{SignedDuration, Timestamp};
    use proptest::prelude::*;

    use super::{PackedTimestamp, Place};
    use crate::{Event, EventKind, Evidence, Origin};

    #[test]
    fn optional_values_need_no_more_memory() {
        assert_eq!(size_of::<Option<PackedTimestamp>>(), 12);
        assert_eq!((size_of::<Place>(), size_of::<Option<Place>>()), (24, 24));
    }

    #[test]
    fn a_place_converts_to_the_evidence_of_its_event() {
        for line in [0, 1, 402, u64::from(u32::MAX) + 1, u64::MAX >> 8] {
            let origin = Origin { source: "x", file: "a.jsonl".into(), line };
            let mut updated = Place::new(None, 0);
            let mut cloned = updated.clone();
            for kind in [EventKind::TurnEnd, EventKind::SessionEnd { reason: None }] {
                let mut event = Event::new(Timestamp::UNIX_EPOCH, "s", kind);
                let other_file = Origin { file: "b.jsonl".into(), ..origin.clone() };
                for origin in [None, Some(origin.clone()), Some(other_file)] {
                    event.origin = origin;
                    let place = Place::new(event.origin.as_ref(), event.kind.name_idx());
                    let evidence = Evidence::new(event.origin.as_ref(), event.kind.name());
                    assert_eq!(place.evidence(), evidence);
                    updated.set(event.origin.as_ref(), event.kind.name_idx());
                    cloned.clone_from(&place);
                    assert_eq!((&updated, &cloned), (&place, &place));
                }
            }
        }
    }

    fn timestamps() -> impl Strategy<Value = Timestamp> {
        let (min, max) = (Timestamp::MIN.as_nanosecond(), Timestamp::MAX.as_nanosecond());
        let any = prop_oneof![min..=max, -2_000_000_000..2_000_000_000_i128, Just(min), Just(max)];
        any.prop_map(|nanos| Timestamp::from_nanosecond(nanos).expect("the time is in range"))
    }

    proptest! {
        #[test]
        fn a_packed_timestamp_converts_and_compares_like_a_timestamp(
            a in timestamps(),
            b in timestamps(),
        ) {
            prop_assert_eq!(Timestamp::from(PackedTimestamp::from(a)), a);
            prop_assert_eq!(PackedTimestamp::from(a).cmp(&PackedTimestamp::from(b)), a.cmp(&b));
        }

        #[test]
        fn a_packed_timestamp_adds_like_a_timestamp(
            at in timestamps(),
            secs in any::<i64>(),
            nanos in any::<i32>(),
        ) {
            for secs in [secs, secs >> 24, secs >> 52, i64::MIN, i64::MAX] {
                let duration = SignedDuration::new(secs, nanos % 1_000_000_000);
                let sum = PackedTimestamp::from(at).checked_add(duration);
                prop_assert_eq!(sum.map(Timestamp::from), at.checked_add(duration).ok());
            }
        }
    }
}
