mod change;
mod command_arguments;
pub(crate) mod limits;
mod targets;
mod tool_result;
mod turn_effect;

use std::{
    borrow::{Borrow, Cow},
    fmt,
    sync::Arc,
};

use jiff::{SignedDuration, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub(crate) use self::command_arguments::CommandArguments;
pub use self::{
    change::Change,
    targets::Targets,
    tool_result::{Cause, ToolResult},
    turn_effect::TurnEffect,
};
use crate::{Fingerprint, Json, Purpose, ToolClass, fingerprint::STATED_INTENT};

/// One thing that happened in a session.
///
/// The names in an event from a source or a session handle are bounded: ids, tools, models, versions
/// and names of labels have 256 bytes at most, folders, values of labels and reasons 4096, and an
/// event sets 64 labels at most. In place of the end of a longer name is `#` with a hash of the
/// name, so that different names remain different.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// The time of the event, by the clock of the program that wrote the session.
    pub at: Timestamp,
    /// The session.
    pub session: SessionId,
    /// The sub-agent; `None` is the main agent of the session.
    pub agent: Option<AgentId>,
    /// The location in a file; `None` for an event that was recorded in memory.
    pub origin: Option<Origin>,
    /// The kind of event, with its fields.
    pub kind: EventKind,
}

impl Event {
    /// Makes an event of the main agent of a session, without an origin.
    pub fn new(at: Timestamp, session: impl Into<SessionId>, kind: EventKind) -> Self {
        Self { at, session: session.into(), agent: None, origin: None, kind }
    }

    /// Sets the sub-agent.
    pub fn in_agent(mut self, agent: impl Into<AgentId>) -> Self {
        self.agent = Some(agent.into());
        self
    }
}

/// The location of an event, for a person to open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The kind of source that read the event.
    pub source: &'static str,
    /// The file.
    pub file: Arc<str>,
    /// The line, counted from 1.
    pub line: u64,
}

/// The kind of an event, with its fields.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum EventKind {
    /// The session began, or was resumed.
    SessionStart(SessionStart),
    /// A person, or another agent, sent a prompt.
    Prompt {
        /// The text.
        text: Box<str>,
        /// Whether the harness sent it and not a person. A synthetic prompt resets
        /// nothing.
        synthetic: bool,
    },
    /// The agent wrote a message.
    Message {
        /// The text.
        text: Box<str>,
        /// Whether the text is a streamed piece of the current message.
        delta: bool,
    },
    /// The model wrote a thought.
    Thinking {
        /// The text, where it is known.
        text: Box<str>,
    },
    /// The model responded and used tokens.
    ModelCall(ModelCall),
    /// The agent called a tool.
    ToolCall(ToolCall),
    /// A tool returned a result.
    ToolResult(ToolResult),
    /// The agent waits for a person.
    Waiting(WaitingFor),
    /// The agent stopped waiting.
    Resumed(WaitingFor),
    /// The agent has finished the turn.
    TurnEnd,
    /// An error outside the tools of the agent.
    Error {
        /// The error message.
        message: Box<str>,
        /// The number of the failed attempt, if the request is retried.
        retry: Option<u32>,
    },
    /// The context was compacted.
    Compaction {
        /// Tokens in the context before.
        before_tokens: Option<u64>,
        /// Tokens in the context after.
        after_tokens: Option<u64>,
    },
    /// The provider stated how much of a limit of the account is used.
    Quota(Quota),
    /// The agent handed its work to another agent.
    Handoff {
        /// The other agent.
        to: Box<str>,
    },
    /// A sub-agent began.
    AgentStart {
        /// The sub-agent that started it. `None` if the main agent did, or if the source does not
        /// know who did.
        parent: Option<AgentId>,
    },
    /// A sub-agent ended.
    AgentEnd,
    /// The session ended.
    SessionEnd {
        /// The reason, if it is known.
        reason: Option<Box<str>>,
    },
}

impl EventKind {
    /// The reason of a `session_end` that the agent did not record: its process no
    /// longer exists.
    pub const PROCESS_GONE: &'static str = "process_gone";

