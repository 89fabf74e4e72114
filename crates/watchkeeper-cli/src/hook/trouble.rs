use std::io;

use thiserror::Error;
use watchkeeper_sources::{OpenError, ReadError};

use crate::loading::LoadError;

/// A trouble of a hook, for its log. The agent goes on.
#[derive(Debug, Error)]
pub(crate) enum Trouble {
    #[error("the client passed more than {} MiB", .0 >> 20)]
    TooLong(u64),
    #[error("the client passed no valid JSON object")]
    Json(#[from] serde_json::Error),
    #[error("the session file is not read")]
    Open(#[from] OpenError),
    #[error("the session file is not read to its end")]
    Read(#[from] ReadError),
    #[error("the policy is not used")]
    Policy(#[from] LoadError),
    #[error("a file cannot be read or written")]
    Io(#[from] io::Error),
}
