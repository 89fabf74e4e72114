//! Tests of watchkeeper as a whole, from the outside.
//!
//! What can be tested further in is tested further in: a policy's mistakes in
//! `watchkeeper-policy`, a detector's findings in the detector. Here is only what
//! needs the whole: that the parts were put together, and what people see.

mod check;
mod cli;
mod conformance;
mod explain;
mod generated;
mod hostile;
mod new_detector;
mod openhands;
mod policies;
mod policy_tests;
mod program;
mod readme;
mod scenarios;
mod service;
mod tidy;
mod watch;

// What the stock program links, and a detector of a team's own.
use acme_detector as _;
use watchkeeper_detector_error_loop as _;
use watchkeeper_detector_full_context as _;
use watchkeeper_detector_pattern as _;
use watchkeeper_detector_repeat_text as _;
use watchkeeper_detector_repeat_tool_call as _;
use watchkeeper_detector_runaway_loop as _;
use watchkeeper_detector_timeout as _;
use watchkeeper_detector_token_burn as _;
use watchkeeper_sinks as _;
use watchkeeper_sources as _;
