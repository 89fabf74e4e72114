//! Reads what a client passes to its hook.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::value::RawValue;
use watchkeeper_core::{AgentId, Fingerprint, Json, SessionId, ToolCall};
use watchkeeper_sources::sub_agent_folder;

use super::client::Client;

/// A call of a hook.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct HookCall {
    pub(crate) client: Client,
    pub(crate) moment: Moment,
    pub(crate) session: SessionId,
    /// The sub-agent; `None` for the main agent.
    pub(crate) agent: Option<AgentId>,
    /// The session file of the agent; `None` if the client does not name it.
    pub(crate) transcript: Option<PathBuf>,
    /// The same for two calls of the same tool with the same arguments; `None` without a tool.
    pub(crate) tool_call: Option<Fingerprint>,
    /// The id of the call; `None` if the client does not name it.
    pub(crate) id: Option<Fingerprint>,
}

/// The moment of the agent's work at which a client calls its hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moment {
    /// A tool call is about to run. The name of the event, as the client writes it.
    BeforeCall(&'static str),
    /// A tool call has ended.
    AfterCall(&'static str),
    /// A person has written a prompt.
    Prompt,
    /// Any other. The program never answers it: an agent that wants to stop may stop.
    Other,
}

impl Moment {
    fn named(name: &str) -> Self {
        const BEFORE: &[&str] = &[
            "PreToolUse",
            "BeforeTool",
            "preToolUse",
            "beforeShellExecution",
            "beforeMCPExecution",
            "tool.execute.before",
        ];
        const AFTER: &[&str] = &[
            "PostToolUse",
            "PostToolUseFailure",
            "AfterTool",
            "postToolUse",
            "tool.execute.after",
        ];
        const PROMPTS: &[&str] = &[
            "UserPromptSubmit",
            "BeforeAgent",
            "userPromptSubmitted",
            "beforeSubmitPrompt",
            "chat.message",
        ];
        let find = |names: &[&'static str]| names.iter().copied().find(|it| *it == name);
        if let Some(name) = find(BEFORE) {
            Self::BeforeCall(name)
        } else if let Some(name) = find(AFTER) {
            Self::AfterCall(name)
        } else if find(PROMPTS).is_some() {
            Self::Prompt
        } else {
            Self::Other
        }
    }
}

/// The members of all clients. Their names do not contradict each other.
#[derive(Deserialize)]
struct Payload<'a> {
    hook_event_name: Option<String>,
    session_id: Option<String>,
    #[serde(rename = "sessionId")]
    copilot_session_id: Option<String>,
    conversation_id: Option<String>,
    agent_id: Option<String>,
    transcript_path: Option<PathBuf>,
    #[serde(rename = "transcriptPath")]
    copilot_transcript_path: Option<PathBuf>,
    agent_transcript_path: Option<PathBuf>,
    tool_name: Option<String>,
    #[serde(rename = "toolName")]
    copilot_tool_name: Option<String>,
    tool_use_id: Option<String>,
    #[serde(borrow)]
    tool_input: Option<&'a RawValue>,
    #[serde(borrow, rename = "toolArgs")]
    copilot_tool_input: Option<&'a RawValue>,
    #[serde(borrow, rename = "toolResult")]
    copilot_result: Option<&'a RawValue>,
    /// Of Cursor, before a command.
    command: Option<String>,
    prompt: Option<&'a RawValue>,
}

impl HookCall {
    /// Reads a call from its JSON. `None` if the client does not name the session, which
    /// selects the findings.
    pub(crate) fn parse(client: Client, json: &[u8]) -> serde_json::Result<Option<Self>> {
        let payload: Payload<'_> = serde_json::from_slice(json)?;
        let moment = payload.moment(client);
        let Payload { session_id, copilot_session_id, conversation_id, .. } = payload;
        let session = session_id.or(copilot_session_id).or(conversation_id);
        let Some(session) = session.filter(|session| !session.is_empty()) else { return Ok(None) };
        let agent = payload.agent_id.filter(|agent| !agent.is_empty());
        let tool = payload.tool_name.or(payload.copilot_tool_name);
        let arguments = payload.tool_input.or(payload.copilot_tool_input).map(RawValue::get);
        let tool_call = match (tool, payload.command) {
            (Some(tool), _) => {
                // As in session files: a new description does not make a new call.
                let arguments = Json::parse_or_text(arguments.unwrap_or("null"));
                Some(ToolCall::new("", tool, arguments).fingerprint)
            }
            (None, Some(command)) => Some(Fingerprint::of(command)),
            (None, None) => None,
        };
        let transcript = payload.transcript_path.or(payload.copilot_transcript_path);
        let transcript = match (&agent, client) {
            (Some(agent), Client::ClaudeCode | Client::QwenCode) => payload
                .agent_transcript_path
                .or_else(|| transcript_of_agent(transcript.as_deref()?, agent)),
            (None, Client::CopilotCli) => transcript.or_else(|| copilot_transcript(&session)),
            _ => transcript,
        };
        // A relative path would depend on the folder of the hook.
        let transcript = transcript.filter(|path| path.is_absolute());
        let (session, agent) = (session.into(), agent.map(Into::into));
        let id = payload.tool_use_id.map(Fingerprint::of);
        Ok(Some(Self { client, moment, session, agent, transcript, tool_call, id }))
    }
}

impl Payload<'_> {
    fn moment(&self, client: Client) -> Moment {
        if let Some(name) = &self.hook_event_name {
            return Moment::named(name);
        }
        // Copilot does not name the event.
        let has_tool = self.copilot_tool_name.is_some();
        match (client, has_tool, self.copilot_result.is_some()) {
            (Client::CopilotCli, true, false) => Moment::BeforeCall("preToolUse"),
            (Client::CopilotCli, true, true) => Moment::AfterCall("postToolUse"),
            (Client::CopilotCli, false, _) if self.prompt.is_some() => Moment::Prompt,
            _ => Moment::Other,
        }
    }
}

/// Returns whether a text can be part of a file name without leading to another folder.
fn is_plain(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

fn transcript_of_agent(session: &Path, agent: &str) -> Option<PathBuf> {
    let folder = sub_agent_folder(session).filter(|_| is_plain(agent))?;
    Some(folder.join(format!("agent-{agent}.jsonl")))
}

/// Returns the session file of Copilot, which its hooks may not name.
fn copilot_transcript(session: &str) -> Option<PathBuf> {
    let home = Client::CopilotCli.user_folder(&|name| std::env::var_os(name))?;
    let folder = home.join("session-state").join(session);
    is_plain(session).then(|| folder.join("events.jsonl"))
}
