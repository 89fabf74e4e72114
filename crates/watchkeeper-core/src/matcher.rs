use std::{collections::BTreeMap, fmt, str::FromStr};

use thiserror::Error;

use crate::{AgentId, Finding, Glob, Severity, Status};

/// The condition of a route or a silence. A finding must match all fields.
///
/// An empty field matches every finding. Any other field does not match a
/// finding that lacks the value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Matcher {
    /// The severities.
    pub severity: Option<SeverityMatch>,
    /// The names of detectors.
    pub detector: Vec<Glob>,
    /// The kinds of detectors.
    pub kind: Vec<Glob>,
    /// The classes of findings.
    pub class: Vec<Glob>,
    /// The ids of sessions.
    pub session: Vec<Glob>,
    /// The kinds of sources.
    pub source: Vec<Glob>,
    /// The ids of sub-agents.
    pub agent: Vec<Glob>,
    /// The tags of detectors: one of them must match.
    pub tag: Vec<Glob>,
    /// The values of labels, by name; every label must match.
    pub labels: BTreeMap<String, Vec<Glob>>,
    /// The status. `None` matches open findings, and with
    /// [`Route::send_resolved`](crate::embed::Route::send_resolved) also resolved ones.
    pub status: Option<Status>,
}

/// The severities that a matcher accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SeverityMatch {
    /// One severity.
    Only(Severity),
    /// One severity and all higher ones.
    AtLeast(Severity),
}

/// A field of a finding that does not match.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Mismatch {
    /// The name of the field, such as `severity` or `label:team`.
    pub field: String,
    /// The accepted values.
    pub expected: String,
    /// The value of the finding; `None` if it has none.
    pub found: Option<String>,
}

impl SeverityMatch {
    /// Returns whether the severity matches.
    pub fn matches(self, severity: Severity) -> bool {
        match self {
            Self::Only(only) => only == severity,
            Self::AtLeast(least) => least <= severity,
        }
    }
}

/// The text is neither a severity nor `>=` with one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("expected `low`, `medium` or `high`, or `>=medium` for a severity and all above")]
pub struct ParseSeverityMatchError;

impl FromStr for SeverityMatch {
    type Err = ParseSeverityMatchError;

    fn from_str(text: &str) -> Result<Self, ParseSeverityMatchError> {
        let named = |name: &str| Severity::ALL.into_iter().find(|it| it.name() == name);
        let severity = match text.strip_prefix(">=") {
            Some(name) => named(name).map(Self::AtLeast),
            None => named(text).map(Self::Only),
        };
        severity.ok_or(ParseSeverityMatchError)
    }
}

impl fmt::Display for SeverityMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Only(severity) => severity.fmt(f),
            Self::AtLeast(severity) => write!(f, ">={severity}"),
        }
    }
}

impl Matcher {
    /// Returns whether all fields except the status match.
    pub fn matches(&self, finding: &Finding) -> bool {
        self.mismatch(finding).is_none()
    }

    /// Returns whether no field is set.
    pub fn is_empty(&self) -> bool {
        let Self { severity, detector, kind, class, session, source, agent, tag, labels, status } =
            self;
        severity.is_none()
            && [detector, kind, class, session, source, agent, tag]
                .iter()
                .all(|globs| globs.is_empty())
            && labels.is_empty()
            && status.is_none()
    }

    /// Returns the first field, except the status, that does not match.
    pub fn mismatch(&self, finding: &Finding) -> Option<Mismatch> {
        let Self { severity, detector, kind, class, session, source, agent, .. } = self;
        let Self { tag, labels, .. } = self;
        // A resolved finding has no severity of its own.
        let is_open = finding.status == Status::Open;
        if let Some(severity) = severity.filter(|it| is_open && !it.matches(finding.severity)) {
            return Some(Mismatch {
                field: "severity".to_owned(),
                expected: severity.to_string(),
                found: Some(finding.severity.to_string()),
            });
        }
        let tags: Vec<&str> = finding.annotations.tags.iter().map(|it| &**it).collect();
        if !tag.is_empty() && !tags.iter().any(|value| is_any(tag, value)) {
            return Some(Mismatch {
                field: "tag".to_owned(),
                expected: alternatives(tag),
                found: (!tags.is_empty()).then(|| tags.join(", ")),
            });
        }
        let fields = [
            ("detector", detector, Some(&*finding.detector)),
            ("kind", kind, Some(&*finding.kind)),
            ("class", class, Some(&*finding.class)),
            ("session", session, Some(finding.session.as_str())),
            ("source", source, finding.source),
            ("agent", agent, finding.agent.as_ref().map(AgentId::as_str)),
        ];
        let fields = fields.into_iter().map(|(field, globs, value)| ("", field, globs, value));
        let labels = labels.iter().map(|(name, globs)| {
            ("label:", name.as_str(), globs, finding.labels.get(name).map(String::as_str))
        });
        let (prefix, field, globs, value) = fields.chain(labels).find(|(_, _, globs, value)| {
            !globs.is_empty() && !value.is_some_and(|value| is_any(globs, value))
        })?;
        Some(Mismatch {
            field: format!("{prefix}{field}"),
            expected: alternatives(globs),
            found: value.map(str::to_owned),
        })
    }
}

