//! Which exceptions and overrides of a policy are of use.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering::Relaxed},
    },
};

use watchkeeper_core::{
    Context, Detector, Event, EventKind, NamedDetector, SessionFilter, Subscription, make_safe,
};

use crate::{
    Diagnostic,
    exceptions::{Exception, Match, WrittenException},
    files::Files,
    reader::Reader,
    tree::Span,
};

/// The exceptions and overrides of a policy, to be held against recorded
/// sessions: what matches nothing in them may have outlived its reason, or was
/// never written right.
#[derive(Default)]
pub struct MatchTracker {
    list: Vec<TrackedEntry>,
    /// What notices that they match; see [`probes`](Self::probes).
    probes: Vec<NamedDetector>,
}

struct TrackedEntry {
    /// Where it stands. One that holds in several ways in which overrides come
    /// together is here once.
    span: Span,
    /// What is said of it if nothing matches it.
    diagnostic: Diagnostic,
    met: Arc<AtomicU8>,
    /// Another that covers it, wherever it holds.
    covered_by: Option<Span>,
}

impl fmt::Debug for MatchTracker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MatchTracker({})", self.list.len())
    }
}

impl MatchTracker {
    /// Detectors that find nothing: an engine that runs them over recorded
    /// sessions tells this which exceptions and overrides match.
    pub fn probes(&self) -> Vec<NamedDetector> {
        self.probes.clone()
    }

    /// A warning for each that has matched nothing so far.
    pub fn unmet(&self) -> Vec<Diagnostic> {
        let unmet = |it: &TrackedEntry| {
            let diagnostic = it.diagnostic.clone();
            match it.met.load(Relaxed) {
                MET => None,
                MET_IN_PART => Some(diagnostic.note(
                    "there are calls of such a tool, but none with such `arguments`; they are \
                     matched whole, as in `command = \"*make check*\"`",
                )),
                _ => Some(diagnostic),
            }
        };
        self.list.iter().filter_map(unmet).collect()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Turns spans into all files into spans into one.
    pub(crate) fn settle(&mut self, files: &Files) {
        self.list.iter_mut().for_each(|it| it.diagnostic.settle(files));
    }

    pub(crate) fn add_override(&mut self, span: Span, reason: Option<&str>, filter: SessionFilter) {
        let message = "no recorded session matches this override";
        let met = self.track(span, message, reason, None);
        self.probes.push(probe(filter, Probe { exception: None, met }));
    }

    pub(crate) fn add_exceptions(
        &mut self,
        exceptions: &[WrittenException],
        filter: &SessionFilter,
    ) {
        for (exception_idx, it) in exceptions.iter().enumerate() {
            let covering = exceptions.iter().enumerate().find(|(other_idx, other)| {
                *other_idx != exception_idx
                    && other.exception.covers(&it.exception)
                    // Of two that say the same, the later is one too many.
                    && (*other_idx < exception_idx || !it.exception.covers(&other.exception))
            });
            let covered_by = covering.map(|(_, other)| other.span.clone());
            let message = "no recorded call matches this exception";
            let reason = it.exception.reason.as_deref();
            let met = self.track(it.span.clone(), message, reason, covered_by);
            self.probes
                .push(probe(filter.clone(), Probe { exception: Some(it.exception.clone()), met }));
        }
    }

    /// Notes that there is one, and gives back what is to be told when it matches.
    fn track(
        &mut self,
        span: Span,
        message: &str,
        reason: Option<&str>,
        covered_by: Option<Span>,
    ) -> Arc<AtomicU8> {
        if let Some(known) = self.list.iter_mut().find(|it| it.span == span) {
            if covered_by.is_none() {
                known.covered_by = None;
            }
            return Arc::clone(&known.met);
        }
        let mut diagnostic = Diagnostic::warning(span.clone(), message)
            .note("take it out, or see that it is written as the sessions have it");
        if let Some(reason) = reason {
            diagnostic = diagnostic.note(format!("its reason is: {}", make_safe(reason)));
        }
        let met = Arc::default();
        self.list.push(TrackedEntry { span, diagnostic, met: Arc::clone(&met), covered_by });
        met
    }
}

impl Reader<'_> {
    /// Points at exceptions that others make superfluous.
    pub(crate) fn warn_of_covered(&mut self, match_tracker: &MatchTracker) {
        for it in &match_tracker.list {
            let Some(other) = &it.covered_by else { continue };
            let message = "this exception changes nothing: another covers all of its calls";
            let note = format!("the other is at {}", self.files.origin(other));
            self.push(Diagnostic::warning(it.span.clone(), message).note(note));
        }
    }
}

const MET_IN_PART: u8 = 1;
const MET: u8 = 2;

/// Notices that something matches.
#[derive(Clone, Debug)]
struct Probe {
    /// Without one, it is enough that a session is watched.
    exception: Option<Exception>,
    met: Arc<AtomicU8>,
}

impl Detector for Probe {
    fn observe(&mut self, event: &Event, _: &mut Context<'_>) {
        let met = match (&self.exception, &event.kind) {
            (None, _) => MET,
            (Some(it), EventKind::ToolCall(call)) => match it.matches(call) {
                Match::Whole => MET,
                Match::ToolOnly => MET_IN_PART,
                Match::Not => return,
            },
            _ => return,
        };
        self.met.fetch_max(met, Relaxed);
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
        levels: Vec::new(),
        inhibited_by: Vec::new(),
        per_label: None,
        sessions,
        detector: Box::new(probe),
    }
}
