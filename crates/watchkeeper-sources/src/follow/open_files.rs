//! The files that are held open: few, however many are followed.

use std::{collections::BTreeMap, fs::File, io, path::Path};

use super::platform::{self, Identity};

/// How many files are held open.
const MAX_OPEN: usize = 64;

/// Open files, of which the one that was used longest ago makes room.
#[derive(Debug, Default)]
pub(super) struct OpenFiles {
    files: BTreeMap<Identity, Open>,
    /// Who was used when.
    uses: BTreeMap<u64, Identity>,
    n_uses: u64,
}

#[derive(Debug)]
struct Open {
    file: File,
    used: u64,
}

impl OpenFiles {
    /// The file, if it is open.
    pub(super) fn get(&mut self, id: Identity) -> Option<&File> {
        let open = self.files.get_mut(&id)?;
        self.uses.remove(&open.used);
        self.n_uses += 1;
        open.used = self.n_uses;
        self.uses.insert(open.used, id);
        Some(&open.file)
    }

    /// The file; `None` if another one stands at the path by now.
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
    fn the_file_that_was_used_longest_ago_makes_room() {
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
    fn what_took_the_place_of_a_file_is_not_it() {
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
