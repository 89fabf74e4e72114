//! Session files with labels.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
};

use thiserror::Error;
use watchkeeper_core::author::make_safe;
use watchkeeper_testing::labels::{LabelledSession, Labels, LabelsError};

use crate::{numbers::counted, output::quoted_path, report::Report};

/// The labels are not used. Every message names the file of the labels.
#[derive(Debug, Error)]
pub(crate) enum LabelsFileError {
    #[error("cannot read the labels {}", quoted_path(.labels))]
    Unreadable { labels: PathBuf, source: io::Error },
    #[error("{}", quoted_path(.labels))]
    Invalid { labels: PathBuf, source: LabelsError },
    #[error("{} has no labelled session", quoted_path(.labels))]
    Empty { labels: PathBuf },
    #[error(
        "{}: line {line}: {} does not exist in {}",
        quoted_path(.labels),
        quoted_path(.file),
        .looked_in.iter().map(|path| quoted_path(path)).collect::<Vec<_>>().join(" or ")
    )]
    Missing { labels: PathBuf, line: usize, file: PathBuf, looked_in: Vec<PathBuf> },
    #[error(
        "{}: line {line}: a stretch of {} ends at step {to_step}, and the file has {}; count the \
         tool calls of the file from 1",
        quoted_path(.labels),
        quoted_path(.file),
        counted(*.n_steps, "step")
    )]
    NoStep {
        labels: PathBuf,
        line: usize,
        file: PathBuf,
        to_step: u64,
        /// The number of steps of the file.
        n_steps: u64,
    },
    #[error("{}: line {line}: {}: {reason}", quoted_path(.labels), quoted_path(.file))]
    NoSession {
        labels: PathBuf,
        line: usize,
        file: PathBuf,
        /// Safe for a terminal.
        reason: String,
    },
}

/// A file of labels, and the session files that it names.
#[derive(Debug)]
pub(crate) struct LabelledFiles {
    pub(crate) labels: PathBuf,
    pub(crate) files: Vec<LabelledFile>,
}

/// A labelled session file.
#[derive(Debug)]
pub(crate) struct LabelledFile {
    pub(crate) path: PathBuf,
    pub(crate) label: LabelledSession,
}

impl LabelledFiles {
    /// Reads labels and finds their session files: in `paths`, or else in the folder of
    /// the labels.
    pub(crate) fn read(labels: &Path, paths: &[PathBuf]) -> Result<Self, LabelsFileError> {
        let owned = || labels.to_owned();
        let text = watchkeeper_policy::read_file(labels)
            .map_err(|source| LabelsFileError::Unreadable { labels: owned(), source })?;
        let parsed: Labels =
            text.parse().map_err(|source| LabelsFileError::Invalid { labels: owned(), source })?;
        let folder = labels.parent().filter(|folder| !folder.as_os_str().is_empty());
        let mut looked_in = paths.to_vec();
        looked_in.push(folder.unwrap_or(Path::new(".")).to_owned());
        let files = parsed.sessions().iter().map(|label| {
            let file = label.file();
            match looked_in.iter().find_map(|path| find(path, file)) {
                Some(path) => Ok(LabelledFile { path, label: label.clone() }),
                None => Err(LabelsFileError::Missing {
                    labels: owned(),
                    line: label.line(),
                    file: file.to_owned(),
                    looked_in: looked_in.clone(),
                }),
            }
        });
        let files = files.collect::<Result<Vec<_>, _>>()?;
        if files.is_empty() {
            return Err(LabelsFileError::Empty { labels: owned() });
        }
        Ok(Self { labels: owned(), files })
    }

    /// Returns an error if a labelled file has no session.
    pub(crate) fn require_session(
        &self,
        file: &LabelledFile,
        report: &Report,
    ) -> Result<(), LabelsFileError> {
        if !report.is_empty() {
            return Ok(());
        }
        let reason = report.skipped_files.first().map(|skipped| make_safe(&skipped.reason));
        Err(LabelsFileError::NoSession {
            labels: self.labels.clone(),
            line: file.label.line(),
            file: file.label.file().to_owned(),
            reason: reason.unwrap_or_else(|| "contains no session".to_owned()),
        })
    }

    /// Returns an error if the labels name a step that a file of `n_steps` steps does not
    /// have.
    pub(crate) fn require_steps(
        &self,
        file: &LabelledFile,
        n_steps: u64,
    ) -> Result<(), LabelsFileError> {
        let mut stretches = file.label.stretches().iter();
        match stretches.find(|stretch| n_steps < stretch.to_step) {
            None => Ok(()),
            Some(stretch) => Err(LabelsFileError::NoStep {
                labels: self.labels.clone(),
                line: stretch.line,
                file: file.label.file().to_owned(),
                to_step: stretch.to_step,
                n_steps,
            }),
        }
    }

    /// Returns a group for each file, for [`held_out`](super::proposal::held_out): the
    /// sessions of a folder stay together, if there are at least five folders.
    pub(crate) fn groups(&self) -> Vec<usize> {
        const N_GROUPS: usize = 5;
        let folders = self.files.iter().map(|file| file.path.parent());
        let mut positions: BTreeMap<Option<&Path>, usize> =
            folders.clone().map(|folder| (folder, 0)).collect();
        if positions.len() < N_GROUPS {
            return (0..self.files.len()).map(|idx| idx % N_GROUPS).collect();
        }
        for (idx, position) in positions.values_mut().enumerate() {
            *position = idx % N_GROUPS;
        }
        folders.map(|folder| positions[&folder]).collect()
    }
}

/// Returns the path of a labelled file in a folder, or of a path that ends with it.
fn find(path: &Path, file: &Path) -> Option<PathBuf> {
    if path.is_file() {
        return path.ends_with(file).then(|| path.to_owned());
    }
    Some(path.join(file)).filter(|path| path.is_file())
}
