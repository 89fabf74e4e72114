use clap::ValueEnum;
use watchkeeper_core::Action;

/// The strongest action.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Act {
    /// Explain the finding to the model
    Nudge,
    /// Ask the person who uses the client
    Ask,
    /// Refuse calls that the agent repeats
    Deny,
    /// End the turn
    Stop,
}

impl Act {
    /// Returns the name on the command line.
    pub(crate) fn name(self) -> &'static str {
        Action::from(self).name()
    }
}

impl From<Act> for Action {
    fn from(act: Act) -> Self {
        match act {
            Act::Nudge => Self::Nudge,
            Act::Ask => Self::Ask,
            Act::Deny => Self::Deny,
            Act::Stop => Self::Stop,
        }
    }
}
