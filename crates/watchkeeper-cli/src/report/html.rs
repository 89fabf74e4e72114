use std::io::{self, Write};

use watchkeeper_core::{Status, author::make_safe};
use watchkeeper_page::{FindingRow, Report as Page, ReportedSession};

use super::{
    episodes::Episode,
    notices::Notice,
    summary::{Report, SessionReport},
};

/// Writes the report as one page.
pub(super) fn write(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    let notice = |notice: Notice<'_>| watchkeeper_page::Notice {
        is_error: notice.is_error,
        file: notice.file.map(|file| make_safe(&file.to_string_lossy())),
        text: notice.text,
    };
    let page = Page {
        version: env!("CARGO_PKG_VERSION"),
        sessions: report.sessions.iter().filter_map(reported).collect(),
        notices: report.notices().into_iter().map(notice).collect(),
        hidden: report.hidden.lines(),
    };
    page.write(out)
}

/// Returns a session whose timeline was recorded. Its totals are those of the report.
fn reported(session: &SessionReport) -> Option<ReportedSession<'_>> {
    let page = session.page.as_deref()?;
    let mut row = page.row.clone();
    (row.tokens, row.cost_usd) = (session.tokens, session.cost_usd);
    row.unpriced_calls = session.unpriced_calls;
    let findings = session.findings.iter().map(finding).collect();
    Some(ReportedSession { row, recorder: &page.recorder, findings, measures: &page.measures })
}

fn finding(episode: &Episode) -> FindingRow {
    let Episode { finding, ended_at, resolution, tokens, cost_usd } = episode;
    FindingRow {
        // In a report, the end of an open finding is the end of its session.
        ended_at: ended_at.filter(|_| finding.status == Status::Resolved),
        resolution: resolution.clone(),
        tokens: *tokens,
        cost_usd: *cost_usd,
        ..FindingRow::new(finding.clone())
    }
}
