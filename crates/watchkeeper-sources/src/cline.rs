//! Cline, and the agents that were made from it: two documents for each task.
//!
//! `api_conversation_history.json` has the messages, with the calls and their results;
//! `ui_messages.json` has what the person sees, with the usage, errors and questions. Both belong
//! to one session, named after their folder.

mod markup;
mod screen;

use std::path::{Path, PathBuf};

use memchr::memchr;
use watchkeeper_core::{
    SourceKind, ToolClass, ToolResult,
    author::{Environment, EventSink},
    register_source,
};

use self::{
    markup::{Markup, Reply},
    screen::ScreenMessage,
};
use crate::{
    blocks::{Blocks, is_reminder},
    conversation::Conversation,
    document::{Part, Wanted},
    document_reader::{DocumentReader, source_of_documents},
    home::{in_editors, in_home},
    json::{Malformed, Millis, Text, object, parse, parse_head},
};

/// Reads the tasks of Cline, Roo Code and earlier versions of Kilo Code.
#[derive(Debug)]
pub struct Cline(DocumentReader<Conversation>);

static WANTED: Wanted = Wanted { lists: &[], members: &[], is_loose: true, has_preface: false };

const HISTORY: &str = "api_conversation_history.json";
const SCREEN: &str = "ui_messages.json";

register_source!(Cline);

impl SourceKind for Cline {
    const KIND: &'static str = "cline";
    const DOCS: &'static str = include_str!("../docs/cline.md");
    const FILES: &'static [&'static str] = &[HISTORY, SCREEN];
    const IS_REWRITTEN: bool = true;

    fn recognizes(path: &Path, head: &[u8]) -> bool {
        let text = head.trim_ascii_start();
        let Some(start) = memchr(b'{', text) else { return false };
        if !text.starts_with(b"[") {
            return false;
        }
        let first: Message<'_> = parse_head(&text[start..]);
        let is_history = path.file_name().is_some_and(|name| name == HISTORY);
        first.screen.is_some() && first.at.is_some()
            || first.role.is_some() && first.content.is_some() && is_history
    }

    fn folders(environment: &Environment<'_>) -> Vec<PathBuf> {
        const EXTENSIONS: &[&str] =
            &["saoudrizwan.claude-dev", "rooveterinaryinc.roo-cline", "kilocode.kilo-code"];
        let of_extension =
            |it: &&str| in_editors(environment, &format!("globalStorage/{it}/tasks"));
        let mut folders: Vec<_> = EXTENSIONS.iter().flat_map(of_extension).collect();
        folders.extend(in_home(environment, &[".cline/data/tasks"]));
        folders
    }

    fn new(path: &Path) -> Self {
        let mut conversation = Conversation::of_rewritten(path).with_classes(class);
        let is_known = path.file_name().is_some_and(|name| name == HISTORY || name == SCREEN);
        if let Some(folder) = path.parent().and_then(Path::file_name).filter(|_| is_known) {
            conversation.identify(&folder.to_string_lossy());
        }
        Self(DocumentReader::new(&WANTED, conversation, read))
    }
}

object! {
    /// A message of either document.
    struct Message<'a> {
        b"ts" => at: Millis,
        b"role" => role: Text<'a>,
        b"content" => content: Blocks<'a>,
        b"say" | b"ask" => screen: Text<'a>,
    }
}

source_of_documents!(Cline);

fn read(
    part: &Part<'_>,
    conversation: &mut Conversation,
    sink: &mut EventSink<'_>,
) -> Result<(), Malformed> {
    if !part.is_entry() {
        return Ok(());
    }
    let message: Message<'_> = parse(part.text)?;
    if message.screen.is_some() {
        let message: ScreenMessage<'_> = parse(part.text)?;
        sink.at_line(part.lines().line_of(0));
        return message.read(conversation, sink);
    }
    read_message(&message, part, conversation, sink)
}

fn read_message(
    message: &Message<'_>,
    part: &Part<'_>,
    conversation: &mut Conversation,
    sink: &mut EventSink<'_>,
) -> Result<(), Malformed> {
    let none = Blocks::default();
    let blocks = message.content.as_ref().unwrap_or(&none);
    // The time identifies a message: Cline removes messages when it shortens the context.
    let at = message.at.map(|at| at.0);
    let key = at.map(|at| at.as_nanosecond().to_string());
    conversation.begin(at, key.as_ref().map(String::as_bytes));
    sink.at_line(part.lines().line_of(0));
    match message.role.ok_or("no role")?.raw() {
        b"user" => {
            let replies = markup::replies(blocks);
            for reply in &replies {
                read_reply(reply, conversation, sink);
            }
            // The other texts of a message with results are those of the client.
            if replies.is_empty() {
                conversation.read_prompt(blocks, part.lines(), is_synthetic, sink);
            }
        }
        b"assistant" => {
            let response = conversation.entry_id();
            if blocks.has_call() {
                conversation.read_response(blocks, part.lines(), &response, sink);
                return Ok(());
            }
            let text = blocks.text();
            conversation.message(markup::before_calls(&text), sink);
            for Markup { tool, arguments, .. } in markup::calls(&text) {
                conversation.call(None, tool, arguments, &response, sink);
            }
        }
        _ => sink.skip_part("unknown role"),
    }
    Ok(())
}

/// Reads a result that is a text.
fn read_reply(reply: &Reply, conversation: &mut Conversation, sink: &mut EventSink<'_>) {
    if let Some(id) = conversation.open_call() {
        let mut result = ToolResult::new(id, reply.ok, Some(reply.output.as_str().into()));
        result.cause = reply.cause;
        conversation.result(result, sink);
    }
}

/// Returns whether a text of a prompt comes from the client: an error, or the state of the editor.
fn is_synthetic(text: &str) -> bool {
    is_reminder(text) || text.trim_start().starts_with("[ERROR]")
}

/// Returns the class of a tool whose name is misleading.
fn class(tool: &str) -> Option<ToolClass> {
    match tool {
        "attempt_completion" | "plan_mode_respond" | "switch_mode" | "condense" => {
            Some(ToolClass::Other)
        }
        "new_task" => Some(ToolClass::Delegate),
        "browser_action" | "use_mcp_tool" => Some(ToolClass::Run),
        "access_mcp_resource" | "codebase_search" => Some(ToolClass::Read),
        _ => None,
    }
}
