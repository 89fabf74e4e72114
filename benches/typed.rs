//! A reader of session files with `serde_json` and derived types. Reads the members that the
//! sources for Claude Code and Codex read, and does nothing else.

use std::{borrow::Cow, fmt, fs, io, path::PathBuf};

use serde::{
    Deserialize, Deserializer,
    de::{SeqAccess, Visitor},
};
use serde_json::value::RawValue;

/// The argument that makes this program read the files that follow.
pub(crate) const AS_TYPED: &str = "--as-serde-typed";

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Line<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<Cow<'a, str>>,
    #[serde(borrow)]
    uuid: Option<Cow<'a, str>>,
    #[serde(borrow)]
    session_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    request_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    timestamp: Option<Cow<'a, str>>,
    #[serde(borrow)]
    cwd: Option<Cow<'a, str>>,
    #[serde(borrow)]
    version: Option<Cow<'a, str>>,
    is_sidechain: Option<bool>,
    is_meta: Option<bool>,
    #[serde(borrow)]
    message: Option<Message<'a>>,
    #[serde(borrow)]
    tool_use_result: Option<&'a RawValue>,
    #[serde(borrow)]
    payload: Option<Payload<'a>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Message<'a> {
    #[serde(borrow)]
    id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    model: Option<Cow<'a, str>>,
    #[serde(borrow)]
    stop_reason: Option<Cow<'a, str>>,
    usage: Option<Usage>,
    #[serde(borrow)]
    content: Content<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
#[expect(clippy::struct_field_names, reason = "the names of the members")]
struct Usage {
    input_tokens: Option<u64>,
    output_tokens: Option<u64>,
    cache_read_input_tokens: Option<u64>,
    cache_creation_input_tokens: Option<u64>,
    cached_input_tokens: Option<u64>,
    reasoning_output_tokens: Option<u64>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Block<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<Cow<'a, str>>,
    #[serde(borrow)]
    text: Option<Cow<'a, str>>,
    #[serde(borrow)]
    thinking: Option<Cow<'a, str>>,
    #[serde(borrow)]
    id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    name: Option<Cow<'a, str>>,
    #[serde(borrow)]
    input: Option<&'a RawValue>,
    #[serde(borrow)]
    tool_use_id: Option<Cow<'a, str>>,
    is_error: Option<bool>,
    #[serde(borrow)]
    content: Content<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Payload<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<Cow<'a, str>>,
    #[serde(borrow)]
    id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    role: Option<Cow<'a, str>>,
    #[serde(borrow)]
    name: Option<Cow<'a, str>>,
    #[serde(borrow)]
    arguments: Option<Cow<'a, str>>,
    #[serde(borrow)]
    call_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    output: Content<'a>,
    #[serde(borrow)]
    content: Content<'a>,
    info: Option<Info>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Info {
    last_token_usage: Option<Usage>,
    total_token_usage: Option<Usage>,
}

/// A string, a list of blocks, or nothing.
#[derive(Default)]
struct Content<'a> {
    text: Option<Cow<'a, str>>,
    blocks: Vec<Block<'a>>,
}

impl<'de: 'a, 'a> Deserialize<'de> for Content<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextOrBlocks;

        impl<'de> Visitor<'de> for TextOrBlocks {
            type Value = Content<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string or a list of blocks")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Content<'de>, E> {
                Ok(Content { text: Some(text.into()), blocks: Vec::new() })
            }

            fn visit_str<E>(self, text: &str) -> Result<Content<'de>, E> {
                Ok(Content { text: Some(text.to_owned().into()), blocks: Vec::new() })
            }

            fn visit_unit<E>(self) -> Result<Content<'de>, E> {
                Ok(Content::default())
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Content<'de>, A::Error> {
                let mut blocks = Vec::new();
                while let Some(block) = seq.next_element()? {
                    blocks.push(block);
                }
                Ok(Content { text: None, blocks })
            }
        }

        deserializer.deserialize_any(TextOrBlocks)
    }
}

/// Reads files. Returns a sum of the lengths of their members, which no compiler can leave out.
pub(crate) fn read(files: impl Iterator<Item = PathBuf>) -> io::Result<usize> {
    let mut sum = 0;
    for file in files {
        let text = fs::read(file)?;
        for line in text.split(|byte| *byte == b'\n') {
            if let Ok(line) = serde_json::from_slice::<Line<'_>>(line) {
                sum += line.len();
            }
        }
    }
    Ok(sum)
}

fn len(text: Option<&Cow<'_, str>>) -> usize {
    text.map_or(0, |text| text.len())
}

impl Line<'_> {
    fn len(&self) -> usize {
        let texts = [
            &self.kind,
            &self.uuid,
            &self.session_id,
            &self.request_id,
            &self.timestamp,
            &self.cwd,
            &self.version,
        ];
        let own: usize = texts.iter().map(|text| len(text.as_ref())).sum();
        own + usize::from(self.is_sidechain.or(self.is_meta) == Some(true))
            + self.message.as_ref().map_or(0, Message::len)
            + self.tool_use_result.map_or(0, |result| result.get().len())
            + self.payload.as_ref().map_or(0, Payload::len)
    }
}

impl Message<'_> {
    fn len(&self) -> usize {
        let texts = [&self.id, &self.model, &self.stop_reason];
        texts.iter().map(|text| len(text.as_ref())).sum::<usize>()
            + self.usage.as_ref().map_or(0, Usage::sum)
            + self.content.len()
    }
}

impl Usage {
    fn sum(&self) -> usize {
        let counts = [
            self.input_tokens,
            self.output_tokens,
            self.cache_read_input_tokens,
            self.cache_creation_input_tokens,
            self.cached_input_tokens,
            self.reasoning_output_tokens,
        ];
        counts.iter().flatten().filter_map(|count| usize::try_from(*count).ok()).sum()
    }
}

impl Block<'_> {
    fn len(&self) -> usize {
        let texts =
            [&self.kind, &self.text, &self.thinking, &self.id, &self.name, &self.tool_use_id];
        texts.iter().map(|text| len(text.as_ref())).sum::<usize>()
            + self.input.map_or(0, |input| input.get().len())
            + usize::from(self.is_error == Some(true))
            + self.content.len()
    }
}

impl Payload<'_> {
    fn len(&self) -> usize {
        let texts = [&self.kind, &self.id, &self.role, &self.name, &self.arguments, &self.call_id];
        let usage =
            self.info.as_ref().map(|info| [&info.last_token_usage, &info.total_token_usage]);
        texts.iter().map(|text| len(text.as_ref())).sum::<usize>()
            + usage.into_iter().flatten().flatten().map(Usage::sum).sum::<usize>()
            + self.output.len()
            + self.content.len()
    }
}

impl Content<'_> {
    fn len(&self) -> usize {
        len(self.text.as_ref()) + self.blocks.iter().map(Block::len).sum::<usize>()
    }
}
