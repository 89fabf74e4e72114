//! goose: its database.
//!
//! A row is a message of a session. Its content is a list of texts, requests of tools and their
//! responses. goose adds a message when it is complete, and writes all messages of a session
//! again, with new ids, when it summarizes them.

mod message;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use jiff::Timestamp;
use watchkeeper_core::{
    EventKind, Fingerprint, ModelCall, SessionId, Source, SourceKind, ToolCall, ToolClass,
    ToolResult,
    author::{Cause, Database, Environment, EventSink, SessionStart, Tokens},
    register_source,
};

use self::message::{Message, Part, ToolOutcome, Totals};
use crate::{
    json::{Malformed, Text, parse},
    recent::Recent,
    tool_names::ToolNames,
};

const DATABASE: Database = Database {
    tables: &["messages", "sessions", "schema_version"],
    // Early versions lack two columns of `sessions`. There, a name without a table means the one of
    // `early`. Only the latest message of a session has its totals, which are not older.
    rows: "SELECT messages.id, iif(octet_length(content_json) <= ?2, \
           '{\"goose\":' || json_quote(session_id) || ',\"role\":' || json_quote(role) \
           || ',\"created\":' || json_quote(created_timestamp) || ',\"content\":' \
           || content_json, NULL), \
           ',\"metadata\":' || coalesce(metadata_json, 'null') \
           || ',\"cwd\":' || json_quote(working_dir) || ',\"model\":' || coalesce((SELECT \
           iif(json_valid(model_config_json), model_config_json, NULL) FROM sessions \
           WHERE sessions.id = session_id), 'null') \
           || iif(messages.id = (SELECT max(id) FROM messages AS other \
           WHERE other.session_id = messages.session_id), ',\"input\":' \
           || json_quote(accumulated_input_tokens) || ',\"output\":' \
           || json_quote(accumulated_output_tokens) || ',\"cost\":' || json_quote((SELECT \
           accumulated_cost FROM sessions WHERE sessions.id = session_id)), '') || '}' \
           FROM (SELECT NULL AS model_config_json, NULL AS accumulated_cost) AS early \
           CROSS JOIN messages LEFT JOIN (SELECT id AS owner, working_dir, \
           accumulated_input_tokens, accumulated_output_tokens FROM sessions) \
           ON owner = session_id WHERE ?1 < messages.id ORDER BY messages.id",
    start: "SELECT coalesce((SELECT min(id) - 1 FROM messages WHERE session_id IN (SELECT id \
            FROM sessions WHERE datetime(max(?1, 0) / 1000, 'unixepoch') <= updated_at)), \
            (SELECT max(id) FROM messages))",
};

/// The first bytes of a row.
const START: &[u8] = b"{\"goose\":";

/// The largest number of sessions whose turns may be open.
const MAX_OPEN: usize = 256;

/// Reads the sessions in the database of goose.
#[derive(Debug, Default)]
pub struct Goose {
    sessions: Recent<State>,
    /// The sessions whose latest message may end a turn, with its time and its line.
    answered: BTreeMap<SessionId, (Timestamp, u64)>,
    tools: ToolNames,
}

/// The memory of a session.
#[derive(Clone, Debug, Default)]
struct State {
    /// The totals that were counted.
    counted: Option<Totals>,
    /// The number of responses since then.
    n_responses: u64,
}

register_source!(Goose);

impl SourceKind for Goose {
    const KIND: &'static str = "goose";
    const DOCS: &'static str = include_str!("../docs/goose.md");
    const FILES: &'static [&'static str] = &["sessions.db"];
    const DATABASE: Option<Database> = Some(DATABASE);

    fn recognizes(_path: &Path, head: &[u8]) -> bool {
        head.starts_with(START)
    }

    fn folders(environment: &Environment<'_>) -> Vec<PathBuf> {
        let folder = |name| environment(name).filter(|it| !it.is_empty()).map(PathBuf::from);
        if let Some(root) = folder("GOOSE_PATH_ROOT") {
            return vec![root.join("data").join("sessions")];
        }
        let home = folder("HOME").map(|home| home.join(".local").join("share"));
        let data = folder("XDG_DATA_HOME").or(home);
        data.map(|data| data.join("goose").join("sessions")).into_iter().collect()
    }

    fn new(_path: &Path) -> Self {
        Self::default()
    }
}

