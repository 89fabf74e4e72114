//! Black-box tests of the whole program.
//!
//! Most behavior is tested inside its crate: mistakes of policies in
//! `watchkeeper-policy`, findings in the crate of the detector. These tests cover the
//! assembled program and its output.

#![allow(clippy::unwrap_used, reason = "a test ends at its first error")]

mod annotations;
mod backtest;
mod check;
mod cli;
mod conformance;
mod explain;
mod generated;
mod hook;
mod hostile;
mod install;
mod kits;
mod migrate;
mod modules;
mod new;
mod openhands;
mod page;
mod policies;
mod policy_tests;
mod program;
mod readme;
mod reload;
mod reports;
mod restart;
mod run;
mod scenarios;
mod service;
mod silences;
#[cfg(unix)]
mod ssh;
mod streams;
mod tidy;
mod tune;
mod ui;
mod vital_signs;
mod watch;

// The crates that the stock program links, and an in-house detector.
use acme_detector as _;
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
