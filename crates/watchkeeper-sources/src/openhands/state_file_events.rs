//! The events of the state of a conversation.

use watchkeeper_core::{
    EventKind, Fingerprint,
    author::{EventSink, WaitingFor},
};

use super::{
    state::State,
    state_file::{BaseState, Stats},
};
use crate::json::{Seconds, Text, decode};

/// The largest number of purposes of models.
const MAX_PURPOSES: usize = 16;

const IN_STATE: &str = "usage in the state";
const IN_EVENTS: &str = "usage in events";

/// Reads the file with the state of a conversation. It contains the usage of all model
/// responses. Without a server, no other file contains it.
pub(super) fn read_file(base: &BaseState<'_>, state: &mut State, sink: &mut EventSink<'_>) {
    state.start.cwd = base.cwd().map(Text::boxed);
    state.start.model = base.model().map(Text::boxed);
    if !claim_usage(state, IN_STATE, IN_EVENTS, sink) {
        return;
    }
    let n_responses = base.stats.as_ref().map_or(0, |stats| read_responses(stats, state, sink));
    if let Some(status) = base.status {
        read_status(status, n_responses, state, sink);
    }
}

/// Reads the usage of all responses. Returns their number.
fn read_responses(stats: &Stats<'_>, state: &mut State, sink: &mut EventSink<'_>) -> u64 {
    let mut n_responses = 0_u64;
    for (purpose, metrics) in stats.purposes() {
        for (nth, (response, cost)) in (0_u64..).zip(metrics.responses()) {
            n_responses += 1;
            // Responses have no times, but their costs have.
            let Some((cost, Seconds(at))) = cost.and_then(|cost| Some((cost, cost.at?))) else {
                sink.skip_part("usage without a time");
                continue;
            };
            let id = response.response.map(Text::boxed);
            let key = Fingerprint::of(purpose.raw())
                .and(Fingerprint::of(id.as_deref().unwrap_or_default()))
                .and(Fingerprint::from(nth));
            state.is_new_entry = state.is_new(key, sink);
            state.now = at;
            state.latest = state.latest.max(Some(at));
            let model = response.model.or(metrics.model);
            let used = response.used().at_cost(cost.usd.unwrap_or(0.0));
            state.emit_usage(id, model, used, sink);
        }
    }
    n_responses
}

/// Reads the status of the agent, which has the time of the latest response.
fn read_status(status: Text<'_>, n_responses: u64, state: &mut State, sink: &mut EventSink<'_>) {
    let Some(at) = state.latest else { return };
    let waiting = |n: u64| {
        let session = Fingerprint::of(state.session.as_str());
        session.and(Fingerprint::of("waiting")).and(Fingerprint::from(n))
    };
    match status.raw() {
        // The next response may have been written meanwhile.
        b"running" => {
            let earlier = n_responses.saturating_sub(1);
            if ![n_responses, earlier].iter().any(|n| sink.is_known(waiting(*n))) {
                return;
            }
        }
        b"waiting_for_confirmation" => _ = sink.is_new(waiting(n_responses)),
        // The state contains no later prompts.
        b"idle" => return,
        _ => {}
    }
    let key = Fingerprint::of(status.raw()).and(Fingerprint::from(n_responses));
    state.is_new_entry = state.is_new(key, sink);
    state.now = at;
    state.is_turn_over = false;
    emit_status(status, state, sink);
}

pub(super) fn emit_status(status: Text<'_>, state: &mut State, sink: &mut EventSink<'_>) {
    match status.raw() {
        // The earlier status may be in another file.
        b"running" if state.is_waiting || state.names.has_one_event => {
            state.is_waiting = false;
            state.emit(EventKind::Resumed(WaitingFor::Permission), sink);
        }
        b"waiting_for_confirmation" => {
            state.is_waiting = true;
            state.emit(EventKind::Waiting(WaitingFor::Permission), sink);
        }
        b"stuck" => {
            let message = "OpenHands reports that the agent is stuck".into();
            state.emit(EventKind::Error { message, retry: None }, sink);
            state.emit(EventKind::TurnEnd, sink);
        }
        b"error" | b"finished" | b"idle" | b"paused" => state.emit(EventKind::TurnEnd, sink),
        _ => {}
    }
}

/// Emits the usage since the earlier totals.
pub(super) fn emit_totals(stats: Option<&Stats<'_>>, state: &mut State, sink: &mut EventSink<'_>) {
    if !claim_usage(state, IN_EVENTS, IN_STATE, sink) {
        return;
    }
    for (purpose, metrics) in stats.into_iter().flat_map(Stats::purposes) {
        let (name, totals) = (purpose.raw(), metrics.totals());
        if let Some((_, earlier)) = state.purposes.iter_mut().find(|it| *it.0 == *name) {
            let used = totals.since(std::mem::replace(earlier, totals));
            state.emit_usage(None, metrics.model, used, sink);
            continue;
        }
        if state.purposes.len() < MAX_PURPOSES {
            state.purposes.push((name.into(), totals));
        }
        // Earlier usage may be in another file. An event with the id of the purpose
        // replaces the earlier totals. It has no model, because totals do not measure
        // how full a context is.
        state.emit_usage(Some(decode(name).into()), None, totals, sink);
    }
}

/// Returns whether usage is read from `own`. The file with the state of a conversation
/// and its events both contain the usage. Only the first one that is read counts.
fn claim_usage(state: &State, own: &str, other: &str, sink: &mut EventSink<'_>) -> bool {
    let key = |form| Fingerprint::of(state.session.as_str()).and(Fingerprint::of(form));
    let is_free = !sink.is_known(key(other));
    if is_free {
        sink.is_new(key(own));
    }
    is_free
}
