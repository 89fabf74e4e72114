use std::borrow::Cow;

use watchkeeper_core::{Evidence, Finding, Severity, Status, make_safe};

/// The longest line of text, its end included, in bytes.
pub const MAX_LINE: usize = 2048;

/// How much of a detector's name is shown, in bytes.
const MAX_DETECTOR: usize = 64;
/// How much of a file's path is shown, in bytes, from its end.
const MAX_PATH: usize = 512;
/// The longest id of a session or an agent that is shown whole, in characters.
const MAX_ID: usize = 13;

/// The longest character, in bytes.
const LONGEST_CHAR: usize = 4;

const DIM: &str = "2";
const GREEN: &str = "32";

/// Writes a finding as one line for a person, without the end of the line:
///
/// ```text
/// 10:14:07Z [HIGH]   repeated_call 5b1e0c2a…89ab: `Bash` gave the same answer 4 times --> 5b1e.jsonl:812
/// ```
///
/// The time is UTC, as in the files of agents; a long id is cut to its first
/// eight characters and its last four; the place is the last that the finding
/// points at. Styled, it holds SGR codes for a terminal. Whatever the finding
/// holds, the line is shorter than [`MAX_LINE`] and safe for a terminal.
pub fn render_line(finding: &Finding, styled: bool) -> String {
    let paint = |code: &str, text: String| {
        if styled { format!("\x1b[{code}m{text}\x1b[0m") } else { text }
    };
    let is_resolved = finding.status == Status::Resolved;
    let tag = format!("[{}]", finding.severity.name().to_ascii_uppercase());
    let padding = " ".repeat("[MEDIUM]".len() - tag.len());
    let color = if is_resolved { GREEN } else { color(finding.severity) };

    let mut res = paint(DIM, finding.at.strftime("%H:%M:%SZ").to_string());
    res.push(' ');
    res.push_str(&paint(color, tag));
    res.push_str(&padding);
    res.push(' ');
    res.push_str(&cut_end(&finding.detector, MAX_DETECTOR));
    if !finding.session.as_str().is_empty() {
        res.push(' ');
        res.push_str(&short(finding.session.as_str()));
    }
    if let Some(agent) = &finding.agent {
        res.push('/');
        res.push_str(&short(agent.as_str()));
    }
    if is_resolved {
        res.push(' ');
        res.push_str(&paint(GREEN, "resolved".to_owned()));
    }
    res.push_str(": ");

    let place = finding.evidence.iter().rev().find_map(place);
    let place = place.map(|it| paint(DIM, format!(" --> {it}"))).unwrap_or_default();
    let room = MAX_LINE - 1 - res.len() - place.len();
    res.push_str(&cut_end(&finding.message, room));
    res.push_str(&place);
    res
}

const fn color(severity: Severity) -> &'static str {
    match severity {
        Severity::High => "1;31",
        Severity::Medium => "33",
        Severity::Low => "36",
    }
}

fn place(evidence: &Evidence) -> Option<String> {
    let file = cut_start(evidence.file.as_deref()?, MAX_PATH);
    Some(evidence.line.map_or_else(|| file.to_string(), |line| format!("{file}:{line}")))
}

/// What is enough of an id to know it by. The ends of a long one, since ids
/// that are ordered by time begin alike.
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

/// Makes text safe, and cuts its end off if it is longer than `max` bytes.
fn cut_end(text: &str, max: usize) -> Cow<'_, str> {
    // What is safe is no shorter, so what is shown, and a character more to
    // tell that it was cut, is in here.
    let safe = make_safe(&text[..boundary_before(text, max + LONGEST_CHAR)]);
    if safe.len() <= max {
        return safe.into();
    }
    let end = boundary_before(&safe, max.saturating_sub("…".len()));
    format!("{}…", &safe[..end]).into()
}

