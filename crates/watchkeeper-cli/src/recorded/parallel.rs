//! Reads groups on several threads.

use std::{
    collections::BTreeMap,
    num::NonZeroUsize,
    sync::{Condvar, Mutex, MutexGuard, PoisonError, mpsc},
    thread,
};

use watchkeeper_core::author::DedupCache;

/// The number of items, for each thread, that are read before the results of earlier ones are
/// passed on.
const AHEAD: usize = 16;

/// Returns the number of threads that can run at the same time on this machine.
pub(crate) fn available_threads() -> NonZeroUsize {
    thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}

/// Reads `n_items` items on `n_threads` threads, and passes their results to `on_result` in
/// order.
///
/// `read` reads the item of an index, with the worker of its thread. Of lines that several
/// items contain, the first item keeps them, as if all were read on one thread: an item is
/// read independently of earlier ones, and again if it contains a key of theirs.
pub(crate) fn read_in_parallel<W: Send, T: Send>(
    n_items: usize,
    n_threads: NonZeroUsize,
    new_worker: impl Fn() -> W,
    read: impl Fn(&mut W, usize, &mut DedupCache) -> T + Sync,
    mut on_result: impl FnMut(usize, T),
) {
    let n_threads = n_threads.get().min(n_items);
    let mut seen = DedupCache::default();
    let mut own_worker = new_worker();
    if n_threads <= 1 {
        for idx in 0..n_items {
            on_result(idx, read(&mut own_worker, idx, &mut seen));
        }
        return;
    }
    let queue = Queue::new(n_items, AHEAD * n_threads);
    let (sender, results) = mpsc::channel();
    thread::scope(|scope| {
        let _close = CloseOnPanic(&queue);
        for _ in 0..n_threads {
            let mut worker = new_worker();
            let (sender, queue, read) = (sender.clone(), &queue, &read);
            scope.spawn(move || {
                let _close = CloseOnPanic(queue);
                while let Some(idx) = queue.next() {
                    let mut seen = DedupCache::separate();
                    let result = read(&mut worker, idx, &mut seen);
                    if sender.send((idx, (result, seen))).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        let mut early = BTreeMap::new();
        for idx in 0..n_items {
            while !early.contains_key(&idx) {
                // A thread that has panicked sends no more results.
                let Ok((idx, result)) = results.recv() else { return };
                early.insert(idx, result);
            }
            let Some((mut result, separate)) = early.remove(&idx) else { return };
            if !seen.add_separate(separate) {
                result = read(&mut own_worker, idx, &mut seen);
            }
            on_result(idx, result);
            queue.pass_on();
        }
    });
}

/// The items that are to be read.
struct Queue {
    n_items: usize,
    /// The largest number of items that are read and not passed on.
    ahead: usize,
    state: Mutex<QueueState>,
    changed: Condvar,
}

#[derive(Default)]
struct QueueState {
    n_taken: usize,
    n_passed_on: usize,
    is_closed: bool,
}

impl Queue {
    fn new(n_items: usize, ahead: usize) -> Self {
        Self { n_items, ahead, state: Mutex::default(), changed: Condvar::new() }
    }

    /// Takes the next item. Waits while too many results are not passed on. Returns `None`
    /// after the last item, and once the queue is closed.
    fn next(&self) -> Option<usize> {
        let is_full = |state: &mut QueueState| {
            !state.is_closed
                && state.n_taken < self.n_items
                && self.ahead <= state.n_taken - state.n_passed_on
        };
        let state = self.changed.wait_while(self.lock(), is_full);
        let mut state = state.unwrap_or_else(PoisonError::into_inner);
        if state.is_closed || state.n_taken == self.n_items {
            return None;
        }
        state.n_taken += 1;
        Some(state.n_taken - 1)
    }

    fn pass_on(&self) {
        self.lock().n_passed_on += 1;
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, QueueState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Closes the queue if its thread panics: the others would wait for the result of this thread.
struct CloseOnPanic<'a>(&'a Queue);

impl Drop for CloseOnPanic<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.lock().is_closed = true;
            self.0.changed.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{num::NonZeroUsize, panic};

    use proptest::prelude::*;
    use watchkeeper_core::{
        Fingerprint,
        author::{DedupCache, EventSink, SkippedLines},
    };

    use super::read_in_parallel;

    /// Returns the keys of an item that no earlier item contains.
    fn new_keys(item: &[u64], idx: usize, seen: &mut DedupCache) -> Vec<u64> {
        let (mut events, mut skipped) = (Vec::new(), SkippedLines::default());
        let file = format!("{idx}").into();
        let mut sink = EventSink::new("test", &file, 1, &mut events, &mut skipped, seen);
        let is_new = |key: &u64| match key % 3 {
            0 => sink.is_new(Fingerprint::from(*key)),
            1 => sink.is_first_here(Fingerprint::from(*key)),
            _ => !sink.is_known(Fingerprint::from(key - 1)),
        };
        item.iter().copied().filter(is_new).collect()
    }

    fn read(items: &[Vec<u64>], n_threads: usize) -> Vec<(usize, Vec<u64>)> {
        let mut results = Vec::new();
        read_in_parallel(
            items.len(),
            NonZeroUsize::new(n_threads).expect("the number is positive"),
            || (),
            |(), idx, seen| new_keys(&items[idx], idx, seen),
            |idx, keys| results.push((idx, keys)),
        );
        results
    }

    proptest! {
        #[test]
        fn results_do_not_depend_on_the_number_of_threads(
            items in prop::collection::vec(prop::collection::vec(0..200_u64, 0..8), 0..80),
            n_threads in 2..5_usize,
        ) {
            prop_assert_eq!(read(&items, n_threads), read(&items, 1));
        }
    }

    #[test]
    fn a_panic_ends_all_threads() {
        let read = || {
            read_in_parallel(
                10_000,
                NonZeroUsize::new(3).expect("the number is positive"),
                || (),
                |(), idx, _| assert!(idx != 40, "the item cannot be read"),
                |_, ()| {},
            );
        };
        assert!(panic::catch_unwind(read).is_err());
    }
}
