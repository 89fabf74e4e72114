//! A source for tests: every line is a message.

use std::path::Path;

use watchkeeper_core::{
    EventKind, SessionId, Source, SourceKind, Timestamp, author::EventSink, embed::SourceEntry,
};

pub(crate) static PLAIN: SourceEntry = SourceEntry::of::<Plain>("here");

struct Plain;

impl Source for Plain {
    fn read_line(&mut self, line: &[u8], sink: &mut EventSink<'_>) {
        if line == b"bad" {
            return sink.skip_line("bad");
        }
        let Ok(text) = std::str::from_utf8(line) else { return sink.skip_line("not UTF-8") };
        let text = text.into();
        let kind = EventKind::Message { text, delta: false };
        sink.event(Timestamp::UNIX_EPOCH, &SessionId::from("s"), None, kind);
    }
}

impl SourceKind for Plain {
    const KIND: &'static str = "plain";
    const DOCS: &'static str = "Lines.";

    fn recognizes(_path: &Path, head: &[u8]) -> bool {
        head.starts_with(b"line ")
    }

    fn new(_path: &Path) -> Self {
        Self
    }
}
