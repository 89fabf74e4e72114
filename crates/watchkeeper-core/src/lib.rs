//! The vocabulary and the engine of Watchkeeper, which monitors LLM agents.
//!
//! An agent session is a stream of [`Event`]s, emitted by a [`Source`]. A [`Detector`] observes the
//! events of one session and reports [`Finding`]s; a [`Sink`] delivers them. The [`Engine`] runs
//! detectors on events, and the [`Monitor`] gives the engine a thread and a clock.
//!
//! The names that most programs need are at the root. The others are in two modules: [`author`] for
//! detectors, sources and sinks, and [`embed`] for programs that run them.
//!
//! # Invariants
//!
//! * This crate performs no I/O. Only [`clock`] reads the time, and only the monitor and its
//!   [`Queue`]s have threads. The engine returns no errors.
//! * A detector observes one stream of events. Each stream has its own copy of the detector, so no
//!   detector needs a map keyed by session.
//! * Findings are ordered by time and then by the name of the detector. The order in which detectors
//!   are linked has no effect.

pub mod clock;

mod annotations;
mod backlog;
mod byte_size;
mod compact;
mod delivery;
mod detector;
mod engine;
mod error_cause;
mod error_hints;
mod event;
mod facts;
mod finding;
mod fingerprint;
mod glob;
mod grouped;
mod interner;
mod json;
mod ledger;
mod matcher;
mod meter;
mod metrics;
mod models;
mod monitor;
mod name_words;
mod near;
mod nothing_found;
mod open_findings;
mod options;
mod panic_message;
mod period;
mod phrase_set;
mod price;
mod prices;
mod purpose;
mod queue;
mod quote;
mod redact;
mod registry;
mod result_class;
mod routes;
mod secret;
mod session_filter;
mod severity;
mod silences;
mod sink;
mod source;
mod special_file;
mod suppliers;
mod sync;
mod token_limit;
mod tool_class;

pub use crate::{
    detector::{Context, Detector, DetectorKind, Report, Subscription},
    engine::Engine,
    error_cause::{ErrorCause, ErrorClass},
    event::{
        AgentId, Event, EventKind, EventSet, ModelCall, Quota, SessionId, ToolCall, ToolResult,
    },
    finding::{Finding, Silenced, Status},
    fingerprint::Fingerprint,
    json::Json,
    monitor::Monitor,
    options::InvalidOption,
    purpose::{Purpose, SpacedWeight, Weight},
    quote::quote,
    result_class::{Outage, ResultClass},
    severity::{Action, Level, Severity, Unit},
    sink::{Sink, SinkKind},
    source::{Source, SourceKind},
    tool_class::ToolClass,
};
pub use jiff::{SignedDuration, Timestamp};

pub mod author {
    //! For authors of detectors, sources and sinks.
    //!
    //! Option types ([`Period`], [`ByteSize`], [`Glob`], [`TokenLimit`], [`Secret`]), the facts about
    //! sessions and agents, the details of events, and helpers for messages.

    pub use crate::{
        annotations::{Annotations, Link, ParseLinkError, ParseTagError, Tag},
        byte_size::{ByteSize, ParseByteSizeError},
        compact::{PackedTimestamp, Place},
        detector::Scope,
        event::{Cause, Change, Origin, SessionStart, Targets, Tokens, TurnEffect, WaitingFor},
        facts::{
            Activity, AgentFacts, AgentState, Call, Contribution, SessionFacts, Start, StateKind,
            Totals, Usage,
        },
        finding::{Evidence, Labels},
        glob::Glob,
        grouped::grouped,
        json::unescaped,
        metrics::{FindingNumbers, Metric, MetricPoint, MetricValue, Numbers, SinkNumbers},
        models::{context_tokens, least_context_tokens},
        near::{CHUNK, SpecialBytes, end_of_string, nested_len},
        options::{Options, OptionsError},
        panic_message::panic_message,
        period::{Elapsed, ParsePeriodError, Period, Within, known_time, untimed},
        purpose::runs_program,
        quote::{is_unsafe, make_safe},
        redact::redact,
        secret::Secret,
        severity::percent,
        sink::{Retry, SinkError},
        source::{
            ClientTotal, Database, DedupCache, Environment, EventSink, SkippedLine, SkippedLines,
        },
        token_limit::{ParseTokenLimitError, TokenLimit},
    };
}

pub mod embed {
    //! For programs that run detectors: the configuration of the engine and the monitor, typed
    //! session handles, delivery to sinks, and the registry of kinds.

    pub use crate::{
        backlog::{Backlog, BacklogCounts},
        delivery::Delivery,
        engine::{
            EngineConfig, EngineTotals, EpisodeUpdate, ExplanationDetail, ExplanationEntry,
            LabelRule, NamedDetector, OpenFinding, Outcome, Per, SessionStates,
        },
        ledger::{Durability, Ledger},
        matcher::{Matcher, Mismatch, ParseSeverityMatchError, SeverityMatch},
        meter::Meter,
        monitor::{
            Feed, ModelCallBuilder, ModelResponse, MonitorConfig, MonitorCounts, Reload, Running,
            SessionBuilder, SessionHandle, SinkOutcome, Stopped, ToolCallHandle,
        },
        price::{LongPromptPrice, Price},
        prices::Prices,
        queue::{Deliveries, Queue, QueueCounts, QueueStep, QueueWorker},
        registry::{
            DetectorEntry, Entry, Kinds, Registry, RegistryBuilder, RegistryError, SinkEntry,
            SourceEntry, UnknownKind,
        },
        routes::{
            GroupField, Grouping, ParseGroupFieldError, Route, Routed, Router, Routes, Sending,
        },
        session_filter::{SessionFilter, SessionMatcher},
        silences::{Silence, Silences},
        special_file::SpecialFile,
        suppliers::Suppliers,
    };
}

// Short paths inside this crate.
pub(crate) use crate::{
    annotations::Annotations,
    compact::Place,
    delivery::Delivery,
    detector::Scope,
    event::{Cause, Origin, SessionStart, Tokens, WaitingFor},
    facts::{AgentFacts, Call, Contribution, SessionFacts, Totals, Usage},
    finding::{Evidence, Labels},
    glob::Glob,
    grouped::grouped,
    matcher::Matcher,
    options::{Options, OptionsError},
    panic_message::panic_message,
    period::Period,
    price::Price,
    prices::Prices,
    queue::{Queue, QueueCounts},
    quote::make_safe,
    routes::Router,
    session_filter::SessionFilter,
    silences::Silences,
    sink::{Retry, SinkError},
    source::{Database, Environment},
};

#[doc(hidden)]
pub mod private {
    //! Used by the macros of this crate; not public API.
    pub use inventory::submit;

    pub use crate::registry::{DetectorEntry, SinkEntry, SourceEntry};
}
