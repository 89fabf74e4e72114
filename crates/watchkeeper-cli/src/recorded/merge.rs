//! Reads files together, in order of time.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
};

use watchkeeper_core::{
    Event, Timestamp,
    author::{ClientTotal, DedupCache},
    embed::{Kinds, SourceEntry, Suppliers},
};
use watchkeeper_sources::{OpenError, SessionFile, otlp};

use super::{
    cursor::{Cursor, ReopeningFile},
    group::{Group, GroupRead, open},
};

/// Largest number of files that are read together. Of more, each is read to its end as
/// soon as its first event is due, so that memory is bounded.
const MAX_CURSORS: usize = 1024;
/// Number of files of one call that can be open together.
const MAX_OPEN_FILES: usize = 64;

/// A step of reading groups. Each has the index of the group.
#[derive(Debug)]
pub(crate) enum Step {
    Event(usize, Event),
    /// The group has no more events.
    End(usize, GroupRead),
}

/// Reads one group after the other.
pub(crate) fn read_in_turn(
    groups: &[Group],
    kinds: &Kinds<SourceEntry>,
    on_step: &mut dyn FnMut(Step),
) {
    let mut seen = DedupCache::default();
    let mut merge = Merge::new(groups, kinds, &mut seen, on_step);
    for (group_idx, group) in groups.iter().enumerate() {
        merge.read(Slot::of_group(group_idx, group));
    }
}

/// Reads all groups together: events of different sessions are in order of time.
pub(crate) fn read_merged(
    groups: &[Group],
    kinds: &Kinds<SourceEntry>,
    on_step: &mut dyn FnMut(Step),
) {
    let mut copies = read_copies(groups, kinds);
    let slots = groups.iter().enumerate().flat_map(|(group_idx, group)| {
        let slots = || Slot::of_group(group_idx, group);
        copies.remove(&group_idx).map_or_else(slots, |copy| vec![copy])
    });
    let slots = slots.collect();
    Merge::new(groups, kinds, &mut DedupCache::default(), on_step).read(slots);
}

/// Reads one group. Passes the events of all files to `on_event`, in order of time.
///
/// A file that cannot be read any further does not affect the other files.
pub(crate) fn read_group(
    group: &Group,
    kinds: &Kinds<SourceEntry>,
    seen: &mut DedupCache,
    on_event: &mut dyn FnMut(Event),
) -> GroupRead {
    let mut result = GroupRead::default();
    let on_step = &mut |step| match step {
        Step::Event(_, event) => on_event(event),
        Step::End(_, read) => result = read,
    };
    let groups = std::slice::from_ref(group);
    Merge::new(groups, kinds, seen, on_step).read(Slot::of_group(0, group));
    result
}

/// Reads the groups that contain copied lines, by their index. If they were merged with
/// their original, lines that a copy contains would be lost in the original.
///
/// A copy begins at the same time as its original, which is before it in `groups`.
fn read_copies(groups: &[Group], kinds: &Kinds<SourceEntry>) -> BTreeMap<usize, Slot> {
    let mut copies = BTreeMap::new();
    let mut group_idx = 0;
    for same_start in groups.chunk_by(|a, b| a.started_at == b.started_at) {
        let mut seen = DedupCache::default();
        for (group, idx) in same_start.iter().zip(group_idx..).filter(|_| 1 < same_start.len()) {
            let n_before = seen.n_copies();
            let mut events = Vec::new();
            let read = read_group(group, kinds, &mut seen, &mut |event| events.push(event));
            if n_before < seen.n_copies() {
                copies.insert(idx, Slot::of_events(idx, group, events, read));
            }
        }
        group_idx += same_start.len();
    }
    copies
}

/// A file of a group, or all events of a group.
struct Slot {
    group_idx: usize,
    /// Index of the file in its group.
    file_idx: usize,
    started_at: Timestamp,
    /// `None` before the first event and after the last.
    cursor: Option<Cursor>,
    read: GroupRead,
}

