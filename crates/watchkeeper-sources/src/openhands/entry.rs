//! What an event of OpenHands holds, as far as it is wanted.

use watchkeeper_core::Tokens;

use crate::json::{Malformed, Reader, Text, keep};

/// An event, with the fields of both generations.
#[derive(Default)]
pub(super) struct Entry<'a> {
    /// As it is written: a number, or a string in quotes.
    pub(super) id: Option<&'a [u8]>,
    pub(super) timestamp: Option<Text<'a>>,
    pub(super) source: Option<Text<'a>>,
    /// What it is in the SDK.
    pub(super) kind: Option<Text<'a>>,
    /// What it is before the SDK.
    pub(super) action: Option<Text<'a>>,
    pub(super) observation: Option<Text<'a>>,
    /// What was asked of a tool; before there was a member for it, the whole
    /// event said so.
    pub(super) arguments: Option<&'a [u8]>,
    pub(super) args: Args<'a>,
    /// The event that an observation answers.
    pub(super) cause: Option<&'a str>,
    pub(super) outcome: Outcome<'a>,
    /// The answer of the model that made a call, and what it used.
    pub(super) response: Option<Text<'a>>,
    pub(super) model: Option<Text<'a>>,
    pub(super) used: Option<Used>,
    /// What all answers used up to here.
    pub(super) totals: Option<Used>,
    pub(super) tool: Option<Text<'a>>,
    pub(super) call: Option<Text<'a>>,
    /// What the model gave a tool that did not understand it.
    pub(super) raw_arguments: Option<Text<'a>>,
    pub(super) message: Content<'a>,
    pub(super) reasoning: Option<Text<'a>>,
    /// What went wrong, or why a call was declined.
    pub(super) error: Option<Text<'a>>,
    pub(super) code: Option<Text<'a>>,
    /// What of the state of a conversation is told.
    pub(super) key: Option<Text<'a>>,
    pub(super) value: Option<&'a [u8]>,
    // Of a call that another agent made, through the Agent Client Protocol.
    pub(super) status: Option<Text<'a>>,
    pub(super) tool_kind: Option<Text<'a>>,
    pub(super) title: Option<Text<'a>>,
    pub(super) parent_call: Option<Text<'a>>,
    pub(super) raw_output: Option<&'a [u8]>,
}

/// What an action is given.
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

/// What came of an action.
#[derive(Default)]
pub(super) struct Outcome<'a> {
    /// What it says, and where that stands.
    pub(super) content: Content<'a>,
    pub(super) at: usize,
    pub(super) exit_code: Option<i32>,
    /// What the terminal added to the output.
    pub(super) suffix: Option<Text<'a>>,
    pub(super) is_error: bool,
    pub(super) has_timed_out: bool,
    /// The state that the agent is in.
    pub(super) state: Option<Text<'a>>,
    pub(super) reason: Option<Text<'a>>,
}

/// Text that is written in one piece or in several.
#[derive(Default)]
pub(super) struct Content<'a>(Vec<Text<'a>>);

/// What the answers of a model used.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Used {
    /// Read, whether from a cache or not.
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
        // Some providers count what was cached as well, and some count it apart.
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

    /// What was used since `earlier`, when these are totals; all, where they
    /// began anew.
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

    /// Reads what an answer used: as the provider says it, or as OpenHands does.
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

    /// Reads the totals of all answers. Says which model they are of.
    pub(super) fn read_totals<'a>(
        reader: &mut Reader<'a>,
    ) -> Result<(Option<Self>, Option<Text<'a>>), Malformed> {
        let (mut res, mut model) = (Self::default(), None);
        let is_object = reader.object(|reader, key| {
            match key {
                b"accumulated_cost" => res.cost_usd = cost(reader)?,
                b"accumulated_token_usage" => res.read(reader)?,
                b"model_name" => keep(&mut model, reader.text()?),
                _ => reader.pass()?,
            }
            Ok(())
        })?;
        Ok((is_object.then_some(res), model))
    }

    /// US dollars, if that is known.
    pub(super) fn cost_usd(self) -> Option<f64> {
        Some(self.cost_usd).filter(|it| 0.0 < *it)
    }

    /// The same, for another price.
    pub(super) fn at_cost(self, cost_usd: f64) -> Self {
        Self { cost_usd, ..self }
    }

    /// Whether tokens were counted, which early versions did not do.
    pub(super) fn has_tokens(self) -> bool {
        0 < self.prompt || 0 < self.completion
    }
}

/// Reads US dollars.
pub(super) fn cost(reader: &mut Reader<'_>) -> Result<f64, Malformed> {
    let cost: Option<f64> = reader.number()?.and_then(|it| it.parse().ok());
    Ok(cost.filter(|it| it.is_finite() && 0.0 <= *it).unwrap_or(0.0))
}

impl<'a> Entry<'a> {
    pub(super) fn read(text: &'a [u8]) -> Result<Self, Malformed> {
        let mut res = Self::default();
        let mut reader = Reader::new(text);
        let is_object = reader.object(|reader, key| res.read_member(reader, key))?;
        reader.end()?;
        if !is_object {
            return Err("not a JSON object");
        }
        if res.arguments.is_none() && res.action.is_some() {
            res.arguments = Some(text);
            res.args.read(&mut Reader::new(text))?;
        }
        Ok(res)
    }

