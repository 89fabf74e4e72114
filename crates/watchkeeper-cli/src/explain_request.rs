//! `check --explain`: selects a session and records its timeline.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::{self, Write as _},
    sync::Arc,
};

use thiserror::Error;
use watchkeeper_core::{
    Engine, Event, SessionId, Timestamp,
    author::{known_time, make_safe},
    embed::{Kinds, Registry, SourceEntry},
    quote,
};
use watchkeeper_policy::{Policy, closest};

use crate::{
    explanation::{Timeline, TimelineRecorder},
    numbers::counted,
    output::safe_path,
    recorded::{self, Group, RecordedSession},
    replay::Observer,
    report::{Report, SkippedFile},
    similar::similar_hint,
};

/// Number of sessions listed in an error about an ambiguous selection.
const MAX_LISTED: usize = 20;

/// No session is explained.
#[derive(Debug, Error)]
pub(crate) enum ExplainError {
    #[error(
        "`--explain` supports the formats `text`, `json` and `ndjson`; `html` has the measures of all \
             findings without it"
    )]
    Format,
    #[error("the policy has no detector {detector}{}; its detectors: {}", similar_hint(.similar.as_deref()), .known.join(", "))]
    UnknownDetector {
        /// The id, quoted.
        detector: String,
        /// The most similar name, or the name of the only detector of this kind.
        similar: Option<String>,
        known: Vec<String>,
    },
    #[error("no session id starts with {id}")]
    UnknownSession {
        /// The start of the id, quoted.
        id: String,
    },
    #[error("no session found{}", list_files(.skipped))]
    NoSession { skipped: Vec<SkippedFile> },
    #[error("{}", list_candidates(.0))]
    Ambiguous(Vec<Candidate>),
    #[error("cannot read session {session}")]
    NotRead {
        /// The id, quoted.
        session: String,
    },
}

/// A session that matches the selection.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Candidate {
    started_at: Timestamp,
    session: SessionId,
    file: String,
}

impl From<RecordedSession> for Candidate {
    fn from(recorded: RecordedSession) -> Self {
        let RecordedSession { started_at, session, file } = recorded;
        Self { started_at, session, file: file.display().to_string() }
    }
}

/// A request to explain the findings of one session.
pub(crate) struct ExplainRequest {
    /// Kinds of the policy's detectors, by id.
    detectors: BTreeMap<Arc<str>, Arc<str>>,
    /// The only detector to explain; `None` explains all.
    detector: Option<Arc<str>>,
    /// Start of the session's id.
    id: Option<String>,
    candidates: BTreeSet<Candidate>,
    recorder: Option<TimelineRecorder>,
}

impl ExplainRequest {
    /// Creates a request for one detector of the policy or for all, and for the
    /// session whose id starts with `id` or for the only session.
    pub(crate) fn new(
        policy: &Policy,
        detector: Option<&str>,
        id: Option<&str>,
    ) -> Result<Self, ExplainError> {
        let detectors = policy.detectors.iter().map(|it| (it.id.clone(), it.kind.clone()));
        let detectors: BTreeMap<Arc<str>, Arc<str>> = detectors.collect();
        let detector = match detector {
            None => None,
            Some(id) => match detectors.get_key_value(id) {
                Some((id, _)) => Some(id.clone()),
                None => {
                    let known = detectors.keys().map(|id| make_safe(id)).collect();
                    let similar = similar(&detectors, id).map(make_safe);
                    let detector = quote(id);
                    return Err(ExplainError::UnknownDetector { detector, similar, known });
                }
            },
        };
        let id = id.map(str::to_owned);
        Ok(Self { detectors, detector, id, candidates: BTreeSet::new(), recorder: None })
    }

    /// Returns the selected session, unless several match.
    fn selected(&self) -> Option<&Candidate> {
        let id = self.id.as_deref();
        let exact = self.candidates.iter().find(|it| Some(it.session.as_str()) == id);
        exact.or_else(|| self.candidates.first().filter(|_| self.candidates.len() == 1))
    }

