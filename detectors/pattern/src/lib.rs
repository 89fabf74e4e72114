#![doc = include_str!("../README.md")]

mod automaton;
mod message;
mod parse;
mod predicates;
#[cfg(test)]
mod tests;

use std::{
    borrow::Cow,
    collections::{BTreeMap, VecDeque},
    fmt,
    sync::Arc,
};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de};
use serde_json::value::RawValue;
use watchkeeper_core::{
    Call, Context, Detector, DetectorKind, Elapsed, Event, EventKind, Evidence, Fingerprint,
    InvalidOption, Json, Period, Report, Timestamp, quote,
};

use crate::{
    automaton::{Automaton, Runs},
    message::{End, Told},
    predicates::EventName,
};
pub use crate::{message::Message, predicates::Symbol};

/// The most symbols of one pattern: one bit each.
const MAX_SYMBOLS: usize = 64;
/// How many values of `by` are watched at once; of more, the one that has been
/// quiet longest is forgotten.
const MAX_VALUES: usize = 64;
/// How many calls are remembered until their results come.
const MAX_CALLS: usize = 64;

/// Finds sequences of events that a policy describes.
#[derive(Clone, Debug)]
pub struct Pattern {
    program: Arc<Program>,
    /// For each value of `by` whose runs have begun or whose matches are told
    /// of; the one that has been quiet longest first.
    matchers: Vec<Matcher>,
    /// Calls whose results are to come, oldest first.
    calls: VecDeque<KnownCall>,
    /// The answer of the model that was told of last.
    answer: Option<Answer>,
    /// How many events satisfied a symbol of the pattern.
    n_events: u64,
}

/// The options of `kind = "pattern"`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PatternOptions {
    /// What the names in the pattern stand for.
    symbols: BTreeMap<String, Symbol>,
    /// A regular expression over the names of symbols, which spaces part:
    /// `? * + {m,n} | ( )`.
    pattern: String,
    /// How long a whole match may take; without it, however long.
    within: Option<Period>,
    /// Each value of this field is watched by itself.
    by: Option<By>,
    /// The symbols and events at which what has begun is forgotten.
    #[serde(default)]
    resets_on: Vec<String>,
    /// What a finding says.
    message: Option<Message>,
}

/// A field whose values are told apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum By {
    /// The tool of a call and of its result.
    Tool,
    /// The class of that tool.
    Class,
    /// The model that answered.
    Model,
    /// An argument of a call, by its key; its result has the same.
    Argument(String),
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
            answer: None,
            n_events: 0,
        })
    }
}

/// What all clones share: the options, as they are used.
#[derive(Debug)]
struct Program {
    symbols: Vec<Symbol>,
    pattern: String,
    automaton: Automaton,
    within: Option<Period>,
    by: Option<By>,
    resets_on: Resets,
    message: Option<Message>,
    /// The kinds of events that any of this is about, as bits.
    events: u16,
    /// The keys of arguments that matter.
    argument_keys: Vec<String>,
    /// Whether results are asked about the arguments of their calls.
    follows_calls: bool,
}

/// What makes the runs begin anew.
#[derive(Debug, Default)]
struct Resets {
    symbols: u64,
    events: u16,
}

impl Program {
    fn new(options: PatternOptions) -> Result<Self, InvalidOption> {
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
                "`{unused}` is used neither in `pattern` nor in `resets_on`; use it or take it out"
            );
            return Err(InvalidOption::new("symbols", reason).entry(*unused));
        }
        let symbols: Vec<Symbol> = symbols.into_values().collect();
        if let Some(by) = &by {
            let begins = bits(automaton.first_symbols());
            if begins.fold(0, |events, it| events | symbols[it].events()) & by.events() == 0 {
                let reason = format!(
                    "no symbol that a match begins with has `{by}`, so none begins; begin with a \
                     symbol that has it, or leave `by` out"
                );
                return Err(InvalidOption::new("by", reason));
            }
        } else if message.as_ref().is_some_and(Message::tells_by) {
            let reason = "`{by}` is unknown without `by`; add that, or take it out";
            return Err(InvalidOption::new("message", reason));
        }
        let argument_keys = symbols.iter().flat_map(Symbol::argument_keys);
        let mut argument_keys: Vec<String> = argument_keys.map(ToOwned::to_owned).collect();
        argument_keys.extend(by.as_ref().and_then(By::argument).map(ToOwned::to_owned));
        argument_keys.sort();
        argument_keys.dedup();
        let mut events = symbols.iter().fold(resets_on.events, |bits, it| bits | it.events());
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
        })
    }

    /// Whether nothing but a person ends what has been found.
    fn ends_at_prompt(&self) -> bool {
        self.within.is_none() && self.resets_on.symbols == 0 && self.resets_on.events == 0
    }
}

