//! The order of the events that are read in one step.

use std::{collections::BTreeMap, sync::Arc};

use watchkeeper_core::{Event, SessionId, SignedDuration, Timestamp, author::known_time};

/// Time by which an event may be ahead of the wall clock.
const MAX_AHEAD: SignedDuration = SignedDuration::from_secs(5);

/// Moves the events of sessions whose clock is ahead of `now`, so that the latest one is
/// not: the wall clock may have been set back. The periods between the events stay.
pub(super) fn correct_clocks(batch: &mut [Event], now: Timestamp) {
    let mut ahead: BTreeMap<SessionId, SignedDuration> = BTreeMap::new();
    for event in &*batch {
        let by = event.at.duration_since(now);
        if MAX_AHEAD < by {
            let longest = ahead.entry(event.session.clone()).or_default();
            *longest = by.max(*longest);
        }
    }
    if ahead.is_empty() {
        return;
    }
    for event in batch {
        if let (Some(by), Some(at)) = (ahead.get(&event.session), known_time(event.at)) {
            event.at = at.saturating_sub(*by).unwrap_or(now);
        }
    }
}

/// Removes all events from `batch` and returns them in order of time over all
/// files.
pub(super) fn take_in_order(batch: &mut Vec<Event>) -> impl Iterator<Item = Event> {
    // Events of one file keep their order even if a timestamp goes back.
    let mut clocks: BTreeMap<Arc<str>, Timestamp> = BTreeMap::new();
    let mut events: Vec<(Timestamp, Event)> = Vec::with_capacity(batch.len());
    for event in batch.drain(..) {
        let at = match &event.origin {
            Some(origin) => {
                let clock = clocks.entry(origin.file.clone()).or_insert(event.at);
                *clock = event.at.max(*clock);
                *clock
            }
            None => event.at,
        };
        events.push((at, event));
    }
    events.sort_by_key(|(at, _)| *at);
    events.into_iter().map(|(_, event)| event)
}

#[cfg(test)]
mod tests {
    use watchkeeper_core::{Event, EventKind, SignedDuration, Timestamp, author::untimed};

    use super::correct_clocks;

    #[test]
    fn moves_sessions_whose_clock_is_ahead() {
        let now: Timestamp = "2026-11-01T08:00:00Z".parse().unwrap();
        for (secs, expected) in [
            (vec![-60, 0, 5], vec![-60, 0, 5]),
            (vec![-60, 0, 6], vec![-66, -6, 0]),
            (vec![7_200, 10_800, 7_300], vec![-3_600, 0, -3_500]),
        ] {
            let event = |secs: &i64, session: &str| {
                Event::new(now + SignedDuration::from_secs(*secs), session, EventKind::TurnEnd)
            };
            let mut batch: Vec<Event> = secs.iter().map(|secs| event(secs, "ahead")).collect();
            batch.push(event(&-9, "other"));
            batch.push(Event::new(untimed(3), "ahead", EventKind::TurnEnd));
            correct_clocks(&mut batch, now);
            let (untimed_event, batch) = batch.split_last().unwrap();
            assert_eq!(untimed_event.at, untimed(3));
            let corrected: Vec<i64> =
                batch.iter().map(|event| event.at.duration_since(now).as_secs()).collect();
            assert_eq!(corrected, [expected, vec![-9]].concat());
        }
    }
}
