use std::array;

use super::CompiledDetector;
use crate::{Event, Scope, SessionFacts, event::N_SORTS};

/// The detectors that watch a session, as its first event settled it.
#[derive(Debug, Default, PartialEq)]
pub(super) struct SubscriptionTable {
    /// Those that see all of it.
    pub(super) session: Subscribers,
    /// Those that see one agent each.
    pub(super) agents: Subscribers,
}

/// Some detectors, by their places in the policy and in order of them.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Subscribers {
    all: Box<[u32]>,
    /// By what an [`EventSet`](crate::EventSet) tells apart.
    by_event: [EventSubscribers; N_SORTS],
}

/// Those that read events of one sort.
#[derive(Debug, Default, PartialEq)]
pub(super) struct EventSubscribers {
    pub(super) all: Box<[Subscriber]>,
    /// Those among them that do not sleep.
    pub(super) sleepless: Box<[Subscriber]>,
    /// The bits of the others.
    pub(super) timer_only: TimerOnlySet,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Subscriber {
    pub(super) detector_idx: u32,
    /// Whether it reads such events also when it is at rest.
    pub(super) begins: bool,
    /// Its bit, if it sleeps.
    pub(super) timer_bit: TimerOnlySet,
}

/// Some of the detectors that sleep, each a bit.
pub(super) type TimerOnlySet = u32;

impl SubscriptionTable {
    /// Those that watch a session which begins with the event `first`.
    pub(super) fn new(detectors: &[CompiledDetector], facts: &SessionFacts, first: &Event) -> Self {
        let of = |scope| {
            let takes = |it: &&CompiledDetector| it.named.sessions.takes(facts, first);
            let scoped = detectors.iter().filter(takes).filter(|it| match &it.named.per_label {
                None => it.subscription.scope == scope,
                // A session without the label is a group of its own.
                Some(label) => scope == Scope::Session && !facts.labels.contains_key(label),
            });
            Subscribers::new(scoped)
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

impl Subscribers {
    fn new<'a>(detectors: impl Iterator<Item = &'a CompiledDetector> + Clone) -> Self {
        let of = |sort_idx| EventSubscribers::new(detectors.clone(), sort_idx);
        Self { all: detectors.clone().map(|it| it.idx).collect(), by_event: array::from_fn(of) }
    }

    fn without(&self, detector_idx: u32) -> Self {
        let all = self.all.iter().copied().filter(|it| *it != detector_idx).collect();
        Self { all, by_event: self.by_event.each_ref().map(|it| it.without(detector_idx)) }
    }

    /// Those that read events of this sort.
    pub(super) fn of(&self, sort_idx: usize) -> &EventSubscribers {
        &self.by_event[sort_idx]
    }

    pub(super) fn contain(&self, detector_idx: u32) -> bool {
        self.all.contains(&detector_idx)
    }
}

impl EventSubscribers {
    fn new<'a>(detectors: impl Iterator<Item = &'a CompiledDetector>, sort_idx: usize) -> Self {
        let reading = detectors.filter(|it| it.subscription.events.contains_idx(sort_idx));
        let all = reading.map(|it| Subscriber {
            detector_idx: it.idx,
            // One that sleeps is woken by any if a person asks why.
            begins: it.subscription.start_events.contains_idx(sort_idx) || it.timer_bit != 0,
            timer_bit: it.timer_bit,
        });
        Self::of(all.collect())
    }

    fn of(all: Box<[Subscriber]>) -> Self {
        let sleepless = all.iter().copied().filter(|it| it.timer_bit == 0).collect();
        let timer_only = all.iter().fold(0, |res, it| res | it.timer_bit);
        Self { all, sleepless, timer_only }
    }

    fn without(&self, detector_idx: u32) -> Self {
        let all = self.all.iter().copied().filter(|it| it.detector_idx != detector_idx);
        Self::of(all.collect())
    }
}
