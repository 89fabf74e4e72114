//! Shortening a trace that breaks a law.

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use watchkeeper_core::Event;

use crate::{hostile, trace::SESSION};

/// The number of candidates to try.
const MAX_TRIES: usize = 400;

/// Removes events for as long as the trace `holds` a property.
pub(super) fn remove_events(
    mut events: Vec<Event>,
    mut holds: impl FnMut(&[Event]) -> bool,
) -> Vec<Event> {
    let mut chunk = events.len().div_ceil(2).max(1);
    let mut n_tries = 0;
    while n_tries < MAX_TRIES {
        let mut start = 0;
        let mut has_removed = false;
        while start < events.len() && n_tries < MAX_TRIES {
            let mut candidate = events.clone();
            candidate.drain(start..(start + chunk).min(events.len()));
            n_tries += 1;
            if holds(&candidate) {
                events = candidate;
                has_removed = true;
            } else {
                start += chunk;
            }
        }
        if chunk == 1 && !has_removed {
            break;
        }
        chunk = (chunk / 2).max(1);
    }
    events
}

/// Removes events and shortens texts for as long as the trace `fails`.
pub(super) fn minimize(events: Vec<Event>, mut fails: impl FnMut(&[Event]) -> bool) -> Vec<Event> {
    let mut events = remove_events(events, &mut fails);
    let mut n_tries = 0;
    let mut try_candidate = |candidate: &[Event]| {
        n_tries += 1;
        n_tries <= MAX_TRIES && fails(candidate)
    };
    for simplify in SIMPLIFICATIONS {
        let mut candidate = events.clone();
        simplify(&mut candidate);
        if candidate != events && try_candidate(&candidate) {
            events = candidate;
        }
    }
    for idx in 0..events.len() {
        let mut text_idx = 0;
        while text_idx < count_texts(&events[idx]) {
            for shorten in SHORTENINGS {
                while let Some(candidate) = with_shorter(&events, idx, text_idx, *shorten)
                    && try_candidate(&candidate)
                {
                    events = candidate;
                }
            }
            text_idx += 1;
        }
    }
    events
}

/// Changes of a whole trace that make it easier to read.
const SIMPLIFICATIONS: &[fn(&mut [Event])] = &[
    |events| events.iter_mut().for_each(|event| event.agent = None),
    |events| events.iter_mut().for_each(|event| event.session = SESSION.into()),
    |events| {
        let first = events.iter().map(|event| event.at).min().unwrap_or(Timestamp::UNIX_EPOCH);
        let shift = first.duration_since(Timestamp::UNIX_EPOCH);
        for event in events {
            event.at = event.at.saturating_sub(shift).unwrap_or(event.at);
        }
    },
    |events| {
        for (n, event) in (0..).zip(events) {
            event.at = Timestamp::UNIX_EPOCH + SignedDuration::from_secs(n);
        }
    },
];

/// Returns a shorter text, or `None` if there is none.
type Shorten = fn(&str) -> Option<String>;

const SHORTENINGS: &[Shorten] = &[
    |text| (!text.is_empty()).then(String::new),
    |text| halves(text).map(|(first, _)| first),
    |text| halves(text).map(|(_, second)| second),
    |text| {
        let mut chars = text.chars();
        chars.next_back().map(|_| chars.as_str().to_owned())
    },
];

fn halves(text: &str) -> Option<(String, String)> {
    let n_chars = text.chars().count();
    let first: String = text.chars().take(n_chars / 2).collect();
    let second: String = text.chars().skip(n_chars / 2).collect();
    (1 < n_chars).then_some((first, second))
}

fn count_texts(event: &Event) -> usize {
    let mut n_texts = 0;
    hostile::change_texts(&mut event.clone(), &mut |_| {
        n_texts += 1;
        None
    });
    n_texts
}

fn with_shorter(
    events: &[Event],
    idx: usize,
    text_idx: usize,
    shorten: Shorten,
) -> Option<Vec<Event>> {
    let mut n_texts = 0;
    let mut is_shorter = false;
    let mut candidate = events.to_vec();
    hostile::change_texts(&mut candidate[idx], &mut |text| {
        n_texts += 1;
        let shorter = if n_texts == text_idx + 1 { shorten(text) } else { None };
        is_shorter |= shorter.is_some();
        shorter.map(Value::from)
    });
    is_shorter.then_some(candidate)
}
