use std::collections::BTreeMap;

use crate::detail::{BarKind, BarOutcome, Bars};

/// One bar of a lane, or several that were merged.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bar {
    pub(crate) start_ms: u64,
    pub(crate) end_ms: u64,
    pub(crate) kind: BarKind,
    pub(crate) outcome: BarOutcome,
    pub(crate) text: u32,
    pub(crate) count: u32,
    pub(crate) failed: u32,
    pub(crate) repeats: u32,
    pub(crate) file: u32,
    pub(crate) line: u64,
    pub(crate) tokens: u64,
    pub(crate) micro_usd: u64,
}

impl Bar {
    /// Makes a bar of one event, which the caller completes.
    pub(crate) fn new(kind: BarKind, start_ms: u64) -> Self {
        Self {
            start_ms,
            end_ms: start_ms,
            kind,
            outcome: BarOutcome::Ok,
            text: 0,
            count: 1,
            failed: 0,
            repeats: 0,
            file: 0,
            line: 0,
            tokens: 0,
            micro_usd: 0,
        }
    }

    fn duration_ms(&self) -> u64 {
        self.end_ms - self.start_ms
    }

    /// Merges a bar of the same kind that begins later, or at the same time.
    fn merge(&mut self, later: Self) {
        if self.duration_ms() < later.duration_ms() {
            self.text = later.text;
        }
        self.end_ms = self.end_ms.max(later.end_ms);
        self.outcome = self.outcome.max(later.outcome);
        self.count = self.count.saturating_add(later.count);
        self.failed = self.failed.saturating_add(later.failed);
        self.repeats = self.repeats.saturating_add(later.repeats);
        self.tokens = self.tokens.saturating_add(later.tokens);
        self.micro_usd = self.micro_usd.saturating_add(later.micro_usd);
    }
}

/// Merges the bars of one kind that begin in the same period of this length. The bars are in
/// order of their start afterwards.
pub(crate) fn merge(bars: &mut Vec<Bar>, resolution_ms: u64) {
    bars.sort_by_key(|bar| (bar.start_ms, bar.end_ms));
    let mut merged: Vec<Bar> = Vec::new();
    let mut latest: BTreeMap<BarKind, usize> = BTreeMap::new();
    for bar in bars.drain(..) {
        let position = latest.get(&bar.kind).copied();
        let period = |bar: &Bar| bar.start_ms / resolution_ms.max(1);
        match position.map(|idx| &mut merged[idx]) {
            Some(earlier) if period(earlier) == period(&bar) => earlier.merge(bar),
            _ => {
                latest.insert(bar.kind, merged.len());
                merged.push(bar);
            }
        }
    }
    *bars = merged;
}

/// Returns the length of the next longer period.
pub(crate) fn coarser(resolution_ms: u64) -> u64 {
    resolution_ms.saturating_mul(2).max(16)
}

impl Bars {
    /// Appends a bar. `text` and `file` are its indices in the tables of the session.
    pub(crate) fn push(&mut self, bar: &Bar, text: u32, file: u32) {
        self.start_ms.push(bar.start_ms);
        self.duration_ms.push(bar.duration_ms());
        self.kind.push(bar.kind);
        self.outcome.push(bar.outcome);
        self.text.push(text);
        self.count.push(bar.count);
        self.failed.push(bar.failed);
        self.repeats.push(bar.repeats);
        self.file.push(file);
        self.line.push(bar.line);
        self.tokens.push(bar.tokens);
        self.micro_usd.push(bar.micro_usd);
    }

    /// Returns the number of bars.
    pub fn len(&self) -> usize {
        self.start_ms.len()
    }

    /// Returns whether there is no bar.
    pub fn is_empty(&self) -> bool {
        self.start_ms.is_empty()
    }
}
