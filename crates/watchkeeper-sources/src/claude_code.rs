//! Claude Code: `~/.claude/projects/<folder>/<session>.jsonl`.
//!
//! A line holds one block of a message, so that the lines of one answer of the
//! model share its id and repeat its usage. Lines of a session that is resumed
//! or forked are copied to a new file, with the ids they have.

use std::{
    path::{Path, PathBuf},
    sync::LazyLock,
};

use jiff::Timestamp;
use memchr::memmem::Finder;
use watchkeeper_core::{
    AgentId, Cause, Environment, EventKind, EventSink, Fingerprint, Json, ModelCall, SessionId,
    SessionStart, Source, SourceKind, Tokens, ToolCall, ToolClass, ToolResult, register_source,
};

use crate::{
    json::{Malformed, Reader, Text, decode, keep},
    recent::Recent,
    tool_names::ToolNames,
};

/// Reads the sessions of Claude Code.
#[derive(Debug)]
pub struct ClaudeCode {
    /// The session that lines belong to which do not name theirs.
    session: SessionId,
    /// The sub-agent whose file this is.
    agent: Option<AgentId>,
    /// The session that was said to have started.
    started: Option<SessionId>,
    /// The latest time that a line bore.
    latest: Option<Timestamp>,
    /// The agent that was named last, to be named again.
    last_agent: Option<AgentId>,
    /// Agents that were said to have started.
    agents: Recent<()>,
    /// Usage, by message.
    usage: Recent<Tokens>,
    /// The calls that give work to another agent.
    delegations: Recent<()>,
    /// The sub-agents that the main agent waits for, as far as its own file
    /// tells what they do.
    awaited: Vec<AgentId>,
    /// Whether the main agent's turn was said to have ended.
    is_at_rest: bool,
    /// When an agent said something that may have been its last word.
    last_word: Option<(Timestamp, Option<AgentId>)>,
    tools: ToolNames,
}

register_source!(ClaudeCode);

impl SourceKind for ClaudeCode {
    const KIND: &'static str = "claude-code";
    const DOCS: &'static str = include_str!("../docs/claude-code.md");

    fn recognizes(_path: &Path, head: &[u8]) -> bool {
        head.split(|it| *it == b'\n').any(|line| {
            let mut it = Line::default();
            // The last line may be cut, and what was read of it still tells.
            let _: Result<(), Malformed> = it.read(line);
            let is_known = |kind: Text<'_>| {
                let bears_events = ["user", "assistant", "system", "attachment", "progress"];
                bears_events.iter().any(|it| kind.is(it)) || IGNORED.iter().any(|it| kind.is(it))
            };
            let has_id = it.session.is_some() || it.uuid.is_some() || it.leaf.is_some();
            it.kind.is_some_and(is_known) && has_id
        })
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
        // A sub-agent's file stands in a folder of its session's folder.
        let folder = path.parent().filter(|it| it.ends_with("subagents")).and_then(Path::parent);
        let session = folder.and_then(Path::file_name).map(|it| it.to_string_lossy());
        Self {
            session: SessionId::from(session.unwrap_or_else(|| stem.clone()).as_ref()),
            agent,
            started: None,
            latest: None,
            last_agent: None,
            agents: Recent::default(),
            usage: Recent::default(),
            delegations: Recent::default(),
            awaited: Vec::new(),
            is_at_rest: true,
            last_word: None,
            tools: ToolNames::default(),
        }
    }
}

/// How many sub-agents are kept in mind that one agent waits for.
const MAX_AWAITED: usize = 64;

/// Types of lines that say nothing of what the agent does.
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

/// What a line holds, as far as it is wanted.
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
    /// Who a prompt comes from.
    origin: Option<Text<'a>>,
    was_denied: bool,
    message: Option<Message<'a>>,
    attachment: Option<Attachment<'a>>,
    /// The result once more, in a form of its tool's own.
    tool_use_result: Option<&'a [u8]>,
    error: Option<Text<'a>>,
    retry: Option<u64>,
    compaction: (Option<u64>, Option<u64>),
    /// A line of a sub-agent, told by the line of the one that waits for it.
    told: Option<Box<Line<'a>>>,
    is_told: bool,
}

