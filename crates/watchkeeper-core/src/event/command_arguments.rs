//! The command and its time limit in the arguments of a tool call.

use std::{borrow::Cow, num::NonZeroU32};

use serde_json::Value;

use crate::{
    Json,
    json::{decode, members, to_value},
};

/// The argument names that contain a command, in most agents. The first has precedence.
const COMMAND_KEYS: [&str; 5] = ["command", "cmd", "shell_command", "command_line", "script"];
/// The argument names that contain the time limit of a command in milliseconds.
const LIMIT_KEYS: [&str; 2] = ["timeout", "timeout_ms"];
/// The smallest time limit. Some tools count seconds: a smaller number is not a limit in
/// milliseconds.
const MIN_LIMIT: f64 = 1000.0;

/// The arguments of a tool that runs a command.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct CommandArguments<'a> {
    /// The command. A list of words is joined with spaces.
    pub(crate) command: Option<Cow<'a, str>>,
    /// The time after which the tool ends the command, in milliseconds.
    pub(crate) max_millis: Option<NonZeroU32>,
}

impl<'a> CommandArguments<'a> {
    /// Reads the arguments at the top level of an object. A string is the command itself.
    pub(crate) fn of(arguments: &'a Json) -> Self {
        if let Some(command) = decode(arguments.as_str()) {
            return Self { command: Some(command), max_millis: None };
        }
        let mut found = Self::default();
        let mut best = COMMAND_KEYS.len();
        for (key, value) in members(arguments.as_str()) {
            let Some(key) = decode(key) else { continue };
            let position = COMMAND_KEYS.iter().position(|name| *name == key);
            if let Some(position) = position.filter(|position| *position < best) {
                if let Some(text) = text_of(value) {
                    (found.command, best) = (Some(text), position);
                }
            } else if LIMIT_KEYS.contains(&&*key)
                && let Ok(millis) = value.parse()
            {
                found.max_millis = limit(millis);
            }
        }
        found
    }
}

/// Returns a time limit in milliseconds, at most about 50 days.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the cast saturates, and negative numbers are below the smallest limit"
)]
fn limit(millis: f64) -> Option<NonZeroU32> {
    if MIN_LIMIT <= millis { NonZeroU32::new(millis as u32) } else { None }
}

/// Returns the text of an argument. A list of words is joined with spaces.
pub(super) fn text_of(value: &str) -> Option<Cow<'_, str>> {
    if value.starts_with('[') {
        return words(&to_value(value)).map(Cow::Owned);
    }
    decode(value)
}

/// Returns the words in a list, and in the lists in this list, joined with spaces. Other values
/// have none.
fn words(value: &Value) -> Option<String> {
    match value {
        Value::String(word) => Some(word.clone()),
        Value::Array(values) => {
            let words: Vec<_> = values.iter().filter_map(words).collect();
            (!words.is_empty()).then(|| words.join(" "))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::CommandArguments;
    use crate::Json;

    #[track_caller]
    fn assert_command(arguments: &str, command: Option<&str>, max_millis: Option<u32>) {
        let json = Json::parse(arguments).expect("the test contains valid JSON");
        let arguments = CommandArguments::of(&json);
        let limit = arguments.max_millis.map(u32::from);
        assert_eq!((arguments.command.as_deref(), limit), (command, max_millis), "{json:?}");
    }

    #[test]
    fn reads_the_command_and_its_time_limit() {
        assert_command(r#"{"command":"ls"}"#, Some("ls"), None);
        assert_command(r#"{"cmd":"ls","timeout":2000}"#, Some("ls"), Some(2000));
        assert_command(r#"{"timeout_ms":5000,"shell_command":"a\nb"}"#, Some("a\nb"), Some(5000));
        assert_command(r#"{"command":["bash","-lc","make"]}"#, Some("bash -lc make"), None);
        assert_command(r#"{"script":"a","command_line":"b"}"#, Some("b"), None);
        assert_command(r#"{"command_line":"b","script":"a"}"#, Some("b"), None);
        assert_command(r#""make \"all\"""#, Some("make \"all\""), None);
    }

    #[test]
    fn any_time_limit_leaves_the_command() {
        for (limit, max_millis) in [
            ("5000000000", Some(u32::MAX)),
            ("1e300", Some(u32::MAX)),
            ("1500.5", Some(1500)),
            ("120", None),
            ("999.9", None),
            ("-5000", None),
            ("-1.5", None),
            ("null", None),
            ("true", None),
            (r#""2m""#, None),
            ("{\"ms\":[5000]}", None),
            ("[5000]", None),
        ] {
            let arguments = format!(r#"{{"timeout":{limit},"command":"ls"}}"#);
            assert_command(&arguments, Some("ls"), max_millis);
        }
    }

    #[test]
    fn reads_the_top_level_only() {
        for arguments in [
            "null",
            "3",
            "[]",
            "{}",
            r#"{"options":{"command":"ls"}}"#,
            r#"{"text":"\"command\":\"ls\""}"#,
            r#"{"type":"command"}"#,
            r#"{"command":{"a":1}}"#,
            r#"{"command":null}"#,
            r#"{"command":[]}"#,
            r#"{"command":[1]}"#,
        ] {
            assert_command(arguments, None, None);
        }
        assert_command(r#"{"command":3,"cmd":"ls"}"#, Some("ls"), None);
    }

    proptest! {
        #[test]
        fn reads_any_text_as_it_is(command in any::<String>(), millis: u32) {
            let json = Json::from(&serde_json::json!({ "timeout": millis, "command": &command }));
            let arguments = CommandArguments::of(&json);
            prop_assert_eq!(arguments.command.as_deref(), Some(&*command));
            let is_limit = 1000 <= millis;
            prop_assert_eq!(arguments.max_millis.map(u32::from), is_limit.then_some(millis));
        }
    }
}
