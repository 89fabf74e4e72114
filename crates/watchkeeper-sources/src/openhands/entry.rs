//! The fields of an event of OpenHands that are used.

use watchkeeper_core::author::Tokens;

use crate::json::{Malformed, Reader, Text, set_once};

/// An event with the fields of both generations.
#[derive(Default)]
pub(super) struct Entry<'a> {
    /// The id as written: a number, or a string with its quotes.
    pub(super) id: Option<&'a [u8]>,
    pub(super) timestamp: Option<Text<'a>>,
    pub(super) source: Option<Text<'a>>,
    /// The kind of event in the SDK.
    pub(super) kind: Option<Text<'a>>,
    /// The kind of event before the SDK.
    pub(super) action: Option<Text<'a>>,
    pub(super) observation: Option<Text<'a>>,
    /// The arguments of a call. In versions without a member for them, the whole event.
    pub(super) arguments: Option<&'a [u8]>,
    pub(super) args: Args<'a>,
    /// The id of the action of an observation.
    pub(super) cause: Option<&'a str>,
    pub(super) outcome: Outcome<'a>,
    /// The model response of a call, and its usage.
    pub(super) response: Option<Text<'a>>,
    pub(super) model: Option<Text<'a>>,
    pub(super) used: Option<Used>,
    /// The total usage so far.
    pub(super) totals: Option<Used>,
    pub(super) tool: Option<Text<'a>>,
    pub(super) call: Option<Text<'a>>,
    /// Arguments that the tool did not understand.
    pub(super) raw_arguments: Option<Text<'a>>,
    pub(super) message: Content<'a>,
    pub(super) reasoning: Option<Text<'a>>,
    /// The error message, or the reason why a call was declined.
    pub(super) error: Option<Text<'a>>,
    pub(super) code: Option<Text<'a>>,
    /// The key of an update of the state of a conversation.
    pub(super) key: Option<Text<'a>>,
    pub(super) value: Option<&'a [u8]>,
    // Fields of a call by another agent, through the Agent Client Protocol.
    pub(super) status: Option<Text<'a>>,
    pub(super) tool_kind: Option<Text<'a>>,
    pub(super) title: Option<Text<'a>>,
    pub(super) parent_call: Option<Text<'a>>,
    pub(super) raw_output: Option<&'a [u8]>,
}

/// The arguments of an action.
#[derive(Default)]
pub(super) struct Args<'a> {
    pub(super) content: Option<Text<'a>>,
    pub(super) thought: Option<Text<'a>>,
    pub(super) final_thought: Option<Text<'a>>,
    pub(super) message: Option<Text<'a>>,
    pub(super) command: Option<Text<'a>>,
    pub(super) code: Option<Text<'a>>,
    pub(super) name: Option<Text<'a>>,
    pub(super) version: Option<Text<'a>>,
    pub(super) waits: bool,
}

/// The outcome of an action.
#[derive(Default)]
pub(super) struct Outcome<'a> {
    pub(super) content: Content<'a>,
    /// The offset of the content.
    pub(super) at: usize,
    pub(super) exit_code: Option<i32>,
    /// The text that the terminal appended to the output.
    pub(super) suffix: Option<Text<'a>>,
    pub(super) is_error: bool,
    pub(super) has_timed_out: bool,
    /// The state of the agent.
    pub(super) state: Option<Text<'a>>,
    pub(super) reason: Option<Text<'a>>,
}

/// Text of one or several parts.
#[derive(Default)]
pub(super) struct Content<'a>(Vec<Text<'a>>);

/// The usage of model responses.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Used {
    /// Input tokens, with or without a cache.
    prompt: u64,
    cache_read: u64,
    cache_write: u64,
    completion: u64,
    reasoning: u64,
    cost_usd: f64,
}

