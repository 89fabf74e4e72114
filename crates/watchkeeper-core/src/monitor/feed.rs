use std::fmt;

use super::shared::{Message, Recorder};
use crate::{Event, Finding, SessionId, Silences, sync::atomic::Ordering};

/// Feeds a monitor with events that a source reads.
#[derive(Clone)]
pub struct Feed {
    pub(super) recorder: Recorder,
}

impl Feed {
    /// Adds an event, and waits while too many events are waiting. Returns
    /// whether the monitor is running; once it stops, the event is dropped and
    /// counted.
    pub fn send(&self, event: Event) -> bool {
        self.recorder.shared.n_recorded.fetch_add(1, Ordering::Relaxed);
        self.send_message(Message::Event(event))
    }

    /// Lets no time pass until [`release`](Self::release): the next events may
    /// be older than pending wake-ups. Each hold needs a release of its own.
    pub fn hold(&self) -> bool {
        self.send_message(Message::Hold)
    }

    /// Lets time pass again.
    pub fn release(&self) -> bool {
        self.send_message(Message::Release)
    }

    /// Delivers a finding about the part that feeds the monitor, such as a source
    /// that failed. Waits while the queue is full. Returns whether the monitor
    /// accepted the finding.
    pub fn report(&self, finding: Finding) -> bool {
        self.send_message(Message::Finding(Box::new(finding)))
    }

    /// Delivers a finding about the monitor to all sinks and observers, whatever the routes,
    /// cooldowns and silences, such as one about a changed policy: a change of the policy
    /// cannot hide it. Waits while the queue is full. Returns whether the monitor accepted the
    /// finding.
    pub fn notify(&self, finding: Finding) -> bool {
        self.send_message(Message::Notice(Box::new(finding)))
    }

    /// Ends the observation of a session, after its events so far: its open findings are
    /// [withdrawn](Finding::withdrawn) for this reason, and later events begin a new session.
    /// Waits while the queue is full. Returns whether the monitor is running.
    pub fn withdraw(&self, session: SessionId, reason: &'static str) -> bool {
        self.send_message(Message::Withdraw(session, reason))
    }

    /// Replaces the silences, those of the policy too. They apply to findings from now on. Waits
    /// while the queue is full. Returns whether the monitor accepted them.
    pub fn set_silences(&self, silences: Silences) -> bool {
        self.send_message(Message::Silences(silences))
    }

    pub(super) fn send_message(&self, message: Message) -> bool {
        let is_stopping = self.recorder.shared.is_stopping.load(Ordering::Acquire);
        !is_stopping && self.recorder.outbox.send(message)
    }
}

impl fmt::Debug for Feed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Feed").finish_non_exhaustive()
    }
}
