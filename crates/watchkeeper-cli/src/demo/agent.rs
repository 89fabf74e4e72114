use std::{
    fs::{File, OpenOptions},
    io::{self, Read as _, Write as _},
    path::Path,
    sync::mpsc::{self, Receiver, RecvTimeoutError},
    thread,
    time::Duration,
};

use serde_json::{Value, json};
use watchkeeper_core::{
    SignedDuration, Timestamp,
    clock::{Clock as _, SystemClock},
};

/// Plays an agent with four problems, and writes its session as Claude Code does.
pub(crate) struct Agent {
    file: File,
    pace: Pace,
    n_lines: u32,
    n_calls: u32,
}

/// Passage of time between two lines of the session.
pub(crate) enum Pace {
    /// Real time. The agent stops once the other side of the channel is dropped.
    Live(Receiver<()>),
    /// Virtual time, which passes at once.
    Virtual(Timestamp),
}

impl Pace {
    /// Returns a live pace that stops at the end of standard input, so that the
    /// agent never outlives the process that started it.
    pub(crate) fn until_stdin_closes() -> Self {
        let (sender, receiver) = mpsc::channel();
        thread::spawn(move || {
            let _sender = sender;
            let _ = io::stdin().read_to_end(&mut Vec::new());
        });
        Self::Live(receiver)
    }

    fn now(&self) -> Timestamp {
        match self {
            Self::Live(_) => SystemClock.now(),
            Self::Virtual(now) => *now,
        }
    }

    fn wait(&mut self, millis: u32) -> io::Result<()> {
        match self {
            Self::Live(stopped) => {
                match stopped.recv_timeout(Duration::from_millis(millis.into())) {
                    Err(RecvTimeoutError::Timeout) => Ok(()),
                    Ok(()) | Err(RecvTimeoutError::Disconnected) => {
                        Err(io::Error::new(io::ErrorKind::BrokenPipe, "the demo has ended"))
                    }
                }
            }
            Self::Virtual(now) => {
                *now += SignedDuration::from_millis(millis.into());
                Ok(())
            }
        }
    }
}

impl Agent {
    /// Creates an agent that appends to `file`.
    pub(crate) fn new(file: &Path, pace: Pace) -> io::Result<Self> {
        let file = OpenOptions::new().append(true).open(file)?;
        Ok(Self { file, pace, n_lines: 0, n_calls: 0 })
    }

    /// Plays the whole session.
    pub(crate) fn play(mut self) -> io::Result<()> {
        self.prompt("Make the tests of the parser pass.")?;
        // The same failing command, repeated.
        for _ in 0..5 {
            let output = "Exit code 101\nerror[E0425]: cannot find value `token` in this scope";
            self.call("Bash", json!({ "command": "cargo test -p parser" }), output, true, 500)?;
        }
        self.prompt("Look for the token first.")?;
        // Two read-only calls that alternate without progress.
        for _ in 0..5 {
            self.call("Grep", json!({ "pattern": "fn token" }), "No matches found", false, 250)?;
            let output = "1\tpub fn parse() {}\n";
            self.call("Read", json!({ "file_path": "src/parser.rs" }), output, false, 250)?;
        }
        // A very long context, written to the cache at once.
        let text = json!([{ "type": "text", "text": "Let me read everything again." }]);
        self.response(text, "tool_use", 950_000)?;
        self.call("Read", json!({ "file_path": "src/lib.rs" }), "1\tmod parser;\n", false, 100)?;
        // A model that does not respond.
        self.pace.wait(3_500)?;
        let text = json!([{ "type": "text", "text": "I give up." }]);
        self.response(text, "end_turn", 1_000)?;
        self.pace.wait(700)
    }

    fn prompt(&mut self, text: &str) -> io::Result<()> {
        self.line("user", json!({ "role": "user", "content": text }), Value::Null)
    }

    /// Calls a tool that returns its result after `millis`.
    fn call(
        &mut self,
        tool: &str,
        input: Value,
        output: &str,
        is_error: bool,
        millis: u32,
    ) -> io::Result<()> {
        self.n_calls += 1;
        let id = format!("toolu_demo_{}", self.n_calls);
        let call = json!([{ "type": "tool_use", "id": id, "name": tool, "input": input }]);
        self.response(call, "tool_use", 2_000)?;
        self.pace.wait(millis)?;
        let result = json!([{
            "type": "tool_result", "tool_use_id": id, "content": output, "is_error": is_error,
        }]);
        self.line("user", json!({ "role": "user", "content": result }), Value::Null)
    }

    /// Writes a response of the model.
    fn response(
        &mut self,
        content: Value,
        stop_reason: &str,
        cache_write_tokens: u64,
    ) -> io::Result<()> {
        let message = json!({
            "id": format!("msg_demo_{}", self.n_lines),
            "type": "message",
            "role": "assistant",
            "model": "claude-sonnet-5",
            "content": content,
            "stop_reason": stop_reason,
            "usage": {
                "input_tokens": 12,
                "cache_creation_input_tokens": cache_write_tokens,
                "cache_read_input_tokens": 40_000,
                "output_tokens": 180,
            },
        });
        self.line("assistant", message, json!(format!("req_demo_{}", self.n_lines)))
    }

    fn line(&mut self, line_type: &str, message: Value, request_id: Value) -> io::Result<()> {
        let mut line = json!({
            "parentUuid": null,
            "isSidechain": false,
            "userType": "external",
            "cwd": "/demo/app",
            "sessionId": "demo-session",
            "version": "2.1.330",
            "type": line_type,
            "message": message,
            "uuid": format!("demo-{}", self.n_lines),
            "timestamp": format!("{:.3}", self.pace.now()),
        });
        if !request_id.is_null() {
            line["requestId"] = request_id;
        }
        self.n_lines += 1;
        self.file.write_all(format!("{line}\n").as_bytes())
    }
}
