mod targets;

use std::{
    borrow::{Borrow, Cow},
    fmt,
    sync::Arc,
};

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::targets::Targets;
use crate::{Fingerprint, Json, ToolClass};

/// One thing that happened in a session.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// When it happened, by the clock of whoever wrote the session.
    pub at: Timestamp,
    /// The session it happened in.
    pub session: SessionId,
    /// The sub-agent it happened in; `None` is the session's main agent.
    pub agent: Option<AgentId>,
    /// Where it was read; `None` for an event that was recorded in memory.
    pub origin: Option<Origin>,
    /// What happened.
    pub kind: EventKind,
}

impl Event {
    /// Makes an event of a session's main agent, read from nowhere.
    pub fn new(at: Timestamp, session: impl Into<SessionId>, kind: EventKind) -> Self {
        Self { at, session: session.into(), agent: None, origin: None, kind }
    }

    /// Says that it happened in a sub-agent.
    pub fn in_agent(mut self, agent: impl Into<AgentId>) -> Self {
        self.agent = Some(agent.into());
        self
    }
}

/// Where an event was read: what a person opens to see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The kind of source that read it.
    pub source: &'static str,
    /// The file.
    pub file: Arc<str>,
    /// The line, counted from 1.
    pub line: u64,
}

/// What happened.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum EventKind {
    /// The session began, or was resumed.
    SessionStart(SessionStart),
    /// A person, or another agent, spoke to the agent.
    Prompt {
        /// What was said.
        text: Box<str>,
        /// The harness made it, not a person: it resets nothing.
        synthetic: bool,
    },
    /// The agent said something.
    Message {
        /// What it said.
        text: Box<str>,
        /// It is a streamed piece of the current message.
        delta: bool,
    },
    /// The agent thought.
    Thinking {
        /// What it thought, where it is known.
        text: Box<str>,
    },
    /// The model answered, at this price.
    ModelCall(ModelCall),
    /// The agent called a tool.
    ToolCall(ToolCall),
    /// A tool answered.
    ToolResult(ToolResult),
    /// The agent waits for someone.
    Waiting(WaitingFor),
    /// It waits no longer.
    Resumed(WaitingFor),
    /// The agent has done what the prompt asked, and rests.
    TurnEnd,
    /// Something went wrong outside the agent's tools.
    Error {
        /// What went wrong.
        message: Box<str>,
        /// Which attempt it was, if it is tried again.
        retry: Option<u32>,
    },
    /// The context was compacted.
    Compaction {
        /// Tokens in the context before.
        before_tokens: Option<u64>,
        /// Tokens in the context after.
        after_tokens: Option<u64>,
    },
    /// The agent handed its work to another.
    Handoff {
        /// The other.
        to: Box<str>,
    },
    /// A sub-agent began.
    AgentStart,
    /// A sub-agent ended.
    AgentEnd,
    /// The session ended.
    SessionEnd {
        /// Why, if it is known.
        reason: Option<Box<str>>,
    },
}

impl EventKind {
    /// The name of the event, as it stands in the neutral form and in evidence.
    pub const fn name(&self) -> &'static str {
        EVENT_NAMES[self.name_idx() as usize]
    }

    /// Where its name stands among all names.
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
            Self::AgentStart => 13,
            Self::AgentEnd => 14,
            Self::SessionEnd { .. } => 15,
        }
    }

    /// Where it stands among what an [`EventSet`] tells apart.
    #[inline]
    pub(crate) const fn sort_idx(&self) -> u8 {
        match self {
            Self::ToolResult(ToolResult { ok: false, .. }) => FAILED_RESULT_IDX,
            _ => self.name_idx(),
        }
    }
}

/// The names of all events.
pub(crate) const EVENT_NAMES: [&str; 16] = [
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
];

/// Where the name of a call of a tool stands among them.
pub(crate) const TOOL_CALL_IDX: u8 = 5;
const TOOL_RESULT_IDX: u8 = 6;

