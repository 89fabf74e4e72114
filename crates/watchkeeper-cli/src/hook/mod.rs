//! Acts on an agent when its client calls a hook.
//!
//! `call` reads what the client passes, `replay` finds the open findings of the session, `reaction`
//! decides with the `memory` of the session, and `answer` puts the decision into the terms of the
//! client. Whatever fails, the agent goes on.

mod act;
mod answer;
mod call;
mod client;
mod folder;
mod log;
mod memory;
mod prelude;
mod reaction;
mod replay;
mod text;
mod time_limit;
mod trouble;

use std::{
    collections::BTreeMap,
    io::{self, Read},
    path::Path,
    time::Duration,
};

use serde_json::{Value, json};
use watchkeeper_core::{
    Action, AgentId, Finding, Fingerprint, SessionId, Severity, SignedDuration,
    clock::{Clock as _, Deadline, SystemClock},
    embed::Registry,
};
use watchkeeper_policy::Policy;
use watchkeeper_sources::open_recent;

pub(crate) use self::{
    act::Act, client::Client, folder::HookFolder, log::Log, reaction::Allowed,
    time_limit::end_at_limit, trouble::Trouble,
};
use self::{
    answer::answer,
    call::{HookCall, Moment},
    folder::Sort,
    memory::Memory,
    reaction::{Decision, decide},
    replay::{Replayed, replay, replay_database},
};

/// The session with which `doctor` tries a hook: no call of a client.
pub(crate) const TRIAL_SESSION: &str = "watchkeeper-doctor";
/// The largest input, in bytes. It may contain the result of a tool.
const MAX_INPUT: u64 = 64 << 20;
/// The longest time for the answers of each `watch`: one that is suspended must not hold up an agent.
#[cfg(unix)]
const PATIENCE: Duration = Duration::from_millis(20);
/// The time in which a session of a database has changed at the latest: it calls its hook now.
const RECENT: SignedDuration = SignedDuration::from_hours(1);

/// A call of a hook of a client, with what the user has chosen.
pub(crate) struct Hook<'a> {
    pub(crate) client: Client,
    pub(crate) act: Option<Action>,
    pub(crate) registry: &'a Registry,
    /// `None` if there is no place for state: then the program does not act, since it could not
    /// store its actions.
    pub(crate) folder: Option<HookFolder>,
    /// The time until which the session file is read. The next call continues.
    pub(crate) deadline: Deadline,
}

