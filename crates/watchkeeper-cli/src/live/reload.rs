//! A policy that changes while a live monitor runs.

use std::sync::Arc;

use watchkeeper_core::{
    Finding, Severity,
    clock::{Clock as _, SystemClock},
    embed::{Reload, Router, Running},
};
use watchkeeper_sources::ProcessTracker;

use super::{
    host::{Host, NextPolicy},
    processes::track_processes,
    sinks::LiveSinks,
    vital_signs::VitalSigns,
};
use crate::{causes::with_causes, stored_silences::StoredSilences, watch_state::WatchState};

/// Loads the policy again, and gives it to the monitor if it has changed. The sinks so far
/// receive a finding about the change.
pub(super) fn reload(
    host: &mut dyn Host,
    running: &Running,
    (sinks, state): (&mut LiveSinks, &mut Option<WatchState>),
    processes: &mut Option<ProcessTracker>,
    vital_signs: &mut VitalSigns,
    silences: &mut Option<StoredSilences>,
) {
    let feed = running.feed();
    let NextPolicy { policy, observers, state: new_state, finding } =
        match host.next_policy(state.is_some()) {
            None => return,
            Some(Err(finding)) => {
                feed.report(finding);
                return;
            }
            Some(Ok(next)) => next,
        };
    let had_state = state.is_some();
    *state = state.take().or(new_state);
    let engine = policy.engine_config();
    let ids: Vec<String> = policy.sinks.iter().map(|sink| sink.id.clone()).collect();
    let queues = match sinks.replace(policy.sinks, state) {
        Ok(queues) => queues,
        Err(err) => {
            state.take_if(|_| !had_state);
            feed.report(host.refuse_policy(&with_causes(&err)));
            return;
        }
    };
    match processes {
        None if policy.monitor.processes => *processes = track_processes(),
        Some(_) if !policy.monitor.processes => *processes = None,
        _ => {}
    }
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
    host.on_reload(&finding);
    feed.report(finding);
    running.reload(Reload {
        detectors: policy.detectors,
        engine,
        router,
        queues,
        observers: observers.into_iter().map(Arc::new).collect(),
        check_interval: policy.monitor.check_interval.unsigned(),
        shutdown_timeout: policy.monitor.shutdown_timeout.unsigned(),
    });
}
