//! The laws, and the failure of a detector to satisfy one.

use watchkeeper_core::Event;

/// A requirement that holds for every detector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Law {
    /// No trace makes the detector panic.
    Total,
    /// The same trace gives the same findings.
    Deterministic,
    /// Advancing the clock between two events changes no finding.
    Punctual,
    /// Events of other sessions change no finding.
    Isolated,
    /// A message is one short line without a full stop, and safe for a terminal.
    Legible,
    /// The state stops growing, and contains no long text of the stream.
    Bounded,
    /// Events outside the subscription change neither state nor findings.
    Subscribed,
    /// The state of an idle detector equals the state of a new one.
    Resettable,
    /// Explaining a session changes no finding.
    Explainable,
}

impl Law {
    /// The name: an adjective.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Total => "total",
            Self::Deterministic => "deterministic",
            Self::Punctual => "punctual",
            Self::Isolated => "isolated",
            Self::Legible => "legible",
            Self::Bounded => "bounded",
            Self::Subscribed => "subscribed",
            Self::Resettable => "resettable",
            Self::Explainable => "explainable",
        }
    }

    /// The requirement, in one clause.
    pub(super) const fn requirement(self) -> &'static str {
        match self {
            Self::Total => "no trace makes the detector panic",
            Self::Deterministic => "the same trace gives the same findings",
            Self::Punctual => "advancing the clock between two events changes no finding",
            Self::Isolated => "events of other sessions change no finding",
            Self::Legible => {
                "a message is one short line without a full stop, and safe for a terminal"
            }
            Self::Bounded => "the state stops growing, and contains no long text of the stream",
            Self::Subscribed => "events outside the subscription change neither state nor findings",
            Self::Resettable => "the state of an idle detector equals the state of a new one",
            Self::Explainable => {
                "explaining a session changes no finding: report closures have no side effects"
            }
        }
    }
}

/// A broken law and a description of the failure.
pub(super) type Failure = (Law, String);

/// A broken law before the report about it is complete.
pub(super) struct Broken {
    pub(super) law: Option<Law>,
    pub(super) message: String,
    pub(super) events: Option<Vec<Event>>,
}
