//! The outcomes of actions, and the results of calls.

use watchkeeper_core::{ToolResult, author::Cause};

use super::{entry::Entry, outcome::Outcome};
use crate::{
    content::{Content, join},
    json::{Located, Text, TextOr},
};

impl<'a> Entry<'a> {
    fn outcomes(&self) -> impl Iterator<Item = &Outcome<'a>> {
        let observation = match &self.observation {
            Some(TextOr::Other(outcome)) => Some(outcome),
            _ => None,
        };
        observation.into_iter().chain(&self.extras)
    }

    /// Returns the first value of a member of the outcomes.
    pub(super) fn of_outcome<T>(&self, member: impl Fn(&Outcome<'a>) -> Option<T>) -> Option<T> {
        self.outcomes().find_map(member)
    }

    fn contents(&self) -> impl Iterator<Item = &Located<'a, Content<'a>>> {
        let of_outcome = self.outcomes().flat_map(|outcome| {
            [&outcome.content, &outcome.output, &outcome.result].into_iter().flatten()
        });
        self.content.iter().chain(of_outcome)
    }

    /// Returns the output of an action, or else its error message.
    pub(super) fn output(&self) -> Box<str> {
        let texts = self.contents().flat_map(|content| &content.value.texts);
        let mut texts: Vec<Text<'_>> = texts.copied().collect();
        if texts.iter().all(|text| text.raw().is_empty()) {
            texts.extend(self.of_outcome(Outcome::error_message));
        }
        join(&texts)
    }

    /// Returns the offset of the output.
    pub(super) fn output_at(&self) -> usize {
        let filled = self.contents().find(|content| !content.value.is_empty());
        filled.or_else(|| self.contents().last()).map_or(0, |content| content.at)
    }

    /// Returns whether the event reports a failure.
    pub(super) fn is_error(&self) -> bool {
        self.is_error == Some(true) || self.outcomes().any(Outcome::is_error)
    }

    fn exit_code(&self) -> Option<i32> {
        let of_metadata = |outcome: &Outcome<'_>| outcome.metadata.as_ref()?.exit_code;
        let exit_code = |outcome: &Outcome<'_>| outcome.exit_code.or(of_metadata(outcome));
        self.exit_code.or_else(|| self.of_outcome(exit_code))
    }

    /// Returns the result of a call. `failure` extracts the error message of a failed call
    /// from the output.
    pub(super) fn result(&self, id: &str, failure: impl Fn(&str) -> Option<&str>) -> ToolResult {
        let output = self.output();
        // A running command has the exit code -1.
        let exit_code = self.exit_code().filter(|code| 0 <= *code);
        let suffix = self.of_outcome(|outcome| outcome.metadata.as_ref()?.suffix);
        let suffix = suffix.map(Text::read).unwrap_or_default();
        let has_timed_out = self.outcomes().any(|outcome| outcome.has_timed_out == Some(true));
        let cause = if has_timed_out || suffix.contains("[The command timed out after") {
            Some(Cause::Timeout)
        } else if suffix.contains("[The command was interrupted by user") {
            Some(Cause::Interrupted)
        } else {
            None
        };
        let failure: Option<Box<str>> = failure(&output).map(Box::from);
        // A call that stops a command succeeds with any exit code.
        let is_stopped = suffix.contains(". CTRL+") && suffix.ends_with(" was sent.]");
        let ok = !self.is_error()
            && (is_stopped || exit_code.is_none_or(|code| code == 0))
            && cause.is_none()
            && !suffix.contains("is NOT executed")
            && failure.is_none();
        let mut result = ToolResult::new(id, ok, Some(failure.unwrap_or(output)));
        (result.exit_code, result.cause) = (exit_code, cause);
        result
    }
}
