//! Messages of workflows of Microsoft Teams, with an Adaptive Card:
//! <https://learn.microsoft.com/microsoftteams/platform/webhooks-and-connectors/how-to/connectors-using>.

use serde_json::{Value, json};
use watchkeeper_core::Severity;

use super::summary::{Summary, Urgency};

/// A message with a card whose texts are `TextRun`s, which contain no Markdown.
pub(super) fn body(summary: &Summary) -> Value {
    let title = json!({
        "type": "TextRun",
        "text": summary.title,
        "weight": "Bolder",
        "size": "Medium",
        "color": color(summary.urgency),
    });
    let mut blocks = vec![block(&[title])];
    let lines = summary.text.lines();
    blocks.extend(lines.map(|line| block(&[json!({ "type": "TextRun", "text": line })])));
    blocks.extend(summary.facts.iter().map(|(name, fact)| {
        let name = json!({ "type": "TextRun", "text": format!("{name}: "), "isSubtle": true });
        block(&[name, json!({ "type": "TextRun", "text": fact })])
    }));
    let mut card = json!({
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "body": blocks,
    });
    if let Some(link) = &summary.runbook_url {
        card["actions"] = json!([{ "type": "Action.OpenUrl", "title": "Runbook", "url": link }]);
    }
    json!({
        "type": "message",
        "attachments": [{
            "contentType": "application/vnd.microsoft.card.adaptive",
            "contentUrl": null,
            "content": card,
        }],
    })
}

fn block(runs: &[Value]) -> Value {
    json!({ "type": "RichTextBlock", "inlines": runs })
}

const fn color(urgency: Urgency) -> &'static str {
    match urgency {
        Urgency::Over => "Good",
        Urgency::Open(Severity::High) => "Attention",
        Urgency::Open(Severity::Medium) => "Warning",
        Urgency::Open(Severity::Low) => "Accent",
    }
}
