#![doc = include_str!("../README.md")]

mod addressee;
mod arguments;
mod automaton;
mod by;
mod comparison;
mod event_name;
mod matcher;
mod message;
mod nearest;
mod options;
mod parse;
mod program;
mod regular_expression;
mod symbol;
#[cfg(test)]
mod tests;
mod text;

use std::{collections::VecDeque, sync::Arc};

use watchkeeper_core::{
    Context, Detector, DetectorKind, Event, EventKind, Fingerprint, InvalidOption, Subscription,
};

use crate::{
    addressee::{Addressee, Value},
    arguments::Arguments,
    event_name::EventName,
    matcher::Matcher,
    message::MatchEvent,
    program::Program,
};
pub use crate::{by::By, message::Message, options::PatternOptions, symbol::Symbol};

/// The largest number of values of `by` with a state of their own. The value
/// that has been inactive longest is dropped first.
const MAX_VALUES: usize = 64;
/// The largest number of calls without results that are kept.
const MAX_CALLS: usize = 64;

/// Finds sequences of events that a policy describes.
#[derive(Clone, Debug)]
pub struct Pattern {
    program: Arc<Program>,
    /// One matcher for each value of `by` with a started run or a reported
    /// match; the one that has been inactive longest first.
    matchers: Vec<Matcher>,
    /// Calls without results, oldest first.
    calls: VecDeque<PendingCall>,
    /// The latest model call.
    model_call: Option<LatestModelCall>,
    /// The number of events that satisfied a symbol of the pattern.
    n_events: u64,
}

watchkeeper_core::register!(Pattern);

impl DetectorKind for Pattern {
    const KIND: &'static str = "pattern";
    const DOCS: &'static str = include_str!("../README.md");
    const CLASS: &'static str = "pattern";
    type Options = PatternOptions;

    fn new(options: PatternOptions) -> Result<Self, InvalidOption> {
        let program = Arc::new(Program::new(options)?);
        Ok(Self {
            program,
            matchers: Vec::new(),
            calls: VecDeque::new(),
            model_call: None,
            n_events: 0,
        })
    }
}

/// A call without a result.
#[derive(Clone, Debug)]
struct PendingCall {
    id: Fingerprint,
    /// The symbols that its arguments satisfy, as bits.
    fits: u64,
    value: Option<Value>,
}

/// A model call, which may be recorded again with more usage.
#[derive(Clone, Copy, Debug)]
struct LatestModelCall {
    id: Fingerprint,
    /// The symbols that it has satisfied so far, as bits.
    symbols: u64,
}

impl Detector for Pattern {
    fn observe(&mut self, event: &Event, cx: &mut Context<'_>) {
        let program = Arc::clone(&self.program);
        // Only the main agent receives prompts of a person.
        let is_prompt = matches!(event.kind, EventKind::Prompt { synthetic: false, .. })
            && (event.agent.is_none() || !program.counts_agents());
        if program.ends_at_prompt() && is_prompt {
            self.resolve(cx, "a person sent a prompt", |_| true);
        }
        if EventName::of(&event.kind).is_none_or(|name| program.events & name.bit() == 0) {
            return;
        }
        let (symbols, addressee) = self.satisfied_symbols(event, cx);
        if program.resets_on.contains(event, symbols, is_prompt) {
            let is_addressed = |matcher: &Matcher| addressee.includes(matcher.value.as_ref());
            self.resolve(cx, &format!("reset by {}", event.kind.name()), is_addressed);
            self.matchers.retain(|matcher| !is_addressed(matcher));
        }
        let symbols = symbols & program.automaton.symbols();
        if symbols != 0 {
            self.step(symbols, addressee, event, cx);
        }
        self.matchers.retain(|matcher| !matcher.is_idle());
        self.request_wake_up(cx);
    }

    fn wake(&mut self, cx: &mut Context<'_>) {
        if let Some(within) = self.program.within {
            let now = cx.now();
            let is_due = |matcher: &Matcher| {
                matcher.last_match_at().is_some_and(|at| within.get() <= now.duration_since(at))
            };
            self.resolve(cx, &format!("none in {within}"), is_due);
        }
        self.matchers.retain(|matcher| !matcher.is_idle());
        self.request_wake_up(cx);
    }

    fn subscription(&self) -> Subscription {
        let all = Subscription::default();
        if self.program.counts_agents() { all.per_session() } else { all }
    }

    fn shared_memory(&self) -> usize {
        self.program.symbols.iter().map(Symbol::memory).sum()
    }
}

