use std::{io, path::PathBuf};

use thiserror::Error;
use watchkeeper_core::{author::make_safe, embed::RegistryError};
use watchkeeper_policy::InvalidPolicy;

/// A monitor that could not be started.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StartError {
    /// The policy cannot be read or is invalid.
    #[error(transparent)]
    Policy(#[from] PolicyError),

    /// Two kinds have the same name.
    #[error(transparent)]
    Registry(#[from] RegistryError),

    /// The system provides no thread.
    #[error("cannot start the monitor's thread")]
    Thread(#[source] io::Error),
}

/// A policy that cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// The file cannot be read.
    #[error("cannot read the policy `{}`", make_safe(&path.display().to_string()))]
    #[non_exhaustive]
    Read {
        /// The file.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },

    /// The policy has errors. The message shows all of them with their source
    /// lines; [`InvalidPolicy::diagnostics`] has their locations.
    #[error(transparent)]
    Invalid(#[from] InvalidPolicy),
}
