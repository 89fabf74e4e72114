use std::{collections::HashMap, mem};

use jiff::Timestamp;
use rapidhash::fast::RandomState;

use crate::{Fingerprint, Severity};

/// The finding with one fingerprint that a route sent last.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sent {
    pub(super) at: Timestamp,
    pub(super) severity: Severity,
    /// The episode has not ended.
    pub(super) is_open: bool,
    /// Repeats that the cooldown has suppressed since.
    pub(super) n_suppressed: u32,
}

/// A bounded map that forgets the entries written longest ago: a full young
/// half replaces the old half.
#[derive(Debug)]
pub(super) struct Memory {
    max: usize,
    pub(super) young: HashMap<(usize, Fingerprint), Sent, RandomState>,
    pub(super) old: HashMap<(usize, Fingerprint), Sent, RandomState>,
}

impl Memory {
    pub(super) fn new(max: usize) -> Self {
        Self { max, young: HashMap::default(), old: HashMap::default() }
    }

    /// Returns the memory for other routes. Entries of routes that are gone are dropped.
    pub(super) fn with_routes(self, new_route: impl Fn(usize) -> Option<usize>) -> Self {
        let Self { max, young, old } = self;
        let renamed = |map: HashMap<(usize, Fingerprint), Sent, RandomState>| {
            let entries = map.into_iter();
            let entries = entries.filter_map(|((route_idx, fingerprint), sent)| {
                Some(((new_route(route_idx)?, fingerprint), sent))
            });
            entries.collect()
        };
        Self { max, young: renamed(young), old: renamed(old) }
    }

    pub(super) fn get(&self, key: (usize, Fingerprint)) -> Option<Sent> {
        self.young.get(&key).or_else(|| self.old.get(&key)).copied()
    }

    pub(super) fn insert(&mut self, key: (usize, Fingerprint), sent: Sent) {
        if self.young.len() == self.max && !self.young.contains_key(&key) {
            self.old = mem::take(&mut self.young);
        }
        self.young.insert(key, sent);
    }
}
