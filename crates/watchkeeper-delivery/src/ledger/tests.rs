use std::{
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

use proptest::{collection::vec, prelude::*};
use watchkeeper_core::{
    Finding, Fingerprint, Severity, SignedDuration, Status, Timestamp,
    clock::{Clock as _, ManualClock},
    embed::{Durability, Ledger as _},
};

use super::{FORMAT, FileLedger, index::MAX_OPEN};
use crate::{
    record_file::{Header, RecordFile},
    storage::Storage,
};

/// A disk in memory, which outlives the ledger and can be full or broken.
#[derive(Clone, Default)]
struct TestDisk(Arc<Mutex<Contents>>);

#[derive(Default)]
struct Contents {
    bytes: Vec<u8>,
    replacement: Vec<u8>,
    /// The bytes that can still be written before the disk is full.
    room: Option<usize>,
    is_unreadable: bool,
    n_syncs: usize,
}

impl TestDisk {
    fn with<T>(&self, change: impl FnOnce(&mut Contents) -> T) -> T {
        change(&mut self.0.lock().unwrap())
    }
}

impl Contents {
    /// Returns the part of `bytes` that can be written.
    fn writable<'b>(&mut self, bytes: &'b [u8]) -> &'b [u8] {
        let n = self.room.map_or(bytes.len(), |room| room.min(bytes.len()));
        self.room = self.room.map(|room| room - n);
        &bytes[..n]
    }
}

fn full<T>() -> io::Result<T> {
    Err(io::ErrorKind::StorageFull.into())
}

impl Storage for TestDisk {
    fn read_all(&mut self) -> io::Result<Vec<u8>> {
        Ok(self.with(|disk| disk.bytes.clone()))
    }

    fn read_at(&mut self, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        self.with(|disk| {
            let offset = usize::try_from(offset).unwrap();
            let bytes = disk.bytes.get(offset..offset + len).filter(|_| !disk.is_unreadable);
            bytes.map(<[u8]>::to_vec).ok_or_else(|| io::ErrorKind::Other.into())
        })
    }

    fn append(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.with(|disk| {
            disk.bytes.truncate(usize::try_from(offset).unwrap());
            let written = disk.writable(bytes);
            disk.bytes.extend(written);
            if written.len() == bytes.len() { Ok(()) } else { full() }
        })
    }

    fn truncate(&mut self, len: u64) -> io::Result<()> {
        self.with(|disk| disk.bytes.truncate(usize::try_from(len).unwrap()));
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        self.with(|disk| disk.n_syncs += 1);
        Ok(())
    }

    fn begin_replacement(&mut self) -> io::Result<()> {
        self.with(|disk| disk.replacement.clear());
        Ok(())
    }

    fn append_replacement(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.with(|disk| {
            let written = disk.writable(bytes);
            disk.replacement.extend(written);
            if written.len() == bytes.len() { Ok(()) } else { full() }
        })
    }

    fn replace(&mut self) -> io::Result<()> {
        self.with(|disk| disk.bytes = std::mem::take(&mut disk.replacement));
        Ok(())
    }
}

fn clock() -> ManualClock {
    ManualClock::new("2026-11-01T08:00:00Z".parse().unwrap())
}

fn open(disk: &TestDisk) -> FileLedger<TestDisk> {
    FileLedger::open(disk.clone(), Arc::new(clock()), Durability::Process).unwrap()
}

fn finding(id: u64) -> Finding {
    let severity = Severity::ALL[usize::try_from(id % 3).unwrap()];
    let mut finding =
        Finding::new(Timestamp::UNIX_EPOCH, "test", "s1", severity, format!("finding {id}"));
    finding.id = Fingerprint::from(id);
    finding
}

/// Returns the ids of all pending findings.
fn pending(ledger: &mut FileLedger<TestDisk>) -> Vec<u64> {
    let findings = ledger.pending(0, usize::MAX);
    findings.iter().map(|(_, finding)| finding.id.get()).collect()
}

