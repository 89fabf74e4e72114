//! The events of a line.

use jiff::Timestamp;
use watchkeeper_core::{
    AgentId, EventKind, Fingerprint, ModelCall, SessionId,
    author::{ClientTotal, EventSink, SessionStart, Tokens, WaitingFor},
};

use super::{
    calls,
    line::{Data, Line, Usage},
    state::State,
};
use crate::json::{Malformed, RawText, Text, parse};

/// The beginnings of types without events.
const IGNORED: &[&str] = &[
    "assistant.intent",
    "assistant.reasoning",
    "assistant.turn_start",
    "hook.",
    "session.",
    "skill.",
    "subagent.",
    "system.",
    "tool.",
];

/// Emits the events of a line.
struct LineEvents<'l, 's> {
    at: Timestamp,
    data: &'l Data<'l>,
    agent: Option<AgentId>,
    state: &'l mut State,
    sink: &'l mut EventSink<'s>,
}

/// Reads a line.
pub(super) fn read(
    line: &[u8],
    state: &mut State,
    sink: &mut EventSink<'_>,
) -> Result<(), Malformed> {
    let line: Line<'_> = parse(line)?;
    let kind = line.kind.ok_or("no type")?;
    let data = line.data.as_ref().ok_or("no data")?;
    let at = line.timestamp.and_then(Text::time).or(state.latest).ok_or("no time")?;
    state.latest = state.latest.max(Some(at));
    if let Some(id) = data.session.filter(|_| kind.is("session.start")) {
        state.session = SessionId::from(id.read().as_ref());
    }
    if let Some(id) = line.id {
        let session = Fingerprint::of(state.session.as_str()).and(Fingerprint::of("copilot-cli"));
        if !sink.is_new(session.and(Fingerprint::of(id.raw()))) {
            return Ok(());
        }
    }
    let agent = line.agent.or(data.parent);
    let agent = agent.map(|agent| AgentId::from(agent.read().as_ref()));
    LineEvents { at, data, agent, state, sink }.read(kind);
    Ok(())
}

impl LineEvents<'_, '_> {
    fn read(&mut self, kind: Text<'_>) {
        let data = self.data;
        let text = |text: Option<Text<'_>>| text.map(Text::boxed).unwrap_or_default();
        match kind.raw() {
            b"session.start" | b"session.resume" => self.start(),
            b"session.model_change" => self.learn_model(),
            b"user.message" => {
                let synthetic = data.source.is_some_and(|source| !source.is("user"));
                self.emit(EventKind::Prompt { text: text(data.content), synthetic });
            }
            b"assistant.message" => self.read_message(),
            b"assistant.turn_end" if self.agent.is_none() && !self.state.has_calls => {
                self.emit(EventKind::TurnEnd);
            }
            b"assistant.turn_end" => {}
            b"tool.execution_start" => {
                self.learn_model();
                self.emit_call(data.call, data.tool, data.arguments, None);
            }
            b"tool.execution_complete" => self.read_result(),
            b"permission.requested" => self.wait(WaitingFor::Permission),
            b"permission.completed" => self.resume(WaitingFor::Permission),
            b"user_input.requested" | b"elicitation.requested" => self.wait(WaitingFor::Person),
            b"user_input.completed" | b"elicitation.completed" => self.resume(WaitingFor::Person),
            b"session.compaction_complete" => self.emit(EventKind::Compaction {
                before_tokens: data.before_tokens,
                after_tokens: data.after_tokens,
            }),
            b"session.error" => {
                self.emit(EventKind::Error { message: text(data.text), retry: None });
            }
            b"abort" => self.emit(EventKind::TurnEnd),
            b"subagent.started" => self.emit_of_agent(EventKind::AgentStart { parent: None }),
            b"subagent.completed" | b"subagent.failed" => self.emit_of_agent(EventKind::AgentEnd),
            b"session.shutdown" => self.end(),
            kind if IGNORED.iter().any(|known| kind.starts_with(known.as_bytes())) => {}
            _ => self.sink.skip_part("unknown type of event"),
        }
    }

    fn emit(&mut self, kind: EventKind) {
        self.sink.event(self.at, &self.state.session, self.agent.as_ref(), kind);
    }

    /// Emits the start or the end of a sub-agent. In some versions, the call identifies the agent.
    fn emit_of_agent(&mut self, kind: EventKind) {
        let call = self.data.call.map(|call| AgentId::from(call.read().as_ref()));
        self.agent = self.agent.take().or(call);
        if self.agent.is_some() {
            self.emit(kind);
        }
    }

