use schemars::JsonSchema;
use serde::Deserialize;
use watchkeeper_core::{
    Fingerprint, ToolClass,
    author::{Call, Period},
};

/// The options of `kind = "repeat-tool-call"`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RepeatToolCallOptions {
    /// The parts in which two calls must agree to be the same.
    #[serde(default)]
    #[schemars(with = "Vec<Part>")]
    pub(crate) same: Same,
    /// Longest time between two calls. Defaults to no limit.
    pub(crate) within: Option<Period>,
    /// Classes of tools that count. Defaults to all. A call of another class
    /// ends the repetition.
    pub(crate) classes: Option<Vec<ToolClass>>,
}

/// A part of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// The name of the tool.
    Tool,
    /// The arguments of the call.
    Arguments,
    /// The result of the call, ignoring numbers, ids and times.
    Result,
}

/// The parts in which two calls must agree to be the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(from = "Vec<Part>")]
pub(crate) struct Same {
    pub(crate) tool: bool,
    pub(crate) arguments: bool,
    pub(crate) result: bool,
}

impl Same {
    pub(crate) const NOTHING: Self = Self { tool: false, arguments: false, result: false };
}

impl Default for Same {
    fn default() -> Self {
        Self { tool: true, arguments: true, result: true }
    }
}

impl From<Vec<Part>> for Same {
    fn from(parts: Vec<Part>) -> Self {
        let has = |part| parts.contains(&part);
        Self { tool: has(Part::Tool), arguments: has(Part::Arguments), result: has(Part::Result) }
    }
}

impl RepeatToolCallOptions {
    pub(crate) fn includes(&self, class: ToolClass) -> bool {
        self.classes.as_ref().is_none_or(|classes| classes.contains(&class))
    }

    /// Returns true if a call is counted when its result arrives. If arguments
    /// may differ, a call without a result is no evidence.
    pub(crate) fn counts_at_result(&self) -> bool {
        self.same.result && !self.same.arguments
    }

    /// Returns the compared parts of a call that are known when it is made.
    pub(crate) fn key(&self, call: &Call) -> Brief {
        let key = if self.same.arguments {
            call.fingerprint
        } else if self.same.tool {
            Fingerprint::of(&*call.tool)
        } else {
            Fingerprint::NONE
        };
        key.brief()
    }
}

/// The short form of a fingerprint.
pub(crate) type Brief = std::num::NonZeroU32;