impl Slot {
    fn of_group(group_idx: usize, group: &Group) -> Vec<Self> {
        let starts = group.starts.iter().enumerate();
        let slot = |(file_idx, (started_at, _)): (usize, &(Timestamp, _))| Self {
            group_idx,
            file_idx,
            started_at: *started_at,
            cursor: None,
            read: GroupRead::default(),
        };
        starts.map(slot).collect()
    }

    fn of_events(group_idx: usize, group: &Group, events: Vec<Event>, read: GroupRead) -> Self {
        let cursor = Some(Cursor::of_events(events));
        Self { group_idx, file_idx: 0, started_at: group.started_at, cursor, read }
    }
}

struct Merge<'a> {
    groups: &'a [Group],
    kinds: &'a Kinds<SourceEntry>,
    seen: &'a mut DedupCache,
    suppliers: Suppliers,
    on_step: &'a mut dyn FnMut(Step),
}

impl<'a> Merge<'a> {
    fn new(
        groups: &'a [Group],
        kinds: &'a Kinds<SourceEntry>,
        seen: &'a mut DedupCache,
        on_step: &'a mut dyn FnMut(Step),
    ) -> Self {
        Self { groups, kinds, seen, suppliers: Suppliers::default(), on_step }
    }

    /// Reads slots, which are in order of their groups. A file that cannot be read any
    /// further does not affect the other files.
    fn read(&mut self, mut slots: Vec<Slot>) {
        let reopens = MAX_OPEN_FILES < slots.len();
        let mut n_unfinished: BTreeMap<usize, usize> = BTreeMap::new();
        for slot in &slots {
            *n_unfinished.entry(slot.group_idx).or_default() += 1;
        }
        let mut results: BTreeMap<usize, GroupRead> = BTreeMap::new();
        // Of thousands of files, few overlap in time: each file is open only from its
        // first event to its last.
        let mut n_cursors = 0;
        // The file with the oldest next event is read next; of two, the file that
        // started first.
        let starts = slots.iter().zip(0..);
        let mut order: BinaryHeap<Reverse<(Timestamp, usize)>> =
            starts.map(|(slot, idx)| Reverse((slot.started_at, idx))).collect();
        while let Some(Reverse((_, slot_idx))) = order.pop() {
            let next = order.peek().map_or((Timestamp::MAX, usize::MAX), |Reverse(next)| *next);
            let slot = &mut slots[slot_idx];
            let is_file = slot.cursor.as_ref().is_none_or(|cursor| cursor.file.is_some());
            n_cursors += usize::from(slot.cursor.is_none());
            let is_crowded = is_file && MAX_CURSORS < n_cursors;
            if let Some(at) = self.read_until(slot, next, slot_idx, reopens, is_crowded) {
                order.push(Reverse((at, slot_idx)));
                continue;
            }
            n_cursors -= usize::from(is_file);
            let group_idx = slot.group_idx;
            results.entry(group_idx).or_default().add(std::mem::take(&mut slot.read));
            if let Some(n) = n_unfinished.get_mut(&group_idx) {
                *n -= 1;
                if *n == 0 {
                    n_unfinished.remove(&group_idx);
                    let read = results.remove(&group_idx).unwrap_or_default();
                    (self.on_step)(Step::End(group_idx, read));
                }
            }
        }
    }

