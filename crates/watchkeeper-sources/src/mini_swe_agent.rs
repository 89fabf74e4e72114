//! mini-SWE-agent: one document for each task, which is rewritten after every step.

use std::path::Path;

use watchkeeper_core::{
    EventKind, Json, ModelCall, Source, SourceKind, ToolResult,
    author::{ClientTotal, EventSink, Tokens},
    register_source,
};

use crate::{
    blocks::Blocks,
    chat::FunctionCall,
    conversation::{Conversation, tokens},
    document::{Part, PartKind, Wanted},
    document_reader::DocumentReader,
    json::{
        Located, Malformed, Present, Seconds, Text, TextOr, object, parse, parse_head, parse_value,
    },
};

/// Reads the trajectories of mini-SWE-agent.
#[derive(Debug)]
pub struct MiniSweAgent(DocumentReader<Task>);

#[derive(Debug)]
struct Task {
    conversation: Conversation,
    has_prompt: bool,
    client_total: Option<ClientTotal>,
}

static WANTED: Wanted =
    Wanted { lists: &["messages"], members: &["info"], is_loose: false, has_preface: false };

register_source!(MiniSweAgent);

impl SourceKind for MiniSweAgent {
    const KIND: &'static str = "mini-swe-agent";
    const DOCS: &'static str = include_str!("../docs/mini-swe-agent.md");
    const FILES: &'static [&'static str] = &["*.traj.json", "*.json", "!*.meta.json"];
    const IS_REWRITTEN: bool = true;

    fn recognizes(_path: &Path, head: &[u8]) -> bool {
        let head: Head<'_> = parse_head(head);
        let is_format = |format: Text<'_>| format.raw().starts_with(b"mini-swe-agent");
        head.format.is_some_and(is_format)
            || head.info.is_some_and(|info| info.version.is_some() && info.stats.is_some())
    }

    fn new(path: &Path) -> Self {
        let mut conversation = Conversation::of_rewritten(path);
        // The files of a run are `<run>/<task>/<task>.traj.json`.
        let stem = path.file_stem().map(|stem| stem.to_string_lossy()).unwrap_or_default();
        let task = stem.strip_suffix(".traj").unwrap_or(&stem);
        let folders = path.ancestors().skip(1).filter_map(Path::file_name);
        let run = folders.map(|it| it.to_string_lossy()).find(|folder| *folder != task);
        conversation.identify(&run.map_or_else(|| task.into(), |run| format!("{run}/{task}")));
        let task = Task { conversation, has_prompt: false, client_total: None };
        Self(DocumentReader::new(&WANTED, task, |part, task, sink| task.read(part, sink)))
    }
}

object! {
    struct Head<'a> {
        b"trajectory_format" => format: Text<'a>,
        b"info" => info: HeadInfo,
    }
}

object! {
    struct HeadInfo {
        b"mini_version" => version: Present,
        b"model_stats" => stats: Present,
    }
}

object! {
    struct Info {
        b"model_stats" => stats: Stats,
    }
}

object! {
    struct Stats {
        b"instance_cost" => cost_usd: f64,
    }
}

object! {
    struct Message<'a> {
        b"role" => role: Text<'a>,
        b"content" => content: Blocks<'a>,
        b"tool_calls" => calls: Vec<Located<'a, FunctionCall<'a>>>,
        b"tool_call_id" => call: Text<'a>,
        b"extra" => extra: Extra<'a>,
    }
}

object! {
    struct Extra<'a> {
        b"timestamp" => at: Seconds,
        b"actions" => actions: Vec<TextOr<'a, Action<'a>>>,
        b"returncode" => exit_code: i32,
        b"exit_status" => exit_status: Text<'a>,
        b"response" => response: Response<'a>,
    }
}

object! {
    struct Action<'a> {
        b"command" => command: Text<'a>,
    }
}

object! {
    struct Response<'a> {
        b"model" => model: Text<'a>,
        b"usage" => usage: Usage,
    }
}

object! {
    struct Usage {
        b"prompt_tokens" => input: u64,
        b"completion_tokens" => output: u64,
        b"prompt_tokens_details" => details: InputDetails,
    }
}

object! {
    struct InputDetails {
        b"cached_tokens" => cache_read: u64,
    }
}

impl Source for MiniSweAgent {
    fn read_line(&mut self, line: &[u8], sink: &mut EventSink<'_>) {
        self.0.read_line(line, sink);
    }

    fn finish(&mut self, sink: &mut EventSink<'_>) {
        self.0.finish(sink);
    }

    fn client_total(&self) -> Option<ClientTotal> {
        self.0.state.client_total
    }
}

