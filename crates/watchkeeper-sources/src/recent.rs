//! A bounded map of values from recent lines.

use std::{collections::HashMap, mem};

use watchkeeper_core::Fingerprint;

/// The smallest number of recent values that are kept, unless the type has another one.
const CAPACITY: usize = 1024;

/// Values from the latest lines of a file. Memory does not depend on the length of
/// the file.
#[derive(Debug)]
pub(crate) struct Recent<V, const N: usize = CAPACITY> {
    // Hash maps, since most files have a few values, and the smallest node of a B-tree has room
    // for eleven.
    newer: HashMap<Fingerprint, V>,
    #[expect(clippy::box_collection, reason = "most of very many files have none")]
    older: Option<Box<HashMap<Fingerprint, V>>>,
}

impl<V, const N: usize> Default for Recent<V, N> {
    fn default() -> Self {
        Self { newer: HashMap::new(), older: None }
    }
}

impl<V, const N: usize> Recent<V, N> {
    pub(crate) fn get(&self, key: Fingerprint) -> Option<&V> {
        self.newer.get(&key).or_else(|| self.older.as_ref()?.get(&key))
    }

    pub(crate) fn insert(&mut self, key: Fingerprint, value: V) {
        if self.newer.len() == N && !self.newer.contains_key(&key) {
            self.older = Some(Box::new(mem::take(&mut self.newer)));
        }
        self.newer.insert(key, value);
    }

    pub(crate) fn remove(&mut self, key: Fingerprint) -> Option<V> {
        let older = self.older.as_mut().and_then(|older| older.remove(&key));
        self.newer.remove(&key).or(older)
    }
}

#[cfg(test)]
mod tests {
    use watchkeeper_core::Fingerprint;

    use super::{CAPACITY, Recent};

    #[test]
    fn keeps_recent_values_in_bounded_memory() {
        let mut recent = Recent::<u64>::default();
        for n in 0..10_000_u64 {
            recent.insert(Fingerprint::from(n), n);
            let oldest = n.saturating_sub(CAPACITY as u64 - 1);
            assert_eq!(recent.get(Fingerprint::from(oldest)), Some(&oldest));
            assert!(
                recent.newer.len() + recent.older.as_ref().map_or(0, |it| it.len()) <= 2 * CAPACITY
            );
        }
        assert_eq!(recent.get(Fingerprint::from(1)), None);
        assert_eq!(recent.remove(Fingerprint::from(9_999)), Some(9_999));
        assert_eq!(recent.get(Fingerprint::from(9_999)), None);
    }
}
