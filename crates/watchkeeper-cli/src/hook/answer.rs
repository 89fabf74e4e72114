//! Answers a hook in the terms of its client.
//!
//! The clients read the same members in different ways. With `continue: false` alone, Claude Code
//! still runs the call. Codex ignores `continue: false`, and runs the call if it comes together
//! with a refusal: there, no hook ends a turn, and each call is refused. A client whose hooks do
//! not pass a text on to the model gets a text by one refusal.

use serde_json::{Value, json};
use watchkeeper_core::Action;

use super::{
    call::{HookCall, Moment},
    client::Client,
};

/// Returns the answer that carries out an action, and `None` if the client cannot carry out this
/// action at this moment.
pub(crate) fn answer(call: &HookCall, action: Action, text: &str) -> Option<Value> {
    let client = call.client;
    match call.moment {
        Moment::BeforeCall(event) => before_call(client, event, action, text),
        Moment::AfterCall(event) => after_call(client, event, action, text),
        Moment::Prompt | Moment::Other => None,
    }
}

fn before_call(client: Client, event: &str, action: Action, text: &str) -> Option<Value> {
    match (client, action) {
        (_, Action::Nudge) => match client {
            Client::ClaudeCode | Client::Codex | Client::QwenCode => Some(context(event, text)),
            Client::CopilotCli | Client::Cursor => Some(refusal(client, event, text)),
            // After the call.
            Client::GeminiCli | Client::Opencode => None,
        },
        (_, Action::Ask) if client.can_ask() => Some(permission(client, event, "ask", text)),
        (Client::ClaudeCode, Action::Stop) => {
            let mut answer = refusal(client, event, text);
            answer["continue"] = false.into();
            answer["stopReason"] = text.into();
            Some(answer)
        }
        (Client::GeminiCli, Action::Stop) => Some(end(text)),
        (Client::Opencode, Action::Stop) => Some(json!({ "deny": text, "stop": true })),
        (_, Action::Ask | Action::Deny | Action::Stop) => Some(refusal(client, event, text)),
        _ => None,
    }
}

fn after_call(client: Client, event: &str, action: Action, text: &str) -> Option<Value> {
    match (client, action) {
        (
            Client::ClaudeCode | Client::Codex | Client::QwenCode | Client::GeminiCli,
            Action::Nudge,
        ) => Some(context(event, text)),
        (Client::Opencode, Action::Nudge) => Some(json!({ "context": text })),
        (Client::ClaudeCode | Client::GeminiCli, Action::Stop) => Some(end(text)),
        _ => None,
    }
}

/// Passes a text on to the model.
fn context(event: &str, text: &str) -> Value {
    json!({ "hookSpecificOutput": { "hookEventName": event, "additionalContext": text } })
}

/// Ends the turn.
fn end(text: &str) -> Value {
    json!({ "continue": false, "stopReason": text })
}

fn refusal(client: Client, event: &str, text: &str) -> Value {
    permission(client, event, "deny", text)
}

