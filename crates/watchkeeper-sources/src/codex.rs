//! Codex: `~/.codex/sessions/<year>/<month>/<day>/rollout-<time>-<thread>.jsonl`.
//!
//! Every line is `{"timestamp", "type", "payload"}`. A thread and each of its
//! sub-agents has its own file. Versions since 0.146 number the lines and report
//! completed items. Earlier versions have one type of event for each kind of item.

use std::{
    borrow::Cow,
    path::{Path, PathBuf},
};

use jiff::{SignedDuration, Timestamp};
use watchkeeper_core::{
    AgentId, EventKind, Fingerprint, Json, ModelCall, SessionId, Source, SourceKind, ToolCall,
    ToolClass, ToolResult,
    author::{Cause, ClientTotal, Environment, EventSink, SessionStart, Targets, Tokens},
    register_source,
};

use crate::{
    json::{Malformed, Reader, Text, decode, member, set_once},
    lines::lines_of,
    recent::Recent,
    targets,
    tool_names::ToolNames,
};

/// Reads the sessions of Codex.
#[derive(Debug)]
pub struct Codex {
    session: SessionId,
    /// The sub-agent of this file.
    agent: Option<AgentId>,
    /// The time of the line that identifies the thread.
    opened: Option<Timestamp>,
    /// Whether the thread has another one as its origin, whose history the file may
    /// begin with.
    is_fork: bool,
    /// Whether the file contains the identification of another thread, which is the first
    /// line of a copied history.
    has_copy: bool,
    latest: Option<Timestamp>,
    model: Option<Box<str>>,
    /// The form of prompts in this version.
    prompts: Option<PromptForm>,
    /// Whether this version reports the usage of each response.
    has_usage_records: bool,
    /// The number of responses so far, which identifies the calls of one response.
    n_responses: u64,
    /// Whether the next call or text begins a response.
    is_response_over: bool,
    /// Whether the usage of a response was reported since the latest count.
    has_record: bool,
    /// The number of failed attempts since the latest response.
    n_failures: u32,
    /// The latest total usage of the thread.
    total: Tokens,
    /// The usage of the thread, by the client's own count.
    client_total: Option<Tokens>,
    /// The responses whose usage was emitted.
    responses: Recent<()>,
    /// The outcomes of commands whose output was not read yet, by call.
    outcomes: Recent<Outcome>,
    tools: ToolNames,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PromptForm {
    Event,
    Item,
}

#[derive(Clone, Copy, Debug, Default)]
struct Outcome {
    ok: Option<bool>,
    exit_code: Option<i32>,
    declined: bool,
}

register_source!(Codex);

impl SourceKind for Codex {
    const KIND: &'static str = "codex";
    const DOCS: &'static str = include_str!("../docs/codex.md");

    fn recognizes(_path: &Path, head: &[u8]) -> bool {
        const KINDS: &[&str] =
            &["session_meta", "response_item", "event_msg", "turn_context", "compacted"];
        lines_of(head).any(|line| {
            let mut fields = Line::default();
            // The last line may be incomplete. Its first fields are enough.
            let read = fields.read(line);
            let has_payload = fields.has_payload || read.is_err();
            let is_known = |kind: Text<'_>| KINDS.iter().any(|known| kind.is(known));
            fields.kind.is_some_and(is_known) && has_payload
        })
    }

    fn folders(environment: &Environment<'_>) -> Vec<PathBuf> {
        let home = match environment("CODEX_HOME").filter(|it| !it.is_empty()) {
            Some(folder) => Some(PathBuf::from(folder)),
            None => environment("HOME").map(|it| PathBuf::from(it).join(".codex")),
        };
        home.map(|it| it.join("sessions")).into_iter().collect()
    }

