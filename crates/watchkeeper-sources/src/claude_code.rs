//! Claude Code: `~/.claude/projects/<folder>/<session>.jsonl`.
//!
//! A line contains one block of a message. The lines of one response of the model
//! share its id and repeat its usage. When a session is resumed or forked, its lines
//! are copied to a new file with the same ids.

use std::{
    path::{Path, PathBuf},
    sync::LazyLock,
};

use jiff::{SignedDuration, Timestamp};
use memchr::memmem::Finder;
use watchkeeper_core::{
    AgentId, EventKind, Fingerprint, Json, ModelCall, SessionId, Source, SourceKind, ToolCall,
    ToolClass, ToolResult,
    author::{
        Cause, ClientTotal, Environment, EventSink, SessionStart, Targets, Tokens, WaitingFor,
    },
    register_source,
};

use crate::{
    cut_attempts::CutAttempts,
    json::{Malformed, Reader, Text, decode, member, set_once},
    lines::lines_of,
    recent::Recent,
    tool_names::ToolNames,
};

/// Reads the sessions of Claude Code.
#[derive(Debug)]
pub struct ClaudeCode {
    /// The session of all lines of this file.
    session: SessionId,
    /// Whether `session` is final. Until then, the path suggests an id.
    is_identified: bool,
    /// The sub-agent of this file.
    agent: Option<AgentId>,
    /// The session whose start was emitted.
    started: Option<SessionId>,
    /// The latest time of a line.
    latest: Option<Timestamp>,
    /// The agent of the latest line, cached to share its id.
    last_agent: Option<AgentId>,
    /// The agents whose start was emitted.
    agents: Recent<()>,
    /// Usage, by message.
    usage: Recent<(Tokens, u32)>,
    /// The calls that start another agent.
    delegations: Recent<()>,
    /// The sub-agents whose lines are nested in this file. The main agent waits for
    /// them.
    awaited: Vec<AgentId>,
    /// Whether the end of the main agent's turn was emitted.
    is_turn_over: bool,
    /// The latest message that may have ended a turn.
    possible_turn_end: Option<PossibleTurnEnd>,
    client_total: Option<ClientTotal>,
    /// The calls that run, as their progress proves.
    running: Recent<()>,
    cut_attempts: CutAttempts,
    tools: ToolNames,
}

/// A message that ended a turn, unless its agent continues at once.
#[derive(Debug)]
struct PossibleTurnEnd {
    at: Timestamp,
    agent: Option<AgentId>,
    /// The fingerprint of the message's id. Later lines with this id are parts of it.
    message: Option<Fingerprint>,
}

register_source!(ClaudeCode);

impl SourceKind for ClaudeCode {
    const KIND: &'static str = "claude-code";
    const DOCS: &'static str = include_str!("../docs/claude-code.md");

    fn recognizes(_path: &Path, head: &[u8]) -> bool {
        let mut is_recognized = false;
        for line in lines_of(head) {
            let mut fields = Line::default();
            // The last line may be incomplete. Its first fields are enough.
            let _: Result<(), Malformed> = fields.read(line);
            // Other agents write lines with the same types and ids.
            if fields.is_foreign || fields.message.as_ref().is_some_and(|it| it.is_foreign) {
                return false;
            }
            let is_known = |kind: Text<'_>| {
                let with_events = ["user", "assistant", "system", "attachment", "progress"];
                with_events.iter().chain(IGNORED).any(|known| kind.is(known))
            };
            let has_id = fields.session.is_some() || fields.uuid.is_some() || fields.leaf.is_some();
            is_recognized |= fields.kind.is_some_and(is_known) && has_id;
            // A message of another agent would have the fields of that agent.
            if is_recognized && fields.message.is_some() {
                return true;
            }
        }
        is_recognized
    }

    fn folders(environment: &Environment<'_>) -> Vec<PathBuf> {
        if let Some(folder) = environment("CLAUDE_CONFIG_DIR").filter(|it| !it.is_empty()) {
            return vec![PathBuf::from(folder).join("projects")];
        }
        let Some(home) = environment("HOME").map(PathBuf::from) else {
            return Vec::new();
        };
        vec![home.join(".claude/projects"), home.join(".config/claude/projects")]
    }

    fn new(path: &Path) -> Self {
        let stem = path.file_stem().map(|it| it.to_string_lossy()).unwrap_or_default();
        let agent = stem.strip_prefix("agent-").map(AgentId::from);
        // The path of a sub-agent's file is `<session>/subagents/<agent>.jsonl`.
        let folder = path.parent().filter(|it| it.ends_with("subagents")).and_then(Path::parent);
        let session = folder.and_then(Path::file_name).map(|it| it.to_string_lossy());
        let session = session.unwrap_or_else(|| stem.clone());
        Self {
            is_identified: is_uuid(&session),
            session: SessionId::from(session.as_ref()),
            agent,
            started: None,
            latest: None,
            last_agent: None,
            agents: Recent::default(),
            usage: Recent::default(),
            delegations: Recent::default(),
            awaited: Vec::new(),
            is_turn_over: true,
            possible_turn_end: None,
            client_total: None,
            running: Recent::default(),
            cut_attempts: CutAttempts::default(),
            tools: ToolNames::default(),
        }
    }
}

/// The largest number of sub-agents in `awaited`.
const MAX_AWAITED: usize = 64;

/// Types of lines without events.
const IGNORED: &[&str] = &[
    "agent-name",
    "ai-title",
    "api-request",
    "api-request-blob",
    "api-request-shape",
    "atis-latch",
    "bridge-session",
    "custom-title",
    "file-history-snapshot",
    "frame-link",
    "last-prompt",
    "mode",
    "permission-mode",
    "pr-link",
    "queue-operation",
    "relocated",
    "result",
    "started",
    "summary",
    "tag",
    "tools-used",
    "worktree-state",
];

