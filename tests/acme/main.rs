//! A team's own `watchkeeper`: the stock detectors, and one of its own.

#![cfg_attr(not(test), deny(unused_crate_dependencies))]

use acme_detector as _;
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