    fn new(path: &Path) -> Self {
        let stem = path.file_stem().map(|it| it.to_string_lossy()).unwrap_or_default();
        Self {
            session: SessionId::from(stem.as_ref()),
            agent: None,
            opened: None,
            is_fork: false,
            has_copy: false,
            n_responses: 0,
            is_response_over: true,
            has_record: false,
            n_failures: 0,
            latest: None,
            model: None,
            prompts: None,
            has_usage_records: false,
            total: Tokens::default(),
            client_total: None,
            responses: Recent::default(),
            outcomes: Recent::default(),
            tools: ToolNames::default(),
        }
    }
}

/// Kinds of payload without events, or with events that another line contains, too.
const IGNORED: &[&str] = &[
    "agent_message",
    "agent_reasoning",
    "collab_agent_interaction_end",
    "collab_agent_spawn_end",
    "collab_close_end",
    "collab_waiting_end",
    "compaction",
    "context_compacted",
    "dynamic_tool_call_request",
    "dynamic_tool_call_response",
    "entered_review_mode",
    "exited_review_mode",
    "ghost_snapshot",
    "guardian_assessment",
    "image_generation_end",
    "sub_agent_activity",
    "task_started",
    "thread_goal_updated",
    "thread_name_updated",
    "thread_rolled_back",
    "thread_settings_applied",
    "turn_started",
    "undo_completed",
    "view_image_tool_call",
    "web_search_end",
];

#[derive(Default)]
struct Line<'a> {
    timestamp: Option<Text<'a>>,
    kind: Option<Text<'a>>,
    has_payload: bool,
    payload: Payload<'a>,
}

/// The fields of a payload that are used, for all kinds of payload.
#[derive(Default)]
struct Payload<'a> {
    raw: &'a [u8],
    kind: Option<Text<'a>>,
    id: Option<Text<'a>>,
    call_id: Option<Text<'a>>,
    // Fields of a session.
    session_id: Option<Text<'a>>,
    parent: Option<Text<'a>>,
    forked_from: Option<Text<'a>>,
    cwd: Option<Text<'a>>,
    version: Option<Text<'a>>,
    model: Option<Text<'a>>,
    // Fields of a message.
    role: Option<Text<'a>>,
    message: Option<Text<'a>>,
    texts: Vec<Text<'a>>,
    // Fields of calls and results.
    name: Option<Text<'a>>,
    namespace: Option<Text<'a>>,
    arguments: Option<&'a [u8]>,
    output: Vec<Text<'a>>,
    other_content: Option<Fingerprint>,
    status: Option<Text<'a>>,
    success: Option<bool>,
    exit_code: Option<&'a str>,
    is_error: bool,
    // Fields of usage.
    response_id: Option<Text<'a>>,
    usage: Option<Tokens>,
    total: Option<Tokens>,
    error: Option<Text<'a>>,
    /// The usage of the thread, by the client's own count.
    thread_usage: Option<Tokens>,
    item: Option<Box<Payload<'a>>>,
}

impl<'a> Line<'a> {
    fn read(&mut self, line: &'a [u8]) -> Result<(), Malformed> {
        let mut reader = Reader::new(line);
        let is_object = reader.object(|reader, key| {
            match key {
                b"timestamp" => set_once(&mut self.timestamp, reader.text()?),
                b"type" => set_once(&mut self.kind, reader.text()?),
                b"payload" if !self.has_payload => {
                    let start = reader.here();
                    self.payload.read(reader, 0)?;
                    self.payload.raw = reader.since(start);
                    self.has_payload = true;
                }
                _ => reader.pass()?,
            }
            Ok(())
        })?;
        reader.end()?;
        if is_object { Ok(()) } else { Err("not a JSON object") }
    }
}

