//! A bounded cache of open files.

use std::{collections::BTreeMap, fs::File, io, path::Path};

use super::platform::{self, Identity};

/// The largest number of open files.
const MAX_OPEN: usize = 64;

/// Open files. The least recently used one is closed to make room.
#[derive(Debug, Default)]
pub(super) struct OpenFiles {
    files: BTreeMap<Identity, Open>,
    /// The files in order of their latest use.
    uses: BTreeMap<u64, Identity>,
    n_uses: u64,
}

#[derive(Debug)]
struct Open {
    file: File,
    used: u64,
}

impl OpenFiles {
    /// Returns the file if it is open.
    pub(super) fn get(&mut self, id: Identity) -> Option<&File> {
        let open = self.files.get_mut(&id)?;
        self.uses.remove(&open.used);
        self.n_uses += 1;
        open.used = self.n_uses;
        self.uses.insert(open.used, id);
        Some(&open.file)
    }

    /// Returns the file, and opens it if necessary. Returns `None` if `path` is now
    /// another file.
    pub(super) fn get_or_open(&mut self, id: Identity, path: &Path) -> io::Result<Option<&File>> {
        if !self.files.contains_key(&id) {
            let file = platform::open(path)?;
            let metadata = file.metadata()?;
            if !metadata.is_file() || Identity::of(path, &metadata) != id {
                return Ok(None);
            }
            if MAX_OPEN <= self.files.len()
                && let Some((_, oldest)) = self.uses.pop_first()
            {
                self.files.remove(&oldest);
            }
            self.n_uses += 1;
            self.uses.insert(self.n_uses, id);
            self.files.insert(id, Open { file, used: self.n_uses });
        }
        Ok(self.get(id))
    }

    pub(super) fn close(&mut self, id: Identity) {
        if let Some(open) = self.files.remove(&id) {
            self.uses.remove(&open.used);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tempfile::TempDir;

    use super::{Identity, MAX_OPEN, OpenFiles};

    #[test]
    fn closes_the_least_recently_used_file() {
        let folder = TempDir::new().unwrap();
        let mut open = OpenFiles::default();
        let mut ids = Vec::new();
        for n in 0..=MAX_OPEN {
            let path = folder.path().join(n.to_string());
            fs::write(&path, "").unwrap();
            ids.push(Identity::of(&path, &fs::metadata(&path).unwrap()));
            assert!(open.get_or_open(ids[n], &path).unwrap().is_some());
            assert!(open.get(ids[0]).is_some());
        }
        assert_eq!((open.files.len(), open.uses.len()), (MAX_OPEN, MAX_OPEN));
        assert!(open.get(ids[1]).is_none());
        open.close(ids[0]);
        assert_eq!((open.files.len(), open.uses.len()), (MAX_OPEN - 1, MAX_OPEN - 1));
    }

    #[test]
    fn does_not_open_a_replacement_of_the_file() {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("a");
        fs::write(&path, "").unwrap();
        let id = Identity::of(&path, &fs::metadata(&path).unwrap());
        fs::rename(&path, folder.path().join("b")).unwrap();
        let mut open = OpenFiles::default();
        fs::create_dir(&path).unwrap();
        assert!(open.get_or_open(id, &path).unwrap().is_none());
        fs::remove_dir(&path).unwrap();
        fs::write(&path, "").unwrap();
        assert!(open.get_or_open(id, &path).unwrap().is_none());
        assert!(open.get_or_open(id, &folder.path().join("b")).unwrap().is_some());
    }
}
