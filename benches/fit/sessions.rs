//! The steps of labelled sessions.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use watchkeeper_core::{
    AgentId, Context, Detector, Engine, Event, EventKind, Fingerprint, SignedDuration,
    Subscription,
    author::{Contribution, DedupCache},
    embed::{EngineConfig, NamedDetector, Registry, SessionFilter},
};
use watchkeeper_testing::labels::{LabelledSession, Labels, StepCounter, Stretch};

use crate::Error;

/// A session, as far as the fit needs it.
pub(crate) struct Session {
    /// The folder of its file, relative to the folder of all sessions.
    pub(crate) folder: PathBuf,
    /// The stretches in which a report is due.
    due: Vec<Stretch>,
    pub(crate) steps: Vec<Step>,
}

/// A finished call, or the start of a new stretch of work.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    /// The number of calls that the session had at this time.
    pub(crate) number: u64,
    /// The index of the agent in the session.
    pub(crate) agent: usize,
    pub(crate) kind: StepKind,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum StepKind {
    Start,
    Call { contribution: Contribution, response: Option<Fingerprint> },
}

impl Session {
    /// Makes a session of one agent from the contributions of its calls.
    #[cfg(test)]
    pub(crate) fn new(folder: &str, due: &[(u64, u64)], contributions: &[Contribution]) -> Self {
        let steps = (1..).zip(contributions).map(|(number, contribution)| {
            let kind = StepKind::Call { contribution: *contribution, response: None };
            Step { number, agent: 0, kind }
        });
        let due = due.iter().map(|(from_step, to_step)| Stretch {
            line: 0,
            severity: watchkeeper_core::Severity::Medium,
            kind: String::new(),
            from_step: *from_step,
            to_step: *to_step,
            tell_step: *from_step,
            why: String::new(),
        });
        Self { folder: folder.into(), due: due.collect(), steps: steps.collect() }
    }

    /// Returns true if a report is due in this session.
    pub(crate) fn is_due(&self) -> bool {
        !self.due.is_empty()
    }

    /// Returns true if a report at a step counts for a stretch in which one is due.
    pub(crate) fn is_due_at(&self, step: u64) -> bool {
        self.due.iter().any(|stretch| stretch.includes(step))
    }
}

/// Reads the labelled sessions.
pub(crate) fn read(folder: &Path, labels: &Path) -> Result<Vec<Session>, Error> {
    let error = |source| Error::Labels { path: labels.to_owned(), source };
    let text = fs::read_to_string(labels).map_err(|err| error(err.into()))?;
    let labels: Labels =
        text.parse().map_err(|err: watchkeeper_testing::labels::LabelsError| error(err.into()))?;
    let registry = Registry::linked()?;
    labels.sessions().iter().map(|session| read_session(folder, session, &registry)).collect()
}

fn read_session(
    folder: &Path,
    labels: &LabelledSession,
    registry: &Registry,
) -> Result<Session, Error> {
    let path = folder.join(labels.file());
    let error = |source| Error::Session { path: path.clone(), source };
    let mut file = watchkeeper_sources::open(&path, None, &registry.sources)
        .map_err(|err| error(err.into()))?;
    let recorder = Recorder::default();
    let config = EngineConfig { session_expiry: SignedDuration::MAX, ..EngineConfig::default() };
    let mut engine = Engine::new(vec![recorder.named()], config);
    let (mut counter, mut agents, mut steps) = (StepCounter::default(), Vec::new(), Vec::new());
    file.read(&mut DedupCache::default(), &mut |event| {
        counter.observe(&event);
        engine.observe(&event, &mut Vec::new());
        steps.extend(recorder.take().map(|kind| Step {
            number: counter.count(),
            agent: index_of(event.agent.as_ref(), &mut agents),
            kind,
        }));
    })
    .map_err(|err| error(err.into()))?;
    Ok(Session {
        folder: labels.file().parent().unwrap_or(Path::new("")).to_owned(),
        due: labels.due().cloned().collect(),
        steps,
    })
}

/// Returns the index of an agent, and adds the agent if it is new.
fn index_of(agent: Option<&AgentId>, agents: &mut Vec<Option<AgentId>>) -> usize {
    let found = agents.iter().position(|it| it.as_ref() == agent);
    found.unwrap_or_else(|| {
        agents.push(agent.cloned());
        agents.len() - 1
    })
}

/// Records the step of each event.
#[derive(Clone, Default)]
struct Recorder(Arc<Mutex<Option<StepKind>>>);

impl Recorder {
    fn named(&self) -> NamedDetector {
        NamedDetector {
            id: "recorder".into(),
            kind: "recorder".into(),
            class: "recorder".into(),
            annotations: Arc::default(),
            levels: Vec::new(),
            inhibited_by: Vec::new(),
            per: None,
            sessions: SessionFilter::default(),
            options: Fingerprint::NONE,
            detector: Box::new(self.clone()),
        }
    }

    fn take(&self) -> Option<StepKind> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Recorder")
    }
}

impl Detector for Recorder {
    fn observe(&mut self, event: &Event, cx: &mut Context<'_>) {
        let step = match &event.kind {
            EventKind::Prompt { .. } => cx.agent().start().reason().map(|_| StepKind::Start),
            EventKind::ToolResult(_) => {
                cx.call().zip(cx.contribution()).map(|(call, contribution)| StepKind::Call {
                    contribution,
                    response: call.response,
                })
            }
            _ => None,
        };
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = step;
    }

    fn subscription(&self) -> Subscription {
        Subscription::default().with_contributions()
    }
}