    /// Returns the timeline, and reduces the report to the selected session and
    /// detector.
    pub(crate) fn finish(self, report: &mut Report) -> Result<Timeline, ExplainError> {
        let Some(session) = self.selected().map(|it| it.session.clone()) else {
            return Err(self.not_selected(report));
        };
        let Report { sessions, skipped_files, about_monitor, .. } = std::mem::take(report);
        report.about_monitor = about_monitor;
        for mut selected in sessions.into_iter().filter(|it| it.session == session) {
            let is_selected = |skipped: &&SkippedFile| selected.files.contains(&skipped.file);
            report.skipped_files.extend(skipped_files.iter().filter(is_selected).cloned());
            selected
                .findings
                .retain(|it| self.detector.as_ref().is_none_or(|id| *id == it.finding.detector));
            report.add(selected);
        }
        let recorder = self.recorder.filter(|it| *it.session() == session);
        let timeline = recorder.map(|it| it.finish(&self.detectors));
        timeline.ok_or_else(|| ExplainError::NotRead { session: quote(session.as_str()) })
    }

    fn not_selected(self, report: &mut Report) -> ExplainError {
        if !self.candidates.is_empty() {
            return ExplainError::Ambiguous(self.candidates.into_iter().collect());
        }
        match self.id {
            Some(id) => ExplainError::UnknownSession { id: quote(&id) },
            None => ExplainError::NoSession { skipped: std::mem::take(&mut report.skipped_files) },
        }
    }
}

impl Observer for ExplainRequest {
    /// Removes groups that cannot affect the explanation: all if the session is
    /// ambiguous, or else the later ones. If detectors count several sessions together
    /// (`is_shared`), later sessions can affect them, too.
    fn select(
        &mut self,
        mut groups: Vec<Group>,
        is_shared: bool,
        kinds: &Kinds<SourceEntry>,
    ) -> Vec<Group> {
        let id = self.id.clone();
        let is_candidate = |session: &SessionId| match &id {
            None => 1 < groups.len(),
            Some(id) => session.as_str().starts_with(id),
        };
        let candidates = groups.iter().filter(|group| is_candidate(&group.session));
        self.candidates = candidates
            .map(|group| Candidate {
                started_at: group.started_at,
                session: group.session.clone(),
                file: group.files[0].display().to_string(),
            })
            .collect();
        if 1 < self.candidates.len() && self.selected().is_none() {
            // Some files only contain lines of other sessions.
            let sessions = recorded::sessions(&groups, kinds).into_iter();
            let candidates = sessions.filter(|it| is_candidate(&it.session));
            self.candidates = candidates.map(Candidate::from).collect();
        }
        match self.selected() {
            Some(_) if is_shared => {}
            Some(selected) => {
                let idx = groups.iter().position(|it| it.session == selected.session);
                groups.truncate(idx.map_or(groups.len(), |idx| idx + 1));
            }
            None if self.candidates.is_empty() => {}
            None => groups.clear(),
        }
        groups
    }

    /// Starts recording if the event is the first one of a matching session. Called
    /// before the engine observes the event.
    fn before_event(&mut self, event: &Event, engine: &mut Engine) {
        let id = &event.session;
        if self.id.as_ref().is_some_and(|start| !id.as_str().starts_with(start))
            || self.recorder.as_ref().is_some_and(|it| it.session() == id)
        {
            return;
        }
        let is_exact = Some(id.as_str()) == self.id.as_deref();
        if !is_exact && self.selected().is_some_and(|it| self.id.is_some() && it.session != *id) {
            return;
        }
        if !self.candidates.iter().any(|it| it.session == *id) {
            let file = event.origin.as_ref().map(|origin| origin.file.to_string());
            self.candidates.insert(Candidate {
                started_at: event.at,
                session: id.clone(),
                file: file.unwrap_or_default(),
            });
        }
        if self.recorder.is_none() || is_exact {
            self.recorder = Some(TimelineRecorder::new(id.clone(), self.detector.clone(), engine));
        }
    }