fn check_names(symbols: &BTreeMap<String, Symbol>) -> Result<(), InvalidOption> {
    let refuse = |reason: String| Err(InvalidOption::new("symbols", reason));
    if symbols.is_empty() {
        return refuse(r#"name at least one, as in `symbols.F = { event = "error" }`"#.to_owned());
    }
    if MAX_SYMBOLS < symbols.len() {
        return refuse(format!(
            "there are {}, and {MAX_SYMBOLS} are the most; a symbol may name several events, \
             tools and texts",
            symbols.len()
        ));
    }
    for name in symbols.keys() {
        let starts_well = name.starts_with(|c: char| c.is_ascii_alphabetic());
        if !starts_well || !name.chars().all(parse::is_name) {
            let reason = format!(
                "`{name}` cannot stand in a pattern; name it with ASCII letters, digits and `_`, a \
                 letter first"
            );
            return refuse(reason).map_err(|err| err.entry(name));
        }
        if EventName::ALL.iter().any(|it| it.0 == name) {
            let reason = format!("`{name}` is the name of an event; name the symbol otherwise");
            return refuse(reason).map_err(|err| err.entry(name));
        }
    }
    Ok(())
}

impl Resets {
    fn new(names: &[String], symbols: &[&str]) -> Result<Self, InvalidOption> {
        let mut res = Self::default();
        for name in names {
            if let Some(idx) = symbols.iter().position(|it| it == name) {
                res.symbols |= 1 << idx;
            } else if let Some((_, event)) = EventName::ALL.iter().find(|it| it.0 == name) {
                res.events |= event.bit();
            } else {
                let known = symbols.iter().copied().chain(EventName::ALL.iter().map(|it| it.0));
                let hint = match nearest(name, known) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => "name symbols of this detector, or events such as `prompt`".to_owned(),
                };
                let reason = format!("`{name}` is neither a symbol nor an event; {hint}");
                return Err(InvalidOption::new("resets_on", reason));
            }
        }
        Ok(res)
    }

    fn has(&self, event: &Event, symbols: u64) -> bool {
        // What the harness says in a person's name resets nothing.
        let is_synthetic = matches!(event.kind, EventKind::Prompt { synthetic: true, .. });
        let name = EventName::of(&event.kind).filter(|_| !is_synthetic);
        self.symbols & symbols != 0 || name.is_some_and(|it| self.events & it.bit() != 0)
    }
}

/// What the runs of one value of `by` have come to.
#[derive(Clone, Debug)]
struct Matcher {
    /// `None` without `by`.
    value: Option<Value>,
    /// `None` if none can go on.
    runs: Option<Runs>,
    /// The events that runs began at, oldest first; some of them no run needs.
    firsts: Vec<First>,
    found: Option<Found>,
}

/// A value of `by`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Value {
    fingerprint: Fingerprint,
    /// Quoted.
    shown: Box<str>,
}

/// An event that a run began at.
#[derive(Clone, Debug)]
struct First {
    n: u64,
    at: Timestamp,
    end: End,
    evidence: Option<Evidence>,
}

/// The matches that a finding is about.
#[derive(Clone, Copy, Debug)]
struct Found {
    count: u64,
    last_at: Timestamp,
}

