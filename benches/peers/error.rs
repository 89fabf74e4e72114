//! The error of this program.

use std::{
    io,
    path::{Path, PathBuf},
};

use thiserror::Error;
use watchkeeper_sources::{OpenError, ReadError};
use watchkeeper_testing::labels::LabelsError;

/// The reason for which the systems cannot be compared.
#[derive(Debug, Error)]
pub(crate) enum Error {
    #[error("cannot read {}: {source}", .path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("cannot write: {0}")]
    Write(#[from] io::Error),
    #[error("{}:{line}: {problem}", .path.display())]
    Line { path: PathBuf, line: usize, problem: String },
    #[error("{}: {source}", .path.display())]
    Labels { path: PathBuf, source: LabelsError },
    #[error("{0}")]
    Open(#[from] OpenError),
    #[error("{}: {source}", .path.display())]
    Session { path: PathBuf, source: ReadError },
    #[error("`watchkeeper check` failed: {0}")]
    Check(String),
    #[error("invalid policy: {0}")]
    Policy(String),
}

/// Reads a file of text.
pub(crate) fn read(path: &Path) -> Result<String, Error> {
    std::fs::read_to_string(path).map_err(|source| Error::Read { path: path.to_owned(), source })
}
