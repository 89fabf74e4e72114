use std::collections::HashMap;

use rapidhash::fast::RandomState;

/// How many names are known at once.
const MAX_NAMES: usize = 1024;
/// The longest name that is kept, in bytes.
const MAX_NAME: usize = 256;

/// What belongs to names that come again and again, each worked out once: very
/// many sessions have few folders and models.
#[derive(Debug, Default)]
pub(crate) struct Interner<T>(HashMap<Box<str>, T, RandomState>);

impl<T: Clone> Interner<T> {
    /// What `make` gives for a name, now or before.
    pub(crate) fn get(&mut self, name: &str, make: impl FnOnce() -> T) -> T {
        if let Some(it) = self.0.get(name) {
            return it.clone();
        }
        let res = make();
        if name.len() <= MAX_NAME {
            // Whoever has one keeps it.
            if self.0.len() == MAX_NAMES {
                self.0.clear();
            }
            self.0.insert(name.into(), res.clone());
        }
        res
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{Interner, MAX_NAME, MAX_NAMES};

    #[test]
    fn names_are_kept_once_and_bounded() {
        let mut names = Interner::<Arc<str>>::default();
        let mut share = |name: &str| {
            let res = names.get(name, || name.into());
            assert!(names.0.len() <= MAX_NAMES);
            res
        };
        let of = |n: usize| format!("/proj/{n}");
        let first = share(&of(0));
        assert!(Arc::ptr_eq(&first, &share(&of(0))));
        for n in 0..3 * MAX_NAMES {
            assert_eq!(*share(&of(n)), *of(n));
        }
        let long = "x".repeat(MAX_NAME + 1);
        assert!(!Arc::ptr_eq(&share(&long), &share(&long)));
    }
}
