//! Amp: one document for each thread.

use std::path::{Path, PathBuf};

use watchkeeper_core::{
    ModelCall, SourceKind, ToolResult,
    author::{Cause, Environment, EventSink},
    register_source,
};

use crate::{
    blocks::{Blocks, Output, is_reminder},
    conversation::{Conversation, tokens},
    document::{Part, PartKind, Wanted},
    document_reader::{DocumentReader, source_of_documents},
    home::in_home,
    json::{Located, Malformed, Millis, Text, object, parse, parse_head, parse_value},
};

/// Reads the threads of Amp.
#[derive(Debug)]
pub struct Amp(DocumentReader<Conversation>);

static WANTED: Wanted =
    Wanted { lists: &["messages"], members: &["id", "env"], is_loose: false, has_preface: false };

register_source!(Amp);

impl SourceKind for Amp {
    const KIND: &'static str = "amp";
    const DOCS: &'static str = include_str!("../docs/amp.md");
    const FILES: &'static [&'static str] = &["*.json", "!*.meta.json"];
    const IS_REWRITTEN: bool = true;

    fn recognizes(_path: &Path, head: &[u8]) -> bool {
        let head: Head<'_> = parse_head(head);
        let is_thread = |id: Text<'_>| id.raw().starts_with(b"T-");
        head.version.is_some() && head.id.is_some_and(is_thread) && head.created.is_some()
    }

    fn folders(environment: &Environment<'_>) -> Vec<PathBuf> {
        if let Some(folder) = environment("AMP_DATA_DIR").filter(|it| !it.is_empty()) {
            return vec![PathBuf::from(folder).join("threads")];
        }
        in_home(environment, &[".local/share/amp/threads"])
    }

    fn new(path: &Path) -> Self {
        Self(DocumentReader::new(&WANTED, Conversation::of_rewritten(path), read))
    }
}

object! {
    struct Head<'a> {
        b"v" => version: u64,
        b"id" => id: Text<'a>,
        b"created" => created: Millis,
    }
}

object! {
    struct Env<'a> {
        b"initial" => initial: Initial<'a>,
    }
}

object! {
    struct Initial<'a> {
        b"trees" => trees: Vec<Tree<'a>>,
    }
}

object! {
    struct Tree<'a> {
        b"uri" => uri: Text<'a>,
    }
}

object! {
    struct Message<'a> {
        b"role" => role: Text<'a>,
        b"content" => content: Blocks<'a>,
        b"usage" => usage: Usage<'a>,
        b"meta" => meta: Meta,
    }
}

object! {
    /// The results of a message, in Amp's own notation.
    struct Results<'a> {
        b"content" => content: Vec<Located<'a, CallResult<'a>>>,
    }
}

object! {
    struct CallResult<'a> {
        b"toolUseID" => id: Text<'a>,
        b"run" => run: Run<'a>,
    }
}

object! {
    struct Run<'a> {
        b"status" => status: Text<'a>,
        b"result" => result: Output<'a>,
        b"error" => error: Failure<'a>,
    }
}

object! {
    struct Failure<'a> {
        b"message" => message: Text<'a>,
    }
}

object! {
    /// The members of a result that is an object.
    struct ResultObject<'a> {
        b"output" | b"content" | b"diff" => text: Text<'a>,
        b"exitCode" => exit_code: i32,
        b"success" => success: bool,
    }
}

object! {
    struct Meta {
        b"sentAt" => sent_at: Millis,
    }
}

object! {
    struct Usage<'a> {
        b"model" => model: Text<'a>,
        b"timestamp" => at: Text<'a>,
        b"inputTokens" => input: u64,
        b"outputTokens" => output: u64,
        b"cacheReadInputTokens" => cache_read: u64,
        b"cacheCreationInputTokens" => cache_write: u64,
    }
}

source_of_documents!(Amp);

