//! `check --explain`: which session is asked about, and what is answered.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    sync::Arc,
};

use watchkeeper_core::{Engine, Event, Origin, Registry, SessionId, Timestamp, make_safe, quote};
use watchkeeper_policy::Policy;

use crate::{
    counted::counted,
    recorded::Group,
    report::Report,
    timeline::{Scribe, Timeline},
};

/// How many sessions are named to whoever must choose one.
const MAX_NAMED: usize = 20;

/// Asks why in one session was found what was found, and nothing else.
pub(crate) struct Question {
    /// The kinds of the detectors of the policy, by their names.
    detectors: BTreeMap<Arc<str>, Arc<str>>,
    /// The detector that is asked about, if it is one.
    detector: Option<Arc<str>>,
    /// How the id of the session begins.
    id: Option<String>,
    /// The sessions that this may mean.
    meant: BTreeSet<Meant>,
    scribe: Option<Scribe>,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Meant {
    started_at: Timestamp,
    session: SessionId,
    file: String,
}

impl Question {
    /// Asks about one detector of the policy, or all, and about the session whose
    /// id begins with `id`, or the only one. The error is for a person.
    pub(crate) fn new(
        policy: &Policy,
        detector: Option<&str>,
        id: Option<&str>,
    ) -> Result<Self, String> {
        let detectors = policy.detectors.iter().map(|it| (it.id.clone(), it.kind.clone()));
        let detectors: BTreeMap<Arc<str>, Arc<str>> = detectors.collect();
        let detector = detector.map(|id| match detectors.get_key_value(id) {
            Some((id, _)) => Ok(id.clone()),
            None => {
                let known: Vec<&str> = detectors.keys().map(|it| &**it).collect();
                let (id, known) = (quote(id), known.join(", "));
                Err(format!("error: the policy has no detector {id}; it has: {known}\n"))
            }
        });
        let (detector, id) = (detector.transpose()?, id.map(str::to_owned));
        Ok(Self { detectors, detector, id, meant: BTreeSet::new(), scribe: None })
    }

    /// Leaves out what need not be read to answer. What comes before the session
    /// is read, as it may count: the answer is about what `check` finds.
    pub(crate) fn narrow(&mut self, mut groups: Vec<Group>) -> Vec<Group> {
        let is_meant = |it: &&Group| match &self.id {
            None => 1 < groups.len(),
            Some(id) => it.session.as_str().starts_with(id),
        };
        let meant = groups.iter().filter(is_meant).map(|it| Meant {
            started_at: it.started_at,
            session: it.session.clone(),
            file: it.files[0].display().to_string(),
        });
        self.meant = meant.collect();
        match self.only_meant() {
            Some(meant) => {
                let place = groups.iter().position(|it| it.session == meant.session);
                groups.truncate(place.map_or(groups.len(), |it| it + 1));
            }
            None if self.meant.is_empty() => {}
            None => groups.clear(),
        }
        groups
    }

    /// The session that is meant, if it is known which.
    fn only_meant(&self) -> Option<&Meant> {
        let exact = self.meant.iter().find(|it| Some(it.session.as_str()) == self.id.as_deref());
        exact.or_else(|| self.meant.first().filter(|_| self.meant.len() == 1))
    }

    /// Hears of an event that the engine is about to observe.
    pub(crate) fn hear(&mut self, event: &Event, engine: &mut Engine) {
        let id = &event.session;
        if self.id.as_ref().is_some_and(|it| !id.as_str().starts_with(it))
            || self.scribe.as_ref().is_some_and(|it| it.session() == id)
        {
            return;
        }
        let is_exact = Some(id.as_str()) == self.id.as_deref();
        if !is_exact && self.only_meant().is_some_and(|it| self.id.is_some() && it.session != *id) {
            return;
        }
        let file = event.origin.as_ref().map(|Origin { file, .. }| file.to_string());
        if !self.meant.iter().any(|it| it.session == *id) {
            let (session, file) = (id.clone(), file.unwrap_or_default());
            self.meant.insert(Meant { started_at: event.at, session, file });
        }
        if self.scribe.is_none() || is_exact {
            self.scribe = Some(Scribe::new(id.clone(), self.detector.clone(), engine));
        }
    }

    /// Takes in what came of it.
    pub(crate) fn observe(&mut self, event: &Event, engine: &mut Engine, registry: &Registry) {
        if let Some(scribe) = self.scribe.as_mut().filter(|it| *it.session() == event.session) {
            scribe.observe(event, engine, registry);
        }
    }

    /// Answers, and leaves nothing in the report but the session. The error is for
    /// a person.
    pub(crate) fn answer(self, report: &mut Report) -> Result<Timeline, String> {
        let Some(session) = self.only_meant().map(|it| it.session.clone()) else {
            return Err(self.why_not(report));
        };
        let sessions = std::mem::take(report).sessions;
        for mut it in sessions.into_iter().filter(|it| it.session == session) {
            it.findings.retain(|it| self.detector.as_ref().is_none_or(|id| *id == it.detector));
            report.add(it);
        }
        self.scribe
            .filter(|it| *it.session() == session)
            .map(|it| it.finish(&self.detectors))
            .ok_or_else(|| format!("error: session {} was not read\n", quote(session.as_str())))
    }

    /// Why no session is explained.
    fn why_not(&self, report: &Report) -> String {
        if let (true, Some(id)) = (self.meant.is_empty(), &self.id) {
            return format!("error: no session here has an id that begins with {}\n", quote(id));
        }
        if self.meant.is_empty() {
            let mut res = "error: there is no session here to explain\n".to_owned();
            for it in &report.unread_files {
                let (file, why) = (it.file.display().to_string(), &it.reason);
                // Writing to a string cannot fail.
                let _ = writeln!(res, "  {}: {}", make_safe(&file), make_safe(why));
            }
            return res;
        }
        let n = counted(self.meant.len() as u64, "session");
        let mut res = format!("error: `--explain` is about one session, and here are {n}:\n");
        let n_left_out = self.meant.len().saturating_sub(MAX_NAMED);
        if 0 < n_left_out {
            let _ = writeln!(res, "  … {} before these", counted(n_left_out as u64, "session"));
        }
        for it in self.meant.iter().skip(n_left_out) {
            let started = it.started_at.strftime("%Y-%m-%d %H:%M UTC");
            let (id, file) = (make_safe(it.session.as_str()), make_safe(&it.file));
            let _ = writeln!(res, "  {started}  {id}  {file}");
        }
        res.push_str("name its file, or pick it with `--session ID`\n");
        res
    }
}
