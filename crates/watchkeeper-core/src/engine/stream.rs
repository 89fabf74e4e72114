use std::panic::{AssertUnwindSafe, catch_unwind};

use jiff::{SignedDuration, Timestamp};

use super::{Shared, moment::Moment};
use crate::{
    AgentFacts, AgentId, Call, Context, Detector, Event, Fingerprint, Level, Report, Scope,
    SessionFacts, Severity, Usage, engine::NamedDetector,
};

/// How many conditions of one stream may last at once; of more, the oldest is
/// forgotten.
pub(super) const MAX_EPISODES: usize = 32;

/// One detector at work on one stream.
pub(super) struct Stream {
    pub(super) detector_idx: u32,
    pub(super) wake_at: Option<Moment>,
    /// `None` once it has panicked.
    detector: Option<Box<dyn Detector>>,
    episodes: Episodes,
}

/// Where a stream runs.
pub(super) struct Scene<'a> {
    pub(super) session: &'a SessionFacts,
    pub(super) agent: &'a AgentFacts,
    pub(super) agent_id: Option<&'a AgentId>,
    /// The value of the label that the sessions of the stream share.
    pub(super) group: Option<&'a str>,
}

/// Why a stream runs.
#[derive(Clone, Copy)]
pub(super) enum Cue<'a> {
    Event { event: &'a Event, usage: Option<&'a Usage>, call: Option<&'a Call> },
    Wake,
}

/// What a detector raised or resolved while it ran.
pub(crate) struct Raised {
    pub(crate) subject: Fingerprint,
    /// `None` says that it was resolved.
    pub(crate) severity: Option<Severity>,
    pub(crate) measure: u64,
    pub(crate) report: Report,
}

impl Stream {
    #[expect(clippy::cast_possible_truncation, reason = "a policy has few detectors")]
    pub(super) fn new(detector_idx: usize, named: &NamedDetector) -> Self {
        Self {
            detector_idx: detector_idx as u32,
            wake_at: None,
            detector: Some(named.detector.clone()),
            episodes: Episodes::default(),
        }
    }

    /// A stream for each detector of this scope that watches a session which
    /// begins with the event `first`.
    pub(super) fn all(
        shared: &Shared,
        scope: Scope,
        facts: &SessionFacts,
        first: &Event,
    ) -> Box<[Self]> {
        let detectors = shared.detectors.iter().enumerate();
        let watching = detectors.filter(|(_, it)| it.sessions.takes(facts, first));
        let scoped = watching.filter(|(_, it)| match &it.per_label {
            None => it.detector.scope() == scope,
            // A session without the label is a group of its own.
            Some(label) => scope == Scope::Session && !facts.labels.contains_key(label),
        });
        scoped.map(|(detector_idx, it)| Self::new(detector_idx, it)).collect()
    }

    /// A new stream for the detector of each of these; none at work where its
    /// detector is off.
    pub(super) fn like(streams: &[Self], shared: &Shared) -> Box<[Self]> {
        let alike = streams.iter().map(|it| {
            let detector_idx = it.detector_idx as usize;
            let mut res = Self::new(detector_idx, &shared.detectors[detector_idx]);
            if it.is_off() {
                res.turn_off();
            }
            res
        });
        alike.collect()
    }

    /// What is open, by the fingerprint of its findings, and how far it came.
    pub(super) fn open_findings(
        &self,
        scene: &Scene<'_>,
        shared: &Shared,
    ) -> Vec<(Fingerprint, u64)> {
        let named = &shared.detectors[self.detector_idx as usize];
        let open = |it: &Episode| (named.fingerprint(scene, it.subject), it.measure);
        self.episodes.0.iter().flat_map(|it| it.iter()).map(open).collect()
    }

    fn is_off(&self) -> bool {
        self.detector.is_none()
    }

    pub(super) fn turn_off(&mut self) {
        self.detector = None;
        self.wake_at = None;
    }

    /// Puts off a wake-up that is due after `since`.
    pub(super) fn postpone(&mut self, since: Timestamp, by: SignedDuration) {
        self.wake_at = self.wake_at.map(|it| postponed(it, since, by));
    }

    /// Runs the wake-up that is due by `due`, if there is one.
    pub(super) fn wake_if_due(
        &mut self,
        due: Moment,
        scene: &Scene<'_>,
        shared: &mut Shared,
        findings: &mut Vec<crate::Finding>,
    ) {
        if self.wake_at.is_some_and(|it| it <= due) {
            self.wake_at = None;
            self.run(due.into(), Cue::Wake, scene, shared, findings);
        }
    }

