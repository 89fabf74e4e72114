#![doc = include_str!("../README.md")]

use std::{collections::BTreeMap, sync::Arc};

use schemars::JsonSchema;
use serde::Deserialize;
use watchkeeper_core::{Context, Detector, DetectorKind, Event, EventKind, Fingerprint, InvalidOption, Report, quote};

/// Finds calls of tools that an agent should not use.
///
/// It sees one agent of one session: the engine clones it for each.
#[derive(Clone, Debug)]
pub struct DetectorName {
    /// Shared between the clones.
    options: Arc<DetectorNameOptions>,
    /// How often each listed tool was called; no longer than the list, so that
    /// the state is bounded.
    calls: BTreeMap<String, u64>,
}

/// The options of `kind = "detector-name"`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DetectorNameOptions {
    /// The names of the tools.
    tools: Vec<String>,
}

watchkeeper_core::register!(DetectorName);

impl DetectorKind for DetectorName {
    const KIND: &'static str = "detector-name";
    const DOCS: &'static str = include_str!("../README.md");
    const CLASS: &'static str = "policy";
    type Options = DetectorNameOptions;

    fn new(options: DetectorNameOptions) -> Result<Self, InvalidOption> {
        if options.tools.is_empty() {
            return Err(InvalidOption::new("tools", "name at least one tool"));
        }
        Ok(Self {
            options: Arc::new(options),
            calls: BTreeMap::new(),
        })
    }
}

impl Detector for DetectorName {
    fn observe(&mut self, event: &Event, cx: &mut Context<'_>) {
        let EventKind::ToolCall(call) = &event.kind else {
            return;
        };
        if !self.options.tools.iter().any(|it| **it == *call.tool) {
            return;
        }
        let n_calls = self.calls.entry(call.tool.to_string()).or_default();
        *n_calls += 1;
        // The engine compares the number with the policy's levels. Text from
        // agents goes through `quote`.
        cx.report(Fingerprint::of(&*call.tool), *n_calls, || {
            Report::new(format!("{} was called", quote(&call.tool)))
        });
    }
}

#[cfg(test)]
mod tests {
    use watchkeeper_testing::{laws, play};

    use super::DetectorName;

    const OPTIONS: &str = r#"tools = ["WebFetch"]"#;

    #[test]
    fn finds_calls_of_the_tools_that_are_listed() {
        let trace = r#"
            0s   prompt look it up
            5s   call Read {"file_path": "notes.md"}
            6s   result ok nothing there
            10s  call WebFetch {"url": "https://example.com"}
            12s  result ok a page
            20s  call WebFetch {"url": "https://example.org"}
        "#;
        assert_eq!(
            play::<DetectorName>(OPTIONS, trace),
            "10s     medium    `WebFetch` was called\n"
        );
    }

    #[test]
    fn keeps_the_laws() {
        laws::check::<DetectorName>(OPTIONS);
    }
}
