//! Cross-validation over the folders of sessions.

use std::{collections::BTreeSet, path::PathBuf};

use crate::{
    candidate::{Candidate, Score, best},
    sessions::Session,
};

/// The scores of candidates in folders that had no part in their selection.
pub(crate) struct Validation {
    pub(crate) total: Score,
    pub(crate) folders: Vec<(PathBuf, Candidate, Score)>,
}

/// Selects a candidate for each folder by the sessions of all other folders.
pub(crate) fn validate(sessions: &[Session], precision: f64) -> Validation {
    let folders: BTreeSet<&PathBuf> = sessions.iter().map(|session| &session.folder).collect();
    let mut validation = Validation { total: Score::default(), folders: Vec::new() };
    for folder in folders {
        let others = sessions.iter().filter(|session| session.folder != *folder);
        let own = sessions.iter().filter(|session| session.folder == *folder);
        let (candidate, _) =
            best(others, precision).unwrap_or((Candidate::SHIPPED, Score::default()));
        let score = Score::of(&candidate, own);
        validation.total.add(score);
        validation.folders.push((folder.clone(), candidate, score));
    }
    validation
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use watchkeeper_core::author::Contribution::{Failed, Nothing};

    use super::{Session, validate};

    #[test]
    fn a_folder_has_no_part_in_the_selection_of_its_weights() {
        let sessions = [
            Session::new("a", &[(1, 9)], &[Nothing; 9]),
            Session::new("a", &[], &[Failed; 9]),
            // By its own sessions, failed calls would count.
            Session::new("b", &[(1, 9)], &[Failed; 9]),
        ];
        let validation = validate(&sessions, 1.0);
        let (folder, candidate, _) = &validation.folders[1];
        assert_eq!(folder, Path::new("b"));
        assert!(candidate.weights.failed < candidate.weights.nothing);
    }
}
