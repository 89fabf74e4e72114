//! Messages of incoming webhooks of Slack: <https://docs.slack.dev/messaging/formatting-message-text>.

use serde_json::{Value, json};

use super::summary::{Summary, escaped};

/// The longest text of a header block, of the blocks below it, and of the notification.
const MAX_HEADER: usize = 150;
const MAX_TEXT: usize = 3000;

pub(super) fn body(summary: &Summary) -> Value {
    let text = escape(&summary.text, MAX_TEXT);
    let facts: Vec<_> =
        summary.facts.iter().map(|(name, fact)| format!("{name}: {fact}")).collect();
    let mut blocks = vec![
        json!({
            "type": "header",
            "text": { "type": "plain_text", "text": escape(&summary.title, MAX_HEADER), "emoji": false },
        }),
        json!({ "type": "section", "text": mrkdwn(&text) }),
    ];
    if !facts.is_empty() {
        let facts = escape(&facts.join("  |  "), MAX_TEXT);
        blocks.push(json!({ "type": "context", "elements": [mrkdwn(&facts)] }));
    }
    if let Some(link) = &summary.runbook_url {
        let link = format!("<{}|Runbook>", link.replace('&', "&amp;"));
        blocks.push(json!({ "type": "context", "elements": [mrkdwn(&link)] }));
    }
    json!({
        "text": escape(&format!("{}: {}", summary.title, summary.text), MAX_TEXT),
        "blocks": blocks,
        "unfurl_links": false,
        "unfurl_media": false,
    })
}

/// A text in which Slack makes no links of addresses and names.
fn mrkdwn(text: &str) -> Value {
    json!({ "type": "mrkdwn", "text": text, "verbatim": true })
}

/// Escapes the characters that begin links, and mentions such as `<!channel>`.
fn escape(text: &str, max: usize) -> String {
    escaped(text, max, |c, out| match c {
        '&' => out.push_str("&amp;"),
        '<' => out.push_str("&lt;"),
        '>' => out.push_str("&gt;"),
        _ => out.push(c),
    })
}
