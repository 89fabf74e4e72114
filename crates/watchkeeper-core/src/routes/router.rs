use std::{collections::BTreeMap, iter, sync::Arc};

use jiff::{SignedDuration, Timestamp};

use super::{
    decision::Decision,
    memory::{Memory, Sent},
    route::{Route, Routes},
    silenced::{Released, Silenced},
    waiting::{Due, Waiting},
};
use crate::{Annotations, Finding, Fingerprint, Period, Silences, Status, queue::Group};

/// The number of remembered deliveries from which older ones are forgotten.
const MAX_REMEMBERED: usize = 1 << 15;
/// The number of routes of earlier policies that are remembered.
const MAX_FORMER: usize = 64;

/// Sends each finding to the sinks that the routes of a policy choose.
///
/// All matching routes apply, and those with `fallback` only if no other one matches. A silence
/// hides a finding from all routes until the silence ends: then a finding that is still open goes
/// to the routes as if it had opened at that time, except that a wait for `for` that began before
/// the silence continues. A route with `for` sends a finding once it has been open for
/// that time: the router is told the time, and [`advance`](Self::advance) returns the findings
/// whose time has come.
///
/// The memory of a router is bounded: among very many findings, the router forgets those sent
/// longest ago, and sends them again if they repeat within the cooldown. Among very many that
/// wait, it sends the first ones before their time, and among very many silenced findings, it
/// [drops](Self::n_dropped) the oldest.
#[derive(Debug)]
pub struct Router {
    routes: Vec<ActiveRoute>,
    /// The routes that earlier policies had, with their ids; the routes removed last are
    /// first. They continue if they return.
    former: Vec<(usize, Route)>,
    next_id: usize,
    silences: Silences,
    pub(super) sent: Memory,
    /// The episodes with an open finding; all have the same route id. `is_open` means that
    /// silences have not hidden all findings of the episode.
    shown: Memory,
    silenced: Silenced,
    pub(super) waiting: Waiting,
    n_suppressed: u64,
    n_silenced: u64,
    /// The number of waits that were dropped during a silence.
    n_dropped_waits: u64,
}

/// A route of the present policy.
#[derive(Debug)]
struct ActiveRoute {
    /// Identifies the route, from one policy to the next.
    id: usize,
    route: Route,
    /// The indexes of its sinks.
    sinks: Vec<usize>,
}

/// A finding, and the sinks that receive it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Routed {
    /// The finding.
    pub finding: Finding,
    /// The indexes of the sinks.
    pub sinks: BTreeMap<usize, Sending>,
    /// Receivers of all findings receive this one, too: the finding has not waited for a route.
    pub(crate) is_for_observers: bool,
}

/// The way in which a finding is sent to a sink.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Sending {
    /// The number of repeats that cooldowns have suppressed since the sink received the finding.
    pub n_suppressed: u32,
    /// The group of the finding; `None` if a route sends it alone.
    pub(crate) group: Option<Group>,
}

impl Sending {
    /// Joins the ways in which two routes send a finding to one sink.
    fn and(self, other: Self) -> Self {
        let groups = self.group.zip(other.group);
        let group = groups.map(|(one, two)| if two.wait < one.wait { two } else { one });
        Self { n_suppressed: self.n_suppressed.max(other.n_suppressed), group }
    }
}

impl Router {
    /// Makes a router for sinks with these names, whose indexes [`Routed`] contains. Unknown
    /// names in a route are ignored.
    pub fn new(routes: impl Into<Routes>, sink_ids: &[String]) -> Self {
        let Routes { routes, silences } = routes.into();
        let next_id = routes.len();
        let active = |(id, route): (usize, Route)| {
            let named = |(sink_idx, id)| route.sinks.contains(id).then_some(sink_idx);
            let sinks = sink_ids.iter().enumerate().filter_map(named).collect();
            ActiveRoute { id, route, sinks }
        };
        Self {
            routes: routes.into_iter().enumerate().map(active).collect(),
            former: Vec::new(),
            next_id,
            silences,
            sent: Memory::new(MAX_REMEMBERED),
            shown: Memory::new(MAX_REMEMBERED),
            silenced: Silenced::default(),
            waiting: Waiting::default(),
            n_suppressed: 0,
            n_silenced: 0,
            n_dropped_waits: 0,
        }
    }

