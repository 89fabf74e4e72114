//! The acknowledgements and the history of the state folder, for the page.

use std::{path::PathBuf, sync::Arc};

use serde::{Deserialize, Serialize};
use watchkeeper_core::{
    Fingerprint, SignedDuration, Timestamp,
    clock::{Clock as _, SystemClock},
};
use watchkeeper_delivery::past_findings;
use watchkeeper_http::{
    AcknowledgementRow, AcknowledgementStore, ChangeRefusal, History, NewAcknowledgement,
};
use watchkeeper_page::{Acknowledgement, Board, PastFindingRow, past_episodes};

use crate::{
    causes::with_causes,
    state_lines::{self, StateLine, StateLinesError},
};

/// The number of acknowledgements that are kept. Of more, the earliest is dropped.
const MAX_ACKNOWLEDGEMENTS: usize = 1_000;
/// The time for which acknowledgements are kept.
const KEPT: SignedDuration = SignedDuration::from_hours(90 * 24);
/// The number of findings that are read from each ledger.
const MAX_OF_LEDGER: usize = 5_000;

/// An acknowledgement as a line of the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct StoredAcknowledgement {
    v: u32,
    id: String,
    fingerprint: Fingerprint,
    /// The time of the finding.
    at: Option<Timestamp>,
    created: Timestamp,
    author: String,
    reason: String,
}

impl StateLine for StoredAcknowledgement {
    const FILE: &'static str = "acknowledgements.jsonl";
    const LOCK: &'static str = "acknowledgements.lock";
    const VERSION: u32 = 1;

    fn version(&self) -> u32 {
        self.v
    }
}

/// Reads and changes the acknowledgements of a state folder, and shows them on a board.
pub(crate) struct FolderAcknowledgements {
    folder: PathBuf,
    board: Arc<Board>,
}

impl FolderAcknowledgements {
    /// Shows the stored acknowledgements.
    pub(crate) fn new(folder: PathBuf, board: Arc<Board>) -> Self {
        let acknowledgements = Self { folder, board };
        match state_lines::read(&acknowledgements.folder) {
            Ok(stored) => acknowledgements.show(&stored),
            Err(err) => {
                let reason = with_causes(&err);
                tracing::warn!(target: "watchkeeper::ui", reason, "acknowledgements are not shown");
            }
        }
        acknowledgements
    }

    fn show(&self, stored: &[StoredAcknowledgement]) {
        self.board.acknowledge(stored.iter().cloned().map(|stored| {
            let StoredAcknowledgement { id, fingerprint, at, created, author, reason, .. } = stored;
            (fingerprint, at, Acknowledgement { id, at: created, author, reason })
        }));
    }

    /// Changes the stored acknowledgements, and shows them.
    fn change<T>(
        &self,
        change: impl FnOnce(&mut Vec<StoredAcknowledgement>) -> Result<T, ChangeRefusal>,
    ) -> Result<T, ChangeRefusal> {
        let now = SystemClock.now();
        let changed = state_lines::change(&self.folder, |stored: &mut Vec<_>| {
            stored.retain(|it: &StoredAcknowledgement| now.duration_since(it.created) < KEPT);
            let changed = change(stored)?;
            stored.drain(..stored.len().saturating_sub(MAX_ACKNOWLEDGEMENTS));
            Ok::<_, ChangeRefusal>((changed, stored.clone()))
        });
        let (changed, stored) = changed?;
        self.show(&stored);
        Ok(changed)
    }
}

impl AcknowledgementStore for FolderAcknowledgements {
    fn all(&self) -> Result<Vec<AcknowledgementRow>, ChangeRefusal> {
        let stored = state_lines::read::<StoredAcknowledgement>(&self.folder)?;
        Ok(stored.into_iter().map(row).collect())
    }

    fn add(&self, new: NewAcknowledgement) -> Result<AcknowledgementRow, ChangeRefusal> {
        let NewAcknowledgement { fingerprint, at, author, reason } = new;
        if author.trim().is_empty() || reason.trim().is_empty() {
            let reason = "`author` and `reason` must not be empty".to_owned();
            return Err(ChangeRefusal::Invalid(reason));
        }
        let created = SystemClock.now();
        let mut id = Fingerprint::of(format!("{fingerprint} {at:?} {created}")).to_string();
        id.truncate(8);
        let v = StoredAcknowledgement::VERSION;
        let added = StoredAcknowledgement { v, id, fingerprint, at, created, author, reason };
        self.change(|stored| {
            stored.retain(|it| it.fingerprint != fingerprint);
            stored.push(added.clone());
            Ok(row(added))
        })
    }

