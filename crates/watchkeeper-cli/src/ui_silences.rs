//! The silences of the state folder, for the page.

use std::path::PathBuf;

use watchkeeper_core::clock::{Clock as _, SystemClock};
use watchkeeper_http::{ChangeRefusal, NewSilence, SilenceRow, SilenceStore};

use crate::{
    causes::with_causes,
    conditions::matcher,
    silences_file::{self, SilencesFileError, StoredSilence},
    state_lines::StateLinesError,
};

/// Reads and changes the silences of a state folder.
pub(crate) struct FolderSilences(PathBuf);

impl FolderSilences {
    pub(crate) fn new(folder: PathBuf) -> Self {
        Self(folder)
    }
}

impl SilenceStore for FolderSilences {
    fn active(&self) -> Result<Vec<SilenceRow>, ChangeRefusal> {
        let now = SystemClock.now();
        let stored = silences_file::stored(&self.0).map_err(|err| failed(&err))?;
        Ok(stored.into_iter().filter(|it| it.is_active(now)).map(row).collect())
    }

    fn add(&self, silence: NewSilence) -> Result<SilenceRow, ChangeRefusal> {
        let NewSilence { conditions, until, author, reason } = silence;
        let now = SystemClock.now();
        let invalid = |reason: &str| Err(ChangeRefusal::Invalid(reason.to_owned()));
        if conditions.is_empty() || conditions.values().any(Vec::is_empty) {
            return invalid("`match` needs a condition, and each condition a value");
        }
        if let Err(err) = matcher(&conditions) {
            return invalid(&err.to_string());
        }
        if until <= now {
            return invalid("`until` is not in the future");
        }
        if author.trim().is_empty() || reason.trim().is_empty() {
            return invalid("`author` and `reason` must not be empty");
        }
        let silence = StoredSilence::new(conditions, now, until, author, reason);
        let added = silences_file::change(&self.0, now, |all| {
            let same = all.iter().find(|it| it.is_active(now) && silence.repeats(it));
            same.cloned().unwrap_or_else(|| {
                all.push(silence.clone());
                silence
            })
        });
        added.map(row).map_err(|err| failed(&err))
    }

    fn expire(&self, id: &str) -> Result<SilenceRow, ChangeRefusal> {
        let now = SystemClock.now();
        let ended = silences_file::change(&self.0, now, |all| {
            let silence = all.iter_mut().find(|it| it.id == id && it.is_active(now))?;
            silence.until = now;
            Some(silence.clone())
        });
        ended.map_err(|err| failed(&err))?.map(row).ok_or(ChangeRefusal::Unknown)
    }
}

fn failed(err: &SilencesFileError) -> ChangeRefusal {
    match err {
        SilencesFileError::Full | SilencesFileError::File(StateLinesError::TooLong) => {
            ChangeRefusal::Invalid(err.to_string())
        }
        SilencesFileError::File(StateLinesError::InUse(_)) => ChangeRefusal::Busy(err.to_string()),
        err => ChangeRefusal::Failed(with_causes(err)),
    }
}

fn row(silence: StoredSilence) -> SilenceRow {
    let StoredSilence { id, conditions, created, until, author, reason, .. } = silence;
    SilenceRow { id, conditions, created, until, author, reason }
}

#[cfg(test)]
mod tests {
    use watchkeeper_core::Timestamp;
    use watchkeeper_http::{ChangeRefusal, NewSilence, SilenceStore as _};

    use super::FolderSilences;
    use crate::{conditions::Conditions, silences_file};

    fn silence() -> NewSilence {
        NewSilence {
            conditions: Conditions::from([("detector".to_owned(), vec!["call_*".to_owned()])]),
            until: "2200-01-01T00:00:00Z".parse().unwrap(),
            author: "ada".to_owned(),
            reason: "a test".to_owned(),
        }
    }

    #[test]
    fn a_silence_of_the_page_is_one_of_the_command() {
        let folder = tempfile::tempdir().unwrap();
        let silences = FolderSilences::new(folder.path().to_owned());
        let added = silences.add(silence()).unwrap();
        assert_eq!(silences_file::load(folder.path()).unwrap().len(), 1);
        assert_eq!(silences.active().unwrap(), std::slice::from_ref(&added));
        assert_eq!(silences.expire("x"), Err(ChangeRefusal::Unknown));
        silences.expire(&added.id).unwrap();
        assert_eq!(silences.active().unwrap(), []);
        assert_eq!(silences.expire(&added.id), Err(ChangeRefusal::Unknown));
    }

    #[test]
    fn a_silence_that_is_added_again_is_the_same_while_it_is_active() {
        let folder = tempfile::tempdir().unwrap();
        let silences = FolderSilences::new(folder.path().to_owned());
        let added = silences.add(silence()).unwrap();
        assert_eq!(silences.add(silence()), Ok(added.clone()));
        let other = NewSilence { reason: "another test".to_owned(), ..silence() };
        assert_ne!(silences.add(other).unwrap().id, added.id);
        assert_eq!(silences.active().unwrap().len(), 2);
        silences.expire(&added.id).unwrap();
        let again = silences.add(silence()).unwrap();
        assert!(silences.active().unwrap().contains(&again));
    }

    #[test]
    fn invalid_silences_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let silences = FolderSilences::new(folder.path().to_owned());
        let conditions = |key: &str, values: &[&str]| {
            let values = values.iter().map(|&value| value.to_owned()).collect();
            Conditions::from([(key.to_owned(), values)])
        };
        for invalid in [
            NewSilence { conditions: Conditions::new(), ..silence() },
            NewSilence { conditions: conditions("detector", &[]), ..silence() },
            NewSilence { conditions: conditions("other", &["x"]), ..silence() },
            NewSilence { until: Timestamp::UNIX_EPOCH, ..silence() },
            NewSilence { author: " ".to_owned(), ..silence() },
            NewSilence { reason: String::new(), ..silence() },
            NewSilence { reason: "x".repeat(10_000), ..silence() },
        ] {
            let refused = silences.add(invalid.clone());
            assert!(matches!(refused, Err(ChangeRefusal::Invalid(_))), "{invalid:?}");
        }
        assert_eq!(silences.active().unwrap(), []);
    }
}
