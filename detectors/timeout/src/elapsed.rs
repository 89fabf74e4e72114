//! Lengths of time, and how they compare with what is allowed.

use watchkeeper_core::{Context, Elapsed, Report, SignedDuration, Timestamp};

/// A length of time in nanoseconds: what is timed at every event is to cost little.
/// Three centuries are as long as any.
pub(crate) type Nanos = u64;

/// How long ago a time is; none is to come.
pub(crate) fn since(at: Timestamp, cx: &Context<'_>) -> Nanos {
    u64::try_from(cx.time_since(at).as_nanos().max(0)).unwrap_or(u64::MAX)
}

pub(crate) fn duration(nanos: Nanos) -> SignedDuration {
    SignedDuration::from_nanos(i64::try_from(nanos).unwrap_or(i64::MAX))
}

pub(crate) fn report(what: &str, elapsed: Nanos, percent: u64, max: Nanos) -> Report {
    let (elapsed, max) = (duration(elapsed), duration(max));
    let (took, limit) = (Elapsed(elapsed), Elapsed(max));
    let message = if percent < 100 {
        format!("{what} for {took}, {percent}% of {limit}")
    } else {
        format!("{what} for {took}, the limit is {limit}")
    };
    Report::new(message)
        .with("elapsed_seconds", elapsed.as_secs())
        .with("max_seconds", max.as_secs())
}

/// So many percent, rounded up: a nanosecond earlier it would be a percent less.
fn share(max: Nanos, percent: u64) -> Option<Nanos> {
    let (hundredth, rest) = (max / 100, max % 100);
    hundredth.checked_mul(percent)?.checked_add(rest.checked_mul(percent)?.div_ceil(100))
}

/// How long until there is more to say.
pub(crate) fn time_to_next_level(elapsed: Nanos, max: Nanos, cx: &Context<'_>) -> Option<Nanos> {
    let mut level = cx.next_level(0)?;
    loop {
        let due = share(max, level)?;
        if elapsed < due {
            return Some(due - elapsed);
        }
        level = cx.next_level(level)?;
    }
}

/// Asks to be woken when there is more to say.
pub(crate) fn wake_at_next_level(elapsed: Nanos, max: Nanos, cx: &mut Context<'_>) {
    match time_to_next_level(elapsed, max, cx) {
        Some(it) => cx.wake_after(duration(it)),
        None => cx.cancel_wake(),
    }
}
