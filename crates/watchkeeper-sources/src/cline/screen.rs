//! The messages that a person sees: usage, errors and questions.

use jiff::Timestamp;
use watchkeeper_core::{
    EventKind, ModelCall,
    author::{EventSink, WaitingFor},
};

use crate::{
    conversation::{Conversation, tokens},
    json::{Malformed, Millis, Text, object, parse},
};

object! {
    pub(super) struct ScreenMessage<'a> {
        b"ts" => at: Millis,
        b"say" => say: Text<'a>,
        b"ask" => ask: Text<'a>,
        b"text" => text: Text<'a>,
        b"partial" => is_partial: bool,
    }
}

object! {
    /// A request, which is written as JSON in a string.
    struct Request<'a> {
        b"tokensIn" => input: u64,
        b"tokensOut" => output: u64,
        b"cacheReads" => cache_read: u64,
        b"cacheWrites" => cache_write: u64,
        b"cost" => cost_usd: f64,
        b"cancelReason" => cancel_reason: Text<'a>,
        b"streamingFailedMessage" => failure: Text<'a>,
    }
}

impl ScreenMessage<'_> {
    pub(super) fn read(
        &self,
        conversation: &mut Conversation,
        sink: &mut EventSink<'_>,
    ) -> Result<(), Malformed> {
        let at = self.at.ok_or("no time")?.0;
        if self.is_partial == Some(true) {
            return Ok(());
        }
        // The time is the identity of a message, because Cline removes messages.
        conversation.begin(Some(at), Some(at.as_nanosecond().to_string().as_bytes()));
        let text = || self.text.map(Text::boxed).unwrap_or_default();
        match (self.say.map(Text::raw), self.ask.map(Text::raw)) {
            (Some(b"api_req_started" | b"deleted_api_reqs"), _) => {
                return read_request(at, &text(), conversation, sink);
            }
            (Some(b"api_req_retry_delayed" | b"api_req_retried"), _) => {
                let kind = EventKind::Error { message: text(), retry: Some(0) };
                conversation.emit(kind, sink);
            }
            (Some(b"condense_context" | b"sliding_window_truncation"), _) => {
                let kind = EventKind::Compaction { before_tokens: None, after_tokens: None };
                conversation.emit(kind, sink);
            }
            (Some(b"completion_result"), _) | (_, Some(b"completion_result")) => {
                conversation.turn_end(sink);
            }
            (_, Some(b"api_req_failed" | b"mistake_limit_reached")) => {
                conversation.emit(EventKind::Error { message: text(), retry: None }, sink);
            }
            (_, Some(b"command" | b"tool" | b"use_mcp_server" | b"browser_action_launch")) => {
                conversation.emit(EventKind::Waiting(WaitingFor::Permission), sink);
            }
            (_, Some(b"followup" | b"plan_mode_respond")) => {
                conversation.emit(EventKind::Waiting(WaitingFor::Person), sink);
            }
            _ => {}
        }
        Ok(())
    }
}

/// Reads the usage of a request, which Cline adds when the response has ended.
fn read_request(
    at: Timestamp,
    text: &str,
    conversation: &mut Conversation,
    sink: &mut EventSink<'_>,
) -> Result<(), Malformed> {
    let request: Request<'_> = parse(text.as_bytes())?;
    let call = ModelCall {
        id: Some(at.as_millisecond().to_string().into()),
        tokens: tokens(request.input, request.output, request.cache_read, request.cache_write),
        cost_usd: request.cost_usd,
        ..ModelCall::default()
    };
    conversation.usage(call, sink);
    if let Some(failure) = request.failure {
        let kind = EventKind::Error { message: failure.boxed(), retry: None };
        conversation.emit(kind, sink);
    } else if request.cancel_reason.is_some() {
        conversation.turn_end(sink);
    }
    Ok(())
}