    /// Continues where the router of an earlier policy has stopped: routes for the same findings
    /// and sinks, or else of the same name, keep their cooldowns, the findings that wait, and
    /// those whose end they send. So does a route that returns, for findings that are still open.
    /// `new_sink` returns the index of a sink of the earlier router.
    pub(crate) fn continue_from(
        &mut self,
        old: Self,
        now: Timestamp,
        new_sink: impl Fn(usize) -> Option<usize>,
    ) {
        let Self { routes, former, next_id, sent, shown, silenced, waiting, .. } = old;
        (self.n_suppressed, self.n_silenced) = (old.n_suppressed, old.n_silenced);
        (self.n_dropped_waits, self.next_id) = (old.n_dropped_waits, next_id);
        (self.sent, self.shown, self.silenced) = (sent, shown, silenced);
        let present = routes.into_iter().map(|ActiveRoute { id, route, .. }| (id, route));
        let mut earlier: Vec<(usize, Route)> = present.chain(former).collect();
        let mut ids = vec![None; self.routes.len()];
        let is_named = |new: &Route, old: &Route| new.name == old.name;
        for is_same in [&Route::has_receivers_of as &dyn Fn(&Route, &Route) -> bool, &is_named] {
            for (id, new) in ids.iter_mut().zip(&self.routes).filter(|(id, _)| id.is_none()) {
                let same = earlier.iter().position(|(_, old)| is_same(&new.route, old));
                *id = same.map(|idx| earlier.remove(idx).0);
            }
        }
        for (new, id) in self.routes.iter_mut().zip(ids) {
            new.id = id.unwrap_or_else(|| {
                self.next_id += 1;
                self.next_id - 1
            });
        }
        earlier.truncate(MAX_FORMER);
        let open_for = |route: &Route| route.open_for.map_or(SignedDuration::ZERO, Period::get);
        let present = self.routes.iter().map(|it| (it.id, open_for(&it.route))).collect();
        let former = earlier.iter().map(|(id, _)| *id).collect();
        self.waiting = waiting.with_routes(&present, &former, now, new_sink);
        self.former = earlier;
        self.recheck();
    }

    /// Replaces the silences, those of the policy too. They apply to findings from now on: the
    /// next call of [`advance`](Self::advance) returns the findings that no silence hides any longer.
    pub fn set_silences(&mut self, silences: Silences) {
        self.silences = silences;
        self.recheck();
    }

    fn recheck(&mut self) {
        self.silenced.recheck();
        self.waiting.recheck();
    }

    /// Makes a router that sends all open findings to all sinks.
    pub fn to_all(sink_ids: &[String]) -> Self {
        Self::new(vec![Route::to_all(sink_ids)], sink_ids)
    }

    /// Takes a finding. Returns the findings to deliver, in order: an earlier one of the same
    /// episode that has waited for long enough at the time of this finding, and this one.
    pub fn route(&mut self, finding: &Finding) -> Vec<Routed> {
        let mut routed = self.route_for_all(finding);
        routed.retain(|routed| !routed.sinks.is_empty());
        routed
    }

    /// Routes a finding as [`route`](Self::route) does. The result contains findings for receivers
    /// of all findings only.
    pub(crate) fn route_for_all(&mut self, finding: &Finding) -> Vec<Routed> {
        let mut routed = Vec::new();
        match finding.status {
            Status::Open => routed.extend(self.route_open(finding)),
            Status::Resolved => self.route_end(finding, &mut routed),
        }
        // Those that are due before all times: more wait than the router remembers.
        self.send_due(Timestamp::MIN, &mut routed);
        routed
    }

    fn route_open(&mut self, finding: &Finding) -> Option<Routed> {
        self.silenced.take_one(finding.fingerprint);
        if let Some(until) = self.silences.hidden_until(finding, finding.at) {
            self.n_silenced += 1;
            self.note(finding, false);
            // A wait that has begun continues, for the present finding.
            self.waiting.update(finding, iter::empty());
            self.silenced.add(finding.clone(), until);
            return None;
        }
        self.note(finding, true);
        Some(self.choose(finding, finding.at, true))
    }

    fn route_end(&mut self, end: &Finding, routed: &mut Vec<Routed>) {
        let Finding { fingerprint, at, .. } = *end;
        // The finding was open at the end of its silence.
        if let Some(finding) = self.silenced.take_one(fingerprint)
            && let Some(released) = Released::new(finding, at, &self.silences)
        {
            routed.push(self.send_released(&released));
        }
        while let Some(due) = self.waiting.take_due_of(fingerprint, at) {
            routed.extend(self.send_waiting(due, at));
        }
        self.waiting.end(fingerprint);
        for (route_id, _) in &self.former {
            self.sent.close((*route_id, fingerprint));
        }
        let key = (0, fingerprint);
        let is_shown = self.shown.get(key).is_none_or(|last| last.is_open);
        self.shown.remove(key);
        routed.push(self.choose(end, at, is_shown));
    }

    /// Sends a finding whose silences have ended.
    fn send_released(&mut self, Released { at, finding }: &Released) -> Routed {
        self.note(finding, true);
        self.choose(finding, *at, true)
    }