impl Used {
    pub(super) fn tokens(self) -> Tokens {
        let cached = self.cache_read.saturating_add(self.cache_write);
        // Some providers include cached tokens in the input, and some do not.
        let input = self.prompt.checked_sub(cached).unwrap_or(self.prompt);
        Tokens {
            input,
            cache_read: self.cache_read,
            cache_write: self.cache_write,
            output: self.completion,
            reasoning: self.reasoning.min(self.completion),
            cache_write_1h: 0,
        }
    }

    /// Returns the difference to the earlier totals, or all if the totals were reset.
    pub(super) fn since(self, earlier: Self) -> Self {
        if self.prompt < earlier.prompt || self.completion < earlier.completion {
            return self;
        }
        Self {
            prompt: self.prompt - earlier.prompt,
            cache_read: self.cache_read.saturating_sub(earlier.cache_read),
            cache_write: self.cache_write.saturating_sub(earlier.cache_write),
            completion: self.completion - earlier.completion,
            reasoning: self.reasoning.saturating_sub(earlier.reasoning),
            cost_usd: (self.cost_usd - earlier.cost_usd).max(0.0),
        }
    }

    /// Reads the usage of a response, in the format of the provider or of OpenHands.
    pub(super) fn read(&mut self, reader: &mut Reader<'_>) -> Result<(), Malformed> {
        reader.object(|reader, key| {
            let mut count = || -> Result<u64, Malformed> { Ok(reader.count()?.unwrap_or(0)) };
            match key {
                b"prompt_tokens" => self.prompt = count()?,
                b"completion_tokens" => self.completion = count()?,
                b"cache_read_tokens" | b"cache_read_input_tokens" => {
                    self.cache_read = self.cache_read.max(count()?);
                }
                b"cache_write_tokens" | b"cache_creation_input_tokens" => {
                    self.cache_write = count()?;
                }
                b"reasoning_tokens" => self.reasoning = count()?,
                b"prompt_tokens_details" | b"completion_tokens_details" => {
                    reader.object(|reader, key| {
                        let n = reader.count()?.unwrap_or(0);
                        match key {
                            b"cached_tokens" => self.cache_read = self.cache_read.max(n),
                            b"reasoning_tokens" => self.reasoning = n,
                            _ => {}
                        }
                        Ok(())
                    })?;
                }
                _ => reader.pass()?,
            }
            Ok(())
        })?;
        Ok(())
    }

    /// Reads total usage. Returns the totals and the model.
    pub(super) fn read_totals<'a>(
        reader: &mut Reader<'a>,
    ) -> Result<(Option<Self>, Option<Text<'a>>), Malformed> {
        let (mut totals, mut model) = (Self::default(), None);
        let is_object = reader.object(|reader, key| {
            match key {
                b"accumulated_cost" => totals.cost_usd = cost(reader)?,
                b"accumulated_token_usage" => totals.read(reader)?,
                b"model_name" => set_once(&mut model, reader.text()?),
                _ => reader.pass()?,
            }
            Ok(())
        })?;
        Ok((is_object.then_some(totals), model))
    }

    /// Returns the cost in US dollars, if it is known.
    pub(super) fn cost_usd(self) -> Option<f64> {
        Some(self.cost_usd).filter(|it| 0.0 < *it)
    }

    /// Sets the cost in US dollars.
    pub(super) fn at_cost(self, cost_usd: f64) -> Self {
        Self { cost_usd, ..self }
    }

    /// Returns whether tokens were counted. Early versions do not count them.
    pub(super) fn has_tokens(self) -> bool {
        0 < self.prompt || 0 < self.completion
    }
}

/// Reads a cost in US dollars.
pub(super) fn cost(reader: &mut Reader<'_>) -> Result<f64, Malformed> {
    let cost: Option<f64> = reader.number()?.and_then(|it| it.parse().ok());
    Ok(cost.filter(|it| it.is_finite() && 0.0 <= *it).unwrap_or(0.0))
}