impl<'a> Payload<'a> {
    fn read(&mut self, reader: &mut Reader<'a>, depth: u8) -> Result<(), Malformed> {
        reader.object(|reader, key| {
            match key {
                b"type" => set_once(&mut self.kind, reader.text()?),
                b"id" => set_once(&mut self.id, reader.text()?),
                b"call_id" => set_once(&mut self.call_id, reader.text()?),
                b"session_id" => set_once(&mut self.session_id, reader.text()?),
                b"source" => read_parent(reader, &mut self.parent)?,
                b"forked_from_id" => set_once(&mut self.forked_from, reader.text()?),
                b"cwd" => set_once(&mut self.cwd, reader.text()?),
                b"cli_version" => set_once(&mut self.version, reader.text()?),
                b"model" => set_once(&mut self.model, reader.text()?),
                b"role" => set_once(&mut self.role, reader.text()?),
                b"message" => set_once(&mut self.message, reader.text()?),
                b"content" | b"summary" => {
                    read_pieces(reader, &mut self.texts, &mut self.other_content)?;
                }
                b"name" => set_once(&mut self.name, reader.text()?),
                b"namespace" => set_once(&mut self.namespace, reader.text()?),
                b"arguments" | b"input" | b"action" => {
                    set_once(&mut self.arguments, Some(reader.skip()?));
                }
                b"output" => read_pieces(reader, &mut self.output, &mut self.other_content)?,
                b"status" => set_once(&mut self.status, reader.text()?),
                b"success" => set_once(&mut self.success, reader.flag()?),
                b"exit_code" => set_once(&mut self.exit_code, reader.number()?),
                b"result" => self.is_error |= read_is_error(reader)?,
                b"response_id" => set_once(&mut self.response_id, reader.text()?),
                b"thread_token_usage" => set_once(&mut self.thread_usage, read_usage(reader)?),
                b"usage" => set_once(&mut self.usage, read_usage(reader)?),
                b"info" => {
                    reader.object(|reader, key| {
                        match key {
                            b"last_token_usage" => set_once(&mut self.usage, read_usage(reader)?),
                            b"total_token_usage" => set_once(&mut self.total, read_usage(reader)?),
                            _ => reader.pass()?,
                        }
                        Ok(())
                    })?;
                }
                b"error" => {
                    reader.object(|reader, key| {
                        match key {
                            b"message" => set_once(&mut self.error, reader.text()?),
                            _ => reader.pass()?,
                        }
                        Ok(())
                    })?;
                }
                b"item" if depth == 0 && self.item.is_none() => {
                    let mut item = Box::<Payload<'a>>::default();
                    item.read(reader, 1)?;
                    self.item = Some(item);
                }
                _ => reader.pass()?,
            }
            Ok(())
        })?;
        Ok(())
    }
}

/// Reads the thread that spawned this one: `{"subagent": {"thread_spawn": {…}}}`.
fn read_parent<'a>(
    reader: &mut Reader<'a>,
    parent: &mut Option<Text<'a>>,
) -> Result<(), Malformed> {
    reader.object(|reader, _| {
        reader.object(|reader, _| {
            reader.object(|reader, key| {
                match key {
                    b"parent_thread_id" => set_once(parent, reader.text()?),
                    _ => reader.pass()?,
                }
                Ok(())
            })?;
            Ok(())
        })?;
        Ok(())
    })?;
    Ok(())
}

/// Reads whether a tool of an MCP server failed: `{"Err": …}`, or
/// `{"Ok": {"isError": true}}`.
fn read_is_error(reader: &mut Reader<'_>) -> Result<bool, Malformed> {
    let mut is_error = false;
    reader.object(|reader, key| {
        is_error |= key == b"Err";
        reader.object(|reader, key| {
            match key {
                b"isError" => is_error |= reader.flag()? == Some(true),
                _ => reader.pass()?,
            }
            Ok(())
        })?;
        Ok(())
    })?;
    Ok(is_error)
}

/// Reads a string, or a list of parts with texts.
fn read_pieces<'a>(
    reader: &mut Reader<'a>,
    texts: &mut Vec<Text<'a>>,
    other_content: &mut Option<Fingerprint>,
) -> Result<(), Malformed> {
    if reader.peek()? != b'[' {
        texts.extend(reader.text()?);
        return Ok(());
    }
    reader.array(|reader| {
        // Spaces do not belong to the part.
        reader.peek()?;
        let start = reader.here();
        let mut text = None;
        reader.object(|reader, key| member(reader, key, b"text", &mut text))?;
        match text {
            Some(text) => texts.push(text),
            None => {
                let part = Fingerprint::of(reader.since(start));
                *other_content = Some(other_content.unwrap_or_default().and(part));
            }
        }
        Ok(())
    })?;
    Ok(())
}