    pub(super) fn run(
        &mut self,
        now: Timestamp,
        cue: Cue<'_>,
        scene: &Scene<'_>,
        shared: &mut Shared,
        findings: &mut Vec<crate::Finding>,
    ) {
        if shared.panicked.contains(&self.detector_idx) {
            self.turn_off();
        }
        let Some(detector) = &mut self.detector else { return };
        let mut wake_at = self.wake_at.map(Timestamp::from);
        let mut cx = Context {
            now,
            session: scene.session,
            agent: scene.agent,
            usage: None,
            call: None,
            event: None,
            levels: &shared.detectors[self.detector_idx as usize].levels,
            wake_at: &mut wake_at,
            episodes: &mut self.episodes,
            raised: &mut shared.raised,
        };
        let outcome = catch_unwind(AssertUnwindSafe(|| match cue {
            Cue::Event { event, usage, call } => {
                cx.event = Some(event);
                cx.usage = usage;
                cx.call = call;
                detector.observe(event, &mut cx);
            }
            Cue::Wake => detector.wake(&mut cx),
        }));
        // Time moves on, whatever a detector asks for.
        let wake_at = match cue {
            Cue::Event { .. } => wake_at.map(|it| it.max(now)),
            Cue::Wake => wake_at.filter(|it| now < *it),
        };
        self.wake_at = wake_at.map(Moment::from);
        if !shared.raised.is_empty() {
            let raised = std::mem::take(&mut shared.raised);
            for it in raised {
                findings.push(shared.finding(self.detector_idx, now, scene, it));
            }
        }
        if let Err(panic) = outcome {
            self.turn_off();
            shared.panicked.push(self.detector_idx);
            findings.push(shared.panic_finding(self.detector_idx, now, scene, panic.as_ref()));
        }
    }

    /// Ends with what it watched.
    pub(super) fn end(
        &mut self,
        now: Timestamp,
        scene: &Scene<'_>,
        shared: &Shared,
        findings: &mut Vec<crate::Finding>,
    ) {
        self.wake_at = None;
        for it in self.episodes.take() {
            let what = if scene.agent_id.is_some() { "agent" } else { "session" };
            let report = Report::new(format!("over, as the {what} ended"));
            let raised =
                Raised { subject: it.subject, severity: None, measure: it.measure, report };
            findings.push(shared.finding(self.detector_idx, now, scene, raised));
        }
    }
}

/// A time that has not come by `since` comes later by `by`.
pub(super) fn postponed(at: Moment, since: Timestamp, by: SignedDuration) -> Moment {
    let at: Timestamp = at.into();
    let at = if since < at { at.saturating_add(by).unwrap_or(Timestamp::MAX) } else { at };
    at.into()
}

/// The conditions of one stream that last.
#[derive(Debug, Default)]
pub(crate) struct Episodes(
    #[expect(clippy::box_collection, reason = "most of very many streams have none")]
    Option<Box<Vec<Episode>>>,
);

#[derive(Debug)]
struct Episode {
    subject: Fingerprint,
    measure: u64,
    severity: Severity,
}

impl Episodes {
    /// Notes how far a condition has come. Gives back a severity if there is
    /// something new to say.
    pub(crate) fn raise(
        &mut self,
        subject: Fingerprint,
        measure: u64,
        levels: &[Level],
    ) -> Option<Severity> {
        let reached = levels.iter().filter(|it| it.at <= measure).map(|it| it.severity).max();
        let open = self.0.iter_mut().flat_map(|it| it.iter_mut()).find(|it| it.subject == subject);
        if let Some(episode) = open {
            episode.measure = episode.measure.max(measure);
            let higher = reached.filter(|it| episode.severity < *it)?;
            episode.severity = higher;
            return Some(higher);
        }
        let severity = reached?;
        let episodes = self.0.get_or_insert_default();
        if episodes.len() == MAX_EPISODES {
            episodes.remove(0);
        }
        episodes.push(Episode { subject, measure, severity });
        Some(severity)
    }

    /// Ends a condition. Gives back how far it came, if it was open.
    pub(crate) fn resolve(&mut self, subject: Fingerprint) -> Option<u64> {
        let episodes = self.0.as_mut()?;
        let at = episodes.iter().position(|it| it.subject == subject)?;
        let ended = episodes.remove(at);
        if episodes.is_empty() {
            self.0 = None;
        }
        Some(ended.measure)
    }

    fn take(&mut self) -> Vec<Episode> {
        self.0.take().map_or_else(Vec::new, |it| *it)
    }
}
