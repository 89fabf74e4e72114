//! The output of tools, as Codex shows it to the model.

use std::borrow::Cow;

use watchkeeper_core::author::Cause;

use crate::json::{Number, Text, object, parse};

object! {
    /// The output of early versions.
    struct EarlyOutput<'a> {
        b"output" => output: Text<'a>,
        b"metadata" => metadata: Metadata<'a>,
    }
}

object! {
    struct Metadata<'a> {
        b"exit_code" => exit_code: Number<'a>,
    }
}

/// The output of a tool without the header of Codex.
pub(super) struct ToolOutput<'a> {
    pub(super) body: Cow<'a, str>,
    /// `None` if the text does not contain the outcome.
    pub(super) ok: Option<bool>,
    pub(super) exit_code: Option<i32>,
    pub(super) cause: Option<Cause>,
    /// Whether the command is still running. The body is its output so far.
    pub(super) is_running: bool,
}

impl<'a> ToolOutput<'a> {
    pub(super) fn read(text: &'a str) -> Self {
        let mut output =
            Self { body: text.into(), ok: None, exit_code: None, cause: None, is_running: false };
        if !output.read_object(text) {
            output.body = output.read_header(text).into();
        }
        output.ok = output.exit_code.map(|it| it == 0);
        output.cause = output.find_cause();
        if output.cause.is_some() || output.exit_code.is_none() && output.is_failure_message() {
            output.ok = Some(false);
        }
        output
    }

    /// Reads the form of early versions: an object that contains the output.
    fn read_object(&mut self, text: &'a str) -> bool {
        if !text.starts_with("{\"output\":") {
            return false;
        }
        let Ok(EarlyOutput { output: Some(output), metadata: Some(metadata) }) =
            parse(text.as_bytes())
        else {
            return false;
        };
        let Some(code) = metadata.exit_code else { return false };
        self.body = output.read();
        self.exit_code = code.parse();
        true
    }

    /// Reads the header lines of an output, which differ from call to call. Returns the
    /// body.
    fn read_header(&mut self, text: &'a str) -> &'a str {
        const HEADER: &[&str] =
            &["Chunk ID: ", "Wall time: ", "Original token count: ", "Total output lines: "];
        let mut rest = text;
        loop {
            let (line, after) = rest.split_once('\n').unwrap_or((rest, ""));
            let code =
                line.strip_prefix("Process exited with code ").or(line.strip_prefix("Exit code: "));
            if let Some(code) = code {
                self.exit_code = code.trim().parse().ok();
            } else if line.starts_with("Process running with session ID ") {
                self.is_running = true;
            } else if line == "Output:" && rest.len() < text.len() {
                return after;
            } else if !HEADER.iter().any(|it| line.starts_with(it)) {
                return rest;
            }
            rest = after;
        }
    }

    fn find_cause(&self) -> Option<Cause> {
        const DECLINED: &[&str] =
            &["exec command rejected by user", "patch rejected by user", "rejected by user"];
        const BLOCKED: &[&str] = &[
            "Command blocked by PreToolUse hook",
            "This action was rejected due to unacceptable risk",
            "rejected: blocked by policy",
        ];
        let body = &*self.body;
        if body.starts_with("aborted by user") || body == "aborted" {
            Some(Cause::Interrupted)
        } else if DECLINED.iter().any(|it| body.starts_with(it)) {
            Some(Cause::Declined)
        } else if BLOCKED.iter().any(|it| body.starts_with(it)) {
            Some(Cause::Blocked)
        } else if self.exit_code.is_none_or(|it| it == 124)
            && body.starts_with("command timed out after ")
        {
            Some(Cause::Timeout)
        } else {
            None
        }
    }

    /// Returns whether an output without an exit code is an error message of Codex
    /// about a call that could not be made.
    fn is_failure_message(&self) -> bool {
        const FAILURES: &[&str] = &[
            "unsupported call: ",
            "failed to parse function arguments",
            "apply_patch verification failed",
            "exec_command failed",
            "write_stdin failed",
            "execution error: ",
            "tool call error: ",
        ];
        FAILURES.iter().any(|it| self.body.starts_with(it))
    }
}
