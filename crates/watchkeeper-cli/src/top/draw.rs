use ratatui::{
    Frame,
    layout::{Alignment, Constraint, Layout, Rect},
    style::{Color, Modifier, Style},
    text::{Line, Span},
    widgets::{Block, Borders, Cell, Clear, Paragraph, Row, Table, Wrap},
};
use watchkeeper_core::{
    Severity, Status,
    author::{Evidence, StateKind, make_safe},
};
use watchkeeper_page::{FindingRow, SessionRow};

use super::{
    app::App,
    columns::{Column, name, state_name},
    keys::help,
};
use crate::numbers::{counted, dollars, duration, short};

/// The height of the lower part of the screen.
const DETAIL_HEIGHT: u16 = 9;
/// The height below which the screen has no lower part.
const MIN_HEIGHT_WITH_DETAIL: u16 = 20;

/// The help about columns.
const COLUMNS_HELP: &str = "\
STATE     permission?, waits: you: a person is needed
          looping: a finding about a loop is open
SINCE     the time since the state began
CTX       the fill of the context window
FINDINGS  H high, M medium, L low; * one of them is open";

/// Draws the state of the screen.
pub(super) fn draw(frame: &mut Frame<'_>, app: &mut App) {
    let area = frame.area();
    let has_detail = MIN_HEIGHT_WITH_DETAIL <= area.height;
    let detail_height = if has_detail { DETAIL_HEIGHT } else { 0 };
    let [header, table, detail, footer] = Layout::vertical([
        Constraint::Length(2),
        Constraint::Fill(1),
        Constraint::Length(detail_height),
        Constraint::Length(1),
    ])
    .areas(area);
    draw_header(frame, app, header);
    draw_table(frame, app, table);
    if has_detail {
        draw_detail(frame, app, detail);
    }
    draw_footer(frame, app, footer);
    if app.shows_help {
        draw_help(frame, area);
    }
}

fn draw_header(frame: &mut Frame<'_>, app: &App, area: Rect) {
    let totals = &app.totals;
    let bold = Style::new().add_modifier(Modifier::BOLD);
    let mut first = vec![
        Span::styled("watchkeeper", bold),
        Span::raw(format!("  {}", counted(totals.sessions, "session"))),
    ];
    let mut count = |n: usize, text: &str, color: Color| {
        if 0 < n {
            let style = paint(app, color).add_modifier(Modifier::BOLD);
            first.push(Span::raw("  "));
            first.push(Span::styled(format!("{n} {text}"), style));
        }
    };
    count(app.n_waiting, "waiting for you", Color::Yellow);
    count(app.n_looping, "looping", Color::Red);
    let time = app.now.strftime("%H:%M:%S UTC").to_string();
    let findings = &totals.findings;
    let second = format!(
        "{}  {} tokens  {} open of {}",
        dollars(totals.cost_usd),
        short(totals.tokens.total()),
        findings.open,
        counted(findings.high + findings.medium + findings.low, "finding"),
    );
    let first = Line::from(first);
    let has_room = first.width() + time.len() < usize::from(area.width);
    frame.render_widget(Paragraph::new(vec![first, Line::from(second)]), area);
    if has_room {
        frame.render_widget(Paragraph::new(time).alignment(Alignment::Right), area);
    }
}

fn draw_table(frame: &mut Frame<'_>, app: &mut App, area: Rect) {
    if app.rows.is_empty() {
        let text = match (app.totals.sessions, &app.filter[..]) {
            (0, _) => "No session yet. Sessions appear when an agent writes its first line.",
            (_, "") => "All sessions have ended; press e to show them.",
            _ => "No session matches the filter; press Esc to remove it.",
        };
        frame.render_widget(Paragraph::new(text).alignment(Alignment::Center), area);
        return;
    }
    let aligned = |column: Column, text: String| {
        let line = Line::from(text);
        if column.is_number() { line.alignment(Alignment::Right) } else { line }
    };
    let columns = Column::shown(area.width);
    let titles = columns.iter().map(|column| {
        let mut title = column.title().to_owned();
        if *column == app.sort {
            title.insert(0, if app.is_reversed { '^' } else { 'v' });
        }
        Cell::from(aligned(*column, title))
    });
    let title_style = Style::new().add_modifier(Modifier::REVERSED);
    let titles = Row::new(titles).style(title_style);
    let rows = app.rows.iter().map(|row| {
        Row::new(columns.iter().map(|column| {
            let line = aligned(*column, column.text(row, app.now));
            Cell::from(line).style(cell_style(app, *column, row))
        }))
    });
    let widths = columns.iter().map(|column| match column.width() {
        Some(width) => Constraint::Length(width),
        None => Constraint::Fill(1),
    });
    let table = Table::new(rows, widths)
        .header(titles)
        .column_spacing(1)
        .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED));
    frame.render_stateful_widget(table, area, &mut app.table);
}