impl Pattern {
    /// Returns the symbols that an event satisfies, as bits, and the matchers
    /// that receive the event.
    fn satisfied_symbols(&mut self, event: &Event, cx: &Context<'_>) -> (u64, Addressee) {
        let program = &*self.program;
        let (fits, by_argument) = match &event.kind {
            EventKind::ToolCall(call) if !program.argument_keys.is_empty() => {
                let arguments = Arguments::read(&call.arguments, &program.argument_keys);
                let fits = program.fits(&arguments);
                let key = program.by.as_ref().and_then(By::argument);
                let value = key.and_then(|key| arguments.0.get(key)).map(|text| Value::new(text));
                if program.follows_calls {
                    if self.calls.len() == MAX_CALLS {
                        self.calls.pop_front();
                    }
                    let id = id(event, &call.id);
                    self.calls.push_back(PendingCall { id, fits, value: value.clone() });
                }
                (fits, Addressee::of_value(value))
            }
            EventKind::ToolResult(result) if program.follows_calls => {
                let id = id(event, &result.id);
                let pending = self.calls.iter().rposition(|call| call.id == id);
                match pending.and_then(|idx| self.calls.remove(idx)) {
                    Some(call) => (call.fits, Addressee::of_value(call.value)),
                    None => (program.fits(&Arguments::default()), Addressee::None),
                }
            }
            _ => (u64::MAX, Addressee::All),
        };
        let addressee = program.addressee(event, cx.call(), by_argument);
        let mut symbols = 0;
        for (idx, symbol) in program.symbols.iter().enumerate() {
            if fits >> idx & 1 == 1 && symbol.is_satisfied(event, cx.call()) {
                symbols |= 1 << idx;
            }
        }
        if let EventKind::ModelCall(call) = &event.kind {
            let id = call.id.as_deref().map(|call_id| id(event, call_id));
            let is_repeated = cx.usage().is_some_and(|usage| usage.replaces);
            symbols = self.new_symbols(symbols, id, is_repeated);
        }
        (symbols, addressee)
    }

    /// Returns the symbols that an earlier record of the same model call did
    /// not satisfy.
    fn new_symbols(&mut self, symbols: u64, id: Option<Fingerprint>, is_repeated: bool) -> u64 {
        if !is_repeated {
            self.model_call = id.map(|id| LatestModelCall { id, symbols });
            return symbols;
        }
        let Some(latest) = self.model_call.as_mut().filter(|latest| Some(latest.id) == id) else {
            return 0;
        };
        let new = symbols & !latest.symbols;
        latest.symbols |= symbols;
        new
    }

    fn step(&mut self, symbols: u64, addressee: Addressee, event: &Event, cx: &mut Context<'_>) {
        let program = Arc::clone(&self.program);
        self.n_events += 1;
        let starts = symbols & program.automaton.first_symbols() != 0;
        let starts_at = if starts { self.n_events } else { 0 };
        let event = MatchEvent::of(event, cx.call());
        let value = match addressee {
            Addressee::None => return,
            Addressee::All if program.by.is_some() => {
                // Only an event with a value starts a match.
                for matcher in &mut self.matchers {
                    matcher.step(&program, symbols, (self.n_events, 0), &event, cx);
                }
                return;
            }
            Addressee::All => None,
            Addressee::Value(value) => Some(value),
        };
        let known = self.matchers.iter().position(|matcher| matcher.value == value);
        let mut matcher = match known {
            Some(idx) => self.matchers.remove(idx),
            None if !starts => return,
            None => {
                if self.matchers.len() == MAX_VALUES {
                    let reason = format!("more than {MAX_VALUES} other values were active");
                    self.matchers.remove(0).resolve(cx, &reason);
                }
                Matcher::new(value)
            }
        };
        matcher.step(&program, symbols, (self.n_events, starts_at), &event, cx);
        self.matchers.push(matcher);
    }

    fn resolve(
        &mut self,
        cx: &mut Context<'_>,
        reason: &str,
        has_ended: impl Fn(&Matcher) -> bool,
    ) {
        for matcher in &mut self.matchers {
            if has_ended(matcher) {
                matcher.resolve(cx, reason);
            }
        }
    }

    fn request_wake_up(&self, cx: &mut Context<'_>) {
        let Some(within) = self.program.within else { return };
        let oldest = self.matchers.iter().filter_map(Matcher::last_match_at).min();
        match oldest.and_then(|at| at.checked_add(within.get()).ok()) {
            Some(at) => cx.wake_at(at),
            None => cx.cancel_wake(),
        }
    }
}

/// Returns an id that is unique across the sessions and agents of a stream.
fn id(event: &Event, id: &str) -> Fingerprint {
    let agent =
        event.agent.as_ref().map_or(Fingerprint::NONE, |agent| Fingerprint::of(agent.as_str()));
    Fingerprint::of(event.session.as_str()).and(agent).and(Fingerprint::of(id))
}
