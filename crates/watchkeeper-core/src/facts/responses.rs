use crate::compact::{PackedResponse, Response, ResponseId};

/// The number of model calls of one agent that a later event may replace.
const MAX_REPLACEABLE: usize = 2;

/// The latest model calls of an agent, which later events may replace.
///
/// Each agent has its own, since agents that run in parallel stream their responses
/// in turn. One agent must not displace the responses of another.
#[derive(Clone, Debug, Default)]
pub(super) struct Responses(Option<Box<[PackedResponse; MAX_REPLACEABLE]>>);

impl Responses {
    /// Removes and returns the response with this id.
    pub(super) fn take(&mut self, id: ResponseId) -> Option<Response> {
        let responses = self.0.as_deref_mut()?;
        let idx = responses.iter().position(|response| response.has_id(id))?;
        let response = responses[idx].unpacked();
        // The latest is the last.
        responses[..=idx].rotate_right(1);
        responses[0] = PackedResponse::default();
        response
    }

    /// Adds a response, and drops the oldest if there are too many.
    pub(super) fn push(&mut self, response: Response) {
        let responses = self.0.get_or_insert_default();
        responses.rotate_left(1);
        responses[MAX_REPLACEABLE - 1] = response.into();
    }
}
