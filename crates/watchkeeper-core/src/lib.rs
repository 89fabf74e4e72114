//! The vocabulary of watchkeeper, and the engine that speaks it.
//!
//! An agent session is a stream of [`Event`]s, which a [`Source`] reads. A
//! [`Detector`] reads the events of one session and reports [`Finding`]s; a
//! [`Sink`] delivers them. The [`Engine`] joins detectors and events; the
//! [`Monitor`] gives the engine a thread and a clock.
//!
//! # Architecture invariants
//!
//! * Nothing in this crate does I/O. Only [`clock`] reads the time, and only
//!   the [`Monitor`] and the [`Queue`] have threads. A detector can't fail, and
//!   neither can the engine.
//! * A detector sees one stream. The engine gives every stream its own copy,
//!   so no detector needs a map keyed by session.
//! * Findings come out in one order: by time, then by the detector's name.
//!   Nothing depends on the order in which detectors were linked.

pub mod clock;

mod backlog;
mod byte_size;
mod compact;
mod delivery;
mod detector;
mod engine;
mod event;
mod facts;
mod finding;
mod fingerprint;
mod glob;
mod grouped;
mod interner;
mod json;
mod models;
mod monitor;
mod options;
mod period;
mod prices;
mod queue;
mod quote;
mod registry;
mod routes;
mod secret;
mod session_filter;
mod severity;
mod sink;
mod source;
mod token_limit;
mod tool_class;

pub use crate::{
    backlog::{Backlog, BacklogCounts},
    byte_size::{ByteSize, ParseByteSizeError},
    compact::Place,
    delivery::Delivery,
    detector::{CloneDetector, Context, Detector, DetectorKind, Report, Scope, Subscription},
    engine::{Engine, EngineConfig, ExplanationDetail, ExplanationEntry, NamedDetector, Outcome},
    event::{
        AgentId, Cause, Event, EventKind, EventSet, ModelCall, Origin, SessionId, SessionStart,
        Targets, Tokens, ToolCall, ToolResult, WaitingFor,
    },
    facts::{Activity, AgentFacts, Call, SessionFacts, Totals, Usage},
    finding::{Evidence, Finding, Labels, Status},
    fingerprint::Fingerprint,
    glob::Glob,
    grouped::grouped,
    json::Json,
    models::{context_tokens, least_context_tokens},
    monitor::{
        Feed, ModelCallBuilder, ModelResponse, Monitor, MonitorConfig, MonitorCounts, Running,
        SessionBuilder, SessionHandle, SinkOutcome, Stopped, ToolCallHandle,
    },
    options::{InvalidOption, Options, OptionsError},
    period::{Elapsed, ParsePeriodError, Period},
    prices::{Price, Prices},
    queue::{Queue, QueueCounts},
    quote::{is_unsafe, make_safe, quote},
    registry::{
        DetectorEntry, Entry, Kinds, Registry, RegistryBuilder, RegistryError, SinkEntry,
        SourceEntry, UnknownKind,
    },
    routes::{Matcher, Route, Router, SeverityMatch},
    secret::Secret,
    session_filter::{SessionFilter, SessionMatcher},
    severity::{Level, Severity, Unit, percent},
    sink::{Retry, Sink, SinkError, SinkKind},
    source::{DedupCache, Environment, EventSink, SkippedLines, Source, SourceKind},
    token_limit::{ParseTokenLimitError, TokenLimit},
    tool_class::ToolClass,
};
pub use jiff::{SignedDuration, Timestamp};

#[doc(hidden)]
pub mod private {
    //! Used by the macros of this crate; not public API.
    pub use inventory::submit;
}
