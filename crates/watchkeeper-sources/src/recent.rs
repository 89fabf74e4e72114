use std::collections::BTreeMap;

use watchkeeper_core::Fingerprint;

/// What was noted lately: the latest notes, at least this many.
const ENOUGH: usize = 1024;

/// Notes of a file's latest lines, however long the file is.
#[derive(Debug)]
pub(crate) struct Recent<V> {
    newer: BTreeMap<Fingerprint, V>,
    older: BTreeMap<Fingerprint, V>,
}

impl<V> Default for Recent<V> {
    fn default() -> Self {
        Self { newer: BTreeMap::new(), older: BTreeMap::new() }
    }
}

impl<V> Recent<V> {
    pub(crate) fn get(&self, key: Fingerprint) -> Option<&V> {
        self.newer.get(&key).or_else(|| self.older.get(&key))
    }

    pub(crate) fn insert(&mut self, key: Fingerprint, value: V) {
        if self.newer.len() == ENOUGH {
            self.older = std::mem::take(&mut self.newer);
        }
        self.newer.insert(key, value);
    }

    pub(crate) fn remove(&mut self, key: Fingerprint) -> Option<V> {
        let older = self.older.remove(&key);
        self.newer.remove(&key).or(older)
    }
}

#[cfg(test)]
mod tests {
    use watchkeeper_core::Fingerprint;

    use super::{ENOUGH, Recent};

    #[test]
    fn the_latest_are_kept_and_no_more() {
        let mut recent = Recent::default();
        for n in 0..10_000_u64 {
            recent.insert(Fingerprint::from(n), n);
            let oldest = n.saturating_sub(ENOUGH as u64 - 1);
            assert_eq!(recent.get(Fingerprint::from(oldest)), Some(&oldest));
            assert!(recent.newer.len() + recent.older.len() <= 2 * ENOUGH);
        }
        assert_eq!(recent.get(Fingerprint::from(1)), None);
        assert_eq!(recent.remove(Fingerprint::from(9_999)), Some(9_999));
        assert_eq!(recent.get(Fingerprint::from(9_999)), None);
    }
}