/// Reads usage, and subtracts cached tokens from the input, as [`Tokens`] requires.
fn read_usage(reader: &mut Reader<'_>) -> Result<Option<Tokens>, Malformed> {
    let (mut input, mut cached, mut written) = (None, None, None);
    let (mut output, mut reasoning) = (None, None);
    let is_object = reader.object(|reader, key| {
        match key {
            b"input_tokens" => set_once(&mut input, reader.count()?),
            b"cached_input_tokens" => set_once(&mut cached, reader.count()?),
            b"cache_write_input_tokens" => set_once(&mut written, reader.count()?),
            b"output_tokens" => set_once(&mut output, reader.count()?),
            b"reasoning_output_tokens" => set_once(&mut reasoning, reader.count()?),
            _ => reader.pass()?,
        }
        Ok(())
    })?;
    let (cache_read, cache_write) = (cached.unwrap_or(0), written.unwrap_or(0));
    let input = input.unwrap_or(0);
    Ok(is_object.then(|| Tokens {
        input: input.saturating_sub(cache_read).saturating_sub(cache_write),
        cache_read,
        cache_write,
        output: output.unwrap_or(0),
        reasoning: reasoning.unwrap_or(0),
        cache_write_1h: 0,
    }))
}

impl Source for Codex {
    fn read_line(&mut self, line: &[u8], sink: &mut EventSink<'_>) {
        if line.trim_ascii().is_empty() {
            return;
        }
        let mut fields = Line::default();
        if let Err(reason) = fields.read(line) {
            return sink.skip_line(reason);
        }
        let Some(kind) = fields.kind else {
            return sink.skip_line("no type");
        };
        if !fields.has_payload {
            return sink.skip_line("no payload");
        }
        let written = fields.timestamp.and_then(Text::time);
        let Some(at) = written.or(self.latest) else {
            return sink.skip_line("no time");
        };
        self.latest = self.latest.max(Some(at));
        // A line that is repeated as a whole is a copy, in this file or another one.
        if !sink.is_new(Fingerprint::of(line).and(Fingerprint::of("codex"))) {
            return;
        }
        let payload = &fields.payload;
        match kind.raw() {
            b"session_meta" => self.read_session(at, payload, sink),
            b"turn_context" => {
                if payload.model.is_some() {
                    self.model = payload.model.map(Text::boxed);
                }
            }
            b"compacted" => {
                let kind = EventKind::Compaction { before_tokens: None, after_tokens: None };
                self.event(at, payload, kind, sink);
            }
            b"token_usage_record" => {
                self.has_usage_records = true;
                (self.has_record, self.n_failures, self.is_response_over) = (true, 0, true);
                self.read_usage_record(at, payload, sink);
            }
            b"response_item" => self.read_item(at, payload, sink),
            b"event_msg" => self.read_event(at, payload, sink),
            b"world_state"
            | b"inter_agent_communication"
            | b"inter_agent_communication_metadata" => {}
            _ => sink.skip_part("unknown type of line"),
        }
    }

    fn client_total(&self) -> Option<ClientTotal> {
        // The count of a fork may include the thread that it was forked from.
        let tokens = self.client_total.filter(|_| !self.is_fork);
        tokens.map(|tokens| ClientTotal { tokens: Some(tokens), cost_usd: None })
    }
}