impl<'a> Entry<'a> {
    pub(super) fn read(text: &'a [u8]) -> Result<Self, Malformed> {
        let mut entry = Self::default();
        let mut reader = Reader::new(text);
        let is_object = reader.object(|reader, key| entry.read_member(reader, key))?;
        reader.end()?;
        if !is_object {
            return Err("not a JSON object");
        }
        if entry.arguments.is_none() && entry.action.is_some() {
            entry.arguments = Some(text);
            entry.args.read(&mut Reader::new(text))?;
        }
        Ok(entry)
    }

    fn read_member(&mut self, reader: &mut Reader<'a>, key: &[u8]) -> Result<(), Malformed> {
        match key {
            b"id" => set_once(&mut self.id, Some(reader.skip()?)),
            b"timestamp" => set_once(&mut self.timestamp, reader.text()?),
            b"source" => set_once(&mut self.source, reader.text()?),
            b"kind" => set_once(&mut self.kind, reader.text()?),
            b"action" if reader.peek()? == b'"' => set_once(&mut self.action, reader.text()?),
            b"action" | b"args" => {
                let raw = reader.skip()?;
                if raw.starts_with(b"{") && self.arguments.is_none() {
                    self.arguments = Some(raw);
                    self.args.read(&mut Reader::new(raw))?;
                }
            }
            b"raw_input" => set_once(&mut self.arguments, Some(reader.skip()?)),
            b"observation" if reader.peek()? == b'"' => {
                set_once(&mut self.observation, reader.text()?);
            }
            b"observation" | b"extras" => {
                reader.object(|reader, key| self.outcome.read_member(reader, key))?;
            }
            b"content" | b"exit_code" | b"is_error" => self.outcome.read_member(reader, key)?,
            b"cause" => set_once(&mut self.cause, reader.number()?),
            b"tool_call_metadata" => {
                reader.object(|reader, key| self.read_metadata(reader, key))?;
            }
            b"llm_metrics" => self.totals = Used::read_totals(reader)?.0,
            b"tool_name" => set_once(&mut self.tool, reader.text()?),
            b"tool_call_id" => set_once(&mut self.call, reader.text()?),
            b"tool_call" => {
                reader.object(|reader, key| {
                    match key {
                        b"arguments" => set_once(&mut self.raw_arguments, reader.text()?),
                        _ => reader.pass()?,
                    }
                    Ok(())
                })?;
            }
            b"llm_response_id" => set_once(&mut self.response, reader.text()?),
            b"thought" => self.message.read(reader)?,
            b"reasoning_content" => set_once(&mut self.reasoning, reader.text()?),
            b"llm_message" => {
                reader.object(|reader, key| {
                    match key {
                        b"content" => self.message.read(reader)?,
                        b"reasoning_content" => set_once(&mut self.reasoning, reader.text()?),
                        _ => reader.pass()?,
                    }
                    Ok(())
                })?;
            }
            b"error" | b"detail" | b"rejection_reason" => set_once(&mut self.error, reader.text()?),
            b"code" => set_once(&mut self.code, reader.text()?),
            b"key" => set_once(&mut self.key, reader.text()?),
            b"value" => set_once(&mut self.value, Some(reader.skip()?)),
            b"status" => set_once(&mut self.status, reader.text()?),
            b"tool_kind" => set_once(&mut self.tool_kind, reader.text()?),
            b"title" => set_once(&mut self.title, reader.text()?),
            b"parent_tool_call_id" => set_once(&mut self.parent_call, reader.text()?),
            b"raw_output" => set_once(&mut self.raw_output, Some(reader.skip()?)),
            _ => reader.pass()?,
        }
        Ok(())
    }

    /// Reads the model response of a call.
    fn read_metadata(&mut self, reader: &mut Reader<'a>, key: &[u8]) -> Result<(), Malformed> {
        match key {
            b"function_name" => set_once(&mut self.tool, reader.text()?),
            b"model_response" => {
                reader.object(|reader, key| {
                    match key {
                        b"id" => set_once(&mut self.response, reader.text()?),
                        b"model" => set_once(&mut self.model, reader.text()?),
                        b"usage" => self.used.get_or_insert_default().read(reader)?,
                        _ => reader.pass()?,
                    }
                    Ok(())
                })?;
            }
            _ => reader.pass()?,
        }
        Ok(())
    }
}

