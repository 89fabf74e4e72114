//! The sub-agents that a session starts.

use watchkeeper_core::{Context, EventKind, Fingerprint, Report, author::Period};

use crate::{report::agents, window::Recent};

/// The starts of a session; `None` if no start counts. Boxed, because most sessions start no
/// sub-agent.
#[derive(Clone, Debug, Default)]
pub(crate) struct Starts(Option<Box<Counted>>);

#[derive(Clone, Debug, Default)]
struct Counted {
    /// The number of all starts, without a window.
    n: u64,
    recent: Recent,
    is_open: bool,
}

impl Starts {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Adds the start of a sub-agent and reports the number.
    pub(crate) fn observe(
        &mut self,
        event: &EventKind,
        window: Option<Period>,
        cx: &mut Context<'_>,
    ) {
        let EventKind::AgentStart { .. } = event else { return };
        let counted = self.0.get_or_insert_default();
        if let Some(window) = window {
            counted.recent.advance(cx.now(), window.get());
            counted.recent.add();
            counted.n = counted.recent.total();
        } else {
            counted.n = counted.n.saturating_add(1);
        }
        let n = counted.n;
        counted.is_open |= cx.next_level(0).is_some_and(|lowest| lowest <= n);
        let within = within(window, cx);
        cx.report(Fingerprint::NONE, n, || {
            Report::new(format!("{} started{within}", agents(n))).with("sub_agents", n)
        });
        self.request_wake_up(window, cx);
    }

    /// Removes the starts that have left the window. Resolves the finding below three quarters of
    /// the lowest level, so that steady starts around that level are reported once.
    pub(crate) fn wake(&mut self, window: Option<Period>, cx: &mut Context<'_>) {
        let (Some(counted), Some(window)) = (&mut self.0, window) else { return };
        counted.recent.advance(cx.now(), window.get());
        counted.n = counted.recent.total();
        let n = counted.n;
        if counted.is_open && cx.next_level(0).is_none_or(|lowest| n < lowest - lowest / 4) {
            counted.is_open = false;
            let within = within(Some(window), cx);
            cx.resolve(Fingerprint::NONE, || {
                Report::new(format!("down to {}{within}", agents(n))).with("sub_agents", n)
            });
        }
        if n == 0 {
            self.0 = None;
        }
        self.request_wake_up(Some(window), cx);
    }

    /// Requests a wake-up for the time at which the number falls.
    fn request_wake_up(&self, window: Option<Period>, cx: &mut Context<'_>) {
        let (Some(counted), Some(window)) = (&self.0, window) else { return };
        let recent = &counted.recent;
        let at = if counted.is_open {
            recent.oldest_leaves_at(window.get())
        } else {
            recent.empty_at(window.get())
        };
        if let Some(at) = at {
            cx.wake_at(at);
        }
    }
}

/// Returns the window for a message, such as ` in 1h`.
fn within(window: Option<Period>, cx: &Context<'_>) -> String {
    window.map_or_else(String::new, |window| cx.within(window.get()).to_string())
}
