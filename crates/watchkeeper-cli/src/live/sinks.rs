//! The queues of the sinks, from one policy to the next.

use std::{sync::Arc, time::Duration};

use thiserror::Error;
use watchkeeper_core::{Fingerprint, embed::Queue, quote};
use watchkeeper_delivery::StateError;
use watchkeeper_policy::NamedSink;

use crate::watch_state::WatchState;

/// The time for which the queue of a sink may deliver its findings, before a sink of the same
/// name replaces it.
const LONGEST_END: Duration = Duration::from_millis(250);

/// The queues of the sinks of the present policy.
pub(super) struct LiveSinks {
    present: Vec<LiveSink>,
    /// Queues whose sinks are gone, and that may still use their ledgers.
    gone: Vec<Arc<Queue>>,
}

struct LiveSink {
    identity: Identity,
    queue: Arc<Queue>,
}

/// The properties by which the sinks of two policies are compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    id: String,
    options: Fingerprint,
    queue_capacity: usize,
}

/// The sinks of a changed policy cannot be used.
#[derive(Debug, Error)]
pub(crate) enum SinksError {
    #[error("the last findings of an earlier sink {} are being delivered; try again", quote(.0))]
    InUse(String),
    #[error(transparent)]
    State(#[from] StateError),
}

impl Identity {
    pub(super) fn of(sink: &NamedSink) -> Self {
        let NamedSink { id, options, queue_capacity, .. } = sink;
        Self { id: id.clone(), options: *options, queue_capacity: *queue_capacity }
    }
}

impl LiveSinks {
    /// Takes the queues of sinks, in the same order.
    pub(super) fn new(identities: Vec<Identity>, queues: &[Arc<Queue>]) -> Self {
        let sinks = identities.into_iter().zip(queues.iter().cloned());
        let present = sinks.map(|(identity, queue)| LiveSink { identity, queue }).collect();
        Self { present, gone: Vec::new() }
    }

    /// Returns the queues of the sinks of a changed policy. A sink that has the same name keeps
    /// its queue with the findings in it. If a ledger cannot be opened, nothing changes.
    pub(super) fn replace(
        &mut self,
        sinks: Vec<NamedSink>,
        state: &mut Option<WatchState>,
    ) -> Result<Vec<Arc<Queue>>, SinksError> {
        self.gone.retain(|queue| !queue.wait_closed(Duration::ZERO));
        let needs_ledger = |sink: &NamedSink, state: &Option<WatchState>| {
            state.is_some() && !sink.sink.is_display()
        };
        for sink in &sinks {
            if needs_ledger(sink, state)
                && self.kept(&sink.id, true).is_none()
                && let Some(state) = state
            {
                let mut earlier = self.gone.iter().filter(|queue| queue.name() == sink.id);
                if !earlier.all(|queue| queue.wait_closed(LONGEST_END)) {
                    return Err(SinksError::InUse(sink.id.clone()));
                }
                state.open_ledger(sink)?;
            }
        }
        let replaced = sinks.into_iter().map(|sink| {
            let identity = Identity::of(&sink);
            let queue = match self.kept(&sink.id, needs_ledger(&sink, state)) {
                Some(LiveSink { identity: earlier, queue }) => {
                    if *earlier != identity {
                        queue.replace_sink(sink.sink, sink.queue_capacity);
                    }
                    queue.clone()
                }
                None => Arc::new(WatchState::queue(state.as_mut(), sink)),
            };
            LiveSink { identity, queue }
        });
        let replaced: Vec<_> = replaced.collect();
        let queues: Vec<_> = replaced.iter().map(|sink| sink.queue.clone()).collect();
        let earlier = std::mem::replace(&mut self.present, replaced).into_iter();
        let gone = earlier.map(|sink| sink.queue).filter(|queue| {
            queue.has_ledger() && queues.iter().all(|other| !Arc::ptr_eq(other, queue))
        });
        self.gone.extend(gone);
        Ok(queues)
    }

    /// Returns the sink of this name, if its queue has a ledger or none as required.
    fn kept(&self, id: &str, has_ledger: bool) -> Option<&LiveSink> {
        let is_kept =
            |sink: &&LiveSink| sink.identity.id == id && sink.queue.has_ledger() == has_ledger;
        self.present.iter().find(is_kept)
    }
}
