//! The handles through which an agent's own process records its events.

use std::fmt;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::value::to_raw_value;

use super::shared::{DeferredEvent, Message, Recorder};
use crate::{
    AgentId, Cause, Event, EventKind, Json, ModelCall, SessionId, SessionStart, ToolCall,
    ToolResult, WaitingFor,
};

/// Records the events of one session, from any thread.
///
/// No method waits: if too many events are waiting already, the event is
/// dropped and counted, and the drops are reported as a finding. Clones record
/// into the same session. Dropping a handle records nothing.
///
/// ```
/// # use watchkeeper_core::{Engine, Monitor, embed::{Delivery, EngineConfig, MonitorConfig}};
/// use serde_json::json;
///
/// # let engine = Engine::new(Vec::new(), EngineConfig::default());
/// # let delivery = Delivery::to_callback(|_| {});
/// # let running = Monitor::new(engine, delivery, MonitorConfig::default()).start()?;
/// let session = running.session("support-17");
/// session.prompt("Why does the build fail?");
/// let response = session.model_call().model("claude-sonnet-4-5").output_tokens(86).record();
/// let call = response.tool_call("Read", json!({ "path": "build.log" }));
/// match std::fs::read_to_string("build.log") {
///     Ok(text) => call.succeed(text),
///     Err(err) => call.fail(err.to_string()),
/// }
/// session.turn_end();
/// session.end();
/// # let _ = running.stop();
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone)]
pub struct SessionHandle {
    session: SessionId,
    agent: Option<AgentId>,
    recorder: Recorder,
}

impl SessionHandle {
    pub(super) fn new(session: SessionId, recorder: Recorder) -> Self {
        Self { session, agent: None, recorder }
    }

    /// Returns the id of the session.
    pub fn id(&self) -> &SessionId {
        &self.session
    }

    /// Records the start of a sub-agent that this agent started, and returns a handle for its
    /// events.
    pub fn agent(&self, id: impl Into<AgentId>) -> Self {
        let agent = self.started_agent(id);
        agent.record(EventKind::AgentStart { parent: self.agent.clone() });
        agent
    }

    /// Returns a handle for the events of a sub-agent whose start is recorded already.
    pub fn started_agent(&self, id: impl Into<AgentId>) -> Self {
        Self { agent: Some(id.into()), ..self.clone() }
    }

    /// Records a prompt of a person.
    pub fn prompt(&self, text: impl Into<Box<str>>) {
        self.record(EventKind::Prompt { text: text.into(), synthetic: false });
    }

    /// Records a prompt of the harness, such as a reminder or a correction.
    /// Unlike a person's prompt, it does not restart any count.
    pub fn synthetic_prompt(&self, text: impl Into<Box<str>>) {
        self.record(EventKind::Prompt { text: text.into(), synthetic: true });
    }

    /// Records a message of the agent.
    pub fn message(&self, text: impl Into<Box<str>>) {
        self.record(EventKind::Message { text: text.into(), delta: false });
    }

    /// Records a streamed piece of the current message.
    pub fn message_delta(&self, text: impl Into<Box<str>>) {
        self.record(EventKind::Message { text: text.into(), delta: true });
    }

    /// Records reasoning of the model; the text may be empty if it is hidden.
    pub fn thinking(&self, text: impl Into<Box<str>>) {
        self.record(EventKind::Thinking { text: text.into() });
    }

    /// Returns a builder that records a response of the model, with its tokens
    /// and cost.
    pub fn model_call(&self) -> ModelCallBuilder {
        ModelCallBuilder { session: self.clone(), call: ModelCall::default() }
    }

    /// Records a tool call, and returns a handle for its result.
    ///
    /// `arguments` is anything that serializes to JSON, such as a
    /// [`serde_json::Value`] or a struct. Pass arguments that are JSON text as
    /// [`Json::parse_or_text`]. Use [`ModelResponse::tool_call`] for the
    /// parallel calls of one response, so that they count as one step.
    pub fn tool_call(&self, tool: &str, arguments: impl Serialize) -> ToolCallHandle {
        self.start_call(tool, &arguments, None)
    }

    fn start_call(
        &self,
        tool: &str,
        arguments: &impl Serialize,
        response: Option<&str>,
    ) -> ToolCallHandle {
        let id = self.recorder.next_id("call");
        let arguments = match to_raw_value(arguments) {
            Ok(json) => Json::from(json),
            // With the id, so that two such calls do not count as the same call.
            Err(err) => Json::text(&format!("arguments of {id} are not JSON: {err}")),
        };
        let mut call = ToolCall::new(id.clone(), tool, arguments);
        call.response = response.map(Into::into);
        self.record(EventKind::ToolCall(call));
        ToolCallHandle { session: self.clone(), id: Some(id) }
    }

    /// Records an error outside the agent's tools, such as a failed request to
    /// the model, that ends the turn.
    pub fn error(&self, message: impl Into<Box<str>>) {
        self.record(EventKind::Error { message: message.into(), retry: None });
    }

