use std::array;

use super::{detector_set::DetectorSet, detectors::CompiledDetector};
use crate::{Event, Scope, SessionFacts, event::N_SORTS};

/// The detectors that watch a session, selected at its first event.
#[derive(Debug, Default, PartialEq)]
pub(super) struct SubscriptionTable {
    /// The detectors whose stream is the session.
    pub(super) session: Subscribers,
    /// The detectors whose streams are its agents.
    pub(super) agents: Subscribers,
}

/// Some of the detectors.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Subscribers {
    /// The indexes, in ascending order.
    all: Box<[u32]>,
    /// By the index of [`EventKind::sort_idx`](crate::EventKind::sort_idx), the blocks that have
    /// receivers in ascending order.
    by_event: [Box<[Receivers]>; N_SORTS],
}

/// The detectors of one block that receive events of one sort.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Receivers {
    pub(super) block: u32,
    pub(super) all: DetectorSet,
    /// The detectors that receive such events while they are idle.
    pub(super) idle: DetectorSet,
    pub(super) timer_only: DetectorSet,
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
        Self::of(detectors, |detector| detector.named.sessions.takes(facts, first))
    }

    /// Selects the detectors for which `is_selected` returns `true`.
    pub(super) fn of(
        detectors: &'a [CompiledDetector],
        is_selected: impl Fn(&CompiledDetector) -> bool,
    ) -> Self {
        let (mut session, mut agents) = (Vec::new(), Vec::new());
        for detector in detectors {
            if !is_selected(detector) {
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
            subscribers.all.iter().copied().eq(detectors.iter().map(|it| it.idx()))
        };
        has(&self.session, &selection.session) && has(&self.agents, &selection.agents)
    }

    /// Selects one detector for the sessions that share a label. Each event may be
    /// about another agent, so a timer-only detector receives all of them.
    pub(super) fn of_label(detector: &CompiledDetector) -> Self {
        let mut session = Subscribers::new(std::iter::once(detector));
        for receivers in session.by_event.iter_mut().flat_map(|it| it.iter_mut()) {
            receivers.timer_only = DetectorSet::default();
        }
        Self { session, agents: Subscribers::default() }
    }

    /// Returns whether a detector watches the session or its agents.
    pub(super) fn contains(&self, detector_idx: u32) -> bool {
        self.session.all.contains(&detector_idx) || self.agents.all.contains(&detector_idx)
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
            let mut blocks: Vec<Receivers> = Vec::new();
            let receives = |it: &&CompiledDetector| it.subscription.events.contains_idx(sort_idx);
            for detector in detectors.clone().filter(receives) {
                let block = DetectorSet::block_of(detector.idx());
                if blocks.last().is_none_or(|last| last.block != block) {
                    blocks.push(Receivers { block, ..Receivers::default() });
                }
                if let Some(last) = blocks.last_mut() {
                    last.add(detector, sort_idx);
                }
            }
            blocks.into()
        };
        Self {
            all: detectors.clone().map(CompiledDetector::idx).collect(),
            by_event: array::from_fn(of_event),
        }
    }

    fn without(&self, detector_idx: u32) -> Self {
        let (block, removed) =
            (DetectorSet::block_of(detector_idx), DetectorSet::one(detector_idx));
        let mut by_event = self.by_event.clone();
        let blocks = by_event.iter_mut().flat_map(|it| it.iter_mut());
        for receivers in blocks.filter(|receivers| receivers.block == block) {
            receivers.all = receivers.all - removed;
            receivers.idle = receivers.idle - removed;
        }
        Self {
            all: self.all.iter().copied().filter(|idx| *idx != detector_idx).collect(),
            by_event,
        }
    }

    /// Returns the detectors that receive events of a sort, by block.
    pub(super) fn of(&self, sort_idx: usize) -> &[Receivers] {
        &self.by_event[sort_idx]
    }
}

impl Receivers {
    /// Adds a detector of the block, which receives events of a sort.
    fn add(&mut self, detector: &CompiledDetector, sort_idx: usize) {
        let own = DetectorSet::one(detector.idx());
        self.all = self.all | own;
        if detector.subscription.start_events.contains_idx(sort_idx) {
            self.idle = self.idle | own;
        }
        if detector.subscription.is_timer_only {
            self.timer_only = self.timer_only | own;
        }
    }
}
