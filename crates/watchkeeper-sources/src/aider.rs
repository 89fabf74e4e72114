//! Aider: the chat history of a project, in Markdown.

use std::{mem, path::Path};

use watchkeeper_core::{
    ModelCall, Source, SourceKind,
    author::{EventSink, Tokens},
    register_source,
};

use crate::{conversation::Conversation, lines::first_line};

/// Reads the chat histories of Aider.
#[derive(Debug)]
pub struct Aider {
    /// The name of the folder, which is a part of the names of the sessions.
    project: Box<str>,
    conversation: Conversation,
    model: Option<Box<str>>,
    /// The lines of the text that is being read.
    text: String,
    first_line: u64,
    block: Block,
    /// Usage whose cost may follow in the next line.
    usage: Option<ModelCall>,
    /// Whether the model has responded since the latest prompt.
    has_response: bool,
}

/// The author of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Block {
    Prompt,
    Response,
}

/// The beginning of a session.
const START: &str = "# aider chat started at ";
/// The beginning of the cost of a response.
const COST: &str = "Cost: $";
/// The longest text of a prompt or a response, in bytes. The rest is not read.
const MAX_TEXT: usize = 1 << 20;

register_source!(Aider);

impl SourceKind for Aider {
    const KIND: &'static str = "aider";
    const DOCS: &'static str = include_str!("../docs/aider.md");
    const FILES: &'static [&'static str] = &[".aider.chat.history.md"];

    fn recognizes(_path: &Path, head: &[u8]) -> bool {
        first_line(head).starts_with(START.as_bytes())
    }

    fn new(path: &Path) -> Self {
        let project = path.parent().and_then(Path::file_name);
        Self {
            project: project.map(|name| name.to_string_lossy().into()).unwrap_or_default(),
            conversation: Conversation::new(path),
            model: None,
            text: String::new(),
            first_line: 0,
            block: Block::Response,
            usage: None,
            has_response: false,
        }
    }
}

impl Source for Aider {
    fn read_line(&mut self, line: &[u8], sink: &mut EventSink<'_>) {
        let line = String::from_utf8_lossy(line);
        let line = line.trim_end();
        if let (Some(usage), Some(cost)) = (&mut self.usage, line.strip_prefix(COST)) {
            usage.cost_usd = cost_of(cost);
            self.end_usage(sink);
        } else if let Some(time) = line.strip_prefix(START) {
            self.end_turn(sink);
            // Its time is the only one in the session.
            self.conversation = Conversation::new(Path::new(""));
            self.model = None;
            self.conversation.identify(format!("{} {time}", self.project).trim_start());
        } else if let Some(text) = line.strip_prefix("####") {
            if self.block != Block::Prompt {
                self.end_turn(sink);
                self.block = Block::Prompt;
            }
            self.add(text.strip_prefix(' ').unwrap_or(text), sink);
        } else if let Some(note) = line.strip_prefix("> ") {
            self.end_block(sink);
            self.read_note(note, sink);
        } else if line == ">" {
            self.end_block(sink);
        } else {
            if self.block != Block::Response {
                self.end_block(sink);
            }
            self.add(line, sink);
        }
    }

    fn finish(&mut self, sink: &mut EventSink<'_>) {
        self.end_turn(sink);
    }

    fn pause(&mut self, sink: &mut EventSink<'_>) {
        self.end_turn(sink);
    }
}

impl Aider {
    fn add(&mut self, line: &str, sink: &EventSink<'_>) {
        if self.text.trim().is_empty() {
            self.first_line = sink.line();
        }
        if self.text.len() + line.len() < MAX_TEXT {
            self.text.push_str(line);
            self.text.push('\n');
        }
    }

    /// Reads an output of Aider. Few of them concern the model.
    fn read_note(&mut self, note: &str, sink: &mut EventSink<'_>) {
        let model = note.strip_prefix("Main model: ").or_else(|| note.strip_prefix("Model: "));
        if let Some((model, _)) = model.and_then(|model| model.split_once(" with ")) {
            self.model = Some(model.into());
            self.conversation.start.model = self.model.clone();
        } else if let Some(usage) = note.strip_prefix("Tokens: ") {
            self.read_usage(usage, sink);
        }
    }

