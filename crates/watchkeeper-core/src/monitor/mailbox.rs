//! The queue of messages to the monitor's thread.
//!
//! Waking a thread takes much longer than recording an event, and the recording thread waits
//! for it. So the monitor's thread collects messages: when the queue is empty, it sleeps for a
//! few milliseconds, and senders do not wake it. Only if nothing was sent in this time, the
//! next message wakes it.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use crate::{
    clock::Deadline,
    sync::{
        atomic::{AtomicU8, AtomicUsize, Ordering, fence},
        mpsc::{self, Receiver, SyncSender, TrySendError},
        thread::{self, Thread},
    },
};

/// The longest time for which the thread collects messages. With shuttle, no time passes.
const COLLECTION_TIME: Duration =
    Duration::from_millis(if cfg!(all(test, shuttle)) { 0 } else { 5 });
/// The part of the queue that may fill meanwhile: one of this number.
const COLLECTED_PART: usize = 4;

/// The thread handles messages, or is about to.
const AWAKE: u8 = 0;
/// The thread sleeps until the end of the collection.
const COLLECTING: u8 = 1;
/// The thread sleeps until the next message.
const ASLEEP: u8 = 2;

/// Creates a queue for `capacity` messages, but at least one.
pub(super) fn mailbox<M>(capacity: usize) -> (Outbox<M>, Inbox<M>) {
    let capacity = capacity.max(1);
    let (sender, receiver) = mpsc::sync_channel(capacity);
    let signal = Arc::new(Signal {
        state: AtomicU8::new(AWAKE),
        thread: OnceLock::new(),
        n_collected: AtomicUsize::new(0),
        max_collected: (capacity / COLLECTED_PART).max(1),
    });
    let inbox = Inbox { receiver, signal: signal.clone(), collection_time: COLLECTION_TIME };
    (Outbox { sender, signal }, inbox)
}

/// Sends messages to the thread.
pub(super) struct Outbox<M> {
    sender: SyncSender<M>,
    signal: Arc<Signal>,
}

impl<M> Clone for Outbox<M> {
    fn clone(&self) -> Self {
        Self { sender: self.sender.clone(), signal: self.signal.clone() }
    }
}

impl<M> Outbox<M> {
    /// Sends a message, which the thread handles with the next collection. Fails if the queue
    /// is full or the thread has ended.
    pub(super) fn try_send(&self, message: M) -> Result<(), TrySendError<M>> {
        self.sender.try_send(message)?;
        self.signal.count_message();
        Ok(())
    }

    /// Sends a message, and waits while the queue is full. Returns whether the thread
    /// receives the message.
    pub(super) fn send(&self, message: M) -> bool {
        let is_sent = self.sender.send(message).is_ok();
        self.signal.count_message();
        is_sent
    }

    /// Ends the collection, so that the thread handles the messages at once.
    pub(super) fn wake(&self) {
        fence(Ordering::SeqCst);
        self.signal.wake();
    }
}

/// Receives messages, on the thread of the monitor.
pub(super) struct Inbox<M> {
    receiver: Receiver<M>,
    signal: Arc<Signal>,
    collection_time: Duration,
}

impl<M> Inbox<M> {
    /// Returns the next message, if there is one.
    pub(super) fn try_recv(&self) -> Option<M> {
        self.receiver.try_recv().ok()
    }

    /// Collects messages, and then waits until there is one, for `timeout` at most. Returns
    /// the first message. Can return `None` earlier.
    pub(super) fn recv(&self, timeout: Option<Duration>) -> Option<M> {
        let deadline = timeout.map(Deadline::after);
        let collection = self.collection_time.min(timeout.unwrap_or(Duration::MAX));
        let message = self.sleep(COLLECTING, Some(Deadline::after(collection)));
        message.or_else(|| self.sleep(ASLEEP, deadline))
    }

    /// Sleeps until a sender wakes the thread, or until the deadline. Returns the next
    /// message, and does not sleep if there is one already.
    fn sleep(&self, state: u8, deadline: Option<Deadline>) -> Option<M> {
        self.signal.prepare_sleep(state);
        let message = self.try_recv();
        if message.is_some() {
            self.signal.state.store(AWAKE, Ordering::Relaxed);
            return message;
        }
        self.signal.sleep(deadline);
        self.try_recv()
    }
}

