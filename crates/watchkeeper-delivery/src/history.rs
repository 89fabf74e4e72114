//! The findings of earlier runs, as far as the ledgers of a state folder have them.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, ErrorKind, Read as _, Seek as _, SeekFrom},
    path::{Path, PathBuf},
};

use watchkeeper_core::{Finding, Fingerprint, Timestamp};

use crate::{
    ledger::{Body, FORMAT},
    record::Records,
};

/// The bytes of one ledger that are read. Its latest records are at the end.
const MAX_BYTES: u64 = 16 << 20;
/// The number of ledgers that are read.
const MAX_LEDGERS: usize = 256;

/// A finding in the ledger of a sink.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct PastFinding {
    /// The finding.
    pub finding: Finding,
    /// The name of the sink, shortened to 32 letters, digits, `-` and `_`.
    pub sink: String,
    /// The time at which the sink accepted the finding; `None` if it has not.
    pub accepted_at: Option<Timestamp>,
}

/// Returns the findings in the ledgers of all runs of `watch` whose state is in `base`, the latest
/// last, at most `max` for each ledger. A ledger forgets accepted findings of ended conditions
/// when its file is written again, which happens from one MiB on.
///
/// Reads the files as they are: a process may use them. Damaged records, and ledgers of other
/// versions, are left out.
pub fn past_findings(base: &Path, max: usize) -> io::Result<Vec<PastFinding>> {
    let mut findings = Vec::new();
    for path in ledgers(base)? {
        let Some(sink) = sink_of(&path) else { continue };
        match of_ledger(&path, &sink) {
            Ok(mut of_ledger) => {
                of_ledger.drain(..of_ledger.len().saturating_sub(max));
                findings.append(&mut of_ledger);
            }
            // Removed since the folder was listed.
            Err(err) if err.kind() == ErrorKind::NotFound => {}
            Err(err) => return Err(err),
        }
    }
    findings.sort_by_key(|past| past.finding.at);
    Ok(findings)
}

/// Returns the paths of the ledgers, in order.
fn ledgers(base: &Path) -> io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for folder in children(base)? {
        let name = folder.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if name.starts_with("watch-") {
            paths.extend(children(&folder)?.into_iter().filter(|path| sink_of(path).is_some()));
        }
    }
    paths.sort();
    paths.truncate(MAX_LEDGERS);
    Ok(paths)
}

fn children(folder: &Path) -> io::Result<Vec<PathBuf>> {
    match fs::read_dir(folder) {
        Ok(entries) => entries.map(|entry| Ok(entry?.path())).collect(),
        Err(err) if matches!(err.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            Ok(Vec::new())
        }
        Err(err) => Err(err),
    }
}

/// Returns the name of the sink of a ledger: `sink-NAME-HASH.ledger`.
fn sink_of(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_str()?;
    let name = name.strip_prefix("sink-")?.strip_suffix(".ledger")?;
    Some(name.rsplit_once('-')?.0.to_owned())
}

fn of_ledger(path: &Path, sink: &str) -> io::Result<Vec<PastFinding>> {
    let bytes = latest_bytes(path)?;
    let mut findings = Vec::new();
    let mut accepted = BTreeMap::new();
    for (_, body) in Records::new(&bytes, 0) {
        match Body::parse(body) {
            Some(Body::Pending(id, json)) => findings.push((id, json)),
            Some(Body::Ended(id, outcome)) if outcome.is_accepted => {
                accepted.insert(id, outcome.second);
            }
            _ => {}
        }
    }
    let read = |(id, json): (Fingerprint, &[u8])| {
        let finding = serde_json::from_slice(json).ok()?;
        let accepted_at = accepted.get(&id).and_then(|second| Timestamp::from_second(*second).ok());
        Some(PastFinding { finding, sink: sink.to_owned(), accepted_at })
    };
    Ok(findings.into_iter().filter_map(read).collect())
}

/// Returns the last bytes of a ledger; none of a file of another version.
fn latest_bytes(path: &Path) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let mut header = vec![0; FORMAT.encode().len()];
    match file.read_exact(&mut header) {
        Ok(()) if header == FORMAT.encode() => {}
        Err(err) if err.kind() != ErrorKind::UnexpectedEof => return Err(err),
        _ => return Ok(Vec::new()),
    }
    let len = file.metadata()?.len();
    let start = (header.len() as u64).max(len.saturating_sub(MAX_BYTES));
    file.seek(SeekFrom::Start(start))?;
    let mut bytes = Vec::new();
    file.take(MAX_BYTES).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::{fs, sync::Arc};

    use watchkeeper_core::{
        Finding, Severity, SignedDuration, Timestamp,
        clock::{Clock as _, SystemClock},
        embed::{Durability, Ledger as _},
    };

    use super::past_findings;
    use crate::StateFolder;

    fn finding(detector: &str, secs: i64) -> Finding {
        let at = Timestamp::UNIX_EPOCH + SignedDuration::from_secs(secs);
        Finding::new(at, detector, "s", Severity::High, "m")
    }

    #[test]
    fn all_runs_have_the_findings_of_earlier_ones() {
        let base = tempfile::tempdir().unwrap();
        assert_eq!(past_findings(&base.path().join("missing"), 9).unwrap(), []);
        let now = SystemClock.now();
        for (run, sink, secs) in [("a", "ops/team", 2), ("b", "ops/team", 1), ("b", "file", 3)] {
            let mut state = StateFolder::open(base.path(), run).unwrap();
            let clock = Arc::new(SystemClock);
            let mut ledger = state.ledger(sink, clock, Durability::Process).unwrap();
            let finding = finding(run, secs);
            ledger.add(&finding).unwrap();
            if sink == "file" {
                ledger.accept(finding.id).unwrap();
            }
        }
        let past = past_findings(base.path(), 9).unwrap();
        let names: Vec<_> = past.iter().map(|it| (&*it.finding.detector, &*it.sink)).collect();
        assert_eq!(names, [("b", "opsteam"), ("a", "opsteam"), ("b", "file")]);
        assert_eq!(past[0].accepted_at, None);
        let accepted_at = past[2].accepted_at.unwrap();
        assert!(now.duration_since(accepted_at) < SignedDuration::from_secs(60));
    }

    #[test]
    fn the_latest_findings_are_kept_and_damage_is_left_out() {
        let base = tempfile::tempdir().unwrap();
        let mut state = StateFolder::open(base.path(), "run").unwrap();
        let clock = Arc::new(SystemClock);
        let mut ledger = state.ledger("ops", clock, Durability::Process).unwrap();
        for secs in 0..5 {
            ledger.add(&finding("x", secs)).unwrap();
        }
        let path = fs::read_dir(state.path()).unwrap().map(|entry| entry.unwrap().path());
        let path = path.into_iter().find(|path| path.to_str().unwrap().ends_with(".ledger"));
        let path = path.unwrap();
        let secs = || -> Vec<i64> {
            let past = past_findings(base.path(), 2).unwrap();
            past.iter().map(|it| it.finding.at.as_second()).collect()
        };
        assert_eq!(secs(), [3, 4]);
        let mut bytes = fs::read(&path).unwrap();
        let last = bytes.len() - 9;
        bytes[last] ^= 1;
        fs::write(&path, &bytes).unwrap();
        assert_eq!(secs(), [2, 3]);
        bytes[8] ^= 1;
        fs::write(&path, &bytes).unwrap();
        assert_eq!(secs(), [0; 0]);
    }
}
