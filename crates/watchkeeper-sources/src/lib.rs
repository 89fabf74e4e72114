//! Reads the session files of agents as events, and follows them as they grow.
//!
//! A [`SessionFile`] is read to its end. A [`Follower`] continues to read files
//! as they grow. Both split the bytes into [`Line`]s and pass them to a
//! [`Source`](watchkeeper_core::Source). This crate has seven sources:
//! [`ClaudeCode`], [`Codex`], [`Opencode`], [`OpenHands`], [`SweAgent`], [`Otlp`] and
//! [`Ndjson`], the format of watchkeeper itself. [`otlp`] also reads telemetry that
//! does not come from a file.
//!
//! # Architecture invariants
//!
//! * No line of a session makes a source of this crate fail, or recurse without a fixed limit.
//!   Lists have a largest number of elements. Skipped input is counted.
//! * A panic of a source, in this crate or another, ends the reading of one file.
//! * The events of a file do not depend on the sizes of the reads.

mod claude_code;
mod codex;
mod content;
mod discover;
mod document;
mod file;
mod file_source;
mod follow;
mod json;
mod kernel_files;
mod lines;
mod ndjson;
mod opencode;
mod openhands;
pub mod otlp;
mod processes;
mod recent;
mod swe_agent;
mod targets;
mod tool_names;
mod unsupported;

pub use crate::{
    claude_code::{ClaudeCode, sub_agent_folder},
    codex::Codex,
    discover::{Discovery, discover},
    file::{Content, OpenError, SessionFile, open, open_bytes, recognize},
    file_source::{ReadError, SourcePanic, is_session_name},
    follow::{
        EndReason, FollowNotice, FollowOptions, FollowReport, Follower, ReadMark, Update, Waker,
    },
    lines::{Line, LineBuffer, LineBytes, Lines, MAX_LINE, Position},
    ndjson::{EventError, Ndjson, event_schema, parse_event, write_event},
    opencode::Opencode,
    openhands::OpenHands,
    otlp::Otlp,
    processes::{ProcessOptions, ProcessTracker},
    swe_agent::SweAgent,
    unsupported::{unsupported_agent, unsupported_agents_in},
};
