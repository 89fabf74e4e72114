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
    /// An unknown purpose.
    #[default]
    Other,
}

impl Purpose {
    /// Returns the number of equal calls in a row that are as significant as one.
    pub const fn calls_per_repetition(self) -> u64 {
        match self {
            Self::Poll | Self::Wait => 5,
            Self::Navigate => 10,
            _ => 1,
        }
    }
}
