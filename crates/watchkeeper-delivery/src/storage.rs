//! The file of a ledger.

use std::{
    fs::{self, File},
    io::{self, ErrorKind, Read as _, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
};

use crate::private_file;

/// The bytes of a ledger. Tests replace the file of [`DiskStorage`] by one that fails.
pub trait Storage: Send {
    /// Reads all bytes.
    fn read_all(&mut self) -> io::Result<Vec<u8>>;

    /// Reads `len` bytes.
    fn read_at(&mut self, offset: u64, len: usize) -> io::Result<Vec<u8>>;

    /// Appends bytes at `offset`, the present end. After an error, the bytes behind `offset`
    /// are arbitrary.
    fn append(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Cuts the bytes to a length.
    fn truncate(&mut self, len: u64) -> io::Result<()>;

    /// Lets all bytes survive a loss of power.
    fn sync(&mut self) -> io::Result<()>;

    /// Begins a replacement of all present bytes, without bytes of an earlier one.
    fn begin_replacement(&mut self) -> io::Result<()>;

    /// Appends bytes to the replacement.
    fn append_replacement(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Replaces all bytes by the replacement, or keeps all of them after an error.
    fn replace(&mut self) -> io::Result<()>;
}

/// A file that its owner alone can read.
#[derive(Debug)]
pub struct DiskStorage {
    path: PathBuf,
    file: File,
    replacement: Option<File>,
    /// The name of the file survives a loss of power.
    is_name_synced: bool,
}

impl DiskStorage {
    /// Opens a file, or creates it.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = private_file::create_private_file(path)?;
        // Left behind by a process that ended while it replaced the file.
        let _ = fs::remove_file(replacement_path(path));
        Ok(Self { path: path.to_owned(), file, replacement: None, is_name_synced: false })
    }

    /// Fails if the path is another file now, or none: the next process would not read the records.
    fn check_name(&self) -> io::Result<()> {
        let is_own = match fs::symlink_metadata(&self.path) {
            Ok(found) => private_file::is_same(&found, &self.file.metadata()?),
            Err(err) if err.kind() == ErrorKind::NotFound => false,
            Err(err) => return Err(err),
        };
        let reason = "the file was removed or replaced; start the program again";
        if is_own { Ok(()) } else { Err(io::Error::new(ErrorKind::NotFound, reason)) }
    }

    fn sync_name(&mut self) -> io::Result<()> {
        private_file::sync_folder(self.path.parent().unwrap_or(Path::new(".")))?;
        self.is_name_synced = true;
        Ok(())
    }
}

fn no_replacement() -> io::Error {
    io::Error::new(ErrorKind::NotFound, "there is no replacement")
}

fn replacement_path(path: &Path) -> PathBuf {
    path.with_extension("new")
}

impl Storage for DiskStorage {
    fn read_all(&mut self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.file.seek(SeekFrom::Start(0))?;
        self.file.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn read_at(&mut self, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; len];
        self.file.seek(SeekFrom::Start(offset))?;
        self.file.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    fn append(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.check_name()?;
        self.file.seek(SeekFrom::Start(offset))?;
        self.file.write_all(bytes)
    }

    fn truncate(&mut self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.sync_data()?;
        if self.is_name_synced { Ok(()) } else { self.sync_name() }
    }

    fn begin_replacement(&mut self) -> io::Result<()> {
        self.check_name()?;
        let path = replacement_path(&self.path);
        self.replacement = None;
        if let Err(err) = fs::remove_file(&path)
            && err.kind() != ErrorKind::NotFound
        {
            return Err(err);
        }
        self.replacement = Some(private_file::create_new_private_file(&path)?);
        Ok(())
    }

    fn append_replacement(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.replacement {
            Some(file) => file.write_all(bytes),
            None => Err(no_replacement()),
        }
    }

    fn replace(&mut self) -> io::Result<()> {
        let Some(file) = self.replacement.take() else {
            return Err(no_replacement());
        };
        let path = replacement_path(&self.path);
        let replaced = self
            .check_name()
            .and_then(|()| file.sync_data())
            .and_then(|()| fs::rename(&path, &self.path));
        if let Err(err) = replaced {
            let _ = fs::remove_file(&path);
            return Err(err);
        }
        self.file = file;
        // Without it, the old file may be there after a loss of power: it is valid, but has none
        // of the later records. The next `sync` tries again.
        self.is_name_synced = false;
        let _ = self.sync_name();
        Ok(())
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::{fs, path::Path};

    use super::{DiskStorage, Storage as _};

    #[test]
    fn a_file_that_was_removed_or_replaced_is_not_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        for replace in [|_: &Path| (), |path: &Path| fs::write(path, "other").unwrap()] {
            let mut storage = DiskStorage::open(&path).unwrap();
            storage.append(0, b"own").unwrap();
            storage.begin_replacement().unwrap();
            // The inode of a removed file is not used again while it is open.
            fs::remove_file(&path).unwrap();
            replace(&path);
            let before = fs::read(&path).ok();
            let err = storage.append(3, b"more").unwrap_err();
            assert!(err.to_string().contains("removed or replaced"), "{err}");
            storage.replace().unwrap_err();
            storage.begin_replacement().unwrap_err();
            assert_eq!(fs::read(&path).ok(), before);
        }
    }

    #[test]
    fn a_name_that_cannot_be_synced_is_an_error_of_each_sync_until_it_is() {
        let base = tempfile::tempdir().unwrap();
        let (folder, moved) = (base.path().join("folder"), base.path().join("moved"));
        fs::create_dir(&folder).unwrap();
        let mut storage = DiskStorage::open(&folder.join("file")).unwrap();
        fs::rename(&folder, &moved).unwrap();
        storage.sync().unwrap_err();
        storage.sync().unwrap_err();
        fs::rename(&moved, &folder).unwrap();
        storage.sync().unwrap();
        fs::rename(&folder, &moved).unwrap();
        storage.sync().unwrap();
    }
}