    /// Returns the name of the event, as in the neutral form and in evidence.
    pub const fn name(&self) -> &'static str {
        EVENT_NAMES[self.name_idx() as usize]
    }

    /// Returns the effect of the event on the turn of its agent, as in
    /// [`AgentFacts::turn`](crate::AgentFacts::turn). A program without the facts of the
    /// engine finds open turns with this.
    pub const fn turn_effect(&self) -> TurnEffect {
        match self {
            Self::Prompt { .. }
            | Self::AgentStart { .. }
            | Self::Message { .. }
            | Self::Thinking { .. }
            | Self::ModelCall(_)
            | Self::Error { retry: Some(_), .. }
            | Self::ToolCall(_)
            | Self::ToolResult(_) => TurnEffect::Continues,
            Self::Handoff { .. }
            | Self::TurnEnd
            | Self::AgentEnd
            | Self::Error { retry: None, .. }
            | Self::SessionEnd { .. } => TurnEffect::Ends,
            Self::Waiting(_)
            | Self::Resumed(_)
            | Self::Compaction { .. }
            | Self::Quota(_)
            | Self::SessionStart(_) => TurnEffect::None,
        }
    }

    /// Returns the index of the name in [`EVENT_NAMES`].
    pub(crate) const fn name_idx(&self) -> u8 {
        match self {
            Self::SessionStart(_) => 0,
            Self::Prompt { .. } => 1,
            Self::Message { .. } => 2,
            Self::Thinking { .. } => 3,
            Self::ModelCall(_) => 4,
            Self::ToolCall(_) => TOOL_CALL_IDX,
            Self::ToolResult(_) => TOOL_RESULT_IDX,
            Self::Waiting(_) => 7,
            Self::Resumed(_) => 8,
            Self::TurnEnd => 9,
            Self::Error { .. } => 10,
            Self::Compaction { .. } => 11,
            Self::Handoff { .. } => 12,
            Self::AgentStart { .. } => 13,
            Self::AgentEnd => 14,
            Self::SessionEnd { .. } => 15,
            Self::Quota(_) => 16,
        }
    }

    /// Returns the index of the sort of event that an [`EventSet`] distinguishes, unless the
    /// event is a result with new text: that depends on earlier events.
    #[inline]
    pub(crate) const fn sort_idx(&self) -> u8 {
        match self {
            Self::ToolResult(ToolResult { ok: false, .. }) => FAILED_RESULT_IDX,
            Self::ToolResult(ToolResult { may_report_error: true, .. }) => REPORTING_RESULT_IDX,
            Self::ToolCall(
                ToolCall { class: ToolClass::Delegate, .. }
                | ToolCall { purpose: Purpose::Poll | Purpose::Wait, .. },
            ) => WAIT_IDX,
            _ => self.name_idx(),
        }
    }
}

/// The names of all events.
pub(crate) const EVENT_NAMES: [&str; 17] = [
    "session_start",
    "prompt",
    "message",
    "thinking",
    "model_call",
    "tool_call",
    "tool_result",
    "waiting",
    "resumed",
    "turn_end",
    "error",
    "compaction",
    "handoff",
    "agent_start",
    "agent_end",
    "session_end",
    "quota",
];

/// The index of `tool_call`.
pub(crate) const TOOL_CALL_IDX: u8 = 5;
pub(crate) const TOOL_RESULT_IDX: u8 = 6;

/// The number of sorts of events that an [`EventSet`] distinguishes: one for each
/// name, the results that are not ok, the results that are ok and may report an error, the
/// calls that wait for other work, and the other results that are ok and contain new text.
pub(crate) const N_SORTS: usize = EVENT_NAMES.len() + 4;
#[expect(clippy::cast_possible_truncation, reason = "there are few names")]
const FAILED_RESULT_IDX: u8 = EVENT_NAMES.len() as u8;
const REPORTING_RESULT_IDX: u8 = FAILED_RESULT_IDX + 1;
const WAIT_IDX: u8 = REPORTING_RESULT_IDX + 1;
/// The index of a result whose sort would be [`TOOL_RESULT_IDX`] if its text were known.
pub(crate) const NEW_RESULT_IDX: u8 = WAIT_IDX + 1;

/// A set of kinds of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventSet(u32);

impl EventSet {
    /// All events.
    pub const ALL: Self = Self(u32::MAX);

    /// The tool results that are not ok.
    pub const FAILED_RESULTS: Self = Self(1 << FAILED_RESULT_IDX);

    /// The tool results that are ok and whose output may report an error, such as the output
    /// of a script whose last command succeeded.
    pub const REPORTING_RESULTS: Self = Self(1 << REPORTING_RESULT_IDX);

    /// The tool results, except those that are ok, report no error, and contain new text, as in
    /// [`Context::has_new_text`](crate::Context::has_new_text). For a detector that subscribes
    /// [`with_contributions`](crate::Subscription::with_contributions).
    pub const RESULTS_WITHOUT_NEW_TEXT: Self =
        Self(1 << TOOL_RESULT_IDX | Self::FAILED_RESULTS.0 | Self::REPORTING_RESULTS.0);

    /// The tool calls that delegate work, poll for the state of something, or let time pass.
    pub const WAITS: Self = Self(1 << WAIT_IDX);

