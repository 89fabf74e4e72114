use thiserror::Error;
use watchkeeper_core::author::ParseTagError;

/// An argument is not a fact of a finding.
#[derive(Debug, Error)]
pub(crate) enum FactError {
    #[error(
        "unknown key {0}; expected `agent`, `class`, `detector`, `kind`, `label:NAME`, `session`, \
         `severity`, `source` or `tag`"
    )]
    Key(String),
    #[error("unknown severity {0}; expected `low`, `medium` or `high`")]
    Severity(String),
    #[error("unknown source {0}; `watchkeeper detectors` lists the sources")]
    Source(String),
    #[error(transparent)]
    Tag(#[from] ParseTagError),
}
