use std::array;

use super::{detectors::CompiledDetector, wakeups::mark};
use crate::{Event, Scope, SessionFacts, event::N_SORTS};

/// The detectors that watch a session, selected at its first event.
#[derive(Debug, Default, PartialEq)]
pub(super) struct SubscriptionTable {
    /// The detectors whose stream is the session.
    pub(super) session: Subscribers,
    /// The detectors whose streams are its agents.
    pub(super) agents: Subscribers,
}

/// Some of the detectors, by their indexes and in order of them.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Subscribers {
    all: Box<[u32]>,
    /// By the index of [`EventKind::sort_idx`](crate::EventKind::sort_idx).
    by_event: [Box<[Subscriber]>; N_SORTS],
}

/// A detector that receives events of one sort.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Subscriber {
    pub(super) detector_idx: u32,
    /// Whether it receives such events while it is idle.
    pub(super) is_start: bool,
    pub(super) is_timer_only: bool,
    /// The bit of the detector in a set of the first 64, or no bit.
    pub(super) mark: u64,
}

/// The detectors for a session: for its streams, and for those of its agents.
pub(super) struct Selection<'a> {
    session: Vec<&'a CompiledDetector>,
    agents: Vec<&'a CompiledDetector>,
}

impl<'a> Selection<'a> {
    /// Selects the detectors for a session whose first event is `first`.
    pub(super) fn new(
        detectors: &'a [CompiledDetector],
        facts: &SessionFacts,
        first: &Event,
    ) -> Self {
        let (mut session, mut agents) = (Vec::new(), Vec::new());
        for detector in detectors {
            if !detector.named.sessions.takes(facts, first) {
                continue;
            }
            match (&detector.named.per, detector.subscription.scope) {
                // A detector with `per` has streams of groups only.
                (Some(_), _) => {}
                (None, Scope::Session) => session.push(detector),
                (None, Scope::Agent) => agents.push(detector),
            }
        }
        Self { session, agents }
    }
}

impl SubscriptionTable {
    pub(super) fn new(selection: &Selection<'_>) -> Self {
        let table = |detectors: &[&CompiledDetector]| Subscribers::new(detectors.iter().copied());
        Self { session: table(&selection.session), agents: table(&selection.agents) }
    }

    /// Returns whether [`new`](Self::new) makes this table of a selection.
    pub(super) fn is_of(&self, selection: &Selection<'_>) -> bool {
        let has = |subscribers: &Subscribers, detectors: &[&CompiledDetector]| {
            subscribers.all.iter().copied().eq(detectors.iter().map(|it| it.idx))
        };
        has(&self.session, &selection.session) && has(&self.agents, &selection.agents)
    }

    /// Selects one detector for the sessions that share a label. Each event may be
    /// about another agent, so a timer-only detector receives all of them.
    pub(super) fn of_label(detector: &CompiledDetector) -> Self {
        let mut session = Subscribers::new(std::iter::once(detector));
        for subscriber in session.by_event.iter_mut().flat_map(|it| it.iter_mut()) {
            subscriber.is_timer_only = false;
        }
        Self { session, agents: Subscribers::default() }
    }

    /// Returns the table without one of the detectors.
    pub(super) fn without(&self, detector_idx: u32) -> Self {
        Self {
            session: self.session.without(detector_idx),
            agents: self.agents.without(detector_idx),
        }
    }
}

impl Subscribers {
    fn new<'a>(detectors: impl Iterator<Item = &'a CompiledDetector> + Clone) -> Self {
        let of_event = |sort_idx| {
            let receivers = detectors.clone();
            let receivers = receivers.filter(|it| it.subscription.events.contains_idx(sort_idx));
            let subscriber = |it: &CompiledDetector| Subscriber {
                detector_idx: it.idx,
                is_start: it.subscription.start_events.contains_idx(sort_idx),
                is_timer_only: it.subscription.is_timer_only,
                mark: mark(it.idx),
            };
            receivers.map(subscriber).collect()
        };
        Self {
            all: detectors.clone().map(|it| it.idx).collect(),
            by_event: array::from_fn(of_event),
        }
    }

    fn without(&self, detector_idx: u32) -> Self {
        let others = |sort_idx: usize| {
            let others = self.of(sort_idx).iter().filter(|it| it.detector_idx != detector_idx);
            others.copied().collect()
        };
        Self {
            all: self.all.iter().copied().filter(|idx| *idx != detector_idx).collect(),
            by_event: array::from_fn(others),
        }
    }

    /// Returns the detectors that receive events of a sort.
    pub(super) fn of(&self, sort_idx: usize) -> &[Subscriber] {
        &self.by_event[sort_idx]
    }

    pub(super) fn contain(&self, detector_idx: u32) -> bool {
        self.all.contains(&detector_idx)
    }
}
