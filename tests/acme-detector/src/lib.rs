#![doc = include_str!("../README.md")]

use std::{collections::BTreeMap, sync::Arc};

use schemars::JsonSchema;
use serde::Deserialize;
use watchkeeper_core::{
    Context, Detector, DetectorKind, Event, EventKind, Fingerprint, InvalidOption, Report, quote,
};

/// Finds calls of tools that the team has banned.
#[derive(Clone, Debug)]
pub struct BannedTool {
    options: Arc<BannedToolOptions>,
    /// The number of calls of each banned tool.
    calls: BTreeMap<String, u64>,
}

/// The options of `kind = "acme-banned-tool"`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BannedToolOptions {
    /// The names of the banned tools.
    tools: Vec<String>,
}

watchkeeper_core::register!(BannedTool);

impl DetectorKind for BannedTool {
    const KIND: &'static str = "acme-banned-tool";
    const DOCS: &'static str = include_str!("../README.md");
    const CLASS: &'static str = "banned";
    type Options = BannedToolOptions;

    fn new(options: BannedToolOptions) -> Result<Self, InvalidOption> {
        if options.tools.is_empty() {
            return Err(InvalidOption::new("tools", "name at least one tool"));
        }
        Ok(Self { options: Arc::new(options), calls: BTreeMap::new() })
    }
}

impl Detector for BannedTool {
    fn observe(&mut self, event: &Event, cx: &mut Context<'_>) {
        let EventKind::ToolCall(call) = &event.kind else { return };
        if !self.options.tools.iter().any(|it| **it == *call.tool) {
            return;
        }
        let n_calls = self.calls.entry(call.tool.to_string()).or_default();
        *n_calls += 1;
        cx.report(Fingerprint::of(&*call.tool), *n_calls, || {
            Report::new(format!("{} is banned", quote(&call.tool)))
        });
    }
}
