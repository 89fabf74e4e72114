//! The stream that `opencode run --format json` writes: the parts of responses, in their final
//! states, without a session or a message.

use watchkeeper_core::{EventKind, Fingerprint, author::EventSink};

use super::{
    log::{Change, Log, RowSink},
    message::{Failure, Part, is_session},
};
use crate::json::{Malformed, Millis, Present, Text, object, parse, parse_head};

object! {
    /// The members by which a line is recognized.
    struct Head<'a> {
        b"timestamp" => at: Present,
        b"sessionID" => session: Text<'a>,
    }
}

object! {
    struct Line<'a> {
        b"timestamp" => at: Millis,
        b"sessionID" => session: Text<'a>,
        b"part" => part: Part<'a>,
        b"error" => error: Failure<'a>,
    }
}

/// Returns whether a line is of a stream. It may be incomplete.
pub(super) fn has_line(line: &[u8]) -> bool {
    let head: Head<'_> =
        if line.starts_with(br#"{"type":""#) { parse_head(line) } else { Head::default() };
    head.at.is_some() && head.session.is_some_and(is_session)
}

/// Reads a line.
pub(super) fn read(line: &[u8], log: &mut Log, sink: &mut EventSink<'_>) -> Result<(), Malformed> {
    let line: Line<'_> = parse(line)?;
    let session = line.session.ok_or("no session")?;
    let at = line.at.ok_or("no time")?;
    if let Some(error) = line.error {
        // An error has no id.
        let key = Fingerprint::of("stream").and(Fingerprint::from(sink.line()));
        let kind = EventKind::Error { message: error.message(), retry: None };
        log.row(session, at, sink).emit(Some(at), key, kind);
        return Ok(());
    }
    let change = Change { session: Some(session), info: None, part: line.part, at: Some(at) };
    log.read_part(&change, sink)?;
    let part = change.part.as_ref().filter(|part| part.is("step-finish"));
    let Some(Part { id: Some(id), reason: Some(reason), .. }) = part else { return Ok(()) };
    if !matches!(reason.raw(), b"tool-calls" | b"unknown") {
        let key = Fingerprint::of(id.raw());
        log.row(session, at, sink).emit(Some(at), key, EventKind::TurnEnd);
    }
    Ok(())
}

impl Log {
    /// Returns a sink for the events of a session.
    fn row<'r, 's>(
        &mut self,
        session: Text<'_>,
        at: Millis,
        sink: &'r mut EventSink<'s>,
    ) -> RowSink<'r, 's> {
        let owner = self.owner(&session.read(), None, at.0, sink);
        RowSink { owner, sink }
    }
}