fn read(
    part: &Part<'_>,
    conversation: &mut Conversation,
    sink: &mut EventSink<'_>,
) -> Result<(), Malformed> {
    match part.kind {
        PartKind::Member("id") => {
            conversation.identify(&part.string()?.unwrap_or_default());
        }
        PartKind::Member(_) => {
            let env: Option<Env<'_>> = parse_value(part.text)?;
            let trees = env.and_then(|env| env.initial?.trees).unwrap_or_default();
            if let Some(uri) = trees.first().and_then(|tree| tree.uri) {
                let uri = uri.read();
                conversation.start.cwd = Some(uri.strip_prefix("file://").unwrap_or(&uri).into());
            }
        }
        _ => read_message(part, conversation, sink)?,
    }
    Ok(())
}

fn read_message(
    part: &Part<'_>,
    conversation: &mut Conversation,
    sink: &mut EventSink<'_>,
) -> Result<(), Malformed> {
    let message: Message<'_> = parse(part.text)?;
    let none = Blocks::default();
    let blocks = message.content.as_ref().unwrap_or(&none);
    let sent_at = message.meta.as_ref().and_then(|meta| meta.sent_at).map(|at| at.0);
    let usage = message.usage.as_ref();
    let responded_at = usage.and_then(|usage| usage.at?.time());
    conversation.begin(responded_at.or(sent_at), None);
    match message.role.ok_or("no role")?.raw() {
        b"user" => {
            let has_results = read_results(part, conversation, sink)?;
            if !has_results {
                conversation.read_prompt(blocks, part.lines(), is_reminder, sink);
            }
        }
        b"assistant" => {
            let response = conversation.entry_id();
            if let Some(usage) = usage {
                let call = ModelCall {
                    id: Some(response.clone()),
                    model: usage.model.map(Text::boxed),
                    tokens: tokens(usage.input, usage.output, usage.cache_read, usage.cache_write),
                    ..ModelCall::default()
                };
                sink.at_line(part.lines().line_of(0));
                conversation.usage(call, sink);
            }
            if !conversation.read_response(blocks, part.lines(), &response, sink) {
                conversation.turn_end(sink);
            }
        }
        _ => sink.skip_part("unknown role"),
    }
    Ok(())
}

/// Reads the results of a message. Returns whether there are any.
fn read_results(
    part: &Part<'_>,
    conversation: &mut Conversation,
    sink: &mut EventSink<'_>,
) -> Result<bool, Malformed> {
    let results: Results<'_> = parse(part.text)?;
    let mut lines = part.lines();
    let mut has_results = false;
    for Located { at, value: result, .. } in results.content.unwrap_or_default() {
        let (Some(id), Some(run)) = (result.id, &result.run) else { continue };
        has_results = true;
        sink.at_line(lines.line_of(at));
        if let Some(result) = run.result(id.boxed()) {
            conversation.result(result, sink);
        }
    }
    Ok(has_results)
}

impl Run<'_> {
    /// Returns the result of a call that has ended.
    fn result(&self, id: Box<str>) -> Option<ToolResult> {
        let cause = match self.status?.raw() {
            b"done" => None,
            b"error" => {
                let message = self.error.as_ref().and_then(|error| error.message);
                return Some(ToolResult::new(id, false, message.map(Text::boxed)));
            }
            b"cancelled" => Some(Cause::Interrupted),
            _ => return None,
        };
        let Some(output) = &self.result else {
            let mut result = ToolResult::new(id, cause.is_none(), None);
            result.cause = cause;
            return Some(result);
        };
        let object: Option<ResultObject<'_>> = parse_value(output.raw()).ok().flatten();
        let object = object.unwrap_or_default();
        let exit_code = object.exit_code;
        let ok = cause.is_none()
            && exit_code.is_none_or(|code| code == 0)
            && object.success != Some(false);
        let mut result = match object.text {
            Some(text) => ToolResult::new(id, ok, Some(text.boxed())),
            None => output.result(id, ok),
        };
        (result.exit_code, result.cause) = (exit_code, cause);
        Some(result)
    }
}