    /// Makes the set of the events with these names, as in the neutral form.
    ///
    /// In a constant, an unknown name is a compiler error; elsewhere it is a panic.
    pub const fn of(names: &[&str]) -> Self {
        let mut bits = 0;
        let mut name_idx = 0;
        while name_idx < names.len() {
            let mut event_idx = 0;
            while !is_same(EVENT_NAMES[event_idx].as_bytes(), names[name_idx].as_bytes()) {
                event_idx += 1;
                assert!(event_idx < EVENT_NAMES.len(), "no event has this name");
            }
            bits |= 1 << event_idx;
            name_idx += 1;
        }
        if bits & (1 << TOOL_RESULT_IDX) != 0 {
            bits |= Self::RESULTS_WITHOUT_NEW_TEXT.0 | 1 << NEW_RESULT_IDX;
        }
        if bits & (1 << TOOL_CALL_IDX) != 0 {
            bits |= Self::WAITS.0;
        }
        Self(bits)
    }

    /// Returns the union of two sets.
    pub const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Returns whether the set contains an event. A result counts as one without new text.
    pub const fn contains(self, event: &EventKind) -> bool {
        self.contains_idx(event.sort_idx() as usize)
    }

    /// Returns whether the set contains the sort of event with this index.
    pub(crate) const fn contains_idx(self, sort_idx: usize) -> bool {
        self.0 & (1 << sort_idx) != 0
    }
}

/// Compares bytes in a constant, where `==` is not available yet.
const fn is_same(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    let mut idx = 0;
    while idx < a.len() {
        if a[idx] != b[idx] {
            return false;
        }
        idx += 1;
    }
    true
}

/// The fields of `session_start`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SessionStart {
    /// The working folder.
    pub cwd: Option<Box<str>>,
    /// The model.
    pub model: Option<Box<str>>,
    /// The version of the agent.
    pub version: Option<Box<str>>,
    /// The session from which this one was forked.
    pub parent: Option<SessionId>,
    /// Labels of the session, in addition to those of the policy.
    pub labels: Vec<(Box<str>, Box<str>)>,
}

/// One response of a model.
///
/// An event with the `id` of an earlier one replaces it; see
/// [`Usage`](crate::Usage).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ModelCall {
    /// The id of the response, unique in its session.
    pub id: Option<Box<str>>,
    /// The model.
    pub model: Option<Box<str>>,
    /// The tokens.
    pub tokens: Tokens,
    /// The cost in US dollars, if the session contains it.
    pub cost_usd: Option<f64>,
    /// The size of the context window in tokens, if the source knows it. Overrides
    /// the size that is known for the model.
    pub context_tokens: Option<u64>,
    /// The number of web searches of the provider, which have a price of their own.
    pub web_searches: u32,
    /// Whether the provider answered in its fast mode, at a multiple of the price.
    pub is_fast: bool,
}

/// The fields of `quota`: the used part of a limit of the account, such as one in five hours.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Quota {
    /// The name of the limit, such as `primary`.
    pub name: Box<str>,
    /// The used part in percent.
    pub used_percent: f64,
    /// The time in which the limit applies.
    pub window: Option<SignedDuration>,
    /// The time at which the limit starts again.
    pub resets_at: Option<Timestamp>,
}

/// Tokens by class. The classes never overlap, except `reasoning` and
/// `cache_write_1h`, which are parts of others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Tokens {
    /// Input that was not read from a cache.
    pub input: u64,
    /// Input that was read from a cache.
    pub cache_read: u64,
    /// Input that was written to a cache.
    pub cache_write: u64,
    /// Output, including reasoning.
    pub output: u64,
    /// The part of `output` that is reasoning, where it is known.
    pub reasoning: u64,
    /// The part of `cache_write` with a lifetime of an hour, at a higher price.
    pub cache_write_1h: u64,
}

impl Tokens {
    /// Returns the number of tokens, each counted once.
    pub const fn total(&self) -> u64 {
        self.input
            .saturating_add(self.cache_read)
            .saturating_add(self.cache_write)
            .saturating_add(self.output)
    }

    /// Adds class by class, up to the maximum.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self {
            input: self.input.saturating_add(other.input),
            cache_read: self.cache_read.saturating_add(other.cache_read),
            cache_write: self.cache_write.saturating_add(other.cache_write),
            output: self.output.saturating_add(other.output),
            reasoning: self.reasoning.saturating_add(other.reasoning),
            cache_write_1h: self.cache_write_1h.saturating_add(other.cache_write_1h),
        }
    }

    /// Subtracts class by class, down to zero.
    #[must_use]
    pub const fn minus(self, other: Self) -> Self {
        Self {
            input: self.input.saturating_sub(other.input),
            cache_read: self.cache_read.saturating_sub(other.cache_read),
            cache_write: self.cache_write.saturating_sub(other.cache_write),
            output: self.output.saturating_sub(other.output),
            reasoning: self.reasoning.saturating_sub(other.reasoning),
            cache_write_1h: self.cache_write_1h.saturating_sub(other.cache_write_1h),
        }
    }
}

