//! The answers of `watch` to its live monitor.

use std::{
    collections::BTreeSet,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use watchkeeper_core::{
    Fingerprint,
    embed::{Durability, Registry},
};
use watchkeeper_policy::{Effective, Policy};
use watchkeeper_sources::{FollowReport, Update};

use super::{
    display::Display,
    hooks::HookAnswers,
    messages::{Summary, print_update},
    options::{WatchOptions, uses_other_sinks},
};
use crate::{
    causes::with_causes,
    error::Error,
    file_watcher::FileWatcher,
    global::Global,
    live::{ChangedPolicy, Host, LivePage, NextPolicy, Refusal},
    loading::{self, LoadError},
    numbers::counted,
    output::Output,
    policy_file::PolicyFile,
};

/// Prints messages, and loads a policy that has changed.
pub(super) struct WatchHost<'a, 'o> {
    pub(super) options: &'a WatchOptions,
    pub(super) global: &'a Global,
    pub(super) registry: &'a Registry,
    pub(super) output: &'a mut Output<'o>,
    pub(super) paths: Vec<PathBuf>,
    /// The file that was chosen at the start. No other one is used: an agent can write a policy
    /// where it works.
    pub(super) policy_file: PolicyFile,
    pub(super) summary: Summary,
    /// The files that were recognized so far; `None` after the start.
    pub(super) recognized: Option<BTreeSet<PathBuf>>,
    /// A route uses a sink that does not print to standard output.
    pub(super) has_other_sinks: Arc<AtomicBool>,
    pub(super) used: UsedPolicy,
    /// A changed policy that the monitor has not taken over yet.
    pub(super) next: Option<UsedPolicy>,
    pub(super) watcher: FileWatcher,
    pub(super) page: Option<Arc<LivePage>>,
    pub(super) display: &'a Display,
    pub(super) hooks: &'a HookAnswers,
}

/// The properties of a policy with which a later one is compared.
pub(super) struct UsedPolicy {
    effective: Effective,
    files: Vec<PathBuf>,
    /// The sinks by name, with hashes of their options.
    sinks: Vec<(String, Fingerprint)>,
    /// The options that are used from the next start on.
    at_start: (Durability, Option<PathBuf>),
    has_other_sinks: bool,
    prints_all: bool,
}

impl UsedPolicy {
    pub(super) fn new(policy: &Policy, options: &WatchOptions) -> Self {
        let sinks = policy.sinks.iter();
        Self {
            effective: policy.effective.clone(),
            files: policy.files.clone(),
            sinks: sinks.map(|sink| (sink.id.clone(), sink.options)).collect(),
            at_start: (policy.monitor.durable, policy.monitor.state_dir.clone()),
            has_other_sinks: uses_other_sinks(policy),
            prints_all: options.prints_all(policy),
        }
    }

    pub(super) fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// Returns the differences from an earlier policy in words.
    fn changes_from(&self, earlier: &Self) -> Vec<String> {
        let mut changes = self.effective.changes_from(&earlier.effective);
        for (id, options) in &self.sinks {
            let is_changed = |(other, other_options): &(String, Fingerprint)| {
                other == id && other_options != options
            };
            let name = format!("`sinks.{}`", watchkeeper_policy::toml_key(id));
            let is_named = changes.iter().any(|change| change.contains(&name));
            if !is_named && earlier.sinks.iter().any(is_changed) {
                changes.push(format!("changed the secrets of {name}"));
            }
        }
        changes
    }
}

impl Host for WatchHost<'_, '_> {
    fn on_update(&mut self, update: &Update) {
        if let (Update::Began { file, .. }, Some(recognized)) = (update, &mut self.recognized) {
            recognized.insert(PathBuf::from(&**file));
        }
        print_update(update, self.global, self.output.err);
    }

    fn on_start(&mut self, report: &FollowReport, n_sessions: usize) {
        let recognized = self.recognized.take().unwrap_or_default();
        if !self.global.quiet {
            self.summary.print_read(report, n_sessions, &recognized, self.output.err);
        }
    }

    fn next_policy(&mut self, has_state: bool) -> NextPolicy {
        let Self { options, global, registry, output, policy_file, .. } = &mut *self;
        let needs_sinks = |policy: &Policy| !options.prints_all(policy);
        let loaded =
            loading::policy_with_secrets(policy_file, global, registry, needs_sinks, output);
        // A change of any of them may repair a policy that is refused.
        let files = loaded.as_ref().map_or_else(LoadError::files, |policy| &policy.files);
        self.watcher.set_files(self.used.files.iter().chain(files).cloned().collect());
        let mut policy = match loaded {
            Ok(policy) => policy,
            Err(err) => return NextPolicy::Refused(refusal(err.summary(), &err.into())),
        };
        let next = UsedPolicy::new(&policy, self.options);
        let changes = joined(next.changes_from(&self.used));
        if changes.is_empty() {
            self.take_over(next);
            self.note("policy: no change");
            return NextPolicy::Unchanged;
        }
        let mut state = None;
        if !has_state {
            let Self { options, global, registry, output, paths, .. } = &mut *self;
            state = match options.open_state(&policy, paths, registry, global, output) {
                Ok(state) => state,
                Err(err) => return NextPolicy::Refused(refusal(with_causes(&err), &err)),
            };
        }
        let is_same = next.prints_all == self.used.prints_all;
        let observers = (!is_same)
            .then(|| self.options.observers(&policy, self.display, self.page.as_ref(), self.hooks));
        self.next = Some(next);
        self.options.remove_unused_displays(&mut policy, self.display);
        NextPolicy::Changed(Box::new(ChangedPolicy { policy, observers, state, changes }))
    }

    fn on_reload(&mut self, message: &str) {
        let Some(next) = self.next.take() else { return };
        self.note(message);
        if next.at_start != self.used.at_start {
            self.note("`durable` and `state_dir` are used after the next start");
        }
        self.take_over(next);
    }

    fn on_refusal(&mut self, refusal: &Refusal) {
        self.next = None;
        let consequence = "the changed policy is not used; the earlier one stays in use";
        self.output.fail(&format!("{}\n{consequence}\n", refusal.details));
    }
}

/// Joins changes, and counts those beyond the number that a finding names.
fn joined(mut changes: Vec<String>) -> String {
    const MAX_NAMED: usize = 10;
    if MAX_NAMED < changes.len() {
        let n_more = changes.len() - MAX_NAMED;
        changes.truncate(MAX_NAMED);
        changes.push(format!("and {}", counted(n_more as u64, "other change")));
    }
    changes.join(", ")
}

/// Makes the refusal of a policy for an error.
fn refusal(summary: String, err: &Error) -> Refusal {
    let is_temporary = matches!(err, Error::StateInUse { .. });
    Refusal { summary, details: err.render(), is_temporary }
}

impl WatchHost<'_, '_> {
    fn take_over(&mut self, next: UsedPolicy) {
        self.watcher.set_files(next.files.clone());
        self.has_other_sinks.store(next.has_other_sinks, Ordering::Release);
        self.used = next;
    }

    fn note(&mut self, text: &str) {
        if !self.global.quiet {
            self.output.fail(&format!("{text}\n"));
        }
    }
}
