use std::{
    cmp::Reverse,
    io::{self, Write},
};

use schemars::JsonSchema;
use serde::Serialize;
use watchkeeper_core::Severity;

use crate::{
    assets::{self, embedded_json},
    detail::{DetectorMeasures, SessionDetail},
    finding::FindingRow,
    recorder::Recorder,
    row::{SessionRow, Totals},
};

/// The size of the rows in a report, in bytes.
const MAX_ROWS: usize = 1_400_000;
/// The size of the findings in a report, in bytes.
const MAX_FINDINGS: usize = 800_000;
/// The size of the notices in a report, in bytes.
const MAX_NOTICES: usize = 100_000;
/// The number of values in a row for which there was no room, after which a list is full.
const MAX_REFUSED: usize = 64;
/// The size of all lists in a report, in bytes. Timelines have the room that the others leave.
const MAX_LISTS: usize = 4_700_000;
/// The number of bars in all timelines of a report. With its text, a bar takes about 130 bytes.
const MAX_BARS: usize = 32_000;
/// The number of bars from which on a timeline is not made coarser.
const MIN_BARS: usize = 128;

/// A report of recorded sessions, as one page that needs no other file and no network.
///
/// Its size is less than 5 MB for any number of sessions. Beyond the limits, it contains the rows
/// and findings of the most severe sessions, and coarser timelines, first of the sessions with
/// findings, then of the most expensive and of the latest ones. The page shows how many are omitted.
/// The same report is the same page, byte by byte.
#[derive(Debug)]
pub struct Report<'a> {
    /// The version of the program.
    pub version: &'a str,
    /// The sessions in the order of the report.
    pub sessions: Vec<ReportedSession<'a>>,
    /// Messages about files that were not read, the most important ones first.
    pub notices: Vec<Notice>,
    /// Lines about sessions and findings that a person chose to leave out.
    pub hidden: Vec<String>,
}

/// A session of a report.
#[derive(Debug)]
pub struct ReportedSession<'a> {
    /// The row, whose numbers of findings are set by the report.
    pub row: SessionRow,
    /// The recorded timeline.
    pub recorder: &'a Recorder,
    /// The findings.
    pub findings: Vec<FindingRow>,
    /// The measures of the detectors that reported a finding, if they were recorded.
    pub measures: &'a [DetectorMeasures],
}

/// A message about files that were not read, or about the monitor itself.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Notice {
    /// Whether the message is about an error, in place of a warning.
    pub is_error: bool,
    /// The file, if there is one.
    pub file: Option<String>,
    /// The text, safe for a terminal.
    pub text: String,
}

/// The data in the page.
#[derive(Serialize)]
struct Data<'a> {
    mode: &'static str,
    version: &'a str,
    totals: Totals,
    omitted: Omitted,
    hidden: &'a [String],
}

/// Numbers of what a report leaves out.
#[derive(Default, Serialize)]
struct Omitted {
    rows: usize,
    findings: usize,
    details: usize,
    notices: usize,
}

/// JSON values of a list, up to a size.
struct List {
    json: String,
    max_len: usize,
    n_values: usize,
    /// The number of values since the last one that there was room for.
    n_refused: usize,
}

impl List {
    fn new(max_len: usize) -> Self {
        Self { json: "[".to_owned(), max_len, n_values: 0, n_refused: 0 }
    }

    /// Returns whether there is room for no other value: one that is very large may be followed by
    /// smaller ones.
    fn is_full(&self) -> bool {
        MAX_REFUSED <= self.n_refused
    }

    /// Appends a value if there is room. Returns whether there was.
    fn push(&mut self, value: &impl Serialize) -> io::Result<bool> {
        if self.is_full() {
            return Ok(false);
        }
        let json = embedded_json(value)?;
        if self.max_len < self.json.len() + json.len() {
            self.n_refused += 1;
            return Ok(false);
        }
        self.n_refused = 0;
        if 0 < self.n_values {
            self.json.push_str(",\n");
        }
        self.json.push_str(&json);
        self.n_values += 1;
        Ok(true)
    }

    fn finish(mut self) -> String {
        self.json.push(']');
        self.json
    }
}

/// Returns the live page, without any session. Its script reads them from the API of the server
/// that the page comes from, as the crate `watchkeeper-http` has it.
pub fn live_page(version: &str) -> String {
    let (totals, omitted) = (Totals::default(), Omitted::default());
    let data = Data { mode: "live", version, totals, omitted, hidden: &[] };
    let data = embedded_json(&data).expect("a version and numbers are JSON");
    let data = data.strip_suffix('}').unwrap_or(&data);
    let lists = "\"notices\":[],\"sessions\":[],\"findings\":[],\"details\":[]";
    assets::live(&format!("{data},{lists}}}"))
}