impl Codex {
    /// Emits an event, unless its line was copied from another thread's file.
    fn event(
        &self,
        at: Timestamp,
        payload: &Payload<'_>,
        kind: EventKind,
        sink: &mut EventSink<'_>,
    ) {
        // Copied lines are written with the file, before the first response.
        const COPYING: SignedDuration = SignedDuration::from_secs(1);
        let mut is_first = sink.is_first_here(Fingerprint::of(payload.raw));
        if let Some(id) = payload.call_id.or(payload.response_id) {
            // The copy of a call may differ from the call, except in its id.
            let key = Fingerprint::of(id.raw()).and(Fingerprint::of(kind.name()));
            is_first &= sink.is_first_here(key);
        }
        if self.is_fork {
            let is_early = self.has_copy
                && self.opened.is_some_and(|opened| at.duration_since(opened) < COPYING);
            let takes_time = matches!(
                kind,
                EventKind::ModelCall(_) | EventKind::ToolCall(_) | EventKind::ToolResult(_)
            );
            if !is_first || is_early && takes_time {
                return;
            }
        }
        sink.event(at, &self.session, self.agent.as_ref(), kind);
    }

    fn read_session(&mut self, at: Timestamp, payload: &Payload<'_>, sink: &mut EventSink<'_>) {
        let Some(thread) = payload.id.or(payload.session_id) else {
            return sink.skip_line("no id");
        };
        let thread = thread.read();
        if self.opened.is_some() {
            // The session was resumed, or the line is part of the copied history.
            let own = self.agent.as_ref().map_or(self.session.as_str(), AgentId::as_str);
            self.has_copy |= thread != own;
            return;
        }
        self.opened = Some(at);
        let root = payload.session_id.map(Text::read).filter(|it| *it != thread);
        let root = root.or_else(|| payload.parent.map(Text::read));
        self.is_fork = root.is_some() || payload.forked_from.is_some();
        let kind = if let Some(root) = root {
            self.session = SessionId::from(root.as_ref());
            self.agent = Some(AgentId::from(thread.as_ref()));
            EventKind::AgentStart
        } else {
            self.session = SessionId::from(thread.as_ref());
            EventKind::SessionStart(SessionStart {
                cwd: payload.cwd.map(Text::boxed),
                version: payload.version.map(Text::boxed),
                parent: payload.forked_from.map(|it| SessionId::from(it.read().as_ref())),
                ..SessionStart::default()
            })
        };
        sink.event(at, &self.session, self.agent.as_ref(), kind);
    }

    fn read_item(&mut self, at: Timestamp, payload: &Payload<'_>, sink: &mut EventSink<'_>) {
        match payload.kind.map(Text::raw).unwrap_or_default() {
            b"message" if payload.role.is_some_and(|it| it.is("assistant")) => {
                self.continue_response();
                let kind = EventKind::Message { text: joined(&payload.texts), delta: false };
                self.event(at, payload, kind, sink);
            }
            b"message" => {}
            b"reasoning" => {
                self.continue_response();
                let kind = EventKind::Thinking { text: joined(&payload.texts) };
                self.event(at, payload, kind, sink);
            }
            b"function_call" | b"custom_tool_call" | b"local_shell_call" | b"tool_search_call" => {
                let kind = EventKind::ToolCall(self.call(payload));
                self.event(at, payload, kind, sink);
            }
            b"web_search_call" | b"image_generation_call" => {
                // The service called the tool itself, and the line reports it afterwards.
                let call = self.call(payload);
                let result = ToolResult::new(call.id.clone(), true, None);
                self.event(at, payload, EventKind::ToolCall(call), sink);
                self.event(at, payload, EventKind::ToolResult(result), sink);
            }
            b"function_call_output"
            | b"custom_tool_call_output"
            | b"local_shell_call_output"
            | b"tool_search_output" => {
                // Versions without usage records do not mark the end of a response.
                self.is_response_over |= !self.has_usage_records;
                let kind = EventKind::ToolResult(self.result(payload));
                self.event(at, payload, kind, sink);
            }
            kind => skip_unknown(kind, sink),
        }
    }

    /// Begins a response, unless its earlier parts were read.
    fn continue_response(&mut self) {
        self.n_responses += u64::from(std::mem::take(&mut self.is_response_over));
    }