/// The fields of a line that are used.
#[derive(Default)]
struct Line<'a> {
    kind: Option<Text<'a>>,
    subtype: Option<Text<'a>>,
    uuid: Option<Text<'a>>,
    leaf: Option<Text<'a>>,
    session: Option<Text<'a>>,
    agent: Option<Text<'a>>,
    request: Option<Text<'a>>,
    timestamp: Option<Text<'a>>,
    cwd: Option<Text<'a>>,
    version: Option<Text<'a>>,
    is_sidechain: Option<bool>,
    is_meta: Option<bool>,
    is_summary: Option<bool>,
    is_api_error: Option<bool>,
    /// The origin of a prompt.
    origin: Option<Text<'a>>,
    denial: Denial,
    message: Option<Message<'a>>,
    attachment: Option<Attachment<'a>>,
    /// The result in the format of its tool.
    tool_use_result: Option<&'a [u8]>,
    error: Option<Text<'a>>,
    retry: Option<u64>,
    compaction: (Option<u64>, Option<u64>),
    compaction_trigger: Option<Text<'a>>,
    // Fields of the totals of a session.
    start_time: Option<u64>,
    total_duration: Option<u64>,
    total_cost: Option<&'a str>,
    model_usage: Option<Tokens>,
    /// Whether the line has a field of another agent.
    is_foreign: bool,
    /// A line of a sub-agent, in a line of the agent that waits for it.
    nested: Option<Box<Line<'a>>>,
    is_nested: bool,
    /// The call whose progress the line shows, and the type of progress.
    parent_call: Option<Text<'a>>,
    progress: Option<Text<'a>>,
}

#[derive(Default)]
struct Message<'a> {
    id: Option<Text<'a>>,
    model: Option<Text<'a>>,
    stop_reason: Option<Text<'a>>,
    usage: Option<Usage<'a>>,
    blocks: Vec<Block<'a>>,
    /// Whether the message has a field of another agent.
    is_foreign: bool,
}

/// The usage of a response, or of one of its iterations.
#[derive(Default)]
struct Usage<'a> {
    kind: Option<Text<'a>>,
    model: Option<Text<'a>>,
    tokens: Tokens,
    web_searches: u32,
    is_fast: bool,
    /// The iterations that are calls of another model. `tokens` does not include them.
    advisors: Vec<Usage<'a>>,
}

#[derive(Default)]
struct Block<'a> {
    kind: Option<Text<'a>>,
    text: Option<Text<'a>>,
    thinking: Option<Text<'a>>,
    id: Option<Text<'a>>,
    name: Option<Text<'a>>,
    input: Option<&'a [u8]>,
    call: Option<Text<'a>>,
    is_error: Option<bool>,
    content: Content<'a>,
}

/// The content of a tool result or a prompt.
#[derive(Default)]
struct Content<'a> {
    texts: Vec<Text<'a>>,
    /// The fingerprint of content other than text, such as images.
    other_content: Option<Fingerprint>,
}

#[derive(Default)]
struct Attachment<'a> {
    kind: Option<Text<'a>>,
    prompt: Content<'a>,
}

impl<'a> Line<'a> {
    fn read(&mut self, line: &'a [u8]) -> Result<(), Malformed> {
        let mut reader = Reader::new(line);
        let is_object = reader.object(|reader, key| self.read_member(reader, key))?;
        reader.end()?;
        if is_object { Ok(()) } else { Err("not a JSON object") }
    }

    fn read_member(&mut self, reader: &mut Reader<'a>, key: &[u8]) -> Result<(), Malformed> {
        match key {
            b"type" => set_once(&mut self.kind, reader.text()?),
            b"subtype" => set_once(&mut self.subtype, reader.text()?),
            b"uuid" => set_once(&mut self.uuid, reader.text()?),
            b"leafUuid" => set_once(&mut self.leaf, reader.text()?),
            b"sessionId" => set_once(&mut self.session, reader.text()?),
            b"agentId" => set_once(&mut self.agent, reader.text()?),
            b"requestId" => set_once(&mut self.request, reader.text()?),
            b"timestamp" => set_once(&mut self.timestamp, reader.text()?),
            b"cwd" => set_once(&mut self.cwd, reader.text()?),
            b"version" => set_once(&mut self.version, reader.text()?),
            b"isSidechain" => set_once(&mut self.is_sidechain, reader.flag()?),
            b"isMeta" => set_once(&mut self.is_meta, reader.flag()?),
            b"isCompactSummary" => set_once(&mut self.is_summary, reader.flag()?),
            b"isApiErrorMessage" => set_once(&mut self.is_api_error, reader.flag()?),
            b"retryAttempt" => set_once(&mut self.retry, reader.count()?),
            b"toolUseResult" => set_once(&mut self.tool_use_result, Some(reader.skip()?)),
            b"startTime" => set_once(&mut self.start_time, reader.count()?),
            b"totalDuration" => set_once(&mut self.total_duration, reader.count()?),
            b"totalCostUSD" => set_once(&mut self.total_cost, reader.number()?),
            b"modelUsage" if self.model_usage.is_none() => {
                self.model_usage = Some(read_model_usage(reader)?);
            }
            b"payload" | b"systemPayload" => {
                self.is_foreign = true;
                reader.pass()?;
            }
            b"parentToolUseID" => set_once(&mut self.parent_call, reader.text()?),
            b"toolDenialKind" => {
                let by_person = |it: Text<'_>| {
                    it.is("user-rejected") || it.is("interrupted") || it.is("cancelled")
                };
                if let Some(kind) = reader.text()? {
                    self.denial.was_denied = true;
                    self.denial.by_rule |= !by_person(kind);
                }
            }
            b"message" if self.message.is_none() => {
                self.message = Some(Message::read(reader)?);
            }
            b"attachment" if self.attachment.is_none() => {
                self.attachment = Some(Attachment::read(reader)?);
            }
            b"origin" => {
                let origin = &mut self.origin;
                reader.object(|reader, key| member(reader, key, b"kind", origin))?;
            }
            b"permissionDecision" => {
                let (mut decision, mut source) = (None, None);
                reader.object(|reader, key| {
                    match key {
                        b"decision" => set_once(&mut decision, reader.text()?),
                        b"source" => set_once(&mut source, reader.text()?),
                        _ => reader.pass()?,
                    }
                    Ok(())
                })?;
                if decision.is_some_and(|it| it.is("reject")) {
                    self.denial.was_denied = true;
                    self.denial.by_rule |=
                        source.is_some_and(|it| it.is("config") || it.is("hook"));
                }
            }
            b"compactMetadata" => {
                let (before, after) = &mut self.compaction;
                let trigger = &mut self.compaction_trigger;
                reader.object(|reader, key| {
                    match key {
                        b"preTokens" => set_once(before, reader.count()?),
                        b"postTokens" => set_once(after, reader.count()?),
                        b"trigger" => set_once(trigger, reader.text()?),
                        _ => reader.pass()?,
                    }
                    Ok(())
                })?;
            }
            b"error" => self.error = read_error(reader)?,
            b"data" if !self.is_nested && self.nested.is_none() => {
                let mut nested = Box::new(Self { is_nested: true, ..Self::default() });
                let (mut agent, progress) = (None, &mut self.progress);
                reader.object(|reader, key| {
                    match key {
                        b"type" => set_once(progress, reader.text()?),
                        b"agentId" => set_once(&mut agent, reader.text()?),
                        b"message" => {
                            reader.object(|reader, key| nested.read_member(reader, key))?;
                        }
                        _ => reader.pass()?,
                    }
                    Ok(())
                })?;
                nested.agent = agent;
                self.nested = Some(nested);
            }
            _ => reader.pass()?,
        }
        Ok(())
    }
}

