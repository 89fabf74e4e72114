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
mod memory;
mod prelude;
mod reaction;
mod replay;
mod text;
mod trouble;

use std::{collections::BTreeMap, io::Read, path::Path, time::Duration};

use serde_json::{Value, json};
use watchkeeper_core::{
    Action, AgentId, Finding, Fingerprint, SessionId, Severity, SignedDuration,
    clock::{Clock as _, Deadline, SystemClock},
    embed::Registry,
};
use watchkeeper_policy::Policy;
use watchkeeper_sources::open_recent;

pub(crate) use self::{
    act::Act, client::Client, folder::HookFolder, reaction::Allowed, trouble::Trouble,
};
use self::{
    answer::answer,
    call::{HookCall, Moment},
    folder::Sort,
    memory::Memory,
    reaction::{Decision, decide},
    replay::{Replayed, replay, replay_database},
};

/// The largest input, in bytes. It may contain the result of a tool.
const MAX_INPUT: u64 = 64 << 20;
/// The time in which a session of a database has changed at the latest: it calls its hook now.
const RECENT: SignedDuration = SignedDuration::from_hours(1);
/// The time for reading a session file. The next call continues.
const READ_TIME: Duration = Duration::from_millis(600);

/// A call of a hook of a client, with what the user has chosen.
pub(crate) struct Hook<'a> {
    pub(crate) client: Client,
    pub(crate) act: Option<Action>,
    pub(crate) registry: &'a Registry,
    /// `None` if there is no place for state: then the program does not act, since it could not
    /// store its actions.
    pub(crate) folder: Option<HookFolder>,
}

impl Hook<'_> {
    /// Reads the input and returns the answer for the client; `None` if there is none.
    pub(crate) fn run(&self, input: impl Read, policy: Policy) -> Result<Option<Value>, Trouble> {
        let mut json = Vec::new();
        input.take(MAX_INPUT + 1).read_to_end(&mut json)?;
        if MAX_INPUT < json.len() as u64 {
            return Err(Trouble::TooLong(MAX_INPUT));
        }
        let Some(call) = HookCall::parse(self.client, &json)? else { return Ok(None) };
        let Some(folder) = &self.folder else { return Ok(None) };
        folder.set_called_at(self.client, Some(SystemClock.now()))?;
        let allowed = Allowed { mode: policy.monitor.mode, act: self.act };
        if call.moment == Moment::Other || !allowed.any() {
            return Ok(None);
        }
        let is_dry_run = policy.monitor.dry_run;
        let replayed = match &call.transcript {
            // A prompt ends refusals, whatever is open.
            Some(path) if call.moment != Moment::Prompt => {
                self.replay(path, &call.session, policy, folder)?
            }
            _ => Some(Replayed::default()),
        };
        let Some(Replayed { open, prompted_at }) = replayed else { return Ok(None) };
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
            return Ok(None);
        }
        let can =
            |action| allowed.permits(action) && answer(self.client, &call, action, "").is_some();
        let decide = |memory: &mut Memory| {
            let agent = memory.agent(call.agent.as_ref().map(AgentId::as_str));
            decide(&call, &open, prompted_at, SystemClock.now(), agent, can)
        };
        // Without the lock: most calls change nothing.
        let earlier = earlier.unwrap_or_default();
        let mut memory = earlier.clone();
        if decide(&mut memory).is_none() && memory == earlier {
            return Ok(None);
        }
        let _lock = folder.lock()?;
        let before: Memory = folder.read(Sort::Memory, key).unwrap_or_default();
        let mut memory = before.clone();
        let decision = decide(&mut memory);
        if memory != before {
            folder.write(Sort::Memory, key, &memory)?;
        }
        let Some(decision) = decision else { return Ok(None) };
        let answer = answer(self.client, &call, decision.action, &decision.text);
        folder.add_action(&self.record(&call, decision, is_dry_run))?;
        Ok(answer.filter(|_| !is_dry_run))
    }

    fn replay(
        &self,
        path: &Path,
        session: &SessionId,
        policy: Policy,
        folder: &HookFolder,
    ) -> Result<Option<Replayed>, Trouble> {
        let deadline = Deadline::after(READ_TIME);
        let now = SystemClock.now();
        let since = now.checked_sub(RECENT).unwrap_or(now);
        if let Some(database) = open_recent(path, &self.registry.sources, since)? {
            return replay_database(database, session, path, policy, deadline);
        }
        replay(path, policy, self.registry, folder, deadline)
    }

    /// Makes the finding of class `action` for the ledger.
    fn record(&self, call: &HookCall, decision: Decision, is_dry_run: bool) -> Finding {
        let Decision { action, text, finding } = decision;
        let finding = finding.as_ref();
        let mut record = action_record("hook", action, text, finding, &call.session, is_dry_run);
        record.agent.clone_from(&call.agent);
        record.data.insert("client".to_owned(), self.client.name().into());
        record
    }
}

/// Returns the open findings about a whole session that a running `watch` has found. Those about
/// one agent are in its file, which `watch` may read later than the hook.
#[cfg(unix)]
fn watched(folder: &HookFolder, session: &SessionId) -> Vec<Finding> {
    let mut findings = crate::hook_socket::ask(&folder.sockets(), session);
    findings.retain(|finding| finding.agent.is_none());
    findings
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
