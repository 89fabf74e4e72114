/// A class of causes. If a result contains several causes, the earlier variant wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum ErrorClass {
    /// The shell runs a sentence instead of a command.
    Prose,
    /// A program is not installed, or not in the search path.
    MissingProgram,
    /// A module, a library or a package is not installed or does not exist.
    MissingModule,
    /// A host cannot be found or does not accept connections.
    Unreachable,
    /// An edit does not apply, changes nothing, or is refused by a linter.
    RejectedEdit,
    /// A tool or a command was called with arguments that it does not accept.
    InvalidArguments,
    /// A permission or a login is missing.
    Denied,
    /// The disk or the memory is full.
    Exhausted,
    /// The shell cannot parse the command.
    ShellSyntax,
    /// The call took too long.
    Timeout,
    /// A file, a folder or a build target does not exist.
    MissingPath,
    /// Source code cannot be parsed.
    Syntax,
}

impl ErrorClass {
    /// Returns the name of the class, as in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Prose => "prose",
            Self::MissingProgram => "missing_program",
            Self::MissingModule => "missing_module",
            Self::Unreachable => "unreachable",
            Self::RejectedEdit => "rejected_edit",
            Self::InvalidArguments => "invalid_arguments",
            Self::Denied => "denied",
            Self::Exhausted => "exhausted",
            Self::ShellSyntax => "shell_syntax",
            Self::Timeout => "timeout",
            Self::MissingPath => "missing_path",
            Self::Syntax => "syntax",
        }
    }
}