impl<'a> Args<'a> {
    fn read(&mut self, reader: &mut Reader<'a>) -> Result<(), Malformed> {
        reader.object(|reader, key| {
            match key {
                b"content" => set_once(&mut self.content, reader.text()?),
                b"thought" => set_once(&mut self.thought, reader.text()?),
                b"final_thought" => set_once(&mut self.final_thought, reader.text()?),
                b"message" => set_once(&mut self.message, reader.text()?),
                b"command" => set_once(&mut self.command, reader.text()?),
                b"code" => set_once(&mut self.code, reader.text()?),
                b"name" => set_once(&mut self.name, reader.text()?),
                b"openhands_version" => set_once(&mut self.version, reader.text()?),
                b"wait_for_response" => self.waits |= reader.flag()? == Some(true),
                _ => reader.pass()?,
            }
            Ok(())
        })?;
        Ok(())
    }
}

impl<'a> Outcome<'a> {
    fn read_member(&mut self, reader: &mut Reader<'a>, key: &[u8]) -> Result<(), Malformed> {
        match key {
            b"content" | b"output" | b"result" => {
                reader.peek()?;
                if self.content.is_empty() {
                    self.at = reader.here();
                }
                self.content.read(reader)?;
            }
            b"exit_code" => self.read_exit_code(reader)?,
            b"metadata" => {
                reader.object(|reader, key| {
                    match key {
                        b"exit_code" => self.read_exit_code(reader)?,
                        b"suffix" => set_once(&mut self.suffix, reader.text()?),
                        _ => reader.pass()?,
                    }
                    Ok(())
                })?;
            }
            // A flag, or an error message.
            b"error" if reader.peek()? == b'"' => {
                let text = reader.text()?.filter(|it| !it.raw().is_empty());
                self.is_error |= text.is_some();
                if self.content.is_empty() {
                    self.content.0.extend(text);
                }
            }
            b"error" | b"is_error" => self.is_error |= reader.flag()? == Some(true),
            b"timeout" => self.has_timed_out |= reader.flag()? == Some(true),
            b"agent_state" => set_once(&mut self.state, reader.text()?),
            b"reason" => set_once(&mut self.reason, reader.text()?),
            _ => reader.pass()?,
        }
        Ok(())
    }

    fn read_exit_code(&mut self, reader: &mut Reader<'_>) -> Result<(), Malformed> {
        let code = reader.number()?.and_then(|it| it.parse().ok());
        set_once(&mut self.exit_code, code);
        Ok(())
    }
}

impl<'a> Content<'a> {
    fn read(&mut self, reader: &mut Reader<'a>) -> Result<(), Malformed> {
        if reader.peek()? == b'[' {
            reader.array(|reader| self.read_part(reader))?;
            return Ok(());
        }
        self.0.extend(reader.text()?);
        Ok(())
    }

    fn read_part(&mut self, reader: &mut Reader<'a>) -> Result<(), Malformed> {
        if reader.peek()? == b'"' {
            self.0.extend(reader.text()?);
            return Ok(());
        }
        let mut text = None;
        reader.object(|reader, key| {
            match key {
                b"text" => set_once(&mut text, reader.text()?),
                _ => reader.pass()?,
            }
            Ok(())
        })?;
        self.0.extend(text);
        Ok(())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.iter().all(|it| it.raw().is_empty())
    }

    pub(super) fn boxed(&self) -> Box<str> {
        match self.0.as_slice() {
            [text] => text.boxed(),
            texts => texts.iter().map(|it| it.read()).collect::<Vec<_>>().join("\n").into(),
        }
    }
}
