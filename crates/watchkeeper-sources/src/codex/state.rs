//! The memory of a file: its thread, its responses, and the outcomes of its calls.

use std::path::Path;

use jiff::{SignedDuration, Timestamp};
use watchkeeper_core::{
    AgentId, EventKind, Fingerprint, Quota, SessionId,
    author::{SessionStart, Tokens},
};

use super::line::{Payload, Usage};
use crate::{
    json::{Number, Text},
    recent::Recent,
    tool_names::ToolNames,
};

#[derive(Debug)]
pub(super) struct State {
    pub(super) session: SessionId,
    /// The sub-agent of this file.
    pub(super) agent: Option<AgentId>,
    /// The time of the line that identifies the thread.
    opened: Option<Timestamp>,
    /// Whether the thread has another one as its origin, whose history the file may
    /// begin with.
    pub(super) is_fork: bool,
    /// Whether the file contains the identification of another thread, which is the first
    /// line of a copied history.
    has_copy: bool,
    /// The latest time of a line.
    pub(super) latest: Option<Timestamp>,
    pub(super) model: Option<Box<str>>,
    /// The form of prompts in this version.
    pub(super) prompts: Option<PromptForm>,
    /// The number of responses so far, which identifies the calls of one response.
    pub(super) n_responses: u64,
    /// Whether the next call or text begins a response.
    pub(super) is_response_over: bool,
    /// Whether this version reports the usage of each response.
    pub(super) has_usage_records: bool,
    /// Whether the usage of a response was reported since the latest count.
    pub(super) has_record: bool,
    /// The number of failed attempts since the latest response.
    pub(super) n_failures: u32,
    /// The latest total usage of the thread.
    pub(super) total: Tokens,
    /// The usage of the thread, by the client's own count.
    pub(super) client_total: Option<Tokens>,
    /// The responses whose usage was emitted.
    pub(super) responses: Recent<()>,
    /// The outcomes of commands whose output was not read yet, by call.
    pub(super) outcomes: Recent<Outcome>,
    /// The latest quota of each name.
    pub(super) quotas: Vec<Quota>,
    pub(super) tools: ToolNames,
}

/// The form of prompts: versions write them as events, items, or both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PromptForm {
    Event,
    Item,
}

/// How a call ended.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) ok: Option<bool>,
    pub(crate) exit_code: Option<i32>,
    pub(crate) declined: bool,
}

impl State {
    pub(super) fn new(path: &Path) -> Self {
        let stem = path.file_stem().map(|stem| stem.to_string_lossy()).unwrap_or_default();
        Self {
            session: SessionId::from(stem.as_ref()),
            agent: None,
            opened: None,
            is_fork: false,
            has_copy: false,
            latest: None,
            model: None,
            prompts: None,
            n_responses: 0,
            is_response_over: true,
            has_usage_records: false,
            has_record: false,
            n_failures: 0,
            total: Tokens::default(),
            client_total: None,
            responses: Recent::default(),
            outcomes: Recent::default(),
            quotas: Vec::new(),
            tools: ToolNames::default(),
        }
    }

    /// Identifies the thread of this file. Returns the event of its start, unless it has
    /// started.
    pub(super) fn open(
        &mut self,
        at: Timestamp,
        thread: Text<'_>,
        payload: &Payload<'_>,
    ) -> Option<EventKind> {
        let thread = thread.read();
        if self.opened.is_some() {
            // The session was resumed, or the line is part of the copied history.
            let own = self.agent.as_ref().map_or(self.session.as_str(), AgentId::as_str);
            self.has_copy |= thread != own;
            return None;
        }
        self.opened = Some(at);
        let root = payload.session_id.map(Text::read).filter(|root| *root != thread);
        let parent = payload.parent().map(Text::read);
        let root = root.or_else(|| parent.clone());
        self.is_fork = root.is_some() || payload.forked_from.is_some();
        if let Some(root) = root {
            self.session = SessionId::from(root.as_ref());
            self.agent = Some(AgentId::from(thread.as_ref()));
            let parent = parent.filter(|parent| *parent != root && *parent != thread);
            let parent = parent.map(|parent| AgentId::from(parent.as_ref()));
            return Some(EventKind::AgentStart { parent });
        }
        self.session = SessionId::from(thread.as_ref());
        Some(EventKind::SessionStart(SessionStart {
            cwd: payload.cwd.map(Text::boxed),
            version: payload.version.map(Text::boxed),
            parent: payload.forked_from.map(|parent| SessionId::from(parent.read().as_ref())),
            ..SessionStart::default()
        }))
    }

    /// Returns whether an event of a forked thread was copied from the origin. `is_first` is
    /// whether no other file contains the event.
    pub(super) fn is_copy(&self, at: Timestamp, kind: &EventKind, is_first: bool) -> bool {
        // Copied lines are written with the file, before the first response.
        const COPYING: SignedDuration = SignedDuration::from_secs(1);
        let is_early =
            self.has_copy && self.opened.is_some_and(|opened| at.duration_since(opened) < COPYING);
        let takes_time = matches!(
            kind,
            EventKind::ModelCall(_)
                | EventKind::Quota(_)
                | EventKind::ToolCall(_)
                | EventKind::ToolResult(_)
        );
        self.is_fork && (!is_first || is_early && takes_time)
    }

    /// Begins a response, unless its earlier parts were read.
    pub(super) fn continue_response(&mut self) {
        self.n_responses += u64::from(std::mem::take(&mut self.is_response_over));
    }

    /// Records how a call ended, for when its output comes.
    pub(super) fn record_outcome(
        &mut self,
        end: &Payload<'_>,
        call: Option<Text<'_>>,
        ok: Option<bool>,
    ) {
        let Some(call) = call else { return };
        let exit_code: Option<i32> = end.exit_code.and_then(Number::parse);
        let outcome = Outcome {
            ok: exit_code.map(|code| code == 0).or(ok),
            exit_code,
            declined: end.status.is_some_and(|status| status.is("declined")),
        };
        self.outcomes.insert(Fingerprint::of(call.read().as_bytes()), outcome);
    }

    /// Records a usage record. Returns whether its response is new.
    pub(super) fn record_usage(&mut self, payload: &Payload<'_>) -> bool {
        self.client_total = payload.thread_usage.as_ref().map(Usage::tokens).or(self.client_total);
        let Some(id) = payload.response_id else { return true };
        let key = Fingerprint::of(id.raw());
        let is_new = self.responses.get(key).is_none();
        if is_new {
            self.responses.insert(key, ());
        }
        is_new
    }
}