fn permission(client: Client, event: &str, decision: &str, text: &str) -> Value {
    match client {
        Client::ClaudeCode | Client::Codex | Client::QwenCode => json!({ "hookSpecificOutput": {
            "hookEventName": event,
            "permissionDecision": decision,
            "permissionDecisionReason": text,
        } }),
        Client::GeminiCli => json!({ "decision": decision, "reason": text }),
        Client::CopilotCli => {
            json!({ "permissionDecision": decision, "permissionDecisionReason": text })
        }
        Client::Cursor => {
            json!({ "permission": decision, "user_message": text, "agent_message": text })
        }
        Client::Opencode => json!({ decision: text }),
    }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;
    use watchkeeper_core::Action;

    use super::answer;
    use crate::hook::{
        call::{HookCall, Moment},
        client::Client,
    };

    fn answers(client: Client, before: &'static str, after: &'static str) -> String {
        let mut lines = Vec::new();
        for moment in [Moment::BeforeCall(before), Moment::AfterCall(after), Moment::Other] {
            let call = HookCall {
                client,
                moment,
                session: "s".into(),
                agent: None,
                transcript: None,
                tool_call: None,
                id: None,
            };
            for action in Action::ALL {
                let answer = answer(&call, action, "T");
                lines.extend(answer.map(|answer| format!("{action:5} {answer}")));
            }
        }
        lines.join("\n")
    }

    #[test]
    fn each_client_gets_its_own_terms() {
        assert_snapshot!(answers(Client::ClaudeCode, "PreToolUse", "PostToolUse"), @r#"
        nudge {"hookSpecificOutput":{"additionalContext":"T","hookEventName":"PreToolUse"}}
        ask   {"hookSpecificOutput":{"hookEventName":"PreToolUse","permissionDecision":"ask","permissionDecisionReason":"T"}}
        deny  {"hookSpecificOutput":{"hookEventName":"PreToolUse","permissionDecision":"deny","permissionDecisionReason":"T"}}
        stop  {"continue":false,"hookSpecificOutput":{"hookEventName":"PreToolUse","permissionDecision":"deny","permissionDecisionReason":"T"},"stopReason":"T"}
        nudge {"hookSpecificOutput":{"additionalContext":"T","hookEventName":"PostToolUse"}}
        stop  {"continue":false,"stopReason":"T"}
        "#);
        assert_snapshot!(answers(Client::Codex, "PreToolUse", "PostToolUse"), @r#"
        nudge {"hookSpecificOutput":{"additionalContext":"T","hookEventName":"PreToolUse"}}
        ask   {"hookSpecificOutput":{"hookEventName":"PreToolUse","permissionDecision":"deny","permissionDecisionReason":"T"}}
        deny  {"hookSpecificOutput":{"hookEventName":"PreToolUse","permissionDecision":"deny","permissionDecisionReason":"T"}}
        stop  {"hookSpecificOutput":{"hookEventName":"PreToolUse","permissionDecision":"deny","permissionDecisionReason":"T"}}
        nudge {"hookSpecificOutput":{"additionalContext":"T","hookEventName":"PostToolUse"}}
        "#);
        assert_snapshot!(answers(Client::GeminiCli, "BeforeTool", "AfterTool"), @r#"
        ask   {"decision":"ask","reason":"T"}
        deny  {"decision":"deny","reason":"T"}
        stop  {"continue":false,"stopReason":"T"}
        nudge {"hookSpecificOutput":{"additionalContext":"T","hookEventName":"AfterTool"}}
        stop  {"continue":false,"stopReason":"T"}
        "#);
        assert_snapshot!(answers(Client::CopilotCli, "preToolUse", "postToolUse"), @r#"
        nudge {"permissionDecision":"deny","permissionDecisionReason":"T"}
        ask   {"permissionDecision":"ask","permissionDecisionReason":"T"}
        deny  {"permissionDecision":"deny","permissionDecisionReason":"T"}
        stop  {"permissionDecision":"deny","permissionDecisionReason":"T"}
        "#);
        assert_snapshot!(answers(Client::Cursor, "beforeShellExecution", "postToolUse"), @r#"
        nudge {"agent_message":"T","permission":"deny","user_message":"T"}
        ask   {"agent_message":"T","permission":"ask","user_message":"T"}
        deny  {"agent_message":"T","permission":"deny","user_message":"T"}
        stop  {"agent_message":"T","permission":"deny","user_message":"T"}
        "#);
        assert_snapshot!(answers(Client::QwenCode, "PreToolUse", "PostToolUse"), @r#"
        nudge {"hookSpecificOutput":{"additionalContext":"T","hookEventName":"PreToolUse"}}
        ask   {"hookSpecificOutput":{"hookEventName":"PreToolUse","permissionDecision":"ask","permissionDecisionReason":"T"}}
        deny  {"hookSpecificOutput":{"hookEventName":"PreToolUse","permissionDecision":"deny","permissionDecisionReason":"T"}}
        stop  {"hookSpecificOutput":{"hookEventName":"PreToolUse","permissionDecision":"deny","permissionDecisionReason":"T"}}
        nudge {"hookSpecificOutput":{"additionalContext":"T","hookEventName":"PostToolUse"}}
        "#);
        assert_snapshot!(answers(Client::Opencode, "tool.execute.before", "tool.execute.after"), @r#"
        ask   {"deny":"T"}
        deny  {"deny":"T"}
        stop  {"deny":"T","stop":true}
        nudge {"context":"T"}
        "#);
    }
}
