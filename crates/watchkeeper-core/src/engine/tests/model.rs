//! A naive model of the engine: checks every second for due wake-ups, has no timers,
//! and shares nothing.

use std::collections::{BTreeMap, BTreeSet};

use super::Act;
use super::{EXPIRY, LEVELS, Probe, Sort, Step};
use crate::{Event, EventKind, Severity};

/// Returns the findings of these steps, in order.
pub(super) fn run(steps: &[Step], sorts: &[Sort]) -> Vec<String> {
    let mut model =
        Model { sorts, sessions: BTreeMap::new(), groups: BTreeMap::new(), findings: Vec::new() };
    for step in steps {
        match step {
            Step::Event(event) => model.observe(event),
            Step::Advance(secs) => model.advance(*secs),
        }
    }
    model.findings.sort();
    model.findings.into_iter().map(|(_, it)| it).collect()
}

struct Model<'a> {
    sorts: &'a [Sort],
    sessions: BTreeMap<String, Session>,
    groups: BTreeMap<String, Group>,
    findings: Vec<(i64, String)>,
}

struct Session {
    now: i64,
    latest_at: i64,
    label: Option<String>,
    streams: Vec<Stream>,
    /// The main agent first, then the others, the one with the latest event last.
    agents: Vec<(Option<String>, Vec<Stream>)>,
    off: BTreeSet<String>,
}

struct Group {
    now: i64,
    latest_at: i64,
    /// The session with the latest event.
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

/// The session and agent of a finding.
struct Subject<'a> {
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
            && session.latest_at + EXPIRY <= secs
        {
            session.walk(&id, secs, &mut self.findings);
            self.sessions.remove(&id);
        }
        let is_new = !self.sessions.contains_key(&id);
        let session = self.sessions.entry(id.clone()).or_insert_with(|| Session {
            now: secs,
            latest_at: secs,
            label: None,
            streams: Vec::new(),
            agents: Vec::new(),
            off: BTreeSet::new(),
        });
        let at = secs.max(session.now);
        session.walk(&id, at, &mut self.findings);
        session.now = at;
        session.latest_at = at;
        if let (EventKind::SessionStart(start), None) = (&event.kind, &event.agent) {
            session.label =
                start.labels.iter().map(|(_, it)| it.to_string()).next().or(session.label.take());
        }
        let of_agents =
            || self.sorts.iter().filter(|it| is_of_agents(**it)).map(|it| Stream::new(*it));
        if is_new {
            let of_session = self.sorts.iter().filter(|it| !is_of_agents(**it));
            let own = of_session.filter(|it| **it != Sort::Team);
            session.streams = own.map(|it| Stream::new(*it)).collect();
            session.agents = vec![(None, of_agents().collect())];
        }
        let agent = event.agent.as_ref().map(ToString::to_string);
        let place = session.agents.iter().position(|(it, _)| *it == agent);
        let mut agent_entry = match place {
            Some(place) => session.agents.remove(place),
            None => (agent.clone(), of_agents().collect()),
        };
        let kind = event.kind.name();
        let is_end = kind == "session_end";
        let session_ends = is_end && agent.is_none();
        let agent_ends = is_end || kind == "agent_end";
        let about = Subject { session: &id, agent: agent.as_deref() };
        for stream in &mut agent_entry.1 {
            stream.step(at, Some(kind), &about, &mut session.off, &mut self.findings);
            if agent_ends {
                stream.end(at, &about, &mut self.findings);
            }
        }
        let about = Subject { session: &id, agent: None };
        for stream in &mut session.streams {
            stream.step(at, Some(kind), &about, &mut session.off, &mut self.findings);
            if session_ends {
                stream.end(at, &about, &mut self.findings);
            }
        }
        match agent {
            None => session.agents.insert(0, agent_entry),
            Some(_) if agent_ends => {}
            Some(_) => session.agents.push(agent_entry),
        }
        if session_ends {
            for (agent, mut streams) in session.agents.split_off(1) {
                let about = Subject { session: &id, agent: agent.as_deref() };
                for stream in &mut streams {
                    stream.end(at, &about, &mut self.findings);
                }
            }
        }
        if self.sorts.contains(&Sort::Team)
            && let Some(label) = session.label.clone()
        {
            self.observe_group(&label, &id, at, kind);
        }
    }

    fn observe_group(&mut self, label: &str, session: &str, at: i64, kind: &str) {
        if let Some(group) = self.groups.get_mut(label)
            && group.latest_at + EXPIRY <= at
        {
            group.walk(at, &mut self.findings);
            self.groups.remove(label);
        }
        let group = self.groups.entry(label.to_owned()).or_insert_with(|| Group {
            now: at,
            latest_at: at,
            session: session.to_owned(),
            stream: Stream::new(Sort::Team),
        });
        let at = at.max(group.now);
        group.walk(at, &mut self.findings);
        (group.now, group.latest_at) = (at, at);
        session.clone_into(&mut group.session);
        let about = Subject { session, agent: None };
        group.stream.step(at, Some(kind), &about, &mut BTreeSet::new(), &mut self.findings);
    }

    fn advance(&mut self, secs: i64) {
        self.sessions.retain(|id, it| it.walk(id, secs, &mut self.findings));
        self.groups.retain(|_, it| it.walk(secs, &mut self.findings));
    }
}

