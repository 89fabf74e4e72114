use std::collections::BTreeSet;

use watchkeeper_core::{
    Finding, Severity, Timestamp,
    author::{Evidence, Link, known_time, make_safe},
};

use crate::webhook::update::Update;

/// The longest name of a detector, in characters.
const MAX_NAME: usize = 64;
/// The longest text of a fact, in characters.
const MAX_FACT: usize = 200;
/// The longest description, in characters.
const MAX_TEXT: usize = 1000;

/// The longest line about a finding of a group: 20 lines fit into the text of a message.
const MAX_LINE: usize = 120;

/// A finding for people, or a group of them, with texts that are safe for one line of a terminal.
/// The format of a service still escapes the characters that mean something there.
pub(super) struct Summary {
    pub(super) title: String,
    /// A line for each finding.
    pub(super) text: String,
    pub(super) facts: Vec<(&'static str, String)>,
    /// The page that describes what to do.
    pub(super) runbook_url: Option<Link>,
    pub(super) urgency: Urgency,
    /// `None` for a session without times.
    pub(super) at: Option<Timestamp>,
}

/// The color of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Urgency {
    Over,
    Open(Severity),
}

impl Summary {
    pub(super) fn new(finding: &Finding, update: Update) -> Self {
        let (title, urgency) = (title(finding, update), urgency(finding, update));
        let mut facts = vec![("Session", finding.session.as_str().to_owned())];
        facts.extend(finding.agent.as_ref().map(|agent| ("Agent", agent.as_str().to_owned())));
        let labels = finding.labels.iter().map(|(name, value)| format!("{name}={value}"));
        facts.push(("Labels", labels.collect::<Vec<_>>().join(", ")));
        let tags: Vec<&str> = finding.annotations.tags.iter().map(|tag| &**tag).collect();
        facts.push(("Tags", tags.join(", ")));
        facts.extend(finding.evidence.iter().rev().find_map(location).map(|it| ("Location", it)));
        facts.retain(|(_, text)| !text.is_empty());
        let facts = facts.into_iter().map(|(name, text)| (name, cut(&text, MAX_FACT))).collect();
        let text = cut(&finding.message, MAX_TEXT);
        let runbook_url = finding.annotations.runbook_url.clone();
        let runbook_url = runbook_url.filter(|_| update != Update::Resolved);
        Self { title, text, facts, runbook_url, urgency, at: known_time(finding.at) }
    }

    /// Summarizes several findings, with the color of the most severe one.
    pub(super) fn of_group(updates: &[(&Finding, Update)]) -> Self {
        let line = |(finding, update): &(&Finding, Update)| {
            cut(&format!("{}: {}", title(finding, *update), finding.message), MAX_LINE)
        };
        let text: Vec<String> = updates.iter().map(line).collect();
        let urgency = updates.iter().map(|(finding, update)| urgency(finding, *update)).max();
        let sessions: BTreeSet<&str> =
            updates.iter().map(|(finding, _)| finding.session.as_str()).collect();
        let mut facts = vec![("Sessions", sessions.len().to_string())];
        if let [session] = Vec::from_iter(sessions)[..] {
            facts = vec![("Session", cut(session, MAX_FACT))];
        }
        Self {
            title: format!("{} findings", updates.len()),
            text: text.join("\n"),
            facts,
            runbook_url: None,
            urgency: urgency.unwrap_or(Urgency::Over),
            at: updates.iter().filter_map(|(finding, _)| known_time(finding.at)).max(),
        }
    }
}

fn title(finding: &Finding, update: Update) -> String {
    let detector = cut(&finding.detector, MAX_NAME);
    match update {
        Update::Opened => format!("{}: {detector}", capitalized(finding.severity)),
        Update::Escalated => format!("Now {}: {detector}", finding.severity),
        Update::Resolved => format!("Resolved: {detector}"),
    }
}

const fn urgency(finding: &Finding, update: Update) -> Urgency {
    match update {
        Update::Resolved => Urgency::Over,
        Update::Opened | Update::Escalated => Urgency::Open(finding.severity),
    }
}

const fn capitalized(severity: Severity) -> &'static str {
    match severity {
        Severity::Low => "Low",
        Severity::Medium => "Medium",
        Severity::High => "High",
    }
}

/// Returns the end of the path, which is the part that differs, and the line.
fn location(evidence: &Evidence) -> Option<String> {
    let file = evidence.file.as_deref()?;
    let start = file.char_indices().nth_back(MAX_FACT / 2).map_or(0, |(at, _)| at);
    let file = &file[start..];
    Some(evidence.line.map_or_else(|| file.to_owned(), |line| format!("{file}:{line}")))
}

/// Makes text safe, and cuts its end if the text is longer than `max` characters.
pub(super) fn cut(text: &str, max: usize) -> String {
    let end = text.char_indices().nth(max + 1).map_or(text.len(), |(at, _)| at);
    let mut safe = make_safe(&text[..end]);
    if let Some((last, _)) = safe.char_indices().nth(max - 1)
        && safe.chars().nth(max).is_some()
    {
        safe.truncate(last);
        safe.push('…');
    }
    safe
}

/// Escapes each character with `escape`, and cuts the end of the text if the result is
/// longer than `max` in UTF-16, which the services count in. No escape is cut.
pub(super) fn escaped(text: &str, max: usize, escape: impl Fn(char, &mut String)) -> String {
    let mut out = String::new();
    let mut len = 0;
    let mut piece = String::new();
    for c in text.chars() {
        piece.clear();
        escape(c, &mut piece);
        len += piece.encode_utf16().count();
        if max <= len {
            out.push('…');
            break;
        }
        out.push_str(&piece);
    }
    out
}
