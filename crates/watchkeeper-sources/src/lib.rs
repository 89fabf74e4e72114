//! Reads the session files of agents as events, and follows them as they grow.

mod lines;

pub use crate::lines::{Line, LineBuffer, LineBytes, Lines, MAX_LINE, Position};
