//! Events of CloudEvents 1.0 in structured mode:
//! <https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md>.

use serde_json::{Value, json};
use watchkeeper_core::{Finding, author::known_time};

use crate::webhook::update::Update;

pub(super) fn body(finding: &Finding, update: Update) -> Value {
    let mut event = json!({
        "specversion": "1.0",
        "id": finding.id.to_string(),
        "source": "watchkeeper",
        "type": format!("watchkeeper.{}", update.event_type()),
        "datacontenttype": "application/json",
        "data": finding,
    });
    // An attribute without a value is absent.
    if let Some(at) = known_time(finding.at) {
        event["time"] = json!(at);
    }
    if !finding.session.as_str().is_empty() {
        event["subject"] = json!(finding.session);
    }
    event
}
