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
