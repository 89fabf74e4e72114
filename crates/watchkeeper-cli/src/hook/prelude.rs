//! What remains of the events before the place from which a session file is read.

use std::collections::BTreeMap;

use watchkeeper_core::{AgentId, Event, EventKind, ModelCall, SessionId, author::Tokens};
use watchkeeper_sources::{parse_event, write_event};

/// The sums that are kept. The calls beyond them are added to the latest sum.
const MAX_SUMS: usize = 512;
/// The time whose calls are added, in seconds: a budget with a window reads older ones apart.
const HOUR: i64 = 60 * 60;

/// Neutral events that have the effect of many: the start of the session, the usage of each hour,
/// agent and model, and the prompt of the open turn. So totals and budgets are exact. Repetitions
/// are found in the events that follow.
#[derive(Debug, Default)]
pub(super) struct Prelude {
    start: Option<Event>,
    sums: BTreeMap<SumKey, Event>,
    prompt: Option<Event>,
}

type SumKey = (i64, SessionId, Option<AgentId>, Option<Box<str>>);

impl Prelude {
    /// Adds an event. `used` are the tokens and the cost that the event has added to its session.
    pub(super) fn absorb(&mut self, event: &Event, used: (Tokens, f64)) {
        match &event.kind {
            EventKind::SessionStart(_) if self.start.is_none() => self.start = Some(event.clone()),
            EventKind::Prompt { synthetic: false, .. } => {
                let mut prompt = event.clone();
                if let EventKind::Prompt { text, .. } = &mut prompt.kind {
                    *text = "".into();
                }
                self.prompt = Some(prompt);
            }
            EventKind::TurnEnd => self.prompt = None,
            EventKind::ModelCall(call) => self.add(event, call, used),
            _ => {}
        }
    }

    fn add(&mut self, event: &Event, call: &ModelCall, (tokens, cost_usd): (Tokens, f64)) {
        let hour = event.at.as_second().div_euclid(HOUR);
        let key = (hour, event.session.clone(), event.agent.clone(), call.model.clone());
        let is_full = MAX_SUMS <= self.sums.len() && !self.sums.contains_key(&key);
        let last = self.sums.last_key_value().filter(|_| is_full).map(|(key, _)| key.clone());
        let sum = self.sums.entry(last.unwrap_or(key)).or_insert_with(|| {
            let kind = ModelCall { model: call.model.clone(), ..ModelCall::default() };
            Event { kind: EventKind::ModelCall(kind), ..event.clone() }
        });
        sum.at = sum.at.max(event.at);
        if let EventKind::ModelCall(sum) = &mut sum.kind {
            sum.tokens = sum.tokens.plus(tokens);
            sum.cost_usd = Some(sum.cost_usd.unwrap_or_default() + cost_usd);
        }
    }

    /// Writes the events.
    pub(super) fn lines(&self) -> Vec<String> {
        let mut events: Vec<&Event> = self.sums.values().collect();
        events.sort_by_key(|event| event.at);
        self.start.iter().chain(events).chain(&self.prompt).map(write_event).collect()
    }

    /// Parses the events that were written. `None` if one is damaged.
    pub(super) fn events(lines: &[String]) -> Option<Vec<Event>> {
        let parse = |line: &String| {
            let mut event = parse_event(line).ok()?;
            if let EventKind::ModelCall(call) = &mut event.kind {
                // The context of one call is unknown in a sum of many.
                call.context_tokens = Some(u64::MAX);
            }
            Some(event)
        };
        lines.iter().map(parse).collect()
    }
}
