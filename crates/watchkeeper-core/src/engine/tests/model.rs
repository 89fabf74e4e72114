//! The engine, written plainly: it looks every second whether something is
//! due, keeps no alarms, and shares nothing.

use std::collections::{BTreeMap, BTreeSet};

use super::Act;
use super::{EXPIRY, LEVELS, Probe, Sort, Step};
use crate::{Event, EventKind, Severity};

/// What the findings of these steps are, in order.
pub(super) fn run(steps: &[Step], sorts: &[Sort]) -> Vec<String> {
    let mut model =
        Model { sorts, sessions: BTreeMap::new(), groups: BTreeMap::new(), told: Vec::new() };
    for step in steps {
        match step {
            Step::Event(event) => model.observe(event),
            Step::Advance(secs) => model.advance(*secs),
        }
    }
    model.told.sort();
    model.told.into_iter().map(|(_, it)| it).collect()
}

struct Model<'a> {
    sorts: &'a [Sort],
    sessions: BTreeMap<String, Session>,
    groups: BTreeMap<String, Group>,
    told: Vec<(i64, String)>,
}

struct Session {
    now: i64,
    heard_at: i64,
    label: Option<String>,
    is_alone: bool,
    streams: Vec<Stream>,
    /// The main agent first, then the others, who spoke last at the end.
    agents: Vec<(Option<String>, Vec<Stream>)>,
    off: BTreeSet<String>,
}

struct Group {
    now: i64,
    heard_at: i64,
    /// The session that spoke last.
    session: String,
    stream: Stream,
}

struct Stream {
    name: String,
    probe: Probe,
    wake_at: Option<i64>,
    /// Subject, measure, severity.
    open: Vec<(u64, u64, Severity)>,
}

/// Whom a finding is about.
struct Whom<'a> {
    session: &'a str,
    agent: Option<&'a str>,
}

fn is_of_agents(sort: Sort) -> bool {
    !matches!(sort, Sort::Events | Sort::Team | Sort::Fragile)
}

impl Model<'_> {
    fn observe(&mut self, event: &Event) {
        let id = event.session.to_string();
        let secs = event.at.as_second();
        if let Some(session) = self.sessions.get_mut(&id)
            && session.heard_at + EXPIRY <= secs
        {
            session.walk(&id, secs, &mut self.told);
            self.sessions.remove(&id);
        }
        let is_new = !self.sessions.contains_key(&id);
        let session = self.sessions.entry(id.clone()).or_insert_with(|| Session {
            now: secs,
            heard_at: secs,
            label: None,
            is_alone: false,
            streams: Vec::new(),
            agents: Vec::new(),
            off: BTreeSet::new(),
        });
        let at = secs.max(session.now);
        session.walk(&id, at, &mut self.told);
        session.now = at;
        session.heard_at = at;
        if let (EventKind::SessionStart(start), None) = (&event.kind, &event.agent) {
            session.label =
                start.labels.iter().map(|(_, it)| it.to_string()).next().or(session.label.take());
        }
        let of_agents =
            || self.sorts.iter().filter(|it| is_of_agents(**it)).map(|it| Stream::new(*it));
        if is_new {
            session.is_alone = session.label.is_none();
            let of_session = self.sorts.iter().filter(|it| !is_of_agents(**it));
            let is_alone = session.is_alone;
            let own = of_session.filter(|it| **it != Sort::Team || is_alone);
            session.streams = own.map(|it| Stream::new(*it)).collect();
            session.agents = vec![(None, of_agents().collect())];
        }
        let agent = event.agent.as_ref().map(ToString::to_string);
        let place = session.agents.iter().position(|(it, _)| *it == agent);
        let mut speaker = match place {
            Some(place) => session.agents.remove(place),
            None => (agent.clone(), of_agents().collect()),
        };
        let kind = event.kind.name();
        let is_end = kind == "session_end";
        let session_ends = is_end && agent.is_none();
        let agent_ends = is_end || kind == "agent_end";
        let whom = Whom { session: &id, agent: agent.as_deref() };
        for stream in &mut speaker.1 {
            stream.step(at, Some(kind), &whom, &mut session.off, &mut self.told);
            if agent_ends {
                stream.end(at, &whom, &mut self.told);
            }
        }
        let whom = Whom { session: &id, agent: None };
        for stream in &mut session.streams {
            stream.step(at, Some(kind), &whom, &mut session.off, &mut self.told);
            if session_ends {
                stream.end(at, &whom, &mut self.told);
            }
        }
        match agent {
            None => session.agents.insert(0, speaker),
            Some(_) if agent_ends => {}
            Some(_) => session.agents.push(speaker),
        }
        if session_ends {
            for (agent, mut streams) in session.agents.split_off(1) {
                let whom = Whom { session: &id, agent: agent.as_deref() };
                for stream in &mut streams {
                    stream.end(at, &whom, &mut self.told);
                }
            }
        }
        if !session.is_alone
            && self.sorts.contains(&Sort::Team)
            && let Some(label) = session.label.clone()
        {
            self.observe_group(&label, &id, at, kind);
        }
    }

    fn observe_group(&mut self, label: &str, session: &str, at: i64, kind: &str) {
        if let Some(group) = self.groups.get_mut(label)
            && group.heard_at + EXPIRY <= at
        {
            group.walk(at, &mut self.told);
            self.groups.remove(label);
        }
        let group = self.groups.entry(label.to_owned()).or_insert_with(|| Group {
            now: at,
            heard_at: at,
            session: session.to_owned(),
            stream: Stream::new(Sort::Team),
        });
        let at = at.max(group.now);
        group.walk(at, &mut self.told);
        (group.now, group.heard_at) = (at, at);
        session.clone_into(&mut group.session);
        let whom = Whom { session, agent: None };
        group.stream.step(at, Some(kind), &whom, &mut BTreeSet::new(), &mut self.told);
    }

    fn advance(&mut self, secs: i64) {
        self.sessions.retain(|id, it| it.walk(id, secs, &mut self.told));
        self.groups.retain(|_, it| it.walk(secs, &mut self.told));
    }
}

