use serde::Serialize;

use super::responses::Responses;
use crate::{
    EventKind, ModelCall, Price, Tokens,
    compact::{Response, ResponseId},
};

/// The counts, tokens and cost of a session so far.
///
/// The counts stay at `u32::MAX` once they reach it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Totals {
    /// Events.
    pub events: u32,
    /// Tool calls.
    pub tool_calls: u32,
    /// Tool results.
    pub tool_results: u32,
    /// Tool results that are not ok, for any cause.
    pub failed_results: u32,
    /// Model calls.
    pub model_calls: u32,
    /// Tokens.
    pub tokens: Tokens,
    /// The cost in US dollars of the model calls whose price is known.
    pub cost_usd: f64,
    /// Model calls whose price is unknown.
    pub unpriced_calls: u32,
}

/// The tokens and cost that one model call adds to its session.
///
/// A model call with the id of a recent one replaces it, and adds the difference.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Usage {
    /// Tokens.
    pub tokens: Tokens,
    /// US dollars; `None` if the price is unknown.
    pub cost_usd: Option<f64>,
    /// Whether the call replaces a recent one: an event with newer figures of the
    /// same response.
    pub replaces: bool,
}

/// The cost of one call, in US dollars, from which on it is not believed: far above any
/// price, and low enough that sums are exact to a cent.
const MAX_STATED_COST: f64 = 1e6;

impl Totals {
    /// Counts an event, except the model call in one, which [`charge`](Self::charge)
    /// counts.
    pub(super) fn add_event(&mut self, event: &EventKind) {
        count(&mut self.events, true);
        match event {
            EventKind::ToolCall(_) => count(&mut self.tool_calls, true),
            EventKind::ToolResult(result) => {
                count(&mut self.tool_results, true);
                count(&mut self.failed_results, !result.ok);
            }
            _ => {}
        }
    }

    /// Adds a model call, and returns the tokens and cost that it adds.
    ///
    /// `price` returns the price of a model.
    pub(super) fn charge(
        &mut self,
        call: &ModelCall,
        responses: &mut Responses,
        price: impl FnOnce(&str) -> Option<Price>,
    ) -> Usage {
        let stated = call.cost_usd.filter(|cost| (0.0..MAX_STATED_COST).contains(cost));
        let priced = || Some(price(call.model.as_deref()?)?.cost_of_call(call));
        let cost_usd = stated.or_else(priced);
        let id = call.id.as_deref().map(ResponseId::of);
        let (response, usage) = match id.and_then(|id| responses.take(id)) {
            Some(earlier) => {
                // Figures of a response never shrink.
                let tokens = call.tokens.minus(earlier.tokens);
                let added = cost_usd.map(|cost| (cost - earlier.cost_usd.unwrap_or(0.0)).max(0.0));
                let response = Response {
                    id: earlier.id,
                    tokens: earlier.tokens.plus(tokens),
                    cost_usd: match (earlier.cost_usd, added) {
                        (None, added) => added,
                        (Some(cost), added) => Some(cost + added.unwrap_or(0.0)),
                    },
                };
                let was_unpriced = u32::from(earlier.cost_usd.is_none());
                self.unpriced_calls = self.unpriced_calls.saturating_sub(was_unpriced);
                (Some(response), Usage { tokens, cost_usd: added, replaces: true })
            }
            None => {
                count(&mut self.model_calls, true);
                let tokens = call.tokens;
                let response = id.map(|id| Response { id, tokens, cost_usd });
                (response, Usage { tokens, cost_usd, replaces: false })
            }
        };
        let is_unpriced = response.map_or(cost_usd, |response| response.cost_usd).is_none();
        count(&mut self.unpriced_calls, is_unpriced);
        self.tokens = self.tokens.plus(usage.tokens);
        self.cost_usd += usage.cost_usd.unwrap_or(0.0);
        if let Some(response) = response {
            responses.push(response);
        }
        usage
    }
}

/// Adds one to `n` if `counts`.
fn count(n: &mut u32, counts: bool) {
    *n = n.saturating_add(counts.into());
}
