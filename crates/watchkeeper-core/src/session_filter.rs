use std::{collections::BTreeMap, sync::Arc};

use crate::{Event, EventKind, Glob, SessionFacts};

/// The sessions that a detector monitors; by default all of them.
///
/// The engine evaluates the filter once, at the first event of a session. The decision also
/// holds for the session's sub-agents, and later events do not change it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SessionFilter {
    /// Matchers that all have to match.
    pub all_of: Vec<Arc<SessionMatcher>>,
    /// Matchers of which none may match.
    pub none_of: Vec<Arc<SessionMatcher>>,
}

/// Conditions on the first event of a session, all of which have to hold.
///
/// An empty condition holds for every session. A condition on a fact that the first event does
/// not contain does not hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SessionMatcher {
    /// The kind of source matches one of these.
    pub source: Vec<Glob>,
    /// The working folder matches one of these. A pattern that ends in `/*` also matches the
    /// folder itself.
    pub cwd: Vec<Glob>,
    /// The model matches one of these.
    pub model: Vec<Glob>,
    /// The version of the agent matches one of these.
    pub version: Vec<Glob>,
    /// For each of these labels, the value matches one of these.
    pub labels: BTreeMap<String, Vec<Glob>>,
    /// The reason given by the policy, shown by `check --explain`.
    pub reason: Option<String>,
}

impl SessionFilter {
    /// Creates a filter for the sessions that all of these matchers match.
    pub fn matching(all_of: Vec<Arc<SessionMatcher>>) -> Self {
        Self { all_of, none_of: Vec::new() }
    }

    /// Returns whether the detector monitors a session whose first event is `first`.
    pub(crate) fn takes(&self, facts: &SessionFacts, first: &Event) -> bool {
        let Self { all_of, none_of } = self;
        all_of.iter().all(|it| it.matches(facts, first))
            && !none_of.iter().any(|it| it.matches(facts, first))
    }

    /// Returns whether the detector monitors a session that has begun and that the `earlier`
    /// filters have taken: by these filters, and otherwise by its facts so far.
    pub(crate) fn takes_known<'f>(
        &self,
        facts: &SessionFacts,
        earlier: impl Iterator<Item = &'f Self> + Clone,
    ) -> bool {
        let matches = |matcher: &Arc<SessionMatcher>| {
            let contains = |them: &[Arc<SessionMatcher>]| them.iter().any(|it| it.is_like(matcher));
            if earlier.clone().any(|filter| contains(&filter.all_of)) {
                return true;
            }
            let is_excluded = earlier.clone().any(|filter| contains(&filter.none_of));
            !is_excluded && matcher.matches_known(facts)
        };
        self.all_of.iter().all(matches) && !self.none_of.iter().any(matches)
    }

    /// Returns whether another filter has the same conditions, perhaps for other reasons.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        let are_like = |one: &[Arc<SessionMatcher>], two: &[Arc<SessionMatcher>]| {
            one.len() == two.len() && one.iter().zip(two).all(|(one, two)| one.is_like(two))
        };
        are_like(&self.all_of, &other.all_of) && are_like(&self.none_of, &other.none_of)
    }
}

impl SessionMatcher {
    /// Returns whether another matcher has the same conditions, perhaps for another reason.
    fn is_like(&self, other: &Self) -> bool {
        let Self { source, cwd, model, version, labels, reason: _ } = self;
        (source, cwd, model, version, labels)
            == (&other.source, &other.cwd, &other.model, &other.version, &other.labels)
    }

    /// Returns whether the facts so far match. The version is not among them, so a matcher
    /// with a version does not match.
    pub(crate) fn matches_known(&self, facts: &SessionFacts) -> bool {
        let Self { source, cwd, model, version, labels, reason: _ } = self;
        version.is_empty()
            && any(source, facts.source)
            && any_folder(cwd, facts.cwd.as_deref())
            && any(model, facts.model.as_deref())
            && labels
                .iter()
                .all(|(name, globs)| any(globs, facts.labels.get(name).map(String::as_str)))
    }

    fn matches(&self, facts: &SessionFacts, first: &Event) -> bool {
        let Self { source, cwd, model, version, labels, reason: _ } = self;
        let start = match &first.kind {
            EventKind::SessionStart(start) if first.agent.is_none() => Some(start),
            _ => None,
        };
        any(source, facts.source)
            && any_folder(cwd, start.and_then(|it| it.cwd.as_deref()))
            && any(model, start.and_then(|it| it.model.as_deref()))
            && any(version, start.and_then(|it| it.version.as_deref()))
            && labels
                .iter()
                .all(|(name, globs)| any(globs, facts.labels.get(name).map(String::as_str)))
    }
}

fn any(globs: &[Glob], text: Option<&str>) -> bool {
    globs.is_empty() || text.is_some_and(|text| globs.iter().any(|it| it.matches(text)))
}

