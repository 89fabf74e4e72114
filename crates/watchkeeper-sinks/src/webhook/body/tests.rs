use std::{collections::BTreeMap, sync::Arc};

use insta::assert_snapshot;
use proptest::prelude::*;
use serde_json::{Value, json};
use watchkeeper_core::{AgentId, Finding, Severity, Status, author::make_safe};

use super::{Body, Update};
use crate::samples::{annotated, any_finding, finding, is_harmless};

/// Returns a finding with text that means something to a terminal or a chat.
fn hostile() -> Finding {
    let mut finding = finding();
    finding.message =
        "`x` <!channel> @everyone **b** [a](https://evil.test) & \u{202e}\n<@1>".into();
    finding.agent = Some(AgentId::from("<!here>"));
    finding.labels = Arc::new(BTreeMap::from([("team".into(), "_a_|b".into())]));
    finding
}

fn pretty(body: &Body, finding: &Finding, update: Update) -> String {
    let value: Value = serde_json::from_str(&body.render(&[(finding, update)]).unwrap()).unwrap();
    let text = serde_json::to_string_pretty(&value).unwrap();
    text.lines().map(make_safe).collect::<Vec<_>>().join("\n")
}

#[test]
fn standard() {
    let body = Body::Standard.render(&[(&finding(), Update::Escalated)]).unwrap();
    assert!(body.starts_with(r#"{"type":"finding.escalated","timestamp":"2026-11-22T10:14:07.12Z","data":{"id":"9f2c000000000001","#), "{body}");
}

/// Returns the body for three findings of one session.
fn group(body: &Body) -> String {
    let (mut end, mut rise) = (finding(), finding());
    (end.status, end.message, end.severity) =
        (Status::Resolved, "it goes on".into(), Severity::Low);
    rise.at = "2026-11-22T10:15:00Z".parse().unwrap();
    let findings = [hostile(), end, rise];
    let updates = [Update::Opened, Update::Resolved, Update::Escalated];
    let updates: Vec<(&Finding, Update)> = findings.iter().zip(updates).collect();
    let value: Value = serde_json::from_str(&body.render(&updates).unwrap()).unwrap();
    serde_json::to_string_pretty(&value).unwrap()
}

#[test]
fn a_group_in_the_standard_format() {
    let value: Value = serde_json::from_str(&group(&Body::Standard)).unwrap();
    assert_eq!(value["type"], "finding.group");
    assert_eq!(value["timestamp"], "2026-11-22T10:15:00Z");
    let findings = value["data"]["findings"].as_array().unwrap();
    let types: Vec<&Value> = findings.iter().map(|finding| &finding["type"]).collect();
    assert_eq!(types, ["finding.opened", "finding.resolved", "finding.escalated"]);
    assert_eq!(findings[1]["data"]["message"], "it goes on");
}

#[test]
fn a_group_for_slack() {
    assert_snapshot!(group(&Body::Slack), @r#"
    {
      "blocks": [
        {
          "text": {
            "emoji": false,
            "text": "3 findings",
            "type": "plain_text"
          },
          "type": "header"
        },
        {
          "text": {
            "text": "High: repeated_call: `x` &lt;!channel&gt; @everyone **b** [a](https://evil.test) &amp; \\u{202e}\\n&lt;@1&gt;\nResolved: repeated_call: it goes on\nNow high: repeated_call: `Bash` returned the same result for the same call 4 times in 31s: `make` returns `no rule to m…",
            "type": "mrkdwn",
            "verbatim": true
          },
          "type": "section"
        },
        {
          "elements": [
            {
              "text": "Session: 5b1e0c2a-7f4d-4b6e-9f3e-0123456789ab",
              "type": "mrkdwn",
              "verbatim": true
            }
          ],
          "type": "context"
        }
      ],
      "text": "3 findings: High: repeated_call: `x` &lt;!channel&gt; @everyone **b** [a](https://evil.test) &amp; \\u{202e}\\n&lt;@1&gt;\nResolved: repeated_call: it goes on\nNow high: repeated_call: `Bash` returned the same result for the same call 4 times in 31s: `make` returns `no rule to m…",
      "unfurl_links": false,
      "unfurl_media": false
    }
    "#);
}

#[test]
fn a_group_for_teams() {
    let value: Value = serde_json::from_str(&group(&Body::Teams)).unwrap();
    let blocks = value["attachments"][0]["content"]["body"].as_array().unwrap();
    let texts: Vec<&Value> = blocks.iter().map(|block| &block["inlines"][0]["text"]).collect();
    assert_eq!(texts.len(), 5);
    assert_eq!(texts[0], "3 findings");
    assert_eq!(texts[2], "Resolved: repeated_call: it goes on");
}

#[test]
fn slack() {
    assert_snapshot!(pretty(&Body::Slack, &hostile(), Update::Opened), @r#"
    {
      "blocks": [
        {
          "text": {
            "emoji": false,
            "text": "High: repeated_call",
            "type": "plain_text"
          },
          "type": "header"
        },
        {
          "text": {
            "text": "`x` &lt;!channel&gt; @everyone **b** [a](https://evil.test) &amp; \\u{202e}\\n&lt;@1&gt;",
            "type": "mrkdwn",
            "verbatim": true
          },
          "type": "section"
        },
        {
          "elements": [
            {
              "text": "Session: 5b1e0c2a-7f4d-4b6e-9f3e-0123456789ab  |  Agent: &lt;!here&gt;  |  Labels: team=_a_|b  |  Location: /home/ada/.claude/projects/shop/5b1e.jsonl:812",
              "type": "mrkdwn",
              "verbatim": true
            }
          ],
          "type": "context"
        }
      ],
      "text": "High: repeated_call: `x` &lt;!channel&gt; @everyone **b** [a](https://evil.test) &amp; \\u{202e}\\n&lt;@1&gt;",
      "unfurl_links": false,
      "unfurl_media": false
    }
    "#);
}

#[test]
fn discord() {
    assert_snapshot!(pretty(&Body::Discord, &hostile(), Update::Escalated), @r#"
    {
      "allowed_mentions": {
        "parse": []
      },
      "embeds": [
        {
          "color": 14233637,
          "description": "\\`x\\` \\<!channel\\> \\@everyone \\*\\*b\\*\\* \\[a\\]\\(https\\://evil.test\\) \\& \\\\u\\{202e\\}\\\\n\\<\\@1\\>",
          "fields": [
            {
              "inline": false,
              "name": "Session",
              "value": "5b1e0c2a\\-7f4d\\-4b6e\\-9f3e\\-0123456789ab"
            },
            {
              "inline": false,
              "name": "Agent",
              "value": "\\<!here\\>"
            },
            {
              "inline": false,
              "name": "Labels",
              "value": "team=\\_a\\_\\|b"
            },
            {
              "inline": false,
              "name": "Location",
              "value": "/home/ada/.claude/projects/shop/5b1e.jsonl\\:812"
            }
          ],
          "timestamp": "2026-11-22T10:14:07.12Z",
          "title": "Now high\\: repeated\\_call"
        }
      ]
    }
    "#);
}

#[test]
fn teams() {
    assert_snapshot!(pretty(&Body::Teams, &hostile(), Update::Resolved), @r#"
    {
      "attachments": [
        {
          "content": {
            "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
            "body": [
              {
                "inlines": [
                  {
                    "color": "Good",
                    "size": "Medium",
                    "text": "Resolved: repeated_call",
                    "type": "TextRun",
                    "weight": "Bolder"
                  }
                ],
                "type": "RichTextBlock"
              },
              {
                "inlines": [
                  {
                    "text": "`x` <!channel> @everyone **b** [a](https://evil.test) & \\u{202e}\\n<@1>",
                    "type": "TextRun"
                  }
                ],
                "type": "RichTextBlock"
              },
              {
                "inlines": [
                  {
                    "isSubtle": true,
                    "text": "Session: ",
                    "type": "TextRun"
                  },
                  {
                    "text": "5b1e0c2a-7f4d-4b6e-9f3e-0123456789ab",
                    "type": "TextRun"
                  }
                ],
                "type": "RichTextBlock"
              },
              {
                "inlines": [
                  {
                    "isSubtle": true,
                    "text": "Agent: ",
                    "type": "TextRun"
                  },
                  {
                    "text": "<!here>",
                    "type": "TextRun"
                  }
                ],
                "type": "RichTextBlock"
              },
              {
                "inlines": [
                  {
                    "isSubtle": true,
                    "text": "Labels: ",
                    "type": "TextRun"
                  },
                  {
                    "text": "team=_a_|b",
                    "type": "TextRun"
                  }
                ],
                "type": "RichTextBlock"
              },
              {
                "inlines": [
                  {
                    "isSubtle": true,
                    "text": "Location: ",
                    "type": "TextRun"
                  },
                  {
                    "text": "/home/ada/.claude/projects/shop/5b1e.jsonl:812",
                    "type": "TextRun"
                  }
                ],
                "type": "RichTextBlock"
              }
            ],
            "type": "AdaptiveCard",
            "version": "1.4"
          },
          "contentType": "application/vnd.microsoft.card.adaptive",
          "contentUrl": null
        }
      ],
      "type": "message"
    }
    "#);
}

#[test]
fn pagerduty() {
    let body = Body::Pagerduty { routing_key: "hunter2".into() };
    let mut finding = hostile();
    finding.data.clear();
    finding.evidence.clear();
    assert_snapshot!(pretty(&body, &finding, Update::Opened), @r#"
    {
      "client": "Watchkeeper",
      "dedup_key": "00000000000000ab",
      "event_action": "trigger",
      "payload": {
        "class": "runaway",
        "component": "repeated_call",
        "custom_details": {
          "agent": "<!here>",
          "at": "2026-11-22T10:14:07.12Z",
          "class": "runaway",
          "count": 4,
          "data": {},
          "detector": "repeated_call",
          "evidence": [],
          "fingerprint": "00000000000000ab",
          "id": "9f2c000000000001",
          "kind": "repeat-tool-call",
          "labels": {
            "team": "_a_|b"
          },
          "message": "`x` <!channel> @everyone **b** [a](https://evil.test) & \u{202e}\n<@1>",
          "session": "5b1e0c2a-7f4d-4b6e-9f3e-0123456789ab",
          "severity": "high",
          "source": "claude-code",
          "status": "open"
        },
        "severity": "critical",
        "source": "5b1e0c2a-7f4d-4b6e-9f3e-0123456789ab",
        "summary": "`x` <!channel> @everyone **b** [a](https://evil.test) & \\u{202e}\\n<@1>",
        "timestamp": "2026-11-22T10:14:07.12Z"
      },
      "routing_key": "hunter2"
    }
    "#);
    finding.status = Status::Resolved;
    assert_snapshot!(pretty(&body, &finding, Update::Resolved), @r#"
    {
      "dedup_key": "00000000000000ab",
      "event_action": "resolve",
      "routing_key": "hunter2"
    }
    "#);
}

#[test]
fn cloudevents() {
    let mut finding = hostile();
    finding.data.clear();
    finding.evidence.clear();
    assert_eq!(Body::Cloudevents.content_type(), "application/cloudevents+json");
    assert_snapshot!(pretty(&Body::Cloudevents, &finding, Update::Resolved), @r#"
    {
      "data": {
        "agent": "<!here>",
        "at": "2026-11-22T10:14:07.12Z",
        "class": "runaway",
        "count": 4,
        "data": {},
        "detector": "repeated_call",
        "evidence": [],
        "fingerprint": "00000000000000ab",
        "id": "9f2c000000000001",
        "kind": "repeat-tool-call",
        "labels": {
          "team": "_a_|b"
        },
        "message": "`x` <!channel> @everyone **b** [a](https://evil.test) & \u{202e}\n<@1>",
        "session": "5b1e0c2a-7f4d-4b6e-9f3e-0123456789ab",
        "severity": "high",
        "source": "claude-code",
        "status": "open"
      },
      "datacontenttype": "application/json",
      "id": "9f2c000000000001",
      "source": "watchkeeper",
      "specversion": "1.0",
      "subject": "5b1e0c2a-7f4d-4b6e-9f3e-0123456789ab",
      "time": "2026-11-22T10:14:07.12Z",
      "type": "watchkeeper.finding.resolved"
    }
    "#);
}

/// Calls `check` with every text in a value.
fn for_each_text(value: &Value, check: &mut dyn FnMut(&str)) {
    match value {
        Value::String(text) => check(text),
        Value::Array(values) => values.iter().for_each(|value| for_each_text(value, check)),
        Value::Object(map) => map.values().for_each(|value| for_each_text(value, check)),
        _ => {}
    }
}

proptest! {
    // Each case renders six bodies.
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_body_is_one_harmless_line_and_chats_bound_it(finding in any_finding(), n in 0..3_usize) {
        let update = [Update::Opened, Update::Escalated, Update::Resolved][n];
        let pagerduty = Body::Pagerduty { routing_key: "key".into() };
        for body in [Body::Standard, Body::Cloudevents, pagerduty] {
            let text = body.render(&[(&finding, update)]).unwrap();
            prop_assert!(text.chars().all(is_harmless), "{:?}", text);
            prop_assert!(serde_json::from_str::<Value>(&text).is_ok());
        }
        for body in [Body::Slack, Body::Discord, Body::Teams] {
            let text = body.render(&[(&finding, update)]).unwrap();
            prop_assert!(text.chars().all(is_harmless), "{:?}", text);
            let value = serde_json::from_str(&text).unwrap();
            for_each_text(&value, &mut |text| assert!(text.encode_utf16().count() <= 3000));
        }
    }
}

#[test]
fn the_texts_of_a_chat_are_within_its_limits() {
    let mut finding = finding();
    finding.message = "<".repeat(10_000);
    finding.session = "&".repeat(10_000).into();
    finding.severity = Severity::Low;
    let value = |body: Body| -> Value {
        serde_json::from_str(&body.render(&[(&finding, Update::Opened)]).unwrap()).unwrap()
    };
    let slack = value(Body::Slack);
    let text = slack["blocks"][1]["text"]["text"].as_str().unwrap();
    assert!((2990..=3000).contains(&text.len()), "{}", text.len());
    assert!(text.ends_with("&lt;…"), "{text}");

    let discord = value(Body::Discord);
    let mut total = 0;
    for_each_text(&discord["embeds"], &mut |text| total += text.encode_utf16().count());
    assert!(total <= 6000, "{total}");
    assert!(value(Body::Teams).to_string().len() < 28 << 10);
}

/// Returns the texts of the body that annotations add.
fn added(body: &Body, update: Update) -> String {
    let lines = |finding: &Finding| {
        let text = pretty(body, finding, update);
        text.lines().map(|line| line.trim().trim_end_matches(',').to_owned()).collect::<Vec<_>>()
    };
    let mut without = lines(&finding());
    let mut added = lines(&annotated());
    added.retain(|line| {
        let known = without.iter().position(|it| it == line);
        known.map(|idx| without.remove(idx)).is_none() && line.contains(": \"")
    });
    added.join("\n")
}

#[test]
fn annotations_are_in_messages_for_people() {
    assert_snapshot!(added(&Body::Slack, Update::Opened), @r#"
    "text": "Session: 5b1e0c2a-7f4d-4b6e-9f3e-0123456789ab  |  Labels: team=payments  |  Tags: loop, owner:payments  |  Location: /home/ada/.claude/projects/shop/5b1e.jsonl:812"
    "text": "<https://wiki.example/loops?from=a&amp;to=b|Runbook>"
    "type": "mrkdwn"
    "type": "context"
    "#);
    assert_snapshot!(added(&Body::Discord, Update::Opened), @r#"
    "name": "Tags"
    "value": "loop, owner\\:payments"
    "name": "Runbook"
    "value": "https://wiki.example/loops?from=a&to=b"
    "#);
    assert_snapshot!(added(&Body::Teams, Update::Opened), @r#"
    "title": "Runbook"
    "type": "Action.OpenUrl"
    "url": "https://wiki.example/loops?from=a&to=b"
    "text": "Tags: "
    "text": "loop, owner:payments"
    "type": "TextRun"
    "type": "TextRun"
    "type": "RichTextBlock"
    "#);
    assert_snapshot!(added(&Body::Slack, Update::Resolved), @r#""text": "Session: 5b1e0c2a-7f4d-4b6e-9f3e-0123456789ab  |  Labels: team=payments  |  Tags: loop, owner:payments  |  Location: /home/ada/.claude/projects/shop/5b1e.jsonl:812""#);
}

#[test]
fn annotations_are_links_of_an_incident() {
    let body = Body::Pagerduty { routing_key: "k".to_owned() };
    let text = body.render(&[(&annotated(), Update::Opened)]).unwrap();
    let value: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        value["links"],
        json!([
            { "href": "https://wiki.example/loops?from=a&to=b", "text": "Runbook" },
            { "href": "https://wiki.example/incident/7", "text": "Reference" },
        ])
    );
}

#[test]
fn annotations_are_in_the_data_of_other_bodies() {
    let annotations = json!(annotated().annotations);
    for (body, pointer) in [
        (Body::Standard, "/data/annotations"),
        (Body::Cloudevents, "/data/annotations"),
        (Body::Pagerduty { routing_key: "k".to_owned() }, "/payload/custom_details/annotations"),
    ] {
        let text = body.render(&[(&annotated(), Update::Opened)]).unwrap();
        let value: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value.pointer(pointer), Some(&annotations));
    }
}
