use std::cmp::Ordering;

use watchkeeper_core::{Timestamp, author::StateKind, author::make_safe};
use watchkeeper_page::SessionRow;

use crate::numbers::{dollars, duration, short};

/// A column of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Column {
    State,
    Age,
    Session,
    Calls,
    Failed,
    Tokens,
    Cost,
    Context,
    Findings,
}

impl Column {
    /// All columns, from left to right.
    pub(super) const ALL: [Self; 9] = [
        Self::State,
        Self::Age,
        Self::Session,
        Self::Calls,
        Self::Failed,
        Self::Tokens,
        Self::Cost,
        Self::Context,
        Self::Findings,
    ];

    /// The narrowest column of session names.
    const MIN_SESSION: u16 = 18;
    /// The columns that a narrow terminal does not show, the first ones first.
    const OPTIONAL: [Self; 5] = [Self::Failed, Self::Context, Self::Calls, Self::Tokens, Self::Age];

    /// Returns the columns that fit into a width, from left to right.
    pub(super) fn shown(width: u16) -> Vec<Self> {
        let mut columns = Self::ALL.to_vec();
        for column in Self::OPTIONAL {
            let widths = columns.iter().map(|it| it.width().unwrap_or(Self::MIN_SESSION) + 1);
            if widths.sum::<u16>() <= width + 1 {
                break;
            }
            columns.retain(|it| *it != column);
        }
        columns
    }

    pub(super) const fn title(self) -> &'static str {
        match self {
            Self::State => "STATE",
            Self::Age => "SINCE",
            Self::Session => "SESSION",
            Self::Calls => "CALLS",
            Self::Failed => "FAIL",
            Self::Tokens => "TOKENS",
            Self::Cost => "COST",
            Self::Context => "CTX",
            Self::Findings => "FINDINGS",
        }
    }

    /// Returns the width in cells; `None` for the column that takes the rest.
    pub(super) const fn width(self) -> Option<u16> {
        Some(match self {
            Self::State => 12,
            Self::Age => 7,
            Self::Session => return None,
            Self::Calls => 5,
            Self::Failed | Self::Context => 4,
            Self::Tokens => 6,
            Self::Cost => 8,
            Self::Findings => 9,
        })
    }

    /// Returns whether the values are numbers, which are aligned to the right.
    pub(super) const fn is_number(self) -> bool {
        !matches!(self, Self::State | Self::Session | Self::Findings)
    }

    /// Returns the text of a cell, which is safe for a terminal.
    pub(super) fn text(self, row: &SessionRow, now: Timestamp) -> String {
        match self {
            Self::State => state_name(row).to_owned(),
            Self::Age => age(row, now),
            Self::Session => name(row),
            Self::Calls => short(row.tool_calls),
            Self::Failed => short(row.failed_results),
            Self::Tokens => short(row.tokens.total()),
            Self::Cost => row.cost_usd.map_or_else(|| "?".to_owned(), dollars),
            Self::Context => context_percent(row).map_or_else(String::new, |it| format!("{it}%")),
            Self::Findings => findings(row),
        }
    }

    /// Compares two sessions; the greater one is shown first.
    pub(super) fn compare(self, a: &SessionRow, b: &SessionRow) -> Ordering {
        match self {
            Self::State => urgency(a).cmp(&urgency(b)),
            // The state that began first has lasted longest.
            Self::Age => b.state.since.cmp(&a.state.since),
            Self::Session => name(b).cmp(&name(a)),
            Self::Calls => a.tool_calls.cmp(&b.tool_calls),
            Self::Failed => a.failed_results.cmp(&b.failed_results),
            Self::Tokens => a.tokens.total().cmp(&b.tokens.total()),
            Self::Cost => a.cost_usd.unwrap_or(0.0).total_cmp(&b.cost_usd.unwrap_or(0.0)),
            Self::Context => context_percent(a).cmp(&context_percent(b)),
            Self::Findings => {
                let key = |row: &SessionRow| {
                    let counts = row.findings;
                    (counts.open, counts.high, counts.medium, counts.low)
                };
                key(a).cmp(&key(b))
            }
        }
    }
}

/// Returns the state in a few words. A session with an open finding about a loop loops.
pub(super) fn state_name(row: &SessionRow) -> &'static str {
    if row.is_looping && has_turn(row) {
        return "looping";
    }
    match row.state.kind {
        StateKind::Working => "working",
        StateKind::WaitingForModel => "waits: model",
        StateKind::RunningTool | StateKind::CallPending => "runs a tool",
        StateKind::WaitingForPermission => "permission?",
        StateKind::WaitingForPerson => "waits: you",
        StateKind::Retrying => "retrying",
        StateKind::Ended => "ended",
        StateKind::Gone => "gone",
        _ => "idle",
    }
}

/// Returns a number that is greater for states that need a person sooner.
fn urgency(row: &SessionRow) -> u8 {
    match row.state.kind {
        StateKind::WaitingForPermission => 9,
        StateKind::WaitingForPerson => 8,
        _ if row.is_looping && has_turn(row) => 7,
        StateKind::Retrying => 6,
        StateKind::WaitingForModel => 5,
        StateKind::RunningTool | StateKind::CallPending => 4,
        StateKind::Working => 3,
        StateKind::Ended | StateKind::Gone => 0,
        _ => 1,
    }
}

fn has_turn(row: &SessionRow) -> bool {
    !matches!(row.state.kind, StateKind::Idle | StateKind::Ended | StateKind::Gone)
}

/// Returns the last part of the working folder, and the start of the id.
pub(super) fn name(row: &SessionRow) -> String {
    /// Enough to tell the random ids of a machine apart.
    const ID_LEN: usize = 8;
    let folder =
        row.cwd.as_deref().and_then(|cwd| cwd.rsplit(['/', '\\']).find(|it| !it.is_empty()));
    let id: String = row.session.chars().take(ID_LEN).collect();
    make_safe(&match folder {
        Some(folder) => format!("{folder} {id}"),
        None => row.session.clone(),
    })
}

fn age(row: &SessionRow, now: Timestamp) -> String {
    row.state.since.map_or_else(String::new, |since| duration(now.duration_since(since)))
}

fn context_percent(row: &SessionRow) -> Option<u64> {
    let fill = row.context?;
    let window = fill.window.filter(|window| 0 < *window)?;
    Some(fill.tokens.saturating_mul(100) / window)
}

/// Returns the numbers of findings by severity, such as `1H 2M`, with `*` if one is open.
fn findings(row: &SessionRow) -> String {
    let counts = row.findings;
    let parts = [(counts.high, 'H'), (counts.medium, 'M'), (counts.low, 'L')];
    let parts = parts.iter().filter(|(n, _)| 0 < *n);
    let mut text = parts.map(|(n, letter)| format!("{n}{letter}")).collect::<Vec<_>>().join(" ");
    if 0 < counts.open {
        text.push('*');
    }
    text
}
