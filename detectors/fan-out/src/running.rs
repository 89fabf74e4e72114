//! The sub-agents of a session that work at once.

use watchkeeper_core::{Context, EventKind, Fingerprint, Report, author::TurnEffect};

use crate::report::agents;

/// The sub-agents that work at once, or that still work after the turn of the main agent.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Running {
    /// Whether the number has reached the lowest level.
    is_open: bool,
}

impl Running {
    pub(crate) fn is_empty(self) -> bool {
        !self.is_open
    }

    /// Reports the number when a sub-agent starts.
    pub(crate) fn observe(&mut self, event: &EventKind, cx: &mut Context<'_>) {
        let n = running(cx);
        if matches!(event, EventKind::AgentStart { .. }) {
            self.report(n, cx, || format!("{} work at once", agents(n)));
        } else if event.turn_effect() == TurnEffect::Ends {
            self.update(n, cx);
        }
    }

    /// Reports the number when the main agent ends its turn, until it continues.
    pub(crate) fn observe_unfinished(
        &mut self,
        event: &EventKind,
        is_main: bool,
        cx: &mut Context<'_>,
    ) {
        let n = running(cx);
        match event {
            EventKind::TurnEnd if is_main && 0 < n => {
                self.report(n, cx, || {
                    format!("the main agent ended its turn before {}", agents(n))
                });
            }
            EventKind::Prompt { .. } if is_main && std::mem::take(&mut self.is_open) => {
                cx.resolve(Fingerprint::NONE, || {
                    Report::new("the main agent continues").with("sub_agents", n)
                });
            }
            _ if event.turn_effect() == TurnEffect::Ends => self.update(n, cx),
            _ => {}
        }
    }

    fn report(&mut self, n: u64, cx: &mut Context<'_>, message: impl FnOnce() -> String) {
        self.is_open |= cx.next_level(0).is_some_and(|lowest| lowest <= n);
        cx.report(Fingerprint::NONE, n, || Report::new(message()).with("sub_agents", n));
    }

    /// Resolves the finding below three quarters of the lowest level.
    fn update(&mut self, n: u64, cx: &mut Context<'_>) {
        if self.is_open && cx.next_level(0).is_none_or(|lowest| n < lowest - lowest / 4) {
            self.is_open = false;
            cx.resolve(Fingerprint::NONE, || {
                Report::new(format!("down to {}", agents(n))).with("sub_agents", n)
            });
        }
    }
}

fn running(cx: &Context<'_>) -> u64 {
    cx.session().running_sub_agents.into()
}