#[derive(Default)]
struct Message<'a> {
    id: Option<Text<'a>>,
    model: Option<Text<'a>>,
    stop_reason: Option<Text<'a>>,
    usage: Option<Tokens>,
    blocks: Vec<Block<'a>>,
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

/// What a tool answered.
#[derive(Default)]
struct Content<'a> {
    texts: Vec<Text<'a>>,
    /// Of what is no text, like an image.
    others: Option<Fingerprint>,
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
            b"type" => keep(&mut self.kind, reader.text()?),
            b"subtype" => keep(&mut self.subtype, reader.text()?),
            b"uuid" => keep(&mut self.uuid, reader.text()?),
            b"leafUuid" => keep(&mut self.leaf, reader.text()?),
            b"sessionId" => keep(&mut self.session, reader.text()?),
            b"agentId" => keep(&mut self.agent, reader.text()?),
            b"requestId" => keep(&mut self.request, reader.text()?),
            b"timestamp" => keep(&mut self.timestamp, reader.text()?),
            b"cwd" => keep(&mut self.cwd, reader.text()?),
            b"version" => keep(&mut self.version, reader.text()?),
            b"isSidechain" => keep(&mut self.is_sidechain, reader.flag()?),
            b"isMeta" => keep(&mut self.is_meta, reader.flag()?),
            b"isCompactSummary" => keep(&mut self.is_summary, reader.flag()?),
            b"isApiErrorMessage" => keep(&mut self.is_api_error, reader.flag()?),
            b"retryAttempt" => keep(&mut self.retry, reader.count()?),
            b"toolUseResult" => keep(&mut self.tool_use_result, Some(reader.skip()?)),
            b"toolDenialKind" => self.was_denied |= reader.text()?.is_some(),
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
                let mut decision = None;
                reader.object(|reader, key| member(reader, key, b"decision", &mut decision))?;
                self.was_denied |= decision.is_some_and(|it| it.is("reject"));
            }
            b"compactMetadata" => {
                let (before, after) = &mut self.compaction;
                reader.object(|reader, key| {
                    match key {
                        b"preTokens" => keep(before, reader.count()?),
                        b"postTokens" => keep(after, reader.count()?),
                        _ => reader.pass()?,
                    }
                    Ok(())
                })?;
            }
            b"error" => self.error = read_error(reader)?,
            b"data" if !self.is_told && self.told.is_none() => {
                let mut told = Box::new(Self { is_told: true, ..Self::default() });
                let mut agent = None;
                reader.object(|reader, key| {
                    match key {
                        b"agentId" => keep(&mut agent, reader.text()?),
                        b"message" => {
                            reader.object(|reader, key| told.read_member(reader, key))?;
                        }
                        _ => reader.pass()?,
                    }
                    Ok(())
                })?;
                told.agent = agent;
                self.told = Some(told);
            }
            _ => reader.pass()?,
        }
        Ok(())
    }
}

/// Takes a string if its key is the one that is wanted.
fn member<'a>(
    reader: &mut Reader<'a>,
    key: &[u8],
    wanted: &[u8],
    slot: &mut Option<Text<'a>>,
) -> Result<(), Malformed> {
    if key == wanted {
        keep(slot, reader.text()?);
    } else {
        reader.skip()?;
    }
    Ok(())
}

