//! Requests from other threads to a live monitor: of signals, and of a policy that has changed.

use std::{
    io::{self, IsTerminal as _},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
};

use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM, signal::SIGXFSZ},
    flag,
    iterator::{Handle, Signals},
};
use watchkeeper_sources::Waker;

/// Stops a [`LiveMonitor`](super::LiveMonitor) or lets it look at its policy, from another
/// thread.
#[derive(Clone)]
pub(crate) struct Control {
    requests: Arc<Requests>,
    waker: Waker,
}

/// The requests that the monitor has not handled yet.
#[derive(Debug, Default)]
struct Requests {
    is_stopped: AtomicBool,
    has_new_policy: AtomicBool,
    has_new_silences: AtomicBool,
}

impl Control {
    pub(super) fn new(waker: Waker) -> Self {
        let control = Self { requests: Arc::default(), waker };
        // The first look.
        control.requests.has_new_silences.store(true, Ordering::Release);
        control
    }

    /// Lets the monitor look for events.
    pub(super) fn wake(&self) {
        self.waker.wake();
    }

    pub(crate) fn stop(&self) {
        self.requests.is_stopped.store(true, Ordering::Release);
        self.waker.wake();
    }

    /// Requests that the policy is loaded again.
    pub(crate) fn reload(&self) {
        self.requests.has_new_policy.store(true, Ordering::Release);
        self.waker.wake();
    }

    /// Requests that the silences are read again.
    pub(crate) fn read_silences(&self) {
        self.requests.has_new_silences.store(true, Ordering::Release);
        self.waker.wake();
    }

    /// Returns whether the silences are to be read again, once for each request.
    pub(super) fn take_read_silences(&self) -> bool {
        self.requests.has_new_silences.swap(false, Ordering::AcqRel)
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.requests.is_stopped.load(Ordering::Acquire)
    }

    /// Returns whether the policy is to be loaded again, once for each request.
    pub(super) fn take_reload(&self) -> bool {
        self.requests.has_new_policy.swap(false, Ordering::AcqRel)
    }
}

/// Stops a [`LiveMonitor`](super::LiveMonitor) on SIGINT and SIGTERM, and when its terminal is
/// closed. Any other SIGHUP loads the policy again. SIGXFSZ has no effect, so that a file that
/// reaches its limit is an error of the sink that writes it.
pub(crate) struct SignalListener {
    handle: Handle,
    thread: JoinHandle<bool>,
}

impl SignalListener {
    /// Starts a thread that waits for signals. `has_terminal` is whether standard error is a
    /// terminal.
    pub(crate) fn start(control: Control, has_terminal: bool) -> io::Result<Self> {
        ignore_file_size_limit()?;
        let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
        let handle = signals.handle();
        let thread = thread::spawn(move || {
            for signal in signals.forever() {
                // A shell sends SIGHUP when its terminal is closed.
                let is_closed = has_terminal && !io::stderr().is_terminal();
                if signal == SIGHUP && !is_closed {
                    control.reload();
                    continue;
                }
                control.stop();
                return true;
            }
            false
        });
        Ok(Self { handle, thread })
    }

    /// Stops listening. Returns `true` if a signal has stopped the monitor.
    pub(crate) fn finish(self) -> bool {
        self.handle.close();
        self.thread.join().unwrap_or(false)
    }
}

/// Makes a file that reaches its limit an error of its writer: SIGXFSZ ends a process by default.
fn ignore_file_size_limit() -> io::Result<()> {
    // A handler replaces the default action. Nothing reads the flag.
    flag::register(SIGXFSZ, Arc::default()).map(drop)
}

#[cfg(test)]
mod tests {
    use signal_hook::{consts::signal::SIGXFSZ, low_level::raise};

    use super::ignore_file_size_limit;

    #[test]
    fn a_file_at_its_limit_does_not_end_the_process() {
        ignore_file_size_limit().unwrap();
        raise(SIGXFSZ).unwrap();
    }
}