    fn call(&mut self, payload: &Payload<'_>) -> ToolCall {
        self.continue_response();
        const VOLATILE: &[&str] =
            &["yield_time_ms", "max_output_tokens", "timeout_ms", "justification"];
        let id = payload.call_id.or(payload.id).map(Text::boxed).unwrap_or_default();
        let name = match (payload.name, payload.kind) {
            (Some(name), _) => name.read(),
            // Calls without a name are named by their kind.
            (None, Some(kind)) => kind.read(),
            (None, None) => "unknown".into(),
        };
        let name = name.strip_suffix("_call").unwrap_or(&name);
        let (tool, class) = match payload.namespace {
            Some(server) => {
                let name = name.trim_start_matches('_');
                self.tools.get(&format!("{}__{name}", server.read()), class)
            }
            None => self.tools.get(name, class),
        };
        let raw = payload.arguments.unwrap_or(b"null");
        let arguments = match Reader::new(raw).text() {
            Ok(Some(text)) => Json::parse_or_text(&text.read()),
            _ => Json::parse_or_text(&decode(raw)),
        };
        // A call that types nothing waits for more output.
        let waits = &*tool == "write_stdin" && types_nothing(&arguments);
        let class = if waits { ToolClass::Wait } else { class };
        let targets = targets_of(&tool, &arguments);
        let mut call = ToolCall::of_class(id, tool, arguments, Some(class), VOLATILE);
        call.response = Some(format!("response-{}", self.n_responses).into());
        match targets {
            Some(targets) => call.with_targets(targets),
            None => call,
        }
    }

    fn result(&mut self, payload: &Payload<'_>) -> ToolResult {
        let id = payload.call_id.or(payload.id).map(Text::boxed).unwrap_or_default();
        let outcome = self.outcomes.remove(Fingerprint::of(id.as_bytes()));
        let has_output = !payload.output.is_empty() || payload.other_content.is_some();
        let text = joined(&payload.output);
        let output = ToolOutput::read(&text);
        let outcome = outcome.filter(|_| !output.is_running).unwrap_or_default();
        let ok = output.ok.or(outcome.ok).unwrap_or(true);
        let mut result = ToolResult::new(id, ok, has_output.then(|| output.body.into()));
        result.exit_code = output.exit_code.or(outcome.exit_code);
        if !ok {
            let declined = outcome.declined.then_some(Cause::Declined);
            result.cause = output.cause.or(declined);
        }
        if let (Some(fingerprint), Some(other_content)) =
            (&mut result.fingerprint, payload.other_content)
        {
            *fingerprint = fingerprint.and(other_content);
        }
        result
    }

    fn read_event(&mut self, at: Timestamp, payload: &Payload<'_>, sink: &mut EventSink<'_>) {
        match payload.kind.map(Text::raw).unwrap_or_default() {
            b"user_message" if self.prompts != Some(PromptForm::Item) => {
                self.prompts = Some(PromptForm::Event);
                let text = payload.message.map(Text::boxed).unwrap_or_default();
                self.read_prompt(at, text, payload, sink);
            }
            b"user_message" => {}
            b"item_completed" => {
                if let Some(item) = &payload.item {
                    self.read_completed(at, item, payload, sink);
                }
            }
            b"token_count" => self.read_count(at, payload, sink),
            b"task_complete" | b"turn_complete" | b"turn_aborted" => {
                if let Some(error) = payload.error {
                    let kind = EventKind::Error { message: error.boxed(), retry: None };
                    self.event(at, payload, kind, sink);
                }
                self.event(at, payload, EventKind::TurnEnd, sink);
            }
            b"error" => {
                let message = payload.message.map(Text::boxed).unwrap_or_default();
                self.event(at, payload, EventKind::Error { message, retry: None }, sink);
            }
            b"mcp_tool_call_end" => {
                self.record_outcome(payload, payload.call_id, Some(!payload.is_error));
            }
            b"patch_apply_end" | b"exec_command_end" => {
                self.record_outcome(payload, payload.call_id, payload.success);
            }
            kind => skip_unknown(kind, sink),
        }
    }

