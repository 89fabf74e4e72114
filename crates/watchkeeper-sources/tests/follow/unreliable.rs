//! Sources for tests that panic at one stage of reading.

use std::path::Path;

use watchkeeper_core::{Source, SourceKind, Timestamp, author::EventSink, embed::SourceEntry};

pub(crate) static PANICS_IN_RECOGNIZES: SourceEntry = SourceEntry::of::<Unreliable<0>>("here");
pub(crate) static PANICS_IN_NEW: SourceEntry = SourceEntry::of::<Unreliable<1>>("here");
pub(crate) static PANICS_IN_READ_LINE: SourceEntry = SourceEntry::of::<Unreliable<2>>("here");
pub(crate) static PANICS_IN_FINISH: SourceEntry = SourceEntry::of::<Unreliable<3>>("here");
pub(crate) static PANICS_IN_PAUSE: SourceEntry = SourceEntry::of::<Unreliable<4>>("here");

/// Reads `.acme` files, and panics at the stage `STAGE`.
struct Unreliable<const STAGE: u8>;

fn panic_at(stage: u8, panicking: u8) {
    assert!(stage != panicking, "stage {stage}\u{1b}[2J");
}

impl<const STAGE: u8> Source for Unreliable<STAGE> {
    fn read_line(&mut self, line: &[u8], sink: &mut EventSink<'_>) {
        let kind = watchkeeper_core::EventKind::TurnEnd;
        sink.event(Timestamp::UNIX_EPOCH, &"acme".into(), None, kind);
        if line.starts_with(b"bad") {
            panic_at(2, STAGE);
        }
    }

    fn finish(&mut self, _: &mut EventSink<'_>) {
        panic_at(3, STAGE);
    }

    fn pause(&mut self, _: &mut EventSink<'_>) {
        panic_at(4, STAGE);
    }
}

impl<const STAGE: u8> SourceKind for Unreliable<STAGE> {
    const KIND: &'static str = ["acme-0", "acme-1", "acme-2", "acme-3", "acme-4"][STAGE as usize];
    const DOCS: &'static str = "Panics.";
    const FILES: &'static [&'static str] = &["*.acme"];

    fn recognizes(_path: &Path, head: &[u8]) -> bool {
        let is_ours = head.starts_with(b"acme ");
        if is_ours {
            panic_at(0, STAGE);
        }
        is_ours
    }

    fn new(_path: &Path) -> Self {
        panic_at(1, STAGE);
        Self
    }
}