impl Source for Goose {
    fn read_line(&mut self, line: &[u8], sink: &mut EventSink<'_>) {
        if let Err(reason) = self.read_message(line, sink) {
            sink.skip_line(reason);
        }
    }

    fn finish(&mut self, sink: &mut EventSink<'_>) {
        self.end_turns(sink);
    }

    fn pause(&mut self, sink: &mut EventSink<'_>) {
        self.end_turns(sink);
    }
}

impl Goose {
    fn read_message(&mut self, line: &[u8], sink: &mut EventSink<'_>) -> Result<(), Malformed> {
        let message: Message<'_> = parse(line)?;
        let session = message.session.ok_or("no session")?.read();
        let at = message.created.ok_or("no time")?.0;
        let is_response = match message.role.map(Text::raw) {
            Some(b"assistant") => true,
            Some(b"user") => false,
            _ => return Err("no role"),
        };
        let mut events = MessageEvents {
            session: SessionId::from(&*session),
            at,
            key: Fingerprint::of(&*session).and(Fingerprint::of(&*at.to_string())),
            sink,
        };
        let key = Fingerprint::of(&*session);
        let known = self.sessions.get(key).cloned();
        if known.is_none() {
            let cwd = message.cwd.map(Text::boxed);
            let start = SessionStart { cwd, ..SessionStart::default() };
            events.emit_once(key, EventKind::SessionStart(start));
        }
        let mut state = known.unwrap_or_default();
        let mut has_new = false;
        let mut has_request = false;
        let is_synthetic = message.metadata.as_ref().and_then(|it| it.is_visible) == Some(false);
        for part in message.parts.as_ref().map(|parts| &*parts.0).unwrap_or_default() {
            has_request |= part.request().is_some();
            has_new |= self.read_part(part, is_response, is_synthetic, &mut events);
        }
        if is_response && has_new {
            state.n_responses += 1;
        }
        if let Some(totals) = message.totals() {
            count(totals, &mut state, &message, &mut events);
        }
        self.sessions.insert(key, state);
        let (session, line) = (events.session, sink.line());
        if !has_new {
            return Ok(());
        }
        self.answered.remove(&session);
        if is_response && !has_request {
            if MAX_OPEN <= self.answered.len() {
                self.end_turns(sink);
            }
            self.answered.insert(session, (at, line));
        }
        Ok(())
    }

    /// Reads a part of a message. Returns whether it was new.
    fn read_part(
        &mut self,
        part: &Part<'_>,
        is_response: bool,
        synthetic: bool,
        events: &mut MessageEvents<'_, '_>,
    ) -> bool {
        let text = |text: Option<Text<'_>>| text.map(Text::boxed).unwrap_or_default();
        match part.kind.map(Text::raw).unwrap_or_default() {
            b"text" if part.text.is_none_or(|text| text.raw().is_empty()) => false,
            b"text" if is_response => {
                events.emit(EventKind::Message { text: text(part.text), delta: false })
            }
            b"text" => events.emit(EventKind::Prompt { text: text(part.text), synthetic }),
            b"thinking" => events.emit(EventKind::Thinking { text: text(part.thinking) }),
            b"toolRequest" | b"frontendToolRequest" => {
                let call = self.call(part);
                events.emit_once(Fingerprint::of(&*call.id), EventKind::ToolCall(call))
            }
            b"toolResponse" => {
                let result = result(part);
                events.emit_once(Fingerprint::of(&*result.id), EventKind::ToolResult(result))
            }
            b"image"
            | b"redactedThinking"
            | b"toolConfirmationRequest"
            | b"actionRequired"
            | b"systemNotification" => false,
            _ => {
                events.sink.skip_part("unknown type of part");
                false
            }
        }
    }

