use std::time::Duration;

use insta::assert_snapshot;
use proptest::prelude::*;
use serde_json::{Value, json};
use watchkeeper_core::{
    Severity, Sink, Status, Timestamp,
    author::{Numbers, SinkError, SinkNumbers},
    clock::ManualClock,
};

use super::{
    Otlp,
    metrics::metrics,
    request::{logs, rejection},
};
use crate::{
    http::MAX_REQUEST,
    loopback::{Receiver, listen, response},
    samples::{any_finding, build, build_example, finding, is_harmless, mistake},
};

fn sink(receiver: &str, options: &str) -> Otlp {
    let endpoint = receiver.strip_suffix("/hooks/hunter2").unwrap();
    let options = format!("endpoint = '{endpoint}'\nallow_private = true\n{options}");
    let mut sink = build::<Otlp>(&options).unwrap();
    sink.clock = Box::new(ManualClock::new(finding().at));
    sink.open().unwrap();
    sink
}

fn body(request: &str) -> Value {
    serde_json::from_str(request.split_once("\r\n\r\n").unwrap().1).unwrap()
}

/// Returns the attributes of an object of OTLP, each with its value.
fn attributes(of: &Value) -> Value {
    let pairs = of["attributes"].as_array().unwrap().iter();
    pairs.map(|it| (it["key"].as_str().unwrap().to_owned(), it["value"].clone())).collect()
}

#[test]
fn the_example_in_the_manual_is_valid() {
    let sink = build_example::<Otlp>().unwrap();
    let receivers = sink.receivers.unwrap();
    assert_eq!(receivers.logs.url, "http://localhost:4318/v1/logs");
    assert_eq!(receivers.metrics.url, "http://localhost:4318/v1/metrics");
}

#[test]
fn invalid_options_are_named_without_their_secrets() {
    let error = |options: &str| {
        let error = mistake::<Otlp>(options);
        assert!(!error.contains("hunter2"), "{error}");
        error
    };
    assert_snapshot!(error(""), @"missing field `endpoint`");
    assert_snapshot!(error("endpoint = 'hunter2'"), @"invalid value for `endpoint`: must be an address such as `https://otlp.example.com:4318`");
    assert_snapshot!(error("endpoint = 'http://127.0.0.1:4318'"), @"invalid value for `endpoint`: the host is an address of this host; set `allow_private = true` if the receiver is there");
    assert_snapshot!(error("endpoint = 'https://example.com/hunter2/v1/logs'"), @"invalid value for `endpoint`: ends with the path of a signal, which the sink adds");
    assert_snapshot!(error("endpoint = 'https://example.com/?key=hunter2'"), @"invalid value for `endpoint`: has a query");
    assert_snapshot!(error("endpoint = 'https://example.com'\nmetrics_interval = '999ms'"), @"invalid value for `metrics_interval`: is shorter than 1s");
    assert_snapshot!(error("endpoint = 'https://example.com'\nheaders = { Content-Type = 'hunter2' }"), @"invalid value for `headers`: `Content-Type` is set by the sink itself");
}

#[test]
fn the_path_of_the_endpoint_is_kept() {
    for (endpoint, expected) in [
        ("https://example.com", "https://example.com/v1/logs"),
        ("https://example.com/", "https://example.com/v1/logs"),
        ("https://example.com/otlp/", "https://example.com/otlp/v1/logs"),
    ] {
        let sink = build::<Otlp>(&format!("endpoint = '{endpoint}'")).unwrap();
        assert_eq!(sink.receivers.unwrap().logs.url, expected);
    }
}