    /// Records whether an open finding of an episode is shown.
    fn note(&mut self, finding: &Finding, is_shown: bool) {
        let key = (0, finding.fingerprint);
        let is_open = is_shown || self.shown.get(key).is_some_and(|last| last.is_open);
        let Finding { at, severity, .. } = *finding;
        self.shown.insert(key, Sent { at, severity, is_open, n_suppressed: 0 });
    }

    /// Records that an earlier process has sent an open finding, whatever the present silences:
    /// the routes that have sent it send its end. `has_received` returns whether a sink has
    /// received the finding, and `None` if that is unknown.
    ///
    /// A route with `for` has sent the finding if all its sinks have received it: another route
    /// may have sent it to some of them at once.
    pub(crate) fn remember(
        &mut self,
        finding: &Finding,
        has_received: impl Fn(usize) -> Option<bool>,
    ) {
        let Finding { at, severity, fingerprint, .. } = *finding;
        let sent = Sent { at, severity, is_open: true, n_suppressed: 0 };
        let accepting = || self.routes.iter().filter(|active| active.route.accepts(finding));
        let has_match = accepting().any(|active| !active.route.is_fallback);
        let matching = accepting().filter(|active| active.route.is_fallback != has_match);
        for ActiveRoute { id, route, sinks } in matching {
            let mut known = sinks.iter().filter_map(|sink_idx| has_received(*sink_idx)).peekable();
            let has_sent = match route.open_for {
                Some(_) => known.peek().is_some() && known.all(|received| received),
                None => known.any(|received| received),
            };
            if has_sent {
                self.waiting.stop(*id, fingerprint);
                self.sent.insert((*id, fingerprint), sent);
                self.shown.insert((0, fingerprint), sent);
            }
        }
    }

    /// Begins the waits of an open finding that an earlier process has observed, as
    /// [`route`](Self::route) does, and sends nothing.
    pub(crate) fn recall(&mut self, finding: &Finding) {
        let Finding { fingerprint, at, .. } = *finding;
        if self.silences.matching(finding, at).is_some() {
            return;
        }
        let accepting = || self.routes.iter().filter(|active| active.route.accepts(finding));
        let has_match = accepting().any(|active| !active.route.is_fallback);
        for ActiveRoute { id, route, .. } in &self.routes {
            if route.is_fallback && has_match {
                continue;
            }
            match route.wait((*id, fingerprint), at, &self.sent) {
                Some(until) if route.accepts(finding) => self.waiting.add(*id, finding, at, until),
                Some(_) => self.waiting.stop(*id, fingerprint),
                None => {}
            }
        }
    }

    /// Returns whether a route sends the ends of all findings that it matches to a sink, such as
    /// this end.
    pub(crate) fn sends_any_end(&self, end: &Finding, sink_idx: usize) -> bool {
        let mut routes = self.routes.iter().filter(|active| active.sinks.contains(&sink_idx));
        routes.any(|active| !active.route.follows_open(end) && active.route.accepts(end))
    }

    /// Returns the findings that no silence hides any longer at `now`, and the findings that have
    /// been open for the time of their routes.
    pub fn advance(&mut self, now: Timestamp) -> Vec<Routed> {
        let mut routed = self.advance_for_all(now);
        routed.retain(|routed| !routed.sinks.is_empty());
        routed
    }

    /// Advances as [`advance`](Self::advance) does. The result contains findings for receivers of
    /// all findings only.
    pub(crate) fn advance_for_all(&mut self, now: Timestamp) -> Vec<Routed> {
        let released = self.silenced.take_released(now, &self.silences);
        let mut routed = released.iter().map(|it| self.send_released(it)).collect();
        self.send_due(now, &mut routed);
        routed
    }

    fn send_due(&mut self, now: Timestamp, routed: &mut Vec<Routed>) {
        while let Some(due) = self.waiting.take_due(now) {
            routed.extend(self.send_waiting(due, now));
        }
    }

    /// Returns the time at which a waiting or silenced finding is due.
    pub fn next_wakeup(&self) -> Option<Timestamp> {
        self.waiting.next_due().into_iter().chain(self.silenced.next()).min()
    }

    /// Moves the times of waiting findings, since the wall clock was adjusted.
    pub(crate) fn adjust(&mut self, by: SignedDuration) {
        self.waiting.adjust(by);
    }

    /// Replaces the annotations of the findings that wait or are silenced.
    pub(crate) fn refresh_waiting(
        &mut self,
        annotations: impl Fn(&Finding) -> Option<Arc<Annotations>>,
    ) {
        for finding in self.waiting.findings_mut().chain(self.silenced.findings_mut()) {
            if let Some(annotations) = annotations(finding) {
                finding.annotations = annotations;
            }
        }
    }