impl Task {
    fn read(&mut self, part: &Part<'_>, sink: &mut EventSink<'_>) -> Result<(), Malformed> {
        if let PartKind::Member(_) = part.kind {
            let info: Option<Info> = parse_value(part.text)?;
            let cost_usd = info.and_then(|info| info.stats?.cost_usd);
            self.client_total = Some(ClientTotal { tokens: None, cost_usd });
            return Ok(());
        }
        let conversation = &mut self.conversation;
        let message: Message<'_> = parse(part.text)?;
        let none = Extra::default();
        let extra = message.extra.as_ref().unwrap_or(&none);
        let content = message.content.as_ref().map(Blocks::text).unwrap_or_default();
        conversation.begin(extra.at.map(|at| at.0), None);
        sink.at_line(part.lines().line_of(0));
        match message.role.ok_or("no role")?.raw() {
            b"user" | b"tool" => match conversation.open_call() {
                Some(id) => {
                    let id = message.call.map_or(id, Text::boxed);
                    let exit_code = extra.exit_code.or_else(|| exit_code(&content));
                    let ok = exit_code.is_none_or(|code| code == 0);
                    let mut result = ToolResult::new(id, ok, Some(content));
                    result.exit_code = exit_code;
                    conversation.result(result, sink);
                }
                // After the task, mini-SWE-agent itself asks the model to go on.
                None => {
                    let synthetic = std::mem::replace(&mut self.has_prompt, true);
                    conversation.prompt(&content, synthetic, sink);
                }
            },
            b"assistant" => read_response(&message, extra, &content, part, conversation, sink),
            b"exit" => {
                let reason = extra.exit_status.map(Text::boxed);
                conversation.emit(EventKind::SessionEnd { reason }, sink);
            }
            b"system" => {}
            _ => sink.skip_part("unknown role"),
        }
        Ok(())
    }
}

fn read_response(
    message: &Message<'_>,
    extra: &Extra<'_>,
    content: &str,
    part: &Part<'_>,
    conversation: &mut Conversation,
    sink: &mut EventSink<'_>,
) {
    let response = conversation.entry_id();
    if let Some(raw) = &extra.response {
        let call = ModelCall {
            id: Some(response.clone()),
            model: raw.model.map(Text::boxed),
            tokens: raw.usage.as_ref().map(Usage::tokens).unwrap_or_default(),
            ..ModelCall::default()
        };
        conversation.usage(call, sink);
    }
    conversation.message(content, sink);
    let mut lines = part.lines();
    let mut has_call = false;
    for Located { at, value: call, .. } in message.calls.iter().flatten() {
        has_call = true;
        sink.at_line(lines.line_of(*at));
        conversation.read_function_call(call, &response, sink);
    }
    if has_call {
        return;
    }
    for action in extra.actions.iter().flatten() {
        let command = match action {
            TextOr::Text(command) => Some(*command),
            TextOr::Other(action) => action.command,
        };
        if let Some(command) = command {
            has_call = true;
            read_command(&command.read(), &response, conversation, sink);
        }
    }
    if let Some(command) = command(content).filter(|_| !has_call) {
        read_command(command, &response, conversation, sink);
    }
}

fn read_command(
    command: &str,
    response: &str,
    conversation: &mut Conversation,
    sink: &mut EventSink<'_>,
) {
    let arguments = Json::from(&serde_json::json!({ "command": command }));
    conversation.call(None, "bash", arguments, response, sink);
}

/// Returns the command in the only code block of a response.
fn command(content: &str) -> Option<&str> {
    let (_, block) = content
        .split_once("```bash\n")
        .or_else(|| content.split_once("```mswea_bash_command\n"))?;
    let (command, after) = block.split_once("\n```")?;
    (!after.contains("```bash\n")).then_some(command)
}

/// Returns the exit code in an observation.
fn exit_code(observation: &str) -> Option<i32> {
    let (_, code) = observation.split_once("<returncode>")?;
    code.split_once("</returncode>")?.0.trim().parse().ok()
}

impl Usage {
    /// Returns the tokens. The input in the file includes cached input.
    fn tokens(&self) -> Tokens {
        let cache_read = self.details.as_ref().and_then(|it| it.cache_read).unwrap_or(0);
        let input = self.input.unwrap_or(0).saturating_sub(cache_read);
        tokens(Some(input), self.output, Some(cache_read), None)
    }
}

#[cfg(test)]
mod tests {
    use super::{command, exit_code};

    #[test]
    fn finds_the_command_of_a_response() {
        assert_eq!(command("I look.\n```bash\nls\n```\n"), Some("ls"));
        assert_eq!(command("```bash\nls\n```\n```bash\nls\n```"), None);
        assert_eq!(command("```bash\nls"), None);
    }

    #[test]
    fn finds_the_exit_code_of_an_observation() {
        assert_eq!(exit_code("<returncode>2</returncode>\n<output>"), Some(2));
        assert_eq!(exit_code("<returncode>2"), None);
    }
}
