use thiserror::Error;

use crate::{conditions::InvalidCondition, silences_file::SilencesFileError};

/// A silence cannot be added or ended.
#[derive(Debug, Error)]
pub(crate) enum SilenceError {
    #[error(transparent)]
    File(#[from] SilencesFileError),
    #[error(transparent)]
    Condition(#[from] InvalidCondition),
    #[error("the end of the silence is not in the future")]
    Ended,
    #[error("`--reason` is empty")]
    NoReason,
    #[error("the name of the user is unknown; set USER, or use --author")]
    NoAuthor,
    #[error("no active silence has the id {0}; `watchkeeper silence list` prints them")]
    UnknownId(String),
    #[error("several silences have an id that begins with {0}")]
    AmbiguousId(String),
}
