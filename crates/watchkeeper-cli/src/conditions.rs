//! Conditions on findings on the command line, such as `detector=call_loop`.

use std::{collections::BTreeMap, str::FromStr};

use thiserror::Error;
use watchkeeper_core::{
    author::{Glob, make_safe},
    embed::{Matcher, SeverityMatch},
    quote,
};
use watchkeeper_policy::{Policy, closest, reference_names};

use crate::{output::Output, similar::similar_hint};

/// A key of `match` in a policy, and a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Condition {
    pub(crate) key: String,
    pub(crate) value: String,
}

/// The accepted values of each key, as in `match` of a policy.
pub(crate) type Conditions = BTreeMap<String, Vec<String>>;

/// The text is not a condition.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub(crate) enum InvalidCondition {
    #[error("write `KEY=VALUE`, such as `detector=call_loop`")]
    NoValue,
    #[error(
        "unknown key {0}; expected `agent`, `class`, `detector`, `kind`, `label:NAME`, `session`, \
         `severity`, `source` or `tag`"
    )]
    Key(String),
    #[error("unknown severity {0}; expected `low`, `medium`, `high`, or `>=medium`")]
    Severity(String),
    #[error("`severity` has several values; write `>=medium` for a severity and all above")]
    Severities,
}

impl FromStr for Condition {
    type Err = InvalidCondition;

    fn from_str(text: &str) -> Result<Self, InvalidCondition> {
        let (key, value) = text.split_once('=').ok_or(InvalidCondition::NoValue)?;
        if key.is_empty() || value.is_empty() {
            return Err(InvalidCondition::NoValue);
        }
        Ok(Self { key: key.to_owned(), value: value.to_owned() })
    }
}

/// Groups conditions by their keys.
pub(crate) fn grouped(conditions: Vec<Condition>) -> Conditions {
    let mut grouped = Conditions::new();
    for Condition { key, value } in conditions {
        grouped.entry(key).or_default().push(value);
    }
    grouped
}

/// Returns the matcher of conditions. A finding must match a value of each key.
pub(crate) fn matcher(conditions: &Conditions) -> Result<Matcher, InvalidCondition> {
    let mut matcher = Matcher::default();
    for (key, values) in conditions {
        let globs = || values.iter().map(|it| Glob::new(it.as_str())).collect();
        match key.as_str() {
            "severity" => {
                let [value] = &values[..] else { return Err(InvalidCondition::Severities) };
                let severity = value.parse::<SeverityMatch>();
                matcher.severity =
                    Some(severity.map_err(|_| InvalidCondition::Severity(quote(value)))?);
            }
            "detector" => matcher.detector = globs(),
            "kind" => matcher.kind = globs(),
            "class" => matcher.class = globs(),
            "session" => matcher.session = globs(),
            "source" => matcher.source = globs(),
            "agent" => matcher.agent = globs(),
            "tag" => matcher.tag = globs(),
            other => match other.strip_prefix("label:").filter(|name| !name.is_empty()) {
                Some(name) => {
                    matcher.labels.insert(name.to_owned(), globs());
                }
                None => return Err(InvalidCondition::Key(quote(other))),
            },
        }
    }
    Ok(matcher)
}

/// Prints a warning for each value of `detector` that no detector of the policy matches, and for
/// each value of `tag` that matches no tag of a detector.
pub(crate) fn warn_of_unknown_names(
    conditions: &Conditions,
    policy: &Policy,
    output: &mut Output<'_>,
) {
    let ids = || policy.detectors.iter().map(|detector| &*detector.id);
    let of_monitor = || reference_names().filter(|name| name.starts_with("watchkeeper-"));
    for value in conditions.get("detector").into_iter().flatten() {
        let glob = Glob::new(value.as_str());
        let is_known = ids().any(|id| glob.matches(id)) || of_monitor().any(|id| glob.matches(id));
        if !is_known {
            let hint = similar_hint(closest(value, ids()).map(make_safe).as_deref());
            let value = quote(value);
            output.fail(&format!("warning: the policy has no detector {value}{hint}\n"));
        }
    }
    let tags = || policy.detectors.iter().flat_map(|it| &it.annotations.tags).map(|tag| &**tag);
    for value in conditions.get("tag").into_iter().flatten() {
        let glob = Glob::new(value.as_str());
        if !tags().any(|tag| glob.matches(tag)) {
            let hint = similar_hint(closest(value, tags()).map(make_safe).as_deref());
            let value = quote(value);
            output.fail(&format!("warning: no detector of the policy has the tag {value}{hint}\n"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{InvalidCondition, grouped, matcher};

    fn read(texts: &[&str]) -> Result<String, InvalidCondition> {
        let conditions: Result<_, _> = texts.iter().map(|text| text.parse()).collect();
        let matcher = matcher(&grouped(conditions?))?;
        let severity = matcher.severity.map(|it| it.to_string()).unwrap_or_default();
        Ok(format!("{severity} {:?} {:?}", matcher.detector, matcher.labels))
    }

    #[test]
    fn values_of_one_key_are_alternatives() {
        let read = read(&["severity=>=medium", "detector=a*", "detector=b", "label:x=y=z"]);
        let expected = r#">=medium [Glob("a*"), Glob("b")] {"x": [Glob("y=z")]}"#;
        assert_eq!(read.as_deref(), Ok(expected));
    }

    #[test]
    fn invalid_conditions_are_refused() {
        for (texts, expected) in [
            (&["detector"][..], InvalidCondition::NoValue),
            (&["detector="], InvalidCondition::NoValue),
            (&["status=open"], InvalidCondition::Key("`status`".to_owned())),
            (&["label:=x"], InvalidCondition::Key("`label:`".to_owned())),
            (&["severity=hgh"], InvalidCondition::Severity("`hgh`".to_owned())),
            (&["severity=low", "severity=high"], InvalidCondition::Severities),
        ] {
            assert_eq!(read(texts), Err(expected), "{texts:?}");
        }
    }
}
