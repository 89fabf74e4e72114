//! Finds exceptions and overrides that match nothing.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering::Relaxed},
    },
};

use watchkeeper_core::{
    Context, Detector, Event, EventKind, Fingerprint, Subscription,
    author::make_safe,
    embed::{NamedDetector, SessionFilter},
};

use crate::{
    diagnostic::Diagnostic,
    exception_filter::{Exception, Match, SpannedException},
    files::Files,
    tree::Span,
};

/// Records which exceptions and overrides of a policy match recorded sessions.
///
/// Run [`probes`](Self::probes) over the sessions, then call
/// [`unmatched`](Self::unmatched). An entry without a match may be obsolete or
/// misspelled.
#[derive(Default)]
pub struct MatchTracker {
    entries: Vec<TrackedEntry>,
    /// The index of each entry, by the start and the end of its span.
    by_span: BTreeMap<(usize, usize), usize>,
    probes: Vec<NamedDetector>,
}

struct TrackedEntry {
    /// The location. An entry that applies to several combinations of overrides
    /// is tracked once.
    span: Span,
    /// The warning if nothing matches the entry.
    warning: Diagnostic,
    /// `NO_MATCH`, `TOOL_MATCH` or `FULL_MATCH`, shared with the probes.
    best_match: Arc<AtomicU8>,
    /// Another exception that covers this one in every combination.
    covered_by: Option<Span>,
}

const NO_MATCH: u8 = 0;
const TOOL_MATCH: u8 = 1;
const FULL_MATCH: u8 = 2;

impl fmt::Debug for MatchTracker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MatchTracker({})", self.entries.len())
    }
}

impl MatchTracker {
    /// Returns detectors that report no findings. In an engine, they record here
    /// which exceptions and overrides match the sessions of that engine.
    pub fn probes(&self) -> Vec<NamedDetector> {
        self.probes.clone()
    }

    /// Returns a warning for each exception and override that has matched nothing
    /// so far.
    pub fn unmatched(&self) -> Vec<Diagnostic> {
        let warning = |entry: &TrackedEntry| {
            let warning = entry.warning.clone();
            match entry.best_match.load(Relaxed) {
                FULL_MATCH => None,
                TOOL_MATCH => Some(warning.note(
                    "calls of this tool exist, but none with these `arguments`; a pattern must \
                     match the whole value, as in `command = \"*make check*\"`",
                )),
                _ => Some(warning),
            }
        };
        self.entries.iter().filter_map(warning).collect()
    }

    /// Returns the number of exceptions and overrides.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Returns whether the policy has neither exceptions nor overrides.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Turns spans into all files into spans into one file.
    pub(crate) fn settle(&mut self, files: &Files) {
        self.entries.iter_mut().for_each(|it| it.warning.settle(files));
    }

    pub(crate) fn add_override(&mut self, span: Span, reason: Option<&str>, filter: SessionFilter) {
        let message = "no recorded session matches this override";
        let best_match = self.track(span, message, reason, None);
        self.probes.push(probe(filter, Probe { exception: None, best_match }));
    }

    /// Adds the exceptions of a detector. `may_compare` is false if they are too many to find
    /// those that another one covers.
    pub(crate) fn add_exceptions(
        &mut self,
        exceptions: &[SpannedException],
        filter: &SessionFilter,
        may_compare: bool,
    ) {
        for (exception_idx, SpannedException { span, exception }) in exceptions.iter().enumerate() {
            let mut others = exceptions.iter().enumerate().filter(|_| may_compare);
            let covering = others.find(|(other_idx, other)| {
                *other_idx != exception_idx
                    && other.exception.covers(exception)
                    // Of two equal exceptions, the later one is covered.
                    && (*other_idx < exception_idx || !exception.covers(&other.exception))
            });
            let covered_by = covering.map(|(_, other)| other.span.clone());
            let message = "no recorded call matches this exception";
            let reason = exception.reason.as_deref();
            let best_match = self.track(span.clone(), message, reason, covered_by);
            let exception = Some(exception.clone());
            self.probes.push(probe(filter.clone(), Probe { exception, best_match }));
        }
    }

    /// Adds an entry, unless it is tracked already, and returns its best match.
    fn track(
        &mut self,
        span: Span,
        message: &str,
        reason: Option<&str>,
        covered_by: Option<Span>,
    ) -> Arc<AtomicU8> {
        let next = self.entries.len();
        let entry_idx = *self.by_span.entry((span.start, span.end)).or_insert(next);
        if let Some(entry) = self.entries.get_mut(entry_idx) {
            if covered_by.is_none() {
                entry.covered_by = None;
            }
            return Arc::clone(&entry.best_match);
        }
        let mut warning = Diagnostic::warning(span.clone(), message)
            .note("remove it, or compare its spelling with the sessions");
        if let Some(reason) = reason {
            warning = warning.note(format!("its reason is: {}", make_safe(reason)));
        }
        let best_match = Arc::new(AtomicU8::new(NO_MATCH));
        let entry = TrackedEntry { span, warning, best_match: Arc::clone(&best_match), covered_by };
        self.entries.push(entry);
        best_match
    }

    /// Returns a warning for each exception that another one covers.
    pub(crate) fn covered_exceptions(&self, files: &Files) -> Vec<Diagnostic> {
        let warning = |entry: &TrackedEntry| {
            let other = entry.covered_by.as_ref()?;
            let message = "this exception has no effect: another one covers all of its calls";
            let note = format!("the other exception is at {}", files.origin(other));
            Some(Diagnostic::warning(entry.span.clone(), message).note(note))
        };
        self.entries.iter().filter_map(warning).collect()
    }
}

/// A detector that records matches and reports nothing.
#[derive(Clone, Debug)]
struct Probe {
    /// The exception to match. `None` for an override, which matches if the
    /// probe receives any event.
    exception: Option<Exception>,
    best_match: Arc<AtomicU8>,
}

impl Detector for Probe {
    fn observe(&mut self, event: &Event, _: &mut Context<'_>) {
        let found = match (&self.exception, &event.kind) {
            (None, _) => FULL_MATCH,
            (Some(exception), EventKind::ToolCall(call)) => match exception.matches(call) {
                Match::Full => FULL_MATCH,
                Match::ToolOnly => TOOL_MATCH,
                Match::None => NO_MATCH,
            },
            _ => NO_MATCH,
        };
        self.best_match.fetch_max(found, Relaxed);
    }

    fn subscription(&self) -> Subscription {
        Subscription::default().per_session()
    }
}

fn probe(sessions: SessionFilter, probe: Probe) -> NamedDetector {
    NamedDetector {
        id: "probe".into(),
        kind: "probe".into(),
        class: "probe".into(),
        annotations: Arc::default(),
        levels: Vec::new(),
        inhibited_by: Vec::new(),
        per: None,
        sessions,
        options: Fingerprint::NONE,
        detector: Box::new(probe),
    }
}
