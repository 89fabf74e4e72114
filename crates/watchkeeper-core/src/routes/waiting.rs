use std::{
    collections::{BTreeMap, BTreeSet},
    mem,
};

use jiff::{SignedDuration, Timestamp};

use crate::{Finding, Fingerprint};

/// The largest number of waits.
const MAX_WAITS: usize = 1 << 14;

/// The open findings that wait until they have been open for the time of a route.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    episodes: BTreeMap<Fingerprint, Episode>,
    /// The waits for routes of the present policy.
    due: BTreeSet<(Timestamp, Fingerprint, usize)>,
}

#[derive(Debug)]
struct Episode {
    /// The latest finding of the episode.
    finding: Finding,
    /// The sinks that have received this finding.
    received: BTreeSet<usize>,
    /// By id of the route.
    waits: BTreeMap<usize, Wait>,
}

/// The wait of an episode for a route.
#[derive(Clone, Copy, Debug)]
struct Wait {
    since: Timestamp,
    until: Timestamp,
    /// The time of the route has passed, and a silence hides the finding.
    is_silenced: bool,
}

/// A finding whose wait has ended.
#[derive(Debug)]
pub(super) struct Due {
    pub(super) route_id: usize,
    pub(super) finding: Finding,
    /// The sinks that have received the finding through other routes.
    pub(super) received: BTreeSet<usize>,
    wait: Wait,
}

impl Due {
    /// Returns the time from which silences can hide the finding.
    pub(super) const fn due_at(&self) -> Timestamp {
        if self.wait.is_silenced { self.finding.at } else { self.wait.until }
    }

    /// Returns the end of the wait; `None` if the silences have changed since it was set.
    pub(super) fn ended_at(&self) -> Option<Timestamp> {
        (self.wait.since < self.wait.until).then_some(self.wait.until)
    }

    /// Returns whether the finding has waited for the end of a silence.
    pub(super) const fn was_silenced(&self) -> bool {
        self.wait.is_silenced
    }
}

impl Waiting {
    /// Lets a finding wait for a route from `since` on. A wait that has begun keeps its end; it
    /// ends now if only a silence has prolonged it, which does not hide the present finding.
    pub(super) fn add(
        &mut self,
        route_id: usize,
        finding: &Finding,
        since: Timestamp,
        until: Timestamp,
    ) {
        let new = || Episode {
            finding: finding.clone(),
            received: BTreeSet::new(),
            waits: BTreeMap::new(),
        };
        let episode = self.episodes.entry(finding.fingerprint).or_insert_with(new);
        let new = Wait { since, until, is_silenced: false };
        let wait = episode.waits.entry(route_id).or_insert(new);
        if wait.is_silenced {
            self.due.remove(&(wait.until, finding.fingerprint, route_id));
            wait.until = since;
        }
        self.due.insert((wait.until, finding.fingerprint, route_id));
    }

    /// Lets a finding whose wait has ended wait for the end of a silence. Returns whether there is
    /// room.
    pub(super) fn postpone(&mut self, due: Due, until: Timestamp) -> bool {
        if MAX_WAITS <= self.due.len() {
            return false;
        }
        let Due { route_id, finding, received, wait } = due;
        let fingerprint = finding.fingerprint;
        let new = || Episode { finding, received, waits: BTreeMap::new() };
        let episode = self.episodes.entry(fingerprint).or_insert_with(new);
        episode.waits.insert(route_id, Wait { until, is_silenced: true, ..wait });
        self.due.insert((until, fingerprint, route_id));
        true
    }

    /// Lets the findings that wait for the end of a silence be due at once, since the silences
    /// have changed.
    pub(super) fn recheck(&mut self) {
        for (fingerprint, episode) in &mut self.episodes {
            for (route_id, wait) in episode.waits.iter_mut().filter(|(_, it)| it.is_silenced) {
                if self.due.remove(&(wait.until, *fingerprint, *route_id)) {
                    wait.until = wait.since;
                    self.due.insert((wait.until, *fingerprint, *route_id));
                }
            }
        }
    }

    /// Replaces the finding of an episode that waits by a later one, which these sinks have
    /// received.
    pub(super) fn update(&mut self, finding: &Finding, received: impl Iterator<Item = usize>) {
        if let Some(episode) = self.episodes.get_mut(&finding.fingerprint) {
            episode.finding = finding.clone();
            episode.received = received.collect();
        }
    }

    /// Adds sinks that have received the present finding of an episode.
    pub(super) fn add_received(
        &mut self,
        fingerprint: Fingerprint,
        received: impl Iterator<Item = usize>,
    ) {
        if let Some(episode) = self.episodes.get_mut(&fingerprint) {
            episode.received.extend(received);
        }
    }