/// The state of the thread.
struct Signal {
    state: AtomicU8,
    /// Set before the thread sleeps.
    thread: OnceLock<Thread>,
    /// The messages that were sent while the thread collects.
    n_collected: AtomicUsize,
    max_collected: usize,
}

impl Signal {
    /// Counts a message that was sent, and wakes the thread if it must not sleep any longer.
    fn count_message(&self) {
        // The counterpart of the fence in `prepare_sleep`.
        fence(Ordering::SeqCst);
        match self.state.load(Ordering::Relaxed) {
            AWAKE => {}
            COLLECTING => {
                let n_collected = self.n_collected.fetch_add(1, Ordering::Relaxed) + 1;
                if self.max_collected <= n_collected {
                    self.wake();
                }
            }
            _ => self.wake(),
        }
    }

    fn wake(&self) {
        // One of several senders wakes the thread.
        if self.state.swap(AWAKE, Ordering::AcqRel) != AWAKE
            && let Some(thread) = self.thread.get()
        {
            thread.unpark();
        }
    }

    /// Announces that the thread sleeps. If it finds no message after this call, senders of
    /// later messages find the new state.
    fn prepare_sleep(&self, state: u8) {
        self.thread.get_or_init(thread::current);
        self.n_collected.store(0, Ordering::Relaxed);
        self.state.store(state, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// Sleeps until the thread is woken, or until the deadline.
    fn sleep(&self, deadline: Option<Deadline>) {
        while self.state.load(Ordering::Acquire) != AWAKE {
            let Some(deadline) = deadline else {
                thread::park();
                continue;
            };
            let remaining = deadline.remaining();
            if remaining.is_zero() {
                break;
            }
            thread::park_timeout(remaining);
        }
        self.state.store(AWAKE, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Longer than any test takes, however slow the machine.
    const LONG: Duration = Duration::from_secs(60);

    /// Receives one message on a thread that collects for some time. Calls `send` once the
    /// thread is in a state.
    fn receive(collection_time: Duration, state: u8, send: impl FnOnce(&Outbox<()>)) {
        let (outbox, mut inbox) = mailbox(8);
        inbox.collection_time = collection_time;
        let receiver = thread::spawn(move || inbox.recv(Some(LONG)).is_some());
        while outbox.signal.state.load(Ordering::SeqCst) != state {
            thread::yield_now();
        }
        send(&outbox);
        assert!(receiver.join().expect("the thread does not panic"));
    }

    /// Sends a message. Returns the state of the thread after it.
    fn try_send(outbox: &Outbox<()>) -> u8 {
        assert!(outbox.try_send(()).is_ok());
        outbox.signal.state.load(Ordering::SeqCst)
    }

    #[test]
    fn one_message_does_not_wake_a_collecting_thread() {
        receive(LONG, COLLECTING, |outbox| {
            assert_eq!(try_send(outbox), COLLECTING);
            outbox.wake();
        });
    }

    #[test]
    fn a_part_of_the_queue_wakes_a_collecting_thread() {
        receive(LONG, COLLECTING, |outbox| {
            assert_eq!(try_send(outbox), COLLECTING);
            assert!(outbox.send(()));
        });
    }

    #[test]
    fn a_message_wakes_a_sleeping_thread() {
        receive(Duration::ZERO, ASLEEP, |outbox| assert!(outbox.send(())));
    }

    #[test]
    fn waits_for_no_longer_than_the_timeout() {
        let (_outbox, inbox) = mailbox::<()>(1);
        assert!(inbox.recv(Some(Duration::ZERO)).is_none());
    }

    #[test]
    fn each_message_of_many_threads_is_received() {
        const N_THREADS: usize = 4;
        const N_MESSAGES: usize = 1_000;
        let (outbox, mut inbox) = mailbox(8);
        // Each message that finds the queue empty must wake the thread.
        inbox.collection_time = Duration::ZERO;
        let senders = (0..N_THREADS).map(|_| {
            let outbox = outbox.clone();
            thread::spawn(move || (0..N_MESSAGES).all(|_| outbox.send(())))
        });
        let senders: Vec<_> = senders.collect();
        for _ in 0..N_THREADS * N_MESSAGES {
            while inbox.recv(Some(LONG)).is_none() {}
        }
        for sender in senders {
            assert!(sender.join().expect("the thread does not panic"));
        }
        assert!(inbox.try_recv().is_none());
    }
}
