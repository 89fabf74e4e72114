//! Messages of webhooks of Discord: <https://docs.discord.com/developers/resources/webhook>.

use serde_json::{Value, json};
use watchkeeper_core::Severity;

use super::summary::{Summary, Urgency, escaped};

/// The longest texts; together, an embed may have 6,000 characters.
const MAX_TITLE: usize = 256;
const MAX_DESCRIPTION: usize = 3000;
const MAX_FIELD: usize = 600;

pub(super) fn body(summary: &Summary) -> Value {
    let field = |(name, fact): &(&str, String)| json!({ "name": name, "value": escape(fact, MAX_FIELD), "inline": false });
    let runbook = summary.runbook_url.as_ref();
    let runbook = runbook.map(|link| json!({ "name": "Runbook", "value": link, "inline": false }));
    let fields: Vec<Value> = summary.facts.iter().map(field).chain(runbook).collect();
    let mut embed = json!({
        "title": escape(&summary.title, MAX_TITLE),
        "description": escape(&summary.text, MAX_DESCRIPTION),
        "color": color(summary.urgency),
        "fields": fields,
    });
    if let Some(at) = summary.at {
        embed["timestamp"] = json!(at);
    }
    json!({ "embeds": [embed], "allowed_mentions": { "parse": [] } })
}

const fn color(urgency: Urgency) -> u32 {
    match urgency {
        Urgency::Over => 0x1e_8e3e,
        Urgency::Open(Severity::High) => 0xd9_3025,
        Urgency::Open(Severity::Medium) => 0xf9_ab00,
        Urgency::Open(Severity::Low) => 0x1a_73e8,
    }
}

/// Escapes every character of Markdown, of mentions and of addresses.
fn escape(text: &str, max: usize) -> String {
    escaped(text, max, |c, out| {
        if c.is_ascii_punctuation() && !".,;'\"!?%$=/".contains(c) {
            out.push('\\');
        }
        out.push(c);
    })
}
