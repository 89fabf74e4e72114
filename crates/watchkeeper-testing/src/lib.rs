//! A test kit for authors of detectors.
//!
//! A [`Trace`] lists events with their times, so tests run in virtual time. [`play()`]
//! runs a detector over a trace and returns its findings as text.
//!
//! ```
//! use watchkeeper_testing::Trace;
//!
//! let trace: Trace = "
//!     0s    prompt fix the build
//!     10s   call Bash {\"command\": \"make\"}
//!     12s   result fail exit 2 no rule to make target
//!     +1m   agent helper: message I am on it
//!     2m    repeat 4 every 5s: call Bash make ;; result fail no rule
//!     advance 10m
//! "
//! .parse()
//! .expect("every line is an event");
//! assert_eq!(trace.events().count(), 12);
//! ```
//!
//! [`labels`] reads the labels of recorded sessions. [`Dice`] rolls the numbers of random tests.
//!
//! The feature `laws`, on by default, adds the checks that hold for every kind:
//!
//! * [`laws`] for the behaviour of detectors;
//! * [`sink`] and [`source`] for sinks and sources;
//! * [`manual`] for manuals and options.

pub mod labels;
#[cfg(feature = "laws")]
pub mod laws;
#[cfg(feature = "laws")]
pub mod manual;
#[cfg(feature = "laws")]
pub mod sink;
#[cfg(feature = "laws")]
pub mod source;

#[cfg(feature = "laws")]
mod arbitrary;
mod dice;
#[cfg(feature = "laws")]
mod hostile;
mod mutate;
mod play;
#[cfg(feature = "laws")]
mod promise;
mod trace;

#[cfg(feature = "laws")]
pub use crate::arbitrary::events;
pub use crate::{
    dice::Dice,
    mutate::{mutate, shortest},
    play::{detector, findings, play, play_detector, render},
    trace::{Step, Trace, TraceError},
};
