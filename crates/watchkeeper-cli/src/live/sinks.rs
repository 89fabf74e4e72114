//! The queues of the sinks, from one policy to the next.

use std::{sync::Arc, time::Duration};

use thiserror::Error;
use watchkeeper_core::{Finding, Fingerprint, embed::Queue, quote};
use watchkeeper_delivery::StateError;
use watchkeeper_policy::NamedSink;

use super::host::Refusal;
use crate::{causes::with_causes, watch_state::WatchState};

/// The time for which the queue of a sink may deliver its findings, before a sink of the same
/// name replaces it.
const LONGEST_END: Duration = Duration::from_millis(250);
/// The largest number of earlier sinks that have not returned from a delivery while sinks are
/// removed: each has a thread.
const MAX_GONE: usize = 16;

/// The queues of the sinks of the present policy.
pub(super) struct LiveSinks {
    present: Vec<LiveSink>,
    /// The queues that receive every finding.
    observers: Vec<Arc<Queue>>,
    /// Queues whose sinks are gone, and whose threads may still use them and their ledgers.
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
pub(super) enum SinksError {
    #[error("the last findings of an earlier sink {} are being delivered", quote(.0))]
    InUse(String),
    #[error(
        "{MAX_GONE} earlier sinks have not returned from a delivery, and no more are removed \
         until one has"
    )]
    TooManyGone,
    #[error(transparent)]
    State(#[from] StateError),
}

impl From<SinksError> for Refusal {
    fn from(err: SinksError) -> Self {
        let summary = with_causes(&err);
        let details = format!("error: {summary}");
        Self { summary, details, is_temporary: !matches!(err, SinksError::State(_)) }
    }
}

impl Identity {
    pub(super) fn of(sink: &NamedSink) -> Self {
        let NamedSink { id, options, queue_capacity, .. } = sink;
        Self { id: id.clone(), options: *options, queue_capacity: *queue_capacity }
    }
}

impl LiveSinks {
    /// Takes the queues of sinks, in the same order, followed by the queues that receive every
    /// finding.
    pub(super) fn new(identities: Vec<Identity>, queues: &[Arc<Queue>]) -> Self {
        let observers = queues[identities.len()..].to_vec();
        let sinks = identities.into_iter().zip(queues.iter().cloned());
        let present = sinks.map(|(identity, queue)| LiveSink { identity, queue }).collect();
        Self { present, observers, gone: Vec::new() }
    }

    /// Opens the ledgers of the sinks of a changed policy that have no queue yet.
    /// `replaces_observers` if the policy changes the queues that receive every finding.
    pub(super) fn open_ledgers(
        &mut self,
        sinks: &[NamedSink],
        replaces_observers: bool,
        state: &mut Option<WatchState>,
    ) -> Result<(), SinksError> {
        self.gone.retain(|queue| !queue.wait_closed(Duration::ZERO));
        let is_removed =
            |present: &LiveSink| sinks.iter().all(|sink| sink.id != present.identity.id);
        let removes_any = replaces_observers || self.present.iter().any(is_removed);
        if MAX_GONE <= self.gone.len() && removes_any {
            return Err(SinksError::TooManyGone);
        }
        let Some(state) = state else { return Ok(()) };
        for sink in sinks.iter().filter(|sink| !sink.sink.is_display()) {
            if self.kept(&sink.id, true).is_none() {
                let mut earlier =
                    self.gone.iter().filter(|it| it.name() == sink.id && it.has_ledger());
                if !earlier.all(|queue| queue.wait_closed(LONGEST_END)) {
                    return Err(SinksError::InUse(sink.id.clone()));
                }
                state.open_ledger(sink)?;
            }
        }
        Ok(())
    }

    /// Returns whether a sink has other options in a changed policy.
    pub(super) fn has_changes(&self, sinks: &[NamedSink]) -> bool {
        let mut identities = sinks.iter().map(Identity::of);
        identities.any(|new| {
            let mut present = self.present.iter().map(|sink| &sink.identity);
            present.any(|old| old.id == new.id && *old != new)
        })
    }

