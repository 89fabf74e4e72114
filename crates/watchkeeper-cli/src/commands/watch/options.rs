use std::{mem, path::PathBuf, sync::Arc};

use clap::{Args, ValueEnum};
use watchkeeper_core::embed::{Queue, Registry};
use watchkeeper_delivery::StateError;
use watchkeeper_policy::Policy;

use super::{display::Display, hooks::HookAnswers};
use crate::{
    causes::with_causes, error::Error, global::Global, live::LivePage, output::Output,
    recorded::is_standard_input, state_folder::StateFolder, stored_silences::StoredSilences,
    watch_state::WatchState,
};

/// The options of `watch` about what a policy delivers to.
#[derive(Debug, Args)]
pub(super) struct WatchOptions {
    /// Format of the findings on standard output [default: the format of the policy]
    #[arg(long, value_name = "FORMAT")]
    format: Option<FindingFormat>,

    #[command(flatten)]
    folder: StateFolder,
}

/// Format of the findings on standard output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum FindingFormat {
    /// A line for people
    Text,
    /// A line of JSON
    Json,
}

impl From<FindingFormat> for watchkeeper_sinks::Format {
    fn from(format: FindingFormat) -> Self {
        match format {
            FindingFormat::Text => Self::Text,
            FindingFormat::Json => Self::Json,
        }
    }
}

impl WatchOptions {
    /// Returns the folder of the state.
    pub(super) fn state_folder(&self, policy: &Policy) -> Option<PathBuf> {
        self.folder.path(Some(policy))
    }

    /// Returns the silences of a policy, and the silences that are stored with the state.
    pub(super) fn silences(&self, policy: &Policy) -> Option<StoredSilences> {
        let of_policy = policy.routes.silences().clone();
        self.state_folder(policy).map(|folder| StoredSilences::new(folder, of_policy))
    }

    /// Opens the state. Without a folder that the user has chosen, a folder that cannot be used
    /// is a warning, and findings end with the process. The session on standard input ends with
    /// the process, and has none.
    pub(super) fn open_state(
        &self,
        policy: &Policy,
        paths: &[PathBuf],
        registry: &Registry,
        global: &Global,
        output: &mut Output<'_>,
    ) -> Result<Option<WatchState>, Error> {
        let warn = |reason: &str, output: &mut Output<'_>| {
            if !global.quiet {
                let remedy = "findings end with this program; use --state-dir";
                output.fail(&format!("warning: {reason}; {remedy}\n"));
            }
        };
        if paths.iter().any(|path| is_standard_input(path)) {
            return Ok(None);
        }
        let Some(base) = self.state_folder(policy) else {
            if WatchState::is_needed(policy) {
                warn("HOME is not set", output);
            }
            return Ok(None);
        };
        match WatchState::open(policy, &base, paths, registry.sources.iter().collect()) {
            Err(err @ StateError::Io { .. }) if self.folder.chosen(Some(policy)).is_none() => {
                warn(&with_causes(&err), output);
                Ok(None)
            }
            opened => Ok(opened?),
        }
    }

    /// Returns whether all findings are printed, because no route of the policy uses a
    /// sink for the terminal.
    pub(super) fn prints_all(&self, policy: &Policy) -> bool {
        let is_used = |kind: &str| {
            let mut sinks = policy.sinks.iter().filter(|sink| sink.kind == kind);
            sinks.any(|sink| is_routed(policy, &sink.id))
        };
        !is_used("console") && (self.format.is_some() || !is_used("stderr"))
    }

    /// Removes the sinks for the terminal that no route uses, if all findings are printed: findings
    /// about the monitor, which all sinks receive, would be printed twice. A screen has none.
    pub(super) fn remove_unused_displays(&self, policy: &mut Policy, display: &Display) {
        let (is_screen, prints_all) = (display.is_screen(), self.prints_all(policy));
        let sinks = mem::take(&mut policy.sinks).into_iter();
        let is_kept = |is_routed: bool| !is_screen && (!prints_all || is_routed);
        policy.sinks = sinks
            .filter(|sink| !sink.sink.is_display() || is_kept(is_routed(policy, &sink.id)))
            .collect();
    }

    /// Makes the consoles of the policy print to standard output. Returns the queues that receive
    /// all findings: those of the page, with silenced ones, and of hooks, and a printer if the policy
    /// uses no console.
    pub(super) fn observers(
        &self,
        policy: &Policy,
        display: &Display,
        page: Option<&Arc<LivePage>>,
        hooks: &HookAnswers,
    ) -> Vec<Queue> {
        let format = self.format.map(watchkeeper_sinks::Format::from);
        watchkeeper_sinks::print_to_stdout(format);
        let prints_all = display.is_screen() || self.prints_all(policy);
        let printer = prints_all.then(|| display.printer(format));
        printer.into_iter().chain(page.map(LivePage::queue)).chain(hooks.queue()).collect()
    }
}

/// Returns whether a route uses a sink.
fn is_routed(policy: &Policy, sink: &String) -> bool {
    policy.routes.iter().any(|route| route.sinks.contains(sink))
}

/// Returns whether a route of the policy uses a sink that does not print to standard output.
pub(super) fn uses_other_sinks(policy: &Policy) -> bool {
    let mut used = policy.routes.iter().flat_map(|route| &route.sinks);
    used.any(|id| policy.sinks.iter().any(|sink| sink.id == *id && sink.kind != "console"))
}