impl Report<'_> {
    /// Writes the page.
    pub fn write(mut self, out: &mut dyn Write) -> io::Result<()> {
        let mut totals = Totals::default();
        for session in &mut self.sessions {
            session.row.findings = crate::FindingCounts::of(&session.findings);
            session.row.is_looping = session.findings.iter().any(FindingRow::is_open_loop);
            totals.add(&session.row);
        }
        let mut omitted = Omitted::default();
        let (mut rows, mut findings) = (List::new(MAX_ROWS), List::new(MAX_FINDINGS));
        for ReportedSession { row, findings: of_session, .. } in &self.sessions {
            omitted.rows += usize::from(!rows.push(row)?);
            for finding in of_session {
                omitted.findings += usize::from(!findings.push(finding)?);
            }
        }
        let mut notices = List::new(MAX_NOTICES);
        for notice in &self.notices {
            omitted.notices += usize::from(!notices.push(notice)?);
        }
        let others = rows.json.len() + findings.json.len() + notices.json.len();
        let mut details = List::new(MAX_LISTS - others);
        let max_bars = self.max_bars();
        for session in ranked(&self.sessions) {
            omitted.details += usize::from(!add_detail(session, max_bars, &mut details)?);
        }
        let Self { version, hidden, .. } = &self;
        let data = Data { mode: "report", version, totals, omitted, hidden };
        let data = embedded_json(&data)?;
        // The lists are members of the same object.
        let data = data.strip_suffix('}').unwrap_or(&data);
        let lists = [
            ("notices", notices),
            ("sessions", rows),
            ("findings", findings),
            ("details", details),
        ];
        let lists = lists.map(|(name, list)| format!(",\n\"{name}\":{}", list.finish())).concat();
        out.write_all(assets::page(&format!("{data}{lists}}}")).as_bytes())
    }

    /// Returns the largest number of bars in one timeline, so that all together have few enough.
    fn max_bars(&self) -> usize {
        let mut n_bars: Vec<usize> = self.sessions.iter().map(|it| it.recorder.n_bars()).collect();
        n_bars.sort_unstable();
        let mut n_left = MAX_BARS;
        for (idx, n) in n_bars.iter().enumerate() {
            let share = n_left / (n_bars.len() - idx);
            if share < *n {
                return share.max(MIN_BARS);
            }
            n_left -= n;
        }
        usize::MAX
    }
}

/// Adds a timeline if there is room, if need be a coarser one.
fn add_detail(
    session: &ReportedSession<'_>,
    mut max_bars: usize,
    details: &mut List,
) -> io::Result<bool> {
    if details.is_full() {
        return Ok(false);
    }
    loop {
        let detail = session.recorder.detail(session.row.clone(), max_bars);
        let measures = session.measures.to_vec();
        if details.push(&SessionDetail { measures, ..detail })? {
            return Ok(true);
        }
        max_bars = max_bars.min(session.recorder.n_bars()) / 2;
        if max_bars < MIN_BARS {
            return Ok(false);
        }
    }
}

/// Returns the sessions in the order in which they receive a timeline: those with findings by
/// severity and cost, then the most expensive and the latest of the others in turn.
fn ranked<'a>(sessions: &'a [ReportedSession<'a>]) -> Vec<&'a ReportedSession<'a>> {
    let severity = |session: &ReportedSession<'_>| -> Option<Severity> {
        session.findings.iter().map(|row| row.finding.severity).max()
    };
    let cost = |session: &ReportedSession<'_>| session.row.cost_usd.unwrap_or(0.0);
    let (mut found, others): (Vec<_>, Vec<_>) =
        sessions.iter().partition(|session| !session.findings.is_empty());
    found.sort_by(|a, b| severity(b).cmp(&severity(a)).then(cost(b).total_cmp(&cost(a))));
    let mut by_cost: Vec<usize> = (0..others.len()).collect();
    let mut by_time = by_cost.clone();
    by_cost.sort_by(|a, b| cost(others[*b]).total_cmp(&cost(others[*a])));
    by_time.sort_by_key(|idx| Reverse(others[*idx].row.started_at));
    let mut is_ranked = vec![false; others.len()];
    for idx in by_cost.into_iter().zip(by_time).flat_map(|(a, b)| [a, b]) {
        if !std::mem::replace(&mut is_ranked[idx], true) {
            found.push(others[idx]);
        }
    }
    found
}