    fn read_completed(
        &mut self,
        at: Timestamp,
        item: &Payload<'_>,
        payload: &Payload<'_>,
        sink: &mut EventSink<'_>,
    ) {
        match item.kind.map(Text::raw).unwrap_or_default() {
            b"UserMessage" if self.prompts != Some(PromptForm::Event) => {
                self.prompts = Some(PromptForm::Item);
                self.read_prompt(at, joined(&item.texts), payload, sink);
            }
            b"CommandExecution" | b"FileChange" | b"McpToolCall" => {
                let ok = match item.status.map(Text::raw) {
                    Some(b"completed") => Some(!item.is_error),
                    Some(b"failed" | b"declined") => Some(false),
                    _ => None,
                };
                self.record_outcome(item, item.call_id.or(item.id), ok);
            }
            _ => {}
        }
    }

    fn read_prompt(
        &self,
        at: Timestamp,
        text: Box<str>,
        payload: &Payload<'_>,
        sink: &mut EventSink<'_>,
    ) {
        const FROM_HARNESS: &[&str] = &[
            "<environment_context>",
            "<user_instructions>",
            "<subagent_notification>",
            "<turn_aborted>",
            "<system-reminder>",
            "# AGENTS.md instructions",
        ];
        let synthetic = FROM_HARNESS.iter().any(|it| text.starts_with(it));
        self.event(at, payload, EventKind::Prompt { text, synthetic }, sink);
    }

    /// Notes how a call ended, for when its output comes.
    fn record_outcome(&mut self, end: &Payload<'_>, call: Option<Text<'_>>, ok: Option<bool>) {
        let Some(call) = call else {
            return;
        };
        let exit_code = end.exit_code.and_then(|it| it.parse::<i32>().ok());
        let outcome = Outcome {
            ok: exit_code.map(|it| it == 0).or(ok),
            exit_code,
            declined: end.status.is_some_and(|it| it.is("declined")),
        };
        self.outcomes.insert(Fingerprint::of(call.read().as_bytes()), outcome);
    }

    fn read_usage_record(
        &mut self,
        at: Timestamp,
        payload: &Payload<'_>,
        sink: &mut EventSink<'_>,
    ) {
        let Some(tokens) = payload.usage else {
            return sink.skip_part("no usage");
        };
        self.client_total = payload.thread_usage.or(self.client_total);
        if let Some(id) = payload.response_id {
            let key = Fingerprint::of(id.raw());
            if self.responses.get(key).is_some() {
                return;
            }
            self.responses.insert(key, ());
        }
        let id = payload.response_id.map(Text::boxed);
        let call = ModelCall { id, model: self.model.clone(), tokens, ..ModelCall::default() };
        self.event(at, payload, EventKind::ModelCall(call), sink);
    }

    /// Reads the usage of the thread, in versions that do not report the usage of each
    /// response. The same count may be repeated.
    ///
    /// In other versions, a count follows each attempt. Without a response since the
    /// count before it, the attempt failed, and the client makes another one.
    fn read_count(&mut self, at: Timestamp, payload: &Payload<'_>, sink: &mut EventSink<'_>) {
        if self.has_usage_records {
            let has_record = std::mem::take(&mut self.has_record);
            if payload.total.is_some() && !has_record {
                self.n_failures = self.n_failures.saturating_add(1);
                let message = "the model's response was cut off or timed out".into();
                let kind = EventKind::Error { message, retry: Some(self.n_failures) };
                sink.event(at, &self.session, self.agent.as_ref(), kind);
            }
            return;
        }
        if payload.total == Some(self.total) {
            return;
        }
        self.is_response_over = true;
        let since = payload.total.map(|it| it.minus(self.total));
        self.total = payload.total.unwrap_or(self.total);
        if let Some(tokens) = payload.usage.or(since) {
            let call =
                ModelCall { id: None, model: self.model.clone(), tokens, ..ModelCall::default() };
            self.event(at, payload, EventKind::ModelCall(call), sink);
        }
    }
}