/// Returns the style of a cell. A color only repeats the text.
fn cell_style(app: &App, column: Column, row: &SessionRow) -> Style {
    let color = match column {
        Column::State => match row.state.kind {
            StateKind::WaitingForPermission | StateKind::WaitingForPerson => Color::Yellow,
            StateKind::Idle | StateKind::Ended | StateKind::Gone => {
                return Style::new().add_modifier(Modifier::DIM);
            }
            _ if row.is_looping => Color::Red,
            StateKind::Retrying => Color::Magenta,
            _ => Color::Green,
        },
        Column::Findings if 0 < row.findings.open => Color::Red,
        _ => return Style::new(),
    };
    paint(app, color)
}

fn paint(app: &App, color: Color) -> Style {
    if app.has_colors { Style::new().fg(color) } else { Style::new() }
}

/// Draws the selected session: the proof of its state, and its findings.
fn draw_detail(frame: &mut Frame<'_>, app: &App, area: Rect) {
    let messages = app.messages().latest(1);
    let mut lines = Vec::new();
    let title = match app.selected() {
        None => String::new(),
        Some(row) => {
            lines.push(state_line(app, row));
            lines.push(facts_line(row));
            format!(" {} ", name(row))
        }
    };
    let n_free = usize::from(area.height).saturating_sub(lines.len() + 1 + messages.len());
    // The open findings first, each group with the latest first.
    let mut findings: Vec<&FindingRow> = app.findings.iter().rev().collect();
    findings.sort_by_key(|row| row.finding.status != Status::Open);
    lines.extend(findings.into_iter().take(n_free).map(|row| finding_line(app, row)));
    let block = Block::new().borders(Borders::TOP).title(title);
    frame.render_widget(Paragraph::new(lines).block(block), area);
    if let Some(message) = messages.first() {
        let last = Rect { y: area.bottom().saturating_sub(1), height: 1, ..area };
        let style = Style::new().add_modifier(Modifier::DIM);
        frame.render_widget(Paragraph::new(make_safe(message)).style(style), last);
    }
}

fn state_line(app: &App, row: &SessionRow) -> Line<'static> {
    let state = &row.state;
    let since = state.since.map(|since| {
        let time = duration(app.now.duration_since(since));
        format!(" for {time}, since {}", since.strftime("%H:%M:%S UTC"))
    });
    let agent = state.agent.as_ref().map(|agent| format!(", sub-agent {}", make_safe(agent)));
    let proof = state.proof.as_ref().map(|proof| format!("; proof: {}", place(proof)));
    let details: String = [since, agent, proof].into_iter().flatten().collect();
    Line::from(format!("{}{details}", state_name(row)))
}

/// Returns the event, and its file and line.
fn place(evidence: &Evidence) -> String {
    let Evidence { file, line, event, .. } = evidence;
    match (file, line) {
        (Some(file), Some(line)) => format!("{event} in {}:{line}", make_safe(file)),
        _ => (*event).to_owned(),
    }
}

fn facts_line(row: &SessionRow) -> Line<'static> {
    let source = row.source.as_deref().unwrap_or("unknown source");
    let mut parts = vec![make_safe(source)];
    parts.extend(row.model.as_deref().map(make_safe));
    parts.push(counted(row.events, "event"));
    if 0 < row.sub_agents {
        parts.push(counted(row.sub_agents, "sub-agent"));
    }
    parts.push(make_safe(&row.session));
    Line::from(parts.join(", "))
}

fn finding_line(app: &App, row: &FindingRow) -> Line<'static> {
    let FindingRow { finding, .. } = row;
    let is_open = finding.status == Status::Open;
    let color = match finding.severity {
        _ if !is_open => Color::Reset,
        Severity::High => Color::Red,
        Severity::Medium => Color::Yellow,
        Severity::Low => Color::Cyan,
    };
    let status = if is_open { "open " } else { "ended" };
    let severity = format!("{status} {:<6} ", finding.severity.name());
    let text = format!("{}: {}", make_safe(&finding.detector), make_safe(&finding.message));
    Line::from(vec![Span::styled(severity, paint(app, color)), Span::raw(text)])
}

fn draw_footer(frame: &mut Frame<'_>, app: &App, area: Rect) {
    let text = if app.is_typing() {
        format!("filter: {}_   Enter keeps, Esc removes", make_safe(&app.filter))
    } else if app.filter.is_empty() {
        "F1 help  F4 filter  F6 sort  e ended  F10 quit".to_owned()
    } else {
        format!("F1 help  F4 filter: {}  Esc remove  F10 quit", make_safe(&app.filter))
    };
    let style = Style::new().add_modifier(Modifier::REVERSED);
    frame.render_widget(Paragraph::new(text).style(style), area);
}

fn draw_help(frame: &mut Frame<'_>, area: Rect) {
    let keys = help().map(Line::from);
    let columns = COLUMNS_HELP.lines().map(Line::from);
    let lines: Vec<Line<'_>> = keys.chain([Line::default()]).chain(columns).collect();
    let height = u16::try_from(lines.len() + 2).unwrap_or(u16::MAX).min(area.height);
    let width = 66.min(area.width);
    let area = Rect {
        x: area.x + (area.width - width) / 2,
        y: area.y + (area.height - height) / 2,
        width,
        height,
    };
    frame.render_widget(Clear, area);
    let block = Block::bordered().title(" help ");
    frame.render_widget(Paragraph::new(lines).wrap(Wrap { trim: false }).block(block), area);
}
