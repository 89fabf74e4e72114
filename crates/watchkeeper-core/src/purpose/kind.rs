use jiff::SignedDuration;

/// The purpose of a tool call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Purpose {
    /// Reads the state of something that changes outside the session.
    Poll,
    /// Lets time pass.
    Wait,
    /// Acts on a page, a record or a person, and gets an acknowledgement.
    Act,
    /// Moves one step, such as a key, a scroll or an undo.
    Navigate,
    /// Searches, and may find nothing.
    Search,
    /// Reads.
    Read,
    /// Changes a file or a record.
    Write,
    /// Runs a command or a program.
    Run,
    /// Asks a person a question.
    Ask,
    /// Delegates work to another agent.
    Delegate,
    /// Records a plan for the agent itself, such as a list of tasks.
    Plan,
    /// An unknown purpose.
    #[default]
    Other,
}

/// The weight of repeated calls with one purpose: the one table that all detectors use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Weight {
    /// The number of equal calls, or rounds of calls, that count as one.
    pub calls_per_repetition: u64,
    /// The number of equal calls that count as one if their result contains information, such
    /// as a page that does not change.
    pub answered_calls_per_repetition: u64,
    /// The weight of calls that are far apart; `None` if the distance makes no difference.
    pub spaced: Option<SpacedWeight>,
}

/// The weight of calls that are far apart. They are measured by the time that has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SpacedWeight {
    /// The least time between two calls.
    pub gap: SignedDuration,
    /// The time that counts as one equal call in a row. Four of them are an hour, and four
    /// equal calls are a finding of medium severity.
    pub per_call: SignedDuration,
    /// The time that counts as one round of calls. Three of them are an hour, and three
    /// rounds are a finding of medium severity.
    pub per_round: SignedDuration,
}

impl SpacedWeight {
    /// The weight of polls. In 15 seconds, the polled work can proceed. Its state may stay the
    /// same for most of an hour, as in a build or a deployment; an hour is too long.
    pub const OF_POLLS: Self = Self {
        gap: SignedDuration::from_secs(15),
        per_call: SignedDuration::from_mins(15),
        per_round: SignedDuration::from_mins(20),
    };
}

impl Purpose {
    /// Returns the weight of repeated calls with this purpose.
    pub const fn weight(self) -> Weight {
        let (calls, answered_calls, spaced) = match self {
            // The state changes outside the session, or only time passes.
            Self::Poll | Self::Wait => (5, 5, Some(SpacedWeight::OF_POLLS)),
            // Each call moves one step. An unchanged page shows that the step had no effect.
            Self::Navigate => (10, 3, None),
            // The same call has the same effect, or finds the same.
            Self::Act
            | Self::Search
            | Self::Read
            | Self::Write
            | Self::Run
            | Self::Ask
            | Self::Delegate
            | Self::Plan
            | Self::Other => (1, 1, None),
        };
        Weight {
            calls_per_repetition: calls,
            answered_calls_per_repetition: answered_calls,
            spaced,
        }
    }

    /// Returns true if the calls change nothing: their intent, as stated in an argument, is no
    /// part of their content.
    pub(crate) const fn ignores_intent(self) -> bool {
        matches!(
            self,
            Self::Poll | Self::Wait | Self::Navigate | Self::Search | Self::Read | Self::Run
        )
    }
}
