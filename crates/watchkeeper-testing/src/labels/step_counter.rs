use watchkeeper_core::{AgentId, Event, EventKind, author::Origin};

/// Counts the steps of a session file, as [`Labels`](super::Labels) number them.
///
/// A step is a tool call that the agent of the file made, in the order of the file. Sub-agents
/// that write into the file of their session are part of the step that started them. Calls that
/// the service of a model makes itself, such as a search in the web, are no steps. In a trajectory
/// of SWE-agent, each entry is a step, even one without an action.
#[derive(Clone, Debug, Default)]
pub struct StepCounter {
    n_steps: u64,
    file_agent: FileAgent,
}

/// The agent that a file belongs to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum FileAgent {
    /// The file has no events yet.
    #[default]
    Unknown,
    Main,
    SubAgent(AgentId),
}

impl StepCounter {
    /// Counts an event of the file.
    pub fn observe(&mut self, event: &Event) {
        let agent = event.agent.clone().map_or(FileAgent::Main, FileAgent::SubAgent);
        if self.file_agent == FileAgent::Unknown {
            self.file_agent = agent.clone();
        }
        let EventKind::ToolCall(call) = &event.kind else { return };
        if self.file_agent != agent {
            return;
        }
        match event.origin.as_ref().map(|Origin { source, .. }| *source) {
            Some("codex") if HOSTED.contains(&&*call.tool) => {}
            // The id of a call is the number of its entry.
            Some("swe-agent") if let Ok(step) = call.id.parse::<u64>() => {
                self.n_steps = step.max(self.n_steps + 1);
            }
            _ => self.n_steps += 1,
        }
    }

    /// Returns the number of steps so far.
    pub fn count(&self) -> u64 {
        self.n_steps
    }
}

/// The tools that the service of Codex calls itself.
const HOSTED: [&str; 3] = ["web_search", "tool_search", "image_generation"];

#[cfg(test)]
mod tests {
    use watchkeeper_core::{
        Event, EventKind, Json, Timestamp, ToolCall,
        author::{Origin, untimed},
    };

    use super::StepCounter;

    /// Returns a call of `tool` with an id, in a file of `source`.
    fn call(source: &'static str, id: &str, tool: &str) -> Event {
        let call = ToolCall::new(id, tool, Json::text("x"));
        let mut event = Event::new(untimed(0), "s", EventKind::ToolCall(call));
        event.origin = Some(Origin { source, file: "a.jsonl".into(), line: 1 });
        event
    }

    fn count(events: &[Event]) -> u64 {
        let mut steps = StepCounter::default();
        for event in events {
            steps.observe(event);
        }
        steps.count()
    }

    #[test]
    fn counts_parallel_calls_one_by_one() {
        let source = "claude-code";
        assert_eq!(count(&[call(source, "a", "Read"), call(source, "b", "Read")]), 2);
        let prompt = EventKind::Prompt { text: "go".into(), synthetic: false };
        assert_eq!(count(&[Event::new(Timestamp::UNIX_EPOCH, "s", prompt)]), 0);
    }

    #[test]
    fn counts_the_calls_of_the_agent_of_the_file() {
        let main = || call("claude-code", "a", "Task");
        let sub = || call("claude-code", "b", "Grep").in_agent("sub");
        assert_eq!(count(&[main(), sub(), sub(), main()]), 2);
        assert_eq!(count(&[sub(), sub(), main()]), 2);
    }

    #[test]
    fn skips_calls_of_the_service() {
        let events = ["shell", "web_search", "tool_search", "apply_patch"];
        assert_eq!(count(&events.map(|tool| call("codex", "a", tool))), 2);
        assert_eq!(count(&events.map(|tool| call("opencode", "a", tool))), 4);
    }

    #[test]
    fn counts_entries_of_trajectories_without_an_action() {
        let events = ["1", "2", "5", "6"].map(|id| call("swe-agent", id, "edit"));
        assert_eq!(count(&events[..2]), 2);
        assert_eq!(count(&events), 6);
        assert_eq!(count(&["7", "8"].map(|id| call("codex", id, "shell"))), 2);
    }
}
