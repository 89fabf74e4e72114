//! Tool calls and their results.

use watchkeeper_core::{
    AgentId, EventKind, Fingerprint, Json, ToolCall, ToolClass, ToolResult,
    author::{Cause, Targets},
};

use super::{
    events::LineEvents,
    line::{Block, Delegation, Line, Message},
    state::agent_key,
};
use crate::{
    content::Content,
    json::{Text, parse},
    tool_names::ToolNames,
};

impl LineEvents<'_, '_> {
    pub(super) fn read_call(
        &mut self,
        id: Text<'_>,
        name: Text<'_>,
        block: &Block<'_>,
        message: &Message<'_>,
    ) {
        let arguments = Json::parse_or_text(block.input.map_or("null", |input| input.0));
        let mut call = tool_call(id.boxed(), &name.read(), arguments, &mut self.state.tools);
        call.response = message.id.map(Text::boxed);
        if call.class == ToolClass::Delegate {
            let caller = self.context.agent.clone();
            self.state.delegations.insert(Fingerprint::of(id.raw()), caller);
        }
        self.emit(EventKind::ToolCall(call));
    }

    pub(super) fn read_result(&mut self, call: Text<'_>, block: &Block<'_>) {
        self.continue_turn(None);
        let content = block.content.as_ref();
        let output = content.map(Content::text).unwrap_or_default();
        let ok = block.is_error != Some(true);
        let cause = if ok { None } else { cause(&output, Denial::of(self.line)) };
        let exit_code = if ok { None } else { exit_code(&output) };
        let mut result = ToolResult::new(call.boxed(), ok, Some(output));
        (result.cause, result.exit_code) = (cause, exit_code);
        if let Some(content) = content {
            content.distinguish(&mut result);
        }
        self.emit(EventKind::ToolResult(result));

        if self.state.delegations.remove(Fingerprint::of(call.raw())).is_some() {
            self.read_delegation();
        }
    }

    /// Reads the agent that a call has started. A call that does not wait for its agent ends
    /// before it.
    fn read_delegation(&mut self) {
        let Some(raw) = self.line.tool_use_result else { return };
        let Ok(Delegation { agent: Some(agent), is_async }) = parse(raw.0) else { return };
        let agent = agent.read();
        self.state.agents.insert(agent_key(&agent), ());
        if is_async != Some(true) {
            self.end_agent(&agent);
        }
    }

    /// Emits the end of a sub-agent that was started in this file.
    pub(super) fn end_agent(&mut self, agent: &str) {
        if self.state.agents.remove(agent_key(agent)).is_some() {
            self.state.awaited.retain(|awaited| awaited.as_str() != agent);
            let agent = AgentId::from(agent);
            let context = &self.context;
            self.sink.event(context.at, &context.session, Some(&agent), EventKind::AgentEnd);
        }
    }
}

/// Returns the call of a tool.
pub(crate) fn tool_call(
    id: Box<str>,
    name: &str,
    arguments: Json,
    tools: &mut ToolNames,
) -> ToolCall {
    let (tool, class) = tools.get(name, class);
    let volatile = volatile(&tool);
    let call = ToolCall::of_class(id, tool, arguments, Some(class), volatile);
    // Their `command` is a command of the client, not of a shell.
    if matches!(&*call.tool, "SlashCommand" | "Skill") {
        return call.with_targets(Targets::new());
    }
    call
}

/// Returns the class of a tool whose name is misleading.
fn class(tool: &str) -> Option<ToolClass> {
    match tool {
        "Bash" | "PowerShell" => Some(ToolClass::Run),
        "Task" | "Agent" | "SendMessage" => Some(ToolClass::Delegate),
        "TaskOutput" | "BashOutput" | "AgentOutput" | "Monitor" => Some(ToolClass::Wait),
        "AskUserQuestion" | "ExitPlanMode" => Some(ToolClass::Ask),
        "TaskCreate" | "TaskUpdate" | "TaskStop" | "KillShell" => Some(ToolClass::Other),
        // The name of the server does not describe the tool.
        _ => tool.rsplit_once("__").map(|(_, name)| ToolClass::of_name(name)),
    }
}

/// Returns the arguments that do not change what a call does.
fn volatile(tool: &str) -> &'static [&'static str] {
    match tool {
        "Bash" | "PowerShell" => &["description", "timeout"],
        "Task" | "Agent" => &["description"],
        "TaskOutput" | "BashOutput" | "AgentOutput" => &["timeout"],
        _ => &[],
    }
}

/// The permission for a call, as its result contains it.
#[derive(Clone, Copy, Debug, Default)]
struct Denial {
    was_denied: bool,
    /// A rule, a hook or a classifier denied the call.
    by_rule: bool,
}

impl Denial {
    fn of(line: &Line<'_>) -> Self {
        let mut denial = Self::default();
        if let Some(kind) = line.denial_kind {
            let by_person = ["user-rejected", "interrupted", "cancelled"];
            denial.was_denied = true;
            denial.by_rule = !by_person.iter().any(|known| kind.is(known));
        }
        if let Some(permission) = &line.permission
            && permission.decision.is_some_and(|decision| decision.is("reject"))
        {
            let by_rule = |source: Text<'_>| source.is("config") || source.is("hook");
            denial.was_denied = true;
            denial.by_rule |= permission.source.is_some_and(by_rule);
        }
        denial
    }
}

/// Returns the cause of a failed result that the tool did not return itself.
fn cause(output: &str, denial: Denial) -> Option<Cause> {
    const DECLINED: &str = "The user doesn't want to";
    // Without a terminal, the client denies calls that need the permission of a person.
    const BLOCKED: &[&str] = &[
        "Claude requested permissions to ",
        "This command requires approval",
        "Permission to use ",
        "Permission for this action ",
        "PreToolUse:",
    ];
    let second = output.split('\n').nth(1).unwrap_or_default();
    if output.starts_with("[Request interrupted by user") {
        Some(Cause::Interrupted)
    } else if output.starts_with(DECLINED) {
        Some(Cause::Declined)
    } else if denial.by_rule || BLOCKED.iter().any(|it| output.starts_with(it)) {
        Some(Cause::Blocked)
    } else if denial.was_denied {
        Some(Cause::Declined)
    } else if output.starts_with("<tool_use_error>Sibling tool call errored")
        || output.starts_with("<tool_use_error>Cancelled: parallel tool call")
    {
        Some(Cause::Sibling)
    } else if output.starts_with("Command timed out") || second.starts_with("Command timed out") {
        Some(Cause::Timeout)
    } else {
        None
    }
}

fn exit_code(output: &str) -> Option<i32> {
    output.strip_prefix("Exit code ")?.lines().next()?.trim().parse().ok()
}
