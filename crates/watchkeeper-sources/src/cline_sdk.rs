//! Cline's command line and SDK: one document for each session.

use std::path::{Path, PathBuf};

use watchkeeper_core::{
    ModelCall, SourceKind, ToolClass,
    author::{Environment, EventSink, Tokens},
    register_source,
};

use crate::{
    blocks::{Blocks, is_reminder},
    conversation::Conversation,
    document::{Part, PartKind, Wanted},
    document_reader::{DocumentReader, source_of_documents},
    home::in_home,
    json::{Malformed, Millis, Present, Text, object, parse, parse_head},
};

/// Reads the sessions of Cline's command line and SDK.
#[derive(Debug)]
pub struct ClineSdk(DocumentReader<Conversation>);

static WANTED: Wanted =
    Wanted { lists: &["messages"], members: &["sessionId"], is_loose: false, has_preface: false };

register_source!(ClineSdk);

impl SourceKind for ClineSdk {
    const KIND: &'static str = "cline-sdk";
    const DOCS: &'static str = include_str!("../docs/cline-sdk.md");
    const FILES: &'static [&'static str] = &["*.messages.json"];
    const IS_REWRITTEN: bool = true;

    fn recognizes(path: &Path, head: &[u8]) -> bool {
        let head: Head<'_> = parse_head(head);
        let has_name =
            path.file_name().is_some_and(|it| it.to_string_lossy().ends_with(".messages.json"));
        let is_message = |message: &Message<'_>| message.role.is_some() && message.at.is_some();
        (head.session.is_some() || has_name)
            && head.messages.iter().flatten().next().is_some_and(is_message)
    }

    fn folders(environment: &Environment<'_>) -> Vec<PathBuf> {
        in_home(environment, &[".cline/data/sessions"])
    }

    fn new(path: &Path) -> Self {
        let mut conversation = Conversation::of_rewritten(path).with_classes(class);
        let stem = path.file_stem().map(|stem| stem.to_string_lossy()).unwrap_or_default();
        conversation.identify(stem.strip_suffix(".messages").unwrap_or(&stem));
        Self(DocumentReader::new(&WANTED, conversation, read))
    }
}

object! {
    struct Head<'a> {
        b"sessionId" => session: Present,
        b"messages" => messages: Vec<Message<'a>>,
    }
}

object! {
    struct Message<'a> {
        b"id" => id: Text<'a>,
        b"role" => role: Text<'a>,
        b"ts" => at: Millis,
        b"content" => content: Blocks<'a>,
        b"modelInfo" => model: ModelInfo<'a>,
        b"metrics" => metrics: Metrics,
    }
}

object! {
    struct ModelInfo<'a> {
        b"id" => id: Text<'a>,
    }
}

object! {
    struct Metrics {
        b"inputTokens" => input: u64,
        b"outputTokens" => output: u64,
        b"cacheReadTokens" => cache_read: u64,
        b"cacheWriteTokens" => cache_write: u64,
        b"cost" => cost_usd: f64,
    }
}

source_of_documents!(ClineSdk);

fn read(
    part: &Part<'_>,
    conversation: &mut Conversation,
    sink: &mut EventSink<'_>,
) -> Result<(), Malformed> {
    if let PartKind::Member(_) = part.kind {
        conversation.identify(&part.string()?.unwrap_or_default());
        return Ok(());
    }
    let message: Message<'_> = parse(part.text)?;
    let none = Blocks::default();
    let blocks = message.content.as_ref().unwrap_or(&none);
    conversation.begin(message.at.map(|at| at.0), message.id.map(Text::raw));
    match message.role.ok_or("no role")?.raw() {
        b"user" => conversation.read_prompt(blocks, part.lines(), is_reminder, sink),
        b"assistant" => {
            let response = message.id.map_or_else(|| conversation.entry_id(), Text::boxed);
            if let Some(metrics) = &message.metrics {
                let model = message.model.as_ref().and_then(|model| model.id);
                let call = ModelCall {
                    id: Some(response.clone()),
                    model: model.map(Text::boxed),
                    tokens: metrics.tokens(),
                    cost_usd: metrics.cost_usd,
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

impl Metrics {
    /// Returns the tokens. The input in the file includes cached input.
    fn tokens(&self) -> Tokens {
        let cache_read = self.cache_read.unwrap_or(0);
        let cache_write = self.cache_write.unwrap_or(0);
        Tokens {
            input: self.input.unwrap_or(0).saturating_sub(cache_read).saturating_sub(cache_write),
            output: self.output.unwrap_or(0),
            cache_read,
            cache_write,
            ..Tokens::default()
        }
    }
}

/// Returns the class of a tool whose name is misleading.
fn class(tool: &str) -> Option<ToolClass> {
    match tool {
        "editor" => Some(ToolClass::Write),
        "skills" | "Skill" => Some(ToolClass::Read),
        "attempt_completion" => Some(ToolClass::Other),
        _ => None,
    }
}
