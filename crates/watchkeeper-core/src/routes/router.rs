use std::{collections::BTreeMap, sync::Arc};

use jiff::{SignedDuration, Timestamp};

use super::{
    memory::{Memory, Sent},
    route::{Route, Routes},
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
/// hides a finding from all routes. A route with `for` sends a finding once it has been open for
/// that time: the router is told the time, and [`advance`](Self::advance) returns the findings
/// whose time has come.
///
/// The memory of a router is bounded: among very many findings, the router forgets those sent
/// longest ago, and sends them again if they repeat within the cooldown. Among very many that
/// wait, it sends those that are due first before their time.
#[derive(Debug)]
pub struct Router {
    routes: Vec<ActiveRoute>,
    /// The routes that earlier policies had, with their ids; the routes removed last are
    /// first. They continue if they return.
    former: Vec<(usize, Route)>,
    next_id: usize,
    silences: Silences,
    pub(super) sent: Memory,
    /// The episodes with an open finding, for receivers of all findings; all have the same route
    /// id. `is_open` means that these receivers have an open finding of the episode, since no
    /// silence has hidden all of them.
    observed: Memory,
    pub(super) waiting: Waiting,
    n_suppressed: u64,
    n_silenced: u64,
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
            observed: Memory::new(MAX_REMEMBERED),
            waiting: Waiting::default(),
            n_suppressed: 0,
            n_silenced: 0,
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
        let Self { routes, former, next_id, sent, observed, waiting, .. } = old;
        (self.n_suppressed, self.n_silenced) = (old.n_suppressed, old.n_silenced);
        (self.sent, self.observed, self.next_id) = (sent, observed, next_id);
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
    }

    /// Replaces the silences, those of the policy too. They apply to findings from now on.
    pub fn set_silences(&mut self, silences: Silences) {
        self.silences = silences;
    }

    /// Makes a router that sends all open findings to all sinks.
    pub fn to_all(sink_ids: &[String]) -> Self {
        Self::new(vec![Route::to_all(sink_ids)], sink_ids)
    }

    /// Takes a finding. Returns the findings to deliver, in order: an earlier one of the same
    /// episode that has waited for long enough at the time of this finding, and this one.
    pub fn route(&mut self, finding: &Finding) -> Vec<Routed> {
        let mut delivered = Vec::new();
        if finding.status == Status::Resolved {
            while let Some(due) = self.waiting.take_due_of(finding.fingerprint, finding.at) {
                delivered.extend(self.send_waiting(due));
            }
            self.waiting.end(finding.fingerprint);
            for (route_id, _) in &self.former {
                self.sent.close((*route_id, finding.fingerprint));
            }
        }
        let sinks = self.sinks(finding);
        self.waiting.update(finding, sinks.keys().copied());
        if !sinks.is_empty() {
            delivered.push(Routed { finding: finding.clone(), sinks });
        }
        // Those that are due before all times: more wait than the router remembers.
        delivered.extend(self.advance(Timestamp::MIN));
        delivered
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
            }
        }
    }

    /// Returns whether a route sends the ends of all findings that it matches to a sink, such as
    /// this end.
    pub(crate) fn sends_any_end(&self, end: &Finding, sink_idx: usize) -> bool {
        let mut routes = self.routes.iter().filter(|active| active.sinks.contains(&sink_idx));
        routes.any(|active| !active.route.follows_open(end) && active.route.accepts(end))
    }

    /// Returns the findings that have been open for the time of their routes at `now`.
    pub fn advance(&mut self, now: Timestamp) -> Vec<Routed> {
        let mut delivered = Vec::new();
        while let Some(due) = self.waiting.take_due(now) {
            delivered.extend(self.send_waiting(due));
        }
        delivered
    }

    /// Returns the time at which a waiting finding is due.
    pub fn next_wakeup(&self) -> Option<Timestamp> {
        self.waiting.next_due()
    }

    /// Moves the times of waiting findings, since the wall clock was adjusted.
    pub(crate) fn adjust(&mut self, by: SignedDuration) {
        self.waiting.adjust(by);
    }

    /// Replaces the annotations of the findings that wait.
    pub(crate) fn refresh_waiting(
        &mut self,
        annotations: impl Fn(&Finding) -> Option<Arc<Annotations>>,
    ) {
        for finding in self.waiting.findings_mut() {
            if let Some(annotations) = annotations(finding) {
                finding.annotations = annotations;
            }
        }
    }

    /// Forgets the waiting findings of an episode, without sending them.
    pub(crate) fn forget_waiting(&mut self, fingerprint: Fingerprint) {
        self.waiting.end(fingerprint);
    }

    /// Takes a finding, and returns whether a receiver of all findings receives it: not if a
    /// silence hides the finding, or has hidden all open findings of its episode.
    pub(crate) fn observe(&mut self, finding: &Finding) -> bool {
        let key = (0, finding.fingerprint);
        let last = self.observed.get(key);
        let is_shown = match finding.status {
            Status::Resolved => {
                self.observed.close(key);
                return last.is_none_or(|last| last.is_open);
            }
            Status::Open => self.silences.matching(finding, finding.at).is_none(),
        };
        let is_open = is_shown || last.is_some_and(|last| last.is_open);
        let Finding { at, severity, .. } = *finding;
        self.observed.insert(key, Sent { at, severity, is_open, n_suppressed: 0 });
        is_shown
    }

    /// Returns the sinks that receive a finding at once.
    fn sinks(&mut self, finding: &Finding) -> BTreeMap<usize, Sending> {
        let mut chosen: BTreeMap<usize, Sending> = BTreeMap::new();
        let is_silenced = self.silences.matching(finding, finding.at).is_some();
        self.n_silenced += u64::from(is_silenced && finding.status == Status::Open);
        if is_silenced && finding.status == Status::Open {
            self.waiting.end(finding.fingerprint);
        }
        let mut has_match = false;
        let fallbacks = self.routes.iter().filter(|it| it.route.is_fallback);
        let others = self.routes.iter().filter(|it| !it.route.is_fallback);
        for ActiveRoute { id: route_id, route, sinks } in others.chain(fallbacks) {
            let route_id = *route_id;
            if !route.follows_open(finding) && (is_silenced || route.is_fallback && has_match) {
                continue;
            }
            has_match |= !route.is_fallback && route.accepts(finding);
            match route.decide(route_id, finding, &mut self.sent) {
                Decision::Send { n_suppressed } => {
                    let sending = route.sending(route_id, finding, n_suppressed);
                    for sink_idx in sinks {
                        let chosen = chosen.entry(*sink_idx);
                        chosen.and_modify(|it| *it = it.and(sending)).or_insert(sending);
                    }
                }
                Decision::Wait { until } => self.waiting.add(route_id, finding, until),
                Decision::Suppress => self.n_suppressed += 1,
                Decision::Skip if finding.status == Status::Open => {
                    self.waiting.stop(route_id, finding.fingerprint);
                }
                Decision::Skip => {}
            }
        }
        chosen
    }

    /// Sends a finding that has waited for its route.
    fn send_waiting(&mut self, due: Due) -> Option<Routed> {
        let Due { at, route_id, finding, received } = due;
        if self.silences.matching(&finding, at).is_some() {
            self.n_silenced += 1;
            return None;
        }
        let active = self.routes.iter().find(|active| active.id == route_id)?;
        let ActiveRoute { route, sinks, .. } = active;
        // The route may have changed since.
        if !route.accepts(&finding) {
            return None;
        }
        let sinks: Vec<usize> = sinks.iter().copied().filter(|it| !received.contains(it)).collect();
        match route.decide_open((route_id, finding.fingerprint), &finding, &mut self.sent) {
            Decision::Send { n_suppressed } => {
                self.waiting.add_received(finding.fingerprint, sinks.iter().copied());
                let sending = route.sending(route_id, &finding, n_suppressed);
                let sinks: BTreeMap<usize, Sending> =
                    sinks.into_iter().map(|sink_idx| (sink_idx, sending)).collect();
                (!sinks.is_empty()).then_some(Routed { finding, sinks })
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

    /// Returns the number of findings that silences have hidden.
    pub fn n_silenced(&self) -> u64 {
        self.n_silenced
    }
}

/// The decision of a route about a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Decision {
    /// The finding is sent, after this number of suppressed repeats.
    Send { n_suppressed: u32 },
    /// The finding is sent if it is still open at this time.
    Wait { until: Timestamp },
    /// The finding repeats within the cooldown.
    Suppress,
    /// The finding does not match.
    Skip,
}

impl Route {
    fn decide(&self, route_id: usize, finding: &Finding, sent: &mut Memory) -> Decision {
        let key = (route_id, finding.fingerprint);
        if !self.follows_open(finding) && !self.accepts(finding) {
            return Decision::Skip;
        }
        let last_open = || sent.get(key).filter(|last| last.is_open);
        match (finding.status, self.matcher.status) {
            (Status::Open, _) => match self.open_for {
                // A higher severity of an episode that was sent has not to wait again.
                Some(open_for) if last_open().is_none() => {
                    let until = finding.at.saturating_add(open_for.get());
                    Decision::Wait { until: until.unwrap_or(Timestamp::MAX) }
                }
                _ => self.decide_open(key, finding, sent),
            },
            (Status::Resolved, Some(_)) => Decision::Send { n_suppressed: 0 },
            (Status::Resolved, None) => {
                let Some(last) = last_open() else { return Decision::Skip };
                if !self.send_resolved {
                    sent.insert(key, Sent { is_open: false, ..last });
                    return Decision::Skip;
                }
                sent.insert(key, Sent { is_open: false, n_suppressed: 0, ..last });
                Decision::Send { n_suppressed: last.n_suppressed }
            }
        }
    }

    fn sending(&self, route_id: usize, finding: &Finding, n_suppressed: u32) -> Sending {
        let group = self.grouping.as_ref().map(|grouping| Group {
            key: Fingerprint::from(route_id as u64).and(grouping.key(finding)),
            wait: grouping.wait.unsigned(),
        });
        Sending { n_suppressed, group }
    }

    /// Decides about an open finding that has not to wait.
    fn decide_open(
        &self,
        key: (usize, Fingerprint),
        finding: &Finding,
        sent: &mut Memory,
    ) -> Decision {
        if self.cooldown.is_none() && self.open_for.is_none() && !self.send_resolved {
            return Decision::Send { n_suppressed: 0 };
        }
        let last = sent.get(key);
        if let Some((cooldown, last)) = self.cooldown.zip(last)
            && finding.severity <= last.severity
            && is_within(cooldown, last.at, finding.at)
        {
            let n_suppressed = last.n_suppressed.saturating_add(1);
            sent.insert(key, Sent { n_suppressed, ..last });
            return Decision::Suppress;
        }
        let Finding { at, severity, .. } = *finding;
        sent.insert(key, Sent { at, severity, is_open: true, n_suppressed: 0 });
        Decision::Send { n_suppressed: last.map_or(0, |last| last.n_suppressed) }
    }
}

/// Returns whether a finding at `at` is within the cooldown of one at `last`. Not if the
/// wall clock was set back meanwhile: a cooldown would last until the clock has caught up.
fn is_within(cooldown: Period, last: Timestamp, at: Timestamp) -> bool {
    let since = at.duration_since(last);
    !since.is_negative() && since < cooldown.get()
}
