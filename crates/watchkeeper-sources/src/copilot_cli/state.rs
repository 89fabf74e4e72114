//! The memory of a file: its session, and its open requests to a person.

use std::path::Path;

use jiff::Timestamp;
use watchkeeper_core::{
    Fingerprint, SessionId,
    author::{Cause, ClientTotal},
};

use crate::{recent::Recent, tool_names::ToolNames};

#[derive(Debug)]
pub(super) struct State {
    pub(super) session: SessionId,
    /// The latest time of an event.
    pub(super) latest: Option<Timestamp>,
    pub(super) model: Option<Box<str>>,
    /// Whether the latest message of the main agent contains calls.
    pub(super) has_calls: bool,
    /// The calls of open requests for permission, by request.
    pub(super) requests: Recent<Fingerprint>,
    /// The number of open requests.
    pub(super) n_open: u32,
    /// The reasons of denied calls.
    pub(super) denials: Recent<Cause>,
    /// The usage of the session, by the client's own count.
    pub(super) client_total: Option<ClientTotal>,
    pub(super) tools: ToolNames,
}

impl State {
    pub(super) fn new(path: &Path) -> Self {
        let stem = path.file_stem().map(|stem| stem.to_string_lossy()).unwrap_or_default();
        // `<session>/events.jsonl`
        let folder = path.parent().and_then(Path::file_name).map(|name| name.to_string_lossy());
        let name = folder.filter(|_| stem == "events").unwrap_or(stem);
        Self {
            session: SessionId::from(name.as_ref()),
            latest: None,
            model: None,
            has_calls: false,
            requests: Recent::default(),
            n_open: 0,
            denials: Recent::default(),
            client_total: None,
            tools: ToolNames::default(),
        }
    }
}
