//! The silences that people add while the monitor runs, in a file of the state folder.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use thiserror::Error;
use watchkeeper_core::{Fingerprint, SignedDuration, Timestamp, embed::Silence};

use crate::{
    conditions::{Conditions, matcher},
    state_lines::{self, StateLine, StateLinesError},
};

/// The largest number of silences.
const MAX_SILENCES: usize = 1_000;
/// The time for which silences that have ended are kept.
const KEPT: SignedDuration = SignedDuration::from_hours(7 * 24);

/// A silence as a line of the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StoredSilence {
    v: u32,
    pub(crate) id: String,
    #[serde(rename = "match")]
    pub(crate) conditions: Conditions,
    pub(crate) created: Timestamp,
    pub(crate) until: Timestamp,
    pub(crate) author: String,
    pub(crate) reason: String,
}

/// The silences cannot be read or written.
#[derive(Debug, Error)]
pub(crate) enum SilencesFileError {
    #[error("no state folder: set HOME or XDG_STATE_HOME, or use --state-dir")]
    NoFolder,
    #[error("there are {MAX_SILENCES} silences already; end some with `silence expire`")]
    Full,
    #[error(transparent)]
    File(#[from] StateLinesError),
}

impl StateLine for StoredSilence {
    const FILE: &'static str = "silences.jsonl";
    const LOCK: &'static str = "silences.lock";
    const VERSION: u32 = 1;

    fn version(&self) -> u32 {
        self.v
    }
}

impl StoredSilence {
    pub(crate) fn new(
        conditions: Conditions,
        created: Timestamp,
        until: Timestamp,
        author: String,
        reason: String,
    ) -> Self {
        let text = format!("{conditions:?} {created} {until} {author} {reason}");
        let mut id = Fingerprint::of(text).to_string();
        id.truncate(8);
        Self { v: Self::VERSION, id, conditions, created, until, author, reason }
    }

    /// Returns whether two silences differ only in the time at which they were added.
    pub(crate) fn repeats(&self, earlier: &Self) -> bool {
        let content = |it: &Self| {
            let Self { conditions, until, author, reason, .. } = it.clone();
            (conditions, until, author, reason)
        };
        content(self) == content(earlier)
    }

    pub(crate) fn is_active(&self, now: Timestamp) -> bool {
        now < self.until
    }
}

/// Returns the file of a state folder.
pub(crate) fn path(folder: &Path) -> PathBuf {
    folder.join(StoredSilence::FILE)
}

/// Returns the silences in a state folder, in the order of their creation.
pub(crate) fn stored(folder: &Path) -> Result<Vec<StoredSilence>, SilencesFileError> {
    Ok(state_lines::read(folder)?)
}

/// Returns the silences in a state folder, for the router.
pub(crate) fn load(folder: &Path) -> Result<Vec<Silence>, SilencesFileError> {
    let silences = stored(folder)?.into_iter().filter_map(|stored| {
        let StoredSilence { id, conditions, until, author, reason, .. } = stored;
        // The conditions were checked before they were written.
        Some(Silence::new(id, matcher(&conditions).ok()?, until, author, reason))
    });
    Ok(silences.collect())
}

/// Changes the silences in a state folder, one program at a time. Forgets silences that ended long
/// ago.
pub(crate) fn change<T>(
    folder: &Path,
    now: Timestamp,
    change: impl FnOnce(&mut Vec<StoredSilence>) -> T,
) -> Result<T, SilencesFileError> {
    state_lines::change(folder, |silences: &mut Vec<StoredSilence>| {
        silences.retain(|it| now.duration_since(it.until) < KEPT);
        let changed = change(silences);
        if MAX_SILENCES < silences.len() { Err(SilencesFileError::Full) } else { Ok(changed) }
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use watchkeeper_core::{SignedDuration, Timestamp};

    use super::{Conditions, KEPT, SilencesFileError, StoredSilence, change, load, stored};
    use crate::{
        replace_file::NEW,
        state_lines::{StateLine as _, StateLinesError},
    };

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn silence(reason: &str, until: Timestamp) -> StoredSilence {
        let conditions = Conditions::from([("detector".to_owned(), vec!["call_*".to_owned()])]);
        StoredSilence::new(conditions, NOW, until, "ada".to_owned(), reason.to_owned())
    }

    #[test]
    fn a_missing_file_has_no_silences() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(stored(&folder.path().join("missing")).unwrap(), []);
    }

    #[test]
    fn silences_are_kept_until_long_after_their_end() {
        let folder = tempfile::tempdir().unwrap();
        let end = NOW + SignedDuration::from_hours(1);
        let (a, b) = (silence("a", end), silence("b", end + KEPT));
        assert_ne!(a.id, b.id);
        change(folder.path(), NOW, |all| all.extend([a.clone(), b.clone()])).unwrap();
        assert_eq!(stored(folder.path()).unwrap(), [a.clone(), b.clone()]);
        assert_eq!(load(folder.path()).unwrap().len(), 2);
        change(folder.path(), end + KEPT, |_| ()).unwrap();
        assert_eq!(stored(folder.path()).unwrap(), [b]);
    }

    #[cfg(unix)]
    #[test]
    fn links_are_refused_and_new_files_are_for_their_owner() {
        use std::os::unix::fs::{PermissionsExt as _, symlink};

        for file in [StoredSilence::FILE, StoredSilence::LOCK] {
            let folder = tempfile::tempdir().unwrap();
            let (path, elsewhere) = (folder.path().join(file), folder.path().join("elsewhere"));
            let change = || change(folder.path(), NOW, |_| ());
            change().unwrap();
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
            fs::rename(&path, &elsewhere).unwrap();
            symlink(&elsewhere, &path).unwrap();
            change().unwrap_err();
            assert_eq!(stored(folder.path()).is_err(), file == StoredSilence::FILE);
            assert!(path.is_symlink());
        }
    }

    #[test]
    fn the_files_of_killed_programs_are_removed() {
        let folder = tempfile::tempdir().unwrap();
        let unfinished = folder.path().join(format!(".{}.1{NEW}", StoredSilence::FILE));
        fs::write(&unfinished, "half").unwrap();
        change(folder.path(), NOW, |_| ()).unwrap();
        assert!(!unfinished.exists());
    }

    #[test]
    fn a_silence_that_is_too_long_is_not_stored() {
        let folder = tempfile::tempdir().unwrap();
        let end = NOW + SignedDuration::from_hours(1);
        let added = change(folder.path(), NOW, |all| all.push(silence(&"x".repeat(8192), end)));
        assert!(
            matches!(added, Err(SilencesFileError::File(StateLinesError::TooLong))),
            "{added:?}"
        );
        assert_eq!(stored(folder.path()).unwrap(), []);
    }

    #[test]
    fn lines_of_other_versions_stay() {
        let folder = tempfile::tempdir().unwrap();
        let other = r#"{"v":2,"id":"x"}"#;
        fs::write(folder.path().join(StoredSilence::FILE), format!("{other}\n\nbroken\n")).unwrap();
        let end = NOW + SignedDuration::from_hours(1);
        change(folder.path(), NOW, |all| all.push(silence("a", end))).unwrap();
        let text = fs::read_to_string(folder.path().join(StoredSilence::FILE)).unwrap();
        assert!(text.starts_with(&format!("{other}\nbroken\n{{\"v\":1,")), "{text}");
        assert_eq!(stored(folder.path()).unwrap().len(), 1);
    }
}
