use std::borrow::Cow;

use watchkeeper_core::{
    Finding, Severity, Status,
    author::{Evidence, known_time, make_safe},
};

/// The longest line of text, line break included, in bytes.
pub const MAX_LINE: usize = 2048;

/// The longest part of a detector's name that is shown, in bytes.
const MAX_DETECTOR: usize = 64;
/// The longest end of a file's path that is shown, in bytes.
const MAX_PATH: usize = 512;
/// The longest id of a session or agent that is not shortened, in characters.
const MAX_ID: usize = 13;

/// The longest character in UTF-8, in bytes.
const LONGEST_CHAR: usize = 4;

/// Shown for the time of a finding in a session without times; as long as a time.
const NO_TIME: &str = "(no time)";

const DIM: &str = "2";
const GREEN: &str = "32";

/// Returns a finding as one line for a person, without a line break:
///
/// ```text
/// 10:14:07Z [HIGH]   repeated_call 5b1e0c2a…89ab: `Bash` returned the same result 4 times --> 5b1e.jsonl:812
/// ```
///
/// The time is UTC, as in the files of agents; `(no time)` if the session has no times. A long id
/// is shortened to its first eight and last four characters. The location is the last one in the
/// evidence, and the link to the runbook follows in an open finding. `styled` adds SGR codes for a
/// terminal. The line is always shorter than [`MAX_LINE`] and safe for a terminal.
pub fn render_line(finding: &Finding, styled: bool) -> String {
    let paint = |code: &str, text: String| {
        if styled { format!("\x1b[{code}m{text}\x1b[0m") } else { text }
    };
    let is_resolved = finding.status == Status::Resolved;
    let tag = format!("[{}]", finding.severity.name().to_ascii_uppercase());
    let padding = " ".repeat("[MEDIUM]".len() - tag.len());
    let color = if is_resolved { GREEN } else { color(finding.severity) };

    let time = known_time(finding.at).map(|at| at.strftime("%H:%M:%SZ").to_string());
    let mut line = paint(DIM, time.unwrap_or_else(|| NO_TIME.to_owned()));
    line.push(' ');
    line.push_str(&paint(color, tag));
    line.push_str(&padding);
    line.push(' ');
    line.push_str(&cut_end(&finding.detector, MAX_DETECTOR));
    if !finding.session.as_str().is_empty() {
        line.push(' ');
        line.push_str(&short(finding.session.as_str()));
    }
    if let Some(agent) = &finding.agent {
        line.push('/');
        line.push_str(&short(agent.as_str()));
    }
    if is_resolved {
        line.push(' ');
        line.push_str(&paint(GREEN, "resolved".to_owned()));
    }
    if let Some(detector) = &finding.replaces {
        line.push_str(" replaces ");
        line.push_str(&cut_end(detector, MAX_DETECTOR));
    }
    line.push_str(": ");

    let location = finding.evidence.iter().rev().find_map(location);
    let location = location.map(|it| format!(" --> {it}")).unwrap_or_default();
    let runbook = finding.annotations.runbook_url.as_ref().filter(|_| !is_resolved);
    let runbook = runbook.map(|link| format!(" (runbook: {link})")).unwrap_or_default();
    let end = match location + &runbook {
        end if end.is_empty() => end,
        end => paint(DIM, end),
    };
    let room = MAX_LINE - 1 - line.len() - end.len();
    line.push_str(&cut_end(&finding.message, room));
    line.push_str(&end);
    line
}

const fn color(severity: Severity) -> &'static str {
    match severity {
        Severity::High => "1;31",
        Severity::Medium => "33",
        Severity::Low => "36",
    }
}

fn location(evidence: &Evidence) -> Option<String> {
    let file = cut_start(evidence.file.as_deref()?, MAX_PATH);
    Some(evidence.line.map_or_else(|| file.to_string(), |line| format!("{file}:{line}")))
}

/// Returns the beginning and the end of a long id: ids that are ordered by
/// time begin alike.
fn short(id: &str) -> String {
    const FIRST: usize = 8;
    const LAST: usize = 4;
    let Some((from, _)) = id.char_indices().nth(FIRST) else { return make_safe(id) };
    if id.chars().nth(MAX_ID).is_none() {
        return make_safe(id);
    }
    let (to, _) = id.char_indices().nth_back(LAST - 1).unwrap_or_default();
    make_safe(&format!("{}…{}", &id[..from], &id[to..]))
}

/// Makes text safe, and cuts its end if the text is longer than `max` bytes.
fn cut_end(text: &str, max: usize) -> Cow<'_, str> {
    // Safe text is never shorter than the original, so this part is enough, and
    // one more character shows that the text was cut.
    let safe = make_safe(&text[..boundary_before(text, max + LONGEST_CHAR)]);
    if safe.len() <= max {
        return safe.into();
    }
    let end = boundary_before(&safe, max.saturating_sub("…".len()));
    format!("{}…", &safe[..end]).into()
}

/// Makes text safe, and cuts its start if the text is longer than `max` bytes.
fn cut_start(text: &str, max: usize) -> Cow<'_, str> {
    let start = boundary_after(text, text.len().saturating_sub(max + LONGEST_CHAR));
    let safe = make_safe(&text[start..]);
    if safe.len() <= max {
        return safe.into();
    }
    let start = boundary_after(&safe, safe.len() - max.saturating_sub("…".len()));
    format!("…{}", &safe[start..]).into()
}

/// Returns the last character boundary of `text` up to `at`.
fn boundary_before(text: &str, at: usize) -> usize {
    (0..=at.min(text.len())).rev().find(|it| text.is_char_boundary(*it)).unwrap_or_default()
}

