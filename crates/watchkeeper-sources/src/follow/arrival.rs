//! The times of lines by their arrival.
//!
//! The clock of an agent may be slow, or be set back: on another machine, in a virtual
//! machine or in a container. Lines that arrive while a file is followed are new, whatever
//! their times are, and so are those of a file that was created after the end of an earlier
//! process. If all of them are too old, they are moved together, so that the
//! periods between them stay.

use watchkeeper_core::{Event, SignedDuration, Timestamp, author::known_time};

use super::update::Update;

/// The longest time from the time of a line to its arrival, without the time in which the
/// follower may overlook a change. Agents collect lines before they write them.
pub(super) const TOLERANCE: SignedDuration = SignedDuration::from_secs(20);

/// The arrival of lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    /// Lines arrive while the file is followed.
    Live {
        /// The lines are not older than this.
        since: Timestamp,
        /// The lines are the first ones of a new file, which may be a copy of an old session.
        is_new_file: bool,
    },
    /// A new file was written before it was followed.
    Recorded {
        created: Timestamp,
        /// The time from the creation to the last change.
        written_in: SignedDuration,
        /// The time by which all events are moved, once the first ones were read.
        late: Option<SignedDuration>,
    },
}

impl Arrival {
    /// Moves the times of all events so that the latest event is not too old, or so that the
    /// first event of a recorded file is not older than the file. Leaves a copy of an old session
    /// unchanged: its lines were written over a longer period than those of a new session.
    pub(super) fn correct(&mut self, updates: &mut [Update]) {
        let times = || updates.iter().filter_map(event).map(|event| event.at);
        let (Some(first), Some(last)) = (times().min(), times().max()) else { return };
        let period = last.duration_since(first);
        let late = match self {
            Self::Live { is_new_file, .. } if *is_new_file && TOLERANCE < period => return,
            Self::Live { since, .. } => since.duration_since(last),
            Self::Recorded { created, written_in, late } => *late.get_or_insert_with(|| {
                let is_copy = TOLERANCE.saturating_add(*written_in) < period;
                let late = created.duration_since(first);
                if is_copy || late <= TOLERANCE { SignedDuration::ZERO } else { late }
            }),
        };
        if !late.is_positive() {
            return;
        }
        for event in updates.iter_mut().filter_map(event_mut) {
            event.at = event.at.saturating_add(late).unwrap_or(event.at);
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
