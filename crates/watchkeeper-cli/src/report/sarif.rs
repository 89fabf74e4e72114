use std::{
    collections::BTreeMap,
    io::{self, Write},
};

use serde_json::{Value, json};
use watchkeeper_core::{Finding, Severity};

use super::summary::Report;

/// Writes SARIF 2.1.0 (OASIS). Detectors become rules, and findings results.
pub(super) fn write(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    let detectors: BTreeMap<&str, &Finding> =
        report.findings().map(|it| (&*it.detector, it)).collect();
    let rules: Vec<Value> = detectors
        .iter()
        .map(|(id, it)| json!({ "id": id, "name": it.kind, "properties": { "class": it.class } }))
        .collect();
    let results: Vec<Value> = report.findings().map(result).collect();
    let sarif = json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "watchkeeper",
                "version": env!("CARGO_PKG_VERSION"),
                "rules": rules,
            } },
            "results": results,
        }],
    });
    serde_json::to_writer_pretty(&mut *out, &sarif)?;
    writeln!(out)
}

fn result(finding: &Finding) -> Value {
    let level = match finding.severity {
        Severity::Low => "note",
        Severity::Medium => "warning",
        Severity::High => "error",
    };
    let places: Vec<Value> = finding
        .evidence
        .iter()
        .filter_map(|it| {
            let uri = uri(it.file.as_deref()?);
            Some(json!({ "physicalLocation": {
                "artifactLocation": { "uri": uri },
                "region": { "startLine": it.line.unwrap_or(1).max(1) },
            } }))
        })
        .collect();
    // At the last evidence the condition became true.
    let (related, location) = places.split_at(places.len().saturating_sub(1));
    json!({
        "ruleId": finding.detector,
        "level": level,
        "message": { "text": finding.message },
        "locations": location,
        "relatedLocations": related,
        "partialFingerprints": { "watchkeeper/v1": finding.fingerprint },
        "properties": {
            "session": finding.session,
            "at": finding.at,
            "count": finding.count,
            "status": finding.status,
            "data": finding.data,
        },
    })
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
