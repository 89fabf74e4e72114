//! The members of a line that are used.

use watchkeeper_core::author::Tokens;

use crate::{
    content::Content,
    json::{
        FromJson, Malformed, Number, Present, Raw, RawText, Reader, Text, Values, object,
        push_element, read_value,
    },
};

object! {
    /// A line.
    pub(super) struct Line<'a> {
        b"type" => kind: Text<'a>,
        b"subtype" => subtype: Text<'a>,
        b"uuid" => uuid: Text<'a>,
        b"leafUuid" => leaf: Text<'a>,
        b"sessionId" => session: Text<'a>,
        b"agentId" | b"agent_id" => agent: Text<'a>,
        b"requestId" | b"request_id" => request: Text<'a>,
        b"timestamp" => timestamp: Text<'a>,
        b"cwd" => cwd: Text<'a>,
        b"version" => version: Text<'a>,
        b"isSidechain" => is_sidechain: bool,
        b"isMeta" => is_meta: bool,
        b"isCompactSummary" => is_summary: bool,
        b"isApiErrorMessage" => is_api_error: bool,
        b"origin" => origin: Origin<'a>,
        b"toolDenialKind" => denial_kind: Text<'a>,
        b"permissionDecision" => permission: Permission<'a>,
        b"message" => message: Message<'a>,
        b"attachment" => attachment: Attachment<'a>,
        /// The result in the format of its tool.
        b"toolUseResult" | b"tool_use_result" => tool_use_result: Raw<'a>,
        b"error" => error: ErrorText<'a>,
        b"retryAttempt" | b"attempt" => retry: u64,
        b"compactMetadata" | b"compact_metadata" => compaction: Compaction<'a>,
        // The totals of a session.
        b"startTime" => start_time: u64,
        b"totalDuration" => total_duration: u64,
        b"totalCostUSD" | b"total_cost_usd" => total_cost: Number<'a>,
        b"modelUsage" => model_usage: Values<'a, ModelUsage>,
        // The progress of a call.
        b"parentToolUseID" => parent_call: Text<'a>,
        b"data" => progress: Progress<'a>,
        // Members of a stream.
        b"session_id" => stream: Text<'a>,
        b"claude_code_version" => stream_version: Text<'a>,
        b"model" => model: Text<'a>,
        b"parent_tool_use_id" => delegation: Text<'a>,
        b"task_id" => task: Text<'a>,
        b"status" => status: Text<'a>,
        /// Members of another agent with similar lines.
        b"payload" | b"systemPayload" | b"role" => foreign: Present,
    }
}

object! {
    /// The origin of a prompt.
    pub(super) struct Origin<'a> {
        b"kind" => kind: Text<'a>,
    }
}

object! {
    /// The decision about the permission for a call.
    pub(super) struct Permission<'a> {
        b"decision" => decision: Text<'a>,
        b"source" => source: Text<'a>,
    }
}

object! {
    pub(super) struct Compaction<'a> {
        b"preTokens" | b"pre_tokens" => before_tokens: u64,
        b"postTokens" | b"post_tokens" => after_tokens: u64,
        b"trigger" => trigger: Text<'a>,
    }
}

object! {
    pub(super) struct Attachment<'a> {
        b"type" => kind: Text<'a>,
        b"prompt" => prompt: Content<'a>,
    }
}

object! {
    /// The progress of a call, or a line of a sub-agent in a line of the agent that waits for
    /// it.
    pub(super) struct Progress<'a> {
        b"type" => kind: Text<'a>,
        b"agentId" => agent: Text<'a>,
        b"message" => line: Box<Line<'a>>,
    }
}

object! {
    pub(super) struct Message<'a> {
        b"id" => id: Text<'a>,
        b"model" => model: Text<'a>,
        b"stop_reason" => stop_reason: Text<'a>,
        b"usage" => usage: Usage<'a>,
        b"content" => blocks: Blocks<'a>,
        /// A member of another agent.
        b"parts" => foreign: Present,
    }
}

