//! Grok Build, the command-line agent of xAI: a line for each message, without times.

use std::path::{Path, PathBuf};

use watchkeeper_core::{
    Source, SourceKind, ToolResult,
    author::{Environment, EventSink},
    register_source,
};

use crate::{
    blocks::{Arguments, is_never_synthetic},
    content::join,
    conversation::Conversation,
    document::LineCounter,
    home::in_home,
    json::{Malformed, Present, Text, TextOr, object, parse, parse_head},
    json_line::read_object,
    lines::lines_of,
};

/// Reads the sessions of Grok.
#[derive(Debug)]
pub struct Grok(Conversation);

register_source!(Grok);

impl SourceKind for Grok {
    const KIND: &'static str = "grok";
    const DOCS: &'static str = include_str!("../docs/grok.md");

    fn recognizes(_path: &Path, head: &[u8]) -> bool {
        lines_of(head).take(16).any(|line| {
            let line: Head<'_> = parse_head(line);
            let kind = line.kind.map(Text::raw);
            let is_prompt = line.content.is_some() && line.prompt.is_some();
            match kind {
                Some(b"system") => match line.content {
                    Some(TextOr::Text(text)) => text.raw().starts_with(b"You are Grok"),
                    _ => false,
                },
                Some(b"user") => is_prompt,
                Some(b"assistant") => line.model.is_some() && line.content.is_some(),
                _ => false,
            }
        })
    }

    fn folders(environment: &Environment<'_>) -> Vec<PathBuf> {
        if let Some(folder) = environment("GROK_HOME").filter(|it| !it.is_empty()) {
            return vec![PathBuf::from(folder).join("sessions")];
        }
        in_home(environment, &[".grok/sessions"])
    }

    fn new(path: &Path) -> Self {
        let mut conversation = Conversation::new(path);
        // The file is `<session>/chat_history.jsonl`.
        if let Some(folder) = path.parent().and_then(Path::file_name)
            && path.file_stem().is_some_and(|stem| stem == "chat_history")
        {
            conversation.identify(&folder.to_string_lossy());
        }
        Self(conversation)
    }
}

object! {
    /// The members by which a line is recognized.
    struct Head<'a> {
        b"type" => kind: Text<'a>,
        b"content" => content: TextOr<'a, Present>,
        b"prompt_index" | b"synthetic_reason" => prompt: Present,
        b"model_fingerprint" => model: Present,
    }
}

object! {
    /// The members that a message of the chat API does not have.
    struct Line<'a> {
        b"type" => kind: Text<'a>,
        b"synthetic_reason" => synthetic: Present,
        // Members of a thought.
        b"summary" => summary: Vec<Summary<'a>>,
        // Members of a call of a tool that the provider runs.
        b"kind" => call: BackendCall<'a>,
    }
}

object! {
    struct Summary<'a> {
        b"text" => text: Text<'a>,
    }
}

object! {
    struct BackendCall<'a> {
        b"id" => id: Text<'a>,
        b"tool_type" => tool: Text<'a>,
        b"action" => action: Arguments<'a>,
        b"status" => status: Text<'a>,
    }
}

impl Source for Grok {
    fn read_line(&mut self, line: &[u8], sink: &mut EventSink<'_>) {
        read_object(line, sink, |members, sink| self.read(members, line, sink));
    }
}

impl Grok {
    fn read(
        &mut self,
        members: &Line<'_>,
        line: &[u8],
        sink: &mut EventSink<'_>,
    ) -> Result<(), Malformed> {
        let Self(conversation) = self;
        conversation.begin(None, None);
        match members.kind.ok_or("no type")?.raw() {
            b"reasoning" => {
                let summary = members.summary.as_deref().unwrap_or_default();
                let texts: Vec<_> = summary.iter().filter_map(|part| part.text).collect();
                conversation.thinking(&join(&texts), sink);
            }
            b"backend_tool_call" => {
                let call = members.call.as_ref().ok_or("no call")?;
                let id = call.id.map(Text::boxed);
                let name = call.tool.map_or_else(|| "unknown".into(), Text::read);
                let action = call.action.as_ref().map(Arguments::json).unwrap_or_default();
                let response = conversation.entry_id();
                conversation.call(id.clone(), &name, action, &response, sink);
                if let (Some(id), Some(status)) = (id, call.status) {
                    conversation.result(ToolResult::new(id, status.is("completed"), None), sink);
                }
            }
            _ => {
                let message = parse(line)?;
                let lines = LineCounter::of_line(sink.line());
                let is_synthetic: fn(&str) -> bool =
                    if members.synthetic.is_some() { |_| true } else { is_never_synthetic };
                conversation.read_chat_message(&message, lines, is_synthetic, sink)?;
            }
        }
        Ok(())
    }
}