    /// Forgets an episode that has ended, without sending its findings.
    pub(crate) fn forget(&mut self, fingerprint: Fingerprint) {
        self.silenced.take_one(fingerprint);
        self.waiting.end(fingerprint);
        self.shown.remove((0, fingerprint));
    }

    /// Returns a copy of a finding that a silence hides, with the silence.
    pub(crate) fn silenced(&self, finding: &Finding) -> Finding {
        Finding { silenced: self.silences.silenced(finding), ..finding.clone() }
    }

    /// Chooses the sinks that receive a finding at once, at `now`. Without `is_shown`, only routes
    /// that have sent an open finding send its end.
    fn choose(&mut self, finding: &Finding, now: Timestamp, is_shown: bool) -> Routed {
        let mut chosen: BTreeMap<usize, Sending> = BTreeMap::new();
        let mut has_match = false;
        let fallbacks = self.routes.iter().filter(|it| it.route.is_fallback);
        let others = self.routes.iter().filter(|it| !it.route.is_fallback);
        for ActiveRoute { id: route_id, route, sinks } in others.chain(fallbacks) {
            let key = (*route_id, finding.fingerprint);
            if !route.follows_open(finding) && (!is_shown || route.is_fallback && has_match) {
                continue;
            }
            has_match |= !route.is_fallback && route.accepts(finding);
            match route.decide(key, finding, now, &mut self.sent) {
                Decision::Send { n_suppressed } => {
                    let sending = route.sending(*route_id, finding, n_suppressed);
                    for sink_idx in sinks {
                        let chosen = chosen.entry(*sink_idx);
                        chosen.and_modify(|it| *it = it.and(sending)).or_insert(sending);
                    }
                }
                Decision::Wait { until } => self.waiting.add(*route_id, finding, now, until),
                Decision::Suppress => self.n_suppressed += 1,
                Decision::Skip if finding.status == Status::Open => {
                    self.waiting.stop(*route_id, finding.fingerprint);
                }
                Decision::Skip => {}
            }
        }
        self.waiting.update(finding, chosen.keys().copied());
        Routed { finding: finding.clone(), sinks: chosen, is_for_observers: is_shown }
    }

    /// Sends a finding that has waited for its route, or lets it wait for the end of a silence.
    fn send_waiting(&mut self, due: Due, now: Timestamp) -> Option<Routed> {
        let hidden_until = self.silences.hidden_until(&due.finding, due.due_at());
        if let Some(until) = hidden_until.filter(|until| !due.was_silenced() || now < *until) {
            self.n_silenced += u64::from(!due.was_silenced());
            self.n_dropped_waits += u64::from(!self.waiting.postpone(due, until));
            return None;
        }
        let learned_at = if due.was_silenced() {
            hidden_until.or(due.ended_at()).unwrap_or(now)
        } else {
            due.finding.at
        };
        let Due { route_id, finding, received, .. } = due;
        let active = self.routes.iter().find(|active| active.id == route_id)?;
        let ActiveRoute { route, sinks, .. } = active;
        // The route may have changed since.
        if !route.accepts(&finding) {
            return None;
        }
        let sinks: Vec<usize> = sinks.iter().copied().filter(|it| !received.contains(it)).collect();
        let key = (route_id, finding.fingerprint);
        match route.decide_open(key, &finding, learned_at, &mut self.sent) {
            Decision::Send { n_suppressed } => {
                self.waiting.add_received(finding.fingerprint, sinks.iter().copied());
                let sending = route.sending(route_id, &finding, n_suppressed);
                let sinks: BTreeMap<usize, Sending> =
                    sinks.into_iter().map(|sink_idx| (sink_idx, sending)).collect();
                (!sinks.is_empty()).then_some(Routed { finding, sinks, is_for_observers: false })
            }
            Decision::Suppress => {
                self.n_suppressed += 1;
                None
            }
            Decision::Wait { .. } | Decision::Skip => None,
        }
    }

    /// Returns the number of repeats that cooldowns have suppressed.
    pub fn n_suppressed(&self) -> u64 {
        self.n_suppressed
    }

    /// Returns the number of findings that silences have hidden, for some time at least.
    pub fn n_silenced(&self) -> u64 {
        self.n_silenced
    }

    /// Returns the number of findings that were dropped because silences hid very many.
    pub fn n_dropped(&self) -> u64 {
        self.silenced.n_dropped() + self.n_dropped_waits
    }
}

impl Route {
    fn sending(&self, route_id: usize, finding: &Finding, n_suppressed: u32) -> Sending {
        let group = self.grouping.as_ref().map(|grouping| Group {
            key: Fingerprint::from(route_id as u64).and(grouping.key(finding)),
            wait: grouping.wait.unsigned(),
        });
        Sending { n_suppressed, group }
    }
}