#[test]
fn a_stored_finding_is_the_same_after_a_restart() {
    let disk = TestDisk::default();
    let mut stored = finding(1);
    stored.source = Some("claude-code");
    stored.agent = Some("a1".into());
    stored.data.insert("repeats".to_owned(), 4.into());
    let mut ledger = open(&disk);
    ledger.add(&stored).unwrap();
    assert_eq!(ledger.pending(0, 9), [(0, stored.clone())]);
    assert_eq!(open(&disk).pending(0, 9), [(0, stored)]);
}

#[test]
fn an_outcome_ends_a_finding_for_good() {
    let disk = TestDisk::default();
    let mut ledger = open(&disk);
    (1..=3).for_each(|id| _ = ledger.add(&finding(id)).unwrap());
    ledger.accept(Fingerprint::from(1)).unwrap();
    ledger.give_up(Fingerprint::from(3)).unwrap();
    for ledger in [&mut ledger, &mut open(&disk)] {
        assert_eq!(pending(ledger), [2]);
        assert!((1..=3).all(|id| ledger.contains(&finding(id))));
        assert!(!ledger.contains(&finding(4)));
    }
}

#[test]
fn a_full_disk_leaves_no_part_of_a_finding_and_keeps_outcomes_for_later() {
    let disk = TestDisk::default();
    let mut ledger = open(&disk);
    ledger.add(&finding(1)).unwrap();
    disk.with(|disk| disk.room = Some(10));
    assert_eq!(ledger.add(&finding(2)).unwrap_err().kind(), io::ErrorKind::StorageFull);
    assert!(!ledger.contains(&finding(2)));
    ledger.accept(Fingerprint::from(1)).unwrap_err();
    assert!(pending(&mut ledger).is_empty());
    // A crash now repeats the accepted finding.
    assert_eq!(pending(&mut open(&disk)), [1]);

    disk.with(|disk| disk.room = None);
    ledger.add(&finding(3)).unwrap();
    let mut reopened = open(&disk);
    assert_eq!(pending(&mut reopened), [3]);
    assert_eq!(reopened.n_damaged(), 0);
}

#[test]
fn an_accepted_finding_is_open_until_its_end_is_accepted() {
    let disk = TestDisk::default();
    let end = || {
        let mut end = finding(2);
        (end.status, end.fingerprint) = (Status::Resolved, finding(1).fingerprint);
        end
    };
    // Returns whether the finding is open, before and after the file is written again.
    let is_open = || {
        let is_open = |ledger: &mut FileLedger<_>| ledger.open_findings() == [finding(1)];
        let mut ledger = open(&disk);
        let before = is_open(&mut ledger);
        ledger.compact().unwrap();
        assert_eq!(is_open(&mut ledger), before);
        assert_eq!(is_open(&mut open(&disk)), before);
        before
    };
    open(&disk).add(&finding(1)).unwrap();
    assert!(!is_open(), "pending");
    open(&disk).accept(finding(1).id).unwrap();
    assert!(is_open(), "accepted");
    assert!(pending(&mut open(&disk)).is_empty());
    open(&disk).add(&end()).unwrap();
    assert!(!is_open(), "the end is pending");
    open(&disk).accept(end().id).unwrap();
    assert!(!is_open(), "the end is accepted");
}

