use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
    process::{self, Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use clap::Args;
use serde_json::{Value, json};
use watchkeeper_core::{
    Registry, Timestamp,
    clock::{Clock as _, SystemClock},
};

use crate::{
    Global, Output, Status,
    counted::counted,
    live::{self, Live},
    loading,
};

/// Watch an agent go wrong: a live demonstration, in about ten seconds
///
/// Another process plays the agent and writes a session file as Claude Code
/// does; nothing leaves this machine.
#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// Play the agent, and write its session to this file
    #[arg(long, value_name = "FILE", hide = true)]
    as_agent: Option<PathBuf>,
}

impl Demo {
    pub(crate) fn run(
        self,
        global: &Global,
        registry: &Registry,
        output: &mut Output<'_>,
    ) -> io::Result<Status> {
        if let Some(file) = self.as_agent {
            Agent::new(&file)?.play()?;
            return Ok(Status::Success);
        }
        let policy = match &global.policy {
            Some(_) => match loading::policy(global, registry, output) {
                Ok(it) => it,
                Err(status) => return Ok(status),
            },
            None => {
                match loading::embedded(registry, "demo.toml", include_str!("../demo_policy.toml"))
                {
                    Some(it) => it,
                    None => {
                        let message =
                            "error: the demo needs the detectors that ship with watchkeeper\n";
                        return Ok(output.fail(message));
                    }
                }
            }
        };
        let folder = Folder::new()?;
        let file = folder.0.join("demo-session.jsonl");
        // The file is there before anyone looks for it.
        File::create_new(&file)?;

        if !global.quiet {
            let file = file.display();
            writeln!(output.err, "An agent that goes wrong writes {file}; watching it live:\n")?;
        }
        let mut agent = Command::new(std::env::current_exe()?)
            .args(["demo", "--as-agent"])
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()?;
        let live = Live::new(policy, registry, vec![folder.0.clone()], &live::Options::default());
        let stopper = live.stopper();
        let waiter = thread::spawn(move || {
            let status = agent.wait();
            stopper.stop();
            status
        });
        let outcome = live.run(&mut |_| Ok(()))?;
        let agent = waiter.join().map_err(|_| io::Error::other("the demo agent was lost"))??;

        if !agent.success() {
            return Ok(output.fail("error: the demo agent could not write its session\n"));
        }
        let found = counted(outcome.counts.findings, "finding");
        let events = counted(outcome.counts.events, "event");
        writeln!(output.out, "\n{found} in {events}. To watch your own agents: watchkeeper watch")?;
        Ok(if outcome.all_delivered { Status::Success } else { Status::Failure })
    }
}

/// A folder for the demo alone, which goes when it ends.
struct Folder(PathBuf);

impl Folder {
    fn new() -> io::Result<Self> {
        let name = format!("watchkeeper-demo-{}", process::id());
        let path = std::env::temp_dir().join(name);
        // Fails if it is there, so nobody can lay it out for us.
        fs::create_dir(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left over in a folder for temporary files does no harm.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Plays an agent that goes wrong in four ways.
struct Agent {
    file: File,
    n_lines: u32,
    n_calls: u32,
    /// Nobody ever sends to it: waiting for it is a pause.
    pause: mpsc::Receiver<()>,
    _sender: mpsc::Sender<()>,
}

impl Agent {
    fn new(file: &Path) -> io::Result<Self> {
        let (sender, pause) = mpsc::channel();
        let file = OpenOptions::new().append(true).open(file)?;
        Ok(Self { file, n_lines: 0, n_calls: 0, pause, _sender: sender })
    }

    fn play(mut self) -> io::Result<()> {
        self.line(
            "user",
            json!({ "role": "user", "content": "Make the tests of the parser pass." }),
            Value::Null,
        )?;
        // The same failing command again and again.
        for _ in 0..5 {
            let failed = "Exit code 101\nerror[E0425]: cannot find value `token` in this scope";
            self.call("Bash", json!({ "command": "cargo test -p parser" }), failed, true, 500)?;
        }
        // Two looks that take turns, and change nothing.
        for _ in 0..5 {
            self.call("Grep", json!({ "pattern": "fn token" }), "No matches found", false, 250)?;
            let read = "1\tpub fn parse() {}\n";
            self.call("Read", json!({ "file_path": "src/parser.rs" }), read, false, 250)?;
        }
        // A very long context, sent anew each time.
        self.answer(json!([{ "type": "text", "text": "Let me read everything again." }]), 950_000)?;
        self.call("Read", json!({ "file_path": "src/lib.rs" }), "1\tmod parser;\n", false, 100)?;
        // And then silence.
        self.wait(3_500);
        let answer = json!([{ "type": "text", "text": "I give up." }]);
        self.message(answer, "end_turn", 1_000)?;
        self.wait(700);
        Ok(())
    }

    /// Calls a tool, which answers after a while.
    fn call(
        &mut self,
        tool: &str,
        input: Value,
        output: &str,
        is_error: bool,
        millis: u64,
    ) -> io::Result<()> {
        self.n_calls += 1;
        let id = format!("toolu_demo_{}", self.n_calls);
        let call = json!([{ "type": "tool_use", "id": id, "name": tool, "input": input }]);
        self.message(call, "tool_use", 2_000)?;
        self.wait(millis);
        let result = json!([{
            "type": "tool_result", "tool_use_id": id, "content": output, "is_error": is_error,
        }]);
        self.line("user", json!({ "role": "user", "content": result }), Value::Null)
    }

    fn answer(&mut self, content: Value, cache_write_tokens: u64) -> io::Result<()> {
        self.message(content, "tool_use", cache_write_tokens)
    }

    fn message(
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

    fn line(&mut self, line_type: &str, message: Value, request: Value) -> io::Result<()> {
        let now: Timestamp = SystemClock.now();
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
            "timestamp": format!("{now:.3}"),
        });
        if !request.is_null() {
            line["requestId"] = request;
        }
        self.n_lines += 1;
        self.file.write_all(format!("{line}\n").as_bytes())
    }

    fn wait(&self, millis: u64) {
        // The sender lives as long as we do, so this ends with the time.
        let _ = self.pause.recv_timeout(Duration::from_millis(millis));
    }
}
