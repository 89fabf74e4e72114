use thiserror::Error;
use watchkeeper_core::quote;

/// The reason why a line is not an event.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum EventError {
    /// The line is not a JSON object.
    #[error("{0}")]
    Malformed(&'static str),
    /// A required field is missing or has another type.
    #[error("{0}")]
    Missing(&'static str),
    /// The name of the event is unknown.
    #[error("unknown event {}", quote(.name))]
    Unknown {
        /// The name.
        name: String,
    },
}