/// The blocks of a message. A string is a block of text.
#[derive(Debug, Default)]
pub(super) struct Blocks<'a>(pub(super) Vec<Block<'a>>);

object! {
    /// A block of a message: text, thinking, a call or a result.
    pub(super) struct Block<'a> {
        b"type" => kind: Text<'a>,
        b"text" => text: Text<'a>,
        b"thinking" => thinking: Text<'a>,
        // Members of a call.
        b"id" => id: Text<'a>,
        b"name" => name: Text<'a>,
        b"input" => input: RawText<'a>,
        // Members of a result.
        b"tool_use_id" => call: Text<'a>,
        b"is_error" => is_error: bool,
        b"content" => content: Content<'a>,
    }
}

object! {
    /// The usage of a response, or of one of its iterations.
    pub(super) struct Usage<'a> {
        b"type" => kind: Text<'a>,
        b"model" => model: Text<'a>,
        b"speed" => speed: Text<'a>,
        b"input_tokens" => input: u64,
        b"output_tokens" => output: u64,
        b"output_tokens_details" => output_details: OutputDetails,
        b"cache_read_input_tokens" => cache_read: u64,
        b"cache_creation_input_tokens" => cache_write: u64,
        b"cache_creation" => cache_creation: CacheCreation,
        b"server_tool_use" => server_tools: ServerTools,
        b"iterations" => advisors: Advisors<'a>,
    }
}

/// The iterations of a response that are calls of another model. The usage of the response does
/// not include them.
#[derive(Debug, Default)]
pub(super) struct Advisors<'a>(Vec<Usage<'a>>);

object! {
    pub(super) struct OutputDetails {
        b"thinking_tokens" => thinking: u64,
    }
}

object! {
    /// The tokens written to the cache, by lifetime.
    pub(super) struct CacheCreation {
        b"ephemeral_5m_input_tokens" => for_5m: u64,
        b"ephemeral_1h_input_tokens" => for_1h: u64,
    }
}

object! {
    pub(super) struct ServerTools {
        b"web_search_requests" => web_searches: u64,
    }
}

object! {
    /// The client's own totals for a model.
    pub(super) struct ModelUsage {
        b"inputTokens" => input: u64,
        b"outputTokens" => output: u64,
        b"thinkingTokens" => reasoning: u64,
        b"cacheReadInputTokens" => cache_read: u64,
        b"cacheCreationInputTokens" => cache_write: u64,
        b"cacheCreationEphemeral1hInputTokens" => cache_write_1h: u64,
    }
}

object! {
    /// The result of a call that starts another agent.
    pub(super) struct Delegation<'a> {
        b"agentId" => agent: Text<'a>,
        b"isAsync" => is_async: bool,
    }
}

object! {
    /// A line of type `api-request`, which the client writes as it sends a request to the model.
    pub(super) struct ApiRequest<'a> {
        b"id" => id: Text<'a>,
        b"timestamp" => timestamp: Text<'a>,
        /// The id of the request that this one extends.
        b"base" => base: Text<'a>,
        /// The messages after those of the base.
        b"tail" => tail: Vec<Present>,
    }
}

/// The shortest description of an error: a string, or an object with several descriptions.
#[derive(Clone, Copy, Debug)]
pub(super) struct ErrorText<'a>(pub(super) Text<'a>);

object! {
    struct ErrorObject<'a> {
        b"formatted" => formatted: Text<'a>,
        b"message" => message: Text<'a>,
        b"cause" => cause: ErrorCause<'a>,
    }
}

object! {
    struct ErrorCause<'a> {
        b"code" => code: Text<'a>,
    }
}

impl<'a> FromJson<'a> for ErrorText<'a> {
    fn read(slot: &mut Option<Self>, reader: &mut Reader<'a>) -> Result<(), Malformed> {
        let text = if reader.peek()? == b'"' {
            reader.text()?
        } else {
            let error: ErrorObject<'a> = read_value(reader)?.unwrap_or_default();
            error.formatted.or(error.message).or_else(|| error.cause?.code)
        };
        *slot = text.map(Self);
        Ok(())
    }
}