    /// Records the engine's explanation of an event that it has just observed.
    fn after_event(&mut self, event: &Event, engine: &mut Engine, registry: &Registry) {
        if let Some(recorder) = &mut self.recorder
            && *recorder.session() == event.session
        {
            recorder.observe(event, engine, registry);
        }
    }
}

/// Returns the name that is most similar to `name`, or the name of the only detector of this
/// kind. `detectors` has the kinds by name.
fn similar<'a>(detectors: &'a BTreeMap<Arc<str>, Arc<str>>, name: &str) -> Option<&'a str> {
    let mut of_kind = detectors.iter().filter(|(_, kind)| ***kind == *name);
    match (of_kind.next(), of_kind.next()) {
        (Some((only, _)), None) => Some(only),
        _ => closest(name, detectors.keys().map(|id| &**id)),
    }
}

fn list_files(files: &[SkippedFile]) -> String {
    let line = |it: &SkippedFile| format!("\n  {}: {}", safe_path(&it.file), make_safe(&it.reason));
    files.iter().map(line).collect()
}

fn list_candidates(candidates: &[Candidate]) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = write_candidates(candidates, &mut text);
    text
}

fn write_candidates(candidates: &[Candidate], text: &mut String) -> fmt::Result {
    let n = counted(candidates.len() as u64, "session");
    writeln!(text, "`--explain` needs one session, and {n} match:")?;
    let n_omitted = candidates.len().saturating_sub(MAX_LISTED);
    if 0 < n_omitted {
        writeln!(text, "  … {}", counted(n_omitted as u64, "earlier session"))?;
    }
    for candidate in &candidates[n_omitted..] {
        let started = known_time(candidate.started_at).map_or_else(
            || "times not known".to_owned(),
            |at| at.strftime("%Y-%m-%d %H:%M UTC").to_string(),
        );
        let (id, file) = (make_safe(candidate.session.as_str()), make_safe(&candidate.file));
        writeln!(text, "  {started:<20}  {id}  {file}")?;
    }
    write!(text, "name its file, or select it with `--session ID`")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use watchkeeper_core::author::untimed;

    use super::{Candidate, list_candidates, similar};

    #[test]
    fn sessions_without_times_have_no_date() {
        let candidate = |secs: Option<i64>, session: &str| Candidate {
            started_at: secs.map_or(untimed(0), |secs| {
                watchkeeper_core::Timestamp::from_second(secs).expect("it is a time")
            }),
            session: session.into(),
            file: "a.traj".to_owned(),
        };
        assert_eq!(
            list_candidates(&[candidate(None, "a"), candidate(Some(60), "b")]),
            "`--explain` needs one session, and 2 sessions match:\n\
             \x20 times not known       a  a.traj\n\
             \x20 1970-01-01 00:01 UTC  b  a.traj\n\
             name its file, or select it with `--session ID`"
        );
    }

    #[test]
    fn a_kind_instead_of_a_name_suggests_its_detector() {
        let detectors = [
            ("no_progress", "no-progress"),
            ("repeated_call", "repeat-tool-call"),
            ("slow_tool", "timeout"),
            ("silent_model", "timeout"),
        ];
        let detectors: BTreeMap<_, _> =
            detectors.into_iter().map(|(id, kind)| (id.into(), kind.into())).collect();
        for (name, expected) in [
            ("no-progress", Some("no_progress")),
            ("repeat-tool-call", Some("repeated_call")),
            ("slow_tols", Some("slow_tool")),
            ("timeout", None),
        ] {
            assert_eq!(similar(&detectors, name), expected, "{name}");
        }
    }
}