    fn read_usage(&mut self, usage: &str, sink: &mut EventSink<'_>) {
        let (counts, cost) = usage.split_once(COST).unwrap_or((usage, ""));
        let call = ModelCall {
            model: self.model.clone(),
            tokens: tokens(counts),
            cost_usd: cost_of(cost),
            ..ModelCall::default()
        };
        let is_complete = call.cost_usd.is_some();
        self.usage = Some(call);
        if is_complete {
            self.end_usage(sink);
        }
    }

    /// Emits the usage that was read, if there is one.
    fn end_usage(&mut self, sink: &mut EventSink<'_>) {
        if let Some(usage) = self.usage.take() {
            self.has_response = true;
            self.conversation.begin(None, None);
            self.conversation.usage(usage, sink);
        }
    }

    /// Emits the usage and the text that were read. A response may follow.
    fn end_block(&mut self, sink: &mut EventSink<'_>) {
        self.end_usage(sink);
        let text = mem::take(&mut self.text);
        let text = text.trim();
        let block = mem::replace(&mut self.block, Block::Response);
        if text.is_empty() || block == Block::Prompt && is_command(text) {
            return;
        }
        let line = sink.line();
        sink.at_line(self.first_line);
        self.conversation.begin(None, None);
        match block {
            Block::Prompt => self.conversation.prompt(text, false, sink),
            Block::Response => {
                self.has_response = true;
                self.conversation.message(text, sink);
            }
        }
        sink.at_line(line);
    }

    /// Ends the turn if the model has responded.
    fn end_turn(&mut self, sink: &mut EventSink<'_>) {
        self.end_block(sink);
        if mem::take(&mut self.has_response) {
            self.conversation.turn_end(sink);
        }
    }
}

/// Returns whether a prompt is a command such as `/add a.py`. Some commands ask the model.
fn is_command(text: &str) -> bool {
    const OF_MODEL: &[&str] = &["/ask ", "/code ", "/architect ", "/context "];
    text.starts_with(['/', '!']) && !OF_MODEL.iter().any(|command| text.starts_with(command))
}

/// Returns the cost in a text such as `0.05 message, $0.21 session.`.
fn cost_of(text: &str) -> Option<f64> {
    let cost: f64 = text.split(' ').next()?.parse().ok()?;
    Some(cost).filter(|cost| cost.is_finite() && 0.0 <= *cost)
}

/// Returns the tokens in a text such as `12k sent, 3.4k cache hit, 1.1k received.`.
fn tokens(counts: &str) -> Tokens {
    let mut tokens = Tokens::default();
    for part in counts.trim_end().trim_end_matches('.').split(", ") {
        let Some((number, class)) = part.split_once(' ') else { continue };
        let slot = match class {
            "sent" => &mut tokens.input,
            "cache write" => &mut tokens.cache_write,
            "cache hit" => &mut tokens.cache_read,
            "received" => &mut tokens.output,
            _ => continue,
        };
        *slot = count(number).unwrap_or(0);
    }
    // The sent tokens include those of the cache.
    let cached = tokens.cache_read.saturating_add(tokens.cache_write);
    Tokens { input: tokens.input.saturating_sub(cached), ..tokens }
}

/// Returns the number in a text such as `950`, `1.1k` or `12k`.
fn count(text: &str) -> Option<u64> {
    let Some(thousands) = text.strip_suffix('k') else { return text.parse().ok() };
    let (whole, tenth) = thousands.split_once('.').unwrap_or((thousands, "0"));
    let (whole, tenth): (u64, u64) = (whole.parse().ok()?, tenth.parse().ok()?);
    (tenth < 10).then(|| whole.saturating_mul(1000).saturating_add(tenth * 100))
}

#[cfg(test)]
mod tests {
    use super::{count, is_command};

    #[test]
    fn reads_rounded_numbers() {
        let numbers = ["950", "1.1k", "12k", "1.23k", "k", "x", "99999999999999999999"];
        let expected = [Some(950), Some(1100), Some(12_000), None, None, None, None];
        assert_eq!(numbers.map(count), expected);
    }

    #[test]
    fn a_command_is_no_prompt() {
        let texts = ["/add a.py", "!make", "/ask why?", "fix /tmp"];
        assert_eq!(texts.map(is_command), [true, true, false, false]);
    }
}
