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

/// A bounded map by route and fingerprint. It forgets the entries written longest ago: a
/// full young half replaces the old half.
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

    pub(super) fn get(&self, key: (usize, Fingerprint)) -> Option<Sent> {
        self.young.get(&key).or_else(|| self.old.get(&key)).copied()
    }

    /// Marks an episode as ended.
    pub(super) fn close(&mut self, key: (usize, Fingerprint)) {
        if let Some(sent) = self.get(key).filter(|sent| sent.is_open) {
            self.insert(key, Sent { is_open: false, ..sent });
        }
    }

    pub(super) fn remove(&mut self, key: (usize, Fingerprint)) {
        self.young.remove(&key);
        self.old.remove(&key);
    }

    pub(super) fn insert(&mut self, key: (usize, Fingerprint), sent: Sent) {
        if self.young.len() == self.max && !self.young.contains_key(&key) {
            self.old = mem::take(&mut self.young);
        }
        self.young.insert(key, sent);
    }
}