    /// Records an error after which the harness retries; `attempt` is the
    /// number of the attempt that failed, counted from 1.
    pub fn retried_error(&self, message: impl Into<Box<str>>, attempt: u32) {
        self.record(EventKind::Error { message: message.into(), retry: Some(attempt) });
    }

    /// Records that the agent waits for a person: this time is not counted as
    /// inactivity.
    pub fn waiting(&self, waiting_for: WaitingFor) {
        self.record(EventKind::Waiting(waiting_for));
    }

    /// Records that the agent no longer waits for a person.
    pub fn resumed(&self, waited_for: WaitingFor) {
        self.record(EventKind::Resumed(waited_for));
    }

    /// Records the end of the turn: the agent has done what the prompt
    /// requested, and is idle.
    pub fn turn_end(&self) {
        self.record(EventKind::TurnEnd);
    }

    /// Records a compaction of the context, with its size before and after in
    /// tokens.
    pub fn compaction(
        &self,
        before_tokens: impl Into<Option<u64>>,
        after_tokens: impl Into<Option<u64>>,
    ) {
        let (before_tokens, after_tokens) = (before_tokens.into(), after_tokens.into());
        self.record(EventKind::Compaction { before_tokens, after_tokens });
    }

    /// Records that the agent hands its work to another agent.
    pub fn handoff(&self, to: impl Into<Box<str>>) {
        self.record(EventKind::Handoff { to: to.into() });
    }

    /// Records the end of the session, or of the sub-agent if this is the
    /// handle of one.
    pub fn end(self) {
        self.record(match self.agent {
            Some(_) => EventKind::AgentEnd,
            None => EventKind::SessionEnd { reason: None },
        });
    }

    /// Records an event of any kind, with the time of the monitor's clock.
    pub fn record(&self, kind: EventKind) {
        self.record_at(self.recorder.shared.clock.now(), kind);
    }

    /// Records an event with another time.
    pub fn record_at(&self, at: Timestamp, kind: EventKind) {
        let (session, agent) = (self.session.clone(), self.agent.clone());
        self.recorder.record(Message::Event(Event { at, session, agent, origin: None, kind }));
    }

    /// Records an event that the monitor's thread makes, with the time of this call.
    ///
    /// The hashes of a tool call take longer than recording the call. `make` must return
    /// quickly, because the monitor waits for it. If `make` panics, the event is dropped and
    /// counted.
    pub fn record_deferred(&self, make: impl FnOnce() -> EventKind + Send + 'static) {
        self.record_deferred_at(self.recorder.shared.clock.now(), make);
    }

    /// Records an event that the monitor's thread makes, with another time; see
    /// [`record_deferred`](Self::record_deferred).
    pub fn record_deferred_at(
        &self,
        at: Timestamp,
        make: impl FnOnce() -> EventKind + Send + 'static,
    ) {
        let (session, agent) = (self.session.clone(), self.agent.clone());
        let event = DeferredEvent { at, session, agent, make: Box::new(make) };
        self.recorder.record(Message::DeferredEvent(event));
    }
}

impl fmt::Debug for SessionHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionHandle")
            .field("session", &self.session)
            .field("agent", &self.agent)
            .finish_non_exhaustive()
    }
}

/// Starts a session; made by [`Running::session_builder`](super::Running::session_builder).
#[derive(Debug)]
#[must_use = "the session starts when `start` is called"]
pub struct SessionBuilder {
    session: SessionHandle,
    facts: SessionStart,
}

impl SessionBuilder {
    pub(super) fn new(session: SessionHandle) -> Self {
        Self { session, facts: SessionStart::default() }
    }

    /// Sets the folder that the agent works in.
    pub fn cwd(mut self, folder: impl Into<Box<str>>) -> Self {
        self.facts.cwd = Some(folder.into());
        self
    }

    /// Sets the model.
    pub fn model(mut self, model: impl Into<Box<str>>) -> Self {
        self.facts.model = Some(model.into());
        self
    }

    /// Sets the version of the agent.
    pub fn version(mut self, version: impl Into<Box<str>>) -> Self {
        self.facts.version = Some(version.into());
        self
    }

    /// Sets the session that this one was forked from.
    pub fn parent(mut self, parent: impl Into<SessionId>) -> Self {
        self.facts.parent = Some(parent.into());
        self
    }

    /// Adds a label, which findings about the session carry beside those of
    /// the policy.
    pub fn label(mut self, name: impl Into<Box<str>>, value: impl Into<Box<str>>) -> Self {
        self.facts.labels.push((name.into(), value.into()));
        self
    }

    /// Records the start of the session, and returns the handle for its
    /// events.
    pub fn start(self) -> SessionHandle {
        let Self { session, facts } = self;
        session.record(EventKind::SessionStart(facts));
        session
    }
}

/// Records a response of a model; made by [`SessionHandle::model_call`].
///
/// The classes of tokens do not overlap: `input_tokens` excludes cached
/// tokens, and `output_tokens` includes reasoning.
#[derive(Debug)]
#[must_use = "the model call is recorded when `record` is called"]
pub struct ModelCallBuilder {
    session: SessionHandle,
    call: ModelCall,
}