#[test]
fn reports_of_a_withdrawn_condition_have_new_ids_each_time_that_they_return() {
    let disk = TestDisk::default();
    let of_condition = |severity: Severity| {
        let mut finding = Finding::new(Timestamp::UNIX_EPOCH, "test", "s1", severity, "");
        finding.id = finding.id.and(Fingerprint::from(severity as u64));
        finding
    };
    let (medium, high) = (of_condition(Severity::Medium), of_condition(Severity::High));
    // Adds a report as a queue does, and returns its id.
    let add = |finding: &Finding| {
        let mut ledger = open(&disk);
        assert!(!ledger.contains(finding));
        let mut stored = finding.clone();
        stored.id = ledger.id_of(finding);
        ledger.add(&stored).unwrap();
        // The id of an end is withdrawn too.
        assert_ne!(ledger.contains(finding), stored.withdrawn);
        stored.id
    };
    let mut ids = Vec::new();
    for _ in 0..3 {
        for finding in [&medium, &high] {
            ids.push(add(finding));
            open(&disk).accept(*ids.last().unwrap()).unwrap();
            assert!(open(&disk).contains(finding));
        }
        // As an engine ends it that knows no ledger.
        ids.push(add(&high.clone().end(clock().now(), "").as_withdrawn()));
        let end = *ids.last().unwrap();
        let mut is_accepted = false;
        while !is_accepted {
            // Also while the end is pending, and after the file is written again.
            for _ in 0..2 {
                let mut ledger = open(&disk);
                assert!(!ledger.contains(&medium) && !ledger.contains(&high));
                ledger.compact().unwrap();
            }
            is_accepted = !pending(&mut open(&disk)).contains(&end.get());
            open(&disk).accept(end).unwrap();
        }
        assert_eq!(open(&disk).open_findings(), []);
    }
    // The condition ends after its last report.
    ids.push(add(&medium));
    ids.push(add(&medium.clone().end(medium.at, "")));
    assert_eq!(ids.iter().collect::<std::collections::HashSet<_>>().len(), ids.len());
}

#[test]
fn of_too_many_open_findings_the_latest_are_remembered() {
    let disk = TestDisk::default();
    let mut ledger = open(&disk);
    for id in 0..=MAX_OPEN as u64 {
        let mut finding = finding(id);
        finding.fingerprint = Fingerprint::from(id);
        ledger.add(&finding).unwrap();
        ledger.accept(finding.id).unwrap();
    }
    let open = ledger.open_findings();
    assert_eq!(open.len(), MAX_OPEN / 2);
    assert!(open.iter().any(|it| it.id == finding(MAX_OPEN as u64).id));
}

#[test]
fn a_large_file_is_written_again_without_ended_findings() {
    let disk = TestDisk::default();
    let mut ledger = open(&disk);
    for id in 0..4_000 {
        ledger.add(&finding(id)).unwrap();
        if id % 100 != 0 {
            ledger.accept(Fingerprint::from(id)).unwrap();
        }
    }
    let len = disk.with(|disk| disk.bytes.len());
    assert!(len < 1 << 20, "{len}");
    let expected: Vec<u64> = (0..4_000).step_by(100).collect();
    for ledger in [&mut ledger, &mut open(&disk)] {
        assert_eq!(pending(ledger), expected);
        assert!((0..4_000).all(|id| ledger.contains(&finding(id))));
    }
}

#[test]
fn a_disk_that_is_full_while_the_file_is_written_again_loses_nothing() {
    let disk = TestDisk::default();
    let mut ledger = open(&disk);
    for id in 0..2_200 {
        ledger.add(&finding(id)).unwrap();
    }
    let len = disk.with(|disk| disk.bytes.len());
    // Room for the records of the outcomes alone.
    disk.with(|disk| disk.room = Some(2_150 * 29));
    for id in 50..2_200 {
        ledger.accept(Fingerprint::from(id)).unwrap();
    }
    assert!(len < disk.with(|disk| disk.bytes.len()));
    assert_eq!(pending(&mut ledger), (0..50).collect::<Vec<_>>());
    assert_eq!(pending(&mut open(&disk)), (0..50).collect::<Vec<_>>());
}

#[test]
fn outcomes_are_forgotten_after_90_days() {
    let disk = TestDisk::default();
    let clock = clock();
    let open = || FileLedger::open(disk.clone(), Arc::new(clock.clone()), Durability::Process);
    let mut ledger = open().unwrap();
    ledger.add(&finding(1)).unwrap();
    ledger.accept(Fingerprint::from(1)).unwrap();
    clock.advance(Duration::from_secs(91 * 24 * 60 * 60));
    for id in 2..4_000 {
        ledger.add(&finding(id)).unwrap();
        ledger.accept(Fingerprint::from(id)).unwrap();
    }
    assert!(!ledger.contains(&finding(1)));
    assert!(ledger.contains(&finding(2)));
}