    fn call(&mut self, part: &Part<'_>) -> ToolCall {
        let id = part.id.map(Text::boxed).unwrap_or_default();
        let request = part.request().and_then(|request| request.call.as_ref());
        let name = request.and_then(|call| call.name).map_or("unknown".into(), Text::read);
        let (tool, class) = self.tools.get(&name, |_| None);
        let arguments = request.and_then(|call| call.arguments).map_or("null", |it| it.0);
        let is_view = name.ends_with("text_editor")
            && parse(arguments.as_bytes())
                .is_ok_and(|it: message::EditorArguments<'_>| it.is_view());
        let class = if is_view { ToolClass::Read } else { class };
        let arguments = watchkeeper_core::Json::parse_or_text(arguments);
        ToolCall::of_class(id, tool, arguments, Some(class), &[])
    }

    /// Ends the turns whose latest message requests no tool: goose does not store their ends.
    fn end_turns(&mut self, sink: &mut EventSink<'_>) {
        let latest_line = sink.line();
        for (session, (at, line)) in std::mem::take(&mut self.answered) {
            sink.at_line(line);
            sink.event(at, &session, None, EventKind::TurnEnd);
        }
        sink.at_line(latest_line);
    }
}

/// Receives the events of a message.
struct MessageEvents<'m, 's> {
    session: SessionId,
    at: Timestamp,
    /// Identifies the message, beside its content.
    key: Fingerprint,
    sink: &'m mut EventSink<'s>,
}

impl MessageEvents<'_, '_> {
    /// Emits an event with a text unless its message was read before. Returns whether it was new.
    fn emit(&mut self, kind: EventKind) -> bool {
        let text = match &kind {
            EventKind::Message { text, .. }
            | EventKind::Prompt { text, .. }
            | EventKind::Thinking { text } => Fingerprint::of(&**text),
            _ => Fingerprint::NONE,
        };
        self.emit_as(self.key.and(text), kind)
    }

    /// Emits an event that has an id in its session. Returns whether it was new.
    fn emit_once(&mut self, id: Fingerprint, kind: EventKind) -> bool {
        self.emit_as(Fingerprint::of(self.session.as_str()).and(id), kind)
    }

    fn emit_as(&mut self, key: Fingerprint, kind: EventKind) -> bool {
        let is_new = self.sink.is_new(key.and(Fingerprint::of(kind.name())));
        if is_new {
            self.sink.event(self.at, &self.session, None, kind);
        }
        is_new
    }
}

/// Counts the growth of the totals of a session since the latest count, if one response explains
/// it: the times of earlier responses are unknown.
fn count(
    totals: Totals,
    state: &mut State,
    message: &Message<'_>,
    events: &mut MessageEvents<'_, '_>,
) {
    let before = state.counted.replace(totals);
    let n_responses = std::mem::take(&mut state.n_responses);
    let before = match before {
        Some(before) => before,
        // The whole session was read as it was written.
        None if n_responses <= 1 => Totals::default(),
        None => return,
    };
    let tokens = Tokens {
        input: totals.input.saturating_sub(before.input),
        output: totals.output.saturating_sub(before.output),
        ..Tokens::default()
    };
    if n_responses != 1 || tokens.total() == 0 {
        return;
    }
    let cost_usd = totals.cost_usd.map(|cost| cost - before.cost_usd.unwrap_or(0.0));
    let id = format!("{}/{}", totals.input, totals.output);
    let call = ModelCall {
        id: Some(id.as_str().into()),
        model: message.model.as_ref().and_then(|model| model.name).map(Text::boxed),
        tokens,
        cost_usd: cost_usd.filter(|cost| 0.0 < *cost),
        ..ModelCall::default()
    };
    events.emit_once(Fingerprint::of(&*id), EventKind::ModelCall(call));
}

fn result(part: &Part<'_>) -> ToolResult {
    const DECLINED: &str = "The user has declined to run this tool";
    let id = part.id.map(Text::boxed).unwrap_or_default();
    let outcome = part.result.as_ref();
    let output = outcome.map(ToolOutcome::text).unwrap_or_default();
    let is_declined = output.starts_with(DECLINED);
    let ok = outcome.is_some_and(ToolOutcome::is_ok) && !is_declined;
    let mut result = ToolResult::new(id, ok, Some(output));
    result.cause = is_declined.then_some(Cause::Declined);
    result
}
