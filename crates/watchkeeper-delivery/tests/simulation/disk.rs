//! A disk that can be full or broken, and that a crash cuts off.

use std::{
    collections::BTreeMap,
    io::{self, ErrorKind},
    sync::{Arc, Mutex, PoisonError},
};

use watchkeeper_delivery::Storage;
use watchkeeper_testing::Dice;

/// The disk of a machine. Clones are the same disk.
#[derive(Clone)]
pub(crate) struct Disk(Arc<Mutex<State>>);

struct State {
    dice: Dice,
    files: BTreeMap<&'static str, Contents>,
    fault: Option<Fault>,
    /// The number of writes before the process ends.
    n_until_crash: Option<usize>,
    has_crashed: bool,
}

/// The cause for which operations fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Writes fail after this number of bytes.
    Full { room: usize },
    /// Any operation can fail.
    Broken,
}

#[derive(Clone, Default)]
struct Contents {
    bytes: Vec<u8>,
    /// The bytes that survive a loss of power.
    synced: Vec<u8>,
    replacement: Vec<u8>,
}

/// The end of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Crash {
    Kill,
    PowerLoss,
}

impl Disk {
    pub(crate) fn new(seed: u64) -> Self {
        let files = BTreeMap::new();
        let dice = Dice::new(seed);
        let state = State { dice, files, fault: None, n_until_crash: None, has_crashed: false };
        Self(Arc::new(Mutex::new(state)))
    }

    fn with<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Opens a file, which is empty at first.
    pub(crate) fn open(&self, name: &'static str) -> OpenFile {
        self.with(|state| _ = state.files.entry(name).or_default());
        OpenFile { disk: self.clone(), name }
    }

    pub(crate) fn set_fault(&self, fault: Option<Fault>) {
        self.with(|state| state.fault = fault);
    }

    /// Ends the process within one of the next writes, of which a part is written.
    pub(crate) fn crash_after(&self, n_writes: usize) {
        self.with(|state| state.n_until_crash = Some(n_writes));
    }

    /// Ends the process now.
    pub(crate) fn crash(&self) {
        self.with(|state| state.has_crashed = true);
    }

    pub(crate) fn has_crashed(&self) -> bool {
        self.with(|state| state.has_crashed)
    }

    /// Lets the next process use the disk.
    pub(crate) fn restart(&self, crash: Crash) {
        self.with(|state| {
            (state.has_crashed, state.n_until_crash) = (false, None);
            if crash == Crash::PowerLoss {
                for file in state.files.values_mut() {
                    file.lose_power(&mut state.dice);
                }
            }
        });
    }
}

impl Contents {
    /// Keeps the synced bytes, and the first part of the bytes that were appended since.
    fn lose_power(&mut self, dice: &mut Dice) {
        if self.bytes.starts_with(&self.synced) {
            let n_unsynced = self.bytes.len() - self.synced.len();
            self.bytes.truncate(self.synced.len() + dice.below(n_unsynced + 1));
        } else {
            self.bytes = self.synced.clone();
        }
        self.synced = self.bytes.clone();
    }
}

impl State {
    /// Returns the number of bytes that a write of `len` bytes writes, and its result. After a
    /// crash nothing has an effect.
    fn write(&mut self, len: usize) -> (usize, io::Result<()>) {
        if self.has_crashed {
            return (0, Ok(()));
        }
        if let Some(n) = &mut self.n_until_crash {
            if *n == 0 {
                self.has_crashed = true;
                return (self.dice.below(len + 1), Ok(()));
            }
            *n -= 1;
        }
        match &mut self.fault {
            Some(Fault::Full { room }) if *room < len => {
                (std::mem::take(room), Err(ErrorKind::StorageFull.into()))
            }
            Some(Fault::Full { room }) => {
                *room -= len;
                (len, Ok(()))
            }
            Some(Fault::Broken) if self.dice.is_below(60) => {
                (self.dice.below(len + 1), Err(broken()))
            }
            _ => (len, Ok(())),
        }
    }

    /// Returns whether an operation that writes nothing succeeds.
    fn operate(&mut self) -> io::Result<()> {
        let is_broken = self.fault == Some(Fault::Broken) && self.dice.is_below(60);
        if is_broken && !self.has_crashed { Err(broken()) } else { Ok(()) }
    }
}

/// An error such as EIO.
fn broken() -> io::Error {
    io::Error::other("input/output error")
}

/// A file of a [`Disk`].
pub(crate) struct OpenFile {
    disk: Disk,
    name: &'static str,
}

impl OpenFile {
    /// Calls a function with the disk and the file.
    fn with<T>(&self, change: impl FnOnce(&mut State, &mut Contents) -> T) -> T {
        self.disk.with(|state| {
            let mut file = state.files.remove(self.name).expect("the file is open");
            let result = change(state, &mut file);
            state.files.insert(self.name, file);
            result
        })
    }
}

impl Storage for OpenFile {
    fn read_all(&mut self) -> io::Result<Vec<u8>> {
        self.with(|state, file| state.operate().map(|()| file.bytes.clone()))
    }

    fn read_at(&mut self, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        self.with(|state, file| {
            state.operate()?;
            let offset = usize::try_from(offset).map_err(|_| broken())?;
            let bytes = file.bytes.get(offset..offset + len);
            bytes.map(<[u8]>::to_vec).ok_or_else(broken)
        })
    }

    fn append(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.with(|state, file| {
            let (n_written, result) = state.write(bytes.len());
            if 0 < n_written {
                let offset = usize::try_from(offset).map_err(|_| broken())?;
                let end = (offset + n_written).max(file.bytes.len());
                file.bytes.resize(end, 0);
                file.bytes[offset..offset + n_written].copy_from_slice(&bytes[..n_written]);
            }
            result
        })
    }

    fn truncate(&mut self, len: u64) -> io::Result<()> {
        self.with(|state, file| {
            state.operate()?;
            if !state.has_crashed {
                file.bytes.truncate(usize::try_from(len).map_err(|_| broken())?);
            }
            Ok(())
        })
    }

    fn sync(&mut self) -> io::Result<()> {
        self.with(|state, file| {
            state.operate()?;
            if !state.has_crashed {
                file.synced = file.bytes.clone();
            }
            Ok(())
        })
    }

    fn begin_replacement(&mut self) -> io::Result<()> {
        self.with(|state, file| {
            state.operate()?;
            file.replacement.clear();
            Ok(())
        })
    }

    fn append_replacement(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.with(|state, file| {
            let (n_written, result) = state.write(bytes.len());
            file.replacement.extend(&bytes[..n_written]);
            result
        })
    }

    fn replace(&mut self) -> io::Result<()> {
        self.with(|state, file| {
            state.operate()?;
            if !state.has_crashed {
                file.bytes = std::mem::take(&mut file.replacement);
                file.synced = file.bytes.clone();
            }
            Ok(())
        })
    }
}
