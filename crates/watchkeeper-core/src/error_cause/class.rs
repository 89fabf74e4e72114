/// A class of causes. If a result contains several causes, the earlier variant wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum ErrorClass {
    /// The shell runs a sentence instead of a command.
    Prose,
    /// A program is not installed, or not in the search path.
    MissingProgram,
    /// A host cannot be found or does not accept connections.
    Unreachable,
    /// A module, a library or a package is not installed or does not exist.
    MissingModule,
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

    /// Describes a cause of this class, such as `` `javac` is missing ``. Returns `None` if a line
    /// of the result describes the cause better.
    ///
    /// `name` is the name of the [`ErrorCause`](super::ErrorCause), in [quotes](crate::quote()).
    pub fn condition(self, name: Option<&str>) -> Option<String> {
        Some(match (self, name) {
            (Self::Prose, _) => "sentences are sent to the shell as commands".to_owned(),
            (Self::ShellSyntax, _) => "the shell cannot parse the commands".to_owned(),
            (Self::MissingProgram, Some(name)) => format!("{name} is missing"),
            (Self::MissingModule, Some(name)) => format!("the module {name} is missing"),
            (Self::Unreachable, Some(name)) => format!("{name} is unreachable"),
            (Self::RejectedEdit, Some(name)) => format!("edits of {name} are rejected"),
            (Self::InvalidArguments, Some(name)) => format!("invalid arguments at {name}"),
            (Self::Denied, Some(name)) => format!("access to {name} is denied"),
            (Self::Timeout, Some(name)) => format!("{name} times out"),
            (Self::MissingPath, Some(name)) => format!("{name} does not exist"),
            _ => return None,
        })
    }
}