#[test]
fn gives_up_the_oldest_of_the_least_severe() {
    let mut ledger = open(&TestDisk::default());
    // The severities are medium, high, low, medium, high, low.
    (1..=6).for_each(|id| _ = ledger.add(&finding(id)).unwrap());
    ledger.give_up_least_severe(0);
    ledger.give_up_least_severe(0);
    ledger.give_up_least_severe(1);
    assert_eq!(pending(&mut ledger), [1, 2, 5]);
}

#[test]
fn an_unreadable_finding_waits_for_the_next_start() {
    let disk = TestDisk::default();
    let mut ledger = open(&disk);
    ledger.add(&finding(1)).unwrap();
    disk.with(|disk| disk.is_unreadable = true);
    assert!(pending(&mut ledger).is_empty());
    disk.with(|disk| disk.is_unreadable = false);
    assert_eq!(pending(&mut open(&disk)), [1]);
}

#[test]
fn a_file_that_could_not_be_written_again_can_be_later() {
    let disk = TestDisk::default();
    let mut ledger = open(&disk);
    (0..2_200).for_each(|id| _ = ledger.add(&finding(id)).unwrap());
    let is_unreadable = |is_unreadable| disk.with(|disk| disk.is_unreadable = is_unreadable);
    is_unreadable(true);
    (0..2_000).for_each(|id| ledger.accept(Fingerprint::from(id)).unwrap());
    is_unreadable(false);
    (2_000..2_150).for_each(|id| ledger.accept(Fingerprint::from(id)).unwrap());
    assert!(disk.with(|disk| disk.bytes.len()) < 1 << 20);
    for ledger in [&mut ledger, &mut open(&disk)] {
        assert_eq!(pending(ledger), (2_150..2_200).collect::<Vec<_>>());
    }
}

#[test]
fn a_finding_after_the_outcome_of_another_one_with_its_id_is_new() {
    let disk = TestDisk::default();
    let mut ledger = open(&disk);
    ledger.add(&finding(1)).unwrap();
    ledger.accept(Fingerprint::from(1)).unwrap();
    let mut again = finding(1);
    again.at = "2026-11-01T08:00:00Z".parse().unwrap();
    assert!(ledger.contains(&again));
    again.at = "2026-11-01T08:00:01Z".parse().unwrap();
    assert!(!ledger.contains(&again));
    ledger.add(&again).unwrap();
    for ledger in [&mut ledger, &mut open(&disk)] {
        assert!(ledger.contains(&again));
        assert_eq!(pending(ledger), [1]);
    }
}

#[test]
fn a_finding_of_a_clock_that_is_ahead_is_the_same_after_a_restart() {
    let disk = TestDisk::default();
    let mut ledger = open(&disk);
    let mut ahead = finding(1);
    ahead.at = clock().now() + SignedDuration::from_secs(4);
    ledger.add(&ahead).unwrap();
    ledger.accept(ahead.id).unwrap();
    for ledger in [&mut ledger, &mut open(&disk)] {
        assert!(ledger.contains(&ahead));
        // Moved to another time, as its clock is far ahead.
        let mut moved = ahead.clone();
        moved.at += SignedDuration::from_hours(1);
        assert!(!ledger.contains(&moved), "a session that was written again");
        moved.was_observed = true;
        assert!(ledger.contains(&moved));
    }
}

#[test]
fn an_outcome_without_a_stored_finding_is_remembered() {
    let disk = TestDisk::default();
    open(&disk).accept(Fingerprint::from(7)).unwrap();
    assert!(open(&disk).contains(&finding(7)));
}

#[test]
fn only_power_waits_for_the_disk() {
    for (durability, n_syncs) in [(Durability::Process, 0), (Durability::Power, 1)] {
        let disk = TestDisk::default();
        let mut ledger = FileLedger::open(disk.clone(), Arc::new(clock()), durability).unwrap();
        ledger.sync().unwrap();
        (1..9).for_each(|id| _ = ledger.add(&finding(id)).unwrap());
        ledger.sync().unwrap();
        ledger.sync().unwrap();
        assert_eq!(disk.with(|disk| disk.n_syncs), n_syncs, "{durability:?}");
    }
}