fn is_any(globs: &[Glob], value: &str) -> bool {
    globs.iter().any(|it| it.matches(value))
}

fn alternatives(globs: &[Glob]) -> String {
    let globs: Vec<&str> = globs.iter().map(Glob::as_str).collect();
    globs.join(" or ")
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, sync::Arc};

    use jiff::Timestamp;

    use super::{Matcher, Mismatch, SeverityMatch};
    use crate::{Finding, Glob, Severity, Status, finding::sample};

    fn finding(severity: Severity) -> Finding {
        sample(Timestamp::UNIX_EPOCH, severity)
    }

    #[test]
    fn every_field_must_match() {
        let globs = |it: &str| vec![Glob::new("nothing"), Glob::new(it)];
        let labels = |value| BTreeMap::from([("team".to_owned(), globs(value))]);
        let any = Matcher::default;
        let finding = finding(Severity::Medium);
        for (matcher, matches) in [
            (Matcher { detector: globs("repeated_*"), ..any() }, true),
            (Matcher { detector: globs("t*"), ..any() }, false),
            (Matcher { kind: globs("repeat-tool-call"), ..any() }, true),
            (Matcher { kind: globs("timeout"), ..any() }, false),
            (Matcher { class: globs("runaway"), ..any() }, true),
            (Matcher { class: globs("budget"), ..any() }, false),
            (Matcher { session: globs("s*"), ..any() }, true),
            (Matcher { session: globs("t"), ..any() }, false),
            (Matcher { source: globs("claude-code"), ..any() }, true),
            (Matcher { source: globs("codex"), ..any() }, false),
            (Matcher { agent: globs("*"), ..any() }, true),
            (Matcher { agent: globs("x"), ..any() }, false),
            (Matcher { tag: globs("owner:*"), ..any() }, true),
            (Matcher { tag: globs("owner"), ..any() }, false),
            (Matcher { labels: labels("pay*"), ..any() }, true),
            (Matcher { labels: labels("ops"), ..any() }, false),
            (Matcher { severity: Some(SeverityMatch::Only(Severity::Medium)), ..any() }, true),
            (Matcher { severity: Some(SeverityMatch::Only(Severity::Low)), ..any() }, false),
            (Matcher { severity: Some(SeverityMatch::AtLeast(Severity::Low)), ..any() }, true),
            (Matcher { severity: Some(SeverityMatch::AtLeast(Severity::High)), ..any() }, false),
        ] {
            assert_eq!(matcher.matches(&finding), matches, "{matcher:?}");
        }
        let annotations = Arc::default();
        let nowhere = Finding { agent: None, source: None, annotations, ..finding };
        assert!(!Matcher { tag: globs("*"), ..any() }.matches(&nowhere));
        assert!(!Matcher { agent: globs("*"), ..any() }.matches(&nowhere));
        assert!(!Matcher { source: globs("*"), ..any() }.matches(&nowhere));
        let unknown = BTreeMap::from([("env".to_owned(), globs("*"))]);
        assert!(!Matcher { labels: unknown, ..any() }.matches(&nowhere));
    }

    #[test]
    fn a_mismatch_names_the_first_field_that_does_not_match() {
        let finding = finding(Severity::Medium);
        let matcher = Matcher {
            severity: Some(SeverityMatch::AtLeast(Severity::Medium)),
            agent: vec![Glob::new("help*")],
            labels: BTreeMap::from([(
                "env".to_owned(),
                vec![Glob::new("prod"), Glob::new("eu-*")],
            )]),
            ..Matcher::default()
        };
        let expected = Mismatch {
            field: "label:env".to_owned(),
            expected: "prod or eu-*".to_owned(),
            found: None,
        };
        assert_eq!(matcher.mismatch(&finding), Some(expected));
        let matcher = Matcher { severity: Some(SeverityMatch::AtLeast(Severity::High)), ..matcher };
        let expected = Mismatch {
            field: "severity".to_owned(),
            expected: ">=high".to_owned(),
            found: Some("medium".to_owned()),
        };
        assert_eq!(matcher.mismatch(&finding), Some(expected));
        let tagged = Matcher { tag: vec![Glob::new("cost")], ..Matcher::default() };
        let expected = Mismatch {
            field: "tag".to_owned(),
            expected: "cost".to_owned(),
            found: Some("loop, owner:sre".to_owned()),
        };
        assert_eq!(tagged.mismatch(&finding), Some(expected));
        let resolved = Finding { status: Status::Resolved, ..finding };
        let mismatch = matcher.mismatch(&resolved).map(|it| it.field);
        assert_eq!(mismatch.as_deref(), Some("label:env"));
    }
}
