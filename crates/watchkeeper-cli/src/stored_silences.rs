//! The silences that people add and end while the program watches sessions.

use std::{fs, io, mem, path::PathBuf, time::SystemTime};

use watchkeeper_core::{
    Finding, Severity, Timestamp,
    clock::{Clock as _, SystemClock},
    embed::Silences,
    quote,
};

use crate::{causes::with_causes, silences_file};

/// The silences of a policy and of a state folder, as the file in the folder changes.
pub(crate) struct StoredSilences {
    folder: PathBuf,
    of_policy: Silences,
    seen: Seen,
}

/// The last look at the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    Nothing,
    NoFile,
    File(Version),
}

/// Identifies a version of the file, which is replaced as a whole.
type Version = (SystemTime, u64, u64);

impl StoredSilences {
    /// Joins the silences of a policy with those of a state folder.
    pub(crate) const fn new(folder: PathBuf, of_policy: Silences) -> Self {
        Self { folder, of_policy, seen: Seen::Nothing }
    }

    /// Returns all silences if the file has changed since the last call, and in the first call,
    /// or a finding if the file cannot be read.
    pub(crate) fn changes(&mut self) -> Option<Result<Silences, Box<Finding>>> {
        let version = self.version();
        if mem::replace(&mut self.seen, version) == version {
            return None;
        }
        let stored = silences_file::load(&self.folder).map_err(|err| {
            let message = format!("stored silences do not apply: {}", quote(&with_causes(&err)));
            let now = SystemClock.now();
            Box::new(Finding::about_monitor(now, "silences", Severity::Medium, message))
        });
        Some(stored.map(|stored| {
            let mut silences = self.of_policy.clone();
            silences.extend(stored);
            silences
        }))
    }

    /// Replaces the silences of the policy, and returns all silences as
    /// [`changes`](Self::changes) does in its first call.
    pub(crate) fn of(&mut self, policy: Silences) -> Option<Result<Silences, Box<Finding>>> {
        self.of_policy = policy;
        self.seen = Seen::Nothing;
        self.changes()
    }

    /// Returns the time at which the oldest silence of the state folder was added that hides
    /// findings at `now`.
    pub(crate) fn oldest(&self, now: Timestamp) -> Option<Timestamp> {
        // A file that cannot be read is reported when the silences are used.
        let stored = silences_file::stored(&self.folder).unwrap_or_default();
        stored.into_iter().filter(|it| it.is_active(now)).map(|silence| silence.created).min()
    }

    /// Returns the file with the silences of the state folder.
    pub(crate) fn path(&self) -> PathBuf {
        silences_file::path(&self.folder)
    }

    fn version(&self) -> Seen {
        let metadata = || -> io::Result<Version> {
            let metadata = fs::metadata(self.path())?;
            #[cfg(unix)]
            let file = std::os::unix::fs::MetadataExt::ino(&metadata);
            #[cfg(not(unix))]
            let file = 0;
            Ok((metadata.modified()?, metadata.len(), file))
        };
        metadata().map_or(Seen::NoFile, Seen::File)
    }
}

#[cfg(test)]
mod tests {
    use watchkeeper_core::{SignedDuration, embed::Silences};

    use super::{StoredSilences, Timestamp};
    use crate::{
        conditions::Conditions,
        silences_file::{StoredSilence, change},
    };

    #[test]
    fn the_silences_are_read_when_the_file_has_changed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_owned();
        let mut silences = StoredSilences::new(path.clone(), Silences::default());
        assert_eq!(silences.changes().map(|it| it.unwrap().iter().count()), Some(0));
        assert!(silences.changes().is_none());
        let now = Timestamp::UNIX_EPOCH;
        let until = now + SignedDuration::from_hours(1);
        let conditions = Conditions::from([("detector".to_owned(), vec!["call_*".to_owned()])]);
        let silence = StoredSilence::new(conditions, now, until, "ada".into(), "a test".into());
        change(&path, now, |all| all.push(silence)).unwrap();
        assert_eq!(silences.changes().map(|it| it.unwrap().iter().count()), Some(1));
        assert!(silences.changes().is_none());
        assert_eq!((silences.oldest(now), silences.oldest(until)), (Some(now), None));
    }
}
