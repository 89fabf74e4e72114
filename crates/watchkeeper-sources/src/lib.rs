//! Reads the session files of agents as events, and follows them as they grow.
//!
//! A [`SessionFile`] is read to its end. A [`Follower`] continues to read files
//! as they grow. Both split the bytes into [`Line`]s and pass them to a
//! [`Source`](watchkeeper_core::Source). This crate has a source for each agent that it
//! reads, such as [`ClaudeCode`] and [`Codex`]; [`Otlp`], the telemetry of agents; and
//! [`Ndjson`], the format of watchkeeper itself. [`otlp`] also reads telemetry that
//! does not come from a file. Sources of agents that store messages share the modules
//! `conversation`, `blocks` and `chat`; `document_reader` and `json_line` read the two forms of
//! their files.
//!
//! # Architecture invariants
//!
//! * No line of a session makes a source of this crate fail, or recurse without a fixed limit.
//!   Lists have a largest number of elements. Skipped input is counted.
//! * A panic of a source, in this crate or another, ends the reading of one file.
//! * The events of a file do not depend on the sizes of the reads.

mod aider;
mod amp;
mod antigravity;
mod blocks;
mod chat;
mod claude_code;
mod cline;
mod cline_sdk;
mod codex;
mod compressed;
mod content;
mod continue_dev;
mod conversation;
mod copilot_chat;
mod copilot_cli;
mod cursor;
mod database;
mod discover;
mod document;
mod document_reader;
mod droid;
mod file;
mod file_source;
mod follow;
mod gemini_cli;
mod goose;
mod gptme;
mod grok;
mod hermes;
mod home;
mod json;
mod json_line;
mod junie;
mod kernel_files;
mod kimi;
mod kiro;
mod lines;
mod mini_swe_agent;
mod ndjson;
mod opencode;
mod openhands;
pub mod otlp;
mod pi;
mod positioned_file;
mod processes;
mod qwen_code;
mod recent;
mod stream;
mod swe_agent;
mod targets;
mod tool_names;
mod unsupported;
mod zencoder;

pub use crate::{
    aider::Aider,
    amp::Amp,
    antigravity::Antigravity,
    claude_code::{ClaudeCode, sub_agent_folder},
    cline::Cline,
    cline_sdk::ClineSdk,
    codex::Codex,
    compressed::has_compressed_form,
    continue_dev::Continue,
    copilot_chat::CopilotChat,
    copilot_cli::CopilotCli,
    cursor::Cursor,
    discover::{Discovery, discover},
    droid::Droid,
    file::{
        Content, OpenError, SessionFile, open, open_bytes, open_database, open_recent, recognize,
    },
    file_source::{ReadError, SourcePanic, is_session_name},
    follow::{
        EndReason, FollowNotice, FollowOptions, FollowReport, Follower, ReadMark, RemoteAnswer,
        RemoteEntry, RemoteFollower, RemoteRequest, Update, Waker,
    },
    gemini_cli::GeminiCli,
    goose::Goose,
    gptme::Gptme,
    grok::Grok,
    hermes::Hermes,
    junie::Junie,
    kimi::Kimi,
    kiro::Kiro,
    lines::{Line, LineBuffer, LineBytes, Lines, MAX_LINE, Position},
    mini_swe_agent::MiniSweAgent,
    ndjson::{EventError, Ndjson, event_schema, parse_event, write_event},
    opencode::Opencode,
    openhands::OpenHands,
    otlp::Otlp,
    pi::{OpenClaw, Pi},
    positioned_file::PositionedFile,
    processes::{ProcessOptions, ProcessTracker},
    qwen_code::QwenCode,
    stream::open_stream,
    swe_agent::SweAgent,
    unsupported::{unsupported_agent, unsupported_agents_in},
    zencoder::Zencoder,
};
