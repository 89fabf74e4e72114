//! gptme: a line for each message, whose code blocks are the calls.

use std::path::{Path, PathBuf};

use watchkeeper_core::{
    Json, ModelCall, Source, SourceKind, ToolClass, ToolResult,
    author::{Environment, EventSink},
    register_source,
};

use crate::{
    conversation::{Conversation, tokens},
    home::in_home,
    json::{Malformed, Text, object, parse_head},
    json_line::read_object,
    lines::first_line,
};

/// Reads the conversations of gptme.
#[derive(Debug)]
pub struct Gptme(Conversation);

register_source!(Gptme);

impl SourceKind for Gptme {
    const KIND: &'static str = "gptme";
    const DOCS: &'static str = include_str!("../docs/gptme.md");

    fn recognizes(path: &Path, head: &[u8]) -> bool {
        let first = first_line(head);
        let line: Line<'_> = parse_head(first);
        let is_role = |role: Text<'_>| role.is("system") || role.is("user");
        // The lines have no other mark.
        path.file_name().is_some_and(|name| name == "conversation.jsonl")
            && line.role.is_some_and(is_role)
            && line.content.is_some()
            && line.at.is_some()
    }

    fn folders(environment: &Environment<'_>) -> Vec<PathBuf> {
        if let Some(folder) = environment("XDG_DATA_HOME").filter(|it| !it.is_empty()) {
            return vec![PathBuf::from(folder).join("gptme/logs")];
        }
        in_home(environment, &[".local/share/gptme/logs"])
    }

    fn new(path: &Path) -> Self {
        let mut conversation = Conversation::new(path).with_classes(class);
        // The file is `<conversation>/conversation.jsonl`.
        if let Some(folder) = path.parent().and_then(Path::file_name) {
            conversation.identify(&folder.to_string_lossy());
        }
        Self(conversation)
    }
}

object! {
    struct Line<'a> {
        b"role" => role: Text<'a>,
        b"content" => content: Text<'a>,
        b"timestamp" => at: Text<'a>,
        b"metadata" => metadata: Metadata<'a>,
    }
}

object! {
    struct Metadata<'a> {
        b"model" => model: Text<'a>,
        b"cost" => cost_usd: f64,
        b"usage" => usage: Usage,
        b"input_tokens" => input: u64,
        b"output_tokens" => output: u64,
        b"cache_read_tokens" => cache_read: u64,
        b"cache_creation_tokens" => cache_write: u64,
    }
}

object! {
    struct Usage {
        b"input_tokens" => input: u64,
        b"output_tokens" => output: u64,
        b"cache_read_tokens" => cache_read: u64,
        b"cache_creation_tokens" => cache_write: u64,
    }
}

impl Source for Gptme {
    fn read_line(&mut self, line: &[u8], sink: &mut EventSink<'_>) {
        read_object(line, sink, |line, sink| self.read(line, sink));
    }
}

impl Gptme {
    fn read(&mut self, line: &Line<'_>, sink: &mut EventSink<'_>) -> Result<(), Malformed> {
        let Self(conversation) = self;
        let role = line.role.ok_or("no role")?;
        let at = line.at.and_then(|at| conversation.time(at)).ok_or("no time")?;
        conversation.begin(Some(at), None);
        let content = line.content.map(Text::read).unwrap_or_default();
        match role.raw() {
            b"user" => conversation.prompt(&content, false, sink),
            b"system" => {
                // A message of the system is the result of a call, or a part of the prompt.
                if let Some(id) = conversation.open_call() {
                    let ok = !content.starts_with("Error");
                    let result = ToolResult::new(id, ok, Some(content.into()));
                    conversation.result(result, sink);
                }
            }
            b"assistant" => {
                let response = conversation.entry_id();
                if let Some(metadata) = &line.metadata {
                    let call = metadata.call(response.clone());
                    conversation.usage(call, sink);
                }
                conversation.message(&content, sink);
                let mut has_call = false;
                for (tool, arguments, code) in calls(&content) {
                    has_call = true;
                    let arguments = Json::from(&arguments_of(tool, arguments, code));
                    conversation.call(None, tool, arguments, &response, sink);
                }
                if !has_call {
                    conversation.turn_end(sink);
                }
            }
            _ => sink.skip_part("unknown role"),
        }
        Ok(())
    }
}

impl Metadata<'_> {
    fn call(&self, id: Box<str>) -> ModelCall {
        let tokens = match &self.usage {
            Some(it) => tokens(it.input, it.output, it.cache_read, it.cache_write),
            None => tokens(self.input, self.output, self.cache_read, self.cache_write),
        };
        let model = self.model.map(Text::boxed);
        ModelCall { id: Some(id), model, tokens, cost_usd: self.cost_usd, ..ModelCall::default() }
    }
}

/// Returns the closed code blocks of a message that call a tool: the tool, its arguments after
/// the name, and the code.
fn calls(content: &str) -> impl Iterator<Item = (&str, &str, &str)> {
    const TOOLS: &[&str] = &[
        "append", "browser", "gh", "ipython", "morph", "patch", "python", "read", "save", "sh",
        "shell", "bash", "subagent", "tmux", "vision",
    ];
    let mut rest = content;
    std::iter::from_fn(move || {
        loop {
            let start = rest.find("```")? + 3;
            let (header, code) = rest[start..].split_once('\n')?;
            // A block can be empty.
            let (end, after) = if code.starts_with("```") {
                (0, 3)
            } else {
                code.find("\n```").map(|end| (end, end + 4))?
            };
            rest = &code[after..];
            let (tool, arguments) = header.trim().split_once(' ').unwrap_or((header.trim(), ""));
            if TOOLS.contains(&tool) {
                return Some((tool, arguments, &code[..end]));
            }
        }
    })
}

fn arguments_of(tool: &str, arguments: &str, code: &str) -> serde_json::Value {
    match tool {
        "save" | "append" => serde_json::json!({ "path": arguments, "content": code }),
        "patch" | "morph" => serde_json::json!({ "path": arguments, "patch": code }),
        _ => serde_json::json!({ "command": code }),
    }
}

/// Returns the class of a tool whose name is misleading.
fn class(tool: &str) -> Option<ToolClass> {
    match tool {
        "save" | "morph" => Some(ToolClass::Write),
        "sh" | "tmux" | "gh" => Some(ToolClass::Run),
        "browser" | "vision" => Some(ToolClass::Read),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::calls;

    #[test]
    fn finds_the_code_blocks_that_call_a_tool() {
        let text = "I look.\n```shell\nls\n```\nAs in:\n```rust\nfn a() {}\n```\n```save a/b.txt\nx\ny\n```\n```shell\n```\n```shell\nls";
        let found: Vec<_> = calls(text).collect();
        assert_eq!(found, [("shell", "", "ls"), ("save", "a/b.txt", "x\ny"), ("shell", "", "")]);
    }
}
