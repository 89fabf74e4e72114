use std::fmt;

/// The id of a tool call.
#[derive(Clone, Debug)]
pub(crate) enum CallId {
    /// An id that the monitor has made.
    Number(u64),
    /// An id of the caller.
    Text(Box<str>),
}

impl fmt::Display for CallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "call-{number}"),
            Self::Text(text) => f.write_str(text),
        }
    }
}
