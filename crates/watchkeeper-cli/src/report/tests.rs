//! Every format is safe for a terminal and valid, whatever the names and texts are.

use std::{ffi::OsStr, os::unix::ffi::OsStrExt as _, path::PathBuf};

use clap::ValueEnum as _;
use proptest::prelude::*;
use serde_json::Value;
use watchkeeper_core::{
    Engine, Event, EventKind, Finding, Severity, Timestamp,
    author::{Evidence, Origin, SkippedLines, Tokens, is_unsafe},
    embed::{EngineConfig, Kinds},
};
use watchkeeper_page::Recorder;

use super::{
    Format, GroupBy, Report, SessionPage, SessionReport, SkippedFile,
    episodes::Episode,
    usage::{Usage, UsageSlice},
    write, write_groups,
};
use crate::{
    output::{Output, Styles},
    recorded::MisdatedLines,
};

/// Returns a report in which every text is `bytes`.
fn report_of(bytes: &[u8]) -> Report {
    let text = String::from_utf8_lossy(bytes).into_owned();
    let file = PathBuf::from(OsStr::from_bytes(bytes));
    let at: Timestamp = "2026-03-01T10:00:00Z".parse().expect("the text is a time");
    let mut finding = Finding::new(at, &text, text.as_str(), Severity::High, text.clone());
    finding.data.insert(text.clone(), text.clone().into());
    let origin = Origin { file: text.as_str().into(), line: 3, source: "ndjson" };
    finding.evidence.push(Evidence::new(Some(&origin), "tool_call"));
    let episode = Episode {
        finding,
        ended_at: Some(at),
        resolution: Some(text.clone()),
        tokens: 1_000,
        cost_usd: 0.5,
    };
    let session = SessionReport {
        session: text.as_str().into(),
        source: Some("ndjson"),
        cwd: Some(text.as_str().into()),
        model: Some(text.as_str().into()),
        labels: std::sync::Arc::new([(text.clone(), text.clone())].into()),
        files: vec![file.clone()],
        started_at: Some(at),
        ended_at: Some(at),
        events: 1,
        tool_calls: 1,
        tool_results: 1,
        failed_results: 0,
        model_calls: 1,
        tokens: Tokens::default(),
        cost_usd: Some(0.5),
        unpriced_calls: 0,
        client_difference: None,
        findings: vec![episode],
        n_hidden_findings: 0,
        skipped_lines: 0,
        skipped_reasons: std::collections::BTreeMap::default(),
        first_skipped_lines: Vec::new(),
        usage: vec![UsageSlice {
            day: None,
            model: Some(text.as_str().into()),
            usage: Usage::default(),
        }],
        page: Some(page_of(&text)),
    };
    let about_monitor = Finding::about_monitor(at, "agents", Severity::Low, text.clone());
    let mut report = Report::default();
    report.add(session);
    let skipped = SkippedLines::default();
    report.skipped_files.push(SkippedFile::new(file.clone(), text, &skipped, true));
    report.other_files.push(file.clone());
    report.unread_sub_agents.push(file.clone());
    let misdated = MisdatedLines { n_lines: 2, first: Some((3, at)) };
    report.misdated_files.push((file.clone(), misdated));
    report.about_monitor.push(about_monitor);
    report.unsupported_files.insert("pi", vec![file]);
    report
}

/// Returns the page of a session whose names are a text.
fn page_of(text: &str) -> Box<SessionPage> {
    let mut engine = Engine::new(Vec::new(), EngineConfig::default());
    let prompt = EventKind::Prompt { text: text.into(), synthetic: false };
    let event = Event::new(Timestamp::UNIX_EPOCH, text, prompt);
    engine.observe(&event, &mut Vec::new());
    let facts = engine.session(&event.session).expect("the session has an event");
    let mut recorder = Recorder::new();
    recorder.observe(&event, facts, engine.agent(&event.session, None));
    Box::new(SessionPage { row: recorder.row(facts), recorder, measures: Vec::new() })
}

fn written(write: impl FnOnce(&mut Output<'_>) -> std::io::Result<()>) -> String {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let mut output = Output { out: &mut out, err: &mut err, styles: Styles::default() };
    write(&mut output).expect("a buffer can be written");
    String::from_utf8(out).expect("a report is UTF-8")
}

#[track_caller]
fn assert_safe(format: Format, text: &str) {
    let found = text.chars().find(|c| is_unsafe(*c) && *c != '\n');
    assert_eq!(found, None, "{format:?}: {text:?}");
    let is_json = |text: &str| serde_json::from_str::<Value>(text).is_ok();
    match format {
        Format::Json | Format::Sarif => assert!(is_json(text), "{format:?}: {text}"),
        Format::Ndjson => {
            assert!(text.lines().all(is_json), "{text}");
            assert_eq!(text.lines().count(), 1, "{text}");
        }
        Format::Github => {
            assert!(text.lines().all(|line| line.starts_with("::")), "{text}");
            assert_eq!(text.lines().count(), 7, "{text}");
        }
        Format::Csv => assert!(text.lines().all(|line| 11 <= line.matches(',').count())),
        Format::Html => assert!(text.contains("</html>"), "{text}"),
        Format::Text => {}
    }
}

fn check_all_formats(bytes: &[u8]) {
    let report = report_of(bytes);
    let kinds = Kinds::new("detectors", []).expect("no kind is twice");
    for format in Format::value_variants() {
        let text = written(|output| write(&report, *format, true, &kinds, output));
        assert_safe(*format, &text);
    }
    for by in GroupBy::value_variants() {
        for format in [Format::Text, Format::Json, Format::Csv] {
            assert_safe(
                format,
                &written(|output| write_groups(&report, *by, format, true, output)),
            );
        }
    }
}

#[test]
fn writes_hostile_names_safely_in_every_format() {
    for bytes in [
        &b"a\x1b]0;x\x07\xff.jsonl"[..],
        b"\r\n::error::x",
        "\u{9b}31m\u{202e}\u{2028}\u{feff}\u{e0041}".as_bytes(),
        b"%0A,:\"\\'=\t\0\x7f",
    ] {
        check_all_formats(bytes);
    }
}

proptest! {
    #[test]
    fn writes_any_name_safely_in_every_format(
        text in "(\\PC|[\u{0}-\u{1f}\u{7f}-\u{9f}\u{200b}-\u{202e}\u{2066}\u{feff}\"\\\\%:,=])*",
        byte in any::<u8>(),
    ) {
        let mut bytes = text.into_bytes();
        bytes.push(byte);
        check_all_formats(&bytes);
    }
}