/// What an [`EventSet`] tells apart: events by their names, and after those the
/// results that are not ok.
pub(crate) const N_SORTS: usize = EVENT_NAMES.len() + 1;
#[expect(clippy::cast_possible_truncation, reason = "there are few names")]
const FAILED_RESULT_IDX: u8 = EVENT_NAMES.len() as u8;

/// Some kinds of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventSet(u32);

impl EventSet {
    /// All of them.
    pub const ALL: Self = Self(u32::MAX);

    /// The results of tools that are not ok.
    pub const FAILED_RESULTS: Self = Self(1 << FAILED_RESULT_IDX);

    /// Those with these names, as the neutral form has them.
    ///
    /// Make a constant of it: a name that no event has is then a mistake that
    /// the compiler finds, and else a panic.
    pub const fn of(names: &[&str]) -> Self {
        let mut res = 0;
        let mut name_idx = 0;
        while name_idx < names.len() {
            let mut event_idx = 0;
            while !is_same(EVENT_NAMES[event_idx].as_bytes(), names[name_idx].as_bytes()) {
                event_idx += 1;
                assert!(event_idx < EVENT_NAMES.len(), "no event has this name");
            }
            res |= 1 << event_idx;
            name_idx += 1;
        }
        if res & (1 << TOOL_RESULT_IDX) != 0 {
            res |= Self::FAILED_RESULTS.0;
        }
        Self(res)
    }

    /// Those that are in one of the two.
    pub const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether an event is of one of these kinds.
    pub const fn contains(self, event: &EventKind) -> bool {
        self.contains_idx(event.sort_idx() as usize)
    }

    /// The same for what stands here among all that a set tells apart.
    pub(crate) const fn contains_idx(self, sort_idx: usize) -> bool {
        self.0 & (1 << sort_idx) != 0
    }
}

/// What `==` says, where the compiler cannot ask it yet.
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

/// What is known of a session when it begins.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SessionStart {
    /// The folder it works in.
    pub cwd: Option<Box<str>>,
    /// The model it begins with.
    pub model: Option<Box<str>>,
    /// The version of the agent.
    pub version: Option<Box<str>>,
    /// The session it was forked from.
    pub parent: Option<SessionId>,
    /// Labels of its own, on top of the policy's.
    pub labels: Vec<(Box<str>, Box<str>)>,
}

/// One answer of a model.
///
/// The classes of tokens never overlap: input is what was not cached, and
/// output includes reasoning. An event with the `id` of an earlier one
/// replaces that one; see [`Usage`](crate::Usage).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ModelCall {
    /// The id of the answer, unique in its session.
    pub id: Option<Box<str>>,
    /// The model.
    pub model: Option<Box<str>>,
    /// What it read and wrote.
    pub tokens: Tokens,
    /// What it cost in US dollars, if the source knows.
    pub cost_usd: Option<f64>,
    /// The size of the context window in tokens, if the source knows it. Overrides
    /// the size that is known for the model.
    pub context_tokens: Option<u64>,
}

/// Tokens, by class. The classes never overlap, but for the two that are part
/// of another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Tokens {
    /// Read, and not from a cache.
    pub input: u64,
    /// Read from a cache.
    pub cache_read: u64,
    /// Read, and written to a cache.
    pub cache_write: u64,
    /// Written, reasoning included.
    pub output: u64,
    /// The part of `output` that was reasoning, where it is known.
    pub reasoning: u64,
    /// The part of `cache_write` that is kept for an hour, which costs more.
    pub cache_write_1h: u64,
}

impl Tokens {
    /// All tokens, each counted once.
    pub const fn total(&self) -> u64 {
        self.input
            .saturating_add(self.cache_read)
            .saturating_add(self.cache_write)
            .saturating_add(self.output)
    }

    /// Adds, class by class, without overflow.
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

