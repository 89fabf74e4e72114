//! Records the sessions of `check` for a page.

use std::collections::BTreeMap;

use watchkeeper_core::{Engine, Event, SessionId, author::SessionFacts, embed::Registry};
use watchkeeper_page::Recorder;

use crate::{
    explanation::{TimelineRecorder, measures},
    report::SessionPage,
};

/// Records the timelines of sessions, and the measures of their detectors.
pub(crate) struct PageRecorder<'a> {
    registry: &'a Registry,
    sessions: BTreeMap<SessionId, SessionRecorder>,
    /// The session that the engine explains.
    explained: Option<SessionId>,
}

struct SessionRecorder {
    timeline: Recorder,
    explanation: TimelineRecorder,
}

impl<'a> PageRecorder<'a> {
    pub(crate) fn new(registry: &'a Registry) -> Self {
        Self { registry, sessions: BTreeMap::new(), explained: None }
    }

    /// Makes the engine explain the session of an event that it observes next.
    pub(crate) fn before_event(&mut self, event: &Event, engine: &mut Engine) {
        let id = &event.session;
        if self.explained.as_ref() == Some(id) {
            return;
        }
        if self.sessions.contains_key(id) {
            engine.explain(id.clone());
        } else {
            let explanation = TimelineRecorder::new(id.clone(), None, engine).only_notable();
            let timeline = Recorder::new();
            self.sessions.insert(id.clone(), SessionRecorder { timeline, explanation });
        }
        self.explained = Some(id.clone());
    }

    /// Records an event that the engine has just observed.
    pub(crate) fn after_event(&mut self, event: &Event, engine: &mut Engine) {
        let id = &event.session;
        let Some(SessionRecorder { timeline, explanation }) = self.sessions.get_mut(id) else {
            return;
        };
        explanation.observe(event, engine, self.registry);
        if let Some(facts) = engine.session(id) {
            timeline.observe(event, facts, engine.agent(id, event.agent.as_ref()));
        }
    }

    /// Removes and returns a session at its end.
    pub(crate) fn finish(&mut self, facts: &SessionFacts) -> Option<Box<SessionPage>> {
        let SessionRecorder { timeline, explanation } = self.sessions.remove(&facts.id)?;
        self.explained.take_if(|id| *id == facts.id);
        let measures = measures(explanation.finish(&BTreeMap::new()), &timeline);
        let row = timeline.row(facts);
        Some(Box::new(SessionPage { row, recorder: timeline, measures }))
    }
}
