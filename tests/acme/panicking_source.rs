use std::{path::Path, str};

use watchkeeper_core::{EventKind, SessionId, Source, SourceKind, Timestamp, author::EventSink};

/// Reads prompts, one per line: `2026-03-01T10:00:00Z session text`. Panics if the
/// text is `panic`.
pub(crate) struct PanickingSource;

impl SourceKind for PanickingSource {
    const KIND: &'static str = "acme-prompts";
    const DOCS: &'static str = "# acme-prompts\n\nReads prompts.\n";
    const FILES: &'static [&'static str] = &["*.acme"];

    fn recognizes(path: &Path, _: &[u8]) -> bool {
        path.extension().is_some_and(|extension| extension == "acme")
    }

    fn new(_: &Path) -> Self {
        Self
    }
}

impl Source for PanickingSource {
    fn read_line(&mut self, line: &[u8], sink: &mut EventSink<'_>) {
        let mut words = str::from_utf8(line).unwrap_or_default().splitn(3, ' ');
        let (Some(at), Some(session), Some(text)) = (words.next(), words.next(), words.next())
        else {
            return sink.skip_line("not a prompt");
        };
        assert!(text != "panic", "line {} says panic", sink.line());
        let Ok(at) = at.parse::<Timestamp>() else { return sink.skip_line("no time") };
        let prompt = EventKind::Prompt { text: text.into(), synthetic: false };
        sink.event(at, &SessionId::from(session), None, prompt);
    }
}
