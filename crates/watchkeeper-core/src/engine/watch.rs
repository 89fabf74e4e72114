use std::array;

use super::Posted;
use crate::{Event, Scope, SessionFacts, event::N_SORTS};

/// The detectors that watch a session, as its first event settled it.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Watch {
    /// Those that see all of it.
    pub(super) session: Readers,
    /// Those that see one agent each.
    pub(super) agents: Readers,
}

/// Some detectors, by their places in the policy and in order of them.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Readers {
    all: Box<[u32]>,
    /// By what an [`EventSet`](crate::EventSet) tells apart.
    by_event: [ReadersOf; N_SORTS],
}

/// Those that read events of one sort.
#[derive(Debug, Default, PartialEq)]
pub(super) struct ReadersOf {
    pub(super) all: Box<[Reader]>,
    /// Those among them that do not sleep.
    pub(super) sleepless: Box<[Reader]>,
    /// The bits of the others.
    pub(super) sleepers: Sleepers,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Reader {
    pub(super) detector_idx: u32,
    /// Whether it reads such events also when it is at rest.
    pub(super) begins: bool,
    /// Its bit, if it sleeps.
    pub(super) sleeper: Sleepers,
}

/// Some of the detectors that sleep, each a bit.
pub(super) type Sleepers = u32;

impl Watch {
    /// Those that watch a session which begins with the event `first`.
    pub(super) fn new(detectors: &[Posted], facts: &SessionFacts, first: &Event) -> Self {
        let of = |scope| {
            let takes = |it: &&Posted| it.named.sessions.takes(facts, first);
            let scoped = detectors.iter().filter(takes).filter(|it| match &it.named.per_label {
                None => it.named.detector.scope() == scope,
                // A session without the label is a group of its own.
                Some(label) => scope == Scope::Session && !facts.labels.contains_key(label),
            });
            Readers::new(scoped)
        };
        Self { session: of(Scope::Session), agents: of(Scope::Agent) }
    }

    /// All but one.
    pub(super) fn without(&self, detector_idx: u32) -> Self {
        Self {
            session: self.session.without(detector_idx),
            agents: self.agents.without(detector_idx),
        }
    }
}

impl Readers {
    fn new<'a>(detectors: impl Iterator<Item = &'a Posted> + Clone) -> Self {
        let of = |sort_idx| ReadersOf::new(detectors.clone(), sort_idx);
        Self { all: detectors.clone().map(|it| it.idx).collect(), by_event: array::from_fn(of) }
    }

    fn without(&self, detector_idx: u32) -> Self {
        let all = self.all.iter().copied().filter(|it| *it != detector_idx).collect();
        Self { all, by_event: self.by_event.each_ref().map(|it| it.without(detector_idx)) }
    }

    /// Those that read events of this sort.
    pub(super) fn of(&self, sort_idx: usize) -> &ReadersOf {
        &self.by_event[sort_idx]
    }

    pub(super) fn contain(&self, detector_idx: u32) -> bool {
        self.all.contains(&detector_idx)
    }
}

impl ReadersOf {
    fn new<'a>(detectors: impl Iterator<Item = &'a Posted>, sort_idx: usize) -> Self {
        let reading = detectors.filter(|it| it.reads.contains_idx(sort_idx));
        let all = reading.map(|it| Reader {
            detector_idx: it.idx,
            // One that sleeps is woken by any if a person asks why.
            begins: it.begins_with.contains_idx(sort_idx) || it.sleeper != 0,
            sleeper: it.sleeper,
        });
        Self::of(all.collect())
    }

    fn of(all: Box<[Reader]>) -> Self {
        let sleepless = all.iter().copied().filter(|it| it.sleeper == 0).collect();
        let sleepers = all.iter().fold(0, |res, it| res | it.sleeper);
        Self { all, sleepless, sleepers }
    }

    fn without(&self, detector_idx: u32) -> Self {
        let all = self.all.iter().copied().filter(|it| it.detector_idx != detector_idx);
        Self::of(all.collect())
    }
}