    /// Returns the queues of the sinks of a changed policy. A sink that has the same name keeps
    /// its queue with the findings in it. Sinks that are new, or have other options, receive the
    /// findings about the change.
    pub(super) fn replace(
        &mut self,
        sinks: Vec<NamedSink>,
        observers: Option<Vec<Queue>>,
        state: &mut Option<WatchState>,
        notices: &[Finding],
    ) -> Vec<Arc<Queue>> {
        let replaced = sinks.into_iter().map(|sink| {
            let identity = Identity::of(&sink);
            let has_ledger = state.is_some() && !sink.sink.is_display();
            let queue = match self.kept(&sink.id, has_ledger) {
                Some(LiveSink { identity: earlier, queue }) => {
                    if *earlier != identity {
                        queue.replace_sink(sink.sink, sink.queue_capacity, notices);
                    }
                    queue.clone()
                }
                None => {
                    let queue = WatchState::queue(state.as_mut(), sink);
                    notices.iter().cloned().for_each(|notice| queue.push(notice));
                    Arc::new(queue)
                }
            };
            LiveSink { identity, queue }
        });
        let replaced: Vec<_> = replaced.collect();
        let queues: Vec<_> = replaced.iter().map(|sink| sink.queue.clone()).collect();
        let earlier = std::mem::replace(&mut self.present, replaced).into_iter();
        let gone = earlier
            .map(|sink| sink.queue)
            .filter(|queue| queues.iter().all(|other| !Arc::ptr_eq(other, queue)));
        self.gone.extend(gone);
        if let Some(observers) = observers {
            let observers = observers.into_iter().map(Arc::new).collect();
            self.gone.extend(std::mem::replace(&mut self.observers, observers));
        }
        queues
    }

    /// Returns the queues that receive every finding.
    pub(super) fn observers(&self) -> &[Arc<Queue>] {
        &self.observers
    }

    /// Returns the sink of this name, if its queue has a ledger or none as required.
    fn kept(&self, id: &str, has_ledger: bool) -> Option<&LiveSink> {
        let is_kept =
            |sink: &&LiveSink| sink.identity.id == id && sink.queue.has_ledger() == has_ledger;
        self.present.iter().find(is_kept)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{self, Receiver, Sender};

    use watchkeeper_core::{Severity, Sink, Timestamp, author::SinkError};

    use super::*;

    /// Returns from a delivery when the test ends it.
    struct Hanging {
        began: Sender<()>,
        end: Receiver<()>,
    }

    impl Sink for Hanging {
        fn deliver(&mut self, _: &Finding) -> Result<(), SinkError> {
            let _ = self.began.send(());
            let _ = self.end.recv();
            Ok(())
        }
    }

    #[test]
    fn no_sink_is_removed_while_many_removed_ones_hang() {
        let (began, has_begun) = mpsc::channel();
        let mut ends = Vec::new();
        let mut hanging = || {
            let (end, receiver) = mpsc::channel::<()>();
            ends.push(end);
            let sink = Hanging { began: began.clone(), end: receiver };
            let queue = Arc::new(Queue::new("s", Box::new(sink), 8));
            queue.push(Finding::new(Timestamp::UNIX_EPOCH, "d", "s", Severity::Low, ""));
            has_begun.recv().unwrap();
            queue
        };
        let mut sinks = LiveSinks::new(Vec::new(), &[]);
        for _ in 0..MAX_GONE {
            sinks.open_ledgers(&[], true, &mut None).unwrap();
            let queue = hanging();
            sinks.observers = vec![queue.clone()];
            sinks.replace(Vec::new(), Some(Vec::new()), &mut None, &[]);
            queue.close();
        }
        let err = sinks.open_ledgers(&[], true, &mut None).unwrap_err();
        assert!(matches!(err, SinksError::TooManyGone));
        assert!(Refusal::from(err).is_temporary);
        // A change that removes none is used.
        sinks.open_ledgers(&[], false, &mut None).unwrap();
        drop(ends.pop());
        assert!(sinks.gone[MAX_GONE - 1].wait_closed(Duration::from_secs(60)));
        sinks.open_ledgers(&[], true, &mut None).unwrap();
    }
}
