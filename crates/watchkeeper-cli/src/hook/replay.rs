//! Finds the open findings of a session by reading its file.
//!
//! Most of a long file is not read again: a checkpoint has what remains of the events before a
//! place near the end of the file. Some lines before this place are read without their events, so
//! that the source knows what it would know after the whole file, such as the usage so far.

use std::{collections::BTreeMap, path::Path};

use serde::{Deserialize, Serialize};
use watchkeeper_core::{
    AgentId, Engine, Event, EventKind, Finding, Fingerprint, SessionId, Status, Timestamp,
    author::{DedupCache, Origin, Tokens},
    clock::Deadline,
    embed::{Entry as _, Registry, SourceEntry},
};
use watchkeeper_policy::Policy;
use watchkeeper_sources::{Position, PositionedFile, SessionFile};

use super::{
    folder::{HookFolder, Sort},
    prelude::Prelude,
    trouble::Trouble,
};

/// The bytes behind a checkpoint from which a new one is made.
const MAX_TAIL: u64 = 1 << 20;
/// The bytes behind a new checkpoint.
const TAIL: u64 = MAX_TAIL / 2;
/// The bytes before a checkpoint that the source reads at most.
const MAX_WARM_UP: u64 = TAIL / 2;
/// The model calls before a checkpoint that the source reads.
const N_WARM_UP: usize = 3;
/// The largest document, which is read as a whole.
const MAX_DOCUMENT: u64 = 16 << 20;
/// The lines between two looks at the clock.
const LINES: u64 = 64;

/// The findings of a session file.
#[derive(Debug, Default)]
pub(super) struct Replayed {
    /// The open findings of the agent of the file, and of its session.
    pub(super) open: Vec<Finding>,
    /// The time of the last prompt of a person.
    pub(super) prompted_at: Option<Timestamp>,
}

/// A stored place from which a session file is read.
#[derive(Debug, Serialize, Deserialize)]
struct Checkpoint {
    v: u32,
    /// The kind of the source.
    kind: String,
    /// The end of the first lines, up to the first event.
    head: u64,
    warm_up: Line,
    start: Line,
    /// A hash of the bytes before the start.
    hash: Fingerprint,
    prelude: Vec<String>,
}

const VERSION: u32 = 1;

/// The beginning of a line.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Line {
    offset: u64,
    /// The lines before it.
    lines: u64,
}

impl From<Position> for Line {
    fn from(Position { offset, lines, .. }: Position) -> Self {
        Self { offset, lines }
    }
}

impl From<Line> for Position {
    fn from(Line { offset, lines }: Line) -> Self {
        Self { offset, lines, skipped: 0 }
    }
}

/// Reads a session file. `None` if the file is too large, or was not read to its end by the
/// deadline: the next call continues.
pub(super) fn replay(
    transcript: &Path,
    policy: Policy,
    registry: &Registry,
    folder: &HookFolder,
    deadline: Deadline,
) -> Result<Option<Replayed>, Trouble> {
    let key = Fingerprint::of(transcript.as_os_str().as_encoded_bytes());
    let stored = folder.read::<Checkpoint>(Sort::Checkpoint, key);
    let stored = stored.filter(|stored| stored.v == VERSION);
    let kind = stored.as_ref().and_then(|stored| registry.sources.get(&stored.kind).ok());
    let mut file = PositionedFile::open(transcript, kind, &registry.sources)?;
    let size = file.size()?;
    if file.is_document() && MAX_DOCUMENT < size {
        return Ok(None);
    }
    let is_same = |stored: &Checkpoint| {
        let mark = file.mark(stored.start.offset).ok().flatten();
        mark.is_some_and(|mark| mark.hash == stored.hash)
    };
    let stored = stored.filter(|_| !file.is_document()).filter(is_same);
    let mut reading = Reading::new(policy, file.kind(), transcript);
    let (mut head, mut start) = (0, Line::default());
    file.seek(Position::default())?;
    if let Some(stored) = &stored
        && let Some(events) = Prelude::events(&stored.prelude)
    {
        (head, start) = (stored.head, stored.start);
        skip_to(&mut file, head)?;
        file.seek(stored.warm_up.into())?;
        skip_to(&mut file, start.offset)?;
        for event in events {
            reading.observe(&reading.with_origin(event));
        }
    }
    let needs_checkpoint = !file.is_document() && start.offset + MAX_TAIL < size;
    let new_start = needs_checkpoint.then(|| size - TAIL);
    let mut model_calls: Vec<Line> = Vec::new();
    let mut new: Option<(Line, Line)> = None;
    let (mut events, mut n_lines, mut is_finished) = (Vec::new(), 0, true);
    loop {
        let before = Line::from(file.position());
        if !file.read_next(&mut events)? {
            break;
        }
        let after = Line::from(file.position());
        if head == 0 && !events.is_empty() {
            head = after.offset;
        }
        if events.iter().any(|event| matches!(event.kind, EventKind::ModelCall(_))) {
            model_calls.push(before);
            model_calls.drain(..model_calls.len().saturating_sub(N_WARM_UP));
        }
        for event in events.drain(..) {
            reading.observe(&event);
        }
        n_lines += 1;
        is_finished = n_lines % LINES != 0 || !deadline.remaining().is_zero();
        if let Some(new_start) = new_start.filter(|_| new.is_none())
            && (!is_finished || new_start <= after.offset && reading.is_between_steps())
        {
            let warm_up = model_calls.first().copied().unwrap_or(after);
            let is_near = after.offset - warm_up.offset <= MAX_WARM_UP;
            new = Some((if is_near { warm_up } else { after }, after));
            reading.is_absorbing = false;
        }
        if !is_finished {
            break;
        }
    }
    if is_finished {
        // No checkpoint is behind this line: the next call reads it again, then with its end.
        file.read_last(&mut events)?;
        for event in events.drain(..) {
            reading.observe(&event);
        }
    }
    if let Some((warm_up, start)) = new
        && let Some(mark) = file.mark(start.offset)?
    {
        let (kind, prelude) = (file.kind().kind().to_owned(), reading.prelude.lines());
        let checkpoint =
            Checkpoint { v: VERSION, kind, head, warm_up, start, hash: mark.hash, prelude };
        folder.write(Sort::Checkpoint, key, &checkpoint)?;
    }
    Ok(is_finished.then(|| reading.finish()))
}

