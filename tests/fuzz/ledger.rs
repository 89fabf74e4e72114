//! The reader of ledgers.

use std::{
    io::{self, ErrorKind},
    sync::{Arc, Mutex, PoisonError},
};

use watchkeeper_core::{
    Finding, Fingerprint, Severity, Timestamp,
    clock::SystemClock,
    embed::{Durability, Ledger as _},
};
use watchkeeper_delivery::{FileLedger, Storage};

use crate::Target;

pub(crate) fn target() -> Target {
    let examples = (0..4).map(example).collect();
    let tokens: &[&[u8]] = &[
        b"\xffwkr",
        b"wkledger",
        b"\x01\x00",
        b"\0\0\0\0",
        b"\xff\xff\xff\xff",
        b"\x1d\0\0\0",
        b"{\"id\":\"",
        b"\"severity\":\"high\"",
    ];
    Target { name: "ledger", examples, tokens, check: Box::new(check) }
}

/// A file in memory.
#[derive(Clone, Default)]
struct Memory(Arc<Mutex<(Vec<u8>, Vec<u8>)>>);

impl Memory {
    fn with<T>(&self, change: impl FnOnce(&mut Vec<u8>, &mut Vec<u8>) -> T) -> T {
        let mut files = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (bytes, replacement) = &mut *files;
        change(bytes, replacement)
    }
}

fn index(n: u64) -> io::Result<usize> {
    usize::try_from(n).map_err(|_| ErrorKind::InvalidInput.into())
}

impl Storage for Memory {
    fn read_all(&mut self) -> io::Result<Vec<u8>> {
        Ok(self.with(|bytes, _| bytes.clone()))
    }

    fn read_at(&mut self, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        let offset = index(offset)?;
        let read = self.with(|bytes, _| bytes.get(offset..offset + len).map(<[u8]>::to_vec));
        read.ok_or_else(|| ErrorKind::UnexpectedEof.into())
    }

    fn append(&mut self, offset: u64, new: &[u8]) -> io::Result<()> {
        let offset = index(offset)?;
        self.with(|bytes, _| {
            bytes.truncate(offset);
            bytes.extend(new);
        });
        Ok(())
    }

    fn truncate(&mut self, len: u64) -> io::Result<()> {
        let len = index(len)?;
        self.with(|bytes, _| bytes.truncate(len));
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn begin_replacement(&mut self) -> io::Result<()> {
        self.with(|_, replacement| replacement.clear());
        Ok(())
    }

    fn append_replacement(&mut self, new: &[u8]) -> io::Result<()> {
        self.with(|_, replacement| replacement.extend(new));
        Ok(())
    }

    fn replace(&mut self) -> io::Result<()> {
        self.with(|bytes, replacement| *bytes = std::mem::take(replacement));
        Ok(())
    }
}

fn open(memory: &Memory) -> io::Result<FileLedger<Memory>> {
    FileLedger::open(memory.clone(), Arc::new(SystemClock), Durability::Process)
}

fn finding(id: u64) -> Finding {
    let severity = if id.is_multiple_of(2) { Severity::Low } else { Severity::High };
    let mut finding = Finding::new(Timestamp::UNIX_EPOCH, "fuzz", "s1", severity, "a finding");
    finding.id = Fingerprint::from(id);
    finding
}

/// Returns a file with pending, accepted and given-up findings.
fn example(n_findings: u64) -> Vec<u8> {
    let memory = Memory::default();
    let mut ledger = open(&memory).expect("memory works");
    for id in 0..n_findings {
        ledger.add(&finding(id)).expect("memory works");
    }
    if 1 < n_findings {
        ledger.accept(Fingerprint::from(0)).expect("memory works");
    }
    if 2 < n_findings {
        ledger.give_up(Fingerprint::from(1)).expect("memory works");
    }
    memory.with(|bytes, _| bytes.clone())
}

/// A ledger that can be opened stores findings, and reads them again after the next start.
fn check(input: &[u8]) -> Result<(), String> {
    let memory = Memory::default();
    memory.with(|bytes, _| input.clone_into(bytes));
    let Ok(mut ledger) = open(&memory) else {
        let is_unchanged = memory.with(|bytes, _| bytes == input);
        return if is_unchanged { Ok(()) } else { Err("a refused file is changed".to_owned()) };
    };
    let pending = ledger.pending(0, usize::MAX);
    let new = finding(u64::MAX);
    if !ledger.contains(&new) {
        ledger.add(&new).map_err(|err| err.to_string())?;
    }
    drop(ledger);
    let mut reopened = open(&memory).map_err(|err| format!("cannot be opened again: {err}"))?;
    if 0 < reopened.n_damaged() && 0 == damages(input) {
        return Err("was damaged by the reader".to_owned());
    }
    let again = reopened.pending(0, usize::MAX);
    let is_kept = pending.iter().all(|(_, finding)| again.iter().any(|(_, it)| it == finding));
    let has_new = again.iter().any(|(_, finding)| *finding == new) || reopened.contains(&new);
    if is_kept && has_new { Ok(()) } else { Err("has lost a finding".to_owned()) }
}

/// Returns the number of damaged places that a first reader counts.
fn damages(input: &[u8]) -> u64 {
    let memory = Memory::default();
    memory.with(|bytes, _| input.clone_into(bytes));
    open(&memory).map_or(0, |ledger| ledger.n_damaged())
}