/// What is remembered of a call until its result comes.
#[derive(Clone, Debug)]
struct KnownCall {
    id: Fingerprint,
    /// The symbols whose arguments it has, as bits.
    fits: u64,
    value: Option<Value>,
}

/// An answer of the model, which may be told again with more to it.
#[derive(Clone, Copy, Debug)]
struct Answer {
    id: Fingerprint,
    /// The symbols that it has satisfied so far.
    symbols: u64,
}

/// Whose matchers an event is for.
#[derive(Debug)]
enum Addressee {
    /// It has no value: every one.
    All,
    /// The one of its value.
    Of(Value),
    /// Its value is not known: none.
    Nobody,
}

impl Detector for Pattern {
    fn observe(&mut self, event: &Event, cx: &mut Context<'_>) {
        let program = Arc::clone(&self.program);
        if program.ends_at_prompt()
            && matches!(event.kind, EventKind::Prompt { synthetic: false, .. })
        {
            self.end(cx, "a person spoke", |_| true);
        }
        if EventName::of(&event.kind).is_none_or(|it| program.events & it.bit() == 0) {
            return;
        }
        let (symbols, addressee) = self.read(event, cx);
        if program.resets_on.has(event, symbols) {
            let is_addressed = |it: &Matcher| addressee.is(it.value.as_ref());
            self.end(cx, &format!("reset by {}", event.kind.name()), is_addressed);
            self.matchers.retain(|it| !is_addressed(it));
        }
        let symbols = symbols & program.automaton.symbols();
        if symbols != 0 {
            self.step(symbols, addressee, event, cx);
        }
        self.matchers.retain(|it| it.runs.is_some() || it.found.is_some());
        self.ask_to_be_woken(cx);
    }

    fn wake(&mut self, cx: &mut Context<'_>) {
        if let Some(within) = self.program.within {
            let now = cx.now();
            let is_due = |it: &Found| within.get() <= now.duration_since(it.last_at);
            self.end(cx, &format!("none in {within}"), |it| it.found.as_ref().is_some_and(is_due));
        }
        self.matchers.retain(|it| it.runs.is_some() || it.found.is_some());
        self.ask_to_be_woken(cx);
    }
}

