//! Generated events of healthy sessions.

use std::{fmt::Write as _, sync::Arc};

use watchkeeper_core::{
    Engine, Event, EventKind, Fingerprint, Json, ModelCall, SessionId, SignedDuration, Timestamp,
    ToolCall, ToolResult,
    author::{Origin, Tokens},
    embed::{NamedDetector, Registry},
};
use watchkeeper_policy::{Loader, Policy};
use watchkeeper_testing::Dice;

/// The number of events of a turn: a prompt, a thought, the events of the calls, a last message,
/// and the end.
const TURN: u64 = 4 + 3 * CALLS;
/// The number of tool calls of a turn. Each has three events: the model call, the tool call and
/// the tool result.
const CALLS: u64 = 6;
/// The time between two events of a session.
const STEP: SignedDuration = SignedDuration::from_secs(2);

/// Returns the built-in policy.
pub(crate) fn policy() -> Result<Policy, String> {
    let registry = Registry::linked().map_err(|err| err.to_string())?;
    let read_file = |_: &std::path::Path| Err(std::io::ErrorKind::NotFound.into());
    let loader = Loader::new(&registry, &read_file);
    loader.load_builtin().policy.ok_or_else(|| "the built-in policy is invalid".to_owned())
}

/// Creates engines that run a policy.
pub(crate) struct Engines {
    detectors: Vec<NamedDetector>,
    config: watchkeeper_core::embed::EngineConfig,
}

impl Engines {
    pub(crate) fn new(policy: &Policy) -> Self {
        Self { detectors: policy.detectors.clone(), config: policy.engine_config() }
    }

    pub(crate) fn engine(&self) -> Engine {
        self.with(self.detectors.clone())
    }

    /// Creates an engine with other detectors.
    pub(crate) fn with(&self, detectors: Vec<NamedDetector>) -> Engine {
        Engine::new(detectors, self.config.clone())
    }
}

/// Healthy sessions that take turns, each at a different step of its work. No two calls are
/// equal.
pub(crate) struct Traffic {
    sessions: Vec<SessionId>,
    tools: [Arc<str>; 4],
    file: Arc<str>,
    /// The text that pads the arguments of every call.
    filling: String,
    n_events: u64,
}

impl Traffic {
    /// Creates sessions whose calls have arguments of about `arguments_len` bytes.
    pub(crate) fn new(n_sessions: u64, arguments_len: usize) -> Self {
        let id = |n| {
            SessionId::from(format!("{:08x}-5b1e-4c1f-9d5e-0123456789ab", Dice::mixed(n) >> 32))
        };
        let filling = "let anchor = self.harbor(keel); ".repeat(arguments_len / 32 + 1);
        Self {
            sessions: (0..n_sessions).map(id).collect(),
            tools: ["Bash", "Read", "Edit", "Grep"].map(Arc::from),
            file: "/home/ada/.claude/projects/-work-harbor/session.jsonl".into(),
            filling: filling[..arguments_len.saturating_sub(80)].to_owned(),
            n_events: 0,
        }
    }

    pub(crate) fn take(&mut self, n: usize) -> Vec<Event> {
        (0..n).map(|_| self.next()).collect()
    }

    pub(crate) fn next(&mut self) -> Event {
        let n_sessions = self.sessions.len() as u64;
        let (session_idx, step) = (self.n_events % n_sessions, self.n_events / n_sessions);
        self.n_events += 1;
        let session = &self.sessions[usize::try_from(session_idx).unwrap_or_default()];
        let seconds = i64::try_from(step).unwrap_or_default() * STEP.as_secs();
        let start = SignedDuration::from_hours(24 * 20_000);
        let at = Timestamp::UNIX_EPOCH + start + SignedDuration::from_secs(seconds);
        let kind = self.kind(step + session_idx, self.n_events);
        let origin = Origin { source: "claude-code", file: self.file.clone(), line: step + 1 };
        Event { origin: Some(origin), ..Event::new(at, session.clone(), kind) }
    }

    fn kind(&self, step: u64, n: u64) -> EventKind {
        let place = step % TURN;
        // The three events of one call have the same number.
        let call = step / TURN * CALLS + place.saturating_sub(2) / 3;
        match place {
            0 => EventKind::Prompt { text: "make the tests pass".into(), synthetic: false },
            1 => EventKind::Thinking { text: "the harbor has no keel".into() },
            place if place == TURN - 2 => {
                EventKind::Message { text: "all of them pass".into(), delta: false }
            }
            place if place == TURN - 1 => EventKind::TurnEnd,
            place => match (place - 2) % 3 {
                0 => self.model_call(call),
                1 => self.tool_call(call, n),
                _ => tool_result(call, n),
            },
        }
    }

    fn model_call(&self, call: u64) -> EventKind {
        EventKind::ModelCall(ModelCall {
            id: Some(format!("msg_01{:022x}", Dice::mixed(call)).into()),
            model: Some("claude-sonnet-4-5".into()),
            tokens: Tokens {
                input: 4,
                cache_read: 30_000,
                cache_write: 900,
                output: 250,
                reasoning: 0,
                cache_write_1h: 0,
            },
            ..ModelCall::default()
        })
    }

    fn tool_call(&self, call: u64, n: u64) -> EventKind {
        let tool = &self.tools[usize::try_from(call % 4).unwrap_or_default()];
        let Self { filling, .. } = self;
        let arguments = format!(
            r#"{{"file_path":"/proj/harbor/src/{:016x}.rs","limit":200,"text":"{filling}"}}"#,
            Dice::mixed(n)
        );
        let mut event = ToolCall::new(call_id(call), tool.clone(), Json::parse_or_text(&arguments));
        event.response = Some(format!("msg_01{:022x}", Dice::mixed(call)).into());
        EventKind::ToolCall(event)
    }
}

fn tool_result(call: u64, n: u64) -> EventKind {
    // One allocation, as a source makes it: pieces would fill the gaps between sessions.
    let mut output = String::with_capacity(8 * "test harbor::01234567 ok\n".len());
    for line in 0..8 {
        let _ = writeln!(output, "test harbor::{:08x} ok", Dice::mixed(n * 8 + line) >> 32);
    }
    let mut event = ToolResult::new(call_id(call), true, Some(output.into()));
    event.fingerprint = Some(Fingerprint::from(Dice::mixed(n)));
    EventKind::ToolResult(event)
}

fn call_id(call: u64) -> String {
    format!("toolu_01{:022x}", Dice::mixed(call))
}