impl Session {
    /// Lets second after second pass. Says whether it is still known.
    fn walk(&mut self, id: &str, until: i64, told: &mut Vec<(i64, String)>) -> bool {
        for secs in self.now..=until {
            let of_session = self.streams.iter_mut().map(|it| (None, it));
            let of_agents = self
                .agents
                .iter_mut()
                .flat_map(|(agent, streams)| streams.iter_mut().map(|it| (agent.as_deref(), it)));
            for (agent, stream) in of_session.chain(of_agents) {
                let whom = Whom { session: id, agent };
                if stream.wake_at == Some(secs) && !self.off.contains(&stream.name) {
                    stream.wake_at = None;
                    self.now = secs;
                    stream.step(secs, None, &whom, &mut self.off, told);
                }
            }
            if self.heard_at + EXPIRY == secs {
                return false;
            }
        }
        true
    }
}

impl Group {
    fn walk(&mut self, until: i64, told: &mut Vec<(i64, String)>) -> bool {
        for secs in self.now..=until {
            if self.stream.wake_at == Some(secs) {
                self.stream.wake_at = None;
                self.now = secs;
                let whom = Whom { session: &self.session, agent: None };
                self.stream.step(secs, None, &whom, &mut BTreeSet::new(), told);
            }
            if self.heard_at + EXPIRY == secs {
                return false;
            }
        }
        true
    }
}

impl Stream {
    fn new(sort: Sort) -> Self {
        Self { name: format!("{sort:?}"), probe: Probe::new(sort), wake_at: None, open: Vec::new() }
    }

    fn step(
        &mut self,
        now: i64,
        event: Option<&str>,
        whom: &Whom<'_>,
        off: &mut BTreeSet<String>,
        told: &mut Vec<(i64, String)>,
    ) {
        if off.contains(&self.name) {
            return;
        }
        // Where the detector panics, says the model, and does not run it.
        let breaks = match self.probe.sort {
            Sort::Fragile => event == Some("compaction") && 0 < self.probe.n,
            Sort::Restless => event.is_none(),
            _ => false,
        };
        if breaks {
            off.insert(self.name.clone());
            self.tell(now, whom, "medium 1 broke", told);
            return;
        }
        for act in self.probe.step(now, event) {
            match act {
                Act::WakeAt(at) if event.is_some() => self.wake_at = Some(at.max(now)),
                Act::WakeAt(at) => self.wake_at = Some(at).filter(|it| now < *it),
                Act::Sleep => self.wake_at = None,
                Act::Raise(subject, measure) => self.raise(now, subject, measure, whom, told),
                Act::Resolve(subject) => {
                    let of_subject = self.open.iter().position(|it| it.0 == subject);
                    if let Some(place) = of_subject {
                        let (_, measure, _) = self.open.remove(place);
                        self.tell(now, whom, &format!("over {measure}"), told);
                    }
                }
            }
        }
    }

    fn raise(
        &mut self,
        now: i64,
        subject: u64,
        measure: u64,
        whom: &Whom<'_>,
        told: &mut Vec<(i64, String)>,
    ) {
        let Some(level) = LEVELS.iter().rfind(|it| it.at <= measure) else { return };
        match self.open.iter_mut().find(|it| it.0 == subject) {
            Some((_, most, severity)) => {
                *most = measure.max(*most);
                if level.severity <= *severity {
                    return;
                }
                *severity = level.severity;
            }
            None => self.open.push((subject, measure, level.severity)),
        }
        self.tell(now, whom, &format!("{} {measure}", level.severity), told);
    }

    fn end(&mut self, now: i64, whom: &Whom<'_>, told: &mut Vec<(i64, String)>) {
        self.wake_at = None;
        for (_, measure, _) in std::mem::take(&mut self.open) {
            self.tell(now, whom, &format!("over {measure}"), told);
        }
    }

    fn tell(&self, now: i64, whom: &Whom<'_>, what: &str, told: &mut Vec<(i64, String)>) {
        let agent = whom.agent.filter(|_| is_of_agents(self.probe.sort));
        let agent = agent.map_or_else(String::new, |it| format!("/{it}"));
        told.push((now, format!("{now}s {}{agent} {} {what}", whom.session, self.name)));
    }
}