    /// Ends the wait for a route, since the finding does not match any longer.
    pub(super) fn stop(&mut self, route_id: usize, fingerprint: Fingerprint) {
        let Some(episode) = self.episodes.get_mut(&fingerprint) else { return };
        if let Some(Wait { until, .. }) = episode.waits.remove(&route_id) {
            self.due.remove(&(until, fingerprint, route_id));
        }
        if episode.waits.is_empty() {
            self.episodes.remove(&fingerprint);
        }
    }

    /// Ends all waits of an episode.
    pub(super) fn end(&mut self, fingerprint: Fingerprint) {
        let waits = self.episodes.remove(&fingerprint).map(|episode| episode.waits);
        for (route_id, Wait { until, .. }) in waits.into_iter().flatten() {
            self.due.remove(&(until, fingerprint, route_id));
        }
    }

    /// Removes the wait that ends first, if that is not after `now`, or if there are too many.
    pub(super) fn take_due(&mut self, now: Timestamp) -> Option<Due> {
        let (at, fingerprint, route_id) = *self.due.first()?;
        let is_due = at <= now || MAX_WAITS < self.due.len();
        is_due.then(|| self.take(fingerprint, route_id)).flatten()
    }

    /// Removes a wait of an episode that has ended at `now`.
    pub(super) fn take_due_of(&mut self, fingerprint: Fingerprint, now: Timestamp) -> Option<Due> {
        let mut waits = self.episodes.get(&fingerprint)?.waits.iter();
        let (route_id, _) = waits.find(|(_, wait)| wait.until <= now)?;
        self.take(fingerprint, *route_id)
    }

    fn take(&mut self, fingerprint: Fingerprint, route_id: usize) -> Option<Due> {
        let episode = self.episodes.get(&fingerprint)?;
        let (finding, received) = (episode.finding.clone(), episode.received.clone());
        let wait = *episode.waits.get(&route_id)?;
        self.stop(route_id, fingerprint);
        Some(Due { route_id, finding, received, wait })
    }

    pub(super) fn findings_mut(&mut self) -> impl Iterator<Item = &mut Finding> {
        self.episodes.values_mut().map(|episode| &mut episode.finding)
    }

    pub(super) fn next_due(&self) -> Option<Timestamp> {
        self.due.first().map(|(at, ..)| *at)
    }

    /// Returns the findings that wait after a change of the routes at `now`: all findings of
    /// `present` routes, each with the time for which its findings wait, and findings of `former`
    /// routes, which may return, if these are not too many.
    pub(super) fn with_routes(
        self,
        present: &BTreeMap<usize, SignedDuration>,
        former: &BTreeSet<usize>,
        now: Timestamp,
        new_sink: impl Fn(usize) -> Option<usize>,
    ) -> Self {
        let n_waits: usize = self.episodes.values().map(|episode| episode.waits.len()).sum();
        let is_kept = |route_id: &usize| {
            present.contains_key(route_id) || former.contains(route_id) && n_waits <= MAX_WAITS
        };
        let mut moved = Self::default();
        for (fingerprint, Episode { finding, received, mut waits }) in self.episodes {
            waits.retain(|route_id, _| is_kept(route_id));
            let received = received.into_iter().filter_map(&new_sink).collect();
            for (route_id, wait) in &mut waits {
                let Some(open_for) = present.get(route_id) else { continue };
                let until = wait.since.saturating_add(*open_for).unwrap_or(Timestamp::MAX);
                if until != wait.until {
                    // Not sent in the past, where another silence may hide the finding.
                    wait.until = until.max(now);
                    wait.is_silenced = false;
                }
                moved.due.insert((wait.until, fingerprint, *route_id));
            }
            if !waits.is_empty() {
                moved.episodes.insert(fingerprint, Episode { finding, received, waits });
            }
        }
        moved
    }

    /// Moves the ends of all waits.
    pub(super) fn adjust(&mut self, by: SignedDuration) {
        let limit = if by.is_negative() { Timestamp::MIN } else { Timestamp::MAX };
        let due = mem::take(&mut self.due);
        for (fingerprint, episode) in &mut self.episodes {
            for (route_id, Wait { since, until, is_silenced }) in &mut episode.waits {
                let is_present = due.contains(&(*until, *fingerprint, *route_id));
                // Silences end by the wall clock.
                let until_moves = (!*is_silenced).then_some(&mut *until);
                for at in [since].into_iter().chain(until_moves) {
                    *at = at.saturating_add(by).unwrap_or(limit);
                }
                if is_present {
                    self.due.insert((*until, *fingerprint, *route_id));
                }
            }
        }
    }
}
