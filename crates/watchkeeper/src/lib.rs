//! Monitors an LLM agent from inside its own process.
//!
//! The agent records events; detectors of the policy watch every session and
//! report agents that loop, stall or overspend. Recording never waits. The goal is
//! at most 150 ns for an event, which `benches/record.rs` measures.
//!
//! ```toml
//! [dependencies]
//! watchkeeper = { version = "0.1", default-features = false }
//! ```
//!
//! ```
//! use serde_json::json;
//! use watchkeeper::Monitor;
//!
//! # fn main() -> Result<(), watchkeeper::StartError> {
//! # let policy = std::env::temp_dir().join(format!("watchkeeper-{}.toml", std::process::id()));
//! # std::fs::write(&policy, "version = 1\nextends = [\"builtin:default\"]\n").unwrap();
//! let running = Monitor::builder()
//!     .policy_file(&policy)?
//!     .on_finding(|finding| eprintln!("{}: {}", finding.severity, finding.message))
//!     .start()?;
//!
//! let session = running.session("support-17");
//! session.prompt("Why does the build fail?");
//! for _ in 0..4 {
//!     let call = session.tool_call("Bash", json!({ "command": "make" }));
//!     call.fail("no rule to make target `all`");
//! }
//! session.turn_end();
//!
//! let stopped = running.stop();
//! assert_eq!(stopped.lost, 0);
//! # assert!(stopped.delivered > 0);
//! # std::fs::remove_file(&policy).unwrap();
//! # Ok(())
//! # }
//! ```
//!
//! * [`Monitor::builder`] sets the policy, callbacks, sinks, and kinds of your
//!   own. Without a policy, the built-in one applies.
//! * [`SessionHandle`] has one method for each event. Clones and handles of
//!   sub-agents record from any thread.
//! * [`Running::stop`] handles the recorded events and delivers their findings.
//!   Its result counts delivered and lost findings.
//!
//! # Logs
//!
//! The monitor and its sinks emit `tracing` events with the targets
//! `watchkeeper::monitor`, `watchkeeper::sink` and `watchkeeper::policy`. Control
//! characters in text from agents are escaped. There is no event for each recorded
//! event.
//!
//! # Features
//!
//! * `cli` (default): the command line, as [`cli`] and as the program
//!   `watchkeeper`.

#![deny(unused_crate_dependencies)]

mod builder;
mod error;

// Cargo links only crates that are named; `unused_crate_dependencies` reports a
// detector without a line here.
use watchkeeper_detector_error_loop as _;
use watchkeeper_detector_fan_out as _;
use watchkeeper_detector_full_context as _;
use watchkeeper_detector_no_progress as _;
use watchkeeper_detector_pattern as _;
use watchkeeper_detector_repeat_text as _;
use watchkeeper_detector_repeat_tool_call as _;
use watchkeeper_detector_runaway_loop as _;
use watchkeeper_detector_timeout as _;
use watchkeeper_detector_token_burn as _;
use watchkeeper_sinks as _;
use watchkeeper_sources as _;

#[cfg(test)]
use {schemars as _, serde as _, serde_json as _, tempfile as _};

#[cfg(feature = "cli")]
pub use watchkeeper_cli as cli;
pub use watchkeeper_core as core;
pub use watchkeeper_core::{
    AgentId, EventKind, Finding, Json, SessionId, Severity, SignedDuration, Sink, Status,
    Timestamp,
    author::{Cause, Retry, SinkError, WaitingFor},
    clock,
    embed::{
        Deliveries, Feed, ModelCallBuilder, ModelResponse, MonitorCounts, Running, SessionBuilder,
        SessionHandle, SinkOutcome, Stopped, ToolCallHandle,
    },
};
pub use watchkeeper_policy::{Diagnostic, DiagnosticLevel, InvalidPolicy, Policy};

pub use crate::{
    builder::{Monitor, MonitorBuilder},
    error::{PolicyError, StartError},
};
