//! Watches an agent loop that repeats a command which cannot succeed.
//!
//! ```console
//! $ cargo run -p watchkeeper --example embed
//! ```
#![expect(clippy::print_stdout, reason = "an example prints its findings")]

use std::error::Error;

use serde_json::{Value, json};
use watchkeeper::{Monitor, SessionHandle, Status};

/// The largest number of steps in a turn.
const MAX_STEPS: usize = 6;

fn main() -> Result<(), Box<dyn Error>> {
    let running = Monitor::builder()
        .on_finding(|finding| match finding.status {
            Status::Open => println!("[{}] {}", finding.severity, finding.message),
            Status::Resolved => println!("[resolved] {}", finding.message),
        })
        .start()?;

    let session = running
        .session_builder("support-17")
        .cwd("/srv/shop")
        .model("claude-sonnet-4-5")
        .label("team", "payments")
        .start();
    run_turn(&session, "Build the project.");
    session.end();

    let stopped = running.stop();
    println!("{} events, {} findings delivered", stopped.handled, stopped.delivered);
    Ok(())
}

/// Runs one turn of the agent, and records every step.
fn run_turn(session: &SessionHandle, prompt: &str) {
    session.prompt(prompt);
    for step in 0..MAX_STEPS {
        let (tool, arguments) = pretend_model(step);
        let response = session
            .model_call()
            .model("claude-sonnet-4-5")
            .input_tokens(1_200)
            .output_tokens(80)
            .record();
        let call = response.tool_call(tool, &arguments);
        match pretend_tool(&arguments) {
            Ok(output) => call.succeed(output),
            Err(output) => call.fail(output),
        }
    }
    session.message("The build fails, and I do not know why.");
    session.turn_end();
}

/// Requests the same command at every step.
fn pretend_model(_step: usize) -> (&'static str, Value) {
    ("Bash", json!({ "command": "make" }))
}

/// Fails in the same way for every command.
fn pretend_tool(_arguments: &Value) -> Result<String, String> {
    Err("make: *** No rule to make target `all`. Stop.".to_owned())
}
