use std::str::FromStr;

use thiserror::Error;

use crate::{AgentId, Finding, Fingerprint, Period};

/// The grouping of the findings of a route.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Grouping {
    /// The time for which the first finding of a notification waits for others.
    pub wait: Period,
    /// The fields in which the findings of one notification agree.
    pub by: Vec<GroupField>,
}

/// A field of findings by which notifications are grouped.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum GroupField {
    /// The name of the detector.
    Detector,
    /// The kind of the detector.
    Kind,
    /// The class.
    Class,
    /// The severity.
    Severity,
    /// The session.
    Session,
    /// The kind of the source.
    Source,
    /// The sub-agent.
    Agent,
    /// The value of the label with this name.
    Label(String),
}

/// The text names no field of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("expected one of `{}` or `label:NAME`", GroupField::NAMES.join("`, `"))]
pub struct ParseGroupFieldError;

impl Grouping {
    /// Creates a grouping of all findings of a route.
    pub const fn new(wait: Period) -> Self {
        Self { wait, by: Vec::new() }
    }

    /// Returns a hash of the values in which the findings of one notification agree.
    pub(super) fn key(&self, finding: &Finding) -> Fingerprint {
        let values = self.by.iter().map(|field| Fingerprint::of(field.value(finding)));
        values.fold(Fingerprint::NONE, Fingerprint::and)
    }
}

impl GroupField {
    /// The names of the fields, in alphabetical order, without `label:NAME`.
    pub const NAMES: [&str; 7] =
        ["agent", "class", "detector", "kind", "session", "severity", "source"];

    fn value<'f>(&self, finding: &'f Finding) -> &'f str {
        match self {
            Self::Detector => &finding.detector,
            Self::Kind => &finding.kind,
            Self::Class => &finding.class,
            Self::Severity => finding.severity.name(),
            Self::Session => finding.session.as_str(),
            Self::Source => finding.source.unwrap_or(""),
            Self::Agent => finding.agent.as_ref().map_or("", AgentId::as_str),
            Self::Label(name) => finding.labels.get(name).map_or("", String::as_str),
        }
    }
}

impl FromStr for GroupField {
    type Err = ParseGroupFieldError;

    fn from_str(name: &str) -> Result<Self, ParseGroupFieldError> {
        Ok(match name {
            "agent" => Self::Agent,
            "class" => Self::Class,
            "detector" => Self::Detector,
            "kind" => Self::Kind,
            "session" => Self::Session,
            "severity" => Self::Severity,
            "source" => Self::Source,
            other => match other.strip_prefix("label:") {
                Some(label) if !label.is_empty() => Self::Label(label.to_owned()),
                _ => return Err(ParseGroupFieldError),
            },
        })
    }
}
