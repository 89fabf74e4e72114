use jiff::Timestamp;

use super::{Shared, moment::PackedTimestamp};
use crate::{AgentFacts, AgentId, Call, Event, SessionFacts, Usage};

/// Where a stream runs.
pub(crate) struct StreamScope<'a> {
    pub(crate) session: &'a SessionFacts,
    pub(crate) agent: &'a AgentFacts,
    pub(super) agent_id: Option<&'a AgentId>,
    /// The value of the label that the sessions of the stream share.
    pub(super) group: Option<&'a str>,
}

/// An event, and what it did.
#[derive(Clone, Copy)]
pub(crate) struct Observed<'a> {
    pub(crate) event: &'a Event,
    pub(crate) usage: Option<&'a Usage>,
    pub(crate) call: Option<&'a Call>,
}

/// What is the same for all streams that run at one time in one place.
pub(crate) struct DispatchContext<'a> {
    pub(crate) now: Timestamp,
    /// The same, packed.
    pub(crate) moment: PackedTimestamp,
    pub(crate) stream_scope: StreamScope<'a>,
    /// `None` in a wake-up.
    pub(crate) observed: Option<Observed<'a>>,
    /// Whether somebody asks why.
    pub(crate) is_explained: bool,
}

impl<'a> DispatchContext<'a> {
    pub(super) fn of_event(
        now: Timestamp,
        stream_scope: StreamScope<'a>,
        observed: Observed<'a>,
        shared: &Shared,
    ) -> Self {
        let is_explained = shared.explains(&stream_scope);
        Self { now, moment: now.into(), stream_scope, observed: Some(observed), is_explained }
    }

    pub(super) fn of_wakeup(
        due: PackedTimestamp,
        stream_scope: StreamScope<'a>,
        shared: &Shared,
    ) -> Self {
        let is_explained = shared.explains(&stream_scope);
        Self { now: due.into(), moment: due, stream_scope, observed: None, is_explained }
    }
}
