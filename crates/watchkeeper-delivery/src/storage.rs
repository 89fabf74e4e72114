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
}

impl DiskStorage {
    /// Opens a file, or creates it.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = private_file::options().create(true).truncate(false).open(path)?;
        // Left behind by a process that ended while it replaced the file.
        let _ = fs::remove_file(replacement_path(path));
        Ok(Self { path: path.to_owned(), file, replacement: None })
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
        self.file.seek(SeekFrom::Start(offset))?;
        self.file.write_all(bytes)
    }

    fn truncate(&mut self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn begin_replacement(&mut self) -> io::Result<()> {
        let path = replacement_path(&self.path);
        self.replacement = None;
        if let Err(err) = fs::remove_file(&path)
            && err.kind() != ErrorKind::NotFound
        {
            return Err(err);
        }
        self.replacement = Some(private_file::options().create_new(true).open(path)?);
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
        let replaced = file.sync_data().and_then(|()| fs::rename(&path, &self.path));
        if let Err(err) = replaced {
            let _ = fs::remove_file(&path);
            return Err(err);
        }
        self.file = file;
        // The new name survives a loss of power only with the folder. Without it the old file
        // is there, which is valid too.
        let folder = self.path.parent().unwrap_or(Path::new("."));
        let _ = File::open(folder).and_then(|folder| folder.sync_all());
        Ok(())
    }
}
