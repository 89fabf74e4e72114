use serde_json::Value;

use super::command_arguments::CommandArguments;
use crate::Json;

/// The paths, the command and the URLs that a tool call acts on.
///
/// [`ToolCall::targets`](crate::ToolCall::targets) returns them.
///
/// ```
/// use watchkeeper_core::{Json, ToolCall};
///
/// let arguments = Json::parse(r#"{"file_path": "src/main.rs"}"#)?;
/// let call = ToolCall::new("1", "Read", arguments);
/// assert_eq!(call.targets().path(), Some("src/main.rs"));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Targets {
    paths: Vec<Box<str>>,
    command: Option<Box<str>>,
    urls: Vec<Box<str>>,
}

/// The argument names that contain paths, in most agents.
const PATH_KEYS: [&str; 18] = [
    "file_path",
    "filePath",
    "path",
    "paths",
    "file",
    "files",
    "file_paths",
    "filename",
    "notebook_path",
    "target_file",
    "absolute_path",
    "relative_path",
    "relative_workspace_path",
    "dir_path",
    "directory",
    "dir",
    "folder",
    "source_path",
];
/// The argument names that contain URLs.
const URL_KEYS: [&str; 4] = ["url", "urls", "uri", "href"];

impl Targets {
    /// Makes the targets of a call that acts on nothing, for a source to fill.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a path.
    pub fn with_path(mut self, path: impl Into<Box<str>>) -> Self {
        self.paths.push(path.into());
        self
    }

    /// Sets the shell command.
    pub fn with_command(mut self, command: impl Into<Box<str>>) -> Self {
        self.command = Some(command.into());
        self
    }

    /// Adds a URL.
    pub fn with_url(mut self, url: impl Into<Box<str>>) -> Self {
        self.urls.push(url.into());
        self
    }

    /// Derives the targets from the names that most agents give their arguments:
    /// `file_path`, `path`, `command`, `cmd`, `url` and the like, at the top level
    /// of an object.
    ///
    /// A command that is a list of words is joined with spaces.
    pub fn of_arguments(arguments: &Json) -> Self {
        let Value::Object(values) = arguments.to_value() else { return Self::default() };
        let values_of = |keys: &[&str]| {
            let values = keys.iter().filter_map(|key| values.get(*key));
            values.flat_map(strings).map(Box::from).collect()
        };
        let command = CommandArguments::of(arguments).command.map(Box::from);
        Self { paths: values_of(&PATH_KEYS), command, urls: values_of(&URL_KEYS) }
    }

    /// Returns the first path.
    pub fn path(&self) -> Option<&str> {
        self.paths().next()
    }

    /// Returns the paths, as the agent wrote them: relative or absolute, and not
    /// safe for a terminal.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.paths.iter().map(|path| &**path)
    }

    /// Returns the shell command.
    pub fn command(&self) -> Option<&str> {
        self.command.as_deref()
    }

    /// Returns the first URL.
    pub fn url(&self) -> Option<&str> {
        self.urls().next()
    }

    /// Returns the URLs.
    pub fn urls(&self) -> impl Iterator<Item = &str> {
        self.urls.iter().map(|url| &**url)
    }

    /// Returns whether the call has no path, no command and no URL.
    pub fn is_empty(&self) -> bool {
        self.paths.is_empty() && self.command.is_none() && self.urls.is_empty()
    }
}

/// Returns the string, or the strings of a list.
fn strings(value: &Value) -> Vec<&str> {
    match value {
        Value::String(text) => vec![text],
        Value::Array(items) => items.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::Targets;
    use crate::{Json, ToolCall};

    fn of(arguments: &str) -> Targets {
        Targets::of_arguments(&Json::parse(arguments).expect("the test contains valid JSON"))
    }

    #[test]
    fn derives_targets_from_common_argument_names() {
        assert_eq!(of(r#"{"path":"a","content":"b"}"#), Targets::new().with_path("a"));
        assert_eq!(of(r#"{"command":"ls -l","cwd":"/x"}"#), Targets::new().with_command("ls -l"));
        assert_eq!(of(r#"{"command":["ls","-l"]}"#), Targets::new().with_command("ls -l"));
        assert_eq!(of(r#"{"url":"https://a.example"}"#).url(), Some("https://a.example"));
        let two = Targets::new().with_path("a").with_path("b");
        assert_eq!(of(r#"{"paths":["a","b",3]}"#), two);
    }

    #[test]
    fn returns_no_targets_for_other_shapes() {
        for arguments in ["null", "3", r#""ls""#, "[]", "{}", r#"{"path":{"a":1}}"#] {
            assert!(of(arguments).is_empty(), "{arguments}");
        }
    }

    #[test]
    fn prefers_the_targets_that_a_source_fills() {
        let arguments = Json::parse(r#"{"path":"a"}"#).expect("the test contains valid JSON");
        let call = ToolCall::new("1", "Read", arguments);
        assert_eq!(call.targets().path(), Some("a"));
        let call = call.with_targets(Targets::new().with_path("b"));
        assert_eq!(call.targets().path(), Some("b"));
    }
}