fn skip_unknown(kind: &[u8], sink: &mut EventSink<'_>) {
    if !IGNORED.iter().any(|it| it.as_bytes() == kind) {
        sink.skip_part("unknown kind of payload");
    }
}

fn joined(texts: &[Text<'_>]) -> Box<str> {
    match texts {
        [text] => text.boxed(),
        texts => texts.iter().map(|it| it.read()).collect::<Vec<_>>().join("\n").into(),
    }
}

/// Returns the class of a tool whose name is misleading.
fn class(tool: &str) -> Option<ToolClass> {
    match tool {
        "write_stdin" | "local_shell" => Some(ToolClass::Run),
        "spawn_agent" | "send_input" => Some(ToolClass::Delegate),
        "wait" | "wait_agent" => Some(ToolClass::Wait),
        "request_user_input" => Some(ToolClass::Ask),
        "update_plan" | "close_agent" => Some(ToolClass::Other),
        // The name of the server does not describe the tool.
        _ => tool.rsplit_once("__").map(|(_, name)| ToolClass::of_name(name)),
    }
}

/// Returns the targets of tools whose arguments need more than
/// [`Targets::of_arguments`].
fn targets_of(tool: &str, arguments: &Json) -> Option<Targets> {
    match tool {
        "apply_patch" => {
            let (mut reader, mut patch) = (Reader::new(arguments.as_str().as_bytes()), None);
            if reader.peek() == Ok(b'"') {
                patch = reader.text().ok()?;
            } else {
                reader.object(|reader, key| member(reader, key, b"input", &mut patch)).ok()?;
            }
            Some(targets::of_patch(&patch?.read()))
        }
        "shell" | "local_shell" | "container.exec" => {
            let mut words = Vec::new();
            let mut reader = Reader::new(arguments.as_str().as_bytes());
            let read = reader.object(|reader, key| match key {
                b"command" => {
                    reader.array(|reader| {
                        words.extend(reader.text()?.map(Text::read));
                        Ok(())
                    })?;
                    Ok(())
                }
                _ => reader.pass(),
            });
            let words: Vec<&str> = words.iter().map(|word| &**word).collect();
            (read == Ok(true) && !words.is_empty()).then(|| targets::of_words(&words))
        }
        _ => None,
    }
}

fn types_nothing(arguments: &Json) -> bool {
    let mut chars = None;
    let read = Reader::new(arguments.as_str().as_bytes()).object(|reader, key| {
        match key {
            b"chars" => set_once(&mut chars, reader.text()?),
            _ => reader.pass()?,
        }
        Ok(())
    });
    // Arguments that cannot be read count as nothing typed: most of these calls wait.
    read != Ok(true) || chars.is_none_or(|it| it.raw().is_empty())
}

/// The output of a tool without the header of Codex.
struct ToolOutput<'a> {
    body: Cow<'a, str>,
    /// `None` if the text does not contain the outcome.
    ok: Option<bool>,
    exit_code: Option<i32>,
    cause: Option<Cause>,
    /// Whether the command is still running. The body is its output so far.
    is_running: bool,
}

impl<'a> ToolOutput<'a> {
    fn read(text: &'a str) -> Self {
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
        let (mut output, mut code) = (None, None);
        let mut reader = Reader::new(text.as_bytes());
        let read = reader.object(|reader, key| {
            match key {
                b"output" => set_once(&mut output, reader.text()?),
                b"metadata" => {
                    reader.object(|reader, key| {
                        match key {
                            b"exit_code" => set_once(&mut code, reader.number()?),
                            _ => reader.pass()?,
                        }
                        Ok(())
                    })?;
                }
                _ => reader.pass()?,
            }
            Ok(())
        });
        let (Ok(true), Some(output), Some(code)) = (read, output, code) else {
            return false;
        };
        self.body = output.read();
        self.exit_code = code.parse().ok();
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
