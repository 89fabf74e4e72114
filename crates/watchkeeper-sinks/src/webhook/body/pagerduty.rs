//! Events of the Events API v2 of PagerDuty: <https://developer.pagerduty.com/docs/send-alert-event>.

use serde_json::{Value, json};
use watchkeeper_core::{
    Finding, Severity,
    author::{Annotations, Link, known_time},
};

use super::summary::cut;
use crate::webhook::update::Update;

/// The longest summary, in characters.
const MAX_SUMMARY: usize = 1024;
/// The longest other text, in characters.
const MAX_TEXT: usize = 255;

/// An event that opens, updates or resolves the incident of a condition.
pub(super) fn body(routing_key: &str, finding: &Finding, update: Update) -> Value {
    let dedup_key = finding.fingerprint.to_string();
    if update == Update::Resolved {
        return json!({
            "routing_key": routing_key,
            "event_action": "resolve",
            "dedup_key": dedup_key,
        });
    }
    let session = match finding.session.as_str() {
        "" => "watchkeeper",
        session => session,
    };
    let mut event = json!({
        "routing_key": routing_key,
        "event_action": "trigger",
        "dedup_key": dedup_key,
        "client": "Watchkeeper",
        "payload": {
            "summary": cut(&finding.message, MAX_SUMMARY),
            "source": cut(session, MAX_TEXT),
            "severity": severity(finding.severity),
            "component": cut(&finding.detector, MAX_TEXT),
            "class": cut(&finding.class, MAX_TEXT),
            "custom_details": finding,
        },
    });
    if let Some(at) = known_time(finding.at) {
        event["payload"]["timestamp"] = json!(at);
    }
    let Annotations { runbook_url, references, .. } = &*finding.annotations;
    let link = |link: &Link, text: &str| json!({ "href": link, "text": text });
    let runbook = runbook_url.iter().map(|it| link(it, "Runbook"));
    let links: Vec<Value> =
        runbook.chain(references.iter().map(|it| link(it, "Reference"))).collect();
    if !links.is_empty() {
        event["links"] = links.into();
    }
    event
}

const fn severity(severity: Severity) -> &'static str {
    match severity {
        Severity::Low => "info",
        Severity::Medium => "warning",
        Severity::High => "critical",
    }
}
