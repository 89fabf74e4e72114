//! The silences of the state folder, for the page.

use std::path::PathBuf;

use watchkeeper_core::clock::{Clock as _, SystemClock};
use watchkeeper_http::{NewSilence, SilenceRefusal, SilenceRow, SilenceStore};

use crate::{
    causes::with_causes,
    conditions::matcher,
    silences_file::{self, SilencesFileError, StoredSilence},
};

/// Reads and changes the silences of a state folder.
pub(crate) struct FolderSilences(PathBuf);

impl FolderSilences {
    pub(crate) fn new(folder: PathBuf) -> Self {
        Self(folder)
    }
}

impl SilenceStore for FolderSilences {
    fn active(&self) -> Result<Vec<SilenceRow>, SilenceRefusal> {
        let now = SystemClock.now();
        let stored = silences_file::stored(&self.0).map_err(|err| failed(&err))?;
        Ok(stored.into_iter().filter(|it| it.is_active(now)).map(row).collect())
    }

    fn add(&self, silence: NewSilence) -> Result<SilenceRow, SilenceRefusal> {
        let NewSilence { conditions, until, author, reason } = silence;
        let now = SystemClock.now();
        let invalid = |reason: &str| Err(SilenceRefusal::Invalid(reason.to_owned()));
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
        silences_file::change(&self.0, now, |all| all.push(silence.clone()))
            .map_err(|err| failed(&err))?;
        Ok(row(silence))
    }

    fn expire(&self, id: &str) -> Result<SilenceRow, SilenceRefusal> {
        let now = SystemClock.now();
        let ended = silences_file::change(&self.0, now, |all| {
            let silence = all.iter_mut().find(|it| it.id == id && it.is_active(now))?;
            silence.until = now;
            Some(silence.clone())
        });
        ended.map_err(|err| failed(&err))?.map(row).ok_or(SilenceRefusal::Unknown)
    }
}

fn failed(err: &SilencesFileError) -> SilenceRefusal {
    match err {
        SilencesFileError::Full | SilencesFileError::TooLong => {
            SilenceRefusal::Invalid(err.to_string())
        }
        err => SilenceRefusal::Failed(with_causes(err)),
    }
}

fn row(silence: StoredSilence) -> SilenceRow {
    let StoredSilence { id, conditions, created, until, author, reason, .. } = silence;
    SilenceRow { id, conditions, created, until, author, reason }
}

#[cfg(test)]
mod tests {
    use watchkeeper_core::Timestamp;
    use watchkeeper_http::{NewSilence, SilenceRefusal, SilenceStore as _};

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
        assert_eq!(silences.expire("x"), Err(SilenceRefusal::Unknown));
        silences.expire(&added.id).unwrap();
        assert_eq!(silences.active().unwrap(), []);
        assert_eq!(silences.expire(&added.id), Err(SilenceRefusal::Unknown));
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
            assert!(matches!(refused, Err(SilenceRefusal::Invalid(_))), "{invalid:?}");
        }
        assert_eq!(silences.active().unwrap(), []);
    }
}
