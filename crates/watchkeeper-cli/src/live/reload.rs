//! A policy that changes while a live monitor runs.

use std::time::Duration;

use watchkeeper_core::{
    Finding, Fingerprint, Severity,
    author::{make_safe, redact},
    clock::{Clock as _, Deadline, SystemClock},
    embed::{Feed, Reload, Router, Running},
};

use super::{
    host::{ChangedPolicy, Host, NextPolicy, Refusal},
    reading::SessionReader,
    sinks::LiveSinks,
    vital_signs::VitalSigns,
};
use crate::{stored_silences::StoredSilences, watch_state::WatchState};

/// The wait before a policy that could not be used for the moment is loaded again.
const RETRY: Duration = Duration::from_secs(5);
/// The time for which a sink may deliver the finding about a change, before a sink with other
/// options replaces it.
const LONGEST_NOTICE: Duration = Duration::from_secs(1);

/// Loads the policy of a monitor again, and reports the changes.
#[derive(Default)]
pub(super) struct PolicyReloader {
    /// The finding about the policy that is refused at present.
    refusal: Option<Finding>,
    retry: Option<Deadline>,
}

/// The parts of a live monitor that depend on its policy.
pub(super) struct PolicyParts<'a> {
    pub(super) sinks: &'a mut LiveSinks,
    pub(super) reader: &'a mut SessionReader,
    pub(super) vital_signs: &'a mut VitalSigns,
    pub(super) silences: &'a mut Option<StoredSilences>,
}

impl PolicyReloader {
    /// Returns whether the policy is to be loaded again because it could not be used for the
    /// moment.
    pub(super) fn is_due(&self) -> bool {
        self.retry.as_ref().is_some_and(|retry| retry.remaining().is_zero())
    }

    /// Returns the time until [`is_due`](Self::is_due) may return `true`.
    pub(super) fn longest_wait(&self) -> Duration {
        self.retry.as_ref().map_or(Duration::MAX, Deadline::remaining)
    }

    /// Loads the policy again, and gives it to the monitor if it has changed. All sinks, those of
    /// both policies, receive a finding about the change or the refusal. A refusal that is known
    /// is printed again if the reload `is_requested`, and not on a retry.
    pub(super) fn reload(
        &mut self,
        is_requested: bool,
        host: &mut dyn Host,
        running: &Running,
        parts: &mut PolicyParts<'_>,
    ) {
        let feed = running.feed();
        self.retry = None;
        let used = match host.next_policy(parts.reader.state.is_some()) {
            NextPolicy::Unchanged => Ok(()),
            NextPolicy::Changed(changed) => self.replace(*changed, host, running, parts),
            NextPolicy::Refused(refusal) => Err(refusal),
        };
        match used {
            Ok(()) => self.end_refusal(&feed, "the policy is valid again"),
            Err(refusal) => self.refuse(&refusal, is_requested, host, &feed),
        }
    }

    fn replace(
        &mut self,
        changed: ChangedPolicy,
        host: &mut dyn Host,
        running: &Running,
        parts: &mut PolicyParts<'_>,
    ) -> Result<(), Refusal> {
        let ChangedPolicy { policy, observers, state: new_state, changes } = changed;
        let PolicyParts { sinks, reader, vital_signs, silences } = parts;
        let feed = running.feed();
        let state = &mut reader.state;
        let had_state = state.is_some();
        *state = state.take().or(new_state);
        if let Err(err) = sinks.open_ledgers(&policy.sinks, observers.is_some(), state) {
            state.take_if(|_| !had_state);
            return Err(err.into());
        }
        let message = format!("the policy has changed: {changes}");
        host.on_reload(&message);
        self.end_refusal(&feed, "a later policy is used");
        let notice = about_policy(Fingerprint::of(&changes), message);
        // A receiver of incidents would keep the incident open for ever.
        let end = notice.clone().end(SystemClock.now(), "the changed policy is used");
        let notices = [notice, end];
        for notice in &notices {
            feed.notify(notice.clone());
        }
        if sinks.has_changes(&policy.sinks) {
            running.flush(LONGEST_NOTICE);
        }
        let ids: Vec<String> = policy.sinks.iter().map(|sink| sink.id.clone()).collect();
        let engine = policy.engine_config();
        if let Some(page) = &reader.page {
            page.reconfigure(&policy, SystemClock.now());
        }
        let queues = sinks.replace(policy.sinks, observers, state, &notices);
        let damages = state.as_mut().map_or_else(Vec::new, WatchState::take_damages);
        reader.follow_processes(policy.monitor.processes);
        if let Err(err) = vital_signs.replace_heartbeat(policy.heartbeat, running.feed()) {
            let message = format!("cannot start the heartbeat: {err}");
            let now = SystemClock.now();
            feed.report(Finding::about_monitor(now, "heartbeat", Severity::Medium, message));
        }
        let of_policy = policy.routes.silences().clone();
        let mut router = Router::new(policy.routes, &ids);
        match silences.as_mut().and_then(|silences| silences.of(of_policy)) {
            Some(Ok(silences)) => router.set_silences(silences),
            Some(Err(failure)) => _ = feed.report(*failure),
            None => {}
        }
        running.reload(Reload {
            detectors: policy.detectors,
            engine,
            router,
            queues,
            observers: sinks.observers().to_vec(),
            check_interval: policy.monitor.check_interval.unsigned(),
            shutdown_timeout: policy.monitor.shutdown_timeout.unsigned(),
        });
        for damage in damages {
            feed.report(damage);
        }
        Ok(())
    }

    /// Reports a policy that is not used, unless the same is reported already.
    fn refuse(&mut self, refusal: &Refusal, is_requested: bool, host: &mut dyn Host, feed: &Feed) {
        self.retry = refusal.is_temporary.then(|| Deadline::after(RETRY));
        let reason = make_safe(&redact(&refusal.summary));
        let message =
            format!("the changed policy is not used, and the earlier one stays in use: {reason}");
        let is_known = self.refusal.as_ref().is_some_and(|known| known.message == message);
        if is_requested || !is_known {
            host.on_refusal(refusal);
        }
        if is_known {
            return;
        }
        self.end_refusal(feed, "the policy is refused for another reason");
        let finding = about_policy(Fingerprint::of(&reason), message);
        feed.notify(finding.clone());
        self.refusal = Some(finding);
    }

    /// Ends the finding about a refused policy, if there is one.
    fn end_refusal(&mut self, feed: &Feed, message: &str) {
        if let Some(refusal) = self.refusal.take() {
            feed.notify(refusal.end(SystemClock.now(), message));
        }
    }
}

/// Makes a finding about the policy. `cause` distinguishes it from others.
fn about_policy(cause: Fingerprint, message: String) -> Finding {
    let now = SystemClock.now();
    let mut finding = Finding::about_monitor(now, "policy", Severity::Medium, message);
    finding.fingerprint = finding.fingerprint.and(cause);
    finding.id = finding.id.and(finding.fingerprint);
    finding
}
