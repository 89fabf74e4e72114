//! Elapsed times and their share of the limit.

use watchkeeper_core::{Context, Report, SignedDuration, Timestamp, author::Elapsed};

/// A length of time in nanoseconds, at most about 584 years. An integer,
/// because the arithmetic runs for every event.
pub(crate) type Nanos = u64;

/// Returns the time since `at`; zero if `at` is in the future.
pub(crate) fn since(at: Timestamp, cx: &Context<'_>) -> Nanos {
    u64::try_from(cx.time_since(at).as_nanos().max(0)).unwrap_or(u64::MAX)
}

pub(crate) fn duration(nanos: Nanos) -> SignedDuration {
    SignedDuration::from_nanos(i64::try_from(nanos).unwrap_or(i64::MAX))
}

/// Returns a report that a condition has lasted for `elapsed`. `detail` is the end of the
/// message.
pub(crate) fn report(
    condition: &str,
    elapsed: Nanos,
    percent: u64,
    max: Nanos,
    detail: &str,
) -> Report {
    let (elapsed, max) = (duration(elapsed), duration(max));
    let (took, limit) = (Elapsed(elapsed), Elapsed(max));
    let message = if percent < 100 {
        format!("{condition} for {took}, {percent}% of {limit}{detail}")
    } else {
        format!("{condition} for {took}, the limit is {limit}{detail}")
    };
    Report::new(message)
        .with("elapsed_seconds", elapsed.as_secs())
        .with("max_seconds", max.as_secs())
}

/// Returns `percent` of `max`, rounded up, so that the measure has reached
/// `percent` at that time; `None` on overflow.
fn share(max: Nanos, percent: u64) -> Option<Nanos> {
    let (hundredth, rest) = (max / 100, max % 100);
    hundredth.checked_mul(percent)?.checked_add(rest.checked_mul(percent)?.div_ceil(100))
}

/// Returns the time until the next level is reached.
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

/// Requests a wake-up for the time at which the next level is reached.
pub(crate) fn wake_at_next_level(elapsed: Nanos, max: Nanos, cx: &mut Context<'_>) {
    match time_to_next_level(elapsed, max, cx) {
        Some(nanos) => cx.wake_after(duration(nanos)),
        None => cx.cancel_wake(),
    }
}