/// Reads a session in a database of an agent, which has no checkpoints: the rows of the recent
/// sessions are read. `None` if they were not read to their end by the deadline.
pub(super) fn replay_database(
    mut database: SessionFile,
    session: &SessionId,
    transcript: &Path,
    policy: Policy,
    deadline: Deadline,
) -> Result<Option<Replayed>, Trouble> {
    let mut reading = Reading::new(policy, database.kind(), transcript);
    reading.is_absorbing = false;
    let (mut known, mut events, mut n_rows) = (DedupCache::default(), Vec::new(), 0);
    while database.read_next(&mut known, &mut events)? {
        for event in events.drain(..).filter(|event| event.session == *session) {
            reading.observe(&event);
        }
        n_rows += 1;
        if n_rows % LINES == 0 && deadline.remaining().is_zero() {
            return Ok(None);
        }
    }
    Ok(Some(reading.finish()))
}

/// Lets the source read lines up to an offset, and drops their events.
fn skip_to(file: &mut PositionedFile, offset: u64) -> Result<(), Trouble> {
    let mut events = Vec::new();
    while file.position().offset < offset && file.read_next(&mut events)? {
        events.clear();
    }
    Ok(())
}

/// The state of reading a file.
struct Reading {
    engine: Engine,
    origin: Origin,
    found: Vec<Finding>,
    open: BTreeMap<Fingerprint, Finding>,
    prelude: Prelude,
    /// Whether the prelude of a new checkpoint takes the events.
    is_absorbing: bool,
    prompted_at: Option<Timestamp>,
    has_events: bool,
    /// The agent of the first event.
    agent: Option<AgentId>,
    n_pending: usize,
    /// The last event ended a step of the agent.
    has_ended_step: bool,
}

impl Reading {
    fn new(policy: Policy, kind: &'static SourceEntry, transcript: &Path) -> Self {
        let config = policy.engine_config();
        let file = transcript.to_string_lossy().into();
        Self {
            engine: Engine::new(policy.detectors, config),
            origin: Origin { source: kind.kind(), file, line: 0 },
            found: Vec::new(),
            open: BTreeMap::new(),
            prelude: Prelude::default(),
            is_absorbing: true,
            prompted_at: None,
            has_events: false,
            agent: None,
            n_pending: 0,
            has_ended_step: false,
        }
    }

    /// Returns an event of a prelude with its source, which overrides of a policy match.
    fn with_origin(&self, event: Event) -> Event {
        Event { origin: Some(self.origin.clone()), ..event }
    }

    fn observe(&mut self, event: &Event) {
        let is_usage = self.is_absorbing && matches!(event.kind, EventKind::ModelCall(_));
        let before = if is_usage { self.used(event) } else { (Tokens::default(), 0.0) };
        self.engine.observe(event, &mut self.found);
        for finding in self.found.drain(..) {
            match finding.status {
                Status::Open => self.open.insert(finding.fingerprint, finding),
                Status::Resolved => self.open.remove(&finding.fingerprint),
            };
        }
        if self.is_absorbing {
            let after = if is_usage { self.used(event) } else { before };
            self.prelude.absorb(event, (after.0.minus(before.0), after.1 - before.1));
        }
        if !self.has_events {
            (self.has_events, self.agent) = (true, event.agent.clone());
        }
        match event.kind {
            EventKind::ToolCall(_) => self.n_pending += 1,
            EventKind::ToolResult(_) => self.n_pending = self.n_pending.saturating_sub(1),
            EventKind::Prompt { synthetic: false, .. } => self.prompted_at = Some(event.at),
            EventKind::TurnEnd => self.n_pending = 0,
            _ => {}
        }
        self.has_ended_step = matches!(
            event.kind,
            EventKind::ToolResult(_) | EventKind::Prompt { .. } | EventKind::TurnEnd
        );
    }

    /// Returns the tokens and the cost of the session of an event.
    fn used(&self, event: &Event) -> (Tokens, f64) {
        let session = self.engine.session(&event.session);
        session.map_or_else(Default::default, |it| (it.totals.tokens, it.totals.cost_usd))
    }

    /// Returns whether no model call and no tool call is cut by what follows.
    fn is_between_steps(&self) -> bool {
        self.has_ended_step && self.n_pending == 0
    }

    fn finish(self) -> Replayed {
        let Self { open, agent, .. } = self;
        let open = open.into_values().filter(|it| it.agent.is_none() || it.agent == agent);
        Replayed { open: open.collect(), prompted_at: self.prompted_at }
    }
}
