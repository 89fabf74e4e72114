//! Decides about a call of a hook, given the findings that are open now.

use watchkeeper_core::{Action, Finding, Severity, Timestamp};
use watchkeeper_policy::Mode;

use super::{
    call::{HookCall, Moment},
    memory::{AgentMemory, Refusal},
    text::text,
};

/// The classes of findings that a program reacts to without an action of the policy: an agent that
/// repeats itself or spends too much. An action to any other needs a person's decision.
const CLASSES: &[&str] = &["runaway", "budget"];
/// The class of findings that end with the work, whatever the next call is.
const BUDGET: &str = "budget";

/// The reactions that the user allows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Allowed {
    pub(crate) mode: Mode,
    /// The strongest reaction, also to findings without an action, in any mode.
    pub(crate) act: Option<Action>,
}

impl Allowed {
    /// Returns whether the user allows any reaction.
    pub(crate) fn any(self) -> bool {
        self.act.is_some() || self.mode == Mode::Enforce
    }

    /// Returns whether an action that an earlier call has begun goes on: `act` may be weaker now.
    pub(crate) fn permits(self, action: Action) -> bool {
        self.act.is_none_or(|act| action <= act)
    }

    /// Returns the reaction to a finding.
    pub(crate) fn reaction(self, finding: &Finding) -> Action {
        if finding.severity == Severity::Low {
            return Action::Observe;
        }
        let of_policy = finding.action;
        let Some(act) = self.act else {
            let is_enforced = self.mode == Mode::Enforce;
            return of_policy.filter(|_| is_enforced).unwrap_or(Action::Observe);
        };
        let usual = match finding.severity {
            _ if !CLASSES.contains(&&*finding.class) => Action::Observe,
            Severity::High => act,
            _ => Action::Nudge,
        };
        of_policy.unwrap_or(usual).min(act)
    }
}

/// An action to carry out.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Decision {
    pub(crate) action: Action,
    pub(crate) text: String,
    /// The cause; `None` for a call that is refused like an earlier one.
    pub(crate) finding: Option<Finding>,
}

/// Decides about a call, and remembers what later calls need. `can` is whether the client can
/// carry out an action at this moment. `prompted_at` is the time of the last prompt, if it is
/// known.
pub(crate) fn decide(
    call: &HookCall,
    open: &[(Action, Finding)],
    prompted_at: Option<Timestamp>,
    now: Timestamp,
    memory: &mut AgentMemory,
    can: impl Fn(Action) -> bool,
) -> Option<Decision> {
    memory.end_nudges(open.iter().map(|(_, finding)| finding.fingerprint));
    let is_over = |at: Timestamp| prompted_at.is_some_and(|prompt| at < prompt);
    if call.moment == Moment::Prompt || memory.stopped.as_ref().is_some_and(|it| is_over(it.at)) {
        memory.stopped = None;
        memory.forget_calls();
    }
    let is_before = matches!(call.moment, Moment::BeforeCall(_));
    if let Some(stopped) = memory.stopped.as_ref().filter(|_| is_before && can(Action::Stop)) {
        let text = stopped.text.clone();
        return Some(Decision { action: Action::Stop, text, finding: None });
    }
    let is_repeated = match call.tool_call.filter(|_| is_before) {
        Some(key) => memory.call(key, call.id),
        None => false,
    };
    if let Some(key) = call.tool_call.filter(|_| is_repeated)
        && let Some(refusal) = memory.refusal(key)
        && !open.iter().any(|(action, _)| *action == Action::Stop)
        && can(Action::Deny)
    {
        let text = refusal.text.clone();
        return Some(Decision { action: Action::Deny, text, finding: None });
    }
    let mut strongest: Vec<&(Action, Finding)> = open.iter().collect();
    strongest.sort_by_key(|(action, finding)| std::cmp::Reverse((*action, finding.severity)));
    for (action, finding) in strongest {
        // A call that the agent has not made before may be the way out.
        let may_refuse = is_repeated || &*finding.class == BUDGET;
        let action = match action {
            Action::Ask | Action::Deny if !may_refuse || !is_before => Action::Nudge,
            action => *action,
        };
        if action == Action::Observe || !can(action) {
            continue;
        }
        if action == Action::Nudge && !memory.nudge(finding) {
            continue;
        }
        let text = text(call.client, action, finding);
        let refusal = Refusal { at: now, text: text.clone() };
        match (action, call.tool_call) {
            (Action::Stop, _) => memory.stopped = Some(refusal),
            (Action::Deny, Some(key)) if is_repeated => memory.refuse(key, refusal),
            _ => {}
        }
        return Some(Decision { action, text, finding: Some(finding.clone()) });
    }
    None
}
