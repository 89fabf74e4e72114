//! The options in the form used for matching.

use std::collections::BTreeMap;

use watchkeeper_core::{
    Event, EventKind, InvalidOption,
    author::{Call, Period},
};

use crate::{
    addressee::{Addressee, Value},
    arguments::Arguments,
    automaton::Automaton,
    by::By,
    event_name::EventName,
    message::Message,
    nearest::nearest,
    options::PatternOptions,
    parse,
    symbol::Symbol,
};

/// The largest number of symbols in one pattern: one bit each.
const MAX_SYMBOLS: usize = 64;

/// The compiled options, shared by all streams.
#[derive(Debug)]
pub(crate) struct Program {
    pub(crate) symbols: Vec<Symbol>,
    pub(crate) pattern: String,
    pub(crate) automaton: Automaton,
    pub(crate) within: Option<Period>,
    pub(crate) by: Option<By>,
    pub(crate) resets_on: Resets,
    pub(crate) message: Option<Message>,
    /// The kinds of events that the detector needs, as bits.
    pub(crate) events: u16,
    /// The keys of arguments that the symbols and `by` use.
    pub(crate) argument_keys: Vec<String>,
    /// True if results are matched by the arguments of their calls.
    pub(crate) follows_calls: bool,
    /// True if a symbol of the pattern requires the start or the end of a sub-agent.
    counts_agents: bool,
}

/// The symbols and events that reset the detector, as bits.
#[derive(Debug, Default)]
pub(crate) struct Resets {
    symbols: u64,
    events: u16,
}

impl Program {
    pub(crate) fn new(options: PatternOptions) -> Result<Self, InvalidOption> {
        let PatternOptions { symbols, pattern, within, by, resets_on, message } = options;
        check_names(&symbols)?;
        let names: Vec<&str> = symbols.keys().map(String::as_str).collect();
        let tree = parse::parse(&pattern, &names)
            .map_err(|err| InvalidOption::new("pattern", err.to_string()))?;
        let automaton = Automaton::new(&tree);
        let resets_on = Resets::new(&resets_on, &names)?;
        let used = automaton.symbols() | resets_on.symbols;
        if let Some((_, unused)) = (0..).zip(&names).find(|(idx, _)| used >> idx & 1 == 0) {
            let reason = format!(
                "`{unused}` is used neither in `pattern` nor in `resets_on`; use it or remove it"
            );
            return Err(InvalidOption::new("symbols", reason).entry(*unused));
        }
        let symbols: Vec<Symbol> = symbols.into_values().collect();
        if let Some(by) = &by {
            let first = bits(automaton.first_symbols());
            if first.fold(0, |events, idx| events | symbols[idx].events()) & by.events() == 0 {
                let reason = format!(
                    "no event that can start a match has the field `{by}`; start the pattern with \
                     a symbol that has the field, or remove `by`"
                );
                return Err(InvalidOption::new("by", reason));
            }
        } else if message.as_ref().is_some_and(Message::contains_by) {
            let reason = "`{by}` requires the option `by`; add the option or remove `{by}`";
            return Err(InvalidOption::new("message", reason));
        }
        let argument_keys = symbols.iter().flat_map(Symbol::argument_keys);
        let mut argument_keys: Vec<String> = argument_keys.map(ToOwned::to_owned).collect();
        argument_keys.extend(by.as_ref().and_then(By::argument).map(ToOwned::to_owned));
        argument_keys.sort();
        argument_keys.dedup();
        let mut events =
            symbols.iter().fold(resets_on.events, |bits, symbol| bits | symbol.events());
        let agents = EventName::AgentStart.bit() | EventName::AgentEnd.bit();
        let counts_agents = bits(automaton.symbols()).any(|idx| symbols[idx].requires(agents));
        let follows_calls = !argument_keys.is_empty() && events & EventName::ToolResult.bit() != 0;
        if follows_calls {
            events |= EventName::ToolCall.bit();
        }
        Ok(Self {
            symbols,
            pattern,
            automaton,
            within,
            by,
            resets_on,
            message,
            events,
            argument_keys,
            follows_calls,
            counts_agents,
        })
    }

    /// Returns true if the stream is the session: a sub-agent starts and ends once, so
    /// these events repeat only among all agents of a session.
    pub(crate) fn counts_agents(&self) -> bool {
        self.counts_agents
    }