    fn learn_model(&mut self) {
        if self.agent.is_none() {
            self.state.model = self.data.model.map(Text::boxed).or(self.state.model.take());
        }
    }

    fn start(&mut self) {
        let data = self.data;
        self.learn_model();
        let context = data.context.as_ref();
        self.emit(EventKind::SessionStart(SessionStart {
            cwd: context.and_then(|context| context.cwd).map(Text::boxed),
            model: self.state.model.clone(),
            version: data.version.map(Text::boxed),
            ..SessionStart::default()
        }));
    }

    fn read_message(&mut self) {
        let data = self.data;
        self.learn_model();
        if let Some(text) = data.reasoning {
            self.emit(EventKind::Thinking { text: text.boxed() });
        }
        if let Some(text) = data.content.map(Text::boxed).filter(|text| !text.trim().is_empty()) {
            self.emit(EventKind::Message { text, delta: false });
        }
        if let Some(output) = data.output_tokens {
            let model = data.model.map(Text::boxed).or_else(|| self.state.model.clone());
            self.emit(EventKind::ModelCall(ModelCall {
                id: data.message.map(Text::boxed),
                model,
                tokens: Tokens { output, ..Tokens::default() },
                ..ModelCall::default()
            }));
        }
        let requests = data.requests.as_deref().unwrap_or_default();
        if self.agent.is_none() {
            self.state.has_calls = !requests.is_empty();
        }
        for request in requests {
            self.emit_call(request.call, request.tool, request.arguments, data.message);
        }
    }

    /// Emits a call, unless an earlier line contains it: the message and the start of the call
    /// both do.
    fn emit_call(
        &mut self,
        id: Option<Text<'_>>,
        tool: Option<Text<'_>>,
        arguments: Option<RawText<'_>>,
        response: Option<Text<'_>>,
    ) {
        let id = id.map(Text::read).unwrap_or_default();
        let key = Fingerprint::of("copilot-cli call").and(Fingerprint::of(id.as_bytes()));
        let session = Fingerprint::of(self.state.session.as_str());
        if self.sink.is_new(session.and(key)) {
            let call = calls::call(&id, tool, arguments, response, &mut self.state.tools);
            self.emit(EventKind::ToolCall(call));
        }
    }

    fn read_result(&mut self) {
        let id = self.data.call.map(Text::read).unwrap_or_default();
        let denial = self.state.denials.remove(Fingerprint::of(id.as_bytes()));
        let result = calls::result(&id, self.data, denial);
        self.emit(EventKind::ToolResult(result));
    }

    /// Begins to wait for a person, unless another request is open.
    fn wait(&mut self, reason: WaitingFor) {
        let data = self.data;
        let call = data.permission.as_ref().and_then(|permission| permission.call);
        if let (Some(request), Some(call)) = (data.request, call) {
            let call = Fingerprint::of(call.read().as_bytes());
            self.state.requests.insert(Fingerprint::of(request.raw()), call);
        }
        self.state.n_open = self.state.n_open.saturating_add(1);
        if self.state.n_open == 1 {
            self.emit(EventKind::Waiting(reason));
        }
    }

    /// Ends the wait if no other request is open.
    fn resume(&mut self, reason: WaitingFor) {
        let data = self.data;
        let request = data.request.map(|request| Fingerprint::of(request.raw()));
        let call = request.and_then(|request| self.state.requests.remove(request));
        let answer = data.result.as_ref().and_then(|result| result.kind);
        let denial = answer.and_then(|answer| calls::denial(answer.raw()));
        if let (Some(call), Some(denial)) = (call, denial) {
            self.state.denials.insert(call, denial);
        }
        let n_open = self.state.n_open;
        self.state.n_open = n_open.saturating_sub(1);
        if n_open == 1 {
            self.emit(EventKind::Resumed(reason));
        }
    }

    fn end(&mut self) {
        let data = self.data;
        self.state.n_open = 0;
        let usages = data.metrics.iter().flat_map(|metrics| &metrics.0);
        let usages = usages.filter_map(|(_, metrics)| metrics.usage.as_ref()).map(Usage::tokens);
        if let Some(tokens) = usages.reduce(Tokens::plus) {
            self.state.client_total = Some(ClientTotal { tokens: Some(tokens), cost_usd: None });
        }
        self.emit(EventKind::SessionEnd { reason: data.shutdown.map(Text::boxed) });
    }
}