impl Pattern {
    /// The symbols that an event satisfies, as bits, and whom it is for.
    fn read(&mut self, event: &Event, cx: &Context<'_>) -> (u64, Addressee) {
        let program = &*self.program;
        let (fits, by_argument) = match &event.kind {
            EventKind::ToolCall(call) if !program.argument_keys.is_empty() => {
                let arguments = Arguments::read(&call.arguments, &program.argument_keys);
                let fits = program.fits(&arguments);
                let key = program.by.as_ref().and_then(By::argument);
                let value = key.and_then(|key| arguments.0.get(key)).map(|it| Value::new(it));
                if program.follows_calls {
                    if self.calls.len() == MAX_CALLS {
                        self.calls.pop_front();
                    }
                    let id = id(event, &call.id);
                    self.calls.push_back(KnownCall { id, fits, value: value.clone() });
                }
                (fits, Addressee::having(value))
            }
            EventKind::ToolResult(result) if program.follows_calls => {
                let id = id(event, &result.id);
                let known = self.calls.iter().rposition(|it| it.id == id);
                match known.and_then(|it| self.calls.remove(it)) {
                    Some(it) => (it.fits, Addressee::having(it.value)),
                    None => (program.fits(&Arguments::default()), Addressee::Nobody),
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
            let id = call.id.as_deref().map(|it| id(event, it));
            symbols = self.untold(symbols, id, cx.usage().is_some_and(|it| it.replaces));
        }
        (symbols, addressee)
    }

    /// What is new about an answer of the model that may have been told of
    /// before.
    fn untold(&mut self, symbols: u64, id: Option<Fingerprint>, is_told_again: bool) -> u64 {
        if !is_told_again {
            self.answer = id.map(|id| Answer { id, symbols });
            return symbols;
        }
        let Some(answer) = self.answer.as_mut().filter(|it| Some(it.id) == id) else { return 0 };
        let res = symbols & !answer.symbols;
        answer.symbols |= symbols;
        res
    }

    fn step(&mut self, symbols: u64, addressee: Addressee, event: &Event, cx: &mut Context<'_>) {
        let program = Arc::clone(&self.program);
        self.n_events += 1;
        let begins = symbols & program.automaton.first_symbols() != 0;
        let begins_at = if begins { self.n_events } else { 0 };
        let end = End::of(event, cx.call());
        let value = match addressee {
            Addressee::Nobody => return,
            Addressee::All if program.by.is_some() => {
                // Only an event that has a value begins a match.
                for matcher in &mut self.matchers {
                    matcher.step(&program, symbols, (self.n_events, 0), &end, cx);
                }
                return;
            }
            Addressee::All => None,
            Addressee::Of(value) => Some(value),
        };
        let known = self.matchers.iter().position(|it| it.value == value);
        let mut matcher = match known {
            Some(idx) => self.matchers.remove(idx),
            None if !begins => return,
            None => {
                if self.matchers.len() == MAX_VALUES {
                    let why = format!("there are more than {MAX_VALUES} others");
                    self.matchers.remove(0).end(cx, &why);
                }
                Matcher { value, runs: None, firsts: Vec::new(), found: None }
            }
        };
        matcher.step(&program, symbols, (self.n_events, begins_at), &end, cx);
        self.matchers.push(matcher);
    }

    fn end(&mut self, cx: &mut Context<'_>, why: &str, is_over: impl Fn(&Matcher) -> bool) {
        self.matchers.iter_mut().filter(|it| is_over(it)).for_each(|it| it.end(cx, why));
    }

    fn ask_to_be_woken(&self, cx: &mut Context<'_>) {
        let Some(within) = self.program.within else { return };
        let last_at = self.matchers.iter().filter_map(|it| it.found).map(|it| it.last_at).min();
        match last_at.and_then(|it| it.checked_add(within.get()).ok()) {
            Some(at) => cx.wake_at(at),
            None => cx.cancel_wake(),
        }
    }
}

impl Matcher {
    /// Takes in the event of number `n`; a run begins with it if `begins_at`
    /// is that number and not 0.
    fn step(
        &mut self,
        program: &Program,
        symbols: u64,
        (n, begins_at): (u64, u64),
        end: &End,
        cx: &mut Context<'_>,
    ) {
        if self.runs.is_none() && begins_at == 0 {
            return;
        }
        let now = cx.now();
        if let Some(within) = program.within {
            let is_late = |it: &First| within.get() < now.duration_since(it.at);
            self.firsts.drain(..self.firsts.partition_point(is_late));
        }
        let oldest = self.firsts.first().map_or(n, |it| it.n);
        if begins_at != 0 {
            self.firsts.push(First { n, at: now, end: end.clone(), evidence: cx.evidence() });
        }
        let runs = self.runs.get_or_insert_with(|| Runs::new(&program.automaton));
        let complete = runs.step(&program.automaton, symbols, begins_at, oldest);
        let first = complete.and_then(|n| {
            let idx = self.firsts.binary_search_by_key(&n, |it| it.n).ok()?;
            self.firsts.get(idx).cloned()
        });
        if runs.is_empty() {
            self.runs = None;
            self.firsts = Vec::new();
        } else if program.automaton.n_nodes() < self.firsts.len() {
            let beginnings = runs.beginnings();
            self.firsts.retain(|it| beginnings.binary_search(&it.n).is_ok());
        }
        if let Some(first) = first {
            let count = 1 + self.found.map_or(0, |it| it.count);
            self.found = Some(Found { count, last_at: now });
            // A match of one event has that one for evidence, and it is added anyway.
            let first = First { evidence: first.evidence.filter(|_| first.n != n), ..first };
            self.raise(program, first, end, cx);
        }
    }

    fn raise(&self, program: &Program, first: First, last: &End, cx: &mut Context<'_>) {
        let Some(Found { count, last_at }) = self.found else { return };
        let by = self.value.as_ref().map(|it| &*it.shown);
        let took = last_at.duration_since(first.at);
        let told = Told { count, took, by, first: &first.end, last };
        let message = program.message.as_ref().map(|it| it.render(&told, cx.session()));
        cx.report(self.subject(), count, || {
            let message = message.unwrap_or_else(|| usual_message(&program.pattern, &told));
            let mut res = Report::new(message).with("matches", count);
            if let Some(by) = by {
                res = res.with("by", by.trim_matches('`'));
            }
            if let Some(tool) = &last.tool {
                res = res.with("tool", quote(tool).trim_matches('`'));
            }
            res.since(first.evidence)
        });
    }

    /// Says that what was found is over.
    fn end(&mut self, cx: &mut Context<'_>, why: &str) {
        let Some(Found { count, .. }) = self.found.take() else { return };
        cx.resolve(self.subject(), || {
            let times = times(count);
            let of = self.value.as_ref().map(|it| format!(" for {}", it.shown));
            let of = of.unwrap_or_default();
            Report::new(format!("no more after {times}{of}: {why}")).with("matches", count)
        });
    }

    fn subject(&self) -> Fingerprint {
        self.value.as_ref().map_or(Fingerprint::NONE, |it| it.fingerprint)
    }
}

fn usual_message(pattern: &str, told: &Told<'_>) -> String {
    let Told { count, took, by, .. } = told;
    let of = by.map(|it| format!(" for {it}")).unwrap_or_default();
    let pattern = quote(pattern);
    match count {
        1 => format!("{pattern} happened{of}, in {}", Elapsed(*took)),
        n => format!("{pattern} happened {n} times{of}, the last in {}", Elapsed(*took)),
    }
}

fn times(n: u64) -> String {
    if n == 1 { "1 match".to_owned() } else { format!("{n} matches") }
}

impl Program {
    /// The symbols that ask for arguments such as these, or for none, as bits.
    fn fits(&self, arguments: &Arguments<'_>) -> u64 {
        let symbols = self.symbols.iter().enumerate();
        symbols.fold(0, |bits, (idx, it)| bits | u64::from(it.fits_arguments(&arguments.0)) << idx)
    }

    /// Whom an event is for.
    fn addressee(&self, event: &Event, call: Option<&Call>, by_argument: Addressee) -> Addressee {
        let known =
            |it: Option<&str>| it.map_or(Addressee::Nobody, |it| Addressee::Of(Value::new(it)));
        match (&self.by, &event.kind) {
            (Some(By::Tool), EventKind::ToolCall(it)) => known(Some(&it.tool)),
            (Some(By::Tool), EventKind::ToolResult(_)) => known(call.map(|it| &*it.tool)),
            (Some(By::Class), EventKind::ToolCall(it)) => known(Some(it.class.name())),
            (Some(By::Class), EventKind::ToolResult(_)) => known(call.map(|it| it.class.name())),
            (Some(By::Model), EventKind::ModelCall(it)) => known(it.model.as_deref()),
            (Some(By::Argument(_)), _) => by_argument,
            _ => Addressee::All,
        }
    }
}

impl Addressee {
    fn having(value: Option<Value>) -> Self {
        value.map_or(Self::All, Self::Of)
    }

    fn is(&self, value: Option<&Value>) -> bool {
        match self {
            Self::All => true,
            Self::Of(it) => Some(it) == value,
            Self::Nobody => false,
        }
    }
}

impl Value {
    fn new(text: &str) -> Self {
        Self { fingerprint: Fingerprint::of(text), shown: quote(text).into() }
    }
}

impl End {
    fn of(event: &Event, call: Option<&Call>) -> Self {
        let (tool, class) = match &event.kind {
            EventKind::ToolCall(it) => (Some(&it.tool), Some(it.class)),
            _ => (call.map(|it| &it.tool), call.map(|it| it.class)),
        };
        Self { event: event.kind.name(), tool: tool.cloned(), class }
    }
}

/// What makes two ids the same, though sessions share a stream.
fn id(event: &Event, id: &str) -> Fingerprint {
    let agent = event.agent.as_ref().map_or(Fingerprint::NONE, |it| Fingerprint::of(it.as_str()));
    Fingerprint::of(event.session.as_str()).and(agent).and(Fingerprint::of(id))
}

/// Where the bits are.
fn bits(set: u64) -> impl Iterator<Item = usize> {
    (0..MAX_SYMBOLS).filter(move |it| set >> it & 1 == 1)
}

/// The name that another was most likely meant to be.
fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    const FARTHEST: usize = 3;
    // Of a name of one letter any other is as near.
    let len = name.chars().count();
    let far = FARTHEST.min(len.div_ceil(3)).min(len.saturating_sub(1));
    let distance = |it: &str| {
        if it.eq_ignore_ascii_case(name) { 0 } else { strsim::damerau_levenshtein(name, it) }
    };
    let near = known.map(|it| (distance(it), it)).filter(|it| it.0 <= far);
    near.min_by_key(|it| it.0).map(|it| it.1)
}

/// The arguments of a call that matter, as text.
#[derive(Debug, Default)]
struct Arguments<'a>(BTreeMap<&'a str, Cow<'a, str>>);

impl<'a> Arguments<'a> {
    /// Reads the arguments of these keys. What is no text is kept as its JSON
    /// is written; what is no object has none.
    fn read(json: &'a Json, keys: &'a [String]) -> Self {
        let mut deserializer = serde_json::Deserializer::from_str(json.as_str());
        deserializer.deserialize_map(ArgumentsVisitor { keys }).unwrap_or_default()
    }
}

struct ArgumentsVisitor<'a> {
    keys: &'a [String],
}

