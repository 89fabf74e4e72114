//! The state that `watch` stores between two runs: the deliveries of each sink, and how far each
//! session file was read.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, mem,
    path::{Path, PathBuf},
    sync::Arc,
};

use watchkeeper_core::{
    Engine, Event, Finding, Fingerprint, Severity, Timestamp,
    author::Evidence,
    clock::{Clock as _, SystemClock},
    embed::{Durability, Queue, SourceEntry},
    quote,
};
use watchkeeper_delivery::{Cursors, DiskStorage, FileLedger, Place, StateError, StateFolder};
use watchkeeper_policy::{NamedSink, Policy};
use watchkeeper_sources::{ReadMark, Update, otlp};

use crate::{followed_paths::FollowedPaths, live::is_remote, numbers::counted};

/// The message of the end of a finding whose session is gone.
pub(crate) const SESSION_IS_GONE: &str = "over, as the session is no longer in the followed files";

/// The state of a `watch` in its folder, which no other process uses.
pub(crate) struct WatchState {
    folder: StateFolder,
    cursors: Cursors<DiskStorage>,
    durability: Durability,
    /// The ledgers of sinks whose queues are not started.
    ledgers: Vec<(String, FileLedger<DiskStorage>)>,
    /// The findings that each sink has accepted without their ends, by the name of the sink.
    delivered: Vec<(String, Vec<Finding>)>,
    /// The detectors of the policy at the start.
    detectors: BTreeSet<Arc<str>>,
    paths: FollowedPaths,
    /// The kinds of sources, which know where their databases have their lines.
    kinds: Vec<&'static SourceEntry>,
    /// The files that have the evidence of delivered findings.
    evidence: BTreeMap<Arc<str>, EvidenceFile>,
    /// The findings about damaged files that are not reported yet.
    damages: Vec<Finding>,
    /// The cursors could not be written, and this is reported.
    is_failing: bool,
}

impl WatchState {
    /// Opens the state of a `watch` of these paths, inside `base`. Returns `None` if the policy
    /// needs none.
    pub(crate) fn open(
        policy: &Policy,
        base: &Path,
        paths: &[PathBuf],
        kinds: Vec<&'static SourceEntry>,
    ) -> Result<Option<Self>, StateError> {
        if !Self::is_needed(policy) {
            return Ok(None);
        }
        let mut names: Vec<String> = paths.iter().map(|path| real_name(path)).collect();
        names.sort();
        let mut folder = StateFolder::open(base, &names.join("\n"))?;
        let durability = policy.monitor.durable;
        let stored = policy.sinks.iter().filter(|sink| !sink.sink.is_display());
        let open = |sink: &NamedSink| {
            let ledger = folder.ledger(&sink.id, Arc::new(SystemClock), durability)?;
            Ok((sink.id.clone(), ledger))
        };
        let mut ledgers: Vec<(String, FileLedger<_>)> =
            stored.map(open).collect::<Result<_, _>>()?;
        let delivered = ledgers.iter_mut();
        let delivered = delivered.map(|(sink, ledger)| (sink.clone(), ledger.open_findings()));
        let delivered: Vec<_> = delivered.collect();
        let detectors = policy.detectors.iter().map(|detector| detector.id.clone()).collect();
        let paths = FollowedPaths::new(paths);
        let worked_until = ledgers.iter().filter_map(|(_, ledger)| ledger.last_outcome()).max();
        let cursors = folder.cursors(&SystemClock, worked_until)?;
        let evidence = evidence_files(&delivered, &cursors, &kinds);
        let of_ledgers = ledgers.iter().filter_map(|(sink, ledger)| damage_of_ledger(sink, ledger));
        let of_cursors = damage("the places in session files", cursors.n_damaged());
        let damages = of_ledgers.chain(of_cursors).collect();
        let is_failing = false;
        Ok(Some(Self {
            folder,
            cursors,
            durability,
            ledgers,
            delivered,
            detectors,
            paths,
            kinds,
            evidence,
            damages,
            is_failing,
        }))
    }

    /// Opens the ledger of another sink.
    pub(crate) fn open_ledger(&mut self, sink: &NamedSink) -> Result<(), StateError> {
        if self.ledgers.iter().all(|(name, _)| *name != sink.id) {
            let ledger = self.folder.ledger(&sink.id, Arc::new(SystemClock), self.durability)?;
            self.damages.extend(damage_of_ledger(&sink.id, &ledger));
            self.ledgers.push((sink.id.clone(), ledger));
        }
        Ok(())
    }

