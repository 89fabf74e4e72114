//! A team's `watchkeeper`, with the stock detectors and an in-house detector.
//!
//! With `ACME_SOURCE` set, the program also has a source that panics on some lines.

#![cfg_attr(not(test), deny(unused_crate_dependencies))]

mod panicking_source;

use acme_detector as _;
use watchkeeper_cli::App;
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

fn main() -> std::process::ExitCode {
    let app = App::new();
    match std::env::var_os("ACME_SOURCE") {
        Some(_) => app.source::<panicking_source::PanickingSource>().run(),
        None => app.run(),
    }
}