impl Hook<'_> {
    /// Reads the input, and prints the answer for the client if there is one.
    pub(crate) fn run(
        &self,
        input: impl Read,
        policy: Policy,
        print: impl FnOnce(&Value) -> io::Result<()>,
    ) -> Result<(), Trouble> {
        let mut json = Vec::new();
        input.take(MAX_INPUT + 1).read_to_end(&mut json)?;
        if MAX_INPUT < json.len() as u64 {
            return Err(Trouble::TooLong(MAX_INPUT));
        }
        let Some(call) = HookCall::parse(self.client, &json)? else { return Ok(()) };
        let Some(folder) = &self.folder else { return Ok(()) };
        if call.session.as_str() != TRIAL_SESSION {
            folder.set_called_at(self.client, SystemClock.now())?;
        }
        let allowed = Allowed { mode: policy.monitor.mode, act: self.act };
        if call.moment == Moment::Other || !allowed.any() {
            return Ok(());
        }
        let is_dry_run = policy.monitor.dry_run;
        let replayed = match &call.transcript {
            // A prompt ends refusals, whatever is open.
            Some(path) if call.moment != Moment::Prompt => {
                self.replay(path, &call.session, policy, folder)?
            }
            _ => Some(Replayed::default()),
        };
        let Some(Replayed { open, prompted_at }) = replayed else { return Ok(()) };
        let watched = match call.moment {
            Moment::Prompt => Vec::new(),
            _ => watched(folder, &call.session),
        };
        let open: Vec<(Action, Finding)> = most_severe(open.into_iter().chain(watched))
            .into_iter()
            .map(|finding| (allowed.reaction(&finding), finding))
            .filter(|(action, _)| *action != Action::Observe)
            .collect();
        let key = Fingerprint::of(self.client.name()).and(Fingerprint::of(call.session.as_str()));
        let earlier: Option<Memory> = folder.read(Sort::Memory, key);
        if open.is_empty() && earlier.is_none() {
            return Ok(());
        }
        let can = |action| allowed.permits(action) && answer(&call, action, "").is_some();
        let decide = |memory: &mut Memory| {
            let agent = memory.agent(call.agent.as_ref().map(AgentId::as_str));
            decide(&call, &open, prompted_at, SystemClock.now(), agent, can)
        };
        // Without the lock: most calls change nothing.
        let earlier = earlier.unwrap_or_default();
        let mut memory = earlier.clone();
        if decide(&mut memory).is_none() && memory == earlier {
            return Ok(());
        }
        let _lock = folder.lock()?;
        let before: Memory = folder.read(Sort::Memory, key).unwrap_or_default();
        let mut memory = before.clone();
        let Some(decision) = decide(&mut memory) else {
            if memory != before {
                folder.write(Sort::Memory, key, &memory)?;
            }
            return Ok(());
        };
        let answer = answer(&call, decision.action, &decision.text);
        memory.n_actions += 1;
        folder.add_action(&self.record(&call, decision, memory.n_actions, is_dry_run))?;
        // The memory changes after the client has the answer. If the process ends before, the next
        // call repeats the action.
        let memory = folder.prepare(Sort::Memory, key, &memory)?;
        if let Some(answer) = answer.filter(|_| !is_dry_run) {
            print(&answer)?;
        }
        Ok(memory.replace()?)
    }

    fn replay(
        &self,
        path: &Path,
        session: &SessionId,
        policy: Policy,
        folder: &HookFolder,
    ) -> Result<Option<Replayed>, Trouble> {
        let now = SystemClock.now();
        let since = now.checked_sub(RECENT).unwrap_or(now);
        if let Some(database) = open_recent(path, &self.registry.sources, since)? {
            return replay_database(database, session, path, policy, self.deadline);
        }
        replay(path, policy, self.registry, folder, self.deadline)
    }

    /// Makes the finding of class `action` for the ledger. `n` is the number of the action in its
    /// session.
    fn record(&self, call: &HookCall, decision: Decision, n: u64, is_dry_run: bool) -> Finding {
        let Decision { action, text, finding } = decision;
        let finding = finding.as_ref();
        let mut record = action_record("hook", action, text, finding, &call.session, is_dry_run);
        // An action that is repeated because its process has ended has the same id.
        let cause = finding.map_or(Fingerprint::NONE, |finding| finding.id);
        record.id = record.fingerprint.and(cause).and(Fingerprint::from(n));
        record.agent.clone_from(&call.agent);
        record.data.insert("client".to_owned(), self.client.name().into());
        record
    }
}

/// Returns the open findings about a whole session that each running `watch` has found.
#[cfg(unix)]
fn watched(folder: &HookFolder, session: &SessionId) -> Vec<Finding> {
    crate::hook_socket::ask(&folder.sockets(), session, PATIENCE)
}

/// Returns nothing: other platforms have no such sockets.
#[cfg(not(unix))]
fn watched(_: &HookFolder, _: &SessionId) -> Vec<Finding> {
    Vec::new()
}

/// Returns the most severe finding of each episode.
fn most_severe(findings: impl Iterator<Item = Finding>) -> Vec<Finding> {
    let mut episodes = BTreeMap::<Fingerprint, Finding>::new();
    for finding in findings {
        let known = episodes.get(&finding.fingerprint);
        if known.is_none_or(|known| known.severity < finding.severity) {
            episodes.insert(finding.fingerprint, finding);
        }
    }
    episodes.into_values().collect()
}

/// Makes the finding of class `action` for the ledger: the part of the program that acted, the
/// action, its text, and its cause, which is `None` if an earlier action goes on.
pub(crate) fn action_record(
    part: &str,
    action: Action,
    text: String,
    cause: Option<&Finding>,
    session: &SessionId,
    is_dry_run: bool,
) -> Finding {
    let mut record = Finding::about_monitor(SystemClock.now(), part, Severity::Low, text);
    record.class = "action".into();
    record.action = Some(action);
    record.session = session.clone();
    if is_dry_run {
        record.data.insert("dry_run".to_owned(), true.into());
    }
    if let Some(cause) = cause {
        let Finding { id, detector, severity, .. } = cause;
        let data = json!({ "id": id, "detector": detector, "severity": severity });
        record.data.insert("finding".to_owned(), data);
        record.source = cause.source;
        record.evidence.clone_from(&cause.evidence);
    }
    let fingerprint = cause.map_or(Fingerprint::NONE, |cause| cause.fingerprint);
    let subject = Fingerprint::of(session.as_str()).and(fingerprint);
    record.fingerprint = record.fingerprint.and(subject);
    let process = Fingerprint::from(u64::from(std::process::id()));
    record.id = record.id.and(subject).and(process);
    record
}
