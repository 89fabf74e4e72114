use std::array;

use super::detectors::CompiledDetector;
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
}

impl SubscriptionTable {
    /// Selects the detectors for a session whose first event is `first`.
    pub(super) fn new(detectors: &[CompiledDetector], facts: &SessionFacts, first: &Event) -> Self {
        let select = |scope| {
            let watches = |it: &&CompiledDetector| it.named.sessions.takes(facts, first);
            // A detector with `per` has streams of groups only.
            let watching = detectors.iter().filter(watches);
            let watching =
                watching.filter(|it| it.named.per.is_none() && it.subscription.scope == scope);
            Subscribers::new(watching)
        };
        Self { session: select(Scope::Session), agents: select(Scope::Agent) }
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