fn any_folder(globs: &[Glob], folder: Option<&str>) -> bool {
    globs.is_empty()
        || folder.is_some_and(|folder| globs.iter().any(|it| it.matches_folder(folder)))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use jiff::{SignedDuration, Timestamp};

    use super::{SessionFilter, SessionMatcher};
    use crate::{
        Context, Detector, Engine, Event, EventKind, Fingerprint, Glob, Level, Origin, Report,
        SessionStart, Severity,
        embed::{EngineConfig, NamedDetector},
    };

    /// Reports every message.
    #[derive(Clone, Debug)]
    struct Echo {
        text: &'static str,
        n_messages: u64,
    }

    impl Detector for Echo {
        fn observe(&mut self, event: &Event, cx: &mut Context<'_>) {
            if matches!(event.kind, EventKind::Message { .. }) {
                self.n_messages += 1;
                let subject = Fingerprint::from(self.n_messages);
                cx.report(subject, 1, || Report::new(self.text));
            }
        }
    }

    fn globs(pattern: &str) -> Vec<Glob> {
        vec![Glob::new(pattern)]
    }

    /// Runs a detector for sessions that match and another for all other sessions. Returns
    /// their messages, `matching` or `other`.
    fn messages(matcher: SessionMatcher, events: &[Event]) -> Vec<String> {
        let matcher = Arc::new(matcher);
        let named = |text, sessions| NamedDetector {
            id: "echo".into(),
            kind: "echo".into(),
            class: "test".into(),
            annotations: Arc::default(),
            levels: vec![Level::new(1, Severity::Low)],
            inhibited_by: Vec::new(),
            per: None,
            sessions,
            options: Fingerprint::NONE,
            detector: Box::new(Echo { text, n_messages: 0 }),
        };
        let matching = SessionFilter { all_of: vec![matcher.clone()], none_of: Vec::new() };
        let others = SessionFilter { all_of: Vec::new(), none_of: vec![matcher] };
        let detectors = vec![named("other", others), named("matching", matching)];
        let mut engine = Engine::new(detectors, EngineConfig::default());
        let mut findings = Vec::new();
        for event in events {
            engine.observe(event, &mut findings);
        }
        findings.into_iter().map(|it| it.message).collect()
    }

    fn events(kinds: impl IntoIterator<Item = (Option<&'static str>, EventKind)>) -> Vec<Event> {
        let event = |(n, (agent, kind)): (i64, (Option<&str>, EventKind))| {
            let at = Timestamp::UNIX_EPOCH + SignedDuration::from_secs(n);
            let mut event = Event::new(at, "s1", kind);
            event.agent = agent.map(Into::into);
            let (source, file) = ("claude-code", "a.jsonl".into());
            event.origin = Some(Origin { source, file, line: 1 });
            event
        };
        (0..).zip(kinds).map(event).collect()
    }

    fn start(cwd: &str) -> EventKind {
        EventKind::SessionStart(SessionStart {
            cwd: Some(cwd.into()),
            model: Some("gpt-5".into()),
            version: Some("2.1".into()),
            labels: vec![("team".into(), "payments".into())],
            ..SessionStart::default()
        })
    }

    fn message() -> EventKind {
        EventKind::Message { text: "x".into(), delta: false }
    }

    #[test]
    fn all_conditions_have_to_hold() {
        let label = |value| [("team".to_owned(), globs(value))].into();
        let nightly = || SessionMatcher { cwd: globs("*/nightly/*"), ..SessionMatcher::default() };
        for (matcher, expected) in [
            (SessionMatcher::default(), "matching"),
            (nightly(), "matching"),
            (SessionMatcher { source: globs("claude-*"), ..nightly() }, "matching"),
            (SessionMatcher { source: globs("codex"), ..nightly() }, "other"),
            (SessionMatcher { model: globs("gpt-*"), ..nightly() }, "matching"),
            (SessionMatcher { model: globs("gpt-4"), ..nightly() }, "other"),
            (SessionMatcher { version: globs("2.*"), ..nightly() }, "matching"),
            (SessionMatcher { version: globs("1.*"), ..nightly() }, "other"),
            (SessionMatcher { labels: label("pay*"), ..nightly() }, "matching"),
            (SessionMatcher { labels: label("search"), ..nightly() }, "other"),
        ] {
            let events = events([(None, start("/srv/nightly/x")), (None, message())]);
            assert_eq!(messages(matcher.clone(), &events), [expected], "{matcher:?}");
        }
    }

    #[test]
    fn a_pattern_of_the_content_of_a_folder_matches_the_folder() {
        let nightly = SessionMatcher { cwd: globs("*/nightly/*"), ..SessionMatcher::default() };
        for (cwd, expected) in
            [("/srv/nightly", "matching"), ("/srv/nightly/x", "matching"), ("/srv", "other")]
        {
            let events = events([(None, start(cwd)), (None, message())]);
            assert_eq!(messages(nightly.clone(), &events), [expected], "{cwd}");
        }
    }

    #[test]
    fn later_events_change_nothing() {
        let nightly = SessionMatcher { cwd: globs("*/nightly/*"), ..SessionMatcher::default() };
        let late = events([(None, message()), (None, start("/nightly/x")), (None, message())]);
        assert_eq!(messages(nightly, &late), ["other", "other"]);
        let gpt = SessionMatcher { model: globs("gpt-*"), ..SessionMatcher::default() };
        let model = EventKind::ModelCall(crate::ModelCall {
            model: Some("claude-opus".into()),
            ..crate::ModelCall::default()
        });
        let events = [(None, start("/x")), (None, model), (Some("a1"), message())];
        assert_eq!(messages(gpt, &self::events(events)), ["matching"]);
    }

    #[test]
    fn a_session_without_a_detector_stays_without() {
        let filter = SessionFilter {
            none_of: vec![Arc::new(SessionMatcher {
                source: globs("claude-code"),
                ..SessionMatcher::default()
            })],
            ..SessionFilter::default()
        };
        let detector = NamedDetector {
            id: "echo".into(),
            kind: "echo".into(),
            class: "test".into(),
            annotations: Arc::default(),
            levels: vec![Level::new(1, Severity::Low)],
            inhibited_by: Vec::new(),
            per: None,
            sessions: filter,
            options: Fingerprint::NONE,
            detector: Box::new(Echo { text: "reported", n_messages: 0 }),
        };
        let mut engine = Engine::new(vec![detector], EngineConfig::default());
        let mut findings = Vec::new();
        for event in events([(None, message()), (None, message()), (Some("a1"), message())]) {
            engine.observe(&event, &mut findings);
        }
        assert!(findings.is_empty(), "{findings:?}");
    }
}