/// One tool call.
#[derive(Clone, Debug, PartialEq)]
pub struct ToolCall {
    /// The id, which its result contains, too.
    pub id: Box<str>,
    /// The tool.
    pub tool: Arc<str>,
    /// The effect of the tool.
    pub class: ToolClass,
    /// The reason for the call.
    pub purpose: Purpose,
    /// The arguments.
    pub arguments: Json,
    /// The model response that contains the call. Calls of one response run in
    /// parallel.
    pub response: Option<Box<str>>,
    /// Equal for calls of one tool with the same arguments, except volatile ones.
    pub fingerprint: Fingerprint,
    /// The change of a text; `None` unless the class is [`ToolClass::Write`].
    pub change: Option<Change>,
    targets: Option<Box<Targets>>,
}

impl ToolCall {
    /// Makes a call whose class depends on the name of the tool, and whose fingerprint
    /// depends on every argument.
    pub fn new(id: impl Into<Box<str>>, tool: impl Into<Arc<str>>, arguments: Json) -> Self {
        Self::of_class(id, tool, arguments, None, &[])
    }

    /// Makes a call, for a source that knows the tools of its agent.
    ///
    /// Where `class` is `None`, it depends on the name of the tool. The fingerprint
    /// leaves out the `volatile` keys of the arguments, such as a timeout. Where the
    /// purpose shows that a description is no content, as in a search or a command, the
    /// fingerprint also leaves out the stated intent.
    pub fn of_class(
        id: impl Into<Box<str>>,
        tool: impl Into<Arc<str>>,
        arguments: Json,
        class: Option<ToolClass>,
        volatile: &[&str],
    ) -> Self {
        let tool = tool.into();
        let class = class.unwrap_or_else(|| ToolClass::of_name(&tool));
        let purpose = Purpose::of(class, &tool, &arguments);
        let ignores_intent = class == ToolClass::Run || purpose.ignores_intent();
        let intent = if ignores_intent { STATED_INTENT } else { &[] };
        let arguments_fingerprint = Fingerprint::of_arguments(arguments.as_str(), volatile, intent);
        let fingerprint = Fingerprint::of(&*tool).and(arguments_fingerprint);
        let writes = class == ToolClass::Write;
        let change = writes.then(|| Change::of(&tool, &arguments, fingerprint)).flatten();
        Self {
            id: id.into(),
            tool,
            class,
            purpose,
            arguments,
            response: None,
            fingerprint,
            change,
            targets: None,
        }
    }

    /// Sets the paths, the command and the URLs that the call acts on.
    ///
    /// A source calls this where it knows more than
    /// [`Targets::of_arguments`] derives: for arguments with other names, nested
    /// arguments, paths in a patch, or a command behind `bash -lc`. The targets
    /// then replace the derived ones.
    pub fn with_targets(mut self, targets: Targets) -> Self {
        if self.class == ToolClass::Run
            && let Some(command) = targets.command()
        {
            self.purpose = Purpose::of_command(command);
        }
        self.targets = Some(Box::new(targets));
        self
    }

    /// Returns the targets that the source set.
    pub(crate) fn given_targets(&self) -> Option<&Targets> {
        self.targets.as_deref()
    }

    /// Returns the paths, the command and the URLs that the call acts on.
    ///
    /// Parses the arguments, unless the source filled the targets. A detector
    /// calls this once per call and keeps the result.
    pub fn targets(&self) -> Cow<'_, Targets> {
        match &self.targets {
            Some(targets) => Cow::Borrowed(targets),
            None => Cow::Owned(Targets::of_arguments(&self.arguments)),
        }
    }
}

/// The reason why an agent waits for a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WaitingFor {
    /// Permission for a call.
    Permission,
    /// A reply.
    Person,
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Returns the id, which is not safe for a terminal: as its source wrote it, except
            /// that a hash replaces secrets and what exceeds 256 bytes.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl<T: Into<Arc<str>>> From<T> for $name {
            fn from(id: T) -> Self {
                Self(limits::limited_id(id.into()))
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
    };
}

id! {
    /// The id of one agent conversation.
    SessionId
}

id! {
    /// The id of a sub-agent within its session.
    AgentId
}