/// Returns the first character boundary of `text` from `at` on.
fn boundary_after(text: &str, at: usize) -> usize {
    (at..text.len()).find(|it| text.is_char_boundary(*it)).unwrap_or(text.len())
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;
    use proptest::prelude::*;
    use watchkeeper_core::{Severity, Status, author::untimed};

    use super::{MAX_LINE, render_line};
    use crate::samples::{annotated, any_finding, finding, is_harmless};

    #[test]
    fn a_line_has_time_detector_message_and_location() {
        let mut finding = finding();
        assert_snapshot!(render_line(&finding, false), @"10:14:07Z [HIGH]   repeated_call 5b1e0c2a…89ab: `Bash` returned the same result for the same call 4 times in 31s: `make` returns `no rule to make it` --> /home/ada/.claude/projects/shop/5b1e.jsonl:812");
        finding.severity = Severity::Medium;
        finding.agent = Some("reviewer".into());
        finding.session = "s1".into();
        finding.evidence.clear();
        assert_snapshot!(render_line(&finding, false), @"10:14:07Z [MEDIUM] repeated_call s1/reviewer: `Bash` returned the same result for the same call 4 times in 31s: `make` returns `no rule to make it`");
    }

    #[test]
    fn a_finding_names_the_detector_that_it_replaces() {
        let mut finding = finding();
        finding.replaces = Some("failure_streak".into());
        finding.message = "the same error 3 times".to_owned();
        finding.evidence.clear();
        assert_snapshot!(render_line(&finding, false), @"10:14:07Z [HIGH]   repeated_call 5b1e0c2a…89ab replaces failure_streak: the same error 3 times");
    }

    #[test]
    fn a_line_ends_with_the_runbook_while_the_finding_is_open() {
        let mut finding = annotated();
        finding.message = "m".into();
        let styled = render_line(&finding, true).replace('\x1b', "ESC");
        assert_snapshot!(styled, @"ESC[2m10:14:07ZESC[0m ESC[1;31m[HIGH]ESC[0m   repeated_call 5b1e0c2a…89ab: mESC[2m --> /home/ada/.claude/projects/shop/5b1e.jsonl:812 (runbook: https://wiki.example/loops?from=a&to=b)ESC[0m");
        finding.status = Status::Resolved;
        assert!(!render_line(&finding, false).contains("runbook"));
    }

    #[test]
    fn a_resolved_finding_is_marked() {
        let mut finding = finding();
        finding.status = Status::Resolved;
        finding.evidence.clear();
        assert_snapshot!(render_line(&finding, false), @"10:14:07Z [HIGH]   repeated_call 5b1e0c2a…89ab resolved: `Bash` returned the same result for the same call 4 times in 31s: `make` returns `no rule to make it`");
    }

    #[test]
    fn a_finding_about_the_monitor_has_no_session() {
        let mut finding = finding();
        finding.session = "".into();
        finding.detector = "sinks".into();
        finding.severity = Severity::Low;
        finding.message = "`ops` dropped 3 findings".into();
        finding.evidence.clear();
        assert_snapshot!(render_line(&finding, false), @"10:14:07Z [LOW]    sinks: `ops` dropped 3 findings");
    }

    #[test]
    fn a_finding_of_a_session_without_times_has_no_time() {
        let mut finding = finding();
        finding.at = untimed(7);
        finding.evidence.clear();
        finding.message = "m".into();
        assert_snapshot!(render_line(&finding, false), @"(no time) [HIGH]   repeated_call 5b1e0c2a…89ab: m");
    }

    #[test]
    fn styles_are_sgr_codes() {
        let mut finding = finding();
        finding.message = "m".into();
        let styled = render_line(&finding, true).replace('\x1b', "ESC");
        assert_snapshot!(styled, @"ESC[2m10:14:07ZESC[0m ESC[1;31m[HIGH]ESC[0m   repeated_call 5b1e0c2a…89ab: mESC[2m --> /home/ada/.claude/projects/shop/5b1e.jsonl:812ESC[0m");
    }

    #[test]
    fn a_long_message_leaves_room_for_the_location() {
        let mut finding = finding();
        finding.message = "é".repeat(5000);
        let line = render_line(&finding, true);
        assert!((MAX_LINE - 4..MAX_LINE).contains(&line.len()), "{}", line.len());
        assert!(
            line.ends_with("é…\x1b[2m --> /home/ada/.claude/projects/shop/5b1e.jsonl:812\x1b[0m")
        );
        finding.evidence[1].file = Some("/d".repeat(5000).into());
        let line = render_line(&finding, false);
        assert!((MAX_LINE - 4..MAX_LINE).contains(&line.len()), "{}", line.len());
        assert!(line.contains("é… --> …") && line.ends_with("/d/d/d:812"), "{line}");
    }

    /// Removes the styles that this module adds.
    fn without_styles(line: &str) -> String {
        ["0", "1;31", "2", "32", "33", "36"]
            .iter()
            .fold(line.to_owned(), |line, it| line.replace(&format!("\x1b[{it}m"), ""))
    }

    proptest! {
        #[test]
        fn every_finding_is_one_harmless_line(finding in any_finding()) {
            let plain = render_line(&finding, false);
            prop_assert!(plain.chars().all(is_harmless), "{:?}", plain);
            prop_assert!(plain.len() < MAX_LINE);

            let styled = render_line(&finding, true);
            prop_assert!(styled.len() < MAX_LINE);
            prop_assert!(without_styles(&styled).chars().all(is_harmless), "{:?}", styled);
            if plain.len() < MAX_LINE - 64 {
                prop_assert_eq!(without_styles(&styled), plain);
            }
        }
    }
}
