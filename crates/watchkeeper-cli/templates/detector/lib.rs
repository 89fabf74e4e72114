#![doc = include_str!("../README.md")]

use std::{collections::BTreeMap, sync::Arc};

use schemars::JsonSchema;
use serde::Deserialize;
use watchkeeper_core::{
    Context, Detector, DetectorKind, Event, EventKind, EventSet, Fingerprint, InvalidOption,
    Report, Subscription, quote,
};

/// Finds calls of tools that an agent should not use.
///
/// One value observes one agent of one session: the engine clones it for each.
#[derive(Clone, Debug)]
pub struct KindName {
    /// Shared by the clones.
    options: Arc<KindNameOptions>,
    /// The number of calls of each listed tool. The list bounds its size.
    calls: BTreeMap<String, u64>,
}

/// The options of `kind = "kind-name"`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KindNameOptions {
    /// Names of the tools.
    tools: Vec<String>,
}

watchkeeper_core::register!(KindName);

impl DetectorKind for KindName {
    const KIND: &'static str = "kind-name";
    const DOCS: &'static str = include_str!("../README.md");
    const CLASS: &'static str = "policy";
    type Options = KindNameOptions;

    fn new(options: KindNameOptions) -> Result<Self, InvalidOption> {
        if options.tools.is_empty() {
            return Err(InvalidOption::new("tools", "list at least one tool"));
        }
        Ok(Self {
            options: Arc::new(options),
            calls: BTreeMap::new(),
        })
    }
}

impl Detector for KindName {
    fn observe(&mut self, event: &Event, cx: &mut Context<'_>) {
        let EventKind::ToolCall(call) = &event.kind else {
            return;
        };
        if !self.options.tools.iter().any(|tool| **tool == *call.tool) {
            return;
        }
        let n_calls = self.calls.entry(call.tool.to_string()).or_default();
        *n_calls += 1;
        // The engine compares the number with the levels of the policy. `quote` makes
        // text from agents safe for terminals.
        cx.report(Fingerprint::of(&*call.tool), *n_calls, || {
            Report::new(format!("{} was called", quote(&call.tool)))
        });
    }

    fn subscription(&self) -> Subscription {
        Subscription::to(EventSet::of(&["tool_call"]))
    }

    fn is_idle(&self) -> bool {
        self.calls.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use watchkeeper_testing::{laws, play};

    use super::KindName;

    const OPTIONS: &str = r#"tools = ["WebFetch"]"#;
    const TRACE: &str = r#"
        0s   prompt look it up
        5s   call Read {"file_path": "notes.md"}
        6s   result ok nothing there
        10s  call WebFetch {"url": "https://example.com"}
        12s  result ok a page
        20s  call WebFetch {"url": "https://example.org"}
    "#;

    #[test]
    fn finds_calls_of_listed_tools() {
        assert_eq!(
            play::<KindName>(OPTIONS, TRACE),
            "10s     medium    `WebFetch` was called\n"
        );
    }

    #[test]
    fn obeys_the_laws() {
        laws::of::<KindName>(OPTIONS).traces([TRACE]).check();
    }
}
