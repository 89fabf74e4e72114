use std::{
    collections::VecDeque,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use ratatui::widgets::TableState;
use watchkeeper_core::{Timestamp, author::StateKind};
use watchkeeper_page::{Board, FindingRow, SessionRow, Totals};

use super::{
    columns::{Column, name},
    keys::Action,
};

/// The longest filter, in characters.
const MAX_FILTER: usize = 64;

/// The state of the screen.
pub(super) struct App {
    pub(super) now: Timestamp,
    /// The rows that the filter allows, in the order of the screen.
    pub(super) rows: Vec<SessionRow>,
    /// The findings about the selected session, the latest change last.
    pub(super) findings: Vec<FindingRow>,
    pub(super) totals: Totals,
    /// Numbers of all sessions that wait for a person, and that loop.
    pub(super) n_waiting: usize,
    pub(super) n_looping: usize,
    pub(super) sort: Column,
    pub(super) is_reversed: bool,
    pub(super) filter: String,
    pub(super) shows_ended: bool,
    pub(super) shows_help: bool,
    pub(super) has_colors: bool,
    pub(super) table: TableState,
    /// The id of the selected session: rows move.
    selected: Option<String>,
    is_typing: bool,
    has_quit: bool,
    messages: Messages,
    all: Vec<SessionRow>,
    all_findings: Vec<FindingRow>,
}

impl App {
    pub(super) fn new(messages: Messages, has_colors: bool) -> Self {
        Self {
            now: Timestamp::MIN,
            rows: Vec::new(),
            findings: Vec::new(),
            totals: Totals::default(),
            n_waiting: 0,
            n_looping: 0,
            sort: Column::State,
            is_reversed: false,
            filter: String::new(),
            shows_ended: true,
            shows_help: false,
            has_colors,
            table: TableState::default(),
            selected: None,
            is_typing: false,
            has_quit: false,
            messages,
            all: Vec::new(),
            all_findings: Vec::new(),
        }
    }

    pub(super) const fn has_quit(&self) -> bool {
        self.has_quit
    }

    /// Returns whether a filter is being typed.
    pub(super) const fn is_typing(&self) -> bool {
        self.is_typing
    }

    pub(super) const fn messages(&self) -> &Messages {
        &self.messages
    }

    /// Returns the selected session.
    pub(super) fn selected(&self) -> Option<&SessionRow> {
        self.rows.get(self.table.selected()?)
    }

    /// Takes a snapshot of the board.
    pub(super) fn refresh(&mut self, board: &Board, now: Timestamp) {
        self.now = now;
        self.all = board.rows();
        self.all_findings = board.findings();
        self.totals = board.totals();
        let waits = |row: &&SessionRow| {
            let state = row.state.kind;
            matches!(state, StateKind::WaitingForPermission | StateKind::WaitingForPerson)
        };
        self.n_waiting = self.all.iter().filter(waits).count();
        self.n_looping = self.all.iter().filter(|row| row.is_looping).count();
        self.arrange();
    }

    /// Applies the effect of a key.
    pub(super) fn apply(&mut self, action: Action) {
        match action {
            Action::Quit => self.has_quit = true,
            Action::Move(by) => {
                let from = self.table.selected().map_or(0, |row| row.saturating_add_signed(by));
                self.select(from);
            }
            Action::First => self.select(0),
            Action::Last => self.select(usize::MAX),
            Action::SortByNext => self.sort_by(1),
            Action::SortByPrevious => self.sort_by(Column::ALL.len() - 1),
            Action::Reverse => self.is_reversed = !self.is_reversed,
            Action::ToggleEnded => self.shows_ended = !self.shows_ended,
            Action::ToggleHelp => self.shows_help = !self.shows_help,
            Action::StartFilter => self.is_typing = true,
            Action::Type(c) if self.filter.chars().count() < MAX_FILTER => self.filter.push(c),
            Action::Type(_) => {}
            Action::Erase => _ = self.filter.pop(),
            Action::KeepFilter => self.is_typing = false,
            Action::Cancel if self.shows_help => self.shows_help = false,
            Action::Cancel => {
                self.is_typing = false;
                self.filter.clear();
            }
        }
        self.arrange();
    }

    fn sort_by(&mut self, by: usize) {
        let position = Column::ALL.iter().position(|it| *it == self.sort).unwrap_or(0);
        self.sort = Column::ALL[(position + by) % Column::ALL.len()];
    }

    fn select(&mut self, row: usize) {
        let row = row.min(self.rows.len().saturating_sub(1));
        self.selected = self.rows.get(row).map(|row| row.session.clone());
    }

    /// Filters and sorts the rows, and finds the selected one again.
    fn arrange(&mut self) {
        let is_shown = |row: &&SessionRow| {
            let has_ended = matches!(row.state.kind, StateKind::Ended | StateKind::Gone);
            (self.shows_ended || !has_ended) && self.matches(row)
        };
        let mut rows: Vec<_> = self.all.iter().filter(is_shown).cloned().collect();
        rows.sort_by(|a, b| {
            let order = self.sort.compare(b, a);
            let order = if self.is_reversed { order.reverse() } else { order };
            let by_time = || b.last_event_at.cmp(&a.last_event_at);
            order.then_with(by_time).then_with(|| a.session.cmp(&b.session))
        });
        self.rows = rows;
        let of_selected = |row: &SessionRow| Some(&row.session) == self.selected.as_ref();
        let position = self.rows.iter().position(of_selected);
        // The first row stays selected until the user selects another one.
        let position = position.or_else(|| (!self.rows.is_empty()).then_some(0));
        self.table.select(position);
        self.findings = match self.selected() {
            None => Vec::new(),
            Some(row) => {
                let is_of_row =
                    |it: &&FindingRow| it.finding.session.as_str() == row.session.as_str();
                self.all_findings.iter().filter(is_of_row).cloned().collect()
            }
        };
    }

    /// Returns whether a session contains the filter in its id, name, folder, model or source.
    fn matches(&self, row: &SessionRow) -> bool {
        let filter = self.filter.to_lowercase();
        let name = name(row);
        let SessionRow { session, cwd, model, source, .. } = row;
        let texts = [Some(session), Some(&name), cwd.as_ref(), model.as_ref(), source.as_ref()];
        let mut texts = texts.into_iter().flatten().map(|text| text.to_lowercase());
        filter.is_empty() || texts.any(|text| text.contains(&filter))
    }
}

/// Messages of the program, which the screen shows in place of standard error.
#[derive(Clone, Debug, Default)]
pub(crate) struct Messages(Arc<Mutex<Kept>>);

#[derive(Debug, Default)]
struct Kept {
    lines: VecDeque<String>,
    /// The beginning of a line that is not complete.
    rest: Vec<u8>,
    version: u64,
}

impl Messages {
    /// The number of lines that are kept.
    const MAX: usize = 100;
    /// The longest line, in bytes.
    const MAX_LINE: usize = 4096;

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns a number that grows with each line.
    pub(super) fn version(&self) -> u64 {
        self.kept().version
    }

    /// Returns the latest lines, oldest first.
    pub(super) fn latest(&self, n: usize) -> Vec<String> {
        let kept = self.kept();
        let skipped = kept.lines.len().saturating_sub(n);
        kept.lines.iter().skip(skipped).cloned().collect()
    }

    /// Returns all lines that are kept, oldest first, and removes them.
    pub(crate) fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.kept().lines).into()
    }
}

impl io::Write for Messages {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut kept = self.kept();
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            let free = Self::MAX_LINE.saturating_sub(kept.rest.len());
            kept.rest.extend(part.iter().take(free));
            if part.ends_with(b"\n") {
                let line = std::mem::take(&mut kept.rest);
                if kept.lines.len() == Self::MAX {
                    kept.lines.pop_front();
                }
                kept.lines.push_back(String::from_utf8_lossy(&line).trim_end().to_owned());
                kept.version += 1;
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