/// Reads the shortest description of an error.
fn read_error<'a>(reader: &mut Reader<'a>) -> Result<Option<Text<'a>>, Malformed> {
    if reader.peek()? == b'"' {
        return reader.text();
    }
    let (mut formatted, mut message, mut code) = (None, None, None);
    reader.object(|reader, key| {
        match key {
            b"formatted" => set_once(&mut formatted, reader.text()?),
            b"message" => set_once(&mut message, reader.text()?),
            b"cause" => {
                reader.object(|reader, key| member(reader, key, b"code", &mut code))?;
            }
            _ => reader.pass()?,
        }
        Ok(())
    })?;
    Ok(formatted.or(message).or(code))
}

impl<'a> Message<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        let mut message = Self::default();
        reader.object(|reader, key| {
            match key {
                b"id" => set_once(&mut message.id, reader.text()?),
                b"model" => set_once(&mut message.model, reader.text()?),
                b"stop_reason" => set_once(&mut message.stop_reason, reader.text()?),
                b"usage" if message.usage.is_none() => message.usage = read_usage(reader, true)?,
                b"parts" => {
                    message.is_foreign = true;
                    reader.pass()?;
                }
                b"content" if message.blocks.is_empty() => {
                    if reader.peek()? == b'"' {
                        let text = reader.text()?;
                        message.blocks.push(Block { text, ..Block::default() });
                    } else {
                        reader.array(|reader| {
                            message.blocks.push(Block::read(reader)?);
                            Ok(())
                        })?;
                    }
                }
                _ => reader.pass()?,
            }
            Ok(())
        })?;
        Ok(message)
    }
}

/// Reads the usage of a response, and of its iterations if `with_iterations` is set.
fn read_usage<'a>(
    reader: &mut Reader<'a>,
    with_iterations: bool,
) -> Result<Option<Usage<'a>>, Malformed> {
    let mut usage = Usage::default();
    let (mut input, mut output, mut read, mut written) = (None, None, None, None);
    let (mut thinking, mut split, mut longer) = (None, None, None);
    let is_object = reader.object(|reader, key| {
        match key {
            b"input_tokens" => set_once(&mut input, reader.count()?),
            b"output_tokens" => set_once(&mut output, reader.count()?),
            b"cache_read_input_tokens" => set_once(&mut read, reader.count()?),
            b"cache_creation_input_tokens" => set_once(&mut written, reader.count()?),
            b"cache_creation" if split.is_none() => {
                let mut sum = 0_u64;
                reader.object(|reader, key| {
                    let n = reader.count()?;
                    sum = sum.saturating_add(n.unwrap_or(0));
                    if key == b"ephemeral_1h_input_tokens" {
                        set_once(&mut longer, n);
                    }
                    Ok(())
                })?;
                split = Some(sum);
            }
            b"type" => set_once(&mut usage.kind, reader.text()?),
            b"model" => set_once(&mut usage.model, reader.text()?),
            b"speed" => usage.is_fast = reader.text()?.is_some_and(|speed| speed.is("fast")),
            b"server_tool_use" => {
                let mut searches = None;
                reader.object(|reader, key| {
                    match key {
                        b"web_search_requests" => set_once(&mut searches, reader.count()?),
                        _ => reader.pass()?,
                    }
                    Ok(())
                })?;
                usage.web_searches = u32::try_from(searches.unwrap_or(0)).unwrap_or(u32::MAX);
            }
            b"iterations" if with_iterations => {
                reader.array(|reader| {
                    let iteration = read_usage(reader, false)?;
                    let is_advisor =
                        |usage: &Usage<'_>| usage.kind.is_some_and(|it| it.is("advisor_message"));
                    usage.advisors.extend(iteration.filter(is_advisor));
                    Ok(())
                })?;
            }
            b"output_tokens_details" => {
                reader.object(|reader, key| {
                    match key {
                        b"thinking_tokens" => set_once(&mut thinking, reader.count()?),
                        _ => reader.pass()?,
                    }
                    Ok(())
                })?;
            }
            _ => reader.pass()?,
        }
        Ok(())
    })?;
    usage.tokens = Tokens {
        input: input.unwrap_or(0),
        cache_read: read.unwrap_or(0),
        // Some versions write only the split.
        cache_write: written.unwrap_or(0).max(split.unwrap_or(0)),
        output: output.unwrap_or(0),
        reasoning: thinking.unwrap_or(0),
        cache_write_1h: longer.unwrap_or(0),
    };
    Ok(is_object.then_some(usage))
}