    /// Subtracts, class by class, down to zero.
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

/// One call of a tool.
#[derive(Clone, Debug, PartialEq)]
pub struct ToolCall {
    /// What its result will name it by.
    pub id: Box<str>,
    /// The tool.
    pub tool: Arc<str>,
    /// What the tool does to the world.
    pub class: ToolClass,
    /// What it was given.
    pub arguments: Json,
    /// The model's answer it came with: calls that share one are parallel.
    pub response: Option<Box<str>>,
    /// Equal for two calls of one tool that ask for the same thing.
    pub fingerprint: Fingerprint,
    targets: Option<Box<Targets>>,
}

impl ToolCall {
    /// Makes a call whose class is told by the tool's name, and in which every
    /// argument matters.
    pub fn new(id: impl Into<Box<str>>, tool: impl Into<Arc<str>>, arguments: Json) -> Self {
        Self::of_class(id, tool, arguments, None, &[])
    }

    /// Makes a call as a source that knows its agent does.
    ///
    /// The class is told by the name where it is `None`. The `volatile` keys of
    /// the arguments say nothing of what is asked for, like a description.
    pub fn of_class(
        id: impl Into<Box<str>>,
        tool: impl Into<Arc<str>>,
        arguments: Json,
        class: Option<ToolClass>,
        volatile: &[&str],
    ) -> Self {
        let tool = tool.into();
        let class = class.unwrap_or_else(|| ToolClass::of_name(&tool));
        let fingerprint =
            Fingerprint::of(&*tool).and(Fingerprint::of_json(arguments.as_str(), volatile));
        Self { id: id.into(), tool, class, arguments, response: None, fingerprint, targets: None }
    }

    /// Sets the paths, the command and the URLs that the call acts on.
    ///
    /// A source calls this where it knows more than
    /// [`Targets::of_arguments`] derives: for arguments with other names, nested
    /// arguments, paths in a patch, or a command behind `bash -lc`. The targets
    /// then replace the derived ones.
    pub fn with_targets(mut self, targets: Targets) -> Self {
        self.targets = Some(Box::new(targets));
        self
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

/// What a tool answered.
#[derive(Clone, Debug, PartialEq)]
pub struct ToolResult {
    /// The id of the call.
    pub id: Box<str>,
    /// Whether the tool did what it was asked.
    pub ok: bool,
    /// What it said; `None` where that is unknown.
    pub output: Option<Box<str>>,
    /// The exit code of a command.
    pub exit_code: Option<i32>,
    /// Why it is not the tool's own answer.
    pub cause: Option<Cause>,
    /// Equal for two answers that say the same, numbers, ids and times aside,
    /// but for short ones that are ok; `None` where the output is unknown.
    pub fingerprint: Option<Fingerprint>,
}

impl ToolResult {
    /// Makes a result, and takes the fingerprint of its output.
    pub fn new(id: impl Into<Box<str>>, ok: bool, output: Option<Box<str>>) -> Self {
        /// In an answer that is shorter than this, a number is what it says.
        const SHORT: usize = 40;
        let fingerprint = output.as_deref().map(|it| {
            let is_short = ok && it.trim_ascii().len() < SHORT;
            let said = if is_short {
                Fingerprint::of(it.trim_ascii())
            } else {
                Fingerprint::of_output(it)
            };
            said.and(Fingerprint::from(ok))
        });
        Self { id: id.into(), ok, output, exit_code: None, cause: None, fingerprint }
    }

    /// Whether the tool itself failed: nobody declined or interrupted it, and
    /// no parallel call took it down.
    pub fn failed(&self) -> bool {
        !self.ok && matches!(self.cause, None | Some(Cause::Timeout))
    }
}

/// Why a result is not the tool's own answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Cause {
    /// A person, or a rule, said no.
    Declined,
    /// A parallel call failed and took this one down.
    Sibling,
    /// A person stopped it.
    Interrupted,
    /// It took too long.
    Timeout,
}

/// Whom an agent waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WaitingFor {
    /// For leave to make a call.
    Permission,
    /// For an answer.
    Person,
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(transparent)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The id as its source wrote it: not safe for a terminal.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl<T: Into<Arc<str>>> From<T> for $name {
            fn from(id: T) -> Self {
                Self(id.into())
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
    /// Names one agent conversation.
    SessionId
}

id! {
    /// Names a sub-agent within its session.
    AgentId
}
