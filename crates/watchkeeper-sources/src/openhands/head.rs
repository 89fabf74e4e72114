//! The recognition of a file by its beginning, which may end within a value.

use std::path::Path;

use super::names;
use crate::json::{FromJson, Malformed, Present, Reader, Text, TextOr, object, read_members};

object! {
    /// The beginning of an event, of a benchmark task, or of the state of a conversation.
    struct Head<'a> {
        b"id" => id: Present,
        b"timestamp" => timestamp: Text<'a>,
        b"source" => source: Text<'a>,
        b"kind" | b"action" | b"observation" => kind: TextOr<'a, AnyObject>,
        // Members of a task.
        b"history" | b"trajectory" => events: FirstEvent<'a>,
        b"instruction" => instruction: Present,
        b"instance_id" | b"issue_type" => task: Present,
        // Members of a state.
        b"agent" => agent: AnyObject,
        b"workspace" => workspace: AnyObject,
    }
}

object! {
    struct AnyObject {}
}

/// The first event of a list, or of the first list in it.
#[derive(Debug, Default)]
struct FirstEvent<'a> {
    event: Option<Box<Head<'a>>>,
    /// Whether the text ends in the event.
    is_cut: bool,
}

/// Returns whether `head`, the beginning of a file, was written by OpenHands.
pub(super) fn is_of_openhands(path: &Path, head: &[u8]) -> bool {
    let mut reader = Reader::new(head);
    if reader.peek() == Ok(b'[') {
        let mut first = None;
        // The list may be incomplete.
        let _: Result<(), Malformed> = FirstEvent::read(&mut first, &mut reader);
        return first.is_some_and(|first| first.is_event());
    }
    let mut members = None;
    let result = read_members(&mut members, &mut reader);
    let head: Head<'_> = members.unwrap_or_default();
    head.is_event(result.is_err()) || head.is_task() || head.is_state() && names::is_state(path)
}

impl Head<'_> {
    /// Returns whether the text is an event. The kind may be missing in an incomplete event.
    fn is_event(&self, is_cut: bool) -> bool {
        const SOURCES: &[&str] = &["agent", "environment", "hook", "user"];
        let is_known = |source: Text<'_>| SOURCES.iter().any(|name| source.is(name));
        self.id.is_some()
            && self.timestamp.is_some()
            && self.source.is_some_and(is_known)
            && (self.kind.is_some() || is_cut)
    }

    /// Returns whether the text is a benchmark task. The events of a task may begin after the
    /// end of the head.
    fn is_task(&self) -> bool {
        self.events.as_ref().is_some_and(FirstEvent::is_event)
            || self.instruction.is_some() && self.task.is_some()
    }

    fn is_state(&self) -> bool {
        self.id.is_some() && (self.agent.is_some() || self.workspace.is_some())
    }
}

impl<'a> FirstEvent<'a> {
    fn is_event(&self) -> bool {
        self.event.as_ref().is_some_and(|event| event.is_event(self.is_cut))
    }

    fn read_element(&mut self, reader: &mut Reader<'a>) -> Result<(), Malformed> {
        if self.event.is_some() {
            return reader.skip();
        }
        let mut event = None;
        let result = read_members(&mut event, reader);
        self.event = Some(Box::new(event.unwrap_or_default()));
        self.is_cut = result.is_err();
        result
    }
}

impl<'a> FromJson<'a> for FirstEvent<'a> {
    fn read(slot: &mut Option<Self>, reader: &mut Reader<'a>) -> Result<(), Malformed> {
        let first = slot.insert(Self::default());
        reader.array(|reader| match reader.peek()? {
            b'[' => reader.array(|reader| first.read_element(reader)).map(|_| ()),
            _ => first.read_element(reader),
        })?;
        Ok(())
    }
}
