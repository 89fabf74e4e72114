//! Tests of following files, one step at a time.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod arrival;
mod identity;
mod lines;
mod model;
mod panics;
mod paths;
mod plain;
#[cfg(feature = "sqlite")]
mod rows;
mod stage;
mod timing;
mod unreliable;