/// Reads the sum of the client's own totals by model.
fn read_model_usage(reader: &mut Reader<'_>) -> Result<Tokens, Malformed> {
    let mut sum = Tokens::default();
    reader.object(|reader, _| {
        let mut tokens = Tokens::default();
        reader.object(|reader, key| {
            let count = match key {
                b"inputTokens" => &mut tokens.input,
                b"outputTokens" => &mut tokens.output,
                b"thinkingTokens" => &mut tokens.reasoning,
                b"cacheReadInputTokens" => &mut tokens.cache_read,
                b"cacheCreationInputTokens" => &mut tokens.cache_write,
                b"cacheCreationEphemeral1hInputTokens" => &mut tokens.cache_write_1h,
                _ => return reader.pass(),
            };
            *count = reader.count()?.unwrap_or(0);
            Ok(())
        })?;
        sum = sum.plus(tokens);
        Ok(())
    })?;
    Ok(sum)
}

impl<'a> Block<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        let mut block = Self::default();
        reader.object(|reader, key| {
            match key {
                b"type" => set_once(&mut block.kind, reader.text()?),
                b"text" => set_once(&mut block.text, reader.text()?),
                b"thinking" => set_once(&mut block.thinking, reader.text()?),
                b"id" => set_once(&mut block.id, reader.text()?),
                b"name" => set_once(&mut block.name, reader.text()?),
                b"input" => set_once(&mut block.input, Some(reader.skip()?)),
                b"tool_use_id" => set_once(&mut block.call, reader.text()?),
                b"is_error" => set_once(&mut block.is_error, reader.flag()?),
                b"content" => block.content.read(reader)?,
                _ => reader.pass()?,
            }
            Ok(())
        })?;
        Ok(block)
    }
}

impl<'a> Content<'a> {
    /// Reads a string, or a list of parts.
    fn read(&mut self, reader: &mut Reader<'a>) -> Result<(), Malformed> {
        if reader.peek()? != b'[' {
            self.texts.extend(reader.text()?);
            return Ok(());
        }
        reader.array(|reader| {
            // Spaces do not belong to the part.
            reader.peek()?;
            let start = reader.here();
            let mut text = None;
            reader.object(|reader, key| member(reader, key, b"text", &mut text))?;
            match text {
                Some(text) => self.texts.push(text),
                None => {
                    let other_content = self.other_content.unwrap_or_default();
                    self.other_content =
                        Some(other_content.and(Fingerprint::of(reader.since(start))));
                }
            }
            Ok(())
        })?;
        Ok(())
    }

    fn text(&self) -> Box<str> {
        match self.texts.as_slice() {
            [text] => text.boxed(),
            texts => texts.iter().map(|it| it.read()).collect::<Vec<_>>().join("\n").into(),
        }
    }
}

impl<'a> Attachment<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        let mut attachment = Self::default();
        reader.object(|reader, key| {
            match key {
                b"type" => set_once(&mut attachment.kind, reader.text()?),
                b"prompt" => attachment.prompt.read(reader)?,
                _ => reader.pass()?,
            }
            Ok(())
        })?;
        Ok(attachment)
    }
}