/// Reads what went wrong, in the shortest words there are for it.
fn read_error<'a>(reader: &mut Reader<'a>) -> Result<Option<Text<'a>>, Malformed> {
    if reader.peek()? == b'"' {
        return reader.text();
    }
    let (mut formatted, mut message, mut code) = (None, None, None);
    reader.object(|reader, key| {
        match key {
            b"formatted" => keep(&mut formatted, reader.text()?),
            b"message" => keep(&mut message, reader.text()?),
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
        let mut res = Self::default();
        reader.object(|reader, key| {
            match key {
                b"id" => keep(&mut res.id, reader.text()?),
                b"model" => keep(&mut res.model, reader.text()?),
                b"stop_reason" => keep(&mut res.stop_reason, reader.text()?),
                b"usage" if res.usage.is_none() => res.usage = read_usage(reader)?,
                b"content" if res.blocks.is_empty() => {
                    if reader.peek()? == b'"' {
                        let text = reader.text()?;
                        res.blocks.push(Block { text, ..Block::default() });
                    } else {
                        reader.array(|reader| {
                            res.blocks.push(Block::read(reader)?);
                            Ok(())
                        })?;
                    }
                }
                _ => reader.pass()?,
            }
            Ok(())
        })?;
        Ok(res)
    }
}

fn read_usage(reader: &mut Reader<'_>) -> Result<Option<Tokens>, Malformed> {
    let (mut input, mut output, mut read, mut written) = (None, None, None, None);
    let (mut thinking, mut split, mut longer) = (None, None, None);
    let is_object = reader.object(|reader, key| {
        match key {
            b"input_tokens" => keep(&mut input, reader.count()?),
            b"output_tokens" => keep(&mut output, reader.count()?),
            b"cache_read_input_tokens" => keep(&mut read, reader.count()?),
            b"cache_creation_input_tokens" => keep(&mut written, reader.count()?),
            b"cache_creation" if split.is_none() => {
                let mut sum = 0_u64;
                reader.object(|reader, key| {
                    let n = reader.count()?;
                    sum = sum.saturating_add(n.unwrap_or(0));
                    if key == b"ephemeral_1h_input_tokens" {
                        keep(&mut longer, n);
                    }
                    Ok(())
                })?;
                split = Some(sum);
            }
            b"output_tokens_details" => {
                reader.object(|reader, key| {
                    match key {
                        b"thinking_tokens" => keep(&mut thinking, reader.count()?),
                        _ => reader.pass()?,
                    }
                    Ok(())
                })?;
            }
            _ => reader.pass()?,
        }
        Ok(())
    })?;
    Ok(is_object.then(|| Tokens {
        input: input.unwrap_or(0),
        cache_read: read.unwrap_or(0),
        // Some versions fill in the split alone.
        cache_write: written.unwrap_or(0).max(split.unwrap_or(0)),
        output: output.unwrap_or(0),
        reasoning: thinking.unwrap_or(0),
        cache_write_1h: longer.unwrap_or(0),
    }))
}

impl<'a> Block<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        let mut res = Self::default();
        reader.object(|reader, key| {
            match key {
                b"type" => keep(&mut res.kind, reader.text()?),
                b"text" => keep(&mut res.text, reader.text()?),
                b"thinking" => keep(&mut res.thinking, reader.text()?),
                b"id" => keep(&mut res.id, reader.text()?),
                b"name" => keep(&mut res.name, reader.text()?),
                b"input" => keep(&mut res.input, Some(reader.skip()?)),
                b"tool_use_id" => keep(&mut res.call, reader.text()?),
                b"is_error" => keep(&mut res.is_error, reader.flag()?),
                b"content" => res.content.read(reader)?,
                _ => reader.pass()?,
            }
            Ok(())
        })?;
        Ok(res)
    }
}

