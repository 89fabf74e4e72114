use std::{collections::BTreeMap, sync::Arc};

use crate::{Event, EventKind, Glob, SessionFacts};

/// Which sessions a detector watches: by default all of them.
///
/// This is decided once, at the first event of a session, and holds for its
/// sub-agents as well: what a session says later changes nothing.
#[derive(Clone, Debug, Default)]
pub struct SessionFilter {
    /// Only sessions that all of these match.
    pub all_of: Vec<Arc<SessionMatcher>>,
    /// And only sessions that none of these match.
    pub none_of: Vec<Arc<SessionMatcher>>,
}

/// What a session is known to be as it begins: all parts must match.
///
/// A part that is empty matches every session. A part that is not does not
/// match a session whose first event does not say what it asks for.
#[derive(Clone, Debug, Default)]
pub struct SessionMatcher {
    /// From one of these kinds of source.
    pub source: Vec<Glob>,
    /// In one of these folders.
    pub cwd: Vec<Glob>,
    /// With one of these models.
    pub model: Vec<Glob>,
    /// Of one of these versions of the agent.
    pub version: Vec<Glob>,
    /// With one of these values for each of these labels.
    pub labels: BTreeMap<String, Vec<Glob>>,
    /// Why the policy makes a difference, for people who ask.
    pub reason: Option<String>,
}

impl SessionFilter {
    /// Whether it lets a session through that begins with the event `first`.
    pub(crate) fn takes(&self, facts: &SessionFacts, first: &Event) -> bool {
        let Self { all_of, none_of } = self;
        all_of.iter().all(|it| it.matches(facts, first))
            && !none_of.iter().any(|it| it.matches(facts, first))
    }
}

impl SessionMatcher {
    fn matches(&self, facts: &SessionFacts, first: &Event) -> bool {
        let Self { source, cwd, model, version, labels, reason: _ } = self;
        let start = match &first.kind {
            EventKind::SessionStart(it) if first.agent.is_none() => Some(it),
            _ => None,
        };
        any(source, facts.source)
            && any(cwd, start.and_then(|it| it.cwd.as_deref()))
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use jiff::{SignedDuration, Timestamp};

    use super::{SessionFilter, SessionMatcher};
    use crate::{
        Context, Detector, Engine, EngineConfig, Event, EventKind, Fingerprint, Glob, Level,
        NamedDetector, Origin, Report, SessionStart, Severity,
    };

    /// Tells of every message.
    #[derive(Clone, Debug)]
    struct Echo(&'static str, u64);

    impl Detector for Echo {
        fn observe(&mut self, event: &Event, cx: &mut Context<'_>) {
            if matches!(event.kind, EventKind::Message { .. }) {
                self.1 += 1;
                let subject = Fingerprint::from(self.1);
                cx.report(subject, 1, || Report::new(self.0));
            }
        }
    }

    fn globs(pattern: &str) -> Vec<Glob> {
        vec![Glob::new(pattern)]
    }

    /// One name, watched one way in the sessions that match, and another way
    /// in the others.
    fn heard(matcher: SessionMatcher, events: &[Event]) -> Vec<String> {
        let matcher = Arc::new(matcher);
        let named = |says, sessions| NamedDetector {
            id: "echo".into(),
            kind: "echo".into(),
            class: "test".into(),
            levels: vec![Level::new(1, Severity::Low)],
            inhibited_by: Vec::new(),
            per_label: None,
            sessions,
            detector: Box::new(Echo(says, 0)),
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
    fn every_part_must_match() {
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
            assert_eq!(heard(matcher.clone(), &events), [expected], "{matcher:?}");
        }
    }

    #[test]
    fn what_is_said_later_changes_nothing() {
        let nightly = SessionMatcher { cwd: globs("*/nightly/*"), ..SessionMatcher::default() };
        let late = events([(None, message()), (None, start("/nightly/x")), (None, message())]);
        assert_eq!(heard(nightly, &late), ["other", "other"]);
        let gpt = SessionMatcher { model: globs("gpt-*"), ..SessionMatcher::default() };
        let model = EventKind::ModelCall(crate::ModelCall {
            model: Some("claude-opus".into()),
            ..crate::ModelCall::default()
        });
        let events = [(None, start("/x")), (None, model), (Some("a1"), message())];
        assert_eq!(heard(gpt, &self::events(events)), ["matching"]);
    }

    #[test]
    fn a_session_that_no_detector_watches_stays_so() {
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
            levels: vec![Level::new(1, Severity::Low)],
            inhibited_by: Vec::new(),
            per_label: None,
            sessions: filter,
            detector: Box::new(Echo("heard", 0)),
        };
        let mut engine = Engine::new(vec![detector], EngineConfig::default());
        let mut findings = Vec::new();
        for event in events([(None, message()), (None, message()), (Some("a1"), message())]) {
            engine.observe(&event, &mut findings);
        }
        assert!(findings.is_empty(), "{findings:?}");
    }
}
