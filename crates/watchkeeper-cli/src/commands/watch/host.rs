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
    Finding, Fingerprint, Severity,
    clock::{Clock as _, SystemClock},
    embed::{Durability, Registry},
};
use watchkeeper_policy::{Effective, Policy};
use watchkeeper_sources::{FollowReport, Update};

use super::{
    messages::{Summary, print_update},
    options::{WatchOptions, uses_other_sinks},
};
use crate::{
    causes::with_causes,
    file_watcher::FileWatcher,
    global::Global,
    live::{Host, NextPolicy},
    loading,
    output::Output,
};

/// Prints messages, and loads a policy that has changed.
pub(super) struct WatchHost<'a, 'o> {
    pub(super) options: &'a WatchOptions,
    pub(super) global: &'a Global,
    pub(super) registry: &'a Registry,
    pub(super) output: &'a mut Output<'o>,
    pub(super) paths: Vec<PathBuf>,
    pub(super) summary: Summary,
    /// The files that were recognized so far; `None` after the start.
    pub(super) recognized: Option<BTreeSet<PathBuf>>,
    /// A route uses a sink that does not print to standard output.
    pub(super) has_other_sinks: Arc<AtomicBool>,
    pub(super) used: UsedPolicy,
    /// A changed policy that the monitor has not taken over yet.
    pub(super) next: Option<UsedPolicy>,
    pub(super) watcher: FileWatcher,
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
}

impl UsedPolicy {
    pub(super) fn new(policy: &Policy) -> Self {
        let sinks = policy.sinks.iter();
        Self {
            effective: policy.effective.clone(),
            files: policy.files.clone(),
            sinks: sinks.map(|sink| (sink.id.clone(), sink.options)).collect(),
            at_start: (policy.monitor.durable, policy.monitor.state_dir.clone()),
            has_other_sinks: uses_other_sinks(policy),
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
            let is_named = changes.iter().any(|change| change.ends_with(&name));
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

    fn next_policy(&mut self, has_state: bool) -> Option<Result<NextPolicy, Finding>> {
        let Self { options, global, registry, output, .. } = &mut *self;
        let file = loading::find(global.policy.as_deref(), output);
        let needs_sinks = |policy: &Policy| !options.prints_all(policy);
        let policy =
            match loading::policy_with_secrets(&file, global, registry, needs_sinks, output) {
                Ok(policy) => policy,
                Err(err) => return Some(Err(self.refuse_policy(&with_causes(&err)))),
            };
        let next = UsedPolicy::new(&policy);
        let changes = next.changes_from(&self.used);
        // Also if nothing else has changed: the files that it extends may be others.
        self.watcher.set_files(next.files.clone());
        if changes.is_empty() {
            self.note("policy: no change");
            return None;
        }
        let mut state = None;
        if !has_state {
            let Self { options, global, output, paths, .. } = &mut *self;
            state = match options.open_state(&policy, paths, global, output) {
                Ok(state) => state,
                Err(err) => return Some(Err(self.refuse_policy(&with_causes(&err)))),
            };
        }
        let message = format!("the policy has changed: {}", changes.join(", "));
        let finding =
            Finding::about_monitor(SystemClock.now(), "policy", Severity::Medium, message);
        self.next = Some(next);
        let observers = self.options.printer(&policy, self.output.styles);
        Some(Ok(NextPolicy { policy, observers, state, finding }))
    }

    fn on_reload(&mut self, finding: &Finding) {
        let Some(next) = self.next.take() else { return };
        self.note(&finding.message);
        if next.at_start != self.used.at_start {
            self.note("`durable` and `state_dir` are used after the next start");
        }
        self.has_other_sinks.store(next.has_other_sinks, Ordering::Release);
        self.used = next;
    }

    fn refuse_policy(&mut self, reason: &str) -> Finding {
        self.next = None;
        let consequence = "the changed policy is not used; the earlier one stays in use";
        self.output.fail(&format!("error: {reason}\n{consequence}\n"));
        Finding::about_monitor(SystemClock.now(), "policy", Severity::Medium, consequence)
    }
}

impl WatchHost<'_, '_> {
    fn note(&mut self, text: &str) {
        if !self.global.quiet {
            self.output.fail(&format!("{text}\n"));
        }
    }
}
