use std::{sync::Arc, time::Duration};

use tokio::{
    sync::Semaphore,
    task::spawn_blocking,
    time::{Instant, timeout_at},
};

/// The threads for calls of one kind that may wait, for a file or for a lock. Calls of another
/// kind have threads of their own.
#[derive(Debug)]
pub(crate) struct WaitingCalls(Arc<Semaphore>);

/// A call has no result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unfinished {
    /// It did not begin, since earlier calls still run.
    Busy,
    /// It still runs, and may have its effect.
    Late,
    Panicked,
}

impl WaitingCalls {
    /// The number of calls that run at a time. Others wait.
    pub(crate) const MAX: usize = 2;

    pub(crate) fn new() -> Self {
        Self(Arc::new(Semaphore::new(Self::MAX)))
    }

    /// Calls a function on another thread, and waits for its result, for `time` at most.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        time: Duration,
        call: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Unfinished> {
        let deadline = Instant::now() + time;
        let slot = timeout_at(deadline, self.0.clone().acquire_owned()).await;
        let Ok(Ok(slot)) = slot else { return Err(Unfinished::Busy) };
        let call = spawn_blocking(move || {
            // Also of a call whose result comes too late.
            let _slot = slot;
            call()
        });
        match timeout_at(deadline, call).await {
            Ok(Ok(result)) => Ok(result),
            Ok(Err(_)) => Err(Unfinished::Panicked),
            Err(_) => Err(Unfinished::Late),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        future::Future,
        sync::{Arc, Mutex, mpsc},
        time::Duration,
    };

    use tokio::{
        runtime::Builder,
        task::{JoinHandle, yield_now},
        time::advance,
    };

    use super::{Unfinished, WaitingCalls};

    const TIME: Duration = Duration::from_secs(30);

    fn in_virtual_time(test: impl Future<Output = ()>) {
        let mut runtime = Builder::new_current_thread();
        runtime.enable_time().start_paused(true).build().unwrap().block_on(test);
    }

    fn spawn(
        calls: &Arc<WaitingCalls>,
        call: impl FnOnce() + Send + 'static,
    ) -> JoinHandle<Result<(), Unfinished>> {
        let calls = calls.clone();
        tokio::spawn(async move { calls.run(TIME, call).await })
    }

    #[test]
    fn a_call_that_has_waited_too_long_never_begins() {
        in_virtual_time(async {
            let calls = Arc::new(WaitingCalls::new());
            let (release, released) = mpsc::channel::<()>();
            let released = Arc::new(Mutex::new(released));
            let waiting = [(); WaitingCalls::MAX].map(|()| {
                let released = released.clone();
                spawn(&calls, move || _ = released.lock().unwrap().recv())
            });
            let (begin, begun) = mpsc::channel();
            let other = spawn(&calls, move || begin.send(()).unwrap());
            yield_now().await;
            advance(TIME).await;
            for call in waiting {
                assert_eq!(call.await.unwrap(), Err(Unfinished::Late));
            }
            assert_eq!(other.await.unwrap(), Err(Unfinished::Busy));
            drop(release);
            // The calls that were late end, and leave their threads.
            assert_eq!(calls.run(TIME, || 7).await, Ok(7));
            assert_eq!(begun.try_recv(), Err(mpsc::TryRecvError::Disconnected));
        });
    }

    #[test]
    fn a_call_that_panics_leaves_its_thread() {
        in_virtual_time(async {
            let calls = WaitingCalls::new();
            for _ in 0..=WaitingCalls::MAX {
                let panicked = calls.run(TIME, || panic!("a call that panics")).await;
                assert_eq!(panicked, Err::<(), _>(Unfinished::Panicked));
            }
        });
    }
}