    /// Reads a slot until `next` is due before its next event. Returns the time of its
    /// next event, or `None` at its end. Reads a crowded slot to its end.
    fn read_until(
        &mut self,
        slot: &mut Slot,
        next: (Timestamp, usize),
        slot_idx: usize,
        reopens: bool,
        is_crowded: bool,
    ) -> Option<Timestamp> {
        let group = &self.groups[slot.group_idx];
        let path = &group.files[slot.file_idx];
        let cursor = match &mut slot.cursor {
            Some(cursor) => cursor,
            None => match self.open(group, slot.file_idx, reopens) {
                Ok(file) => slot.cursor.insert(Cursor::of_file(file)),
                Err(error) => {
                    slot.read.fail(path, error.into());
                    return None;
                }
            },
        };
        loop {
            let next_at = cursor.peek(self.seen);
            let Ok(Some(at)) = next_at else {
                if let Some(file) = &cursor.file {
                    slot.read.skipped.add(file.skipped_lines());
                    let misdated = cursor.misdated();
                    if 0 < misdated.n_lines {
                        slot.read.misdated.push((path.clone(), misdated));
                    }
                    // Only a cost includes the sub-agents, which have files of their own.
                    let is_whole =
                        |it: &ClientTotal| group.files.len() == 1 || it.cost_usd.is_some();
                    slot.read.client_total = file.client_total().filter(is_whole);
                }
                if let Err(error) = next_at {
                    slot.read.fail(path, error);
                }
                slot.cursor = None;
                return None;
            };
            if next < (at, slot_idx) && !is_crowded {
                return Some(at);
            }
            if let Some(event) = cursor.pop()
                && (!group.has_several_sources || otlp::admits(&mut self.suppliers, &event))
            {
                (self.on_step)(Step::Event(slot.group_idx, event));
            }
        }
    }

    fn open(&self, group: &Group, idx: usize, reopens: bool) -> Result<SessionFile, OpenError> {
        let (path, (_, kind)) = (&group.files[idx], group.starts[idx]);
        if reopens && !group.pipes.contains_key(path) {
            if let Some(database) = watchkeeper_sources::open_database(path, kind)? {
                return Ok(database);
            }
            let reader = Box::new(ReopeningFile::new(path.clone()));
            return Ok(SessionFile::new(path, reader, kind)?);
        }
        open(path, Some(kind), self.kinds, &group.pipes)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use watchkeeper_core::{EventKind, author::DedupCache, embed::Registry};

    use super::read_group;
    use crate::recorded::group;

    #[test]
    fn a_session_in_a_session_file_and_in_telemetry_counts_once() {
        const SESSION: &str = r#"{"type":"assistant","sessionId":"s","uuid":"u","timestamp":"2026-11-01T08:00:01Z","requestId":"r","message":{"id":"m","model":"x","usage":{"input_tokens":5,"output_tokens":1},"content":[{"type":"tool_use","id":"t","name":"Bash","input":{"command":"ls"}}]}}"#;
        let record = |name: &str, members: &str| {
            format!(
                r#"{{"timeUnixNano":"1793520001500000000","body":{{"stringValue":"claude_code.{name}"}},"attributes":[{{"key":"session.id","value":{{"stringValue":"s"}}}}{members}]}}"#
            )
        };
        let attribute = |key: &str, value: &str| {
            format!(r#",{{"key":"{key}","value":{{"stringValue":"{value}"}}}}"#)
        };
        let usage = attribute("input_tokens", "5") + &attribute("request_id", "r");
        let call = attribute("tool_use_id", "t") + &attribute("tool_name", "Bash");
        let records = [
            record("api_request", &usage),
            record("tool_result", &call),
            record("api_error", &attribute("error", "overloaded")),
        ];
        let telemetry = format!(
            r#"{{"resourceLogs":[{{"scopeLogs":[{{"logRecords":[{}]}}]}}]}}"#,
            records.join(",")
        );
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let files = [("s.jsonl", SESSION), ("telemetry.json", &telemetry)].map(|(name, text)| {
            let path = folder.path().join(name);
            fs::write(&path, text).expect("the file can be written");
            path
        });
        let kinds = Registry::linked().expect("no two kinds share a name").sources;
        let (groups, unread) = group(files.into(), None, &kinds);
        assert!(unread.is_empty(), "{unread:?}");
        let mut names = Vec::new();
        read_group(&groups[0], &kinds, &mut DedupCache::default(), &mut |event| {
            if !matches!(event.kind, EventKind::SessionStart(_)) {
                names.push(event.kind.name());
            }
        });
        // The session file contains no error.
        assert_eq!(names, ["model_call", "tool_call", "error"]);
    }
}
