//! Threads, and the primitives by which the monitor and the queues connect them.
//!
//! They are those of the standard library. The tests of `schedules` use those of
//! [shuttle](https://docs.rs/shuttle), which runs one thread at a time, in an order that it
//! chooses at random and can repeat.

#[cfg(all(test, shuttle))]
pub(crate) use shuttle::{
    sync::{Condvar, Mutex, MutexGuard, atomic, mpsc},
    thread,
};
#[cfg(not(all(test, shuttle)))]
pub(crate) use std::{
    sync::{Condvar, Mutex, MutexGuard, atomic, mpsc},
    thread,
};
