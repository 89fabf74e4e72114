//! The changes of the board as server-sent events.
//!
//! A client has no queue: when its connection has room, it receives the changes since the version
//! that it has. A client that reads slowly therefore receives the newest state, and one that
//! reads nothing costs nothing until its connection is closed.

use std::{
    fmt,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use hyper::body::Bytes;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, Interval, MissedTickBehavior, interval_at},
};
use watchkeeper_page::Board;

use crate::stopping::Stopping;

/// The time between two looks at the board. All clients look at the same times, so that one text
/// serves them all.
const INTERVAL: Duration = Duration::from_millis(250);
/// The number of intervals without a change after which an event without changes keeps the
/// connection open, and shows a client that the connection works.
const KEEP_ALIVE: u32 = 60;
/// The time after which a client connects again, in milliseconds.
const RETRY_MILLIS: u32 = 1000;

/// The event streams of a server.
pub(crate) struct EventStreams {
    board: Arc<Board>,
    /// Distinguishes the versions of this board from those before a restart.
    epoch: String,
    start: Instant,
    slots: Arc<Semaphore>,
    latest: Mutex<Option<SharedEvent>>,
}

/// The latest event that was made for a client.
#[derive(Clone)]
struct SharedEvent {
    since: u64,
    version: u64,
    text: Bytes,
}

/// The events of one client.
pub(crate) struct EventStream {
    streams: Arc<EventStreams>,
    /// The version that the client has; `None` before the first event.
    version: Option<u64>,
    ticks: Interval,
    n_quiet: u32,
    stopped: Pin<Box<dyn Future<Output = ()> + Send>>,
    _slot: OwnedSemaphorePermit,
}

impl EventStreams {
    /// `epoch` is different in each process. Must be called in the runtime.
    pub(crate) fn new(board: Arc<Board>, epoch: String, max: usize) -> Self {
        let slots = Arc::new(Semaphore::new(max));
        Self { board, epoch, start: Instant::now(), slots, latest: Mutex::default() }
    }

    /// Opens a stream that continues after the event with the id `last`. `None` if there are too
    /// many.
    pub(crate) fn open(
        self: &Arc<Self>,
        last: Option<&str>,
        stopping: Stopping,
    ) -> Option<EventStream> {
        let slot = self.slots.clone().try_acquire_owned().ok()?;
        let mut ticks = interval_at(self.start, INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        Some(EventStream {
            streams: self.clone(),
            version: last.and_then(|id| self.version(id)),
            ticks,
            n_quiet: 0,
            stopped: Box::pin(stopping.wait()),
            _slot: slot,
        })
    }

    /// Returns the version of an event of this process.
    fn version(&self, id: &str) -> Option<u64> {
        let (epoch, version) = id.split_once('-')?;
        version.parse().ok().filter(|_| epoch == self.epoch)
    }

    /// Returns the event for a client that has a version; 0 if it has nothing.
    fn event(&self, since: u64) -> SharedEvent {
        let version = self.board.version();
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(event) = latest.as_ref().filter(|it| it.since == since && it.version == version)
        {
            return event.clone();
        }
        let changes = self.board.changes_since(since);
        let data = serde_json::to_string(&changes).expect("changes are JSON");
        let (epoch, version) = (&self.epoch, changes.version);
        let text = format!(
            "event: changes\nid: {epoch}-{version}\nretry: {RETRY_MILLIS}\ndata: {data}\n\n"
        );
        latest.insert(SharedEvent { since, version, text: text.into() }).clone()
    }
}

impl EventStream {
    /// Returns the next event, or `None` if the server stops.
    pub(crate) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        loop {
            if self.stopped.as_mut().poll(cx).is_ready() {
                return Poll::Ready(None);
            }
            std::task::ready!(self.ticks.poll_tick(cx));
            if self.version != Some(self.streams.board.version()) {
                let event = self.streams.event(self.version.unwrap_or(0));
                self.version = Some(event.version);
                self.n_quiet = 0;
                return Poll::Ready(Some(event.text));
            }
            self.n_quiet += 1;
            if KEEP_ALIVE <= self.n_quiet {
                self.n_quiet = 0;
                return Poll::Ready(Some(Bytes::from_static(b"event: alive\ndata: {}\n\n")));
            }
        }
    }
}

impl fmt::Debug for EventStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventStream").field("version", &self.version).finish_non_exhaustive()
    }
}
