//! The stock `watchkeeper`: the command line, and the detectors that ship with it.
//!
//! A detector that no line here names is not linked in; the lint below turns
//! a forgotten line into a compile error that says which one to add.

#![cfg_attr(not(test), deny(unused_crate_dependencies))]

use watchkeeper_detector_error_loop as _;
use watchkeeper_detector_full_context as _;
use watchkeeper_detector_pattern as _;
use watchkeeper_detector_repeat_text as _;
use watchkeeper_detector_repeat_tool_call as _;
use watchkeeper_detector_runaway_loop as _;
use watchkeeper_detector_timeout as _;
use watchkeeper_detector_token_burn as _;

fn main() -> std::process::ExitCode {
    watchkeeper_cli::main()
}
