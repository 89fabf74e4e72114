use std::{
    collections::BTreeMap,
    io::{self, Write},
};

use serde_json::{Value, json};
use watchkeeper_core::{
    Finding, Severity,
    author::{Annotations, known_time},
    embed::{DetectorEntry, Entry as _, Kinds},
};

use super::{episodes::Episode, notices::Notice, safe_json::write_pretty, summary::Report};

/// The project's page.
const PROJECT: &str = env!("CARGO_PKG_REPOSITORY");
/// Beginning of the packages of the detectors that ship with the program.
const SHIPPED: &str = "watchkeeper-detector-";

/// Writes SARIF 2.1.0 (OASIS). Detectors become rules, and findings results.
pub(super) fn write(
    report: &Report,
    kinds: &Kinds<DetectorEntry>,
    out: &mut dyn Write,
) -> io::Result<()> {
    let episodes = report.episodes();
    let detectors: BTreeMap<&str, &Finding> =
        episodes.iter().map(|it| (&*it.finding.detector, &it.finding)).collect();
    let rules: Vec<Value> = detectors
        .into_values()
        .map(|finding| rule(finding, kinds.get(&finding.kind).ok()))
        .collect();
    let results: Vec<Value> = episodes.into_iter().map(result).collect();
    let notices = report.notices();
    let is_successful = !notices.iter().any(|notice| notice.is_error);
    let notifications: Vec<Value> = notices.iter().map(notification).collect();
    let sarif = json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "watchkeeper",
                "version": env!("CARGO_PKG_VERSION"),
                "informationUri": PROJECT,
                "rules": rules,
            } },
            "invocations": [{
                "executionSuccessful": is_successful,
                "toolExecutionNotifications": notifications,
            }],
            "results": results,
        }],
    });
    write_pretty(&sarif, out)
}

/// Returns the rule of a detector, with the manual of its kind and the annotations of the policy.
fn rule(finding: &Finding, entry: Option<&DetectorEntry>) -> Value {
    let mut rule = json!({
        "id": finding.detector,
        "name": finding.kind,
        "properties": { "class": finding.class },
    });
    if let Some(entry) = entry {
        let (summary, manual) = (entry.summary(), entry.docs().trim_end());
        rule["shortDescription"] = json!({ "text": summary });
        rule["fullDescription"] = json!({ "text": summary });
        rule["help"] = json!({ "text": manual, "markdown": manual });
        if entry.origin().starts_with(SHIPPED) {
            let folder = format!("{PROJECT}/blob/main/detectors/{}", entry.kind());
            rule["helpUri"] = format!("{folder}/README.md").into();
        }
    }
    let Annotations { runbook_url, tags, references, .. } = &*finding.annotations;
    if let Some(link) = runbook_url {
        rule["helpUri"] = json!(link);
    }
    if !tags.is_empty() {
        rule["properties"]["tags"] = json!(tags);
    }
    if !references.is_empty() {
        rule["properties"]["references"] = json!(references);
    }
    rule
}

fn result(episode: &Episode) -> Value {
    let finding = &episode.finding;
    let level = match finding.severity {
        Severity::Low => "note",
        Severity::Medium => "warning",
        Severity::High => "error",
    };
    let places: Vec<Value> = finding
        .evidence
        .iter()
        .filter_map(|evidence| {
            let line = evidence.line.unwrap_or(1).max(1);
            Some(location(evidence.file.as_deref()?, Some(line)))
        })
        .collect();
    // The last evidence is the latest occurrence.
    let (related, location) = places.split_at(places.len().saturating_sub(1));
    json!({
        "ruleId": finding.detector,
        "level": level,
        "message": { "text": plain_text(&finding.message) },
        "locations": location,
        "relatedLocations": related,
        "partialFingerprints": { "watchkeeper/v1": finding.fingerprint },
        "properties": {
            "session": finding.session,
            "at": known_time(finding.at),
            "ended_at": episode.ended_at,
            "count": finding.count,
            "status": finding.status,
            "tokens": episode.tokens,
            "cost_usd": episode.cost_usd,
            "data": finding.data,
        },
    })
}

/// Returns a message without links and placeholders: `[text](url)` and `{0}` in it are
/// escaped (SARIF 2.1.0, sections 3.11.5 and 3.11.6).
fn plain_text(message: &str) -> String {
    let has_link = message.contains("](");
    let mut text = String::with_capacity(message.len());
    for (idx, c) in message.char_indices() {
        let is_placeholder = || message[idx + 1..].starts_with(|next: char| next.is_ascii_digit());
        match c {
            '[' | ']' if has_link => text.extend(['\\', c]),
            '{' if is_placeholder() => text.push_str("{{"),
            _ => text.push(c),
        }
    }
    text
}

fn notification(notice: &Notice<'_>) -> Value {
    let file = notice.file.map(|file| file.to_string_lossy());
    let locations: Vec<Value> = file.iter().map(|file| location(file, None)).collect();
    json!({ "level": notice.level(), "message": { "text": plain_text(&notice.text) }, "locations": locations })
}

fn location(file: &str, line: Option<u64>) -> Value {
    let mut physical = json!({ "artifactLocation": { "uri": uri(file) } });
    if let Some(line) = line {
        physical["region"] = json!({ "startLine": line });
    }
    json!({ "physicalLocation": physical })
}

/// Returns a path as a URI reference (RFC 3986), percent-encoded.
fn uri(path: &str) -> String {
    let escape = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
            char::from(byte).to_string()
        }
        _ => format!("%{byte:02X}"),
    };
    path.bytes().map(escape).collect()
}

#[cfg(test)]
mod tests {
    use super::plain_text;

    #[test]
    fn a_message_contains_no_link_and_no_placeholder() {
        for (message, expected) in [
            ("`ls` failed", "`ls` failed"),
            ("`{\"a\": [1]}`", "`{\"a\": [1]}`"),
            ("see [the fix](https://host.example)", r"see \[the fix\](https://host.example)"),
            ("{0} and {x}", "{{0} and {x}"),
        ] {
            assert_eq!(plain_text(message), expected);
        }
    }
}