impl<'a> FromJson<'a> for Blocks<'a> {
    fn read(slot: &mut Option<Self>, reader: &mut Reader<'a>) -> Result<(), Malformed> {
        let blocks = slot.insert(Self::default());
        if reader.peek()? != b'[' {
            return blocks.read_block(reader);
        }
        reader.array(|reader| blocks.read_block(reader))?;
        Ok(())
    }
}

impl<'a> FromJson<'a> for Advisors<'a> {
    fn read(slot: &mut Option<Self>, reader: &mut Reader<'a>) -> Result<(), Malformed> {
        let advisors = slot.insert(Self::default());
        reader.array(|reader| {
            let usage: Option<Usage<'a>> = read_value(reader)?;
            let is_advisor =
                |usage: &Usage<'_>| usage.kind.is_some_and(|kind| kind.is("advisor_message"));
            match usage.filter(is_advisor) {
                Some(usage) => push_element(&mut advisors.0, usage),
                None => Ok(()),
            }
        })?;
        Ok(())
    }
}

impl<'a> Blocks<'a> {
    fn read_block(&mut self, reader: &mut Reader<'a>) -> Result<(), Malformed> {
        let block = if reader.peek()? == b'"' {
            Some(Block { text: reader.text()?, ..Block::default() })
        } else {
            read_value(reader)?
        };
        block.map_or(Ok(()), |block| push_element(&mut self.0, block))
    }
}

impl Line<'_> {
    /// Returns whether the line is of the type `kind`.
    pub(super) fn is(&self, kind: &str) -> bool {
        self.kind.is_some_and(|own| own.is(kind))
    }

    /// Returns whether the line is of a stream, whose members have other names.
    pub(super) fn is_of_stream(&self) -> bool {
        self.stream.is_some()
    }
}

impl<'a> Message<'a> {
    pub(super) fn blocks(&self) -> &[Block<'a>] {
        self.blocks.as_ref().map_or(&[], |blocks| &blocks.0)
    }
}

impl<'a> Usage<'a> {
    pub(super) fn tokens(&self) -> Tokens {
        let split = self.cache_creation.as_ref();
        let for_1h = split.and_then(|split| split.for_1h).unwrap_or(0);
        let for_5m = split.and_then(|split| split.for_5m).unwrap_or(0);
        let details = self.output_details.as_ref();
        Tokens {
            input: self.input.unwrap_or(0),
            cache_read: self.cache_read.unwrap_or(0),
            // Some versions write only the split.
            cache_write: self.cache_write.unwrap_or(0).max(for_5m.saturating_add(for_1h)),
            output: self.output.unwrap_or(0),
            reasoning: details.and_then(|details| details.thinking).unwrap_or(0),
            cache_write_1h: for_1h,
        }
    }

    pub(super) fn web_searches(&self) -> u32 {
        let searches = self.server_tools.as_ref().and_then(|tools| tools.web_searches);
        u32::try_from(searches.unwrap_or(0)).unwrap_or(u32::MAX)
    }

    pub(super) fn is_fast(&self) -> bool {
        self.speed.is_some_and(|speed| speed.is("fast"))
    }

    pub(super) fn advisors(&self) -> &[Usage<'a>] {
        self.advisors.as_ref().map_or(&[], |advisors| &advisors.0)
    }
}

impl ModelUsage {
    pub(super) fn tokens(&self) -> Tokens {
        Tokens {
            input: self.input.unwrap_or(0),
            cache_read: self.cache_read.unwrap_or(0),
            cache_write: self.cache_write.unwrap_or(0),
            output: self.output.unwrap_or(0),
            reasoning: self.reasoning.unwrap_or(0),
            cache_write_1h: self.cache_write_1h.unwrap_or(0),
        }
    }
}