impl<'a> Content<'a> {
    /// Reads a string, or a list of pieces.
    fn read(&mut self, reader: &mut Reader<'a>) -> Result<(), Malformed> {
        if reader.peek()? != b'[' {
            self.texts.extend(reader.text()?);
            return Ok(());
        }
        reader.array(|reader| {
            let raw = reader.skip()?;
            let mut text = None;
            Reader::new(raw).object(|reader, key| member(reader, key, b"text", &mut text))?;
            match text {
                Some(text) => self.texts.push(text),
                None => {
                    let others = self.others.unwrap_or_default();
                    self.others = Some(others.and(Fingerprint::of(raw)));
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
        let mut res = Self::default();
        reader.object(|reader, key| {
            match key {
                b"type" => keep(&mut res.kind, reader.text()?),
                b"prompt" => res.prompt.read(reader)?,
                _ => reader.pass()?,
            }
            Ok(())
        })?;
        Ok(res)
    }
}

/// Whether a line is one of the large ones that say nothing. They are most of
/// what recent versions write, and are told by how they begin.
fn is_noise(line: &[u8]) -> bool {
    const BEGINNING: usize = 256;
    static SNAPSHOT: LazyLock<Finder<'static>> =
        LazyLock::new(|| Finder::new(br#""attachment":{"type":"prompt_snapshot""#));
    if line.starts_with(br#"{"type":"api-request"#) {
        return true;
    }
    let head = &line[..line.len().min(BEGINNING)];
    SNAPSHOT.find(head).is_some()
}

/// Who speaks in a line, and when.
struct Scene {
    at: Timestamp,
    session: SessionId,
    agent: Option<AgentId>,
}

impl Scene {
    fn event(&self, sink: &mut EventSink<'_>, kind: EventKind) {
        sink.event(self.at, &self.session, self.agent.as_ref(), kind);
    }
}

impl Source for ClaudeCode {
    fn read_line(&mut self, line: &[u8], sink: &mut EventSink<'_>) {
        if line.trim_ascii().is_empty() || is_noise(line) {
            return;
        }
        let mut it = Line::default();
        if let Err(reason) = it.read(line) {
            return sink.skip_line(reason);
        }
        let Some(kind) = it.kind else {
            return sink.skip_line("no type");
        };
        match kind.raw() {
            b"user" | b"assistant" => self.read_message(&it, sink),
            b"progress" => {
                // Versions up to 2.1.79 tell what a sub-agent does while its
                // session waits for it.
                if let Some(mut told) = it.told
                    && told.agent.is_some()
                    && told.kind.is_some_and(|it| it.is("user") || it.is("assistant"))
                {
                    told.session = it.session;
                    self.read_message(&told, sink);
                }
            }
            b"system" => self.read_system(&it, sink),
            b"attachment" => self.read_attachment(&it, sink),
            b"cost-state" => self.end_session(&it, sink),
            _ if IGNORED.iter().any(|it| kind.is(it)) => {}
            _ => sink.skip_part("unknown type of line"),
        }
    }

    fn finish(&mut self, sink: &mut EventSink<'_>) {
        self.end_silent_turn(sink);
    }
}

impl ClaudeCode {
    fn read_message(&mut self, it: &Line<'_>, sink: &mut EventSink<'_>) {
        match self.enter(it, sink) {
            Ok(Some(scene)) if it.kind.is_some_and(|it| it.is("user")) => {
                self.read_user(it, &scene, sink);
            }
            Ok(Some(scene)) => self.read_assistant(it, &scene, sink),
            Ok(None) => {}
            Err(reason) => sink.skip_line(reason),
        }
    }

    /// Finds out who speaks in a line. `None` if the line was read before, in
    /// the file it was copied from.
    fn enter(
        &mut self,
        it: &Line<'_>,
        sink: &mut EventSink<'_>,
    ) -> Result<Option<Scene>, Malformed> {
        if let Some(uuid) = it.uuid
            && !sink.is_first_here(Fingerprint::of(uuid.raw()))
        {
            return Ok(None);
        }
        let written = it.timestamp.and_then(|it| it.read().parse::<Timestamp>().ok());
        let at = written.or(self.latest).ok_or("no time")?;
        self.latest = self.latest.max(Some(at));
        if let Some(session) = it.session.map(Text::read)
            && session != self.session.as_str()
        {
            self.session = SessionId::from(session.as_ref());
        }
        let scene = Scene { at, session: self.session.clone(), agent: self.agent_of(it) };
        match &scene.agent {
            None if self.started.as_ref() != Some(&scene.session) => {
                self.started = Some(scene.session.clone());
                let start = SessionStart {
                    cwd: it.cwd.map(Text::boxed),
                    version: it.version.map(Text::boxed),
                    ..SessionStart::default()
                };
                scene.event(sink, EventKind::SessionStart(start));
            }
            Some(agent) => {
                let key = Fingerprint::of(scene.session.as_str()).and(agent_key(agent.as_str()));
                if self.agents.get(key).is_none() {
                    self.agents.insert(key, ());
                    if it.is_told && self.awaited.len() < MAX_AWAITED {
                        self.awaited.push(agent.clone());
                    }
                    scene.event(sink, EventKind::AgentStart);
                }
            }
            None => {}
        }
        Ok(Some(scene))
    }

    fn agent_of(&mut self, it: &Line<'_>) -> Option<AgentId> {
        let name = match (it.agent, &self.agent) {
            (Some(name), _) => name.read(),
            (None, Some(agent)) => return Some(agent.clone()),
            // Early versions wrote sub-agents among the rest, without a name.
            (None, None) if it.is_sidechain == Some(true) => "sidechain".into(),
            (None, None) => return None,
        };
        if self.last_agent.as_ref().is_none_or(|it| it.as_str() != name) {
            self.last_agent = Some(AgentId::from(name.as_ref()));
        }
        self.last_agent.clone()
    }

    fn read_user(&mut self, it: &Line<'_>, scene: &Scene, sink: &mut EventSink<'_>) {
        let Some(message) = &it.message else {
            return sink.skip_line("no message");
        };
        let mut prompt = Content::default();
        for block in &message.blocks {
            match block.call {
                Some(call) => self.read_result(it, call, block, scene, sink),
                None => match block.text {
                    Some(text) => prompt.texts.push(text),
                    None => prompt.others = Some(Fingerprint::NONE),
                },
            }
        }
        if prompt.texts.is_empty() && prompt.others.is_none() {
            return;
        }
        let text = prompt.text();
        let is_from_harness = it.is_meta == Some(true)
            || it.is_summary == Some(true)
            || it.origin.is_some_and(|it| it.is("task-notification"));
        self.read_prompt(&text, is_from_harness, scene, sink);
    }

    fn read_prompt(
        &mut self,
        text: &str,
        is_from_harness: bool,
        scene: &Scene,
        sink: &mut EventSink<'_>,
    ) {
        // Commands that the client carries out itself, and what they printed.
        const LOCAL: &[&str] = &[
            "<command-name>",
            "<local-command-",
            "<bash-input>",
            "<bash-stdout>",
            "<bash-stderr>",
        ];
        const FROM_HARNESS: &[&str] =
            &["<system-reminder>", "<task-notification>", "Stop hook feedback:"];
        if text.starts_with("[Request interrupted by user") {
            return self.end_turn(scene, sink);
        }
        if LOCAL.iter().any(|it| text.starts_with(it)) {
            return;
        }
        self.end_silent_turn(sink);
        if let Some(agent) = between(text, "<task-id>", "</task-id>")
            && text.starts_with("<task-notification>")
        {
            self.end_agent(agent, scene, sink);
        }
        let synthetic = is_from_harness || FROM_HARNESS.iter().any(|it| text.starts_with(it));
        self.is_at_rest &= scene.agent.is_some();
        scene.event(sink, EventKind::Prompt { text: text.into(), synthetic });
    }

    fn read_result(
        &mut self,
        it: &Line<'_>,
        call: Text<'_>,
        block: &Block<'_>,
        scene: &Scene,
        sink: &mut EventSink<'_>,
    ) {
        self.go_on(scene);
        let output = block.content.text();
        let ok = block.is_error != Some(true);
        let cause = if ok { None } else { cause(&output, it.was_denied) };
        let exit_code = if ok { None } else { exit_code(&output) };
        let mut result = ToolResult::new(call.boxed(), ok, Some(output));
        (result.cause, result.exit_code) = (cause, exit_code);
        if let (Some(fingerprint), Some(others)) = (&mut result.fingerprint, block.content.others) {
            *fingerprint = fingerprint.and(others);
        }
        scene.event(sink, EventKind::ToolResult(result));

        if self.delegations.remove(Fingerprint::of(call.raw())).is_some()
            && let Some(raw) = it.tool_use_result
        {
            let (mut agent, mut is_async) = (None, None);
            let read = Reader::new(raw).object(|reader, key| {
                match key {
                    b"agentId" => keep(&mut agent, reader.text()?),
                    b"isAsync" => keep(&mut is_async, reader.flag()?),
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
                    self.end_agent(&agent.read(), scene, sink);
                }
                _ => {}
            }
        }
    }

    /// Says that a sub-agent which was launched from this file has ended.
    fn end_agent(&mut self, agent: &str, scene: &Scene, sink: &mut EventSink<'_>) {
        if self.agents.remove(agent_key(agent)).is_some() {
            self.awaited.retain(|it| it.as_str() != agent);
            let agent = AgentId::from(agent);
            sink.event(scene.at, &scene.session, Some(&agent), EventKind::AgentEnd);
        }
    }

    fn read_assistant(&mut self, it: &Line<'_>, scene: &Scene, sink: &mut EventSink<'_>) {
        let Some(message) = &it.message else {
            return sink.skip_line("no message");
        };
        let texts = || message.blocks.iter().filter_map(|it| it.text);
        if it.is_api_error == Some(true) {
            self.is_at_rest = scene.agent.is_none();
            let message = texts().next().map(Text::boxed).unwrap_or_default();
            return scene.event(sink, EventKind::Error { message, retry: None });
        }
        if message.model.is_some_and(|it| it.is("<synthetic>")) {
            // The client filled in for a model that was not asked.
            return self.end_turn(scene, sink);
        }
        self.go_on(scene);
        self.read_model_call(it, message, scene, sink);
        for block in &message.blocks {
            if let Some(text) = block.thinking {
                scene.event(sink, EventKind::Thinking { text: text.boxed() });
            } else if let (Some(id), Some(name)) = (block.id, block.name) {
                self.read_call(id, name, block, message, scene, sink);
            } else if let Some(text) = block.text {
                scene.event(sink, EventKind::Message { text: text.boxed(), delta: false });
            }
        }
        let stop = message.stop_reason.map(Text::raw);
        let is_last =
            matches!(stop, Some(b"end_turn" | b"stop_sequence" | b"max_tokens" | b"refusal"));
        let speaks = texts().next().is_some();
        let calls = message.blocks.iter().any(|it| it.name.is_some());
        if is_last && speaks {
            self.end_turn(scene, sink);
        } else if is_last || stop.is_none() && speaks && !calls {
            self.last_word = Some((scene.at, scene.agent.clone()));
        }
    }

    fn read_model_call(
        &mut self,
        it: &Line<'_>,
        message: &Message<'_>,
        scene: &Scene,
        sink: &mut EventSink<'_>,
    ) {
        let Some(tokens) = message.usage else {
            return;
        };
        let mut tokens = tokens;
        if let Some(id) = message.id {
            let request = it.request.map(Text::raw).unwrap_or_default();
            let key = Fingerprint::of(id.raw()).and(Fingerprint::of(request));
            if let Some(earlier) = self.usage.get(key) {
                let larger = largest(*earlier, tokens);
                if larger == *earlier {
                    return;
                }
                tokens = larger;
            }
            self.usage.insert(key, tokens);
        }
        let call = ModelCall {
            id: message.id.map(Text::boxed),
            model: message.model.map(Text::boxed),
            tokens,
            cost_usd: None,
        };
        scene.event(sink, EventKind::ModelCall(call));
    }

    fn read_call(
        &mut self,
        id: Text<'_>,
        name: Text<'_>,
        block: &Block<'_>,
        message: &Message<'_>,
        scene: &Scene,
        sink: &mut EventSink<'_>,
    ) {
        let (tool, class) = self.tools.get(&name.read(), class);
        let input = decode(block.input.unwrap_or(b"null"));
        let volatile = volatile(&tool);
        let arguments = Json::parse_or_text(&input);
        let mut call = ToolCall::of_class(id.boxed(), tool, arguments, Some(class), volatile);
        call.response = message.id.map(Text::boxed);
        if call.class == ToolClass::Delegate {
            self.delegations.insert(Fingerprint::of(id.raw()), ());
        }
        scene.event(sink, EventKind::ToolCall(call));
    }

    fn read_system(&mut self, it: &Line<'_>, sink: &mut EventSink<'_>) {
        let subtype = it.subtype.map(Text::raw).unwrap_or_default();
        let kind = match subtype {
            b"api_error" => EventKind::Error {
                message: it.error.map(Text::boxed).unwrap_or_default(),
                retry: Some(it.retry.and_then(|it| u32::try_from(it).ok()).unwrap_or(0)),
            },
            b"compact_boundary" => {
                let (before_tokens, after_tokens) = it.compaction;
                EventKind::Compaction { before_tokens, after_tokens }
            }
            b"turn_duration" | b"stop_hook_summary" => EventKind::TurnEnd,
            _ => return,
        };
        match self.enter(it, sink) {
            Ok(Some(scene)) if kind == EventKind::TurnEnd => self.end_turn(&scene, sink),
            Ok(Some(scene)) => {
                self.go_on(&scene);
                scene.event(sink, kind);
            }
            Ok(None) => {}
            Err(reason) => sink.skip_line(reason),
        }
    }

    fn read_attachment(&mut self, it: &Line<'_>, sink: &mut EventSink<'_>) {
        let Some(attachment) = &it.attachment else {
            return;
        };
        let kind = attachment.kind.map(Text::raw).unwrap_or_default();
        if !matches!(kind, b"queued_command" | b"hook_stopped_continuation") {
            return;
        }
        match self.enter(it, sink) {
            Ok(Some(scene)) if kind == b"queued_command" => {
                self.read_prompt(&attachment.prompt.text(), false, &scene, sink);
            }
            Ok(Some(scene)) => self.end_turn(&scene, sink),
            Ok(None) => {}
            Err(reason) => sink.skip_line(reason),
        }
    }

    /// The line with the session's costs is the last of a session that ends in
    /// good order.
    fn end_session(&mut self, it: &Line<'_>, sink: &mut EventSink<'_>) {
        let session = it.session.map(|it| SessionId::from(it.read().as_ref()));
        if let (Some(at), Some(started)) = (self.latest, &self.started)
            && session.is_none_or(|it| it == *started)
        {
            self.last_word = None;
            self.is_at_rest = true;
            sink.event(at, started, None, EventKind::SessionEnd { reason: None });
        }
    }

    /// The agent goes on: what it said before was not its last word.
    fn go_on(&mut self, scene: &Scene) {
        self.is_at_rest &= scene.agent.is_some();
        if self.last_word.as_ref().is_some_and(|(_, agent)| *agent == scene.agent) {
            self.last_word = None;
        }
    }

    fn end_turn(&mut self, scene: &Scene, sink: &mut EventSink<'_>) {
        self.last_word = None;
        if scene.agent.is_some() || !self.is_at_rest {
            self.is_at_rest |= scene.agent.is_none();
            scene.event(sink, EventKind::TurnEnd);
        }
        if scene.agent.is_none() {
            // Whoever was interrupted in its waiting has stopped them, too.
            for agent in self.awaited.drain(..) {
                sink.event(scene.at, &scene.session, Some(&agent), EventKind::AgentEnd);
            }
        }
    }

    /// Ends a turn of which only what followed tells that it had ended.
    fn end_silent_turn(&mut self, sink: &mut EventSink<'_>) {
        if let Some((at, agent)) = self.last_word.take() {
            let scene = Scene { at, session: self.session.clone(), agent };
            self.end_turn(&scene, sink);
        }
    }
}

/// The larger of two, class by class: a later line says no less.
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

fn agent_key(agent: &str) -> Fingerprint {
    Fingerprint::of(agent).and(Fingerprint::NONE)
}

/// What a tool does to the world, where its name misleads.
fn class(tool: &str) -> Option<ToolClass> {
    match tool {
        "Bash" | "PowerShell" => Some(ToolClass::Run),
        "Task" | "Agent" | "SendMessage" => Some(ToolClass::Delegate),
        "TaskOutput" | "BashOutput" | "AgentOutput" | "Monitor" => Some(ToolClass::Wait),
        "AskUserQuestion" | "ExitPlanMode" => Some(ToolClass::Ask),
        "TaskCreate" | "TaskUpdate" | "TaskStop" | "KillShell" => Some(ToolClass::Other),
        // The name of a server says nothing of its tools.
        _ => tool.rsplit_once("__").map(|(_, name)| ToolClass::of_name(name)),
    }
}

/// The arguments that say nothing of what a tool is asked.
fn volatile(tool: &str) -> &'static [&'static str] {
    match tool {
        "Bash" | "PowerShell" => &["description", "timeout"],
        "Task" | "Agent" => &["description"],
        "TaskOutput" | "BashOutput" | "AgentOutput" => &["timeout"],
        _ => &[],
    }
}

/// Why a result that is not ok is not the tool's own answer.
fn cause(output: &str, was_denied: bool) -> Option<Cause> {
    const DECLINED: &[&str] = &[
        "The user doesn't want to",
        "Claude requested permissions to ",
        "This command requires approval",
        "Permission to use ",
        "PreToolUse:",
    ];
    let second = output.split('\n').nth(1).unwrap_or_default();
    if output.starts_with("[Request interrupted by user") {
        Some(Cause::Interrupted)
    } else if was_denied || DECLINED.iter().any(|it| output.starts_with(it)) {
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
    rest.split_once(end).map(|(it, _)| it)
}
