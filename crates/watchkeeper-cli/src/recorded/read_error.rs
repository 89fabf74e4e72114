use thiserror::Error;
use watchkeeper_sources::OpenError;

/// The reason why a file was not read to its end.
#[derive(Debug, Error)]
pub(crate) enum ReadError {
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Read(#[from] watchkeeper_sources::ReadError),
    #[error("contains no session")]
    NoSession,
}