/// Returns whether a line is one of the large lines without events. Recent versions
/// write many of them. The beginning of the line identifies them.
fn is_noise(line: &[u8]) -> bool {
    const BEGINNING: usize = 256;
    const KEY: &[u8] = br#""attachment":"#;
    // The search for a longer part has no fast form.
    static SNAPSHOT: LazyLock<Finder<'static>> =
        LazyLock::new(|| Finder::new(br#"{"type":"prompt_snapshot""#));
    if line.starts_with(br#"{"type":"api-request-"#) {
        return true;
    }
    let head = &line[..line.len().min(BEGINNING)];
    SNAPSHOT.find_iter(head).any(|at| head[..at].ends_with(KEY))
}

/// The time, session and agent of a line.
struct LineContext {
    at: Timestamp,
    session: SessionId,
    agent: Option<AgentId>,
}

impl LineContext {
    fn event(&self, sink: &mut EventSink<'_>, kind: EventKind) {
        sink.event(self.at, &self.session, self.agent.as_ref(), kind);
    }
}

impl Source for ClaudeCode {
    fn read_line(&mut self, line: &[u8], sink: &mut EventSink<'_>) {
        if line.trim_ascii().is_empty() || is_noise(line) {
            return;
        }
        if line.starts_with(br#"{"type":"api-request","#) {
            return self.read_request(line, sink);
        }
        let mut fields = Line::default();
        if let Err(reason) = fields.read(line) {
            return sink.skip_line(reason);
        }
        let Some(kind) = fields.kind else {
            return sink.skip_line("no type");
        };
        match kind.raw() {
            b"user" | b"assistant" => self.read_message(&fields, sink),
            b"progress" => {
                // Versions up to 2.1.79 write the lines of a sub-agent into the file
                // of the session that waits for it.
                if let Some(mut nested) = fields.nested.take()
                    && nested.agent.is_some()
                    && nested.kind.is_some_and(|kind| kind.is("user") || kind.is("assistant"))
                {
                    nested.session = fields.session;
                    self.read_message(&nested, sink);
                } else {
                    self.read_progress(&fields, sink);
                }
            }
            b"system" => self.read_system(&fields, sink),
            b"attachment" => self.read_attachment(&fields, sink),
            b"cost-state" => self.end_session(&fields, sink),
            _ if IGNORED.iter().any(|it| kind.is(it)) => {}
            _ => sink.skip_part("unknown type of line"),
        }
    }

    fn finish(&mut self, sink: &mut EventSink<'_>) {
        self.end_implicit_turn(sink);
    }

    fn pause(&mut self, sink: &mut EventSink<'_>) {
        self.end_implicit_turn(sink);
    }

    fn client_total(&self) -> Option<ClientTotal> {
        self.client_total
    }
}

impl ClaudeCode {
    fn read_message(&mut self, line: &Line<'_>, sink: &mut EventSink<'_>) {
        match self.begin_line(line, sink) {
            Ok(Some(context)) if line.kind.is_some_and(|kind| kind.is("user")) => {
                self.read_user(line, &context, sink);
            }
            Ok(Some(context)) => self.read_assistant(line, &context, sink),
            Ok(None) => _ = self.cut_attempts.take(),
            Err(reason) => sink.skip_line(reason),
        }
    }

    /// Reads a request. If the client gave up the previous response, which sent nothing for
    /// minutes, this is the only line about it.
    fn read_request(&mut self, line: &[u8], sink: &mut EventSink<'_>) {
        let request = match self.cut_attempts.read_request(line) {
            Ok(request) => request,
            Err(reason) => return sink.skip_line(reason),
        };
        let (Some(session), true) = (&self.started, request.follows_silence) else { return };
        let written = request.timestamp.and_then(Text::time);
        let Some(at) = written.or(self.latest) else { return };
        self.latest = self.latest.max(Some(at));
        let context = LineContext { at, session: session.clone(), agent: self.agent.clone() };
        let message = "the client gave up a response that had stopped".into();
        context.event(sink, EventKind::Error { message, retry: Some(0) });
    }

    /// Reads the progress of a call. The first line proves that the call does not wait
    /// for permission. Hooks run before a person is asked, so their progress proves
    /// nothing.
    fn read_progress(&mut self, line: &Line<'_>, sink: &mut EventSink<'_>) {
        let (Some(progress), Some(call)) = (line.progress, line.parent_call) else { return };
        let key = Fingerprint::of(call.raw());
        let proves_run = progress.is("bash_progress") || progress.is("mcp_progress");
        if !proves_run || self.running.get(key).is_some() {
            return;
        }
        self.running.insert(key, ());
        if let Ok(Some(context)) = self.begin_line(line, sink) {
            context.event(sink, EventKind::Resumed(WaitingFor::Permission));
        }
    }

    /// Determines the time, session and agent of a line, and emits their start.
    /// Returns `None` if the line was read before, in this file or in the file that it
    /// was copied from.
    fn begin_line(
        &mut self,
        line: &Line<'_>,
        sink: &mut EventSink<'_>,
    ) -> Result<Option<LineContext>, Malformed> {
        if let Some(uuid) = line.uuid
            && !uuid.raw().is_empty()
            && !sink.is_new(Fingerprint::of(uuid.raw()))
        {
            return Ok(None);
        }
        let written = line.timestamp.and_then(Text::time);
        let at = written.or(self.latest).ok_or("no time")?;
        self.latest = self.latest.max(Some(at));
        // Hooks of a resumed session write lines with the id of the earlier session.
        if let Some(session) = line.session
            && !self.is_identified
        {
            self.session = SessionId::from(session.read().as_ref());
            self.is_identified = true;
        }
        let context = LineContext { at, session: self.session.clone(), agent: self.agent_of(line) };
        match &context.agent {
            None if self.started.as_ref() != Some(&context.session) => {
                self.started = Some(context.session.clone());
                let start = SessionStart {
                    cwd: line.cwd.map(Text::boxed),
                    version: line.version.map(Text::boxed),
                    ..SessionStart::default()
                };
                context.event(sink, EventKind::SessionStart(start));
            }
            Some(agent) => {
                let key = Fingerprint::of(context.session.as_str()).and(agent_key(agent.as_str()));
                if self.agents.get(key).is_none() {
                    self.agents.insert(key, ());
                    if line.is_nested && self.awaited.len() < MAX_AWAITED {
                        self.awaited.push(agent.clone());
                    }
                    context.event(sink, EventKind::AgentStart);
                }
            }
            None => {}
        }
        Ok(Some(context))
    }

    fn agent_of(&mut self, line: &Line<'_>) -> Option<AgentId> {
        let name = match (line.agent, &self.agent) {
            (Some(name), _) => name.read(),
            (None, Some(agent)) => return Some(agent.clone()),
            // Early versions write the lines of unnamed sub-agents into the file of the
            // session.
            (None, None) if line.is_sidechain == Some(true) => "sidechain".into(),
            (None, None) => return None,
        };
        if self.last_agent.as_ref().is_none_or(|agent| agent.as_str() != name) {
            self.last_agent = Some(AgentId::from(name.as_ref()));
        }
        self.last_agent.clone()
    }

    fn read_user(&mut self, line: &Line<'_>, context: &LineContext, sink: &mut EventSink<'_>) {
        let Some(message) = &line.message else {
            return sink.skip_line("no message");
        };
        let mut prompt = Content::default();
        for block in &message.blocks {
            match block.call {
                Some(call) => self.read_result(line, call, block, context, sink),
                None => match block.text {
                    Some(text) => prompt.texts.push(text),
                    None => prompt.other_content = Some(Fingerprint::NONE),
                },
            }
        }
        if prompt.texts.is_empty() && prompt.other_content.is_none() {
            return;
        }
        let text = prompt.text();
        let is_from_harness = line.is_meta == Some(true)
            || line.is_summary == Some(true)
            || line.origin.is_some_and(|origin| origin.is("task-notification"));
        // The summary of a compaction that a person requested needs no response.
        if self.is_turn_over && context.agent.is_none() && is_summary(line, &text) {
            return;
        }
        self.read_prompt(&text, is_from_harness, context, sink);
    }

    fn read_prompt(
        &mut self,
        text: &str,
        is_from_harness: bool,
        context: &LineContext,
        sink: &mut EventSink<'_>,
    ) {
        // Commands that the client runs itself, and their output.
        const LOCAL: &[&str] = &[
            "<command-name>",
            "<local-command-",
            "<bash-input>",
            "<bash-stdout>",
            "<bash-stderr>",
            "Caveat: The messages below were generated by the user while running local commands",
        ];
        const FROM_HARNESS: &[&str] = &[
            "<system-reminder>",
            "<task-notification>",
            "<teammate-message",
            "<cross-session-message",
            "Another Claude session sent a message:",
            "Stop hook feedback:",
            SUMMARY,
        ];
        const ENDS_TURN: &[&str] = &["[Request interrupted by user", "Operation stopped by hook:"];
        if ENDS_TURN.iter().any(|it| text.starts_with(it)) {
            return self.end_turn(context, sink);
        }
        if LOCAL.iter().any(|it| text.starts_with(it)) || is_client_command(text) {
            return;
        }
        self.end_implicit_turn(sink);
        if let Some(agent) = between(text, "<task-id>", "</task-id>")
            && text.starts_with("<task-notification>")
        {
            self.end_agent(agent, context, sink);
        }
        let synthetic = is_from_harness || FROM_HARNESS.iter().any(|it| text.starts_with(it));
        self.is_turn_over &= context.agent.is_some();
        context.event(sink, EventKind::Prompt { text: text.into(), synthetic });
    }

    fn read_result(
        &mut self,
        line: &Line<'_>,
        call: Text<'_>,
        block: &Block<'_>,
        context: &LineContext,
        sink: &mut EventSink<'_>,
    ) {
        self.continue_turn(context, None, sink);
        let output = block.content.text();
        let ok = block.is_error != Some(true);
        let cause = if ok { None } else { cause(&output, line.denial) };
        let exit_code = if ok { None } else { exit_code(&output) };
        let mut result = ToolResult::new(call.boxed(), ok, Some(output));
        (result.cause, result.exit_code) = (cause, exit_code);
        if let (Some(fingerprint), Some(other_content)) =
            (&mut result.fingerprint, block.content.other_content)
        {
            *fingerprint = fingerprint.and(other_content);
        }
        context.event(sink, EventKind::ToolResult(result));

        if self.delegations.remove(Fingerprint::of(call.raw())).is_some()
            && let Some(raw) = line.tool_use_result
        {
            let (mut agent, mut is_async) = (None, None);
            let read = Reader::new(raw).object(|reader, key| {
                match key {
                    b"agentId" => set_once(&mut agent, reader.text()?),
                    b"isAsync" => set_once(&mut is_async, reader.flag()?),
                    _ => reader.pass()?,
                }
                Ok(())
            });
            match (read, agent) {
                (Ok(true), Some(agent)) if is_async == Some(true) => {
                    self.agents.insert(agent_key(&agent.read()), ());
                }
                (Ok(true), Some(agent)) => {
                    self.agents.insert(agent_key(&agent.read()), ());
                    self.end_agent(&agent.read(), context, sink);
                }
                _ => {}
            }
        }
    }

    /// Emits the end of a sub-agent that was started in this file.
    fn end_agent(&mut self, agent: &str, context: &LineContext, sink: &mut EventSink<'_>) {
        if self.agents.remove(agent_key(agent)).is_some() {
            self.awaited.retain(|it| it.as_str() != agent);
            let agent = AgentId::from(agent);
            sink.event(context.at, &context.session, Some(&agent), EventKind::AgentEnd);
        }
    }

    fn read_assistant(&mut self, line: &Line<'_>, context: &LineContext, sink: &mut EventSink<'_>) {
        let Some(message) = &line.message else {
            return sink.skip_line("no message");
        };
        let texts = || message.blocks.iter().filter_map(|it| it.text);
        if line.is_api_error == Some(true) {
            // The usage of the attempts remains unknown.
            self.cut_attempts.take();
            self.is_turn_over = context.agent.is_none();
            let message = texts().next().map(Text::boxed).unwrap_or_default();
            return context.event(sink, EventKind::Error { message, retry: None });
        }
        if message.model.is_some_and(|it| it.is("<synthetic>")) {
            // The client wrote this message itself, without a model call. An earlier message
            // may have ended the turn hours before.
            self.end_implicit_turn(sink);
            return self.end_turn(context, sink);
        }
        let id = message.id.map(|id| Fingerprint::of(id.raw()));
        self.continue_turn(context, id, sink);
        self.read_model_call(line, message, context, sink);
        for block in &message.blocks {
            if let Some(text) = block.thinking {
                context.event(sink, EventKind::Thinking { text: text.boxed() });
            } else if let (Some(id), Some(name)) = (block.id, block.name) {
                self.read_call(id, name, block, message, context, sink);
            } else if let Some(text) = block.text {
                context.event(sink, EventKind::Message { text: text.boxed(), delta: false });
            }
        }
        let stop = message.stop_reason.map(Text::raw);
        let is_last =
            matches!(stop, Some(b"end_turn" | b"stop_sequence" | b"max_tokens" | b"refusal"));
        let has_text = texts().next().is_some();
        let has_calls = message.blocks.iter().any(|it| it.name.is_some());
        if is_last && has_text {
            self.end_turn(context, sink);
        } else if is_last || stop.is_none() && has_text && !has_calls {
            let (at, agent) = (context.at, context.agent.clone());
            self.possible_turn_end = Some(PossibleTurnEnd { at, agent, message: id });
        }
    }

    fn read_model_call(
        &mut self,
        line: &Line<'_>,
        message: &Message<'_>,
        context: &LineContext,
        sink: &mut EventSink<'_>,
    ) {
        let Some(usage) = &message.usage else {
            return;
        };
        let request = line.request.map(Text::raw).unwrap_or_default();
        let key = |id: Text<'_>| Fingerprint::of(id.raw()).and(Fingerprint::of(request));
        // An advisor is another model that the provider calls within a response.
        for (n, advisor) in (1_u64..).zip(&usage.advisors) {
            let id = message.id.map(|id| {
                (format!("{}/advisor-{n}", id.read()).into(), key(id).and(Fingerprint::from(n)))
            });
            self.charge(id, advisor.model, advisor, context, sink);
        }
        // An attempt that was cut off had the same input. Its output is not known.
        let n_cut = if line.is_nested { 0 } else { self.cut_attempts.take() };
        for n in 1..=n_cut {
            let tokens = Tokens { output: 0, reasoning: 0, ..usage.tokens };
            let attempt = Usage { tokens, is_fast: usage.is_fast, ..Usage::default() };
            let id = message.id.map(|id| {
                let key = key(id).and(Fingerprint::of("cut")).and(Fingerprint::from(u64::from(n)));
                (format!("{}/cut-{n}", id.read()).into(), key)
            });
            self.charge(id, message.model, &attempt, context, sink);
        }
        let id = message.id.map(|id| (id.boxed(), key(id)));
        self.charge(id, message.model, usage, context, sink);
    }

    /// Emits a model call, unless an earlier line with the same key had this usage.
    fn charge(
        &mut self,
        id: Option<(Box<str>, Fingerprint)>,
        model: Option<Text<'_>>,
        usage: &Usage<'_>,
        context: &LineContext,
        sink: &mut EventSink<'_>,
    ) {
        let mut used = (usage.tokens, usage.web_searches);
        if let Some((_, key)) = id {
            if let Some(earlier) = self.usage.get(key) {
                let larger = (largest(earlier.0, used.0), earlier.1.max(used.1));
                if larger == *earlier {
                    return;
                }
                used = larger;
            }
            self.usage.insert(key, used);
        }
        let model = model.map(Text::read);
        let (model, context_tokens) = model.as_deref().map_or((None, None), without_suffix);
        let call = ModelCall {
            id: id.map(|(id, _)| id),
            model: model.map(Box::from),
            tokens: used.0,
            cost_usd: None,
            context_tokens,
            web_searches: used.1,
            is_fast: usage.is_fast,
        };
        context.event(sink, EventKind::ModelCall(call));
    }

    fn read_call(
        &mut self,
        id: Text<'_>,
        name: Text<'_>,
        block: &Block<'_>,
        message: &Message<'_>,
        context: &LineContext,
        sink: &mut EventSink<'_>,
    ) {
        let (tool, class) = self.tools.get(&name.read(), class);
        let input = decode(block.input.unwrap_or(b"null"));
        let volatile = volatile(&tool);
        let arguments = Json::parse_or_text(&input);
        let mut call = ToolCall::of_class(id.boxed(), tool, arguments, Some(class), volatile);
        call.response = message.id.map(Text::boxed);
        // Their `command` is a command of the client, not of a shell.
        if matches!(&*call.tool, "SlashCommand" | "Skill") {
            call = call.with_targets(Targets::new());
        }
        if call.class == ToolClass::Delegate {
            self.delegations.insert(Fingerprint::of(id.raw()), ());
        }
        context.event(sink, EventKind::ToolCall(call));
    }

    fn read_system(&mut self, line: &Line<'_>, sink: &mut EventSink<'_>) {
        let subtype = line.subtype.map(Text::raw).unwrap_or_default();
        let kind = match subtype {
            b"api_error" => EventKind::Error {
                message: line.error.map(Text::boxed).unwrap_or_default(),
                retry: Some(line.retry.and_then(|retry| u32::try_from(retry).ok()).unwrap_or(0)),
            },
            b"compact_boundary" => {
                let (before_tokens, after_tokens) = line.compaction;
                EventKind::Compaction { before_tokens, after_tokens }
            }
            b"turn_duration" | b"stop_hook_summary" => EventKind::TurnEnd,
            _ => return,
        };
        if subtype == b"api_error" {
            self.cut_attempts.add_error(line.error);
        }
        match self.begin_line(line, sink) {
            Ok(Some(context)) if kind == EventKind::TurnEnd => self.end_turn(&context, sink),
            Ok(Some(context)) => {
                let is_manual = line.compaction_trigger.is_some_and(|it| it.is("manual"));
                self.continue_turn(&context, None, sink);
                context.event(sink, kind);
                if is_manual {
                    // A person requested the compaction, between two turns.
                    self.end_turn(&context, sink);
                }
            }
            Ok(None) => {}
            Err(reason) => sink.skip_line(reason),
        }
    }

    fn read_attachment(&mut self, line: &Line<'_>, sink: &mut EventSink<'_>) {
        let Some(attachment) = &line.attachment else {
            return;
        };
        let kind = attachment.kind.map(Text::raw).unwrap_or_default();
        if !matches!(kind, b"queued_command" | b"hook_stopped_continuation") {
            return;
        }
        match self.begin_line(line, sink) {
            Ok(Some(context)) if kind == b"queued_command" => {
                self.read_prompt(&attachment.prompt.text(), false, &context, sink);
            }
            Ok(Some(context)) => self.end_turn(&context, sink),
            Ok(None) => {}
            Err(reason) => sink.skip_line(reason),
        }
    }

    /// Emits the end of the session. A session that ends normally ends with a line
    /// with its costs, which has no time but a start and a duration.
    fn end_session(&mut self, line: &Line<'_>, sink: &mut EventSink<'_>) {
        let session = line.session.map(|session| SessionId::from(session.read().as_ref()));
        if let (Some(at), Some(started)) = (self.latest, &self.started)
            && session.is_none_or(|session| session == *started)
        {
            let ended_at =
                line.start_time.zip(line.total_duration).and_then(|(start, duration)| {
                    let millis = i64::try_from(start.checked_add(duration)?).ok()?;
                    Timestamp::from_millisecond(millis).ok()
                });
            let at = ended_at.map_or(at, |ended_at| at.max(ended_at));
            let tokens = line.model_usage.filter(|tokens| 0 < tokens.total());
            let cost_usd = line.total_cost.and_then(|cost| cost.parse().ok());
            let cost_usd = cost_usd.filter(|cost: &f64| cost.is_finite() && 0.0 <= *cost);
            if tokens.is_some() {
                self.client_total = Some(ClientTotal { tokens, cost_usd });
            }
            self.possible_turn_end = None;
            self.is_turn_over = true;
            self.latest = Some(at);
            sink.event(at, started, None, EventKind::SessionEnd { reason: None });
        }
    }

    /// Handles further activity of an agent, in the message with the id `message`.
    ///
    /// The agent's earlier message ended the turn if it is another one and the activity
    /// comes later than the next step of a turn.
    fn continue_turn(
        &mut self,
        context: &LineContext,
        message: Option<Fingerprint>,
        sink: &mut EventSink<'_>,
    ) {
        /// The blocks of a message are written together, and the calls in it start at
        /// once.
        const NEXT_STEP: SignedDuration = SignedDuration::from_secs(5);
        if let Some(end) = &self.possible_turn_end
            && end.agent == context.agent
        {
            let is_same = end.message.is_some() && end.message == message;
            if !is_same && NEXT_STEP < context.at.duration_since(end.at) {
                self.end_implicit_turn(sink);
            }
            self.possible_turn_end = None;
        }
        self.is_turn_over &= context.agent.is_some();
    }

    fn end_turn(&mut self, context: &LineContext, sink: &mut EventSink<'_>) {
        self.possible_turn_end = None;
        if context.agent.is_some() || !self.is_turn_over {
            self.is_turn_over |= context.agent.is_none();
            context.event(sink, EventKind::TurnEnd);
        }
        if context.agent.is_none() {
            // An interrupted agent stops the agents that it waits for, too.
            for agent in self.awaited.drain(..) {
                sink.event(context.at, &context.session, Some(&agent), EventKind::AgentEnd);
            }
        }
    }

    /// Ends a turn whose end is implied by the next line.
    fn end_implicit_turn(&mut self, sink: &mut EventSink<'_>) {
        if let Some(PossibleTurnEnd { at, agent, .. }) = self.possible_turn_end.take() {
            let context = LineContext { at, session: self.session.clone(), agent };
            self.end_turn(&context, sink);
        }
    }
}

/// Splits the name of a model into the model and its context window in tokens, which
/// Claude Code appends as a suffix: `claude-opus-4-5[1m]`.
fn without_suffix(name: &str) -> (Option<&str>, Option<u64>) {
    match name.strip_suffix(']').and_then(|name| name.rsplit_once('[')) {
        Some((model, "1m")) => (Some(model), Some(1_000_000)),
        Some((model, _)) => (Some(model), None),
        None => (Some(name), None),
    }
}

/// Returns the maximum of each class: counts only grow from line to line.
fn largest(a: Tokens, b: Tokens) -> Tokens {
    Tokens {
        input: a.input.max(b.input),
        cache_read: a.cache_read.max(b.cache_read),
        cache_write: a.cache_write.max(b.cache_write),
        output: a.output.max(b.output),
        reasoning: a.reasoning.max(b.reasoning),
        cache_write_1h: a.cache_write_1h.max(b.cache_write_1h),
    }
}

/// The beginning of the prompt that replaces a conversation after a compaction.
const SUMMARY: &str = "This session is being continued from a previous conversation";

fn is_summary(line: &Line<'_>, text: &str) -> bool {
    line.is_summary == Some(true) || text.starts_with(SUMMARY)
}

/// Returns whether a prompt is a command that the client runs without the model, in the
/// order of tags of recent versions.
fn is_client_command(text: &str) -> bool {
    const COMMANDS: &[&str] = &[
        "add-dir",
        "agents",
        "clear",
        "compact",
        "config",
        "context",
        "cost",
        "doctor",
        "exit",
        "export",
        "help",
        "hooks",
        "ide",
        "login",
        "logout",
        "mcp",
        "memory",
        "model",
        "permissions",
        "plugin",
        "quit",
        "rename",
        "resume",
        "rewind",
        "status",
        "theme",
        "usage",
        "vim",
    ];
    text.starts_with("<command-message>")
        && between(text, "<command-name>", "</command-name>")
            .is_some_and(|name| COMMANDS.contains(&name.trim_start_matches('/')))
}

/// Returns the folder with the files of the sub-agents of a session file, if there is
/// one.
pub fn sub_agent_folder(file: &Path) -> Option<PathBuf> {
    let folder = file.with_extension("").join("subagents");
    folder.is_dir().then_some(folder)
}

/// Returns whether a name is a UUID in its usual form, as session ids are.
fn is_uuid(name: &str) -> bool {
    name.len() == 36
        && name.bytes().enumerate().all(|(idx, byte)| match idx {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

fn agent_key(agent: &str) -> Fingerprint {
    Fingerprint::of(agent).and(Fingerprint::NONE)
}

/// Returns the class of a tool whose name is misleading.
fn class(tool: &str) -> Option<ToolClass> {
    match tool {
        "Bash" | "PowerShell" => Some(ToolClass::Run),
        "Task" | "Agent" | "SendMessage" => Some(ToolClass::Delegate),
        "TaskOutput" | "BashOutput" | "AgentOutput" | "Monitor" => Some(ToolClass::Wait),
        "AskUserQuestion" | "ExitPlanMode" => Some(ToolClass::Ask),
        "TaskCreate" | "TaskUpdate" | "TaskStop" | "KillShell" => Some(ToolClass::Other),
        // The name of the server does not describe the tool.
        _ => tool.rsplit_once("__").map(|(_, name)| ToolClass::of_name(name)),
    }
}

/// Returns the arguments that do not change what a call does.
fn volatile(tool: &str) -> &'static [&'static str] {
    match tool {
        "Bash" | "PowerShell" => &["description", "timeout"],
        "Task" | "Agent" => &["description"],
        "TaskOutput" | "BashOutput" | "AgentOutput" => &["timeout"],
        _ => &[],
    }
}

/// The fields of a result about the permission for its call.
#[derive(Clone, Copy, Debug, Default)]
struct Denial {
    was_denied: bool,
    /// A rule, a hook or a classifier denied the call.
    by_rule: bool,
}

/// Returns the cause of a failed result that the tool did not return itself.
fn cause(output: &str, denial: Denial) -> Option<Cause> {
    const DECLINED: &str = "The user doesn't want to";
    // Without a terminal, the client denies calls that need the permission of a person.
    const BLOCKED: &[&str] = &[
        "Claude requested permissions to ",
        "This command requires approval",
        "Permission to use ",
        "Permission for this action ",
        "PreToolUse:",
    ];
    let second = output.split('\n').nth(1).unwrap_or_default();
    if output.starts_with("[Request interrupted by user") {
        Some(Cause::Interrupted)
    } else if output.starts_with(DECLINED) {
        Some(Cause::Declined)
    } else if denial.by_rule || BLOCKED.iter().any(|it| output.starts_with(it)) {
        Some(Cause::Blocked)
    } else if denial.was_denied {
        Some(Cause::Declined)
    } else if output.starts_with("<tool_use_error>Sibling tool call errored")
        || output.starts_with("<tool_use_error>Cancelled: parallel tool call")
    {
        Some(Cause::Sibling)
    } else if output.starts_with("Command timed out") || second.starts_with("Command timed out") {
        Some(Cause::Timeout)
    } else {
        None
    }
}

fn exit_code(output: &str) -> Option<i32> {
    output.strip_prefix("Exit code ")?.lines().next()?.trim().parse().ok()
}

fn between<'a>(text: &'a str, start: &str, end: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(start)?;
    rest.split_once(end).map(|(middle, _)| middle)
}