impl Session {
    /// Moves the time in steps of a second. Returns false if the session has expired.
    fn walk(&mut self, id: &str, until: i64, findings: &mut Vec<(i64, String)>) -> bool {
        for secs in self.now..=until {
            let of_session = self.streams.iter_mut().map(|it| (None, it));
            let of_agents = self
                .agents
                .iter_mut()
                .flat_map(|(agent, streams)| streams.iter_mut().map(|it| (agent.as_deref(), it)));
            for (agent, stream) in of_session.chain(of_agents) {
                let about = Subject { session: id, agent };
                if stream.wake_at == Some(secs) && !self.off.contains(&stream.name) {
                    stream.wake_at = None;
                    self.now = secs;
                    stream.step(secs, None, &about, &mut self.off, findings);
                }
            }
            if self.latest_at + EXPIRY == secs {
                self.expire(id, secs, findings);
                return false;
            }
        }
        true
    }

    /// Ends all findings.
    fn expire(&mut self, id: &str, secs: i64, findings: &mut Vec<(i64, String)>) {
        let about = Subject { session: id, agent: None };
        self.streams.iter_mut().for_each(|stream| stream.end(secs, &about, findings));
        for (agent, streams) in &mut self.agents {
            let about = Subject { session: id, agent: agent.as_deref() };
            for stream in streams {
                stream.end(secs, &about, findings);
            }
        }
    }
}

impl Group {
    fn walk(&mut self, until: i64, findings: &mut Vec<(i64, String)>) -> bool {
        for secs in self.now..=until {
            if self.stream.wake_at == Some(secs) {
                self.stream.wake_at = None;
                self.now = secs;
                let about = Subject { session: &self.session, agent: None };
                self.stream.step(secs, None, &about, &mut BTreeSet::new(), findings);
            }
            if self.latest_at + EXPIRY == secs {
                let about = Subject { session: &self.session, agent: None };
                self.stream.end(secs, &about, findings);
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
        about: &Subject<'_>,
        off: &mut BTreeSet<String>,
        findings: &mut Vec<(i64, String)>,
    ) {
        if off.contains(&self.name) {
            return;
        }
        // The model knows when the detector panics, and does not run it.
        let panics = match self.probe.sort {
            Sort::Fragile => event == Some("compaction") && 0 < self.probe.n,
            Sort::Restless => event.is_none(),
            _ => false,
        };
        if panics {
            off.insert(self.name.clone());
            self.push(now, about, "medium 1 broke", findings);
            return;
        }
        for act in self.probe.step(now, event) {
            match act {
                Act::WakeAt(at) if event.is_some() => self.wake_at = Some(at.max(now)),
                Act::WakeAt(at) => self.wake_at = Some(at).filter(|it| now < *it),
                Act::CancelWake => self.wake_at = None,
                Act::Report(subject, measure) => {
                    self.report(now, subject, measure, about, findings);
                }
                Act::Resolve(subject) => {
                    let of_subject = self.open.iter().position(|it| it.0 == subject);
                    if let Some(place) = of_subject {
                        let (_, measure, _) = self.open.remove(place);
                        self.push(now, about, &format!("over {measure}"), findings);
                    }
                }
            }
        }
    }

    fn report(
        &mut self,
        now: i64,
        subject: u64,
        measure: u64,
        about: &Subject<'_>,
        findings: &mut Vec<(i64, String)>,
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
        self.push(now, about, &format!("{} {measure}", level.severity), findings);
    }

    fn end(&mut self, now: i64, about: &Subject<'_>, findings: &mut Vec<(i64, String)>) {
        self.wake_at = None;
        for (_, measure, _) in std::mem::take(&mut self.open) {
            self.push(now, about, &format!("over {measure}"), findings);
        }
    }

    fn push(&self, now: i64, about: &Subject<'_>, what: &str, findings: &mut Vec<(i64, String)>) {
        let agent = about.agent.filter(|_| is_of_agents(self.probe.sort));
        let agent = agent.map_or_else(String::new, |it| format!("/{it}"));
        findings.push((now, format!("{now}s {}{agent} {} {what}", about.session, self.name)));
    }
}
