//! The state that `watch` stores between two runs: the deliveries of each sink, and how far each
//! session file was read.

use std::{
    env,
    path::{Path, PathBuf},
    sync::Arc,
};

use watchkeeper_core::{
    Event, Finding, Fingerprint, Severity, Timestamp,
    clock::{Clock as _, SystemClock},
    embed::{Durability, Queue},
    quote,
};
use watchkeeper_delivery::{Cursors, DiskStorage, FileLedger, StateError, StateFolder};
use watchkeeper_policy::{NamedSink, Policy};

use crate::{loading::home, numbers::counted};

/// The state of a `watch` in its folder, which no other process uses.
pub(crate) struct WatchState {
    folder: StateFolder,
    cursors: Cursors<DiskStorage>,
    ledgers: Vec<(String, FileLedger<DiskStorage>)>,
    /// The cursors could not be written, and this is reported.
    is_failing: bool,
}

impl WatchState {
    /// Opens the state of a `watch` of these paths, inside `base`. Returns `None` if the policy
    /// needs none: each of its sinks is a terminal, or `durable` is `off`.
    pub(crate) fn open(
        policy: &Policy,
        base: &Path,
        paths: &[PathBuf],
    ) -> Result<Option<Self>, StateError> {
        let durability = policy.monitor.durable;
        let stored = policy.sinks.iter().filter(|sink| !sink.sink.is_display());
        let stored: Vec<&str> = stored.map(|sink| &*sink.id).collect();
        if durability == Durability::Off || stored.is_empty() {
            return Ok(None);
        }
        let absolute = |path: &PathBuf| std::path::absolute(path).unwrap_or_else(|_| path.clone());
        let mut names: Vec<String> =
            paths.iter().map(|path| absolute(path).to_string_lossy().into_owned()).collect();
        names.sort();
        let folder = StateFolder::open(base, &names.join("\n"))?;
        let cursors = folder.cursors(&SystemClock)?;
        let open = |sink: &str| {
            let ledger = folder.ledger(sink, Arc::new(SystemClock), durability)?;
            Ok((sink.to_owned(), ledger))
        };
        let ledgers = stored.into_iter().map(open).collect::<Result<_, _>>()?;
        Ok(Some(Self { folder, cursors, ledgers, is_failing: false }))
    }

    /// Returns the folder.
    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Starts the queue of a sink, with its ledger if it has one.
    pub(crate) fn queue(state: Option<&mut Self>, sink: NamedSink) -> Queue {
        let NamedSink { id, sink, queue_capacity, .. } = sink;
        let ledger = state.and_then(|state| {
            let place = state.ledgers.iter().position(|(name, _)| *name == id)?;
            Some(state.ledgers.swap_remove(place).1)
        });
        match ledger {
            Some(ledger) => Queue::with_ledger(&id, sink, queue_capacity, Box::new(ledger)),
            None => Queue::new(&id, sink, queue_capacity),
        }
    }

    /// Makes a finding for each ledger with damaged records. Call before the queues are started.
    pub(crate) fn damages(&self) -> Vec<Finding> {
        let damaged = self.ledgers.iter().filter(|(_, ledger)| 0 < ledger.n_damaged());
        let finding = |(sink, ledger): &(String, FileLedger<DiskStorage>)| {
            let n_damaged = counted(ledger.n_damaged(), "damaged record");
            let message = format!(
                "skipped {n_damaged} in the ledger of sink {}: findings may be missing or repeated",
                quote(sink)
            );
            let now = SystemClock.now();
            let mut finding = Finding::about_monitor(now, "ledger", Severity::Medium, message);
            finding.count = ledger.n_damaged();
            finding.fingerprint = finding.fingerprint.and(Fingerprint::of(sink));
            finding.id = finding.id.and(finding.fingerprint);
            finding
        };
        damaged.map(finding).collect()
    }

    /// Returns the time of the end of the last run; `None` in the first one.
    pub(crate) fn stopped_at(&self) -> Option<Timestamp> {
        self.cursors.stopped_at()
    }

    /// Returns whether no earlier run has handled an event.
    pub(crate) fn is_new(&self, event: &Event) -> bool {
        self.cursors.is_new(event)
    }

    /// Adds the line of an event to the next commit.
    pub(crate) fn advance(&mut self, event: &Event) {
        self.cursors.advance(event);
    }

    /// Stores the lines that were added. All their events must be handled, and their findings
    /// stored. Returns a finding if that fails for the first time.
    pub(crate) fn commit(&mut self) -> Option<Finding> {
        let Err(err) = self.cursors.commit(&SystemClock) else {
            self.is_failing = false;
            return None;
        };
        if std::mem::replace(&mut self.is_failing, true) {
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

/// Returns the folder for the state of the user: `watchkeeper` in `$XDG_STATE_HOME` or in
/// `~/.local/state`.
pub(crate) fn default_folder() -> Option<PathBuf> {
    let state = env::var_os("XDG_STATE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let state = state.or_else(|| Some(home()?.join(".local/state")));
    state.map(|state| state.join("watchkeeper"))
}
