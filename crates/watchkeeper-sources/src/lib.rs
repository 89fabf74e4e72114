//! Reads the session files of agents as events, and follows them as they grow.
//!
//! A [`SessionFile`] is read to its end; a [`Follower`] reads on as files grow.
//! Both cut what they read into [`Line`]s and hand those to a
//! [`Source`](watchkeeper_core::Source), of which this crate has six:
//! [`ClaudeCode`], [`Codex`], [`Opencode`], [`OpenHands`], [`SweAgent`] and
//! [`Ndjson`], watchkeeper's own form.
//!
//! # Architecture invariants
//!
//! * No line of a session can make a source fail, recurse, or hold more than
//!   it was given. What is not understood is counted.
//! * However the bytes of a file arrive, its events are the same.

mod claude_code;
mod codex;
mod document;
mod file;
mod follow;
mod json;
mod lines;
mod ndjson;
mod opencode;
mod openhands;
mod recent;
mod swe_agent;
mod tool_names;

pub use crate::{
    claude_code::ClaudeCode,
    codex::Codex,
    file::{OpenError, SessionFile, discover, is_session_name, open, recognize},
    follow::{EndReason, FollowOptions, FollowReport, Follower, Update, Waker},
    lines::{Line, LineBuffer, LineBytes, Lines, MAX_LINE, Position},
    ndjson::{EventError, Ndjson, event_schema, parse_event, write_event},
    opencode::Opencode,
    openhands::OpenHands,
    swe_agent::SweAgent,
};
