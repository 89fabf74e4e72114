//! Watchkeeper with the kind `kind-name`.
//!
//! Cargo links only the crates that are named here. The lint reports a dependency
//! that is not named.

#![cfg_attr(not(test), deny(unused_crate_dependencies))]

use linked_crates as _;

fn main() -> std::process::ExitCode {
    watchkeeper_cli::main()
}
