//! The times of lines by their arrival.
//!
//! The clock of an agent may be slow, or be set back: on another machine, in a virtual
//! machine or in a container. Lines that arrive while a file is followed are new, whatever
//! their times are. If all of them are too old, they are moved together, so that the
//! periods between them stay.

use watchkeeper_core::{Event, SignedDuration, Timestamp, author::known_time};

use super::update::Update;

/// The longest time from the time of a line to its arrival, without the time in which the
/// follower may overlook a change. Agents collect lines before they write them.
pub(super) const TOLERANCE: SignedDuration = SignedDuration::from_secs(20);

/// The arrival of lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Arrival {
    /// The lines are not older than this.
    pub(super) since: Timestamp,
    /// The lines are the first ones of a new file, which may be a copy of an old session.
    pub(super) is_new_file: bool,
}

impl Arrival {
    /// Moves the times of all events so that the latest event is not too old. Leaves a copy
    /// of an old session unchanged: its lines were written over a longer period than those
    /// of a session that has just begun.
    pub(super) fn correct(self, updates: &mut [Update]) {
        let times = || updates.iter().filter_map(event).map(|event| event.at);
        let (Some(first), Some(last)) = (times().min(), times().max()) else { return };
        if self.is_new_file && TOLERANCE < last.duration_since(first) {
            return;
        }
        let late = self.since.duration_since(last);
        if !late.is_positive() {
            return;
        }
        for event in updates.iter_mut().filter_map(event_mut) {
            event.at = event.at.saturating_add(late).unwrap_or(self.since);
        }
    }
}

/// Returns the event of an update if the event has a time.
fn event(update: &Update) -> Option<&Event> {
    match update {
        Update::Event(event) => known_time(event.at).map(|_| event),
        _ => None,
    }
}

fn event_mut(update: &mut Update) -> Option<&mut Event> {
    match update {
        Update::Event(event) => known_time(event.at).map(|_| event),
        _ => None,
    }
}