#[test]
fn a_finding_is_a_log_record() {
    let receiver = Receiver::new([response("200 OK", "")]);
    sink(&receiver.url, "headers = { x-key = 'hunter2' }").deliver(&finding()).unwrap();
    let requests = receiver.requests();
    expect_post(&requests[0], "/v1/logs");
    let mut logs = body(&requests[0]);
    let resource = &logs["resourceLogs"][0];
    assert_eq!(attributes(&resource["resource"])["service.name"]["stringValue"], "watchkeeper");
    let record = &mut logs["resourceLogs"][0]["scopeLogs"][0]["logRecords"][0];
    record["attributes"] = attributes(record);
    assert_snapshot!(serde_json::to_string_pretty(record).unwrap(), @r#"
    {
      "attributes": {
        "gen_ai.conversation.id": {
          "stringValue": "5b1e0c2a-7f4d-4b6e-9f3e-0123456789ab"
        },
        "gen_ai.tool.name": {
          "stringValue": "Bash"
        },
        "watchkeeper.finding.class": {
          "stringValue": "runaway"
        },
        "watchkeeper.finding.count": {
          "intValue": "4"
        },
        "watchkeeper.finding.data.repeats": {
          "intValue": "4"
        },
        "watchkeeper.finding.detector": {
          "stringValue": "repeated_call"
        },
        "watchkeeper.finding.evidence": {
          "arrayValue": {
            "values": [
              {
                "stringValue": "/home/ada/.claude/projects/shop/5b1e.jsonl:790"
              },
              {
                "stringValue": "/home/ada/.claude/projects/shop/5b1e.jsonl:812"
              }
            ]
          }
        },
        "watchkeeper.finding.fingerprint": {
          "stringValue": "00000000000000ab"
        },
        "watchkeeper.finding.id": {
          "stringValue": "9f2c000000000001"
        },
        "watchkeeper.finding.kind": {
          "stringValue": "repeat-tool-call"
        },
        "watchkeeper.finding.severity": {
          "stringValue": "high"
        },
        "watchkeeper.finding.source": {
          "stringValue": "claude-code"
        },
        "watchkeeper.finding.status": {
          "stringValue": "open"
        },
        "watchkeeper.label.team": {
          "stringValue": "payments"
        }
      },
      "body": {
        "stringValue": "`Bash` returned the same result for the same call 4 times in 31s: `make` returns `no rule to make it`"
      },
      "eventName": "watchkeeper.finding",
      "observedTimeUnixNano": "1795342447120000000",
      "severityNumber": 17,
      "severityText": "high",
      "timeUnixNano": "1795342447120000000"
    }
    "#);
}

#[track_caller]
fn expect_post(request: &str, path: &str) {
    assert!(request.starts_with(&format!("POST {path} HTTP/1.1\r\n")), "{request}");
    assert!(request.contains("\r\nx-key: hunter2\r\n"), "{request}");
    assert!(request.contains("\r\ncontent-type: application/json\r\n"), "{request}");
}

#[test]
fn the_numbers_of_the_monitor_are_metrics() {
    let receiver = Receiver::new([response("200 OK", "")]);
    let mut sink = sink(&receiver.url, "headers = { x-key = 'hunter2' }");
    sink.deliver_metrics(&numbers()).unwrap();
    let requests = receiver.requests();
    expect_post(&requests[0], "/v1/metrics");
    let metrics = body(&requests[0]);
    let resource = &metrics["resourceMetrics"][0];
    assert_eq!(attributes(&resource["resource"])["service.name"]["stringValue"], "watchkeeper");
    let records = resource["scopeMetrics"][0]["metrics"].as_array().unwrap();
    let record = |name: &str| records.iter().find(|it| it["name"] == name).unwrap();
    let start = "1795342400000000000";
    let at = "1795342447120000000";
    assert_eq!(
        *record("watchkeeper_findings_total"),
        json!({
            "name": "watchkeeper_findings_total",
            "description": "Findings by kind, severity and status.",
            "sum": {
                "aggregationTemporality": 2,
                "isMonotonic": true,
                "dataPoints": [{
                    "attributes": [
                        { "key": "kind", "value": { "stringValue": "timeout" } },
                        { "key": "severity", "value": { "stringValue": "high" } },
                        { "key": "status", "value": { "stringValue": "open" } },
                    ],
                    "startTimeUnixNano": start,
                    "timeUnixNano": at,
                    "asInt": "1",
                }],
            },
        })
    );
    let cost = &record("watchkeeper_cost_dollars_total")["sum"]["dataPoints"][0];
    assert_eq!(cost["asDouble"], 0.25);
    let idle = json!([{ "key": "state", "value": { "stringValue": "idle" } }]);
    let states = record("watchkeeper_sessions")["gauge"]["dataPoints"].as_array().unwrap();
    let idle = states.iter().find(|point| point["attributes"] == idle).unwrap();
    assert_eq!((&idle["asInt"], idle.get("startTimeUnixNano")), (&json!("0"), None));
    assert!(records.iter().all(|record| record["name"] != "watchkeeper_sink_pending"));
}

/// The numbers of a monitor with one finding and no sink.
fn numbers() -> Numbers {
    let mut numbers = Numbers::default();
    numbers.started_at = "2026-11-22T10:13:20Z".parse().unwrap();
    numbers.engine.cost_usd = 0.25;
    numbers.findings.add("timeout", Severity::High, Status::Open);
    numbers
}

#[test]
fn the_metrics_fit_into_one_request() {
    let mut numbers = numbers();
    let sink = SinkNumbers { delivered: u64::MAX / 1000, ..SinkNumbers::default() };
    for idx in 0..200 {
        for severity in [Severity::Low, Severity::Medium, Severity::High] {
            for status in [Status::Open, Status::Resolved] {
                numbers.findings.add(&format!("{idx:0>3}{:x>500}", ""), severity, status);
            }
        }
        numbers.sinks.insert(format!("{idx:0>3}{:x>500}", ""), sink);
    }
    assert!(metrics(&numbers, Timestamp::MAX).len() < MAX_REQUEST);
}

#[test]
fn metrics_have_an_interval_and_can_be_switched_off() {
    let interval = |options: &str| {
        let options = format!("endpoint = 'https://example.com'\n{options}");
        build::<Otlp>(&options).unwrap().metrics_interval()
    };
    assert_eq!(interval(""), Some(Duration::from_secs(60)));
    assert_eq!(interval("metrics_interval = '1s'"), Some(Duration::from_secs(1)));
    assert_eq!(interval("metrics = false"), None);
    let receiver = Receiver::new([response("404 Not Found", "")]);
    let outcome = sink(&receiver.url, "").deliver_metrics(&numbers());
    assert!(matches!(outcome, Err(SinkError::Refused { .. })), "{outcome:?}");
}

#[test]
fn only_the_statuses_that_the_protocol_names_are_retried() {
    for status in [429, 502, 503, 504] {
        let receiver = Receiver::new([response(&format!("{status} A"), "retry-after: 7\r\n")]);
        match sink(&receiver.url, "").deliver(&finding()) {
            Err(SinkError::Unavailable { retry_after, .. }) => {
                assert_eq!(retry_after, Some(Duration::from_secs(7)), "{status}");
            }
            other => panic!("{status}: {other:?}"),
        }
        receiver.requests();
    }
    for status in [301, 400, 401, 404, 408, 413, 500, 501] {
        let receiver = Receiver::new([response(&format!("{status} A"), "")]);
        let outcome = sink(&receiver.url, "").deliver(&finding());
        assert!(matches!(outcome, Err(SinkError::Refused { .. })), "{status}: {outcome:?}");
        receiver.requests();
    }
    let (listener, url) = listen();
    drop(listener);
    let outcome = sink(&url, "").deliver(&finding());
    assert!(matches!(outcome, Err(SinkError::Unavailable { .. })), "{outcome:?}");
}

#[test]
fn records_that_the_receiver_rejects_are_lost_with_its_reason() {
    let rejection = |response: &str| rejection(response.as_bytes());
    assert_eq!(rejection(""), None);
    assert_eq!(rejection("{}"), None);
    assert_eq!(rejection(r#"{"partialSuccess":{}}"#), None);
    assert_eq!(rejection(r#"{"partialSuccess":{"errorMessage":"note"}}"#), None);
    assert_eq!(rejection(r#"{"partialSuccess":{"rejectedLogRecords":0}}"#), None);
    assert_snapshot!(rejection(r#"{"partialSuccess":{"rejectedLogRecords":"2","errorMessage":"no\u001b[31m room"}}"#).unwrap(), @r"the receiver rejected 2 records: no\u{1b}[31m room");

    let body = r#"{"partialSuccess":{"rejectedLogRecords":1,"errorMessage":"too old"}}"#;
    let head =
        format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
    let receiver = Receiver::new([head + body]);
    let err = sink(&receiver.url, "").deliver(&finding()).unwrap_err();
    assert_snapshot!(err, @"refused: the receiver rejected 1 records: too old");
    receiver.requests();
}

#[test]
fn posts_nothing_if_a_secret_is_unknown() {
    let mut sink = build::<Otlp>("endpoint = { secret = 'collector' }").unwrap();
    sink.open().unwrap();
    let err = sink.deliver(&finding()).unwrap_err();
    assert_snapshot!(err, @"refused: the policy was read without its secrets");
}

proptest! {
    #[test]
    fn every_request_is_one_harmless_line_with_the_message(finding in any_finding()) {
        let request = logs(&[&finding], Timestamp::UNIX_EPOCH);
        prop_assert!(request.chars().all(is_harmless), "{:?}", request);
        let request: Value = serde_json::from_str(&request).expect("a request is JSON");
        let record = &request["resourceLogs"][0]["scopeLogs"][0]["logRecords"][0];
        prop_assert_eq!(&record["body"]["stringValue"], &Value::from(finding.message));
    }
}