/// Makes text safe, and cuts its start off if it is longer than `max` bytes.
fn cut_start(text: &str, max: usize) -> Cow<'_, str> {
    let start = boundary_after(text, text.len().saturating_sub(max + LONGEST_CHAR));
    let safe = make_safe(&text[start..]);
    if safe.len() <= max {
        return safe.into();
    }
    let start = boundary_after(&safe, safe.len() - max.saturating_sub("…".len()));
    format!("…{}", &safe[start..]).into()
}

/// The last place not after `at` where `text` can be cut.
fn boundary_before(text: &str, at: usize) -> usize {
    (0..=at.min(text.len())).rev().find(|it| text.is_char_boundary(*it)).unwrap_or_default()
}

/// The first place not before `at` where `text` can be cut.
fn boundary_after(text: &str, at: usize) -> usize {
    (at..text.len()).find(|it| text.is_char_boundary(*it)).unwrap_or(text.len())
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;
    use proptest::prelude::*;
    use watchkeeper_core::{Severity, Status};

    use super::{MAX_LINE, render_line};
    use crate::samples::{any_finding, finding, is_harmless};

    #[test]
    fn a_line_says_when_what_where() {
        let mut it = finding();
        assert_snapshot!(render_line(&it, false), @"10:14:07Z [HIGH]   repeated_call 5b1e0c2a…89ab: `Bash` gave the same answer to the same call 4 times in 31s --> /home/ada/.claude/projects/shop/5b1e.jsonl:812");
        it.severity = Severity::Medium;
        it.agent = Some("reviewer".into());
        it.session = "s1".into();
        it.evidence.clear();
        assert_snapshot!(render_line(&it, false), @"10:14:07Z [MEDIUM] repeated_call s1/reviewer: `Bash` gave the same answer to the same call 4 times in 31s");
    }

    #[test]
    fn the_end_of_a_condition_is_shown_as_such() {
        let mut it = finding();
        it.status = Status::Resolved;
        it.evidence.clear();
        assert_snapshot!(render_line(&it, false), @"10:14:07Z [HIGH]   repeated_call 5b1e0c2a…89ab resolved: `Bash` gave the same answer to the same call 4 times in 31s");
    }

    #[test]
    fn a_finding_about_the_monitor_names_no_session() {
        let mut it = finding();
        it.session = "".into();
        it.detector = "sinks".into();
        it.severity = Severity::Low;
        it.message = "`ops` dropped 3 findings".into();
        it.evidence.clear();
        assert_snapshot!(render_line(&it, false), @"10:14:07Z [LOW]    sinks: `ops` dropped 3 findings");
    }

    #[test]
    fn colours_are_sgr_codes() {
        let mut it = finding();
        it.message = "m".into();
        let styled = render_line(&it, true).replace('\x1b', "ESC");
        assert_snapshot!(styled, @"ESC[2m10:14:07ZESC[0m ESC[1;31m[HIGH]ESC[0m   repeated_call 5b1e0c2a…89ab: mESC[2m --> /home/ada/.claude/projects/shop/5b1e.jsonl:812ESC[0m");
    }

    #[test]
    fn a_long_message_leaves_room_for_the_place() {
        let mut it = finding();
        it.message = "é".repeat(5000);
        let line = render_line(&it, true);
        assert!((MAX_LINE - 4..MAX_LINE).contains(&line.len()), "{}", line.len());
        assert!(
            line.ends_with("é…\x1b[2m --> /home/ada/.claude/projects/shop/5b1e.jsonl:812\x1b[0m")
        );
        it.evidence[1].file = Some("/d".repeat(5000).into());
        let line = render_line(&it, false);
        assert!((MAX_LINE - 4..MAX_LINE).contains(&line.len()), "{}", line.len());
        assert!(line.contains("é… --> …") && line.ends_with("/d/d/d:812"), "{line}");
    }

    /// Takes away what this module itself may write.
    fn without_styles(line: &str) -> String {
        ["0", "1;31", "2", "32", "33", "36"]
            .iter()
            .fold(line.to_owned(), |line, it| line.replace(&format!("\x1b[{it}m"), ""))
    }

    proptest! {
        #[test]
        fn any_finding_is_one_harmless_line(finding in any_finding()) {
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