impl ModelCallBuilder {
    /// Sets the id of the response. A later call with the same id replaces
    /// this one.
    pub fn id(mut self, id: impl Into<Box<str>>) -> Self {
        self.call.id = Some(id.into());
        self
    }

    /// Sets the model.
    pub fn model(mut self, model: impl Into<Box<str>>) -> Self {
        self.call.model = Some(model.into());
        self
    }

    /// Sets the number of tokens read, without those read from a cache or
    /// written to one.
    pub fn input_tokens(mut self, n: u64) -> Self {
        self.call.tokens.input = n;
        self
    }

    /// Sets the number of tokens written, reasoning included.
    pub fn output_tokens(mut self, n: u64) -> Self {
        self.call.tokens.output = n;
        self
    }

    /// Sets the part of the output tokens that was reasoning.
    pub fn reasoning_tokens(mut self, n: u64) -> Self {
        self.call.tokens.reasoning = n;
        self
    }

    /// Sets the number of tokens read from a cache.
    pub fn cache_read_tokens(mut self, n: u64) -> Self {
        self.call.tokens.cache_read = n;
        self
    }

    /// Sets the number of tokens written to a cache.
    pub fn cache_write_tokens(mut self, n: u64) -> Self {
        self.call.tokens.cache_write = n;
        self
    }

    /// Sets the cost in US dollars. Without it, the cost is computed from the
    /// tokens and the prices of the policy.
    pub fn cost_usd(mut self, cost: f64) -> Self {
        self.call.cost_usd = Some(cost);
        self
    }

    /// Records the model call, and returns a handle for the tool calls of the
    /// response.
    #[expect(clippy::must_use_candidate, reason = "a response without tool calls is common")]
    pub fn record(self) -> ModelResponse {
        let Self { session, mut call } = self;
        let id = call.id.get_or_insert_with(|| session.recorder.next_id("response")).clone();
        session.record(EventKind::ModelCall(call));
        ModelResponse { session, id }
    }
}

/// A response of a model, whose tool calls run in parallel.
#[derive(Clone, Debug)]
pub struct ModelResponse {
    session: SessionHandle,
    id: Box<str>,
}

impl ModelResponse {
    /// Returns the id of the response.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Records a tool call of this response; see [`SessionHandle::tool_call`].
    pub fn tool_call(&self, tool: &str, arguments: impl Serialize) -> ToolCallHandle {
        self.session.start_call(tool, &arguments, Some(&self.id))
    }
}

/// A tool call without a result yet.
///
/// Dropping the handle records the result `interrupted`, as if a person had
/// stopped the call: an early return or a panic leaves no pending call behind,
/// and does not count as a failure of the tool.
#[must_use = "record the result with `succeed` or `fail`; dropping the handle interrupts the call"]
pub struct ToolCallHandle {
    session: SessionHandle,
    /// `None` once the result is recorded.
    id: Option<Box<str>>,
}

impl ToolCallHandle {
    /// Returns the id of the call.
    pub fn id(&self) -> &str {
        self.id.as_deref().unwrap_or_default()
    }

    /// Records a result: the tool did what the call requested.
    pub fn succeed(self, output: impl Into<Box<str>>) {
        self.finish(|id| ToolResult::new(id, true, Some(output.into())));
    }

    /// Records a result: the tool failed.
    pub fn fail(self, output: impl Into<Box<str>>) {
        self.finish(|id| ToolResult::new(id, false, Some(output.into())));
    }

    /// Records the result of a command; any exit code but 0 is a failure.
    pub fn exit(self, exit_code: i32, output: impl Into<Box<str>>) {
        self.finish(|id| {
            let mut result = ToolResult::new(id, exit_code == 0, Some(output.into()));
            result.exit_code = Some(exit_code);
            result
        });
    }

    /// Records that the call has no result of the tool's own: a person
    /// declined the call, or it timed out.
    pub fn cancel(self, cause: Cause) {
        self.finish(|id| cancelled(id, cause));
    }

    /// Leaves the call pending, and returns its id: the result is recorded
    /// elsewhere, with [`SessionHandle::record`].
    pub fn detach(mut self) -> Box<str> {
        self.id.take().unwrap_or_default()
    }

    fn finish(mut self, result: impl FnOnce(Box<str>) -> ToolResult) {
        if let Some(id) = self.id.take() {
            self.session.record(EventKind::ToolResult(result(id)));
        }
    }
}

fn cancelled(id: Box<str>, cause: Cause) -> ToolResult {
    let mut result = ToolResult::new(id, false, None);
    result.cause = Some(cause);
    result
}

impl Drop for ToolCallHandle {
    fn drop(&mut self) {
        if let Some(id) = self.id.take() {
            let result = cancelled(id, Cause::Interrupted);
            self.session.record(EventKind::ToolResult(result));
        }
    }
}

impl fmt::Debug for ToolCallHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ToolCallHandle")
            .field("session", &self.session.session)
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}
