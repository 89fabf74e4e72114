//! The members of a benchmark task, which are beside the list of its events.

use watchkeeper_core::author::SessionStart;

use crate::json::{Malformed, Text, object, parse_value};

/// A benchmark task.
#[derive(Debug, Default)]
pub(super) struct Task {
    pub(super) name: Option<String>,
    /// The first line of the error that ended the task.
    pub(super) error: Option<Box<str>>,
}

object! {
    /// The issue that a task resolves.
    struct Issue<'a> {
        b"owner" => owner: Text<'a>,
        b"repo" => repo: Text<'a>,
        b"number" => number: u64,
    }
}

object! {
    struct Metadata<'a> {
        b"llm_config" | b"llm" => model: Model<'a>,
    }
}

object! {
    struct Model<'a> {
        b"model" => name: Text<'a>,
    }
}

impl Issue<'_> {
    fn name(&self) -> Option<String> {
        let (owner, repo) = (self.owner?.read(), self.repo?.read());
        Some(format!("{owner}/{repo}#{}", self.number?))
    }
}

/// Reads the member `name` of a task into `task`, or into the `start` of its session.
pub(super) fn read_member(
    name: &str,
    text: &[u8],
    task: &mut Option<Task>,
    start: &mut SessionStart,
) -> Result<(), Malformed> {
    if name == "error" {
        let error: Option<Text<'_>> = parse_value(text)?;
        if let (Some(task), Some(error)) = (task, error.map(Text::read)) {
            let mut lines = error.lines().map(str::trim);
            let line = lines.find(|line| !line.is_empty());
            task.error = task.error.take().or_else(|| line.map(Box::from));
        }
        return Ok(());
    }
    let task = task.get_or_insert_default();
    match name {
        "instance_id" => {
            let id: Option<Text<'_>> = parse_value(text)?;
            task.name = task.name.take().or_else(|| id.map(|id| id.read().into_owned()));
        }
        "issue" => {
            let issue: Option<Issue<'_>> = parse_value(text)?;
            task.name = task.name.take().or_else(|| issue?.name());
        }
        _ => {
            let metadata: Option<Metadata<'_>> = parse_value(text)?;
            let model = metadata.and_then(|metadata| metadata.model?.name);
            start.model = start.model.take().or_else(|| model.map(Text::boxed));
        }
    }
    Ok(())
}