#[test]
fn another_version_is_refused() {
    let other = Header { version: 2, ..FORMAT };
    let disk = TestDisk::default();
    RecordFile::open(disk.clone(), other, |_, _| true).unwrap();
    let before = disk.with(|disk| disk.bytes.clone());
    let err = FileLedger::open(disk.clone(), Arc::new(clock()), Durability::Process).unwrap_err();
    assert_eq!(err.to_string(), "another version of the program has written it");
    assert_eq!(disk.with(|disk| disk.bytes.clone()), before);
}

#[test]
fn a_flip_or_a_cut_at_every_byte_costs_one_finding() {
    let disk = TestDisk::default();
    let mut ledger = open(&disk);
    (0..6).for_each(|id| _ = ledger.add(&finding(id)).unwrap());
    ledger.accept(Fingerprint::from(0)).unwrap();
    let whole = disk.with(|disk| disk.bytes.clone());
    for at in 0..whole.len() {
        let mut flipped = whole.clone();
        flipped[at] ^= 0x10;
        for bytes in [flipped, whole[..at].to_vec()] {
            let is_cut = bytes.len() < whole.len();
            disk.with(|disk| disk.bytes = bytes);
            let mut reopened = open(&disk);
            let n_kept = pending(&mut reopened).len();
            assert!(is_cut || (4..=6).contains(&n_kept), "{at}: {n_kept}");
            reopened.add(&finding(9)).unwrap();
            assert!(pending(&mut open(&disk)).contains(&9), "{at}");
        }
    }
}

/// A step of a ledger's life.
#[derive(Clone, Debug)]
enum Step {
    Add(u64),
    Accept(u64),
    GiveUp(u64),
    /// The process ends, and the last bytes of the file are lost.
    Crash {
        n_lost: usize,
    },
    Full(usize),
    Room,
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0_u64..12).prop_map(Step::Add),
        2 => (0_u64..12).prop_map(Step::Accept),
        1 => (0_u64..12).prop_map(Step::GiveUp),
        1 => prop_oneof![Just(0), 0_usize..40].prop_map(|n_lost| Step::Crash { n_lost }),
        1 => (0_usize..300).prop_map(Step::Full),
        1 => Just(Step::Room),
    ]
}

proptest! {
    #[test]
    fn no_finding_is_lost_and_none_is_invented(steps in vec(any_step(), 0..60)) {
        let disk = TestDisk::default();
        let mut ledger = open(&disk);
        // The ids that were added and have no outcome, and those that were ever added.
        let (mut waiting, mut added): (Vec<u64>, Vec<u64>) = (Vec::new(), Vec::new());
        for step in steps {
            match step {
                Step::Add(id) => {
                    let is_new = !ledger.contains(&finding(id));
                    if is_new && ledger.add(&finding(id)).is_ok() {
                        waiting.push(id);
                        added.push(id);
                    }
                }
                Step::Accept(id) if waiting.contains(&id) => {
                    let _ = ledger.accept(Fingerprint::from(id));
                    waiting.retain(|other| *other != id);
                }
                Step::GiveUp(id) if waiting.contains(&id) => {
                    let _ = ledger.give_up(Fingerprint::from(id));
                    waiting.retain(|other| *other != id);
                }
                Step::Crash { n_lost } => {
                    drop(ledger);
                    disk.with(|disk| {
                        disk.room = None;
                        let len = disk.bytes.len().saturating_sub(n_lost);
                        disk.bytes.truncate(len);
                    });
                    ledger = open(&disk);
                    let now = pending(&mut ledger);
                    if n_lost == 0 {
                        // Accepted findings may be repeated, if their outcome was not written.
                        prop_assert!(waiting.iter().all(|id| now.contains(id)));
                    }
                    prop_assert!(now.iter().all(|id| added.contains(id)));
                    waiting = now;
                }
                Step::Full(room) => disk.with(|disk| disk.room = Some(room)),
                Step::Room => disk.with(|disk| disk.room = None),
                _ => {}
            }
            prop_assert_eq!(pending(&mut ledger), waiting.clone());
        }
    }
}
