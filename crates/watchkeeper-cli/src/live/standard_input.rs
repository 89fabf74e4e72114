//! The session that another program writes to standard input, on its way to the monitor.

use std::{
    io,
    path::Path,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
};

use watchkeeper_core::{
    Event, SignedDuration, Timestamp,
    author::{DedupCache, SkippedLines, known_time},
    clock::{Clock as _, SystemClock},
    embed::{Entry as _, SourceEntry},
};
use watchkeeper_sources::{
    FollowReport, OpenError, ReadError, SessionFile, SourcePanic, Update, open_stream,
};

use super::control::Control;
use crate::causes::with_causes;

/// The events that wait for the monitor at most. The program that writes waits for it, too.
const MAX_WAITING: usize = 1 << 14;
/// The longest time from the time of a line to its arrival. Agents collect lines before they
/// write them.
const TOLERANCE: SignedDuration = SignedDuration::from_secs(20);
/// The name of the session file.
const NAME: &str = "-";

/// The events of standard input that the monitor has not taken yet.
#[derive(Debug, Default)]
pub(crate) struct StandardInput {
    inbox: Mutex<Inbox>,
    has_room: Condvar,
}

#[derive(Debug, Default)]
struct Inbox {
    events: Vec<Event>,
    updates: Vec<Update>,
    /// The number of lines so far.
    n_lines: u64,
    skipped: SkippedLines,
    is_recognized: bool,
    /// The reason why the input was not read to its end.
    failure: Option<StandardInputError>,
}

/// Standard input cannot be read, or not to its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StandardInputError {
    #[error(transparent)]
    Open(OpenError),
    #[error("cannot read standard input")]
    Read(#[source] io::Error),
    #[error(transparent)]
    Panic(SourcePanic),
}

impl StandardInput {
    /// Starts to read standard input with the source `kind`, or with the one of `kinds` that
    /// recognizes it. At its end, the monitor stops.
    pub(crate) fn start(
        kind: Option<&'static SourceEntry>,
        kinds: impl Iterator<Item = &'static SourceEntry>,
        control: Control,
    ) -> io::Result<Arc<Self>> {
        let kinds: Vec<_> = kinds.collect();
        let input = Arc::new(Self::default());
        let reading = input.clone();
        let read = move || {
            if let Err(failure) = reading.read(kind, &kinds, &control) {
                reading.inbox().fail(failure);
                control.wake();
                // The program that writes goes on.
                let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
            }
            control.stop();
        };
        thread::Builder::new().name("stdin".into()).spawn(read)?;
        Ok(input)
    }

    /// Reads standard input to its end.
    fn read(
        &self,
        kind: Option<&'static SourceEntry>,
        kinds: &[&'static SourceEntry],
        control: &Control,
    ) -> Result<(), StandardInputError> {
        let mut file = open_stream(Path::new(NAME), Box::new(io::stdin()), kind, kinds)
            .map_err(StandardInputError::Open)?;
        self.inbox().begin(&file);
        control.wake();
        let (mut seen, mut events) = (DedupCache::default(), Vec::new());
        let mut has_more = true;
        while has_more {
            has_more = file.read_next(&mut seen, &mut events)?;
            date(&mut events, SystemClock.now());
            self.push(&file, &mut events);
            control.wake();
        }
        Ok(())
    }

    /// Adds the events of a line. Waits while too many events wait.
    fn push(&self, file: &SessionFile, events: &mut Vec<Event>) {
        let has_no_room = |inbox: &mut Inbox| MAX_WAITING <= inbox.events.len();
        let inbox = self.has_room.wait_while(self.inbox(), has_no_room);
        let mut inbox = inbox.unwrap_or_else(PoisonError::into_inner);
        inbox.n_lines += 1;
        inbox.events.append(events);
        if inbox.skipped != *file.skipped_lines() {
            inbox.skipped.clone_from(file.skipped_lines());
        }
    }

    /// Moves the events that wait to `events`, and the changes to `updates`.
    pub(super) fn take(&self, events: &mut Vec<Event>, updates: &mut Vec<Update>) {
        let mut inbox = self.inbox();
        events.append(&mut inbox.events);
        updates.append(&mut inbox.updates);
        self.has_room.notify_one();
    }

    /// Adds the counts to those of files.
    pub(super) fn add_to(&self, report: &mut FollowReport) {
        let inbox = self.inbox();
        report.n_followed += usize::from(inbox.is_recognized);
        report.n_lines += inbox.n_lines;
        report.skipped_lines.add(&inbox.skipped);
    }

    /// Returns the number of skipped lines so far.
    pub(super) fn n_skipped(&self) -> u64 {
        self.inbox().skipped.total()
    }

    /// Returns the reason why the input was not read to its end.
    pub(crate) fn take_failure(&self) -> Option<StandardInputError> {
        self.inbox().failure.take()
    }

    fn inbox(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inbox {
    fn begin(&mut self, file: &SessionFile) {
        self.is_recognized = true;
        self.updates.push(Update::Began { file: NAME.into(), source: file.kind().kind() });
    }

    fn fail(&mut self, failure: StandardInputError) {
        let file = NAME.into();
        match failure {
            // It becomes a finding.
            StandardInputError::Panic(panic) => {
                self.updates.push(Update::SourceFailed { file, panic });
            }
            failure => {
                let reason = with_causes(&failure);
                self.updates.push(Update::Unreadable { file, reason });
                self.failure = Some(failure);
            }
        }
    }
}

impl From<ReadError> for StandardInputError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Panic(panic) => Self::Panic(panic),
            error => Self::Read(error.into()),
        }
    }
}

/// Dates the events of a line by its arrival. Not all streams have times, and a stream may have
/// been recorded earlier; the periods between the events of a line stay.
fn date(events: &mut [Event], now: Timestamp) {
    let latest = events.iter().filter_map(|event| known_time(event.at)).max();
    let late = latest.map_or(SignedDuration::ZERO, |latest| now.duration_since(latest));
    for event in events {
        event.at = match known_time(event.at) {
            None => now,
            Some(at) if TOLERANCE < late => at.saturating_add(late).unwrap_or(now),
            Some(at) => at,
        };
    }
}

#[cfg(test)]
mod tests {
    use watchkeeper_core::{Event, EventKind, SignedDuration, Timestamp, author::untimed};

    use super::date;

    fn dated(times: &[Timestamp], now: Timestamp) -> Vec<i64> {
        let event = |at: &Timestamp| Event::new(*at, "s", EventKind::TurnEnd);
        let mut events: Vec<_> = times.iter().map(event).collect();
        date(&mut events, now);
        events.iter().map(|event| event.at.duration_since(now).as_secs()).collect()
    }

    #[test]
    fn a_line_without_a_time_has_that_of_its_arrival() {
        let now: Timestamp = "2026-11-01T08:00:00Z".parse().unwrap();
        let before = |secs| now - SignedDuration::from_secs(secs);
        assert_eq!(dated(&[untimed(0), untimed(7)], now), [0, 0]);
        assert_eq!(dated(&[before(5), untimed(7)], now), [-5, 0]);
    }

    #[test]
    fn a_line_that_was_recorded_earlier_has_the_time_of_its_arrival() {
        let now: Timestamp = "2026-11-01T08:00:00Z".parse().unwrap();
        let before = |secs| now - SignedDuration::from_secs(secs);
        assert_eq!(dated(&[before(620), before(2)], now), [-620, -2], "a long call has ended");
        assert_eq!(dated(&[before(7_000), before(6_400)], now), [-600, 0]);
        assert_eq!(dated(&[], now), [0_i64; 0]);
    }
}
