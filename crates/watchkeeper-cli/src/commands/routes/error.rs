use thiserror::Error;

/// An argument is not a fact of a finding.
#[derive(Debug, Error)]
pub(crate) enum FactError {
    #[error(
        "unknown key {0}; expected `agent`, `class`, `detector`, `kind`, `label:NAME`, `session` or \
         `severity`"
    )]
    Key(String),
    #[error("unknown severity {0}; expected `low`, `medium` or `high`")]
    Severity(String),
}
