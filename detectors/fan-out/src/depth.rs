//! The agents above a sub-agent.

use watchkeeper_core::{Context, EventKind, Fingerprint, Report};

/// The depth of the sub-agents that a session has started.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Depth {
    /// Whether a depth has reached the lowest level.
    is_open: bool,
}

impl Depth {
    pub(crate) fn is_empty(self) -> bool {
        !self.is_open
    }

    /// Reports the depth when a sub-agent starts, until a person prompts the main agent.
    pub(crate) fn observe(&mut self, event: &EventKind, is_main: bool, cx: &mut Context<'_>) {
        match event {
            EventKind::AgentStart { .. } => {
                let depth = u64::from(cx.agent().depth());
                self.is_open |= cx.next_level(0).is_some_and(|lowest| lowest <= depth);
                cx.report(Fingerprint::NONE, depth, || {
                    let levels = if depth == 1 { "level" } else { "levels" };
                    let message =
                        format!("a sub-agent {depth} {levels} below the main agent started");
                    Report::new(message).with("depth", depth)
                });
            }
            EventKind::Prompt { .. } if is_main && self.is_open => {
                let Some(reason) = cx.agent().start().reason() else { return };
                self.is_open = false;
                cx.resolve(Fingerprint::NONE, || Report::new(reason));
            }
            _ => {}
        }
    }
}
