//! The members of the outcome of an action that are used.

use crate::{
    content::Content,
    json::{Located, Text, TextOr, object},
};

object! {
    /// The observation of the SDK, or the extras of an earlier observation.
    pub(super) struct Outcome<'a> {
        b"content" => content: Located<'a, Content<'a>>,
        b"output" => output: Located<'a, Content<'a>>,
        b"result" => result: Located<'a, Content<'a>>,
        b"exit_code" => exit_code: i32,
        b"metadata" => metadata: CommandMetadata<'a>,
        /// A message, or whether the action failed.
        b"error" => error: TextOr<'a, bool>,
        b"is_error" => is_error: bool,
        b"timeout" => has_timed_out: bool,
        b"agent_state" => agent_state: Text<'a>,
        /// The reason of the state of the agent.
        b"reason" => reason: Text<'a>,
    }
}

object! {
    pub(super) struct CommandMetadata<'a> {
        b"exit_code" => exit_code: i32,
        /// The text that the terminal appended to the output.
        b"suffix" => suffix: Text<'a>,
    }
}

impl<'a> Outcome<'a> {
    /// Returns the error message.
    pub(super) fn error_message(&self) -> Option<Text<'a>> {
        match self.error {
            Some(TextOr::Text(message)) if !message.raw().is_empty() => Some(message),
            _ => None,
        }
    }

    pub(super) fn is_error(&self) -> bool {
        self.is_error == Some(true)
            || matches!(self.error, Some(TextOr::Other(true)))
            || self.error_message().is_some()
    }
}
