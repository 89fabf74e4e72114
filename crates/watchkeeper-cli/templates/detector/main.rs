//! A watchkeeper with a detector of our own. A detector that is not named here is
//! not linked in; the lint says so.

#![cfg_attr(not(test), deny(unused_crate_dependencies))]

use linked_detectors as _;

fn main() -> std::process::ExitCode {
    watchkeeper_cli::main()
}
