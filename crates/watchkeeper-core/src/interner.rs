use std::collections::HashMap;

use rapidhash::fast::RandomState;

/// The number of names that are kept.
const MAX_NAMES: usize = 1024;
/// The length of the longest name that is kept, in bytes.
const MAX_NAME: usize = 256;

/// Values by name, each computed once: many sessions have few folders and models.
#[derive(Debug, Default)]
pub(crate) struct Interner<T>(HashMap<Box<str>, T, RandomState>);

impl<T: Clone> Interner<T> {
    /// Returns the value of a name, and calls `make` if it is not kept.
    pub(crate) fn get(&mut self, name: &str, make: impl FnOnce() -> T) -> T {
        if let Some(value) = self.0.get(name) {
            return value.clone();
        }
        let value = make();
        if name.len() <= MAX_NAME {
            if self.0.len() == MAX_NAMES {
                self.0.clear();
            }
            self.0.insert(name.into(), value.clone());
        }
        value
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{Interner, MAX_NAME, MAX_NAMES};

    #[test]
    fn keeps_each_name_once_and_drops_names_above_the_limit() {
        let mut names = Interner::<Arc<str>>::default();
        let mut share = |name: &str| {
            let shared = names.get(name, || name.into());
            assert!(names.0.len() <= MAX_NAMES);
            shared
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
