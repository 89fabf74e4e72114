use schemars::JsonSchema;
use serde::Deserialize;
use watchkeeper_core::ToolClass;

/// The options of `kind = "no-progress"`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NoProgressOptions {
    /// Classes of tools whose calls are steps. Defaults to all.
    pub(crate) classes: Option<Vec<ToolClass>>,
    /// What counts as progress.
    #[serde(default)]
    pub(crate) progress: Progress,
}

/// What counts as progress.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Progress {
    /// Changes, and results that are new to the agent.
    #[default]
    Any,
    /// Changes only, for agents that are meant to write.
    Change,
}

impl NoProgressOptions {
    pub(crate) fn includes(&self, class: ToolClass) -> bool {
        self.classes.as_ref().is_none_or(|classes| classes.contains(&class))
    }
}
