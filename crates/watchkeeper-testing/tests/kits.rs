//! The kits of sinks and sources catch kinds that break a promise.

use std::{
    panic::catch_unwind,
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use insta::assert_snapshot;
use schemars::JsonSchema;
use serde::Deserialize;
use watchkeeper_core::{
    EventKind, Finding, InvalidOption, Sink, SinkKind, Source, SourceKind, Status, Timestamp,
    author::{EventSink, Retry, SinkError},
};
use watchkeeper_testing::{sink, source};

/// Returns the message of the check that fails.
#[track_caller]
fn failure(check: fn()) -> String {
    let payload = catch_unwind(check).expect_err("the check should fail");
    payload.downcast_ref::<String>().expect("the message is formatted").clone()
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct NoOptions {}

const SINK_DOCS: &str = "# acme-sink\n\nDrops findings.\n\n## What it does\n\n## Example\n\n```toml\n\
    [sinks.acme-sink]\n```\n\n## Limits\n";

/// Declares a sink: its name, its `deliver`, and further methods.
macro_rules! sink {
    ($name:ident, $deliver:expr, $($method:item)*) => {
        struct $name;

        impl Sink for $name {
            fn deliver(&mut self, finding: &Finding) -> Result<(), SinkError> {
                let deliver: fn(&Finding) -> Result<(), SinkError> = $deliver;
                deliver(finding)
            }

            $($method)*
        }

        impl SinkKind for $name {
            const KIND: &'static str = "acme-sink";
            const DOCS: &'static str = SINK_DOCS;
            type Options = NoOptions;

            fn new(_: NoOptions) -> Result<Self, InvalidOption> {
                Ok(Self)
            }
        }
    };
}

sink!(Correct, |_| Ok(()),);
sink!(RefusesText, |finding| {
    if finding.message.is_ascii() { Ok(()) } else { Err(SinkError::refused("not ASCII")) }
},);
sink!(Slices, |finding| {
    let _ = &finding.message[..finding.message.len().min(1)];
    Ok(())
},);
sink!(NeedsEvidence, |finding| {
    assert!(finding.status == Status::Open || !finding.evidence.is_empty(), "no evidence");
    Ok(())
},);
sink!(Refuses, |_| Err(SinkError::refused("no")),);
sink!(RetriesText, |finding| match finding.message.len() {
    0..1_000 => Ok(()),
    _ => Err(SinkError::unavailable("413 Payload Too Large")),
},);
sink!(
    CannotOpen,
    |_| Ok(()),
    fn open(&mut self) -> Result<(), SinkError> {
        Err(SinkError::unavailable("connection refused"))
    }
);
static N_OPEN: AtomicU64 = AtomicU64::new(0);
sink!(
    OpensOnce,
    |_| Ok(()),
    fn open(&mut self) -> Result<(), SinkError> {
        assert_eq!(N_OPEN.fetch_add(1, Ordering::Relaxed), 0, "opened twice");
        Ok(())
    }
);
sink!(
    Busy,
    |_| Ok(()),
    fn retry(&self) -> Retry {
        Retry::new(9, Duration::ZERO, Duration::ZERO)
    }
);

#[test]
fn accepts_sinks_that_keep_the_promises() {
    sink::check::<Correct>("");
    sink::check::<RefusesText>("");
}

#[test]
fn catches_sinks_that_break_a_promise() {
    for (check, message) in [
        (sink::check::<Slices> as fn(&str), "`deliver` panicked: "),
        (sink::check::<NeedsEvidence>, "`deliver` panicked: no evidence"),
        (sink::check::<Refuses>, "`deliver` failed: refused: no"),
        (sink::check::<RetriesText>, "and the queue retries: unavailable: 413 Payload Too Large"),
        (sink::check::<CannotOpen>, "`open` failed: unavailable: connection refused"),
        (sink::check::<OpensOnce>, "a second sink panicked: assertion `left == right` failed"),
        (sink::check::<Busy>, "`retry` returns Retry { max_attempts: 9"),
    ] {
        let payload = catch_unwind(|| check("")).expect_err(message);
        let text = payload.downcast_ref::<String>().expect("the message is formatted");
        assert!(text.starts_with("`acme-sink` breaks a promise: "), "{text}");
        assert!(text.contains(message), "{text}");
    }
}

#[test]
fn a_failure_of_a_sink_shows_how_to_repeat_it() {
    assert_snapshot!(failure(|| sink::check::<RetriesText>("")), @r#"
    `acme-sink` breaks a promise: `deliver` failed, and the queue retries: unavailable: 413 Payload Too Large

    the promise: a finding that cannot be delivered is refused: `SinkError::refused`

    to repeat the failure, add this test:

        #[test]
        fn repeats_the_failure() {
            sink::deliver::<RetriesText>("", &sink::findings()[6..=6]);
        }
    "#);
}

#[test]
fn deliver_returns_a_result_for_each_finding() {
    let results = sink::deliver::<RefusesText>("", &sink::findings());
    assert_eq!(results.len(), sink::findings().len());
    assert!(results[0].is_ok());
    assert!(results.iter().any(|result| matches!(result, Err(SinkError::Refused { .. }))));
}

const CHAT: (&str, &str) = ("a.chat", "1 user: fix the build\n2 user: and the tests\n\n");

/// Emits one prompt.
fn emit(seconds: i64, session: &str, text: &str, sink: &mut EventSink<'_>) {
    let at = Timestamp::from_second(seconds).unwrap_or_default();
    let kind = EventKind::Prompt { text: text.into(), synthetic: false };
    sink.event(at, &session.into(), None, kind);
}

/// Parses a line such as `1 user: fix the build`.
fn parse(line: &[u8]) -> Option<(i64, &str)> {
    let (seconds, text) = std::str::from_utf8(line).ok()?.split_once(" user: ")?;
    Some((seconds.parse().ok()?, text))
}

/// Declares a source: its name, its `recognizes`, its `read_line`, and constants.
macro_rules! source {
    ($name:ident, $recognizes:expr, $read_line:expr, $($constant:item)*) => {
        struct $name;

        impl Source for $name {
            fn read_line(&mut self, line: &[u8], sink: &mut EventSink<'_>) {
                let read_line: fn(&[u8], &mut EventSink<'_>) = $read_line;
                read_line(line, sink);
            }
        }

        impl SourceKind for $name {
            const KIND: &'static str = "acme-chat";
            const DOCS: &'static str = "# acme-chat\n\nReads chats.\n";
            const FILES: &'static [&'static str] = &["*.chat"];
            $($constant)*

            fn recognizes(_path: &Path, head: &[u8]) -> bool {
                let recognizes: fn(&[u8]) -> bool = $recognizes;
                recognizes(head)
            }

            fn new(_path: &Path) -> Self {
                Self
            }
        }
    };
}

fn is_chat(head: &[u8]) -> bool {
    head.starts_with(b"1 user: ")
}

fn read(line: &[u8], sink: &mut EventSink<'_>) {
    match parse(line) {
        _ if line.is_empty() => {}
        Some((seconds, text)) => emit(seconds, "s1", text, sink),
        None => sink.skip_line("not a message"),
    }
}

source!(Chat, is_chat, read,);
source!(Greedy, |_| true, read,);
source!(Strict, |_| false, read,);
source!(Empty, is_chat, |_, sink| sink.skip_line("not a message"),);
source!(NoSession, is_chat, |line, sink| {
    if let Some((seconds, text)) = parse(line) {
        emit(seconds, "", text, sink);
    }
},);
source!(WrongLine, is_chat, |line, sink| {
    sink.at_line(sink.line() + 100);
    read(line, sink);
},);
source!(Silent, is_chat, |line, sink| {
    if let Some((seconds, text)) = parse(line) {
        emit(seconds, "s1", text, sink);
    }
},);
source!(Overflows, is_chat, |line, sink| {
    let digits = line.iter().take_while(|byte| byte.is_ascii_digit());
    let seconds = digits.fold(0_i8, |sum, digit| {
        sum.checked_mul(10).expect("it overflows") + (digit & 0xf).cast_signed()
    });
    match parse(line) {
        Some((_, text)) => emit(seconds.into(), "s1", text, sink),
        None => sink.skip_line("not a message"),
    }
},);
source!(Unwraps, is_chat, |line, sink| {
    let text = std::str::from_utf8(line).expect("the line is UTF-8");
    read(text.as_bytes(), sink);
},);
static N_LINES: AtomicU64 = AtomicU64::new(0);
source!(Global, is_chat, |line, sink| {
    let n_lines = N_LINES.fetch_add(1, Ordering::Relaxed);
    match parse(line) {
        Some((_, text)) => emit(i64::try_from(n_lines).unwrap_or(0), "s1", text, sink),
        None => sink.skip_line("not a message"),
    }
},);
source!(Repeats, is_chat, read, const IS_REWRITTEN: bool = true;);

#[test]
fn accepts_a_source_that_keeps_the_promises() {
    source::check::<Chat>(&[CHAT]);
}

#[test]
fn catches_sources_that_break_a_promise() {
    for (check, message) in [
        (source::check::<Greedy> as fn(&[(&str, &str)]), "returns true for an empty file"),
        (source::check::<Strict>, "`recognizes` returns false for the sample `a.chat`"),
        (source::check::<Empty>, "the sample `a.chat` gives no event"),
        (source::check::<NoSession>, "a `prompt` has the session \"\""),
        (source::check::<WrongLine>, "and the line Some(101)"),
        (source::check::<Silent>, "lines of no format give no event, and are not counted"),
        (source::check::<Overflows>, "panicked: "),
        (source::check::<Unwraps>, "panicked: "),
        (source::check::<Global>, "two readings of the first 1 lines differ"),
        (source::check::<Repeats>, "a second reading of `a.chat` gives 2 events again"),
    ] {
        let payload = catch_unwind(|| check(&[CHAT])).expect_err(message);
        let text = payload.downcast_ref::<String>().expect("the message is formatted");
        assert!(text.starts_with("`acme-chat` breaks a promise: "), "{text}");
        assert!(text.contains(message), "{text}");
    }
}

#[test]
fn catches_a_file_name_that_is_not_listed() {
    let text = failure(|| source::check::<Chat>(&[("a.txt", CHAT.1)]));
    assert!(text.contains("`FILES` = [\"*.chat\"] does not match `a.txt`"), "{text}");
}

#[test]
fn a_failure_of_a_source_shows_the_shortest_text() {
    let text = failure(|| source::check::<Unwraps>(&[CHAT]));
    let (_, code) = text.split_once("source::read::<Unwraps>(\"a.chat\", b\"").expect(&text);
    let (text, _) = code.split_once("\");").expect("the statement ends");
    assert!(text.len() < 40 && text.contains("\\x"), "{text}");
}

#[test]
fn a_reading_is_written_as_a_trace() {
    let reading = source::read::<Chat>("a.chat", "5 user: hello\r\nnoise\n8 user: bye");
    assert_snapshot!(reading.trace(), @r#"
    0s prompt "hello"
    3s prompt "bye"
    "#);
    assert_eq!(reading.skipped_lines.total(), 1);
}
