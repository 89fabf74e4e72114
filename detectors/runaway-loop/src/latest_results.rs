use std::collections::VecDeque;

use watchkeeper_core::{Context, Fingerprint, ToolResult};

/// The number of latest results that are compared.
const MAX_RESULTS: usize = 16;

/// The latest different results of successful calls, with the calls, the one that was returned
/// longest ago first. A repeated result is no progress.
#[derive(Clone, Debug, Default)]
pub(crate) struct LatestResults(VecDeque<Fingerprint>);

impl LatestResults {
    /// Adds a result. Returns true if the call succeeded, and the result is not among the
    /// latest ones.
    pub(crate) fn add(&mut self, result: &ToolResult, cx: &Context<'_>) -> bool {
        if !result.ok {
            return false;
        }
        let call = cx.call().map_or(Fingerprint::NONE, |call| call.fingerprint);
        let result = call.and(result.fingerprint.unwrap_or(Fingerprint::NONE));
        let known = self.0.iter().position(|known| *known == result);
        if let Some(at) = known {
            self.0.remove(at);
        } else if self.0.len() == MAX_RESULTS {
            self.0.pop_front();
        }
        self.0.push_back(result);
        known.is_none()
    }
}