    fn remove(&self, id: &str) -> Result<AcknowledgementRow, ChangeRefusal> {
        self.change(|stored| {
            let idx = stored.iter().position(|it| it.id == id).ok_or(ChangeRefusal::Unknown)?;
            Ok(row(stored.remove(idx)))
        })
    }
}

fn row(stored: StoredAcknowledgement) -> AcknowledgementRow {
    let StoredAcknowledgement { id, fingerprint, at, created, author, reason, .. } = stored;
    AcknowledgementRow { id, fingerprint, at, created, author, reason }
}

impl From<StateLinesError> for ChangeRefusal {
    fn from(err: StateLinesError) -> Self {
        match err {
            StateLinesError::TooLong => Self::Invalid(err.to_string()),
            StateLinesError::InUse(_) => Self::Busy(err.to_string()),
            err => Self::Failed(with_causes(&err)),
        }
    }
}

/// The findings in the ledgers of a state folder.
pub(crate) struct FolderHistory(PathBuf);

impl FolderHistory {
    pub(crate) fn new(folder: PathBuf) -> Self {
        Self(folder)
    }
}

impl History for FolderHistory {
    fn latest(&self, max: usize) -> Result<Vec<PastFindingRow>, ChangeRefusal> {
        let past = past_findings(&self.0, MAX_OF_LEDGER)
            .map_err(|err| ChangeRefusal::Failed(format!("cannot read the ledgers: {err}")))?;
        let past = past.into_iter().map(|past| (past.finding, past.sink, past.accepted_at));
        Ok(past_episodes(past, max))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use watchkeeper_core::{Finding, Severity, Timestamp, author::known_time, embed::EngineConfig};
    use watchkeeper_http::{AcknowledgementStore as _, ChangeRefusal, NewAcknowledgement};
    use watchkeeper_page::{Board, BoardLimits, BudgetDetectors};

    use super::FolderAcknowledgements;

    fn board() -> Arc<Board> {
        let limits = BoardLimits::default();
        Arc::new(Board::new(BudgetDetectors::default(), EngineConfig::default(), limits))
    }

    fn finding() -> Finding {
        Finding::new(Timestamp::UNIX_EPOCH, "x", "s", Severity::High, "m")
    }

    fn new(reason: &str) -> NewAcknowledgement {
        let Finding { fingerprint, at, .. } = finding();
        let (author, reason) = ("ada".to_owned(), reason.to_owned());
        NewAcknowledgement { fingerprint, at: known_time(at), author, reason }
    }

    fn shown(board: &Board) -> Option<String> {
        board.findings()[0].acknowledged.as_ref().map(|it| it.reason.clone())
    }

    #[test]
    fn a_restart_keeps_an_acknowledgement() {
        let folder = tempfile::tempdir().unwrap();
        let first = board();
        let store = FolderAcknowledgements::new(folder.path().to_owned(), first.clone());
        first.report(&finding());
        let version = first.version();
        store.add(new("known")).unwrap();
        assert_eq!(first.changes_since(version).findings.len(), 1);
        assert_eq!(shown(&first).as_deref(), Some("known"));

        let second = board();
        let store = FolderAcknowledgements::new(folder.path().to_owned(), second.clone());
        second.report(&finding());
        assert_eq!(shown(&second).as_deref(), Some("known"));
        let replaced = store.add(new("fixed soon")).unwrap();
        assert_eq!(store.all().unwrap(), std::slice::from_ref(&replaced));
        store.remove(&replaced.id).unwrap();
        assert_eq!(shown(&second), None);
        assert_eq!(store.remove(&replaced.id), Err(ChangeRefusal::Unknown));
    }

    #[test]
    fn an_acknowledgement_without_a_reason_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let store = FolderAcknowledgements::new(folder.path().to_owned(), board());
        for reason in [String::new(), "x".repeat(10_000)] {
            let refused = store.add(new(&reason));
            assert!(matches!(refused, Err(ChangeRefusal::Invalid(_))), "{refused:?}");
        }
        assert_eq!(store.all().unwrap(), []);
    }
}