    /// Returns whether a policy needs state: it has a sink that is no terminal, and `durable` is
    /// not `off`.
    pub(crate) fn is_needed(policy: &Policy) -> bool {
        policy.monitor.durable != Durability::Off
            && policy.sinks.iter().any(|sink| !sink.sink.is_display())
    }

    /// Returns the folder.
    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Starts the queue of a sink, with its ledger if it has one.
    pub(crate) fn queue(state: Option<&mut Self>, sink: NamedSink) -> Queue {
        let NamedSink { id, sink, queue_capacity, .. } = sink;
        let ledger = state.filter(|_| !sink.is_display()).and_then(|state| {
            let place = state.ledgers.iter().position(|(name, _)| *name == id)?;
            Some(state.ledgers.swap_remove(place).1)
        });
        match ledger {
            Some(ledger) => Queue::with_ledger(&id, sink, queue_capacity, Box::new(ledger)),
            None => Queue::new(&id, sink, queue_capacity),
        }
    }

    /// Takes the findings that each sink has accepted without their ends, by the name of the sink.
    pub(crate) fn take_delivered(&mut self) -> Vec<(String, Vec<Finding>)> {
        mem::take(&mut self.delivered)
    }

    /// Returns the files with the evidence of delivered findings, whose sessions may go on however
    /// long ago the files have changed.
    pub(crate) fn evidence_files(&self) -> BTreeSet<PathBuf> {
        self.evidence.keys().map(|file| PathBuf::from(&**file)).collect()
    }

    /// Returns the message of the end of a delivered finding that no event of the followed files
    /// shows. `None` if the finding may still be open: its file was not read, or its detector
    /// waits for the time.
    pub(crate) fn end_of(&self, finding: &Finding, engine: &Engine) -> Option<&'static str> {
        if finding.is_about_monitor() {
            return Some("over, as `watch` was started again");
        }
        if !self.detectors.contains(&finding.detector) {
            return Some("over, as the policy has changed");
        }
        let file = finding.evidence.iter().find_map(|it| it.file.as_deref())?;
        if otlp::is_received(file) {
            return Some("over, as earlier telemetry cannot be read again");
        }
        if finding.evidence.iter().any(Evidence::has_redacted_path) {
            // The path leads to no file, which does not mean that the session is gone.
            return None;
        }
        let has_session = engine.session(&finding.session).is_some();
        let lines = finding.evidence.iter().filter(|it| it.file.as_deref() == Some(file));
        let last_line = lines.filter_map(|it| it.line).max();
        let is_changed = self.evidence.get(file).is_some_and(|file| {
            file.is_changed || file.n_lines.is_some_and(|n_lines| Some(n_lines) < last_line)
        });
        if is_changed && has_session {
            return Some("over, as the session file has changed");
        }
        let is_gone = || is_changed || self.cursors.identifies(file);
        let is_gone = !has_session && (is_gone() || self.paths.have_lost(Path::new(file)));
        is_gone.then_some(SESSION_IS_GONE)
    }

    /// Returns a finding for each file that was opened since the last call and has damaged records.
    pub(crate) fn take_damages(&mut self) -> Vec<Finding> {
        mem::take(&mut self.damages)
    }

    /// Returns the time of the end of the last run; `None` in the first one.
    pub(crate) fn stopped_at(&self) -> Option<Timestamp> {
        self.cursors.stopped_at()
    }

    /// Returns whether no earlier run has handled an event.
    pub(crate) fn is_new(&self, event: &Event) -> bool {
        self.cursors.is_new(event)
    }

    /// Keeps the identities of the followed files, by which a later run recognizes them.
    pub(crate) fn follow(&mut self, update: &Update) {
        match update {
            Update::FirstLine { file, id } => {
                let is_same = |place| has_content(file, place, &self.kinds);
                if self.cursors.place(*id).is_some_and(|place| !is_same(place)) {
                    // Rewritten in place, or another file with the same beginning.
                    self.cursors.forget(*id);
                }
                self.cursors.identify(file, Some(*id));
            }
            Update::Read { file, id, line, n_lines, mark } => {
                if let Some(evidence) = self.evidence.get_mut(file) {
                    evidence.n_lines = Some(*n_lines);
                }
                let content = mark.map(|ReadMark { end, hash }| (end, hash));
                self.cursors.advance(file, *id, Place { line: *line, content });
            }
            Update::Began { file, .. } => self.cursors.identify(file, None),
            Update::Moved { from, to } => self.cursors.rename(from, to),
            _ => {}
        }
    }

    /// Stores the lines that were added. All their events must be handled, and their findings
    /// stored. Returns a finding if that fails for the first time.
    pub(crate) fn commit(&mut self) -> Option<Finding> {
        let Err(err) = self.cursors.commit(&SystemClock) else {
            self.is_failing = false;
            return None;
        };
        if mem::replace(&mut self.is_failing, true) {
            return None;
        }
        let path = self.folder.path().display().to_string();
        let message = format!(
            "cannot store the places in session files in {}: {err}; after a restart, findings \
             may be repeated",
            quote(&path)
        );
        Some(Finding::about_monitor(SystemClock.now(), "cursors", Severity::Medium, message))
    }

    /// Returns whether lines were added since the last commit.
    pub(crate) fn is_dirty(&self) -> bool {
        self.cursors.is_dirty()
    }
}