impl<'de> de::Visitor<'de> for ArgumentsVisitor<'de> {
    type Value = Arguments<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Arguments<'de>, A::Error> {
        let mut res = Arguments::default();
        while let Some(key) = map.next_key::<Cow<'_, str>>()? {
            let Some(key) = self.keys.iter().find(|it| **it == key) else {
                map.next_value::<de::IgnoredAny>()?;
                continue;
            };
            let json = map.next_value::<&RawValue>()?.get();
            // Half of a surrogate pair is JSON, and no text.
            let text = serde_json::from_str::<String>(json);
            res.0.insert(key, text.map_or(Cow::Borrowed(json), Cow::Owned));
        }
        Ok(res)
    }
}

impl By {
    fn argument(&self) -> Option<&str> {
        if let Self::Argument(key) = self { Some(key) } else { None }
    }

    /// The kinds of events that have it, as bits.
    fn events(&self) -> u16 {
        match self {
            Self::Tool | Self::Class | Self::Argument(_) => {
                EventName::ToolCall.bit() | EventName::ToolResult.bit()
            }
            Self::Model => EventName::ModelCall.bit(),
        }
    }
}

impl fmt::Display for By {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tool => f.write_str("tool"),
            Self::Class => f.write_str("class"),
            Self::Model => f.write_str("model"),
            Self::Argument(key) => write!(f, "arguments.{key}"),
        }
    }
}

impl<'de> Deserialize<'de> for By {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        return deserializer.deserialize_str(Visitor);

        struct Visitor;

        impl de::Visitor<'_> for Visitor {
            type Value = By;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(
                    r#""tool", "class", "model" or an argument such as "arguments.file_path""#,
                )
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<By, E> {
                match (text, text.strip_prefix("arguments.")) {
                    ("tool", _) => Ok(By::Tool),
                    ("class", _) => Ok(By::Class),
                    ("model", _) => Ok(By::Model),
                    (_, Some(key)) if !key.is_empty() => Ok(By::Argument(key.to_owned())),
                    _ => Err(E::invalid_value(de::Unexpected::Str(text), &self)),
                }
            }
        }
    }
}

impl JsonSchema for By {
    fn schema_name() -> Cow<'static, str> {
        "By".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "A field whose values are told apart.",
            "anyOf": [
                { "enum": ["tool", "class", "model"] },
                { "pattern": r"^arguments\..+" },
            ],
        })
    }
}
