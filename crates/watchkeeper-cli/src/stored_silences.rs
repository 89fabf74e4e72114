//! The silences that people add and end while the program watches sessions.

use std::{
    fs, io,
    path::PathBuf,
    time::{Duration, SystemTime},
};

use watchkeeper_core::{
    Finding, Severity,
    clock::{Clock as _, SystemClock},
    embed::Silences,
    quote,
};

use crate::{causes::with_causes, silences_file};

/// The interval between two looks at the file.
const INTERVAL: Duration = Duration::from_secs(1);

/// The silences of a policy and of a state folder, as the file in the folder changes.
pub(crate) struct StoredSilences {
    folder: PathBuf,
    of_policy: Silences,
    /// `None` before the first look.
    seen: Option<Seen>,
}

/// A look at the file.
struct Seen {
    at: Duration,
    version: Option<Version>,
}

/// Identifies a version of the file, which is replaced as a whole.
type Version = (SystemTime, u64, u64);

impl StoredSilences {
    /// Joins the silences of a policy with those of a state folder.
    pub(crate) const fn new(folder: PathBuf, of_policy: Silences) -> Self {
        Self { folder, of_policy, seen: None }
    }

    /// Returns all silences if the file has changed since the last call, and in the first call,
    /// or a finding if the file cannot be read. Looks at the file once in a second.
    pub(crate) fn changes(&mut self) -> Option<Result<Silences, Box<Finding>>> {
        let now = SystemClock.uptime();
        if self.seen.as_ref().is_some_and(|seen| now.saturating_sub(seen.at) < INTERVAL) {
            return None;
        }
        let version = self.version();
        let seen = self.seen.replace(Seen { at: now, version });
        if seen.is_some_and(|seen| seen.version == version) {
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
        self.seen = None;
        self.changes()
    }

    /// Returns `None` if there is no file.
    fn version(&self) -> Option<Version> {
        let metadata = || -> io::Result<Version> {
            let metadata = fs::metadata(silences_file::path(&self.folder))?;
            #[cfg(unix)]
            let file = std::os::unix::fs::MetadataExt::ino(&metadata);
            #[cfg(not(unix))]
            let file = 0;
            Ok((metadata.modified()?, metadata.len(), file))
        };
        metadata().ok()
    }
}

#[cfg(test)]
mod tests {
    use watchkeeper_core::{SignedDuration, Timestamp, embed::Silences};

    use super::StoredSilences;
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
        silences.look_again();
        assert_eq!(silences.changes().map(|it| it.unwrap().iter().count()), Some(1));
        silences.look_again();
        assert!(silences.changes().is_none());
    }

    impl StoredSilences {
        /// Lets the interval between two looks pass.
        fn look_again(&mut self) {
            if let Some(seen) = &mut self.seen {
                seen.at = std::time::Duration::ZERO;
            }
        }
    }
}
