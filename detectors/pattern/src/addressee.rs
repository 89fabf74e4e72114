use watchkeeper_core::{Fingerprint, quote};

/// A value of `by`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Value {
    pub(crate) fingerprint: Fingerprint,
    /// The value, quoted.
    pub(crate) quoted: Box<str>,
}

/// The matchers that receive an event.
#[derive(Debug)]
pub(crate) enum Addressee {
    /// All matchers: the event has no value.
    All,
    /// The matcher of this value.
    Value(Value),
    /// No matcher: the value of the event is unknown.
    None,
}

impl Addressee {
    /// Returns the matcher of a value, or all matchers without a value.
    pub(crate) fn of_value(value: Option<Value>) -> Self {
        value.map_or(Self::All, Self::Value)
    }

    pub(crate) fn includes(&self, value: Option<&Value>) -> bool {
        match self {
            Self::All => true,
            Self::Value(own) => Some(own) == value,
            Self::None => false,
        }
    }
}

impl Value {
    pub(crate) fn new(text: &str) -> Self {
        Self { fingerprint: Fingerprint::of(text), quoted: quote(text).into() }
    }
}
