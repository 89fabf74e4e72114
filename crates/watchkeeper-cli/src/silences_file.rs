//! The silences that people add while the monitor runs, in a file of the state folder.
//!
//! Each line is a JSON object with the version `v` of its format. Lines of other versions are
//! kept, so that an earlier program removes nothing.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use thiserror::Error;
use watchkeeper_core::{Fingerprint, SignedDuration, Timestamp, embed::Silence};
use watchkeeper_delivery::create_private_folder;
use watchkeeper_policy::read_file;

use crate::{
    conditions::{Conditions, matcher},
    output::quoted_path,
    replace_file::replace_file,
};

/// The name of the file.
const FILE: &str = "silences.jsonl";
/// The file that programs lock while they change the silences.
const LOCK: &str = "silences.lock";
/// The version of the format.
const VERSION: u32 = 1;
/// The largest number of silences.
const MAX_SILENCES: usize = 1_000;
/// The longest line of a silence, in bytes: all of them are less than the program reads.
const MAX_LINE: usize = 8 << 10;
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
    #[error("cannot read {}", quoted_path(.path))]
    Read { path: PathBuf, source: io::Error },
    #[error("cannot write {}", quoted_path(.path))]
    Write { path: PathBuf, source: io::Error },
    #[error("there are {MAX_SILENCES} silences already; end some with `silence expire`")]
    Full,
    #[error("the silence has more than {} KiB; shorten its reason or its conditions", MAX_LINE >> 10)]
    TooLong,
}

/// The content of the file.
#[derive(Debug, Default)]
struct Content {
    silences: Vec<StoredSilence>,
    /// Lines of other versions.
    others: Vec<String>,
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
        Self { v: VERSION, id, conditions, created, until, author, reason }
    }

    pub(crate) fn is_active(&self, now: Timestamp) -> bool {
        now < self.until
    }
}

/// Returns the file of a state folder.
pub(crate) fn path(folder: &Path) -> PathBuf {
    folder.join(FILE)
}

/// Returns the silences in a state folder, in the order of their creation.
pub(crate) fn stored(folder: &Path) -> Result<Vec<StoredSilence>, SilencesFileError> {
    Ok(read(&path(folder))?.silences)
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
    let path = path(folder);
    let failed = |source| SilencesFileError::Write { path: path.clone(), source };
    create_private_folder(folder).map_err(failed)?;
    let lock = File::create(folder.join(LOCK)).map_err(failed)?;
    lock.lock().map_err(failed)?;
    let mut content = read(&path)?;
    content.silences.retain(|it| now.duration_since(it.until) < KEPT);
    let changed = change(&mut content.silences);
    if MAX_SILENCES < content.silences.len() {
        return Err(SilencesFileError::Full);
    }
    let mut lines = content.others;
    for silence in &content.silences {
        let line = serde_json::to_string(silence).map_err(|err| failed(err.into()))?;
        if MAX_LINE < line.len() {
            return Err(SilencesFileError::TooLong);
        }
        lines.push(line);
    }
    let text: String = lines.into_iter().map(|line| line + "\n").collect();
    replace_file(&path, text.as_bytes()).map_err(failed)?;
    Ok(changed)
}

fn read(path: &Path) -> Result<Content, SilencesFileError> {
    let text = match read_file(path) {
        Ok(text) => text,
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(Content::default()),
        Err(source) => return Err(SilencesFileError::Read { path: path.to_owned(), source }),
    };
    let mut content = Content::default();
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        match serde_json::from_str::<StoredSilence>(line) {
            Ok(silence) if silence.v == VERSION => content.silences.push(silence),
            _ => content.others.push(line.to_owned()),
        }
    }
    Ok(content)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use watchkeeper_core::{SignedDuration, Timestamp};

    use super::{Conditions, FILE, KEPT, SilencesFileError, StoredSilence, change, load, stored};

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

    #[test]
    fn a_silence_that_is_too_long_is_not_stored() {
        let folder = tempfile::tempdir().unwrap();
        let end = NOW + SignedDuration::from_hours(1);
        let added = change(folder.path(), NOW, |all| all.push(silence(&"x".repeat(8192), end)));
        assert!(matches!(added, Err(SilencesFileError::TooLong)), "{added:?}");
        assert_eq!(stored(folder.path()).unwrap(), []);
    }

    #[test]
    fn lines_of_other_versions_stay() {
        let folder = tempfile::tempdir().unwrap();
        let other = r#"{"v":2,"id":"x"}"#;
        fs::write(folder.path().join(FILE), format!("{other}\n\nbroken\n")).unwrap();
        let end = NOW + SignedDuration::from_hours(1);
        change(folder.path(), NOW, |all| all.push(silence("a", end))).unwrap();
        let text = fs::read_to_string(folder.path().join(FILE)).unwrap();
        assert!(text.starts_with(&format!("{other}\nbroken\n{{\"v\":1,")), "{text}");
        assert_eq!(stored(folder.path()).unwrap().len(), 1);
    }
}
