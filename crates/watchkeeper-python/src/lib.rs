//! The native module of the Python package `watchkeeper`.
//!
//! The module records events and runs the monitor. The Python files of the package add
//! the parts that belong to the interpreter: `fork`, exit, `asyncio`.

mod call_id;
mod captured;
mod check;
mod converted;
mod counts;
mod deliveries;
mod evidence;
mod finding;
mod gate;
mod interruptible;
mod json_text;
mod json_value;
mod logging;
mod monitor;
mod open_findings;
mod outcome;
mod policy_error;
mod recorder;
mod run;
mod session;
mod text;
mod time;
mod tokens;
mod tool_call;

use pyo3::pymodule;

#[pymodule(gil_used = false)]
mod _watchkeeper {
    #[pymodule_export]
    use crate::{
        captured::arguments_to_json,
        check::check_recorded,
        counts::Counts,
        deliveries::Deliveries,
        evidence::Evidence,
        finding::Finding,
        gate::close_gate,
        monitor::{MonitorCore, stop_all},
        policy_error::Diagnostic,
        session::Session,
        tool_call::ToolCall,
    };

    #[pymodule_export]
    #[expect(non_upper_case_globals, reason = "the name in Python")]
    const __version__: &str = env!("CARGO_PKG_VERSION");
}
