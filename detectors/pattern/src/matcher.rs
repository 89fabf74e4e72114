//! The matches for one value of `by`.

use watchkeeper_core::{
    Context, Event, EventKind, Fingerprint, Report, Timestamp,
    author::{Call, Elapsed, Evidence},
    quote,
};

use crate::{
    addressee::Value,
    automaton::Runs,
    message::{Match, MatchEvent},
    program::Program,
};

/// The unfinished runs and the matches for one value of `by`.
#[derive(Clone, Debug)]
pub(crate) struct Matcher {
    /// `None` without `by`.
    pub(crate) value: Option<Value>,
    /// `None` if there is no unfinished run.
    runs: Option<Runs>,
    /// The first events of runs, oldest first; may contain events of runs that
    /// have ended.
    firsts: Vec<First>,
    pub(crate) matches: Option<Matches>,
}

/// The first event of a run.
#[derive(Clone, Debug)]
struct First {
    n: u64,
    at: Timestamp,
    event: MatchEvent,
    evidence: Option<Evidence>,
}

/// The matches of one finding.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Matches {
    pub(crate) count: u64,
    last_at: Timestamp,
}

impl Matcher {
    pub(crate) fn new(value: Option<Value>) -> Self {
        Self { value, runs: None, firsts: Vec::new(), matches: None }
    }

    /// Returns true if there is neither an unfinished run nor a reported match.
    pub(crate) fn is_idle(&self) -> bool {
        self.runs.is_none() && self.matches.is_none()
    }

    pub(crate) fn last_match_at(&self) -> Option<Timestamp> {
        self.matches.map(|matches| matches.last_at)
    }

    /// Adds the event with number `n`. If `starts_at` is not 0, it equals `n`
    /// and a run starts with the event.
    pub(crate) fn step(
        &mut self,
        program: &Program,
        symbols: u64,
        (n, starts_at): (u64, u64),
        event: &MatchEvent,
        cx: &mut Context<'_>,
    ) {
        if self.runs.is_none() && starts_at == 0 {
            return;
        }
        let now = cx.now();
        if let Some(within) = program.within {
            let is_late = |first: &First| within.get() < now.duration_since(first.at);
            self.firsts.drain(..self.firsts.partition_point(is_late));
        }
        let oldest = self.firsts.first().map_or(n, |first| first.n);
        if starts_at != 0 {
            self.firsts.push(First { n, at: now, event: event.clone(), evidence: cx.evidence() });
        }
        let runs = self.runs.get_or_insert_with(|| Runs::new(&program.automaton));
        let complete = runs.step(&program.automaton, symbols, starts_at, oldest);
        let first = complete.and_then(|n| {
            let idx = self.firsts.binary_search_by_key(&n, |first| first.n).ok()?;
            self.firsts.get(idx).cloned()
        });
        if runs.is_empty() {
            self.runs = None;
            self.firsts = Vec::new();
        } else if program.automaton.n_nodes() < self.firsts.len() {
            let starts = runs.starts();
            self.firsts.retain(|first| starts.binary_search(&first.n).is_ok());
        }
        if let Some(first) = first {
            let count = 1 + self.matches.map_or(0, |matches| matches.count);
            self.matches = Some(Matches { count, last_at: now });
            // The current event is always evidence, so it is not added twice.
            let first = First { evidence: first.evidence.filter(|_| first.n != n), ..first };
            self.report(program, first, event, cx);
        }
    }

    fn report(&self, program: &Program, first: First, last: &MatchEvent, cx: &mut Context<'_>) {
        let Some(Matches { count, last_at }) = self.matches else { return };
        let by = self.value.as_ref().map(|value| &*value.quoted);
        let took = last_at.duration_since(first.at);
        let latest = Match { count, took, by, first: &first.event, last };
        let message = program.message.as_ref().map(|text| text.render(&latest, cx.session()));
        cx.report(self.subject(), count, || {
            let message = message.unwrap_or_else(|| default_message(&program.pattern, &latest));
            let mut report = Report::new(message).with("matches", count);
            if let Some(by) = by {
                report = report.with("by_value", by.trim_matches('`'));
            }
            if let Some(tool) = &last.tool {
                report = report.with("tool", quote(tool).trim_matches('`'));
            }
            report.since(first.evidence)
        });
    }

    pub(crate) fn resolve(&mut self, cx: &mut Context<'_>, reason: &str) {
        let Some(Matches { count, .. }) = self.matches.take() else { return };
        cx.resolve(self.subject(), || {
            let matches =
                if count == 1 { "1 match".to_owned() } else { format!("{count} matches") };
            let value = self.value.as_ref().map(|value| format!(" for {}", value.quoted));
            let value = value.unwrap_or_default();
            Report::new(format!("no further match after {matches}{value}: {reason}"))
                .with("matches", count)
        });
    }

    fn subject(&self) -> Fingerprint {
        self.value.as_ref().map_or(Fingerprint::NONE, |value| value.fingerprint)
    }
}

fn default_message(pattern: &str, latest: &Match<'_>) -> String {
    let Match { count, took, by, .. } = latest;
    let value = by.map(|by| format!(" for {by}")).unwrap_or_default();
    let pattern = quote(pattern);
    match count {
        1 => format!("{pattern} matched{value} in {}", Elapsed(*took)),
        n => format!("{pattern} matched {n} times{value}, the last in {}", Elapsed(*took)),
    }
}

impl MatchEvent {
    pub(crate) fn of(event: &Event, call: Option<&Call>) -> Self {
        let (tool, class) = match &event.kind {
            EventKind::ToolCall(call) => (Some(&call.tool), Some(call.class)),
            _ => (call.map(|call| &call.tool), call.map(|call| call.class)),
        };
        Self { event: event.kind.name(), tool: tool.cloned(), class }
    }
}