/// A file that has the evidence of a delivered finding.
struct EvidenceFile {
    /// The file was emptied, cut or overwritten since it was read.
    is_changed: bool,
    /// The number of lines that were read; `None` if the file was not read.
    n_lines: Option<u64>,
}

fn evidence_files(
    delivered: &[(String, Vec<Finding>)],
    cursors: &Cursors<DiskStorage>,
    kinds: &[&'static SourceEntry],
) -> BTreeMap<Arc<str>, EvidenceFile> {
    let findings = delivered.iter().flat_map(|(_, findings)| findings);
    let files = findings.flat_map(|finding| &finding.evidence).filter_map(|it| it.file.clone());
    let files: BTreeSet<Arc<str>> = files.filter(|file| !otlp::is_received(file)).collect();
    let state = |file: Arc<str>| {
        let is_empty = fs::metadata(&*file).is_ok_and(|it| it.is_file() && it.len() == 0);
        let place = cursors.earlier_place(&file);
        let is_changed = is_empty || place.is_some_and(|place| !has_content(&file, place, kinds));
        (file, EvidenceFile { is_changed, n_lines: None })
    };
    files.into_iter().map(state).collect()
}

/// Returns whether a file has the content that was read up to a place, or cannot be read now.
fn has_content(file: &str, place: Place, kinds: &[&'static SourceEntry]) -> bool {
    place.content.is_none_or(|(end, hash)| {
        let mark = ReadMark { end, hash };
        mark.is_in(Path::new(file), kinds.iter().copied()).unwrap_or(true)
    })
}

fn damage_of_ledger(sink: &str, ledger: &FileLedger<DiskStorage>) -> Option<Finding> {
    let name = format!("the ledger of sink {}", quote(sink));
    if ledger.is_lost() {
        let message = format!("{name} is gone: findings may be missing or repeated");
        return Some(of_damaged(&name, 1, message));
    }
    damage(&name, ledger.n_damaged())
}

/// Makes a finding about the damaged records of a file, if there are any.
fn damage(name: &str, n_damaged: u64) -> Option<Finding> {
    let records = counted(n_damaged, "damaged record");
    let message = format!("skipped {records} in {name}: findings may be missing or repeated");
    (0 < n_damaged).then(|| of_damaged(name, n_damaged, message))
}

fn of_damaged(name: &str, n_damaged: u64, message: String) -> Finding {
    let mut finding =
        Finding::about_monitor(SystemClock.now(), "ledger", Severity::Medium, message);
    finding.count = n_damaged;
    finding.fingerprint = finding.fingerprint.and(Fingerprint::of(name));
    finding.id = finding.id.and(finding.fingerprint);
    finding
}

/// Returns the name of a path that does not depend on how it is written.
fn real_name(path: &Path) -> String {
    if is_remote(path) {
        return path.to_string_lossy().into_owned();
    }
    let absolute = || std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let real = fs::canonicalize(path).unwrap_or_else(|_| absolute());
    // Without the slash at the end.
    real.components().as_path().to_string_lossy().into_owned()
}