    /// Returns true if findings are resolved by a prompt of a person, because
    /// there is neither `within` nor `resets_on`.
    pub(crate) fn ends_at_prompt(&self) -> bool {
        self.within.is_none() && self.resets_on.symbols == 0 && self.resets_on.events == 0
    }
}

fn check_names(symbols: &BTreeMap<String, Symbol>) -> Result<(), InvalidOption> {
    let invalid = |reason: String| Err(InvalidOption::new("symbols", reason));
    if symbols.is_empty() {
        return invalid(r#"name at least one, as in `symbols.F = { event = "error" }`"#.to_owned());
    }
    if MAX_SYMBOLS < symbols.len() {
        return invalid(format!(
            "{} symbols, the maximum is {MAX_SYMBOLS}; combine events, tools and texts in one \
             symbol",
            symbols.len()
        ));
    }
    for name in symbols.keys() {
        let starts_well = name.starts_with(|c: char| c.is_ascii_alphabetic());
        if !starts_well || !name.chars().all(parse::is_name) {
            let reason = format!(
                "`{name}` is not a valid name; use ASCII letters, digits and `_`, starting with a \
                 letter"
            );
            return invalid(reason).map_err(|err| err.entry(name));
        }
        if EventName::ALL.iter().any(|(event, _)| event == name) {
            let reason = format!("`{name}` is the name of an event; use another name");
            return invalid(reason).map_err(|err| err.entry(name));
        }
    }
    Ok(())
}

impl Resets {
    fn new(names: &[String], symbols: &[&str]) -> Result<Self, InvalidOption> {
        let mut resets = Self::default();
        for name in names {
            if let Some(idx) = symbols.iter().position(|symbol| symbol == name) {
                resets.symbols |= 1 << idx;
            } else if let Some((_, event)) = EventName::ALL.iter().find(|(event, _)| event == name)
            {
                resets.events |= event.bit();
            } else {
                let events = EventName::ALL.iter().map(|(event, _)| *event);
                let hint = match nearest(name, symbols.iter().copied().chain(events)) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => "use symbols of this detector, or events such as `prompt`".to_owned(),
                };
                let reason = format!("`{name}` is neither a symbol nor an event; {hint}");
                return Err(InvalidOption::new("resets_on", reason));
            }
        }
        Ok(resets)
    }

    /// Returns true if an event that satisfies `symbols` resets the detector.
    /// `is_prompt` is true for a prompt of a person.
    pub(crate) fn contains(&self, event: &Event, symbols: u64, is_prompt: bool) -> bool {
        // A prompt that the harness generated is not the event `prompt`.
        let name = EventName::of(&event.kind);
        let name = name.filter(|name| *name != EventName::Prompt || is_prompt);
        self.symbols & symbols != 0 || name.is_some_and(|name| self.events & name.bit() != 0)
    }
}

impl Program {
    /// Returns the symbols that these arguments satisfy, as bits. Symbols
    /// without arguments are always included.
    pub(crate) fn fits(&self, arguments: &Arguments<'_>) -> u64 {
        let symbols = self.symbols.iter().enumerate();
        symbols.fold(0, |bits, (idx, symbol)| {
            bits | u64::from(symbol.fits_arguments(&arguments.0)) << idx
        })
    }

    /// Returns the matchers that receive an event. `by_argument` is the result
    /// for `by = "arguments.…"`.
    pub(crate) fn addressee(
        &self,
        event: &Event,
        call: Option<&Call>,
        by_argument: Addressee,
    ) -> Addressee {
        let of = |text: Option<&str>| {
            text.map_or(Addressee::None, |text| Addressee::Value(Value::new(text)))
        };
        match (&self.by, &event.kind) {
            (Some(By::Tool), EventKind::ToolCall(call)) => of(Some(&call.tool)),
            (Some(By::Tool), EventKind::ToolResult(_)) => of(call.map(|call| &*call.tool)),
            (Some(By::Class), EventKind::ToolCall(call)) => of(Some(call.class.name())),
            (Some(By::Class), EventKind::ToolResult(_)) => of(call.map(|call| call.class.name())),
            (Some(By::Model), EventKind::ModelCall(call)) => of(call.model.as_deref()),
            (Some(By::Argument(_)), _) => by_argument,
            _ => Addressee::All,
        }
    }
}

/// Returns the indexes of the bits that are set.
fn bits(set: u64) -> impl Iterator<Item = usize> {
    (0..MAX_SYMBOLS).filter(move |it| set >> it & 1 == 1)
}