    fn read_member(&mut self, reader: &mut Reader<'a>, key: &[u8]) -> Result<(), Malformed> {
        match key {
            b"id" => keep(&mut self.id, Some(reader.skip()?)),
            b"timestamp" => keep(&mut self.timestamp, reader.text()?),
            b"source" => keep(&mut self.source, reader.text()?),
            b"kind" => keep(&mut self.kind, reader.text()?),
            b"action" if reader.peek()? == b'"' => keep(&mut self.action, reader.text()?),
            b"action" | b"args" => {
                let raw = reader.skip()?;
                if raw.starts_with(b"{") && self.arguments.is_none() {
                    self.arguments = Some(raw);
                    self.args.read(&mut Reader::new(raw))?;
                }
            }
            b"raw_input" => keep(&mut self.arguments, Some(reader.skip()?)),
            b"observation" if reader.peek()? == b'"' => {
                keep(&mut self.observation, reader.text()?);
            }
            b"observation" | b"extras" => {
                reader.object(|reader, key| self.outcome.read_member(reader, key))?;
            }
            b"content" | b"exit_code" | b"is_error" => self.outcome.read_member(reader, key)?,
            b"cause" => keep(&mut self.cause, reader.number()?),
            b"tool_call_metadata" => {
                reader.object(|reader, key| self.read_metadata(reader, key))?;
            }
            b"llm_metrics" => self.totals = Used::read_totals(reader)?.0,
            b"tool_name" => keep(&mut self.tool, reader.text()?),
            b"tool_call_id" => keep(&mut self.call, reader.text()?),
            b"tool_call" => {
                reader.object(|reader, key| {
                    match key {
                        b"arguments" => keep(&mut self.raw_arguments, reader.text()?),
                        _ => reader.pass()?,
                    }
                    Ok(())
                })?;
            }
            b"llm_response_id" => keep(&mut self.response, reader.text()?),
            b"thought" => self.message.read(reader)?,
            b"reasoning_content" => keep(&mut self.reasoning, reader.text()?),
            b"llm_message" => {
                reader.object(|reader, key| {
                    match key {
                        b"content" => self.message.read(reader)?,
                        b"reasoning_content" => keep(&mut self.reasoning, reader.text()?),
                        _ => reader.pass()?,
                    }
                    Ok(())
                })?;
            }
            b"error" | b"detail" | b"rejection_reason" => keep(&mut self.error, reader.text()?),
            b"code" => keep(&mut self.code, reader.text()?),
            b"key" => keep(&mut self.key, reader.text()?),
            b"value" => keep(&mut self.value, Some(reader.skip()?)),
            b"status" => keep(&mut self.status, reader.text()?),
            b"tool_kind" => keep(&mut self.tool_kind, reader.text()?),
            b"title" => keep(&mut self.title, reader.text()?),
            b"parent_tool_call_id" => keep(&mut self.parent_call, reader.text()?),
            b"raw_output" => keep(&mut self.raw_output, Some(reader.skip()?)),
            _ => reader.pass()?,
        }
        Ok(())
    }

    /// Reads which answer of the model made a call.
    fn read_metadata(&mut self, reader: &mut Reader<'a>, key: &[u8]) -> Result<(), Malformed> {
        match key {
            b"function_name" => keep(&mut self.tool, reader.text()?),
            b"model_response" => {
                reader.object(|reader, key| {
                    match key {
                        b"id" => keep(&mut self.response, reader.text()?),
                        b"model" => keep(&mut self.model, reader.text()?),
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
                b"content" => keep(&mut self.content, reader.text()?),
                b"thought" => keep(&mut self.thought, reader.text()?),
                b"final_thought" => keep(&mut self.final_thought, reader.text()?),
                b"message" => keep(&mut self.message, reader.text()?),
                b"command" => keep(&mut self.command, reader.text()?),
                b"code" => keep(&mut self.code, reader.text()?),
                b"name" => keep(&mut self.name, reader.text()?),
                b"openhands_version" => keep(&mut self.version, reader.text()?),
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
                        b"suffix" => keep(&mut self.suffix, reader.text()?),
                        _ => reader.pass()?,
                    }
                    Ok(())
                })?;
            }
            // A flag, or what went wrong.
            b"error" if reader.peek()? == b'"' => {
                let text = reader.text()?.filter(|it| !it.raw().is_empty());
                self.is_error |= text.is_some();
                if self.content.is_empty() {
                    self.content.0.extend(text);
                }
            }
            b"error" | b"is_error" => self.is_error |= reader.flag()? == Some(true),
            b"timeout" => self.has_timed_out |= reader.flag()? == Some(true),
            b"agent_state" => keep(&mut self.state, reader.text()?),
            b"reason" => keep(&mut self.reason, reader.text()?),
            _ => reader.pass()?,
        }
        Ok(())
    }

    fn read_exit_code(&mut self, reader: &mut Reader<'_>) -> Result<(), Malformed> {
        let code = reader.number()?.and_then(|it| it.parse().ok());
        keep(&mut self.exit_code, code);
        Ok(())
    }
}

impl<'a> Content<'a> {
    fn read(&mut self, reader: &mut Reader<'a>) -> Result<(), Malformed> {
        if reader.peek()? == b'[' {
            reader.array(|reader| self.read_piece(reader))?;
            return Ok(());
        }
        self.0.extend(reader.text()?);
        Ok(())
    }

    fn read_piece(&mut self, reader: &mut Reader<'a>) -> Result<(), Malformed> {
        if reader.peek()? == b'"' {
            self.0.extend(reader.text()?);
            return Ok(());
        }
        let mut text = None;
        reader.object(|reader, key| {
            match key {
                b"text" => keep(&mut text, reader.text()?),
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
