//! The laws that every detector must satisfy.
//!
//! | law | requirement |
//! | --- | --- |
//! | total | no trace makes the detector panic |
//! | deterministic | the same trace gives the same findings: in every run, in a second engine at the same time, and from a second detector with the same options |
//! | punctual | advancing the engine's clock between two events changes no finding |
//! | isolated | events of other sessions change no finding |
//! | legible | a message is one short line without a full stop, and safe for a terminal |
//! | bounded | the state stops growing, and contains no long text of the stream |
//! | subscribed | events outside the [`Subscription`](watchkeeper_core::Subscription) change neither state nor findings |
//! | resettable | the state of an idle detector equals that of a new one |
//! | explainable | explaining a session changes no finding: report closures have no side effects |
//!
//! [`check`] tries random traces. They contain the strings of the detector's
//! options as names of tools, arguments and texts, so many detectors report
//! something with no further help. A run in which the detector reported nothing
//! has proved nothing and fails; [`Laws::traces`] then takes a trace that makes the
//! detector report. Traces are also repeated many times, mixed with other events,
//! and filled with hostile text:
//!
//! ```no_run
//! use watchkeeper_testing::laws;
//! # use watchkeeper_core::*;
//! # #[derive(Clone, Debug)] struct BannedTool;
//! # impl Detector for BannedTool { fn observe(&mut self, _: &Event, _: &mut Context<'_>) {} }
//! # impl DetectorKind for BannedTool {
//! #     const KIND: &'static str = "";
//! #     const DOCS: &'static str = "";
//! #     const CLASS: &'static str = "";
//! #     type Options = ();
//! #     fn new((): ()) -> Result<Self, InvalidOption> { Ok(Self) }
//! # }
//!
//! laws::of::<BannedTool>("tools = ['WebFetch']")
//!     .arguments([r#"{"url": "https://example.com"}"#])
//!     .traces(["0s call WebFetch {\"url\": \"https://example.com\"}"])
//!     .check();
//! ```
//!
//! # Environment variables
//!
//! * `PROPTEST_CASES`: the number of random traces, 96 by default.
//! * `PROPTEST_RNG_SEED`: the seed of the random traces. A failure prints its seed.
//!
//! # Limits
//!
//! The state of a detector is its [`Debug`](std::fmt::Debug) output. Growth that a
//! hand-written `Debug` hides cannot be seen, so derive `Debug`. A clock that a
//! detector reads in whole hours can return the same hour in every run.

mod bounded;
mod minimize;
pub(crate) mod panics;
mod probe;
mod runs;
mod sweep;

use std::{cell::RefCell, fmt, rc::Rc, sync::Arc};

use jiff::SignedDuration;
use proptest::{
    collection::vec,
    strategy::{Strategy, ValueTree},
    test_runner::{Config, RngSeed, TestRunner},
};
use watchkeeper_core::{DetectorKind, Event, Json, embed::NamedDetector};

use self::runs::Subject;
use crate::{Step, Trace, arbitrary::Vocabulary, detector, hostile, manual};

/// A requirement that holds for every detector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Law {
    /// No trace makes the detector panic.
    Total,
    /// The same trace gives the same findings.
    Deterministic,
    /// Advancing the clock between two events changes no finding.
    Punctual,
    /// Events of other sessions change no finding.
    Isolated,
    /// A message is one short line without a full stop, and safe for a terminal.
    Legible,
    /// The state stops growing, and contains no long text of the stream.
    Bounded,
    /// Events outside the subscription change neither state nor findings.
    Subscribed,
    /// The state of an idle detector equals that of a new one.
    Resettable,
    /// Explaining a session changes no finding.
    Explainable,
}

impl Law {
    /// The name: an adjective.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Total => "total",
            Self::Deterministic => "deterministic",
            Self::Punctual => "punctual",
            Self::Isolated => "isolated",
            Self::Legible => "legible",
            Self::Bounded => "bounded",
            Self::Subscribed => "subscribed",
            Self::Resettable => "resettable",
            Self::Explainable => "explainable",
        }
    }

    /// The requirement, in one clause.
    const fn requirement(self) -> &'static str {
        match self {
            Self::Total => "no trace makes the detector panic",
            Self::Deterministic => "the same trace gives the same findings",
            Self::Punctual => "advancing the clock between two events changes no finding",
            Self::Isolated => "events of other sessions change no finding",
            Self::Legible => {
                "a message is one short line without a full stop, and safe for a terminal"
            }
            Self::Bounded => "the state stops growing, and contains no long text of the stream",
            Self::Subscribed => "events outside the subscription change neither state nor findings",
            Self::Resettable => "the state of an idle detector equals that of a new one",
            Self::Explainable => {
                "explaining a session changes no finding: report closures have no side effects"
            }
        }
    }
}

/// A failed check of the laws.
#[derive(Clone, Debug)]
pub struct Violation {
    detector: Arc<str>,
    law: Option<Law>,
    message: String,
    trace: Option<Trace>,
    /// A call of the check, up to its traces.
    code: Option<Arc<str>>,
    seed: u64,
    n_cases: u32,
}

impl Violation {
    /// The broken law; `None` if the run was vacuous.
    pub fn law(&self) -> Option<Law> {
        self.law
    }

    /// The shortest trace found that breaks the law; `None` for laws that need a
    /// very long trace, and for vacuous runs.
    pub fn trace(&self) -> Option<&Trace> {
        self.trace.as_ref()
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { detector, law, message, trace, code, seed, n_cases } = self;
        match law {
            Some(law) => {
                writeln!(f, "`{detector}` is not {}: {message}", law.name())?;
                writeln!(f, "\nthe law: {}", law.requirement())?;
            }
            None => writeln!(f, "`{detector}` {message}")?,
        }
        if let Some(trace) = trace {
            let trace = trace.to_string();
            writeln!(f, "\nthe shortest trace that shows it:\n\n{trace}")?;
            if let (Some(law), Some(code)) = (law, code) {
                let (name, fence) = (law.name(), fence(&trace));
                writeln!(f, "as a test:\n")?;
                writeln!(f, "    #[test]\n    fn is_{name}() {{")?;
                writeln!(f, "        {code}")?;
                writeln!(f, "            .traces([r{fence}\"\n{trace}\"{fence}])")?;
                writeln!(f, "            .check();\n    }}\n")?;
            }
        }
        if law.is_some() {
            let run = "cargo test";
            write!(
                f,
                "to repeat this run: PROPTEST_RNG_SEED={seed} PROPTEST_CASES={n_cases} {run}"
            )?;
        }
        Ok(())
    }
}

impl std::error::Error for Violation {}

/// Returns the number signs that a raw string needs around a text.
fn fence(text: &str) -> String {
    (1..).map(|n| "#".repeat(n)).find(|it| !text.contains(&format!("\"{it}"))).unwrap_or_default()
}

/// Checks the laws and the manual of one kind of detector, with these options.
///
/// Short for `laws::of::<D>(options).check()`.
///
/// # Panics
///
/// If the detector breaks a law, if no trace makes it report anything, or if its
/// manual has a [problem](crate::manual). The message contains the shortest trace.
#[track_caller]
pub fn check<D: DetectorKind>(options: &str) {
    of::<D>(options).check();
}

/// Checks the laws for a detector of a policy; see [`of_detector`].
#[track_caller]
pub fn check_detector(detector: &NamedDetector) {
    of_detector(detector).check();
}

/// Prepares a check of one kind of detector. `options` are the detector's own keys
/// in a policy, as TOML.
#[track_caller]
pub fn of<D: DetectorKind>(options: &str) -> Laws {
    let pristine = detector::<D>(options);
    let kind = std::any::type_name::<D>().rsplit("::").next().unwrap_or_default();
    let fence = if options.is_empty() { String::new() } else { fence(options) };
    let raw = if options.is_empty() { "" } else { "r" };
    let options_text = options.to_owned();
    let mut laws = Laws::new(pristine, Rc::new(move || detector::<D>(&options_text)));
    laws.code = Some(format!("laws::of::<{kind}>({raw}{fence}\"{options}\"{fence})").into());
    laws.manual = Some(manual::check::<D>);
    laws.add_words(options);
    laws
}

/// Prepares a check of a detector of a policy. Its manual is not checked.
pub fn of_detector(detector: &NamedDetector) -> Laws {
    let copy = detector.clone();
    Laws::new(detector.clone(), Rc::new(move || copy.clone()))
}

/// A check of the laws, with the words that make the detector report something.
///
/// See the [module](self) for an example.
#[must_use = "nothing is checked before `check`"]
pub struct Laws {
    pristine: NamedDetector,
    fresh: Rc<dyn Fn() -> NamedDetector>,
    words: Vocabulary,
    /// The time after the last event that the author's traces need at most.
    tail: SignedDuration,
    may_be_silent: bool,
    code: Option<Arc<str>>,
    manual: Option<fn()>,
}

impl Laws {
    fn new(pristine: NamedDetector, fresh: Rc<dyn Fn() -> NamedDetector>) -> Self {
        let mut laws = Self {
            fresh,
            words: Vocabulary::default(),
            tail: SignedDuration::from_hours(12),
            may_be_silent: false,
            code: None,
            manual: None,
            pristine,
        };
        // The options are part of the state, as a rule.
        laws.add_words(&format!("{:?}", laws.pristine.detector));
        laws
    }

    /// Adds the names of tools that the detector looks for.
    pub fn tools<'a>(mut self, tools: impl IntoIterator<Item = &'a str>) -> Self {
        self.words.tools.extend(tools.into_iter().map(ToOwned::to_owned));
        self
    }

    /// Adds arguments of calls, as JSON or as plain text.
    pub fn arguments<'a>(mut self, arguments: impl IntoIterator<Item = &'a str>) -> Self {
        // Before those that come from the options, which are guesses.
        self.words.arguments.splice(..0, arguments.into_iter().map(ToOwned::to_owned));
        self
    }

    /// Adds texts of messages, prompts and results, and names of models.
    pub fn texts<'a>(mut self, texts: impl IntoIterator<Item = &'a str>) -> Self {
        self.words.texts.extend(texts.into_iter().map(ToOwned::to_owned));
        self
    }

    /// Adds traces, in the syntax of [`Trace`]: at least one that makes the detector
    /// report something.
    ///
    /// # Panics
    ///
    /// If a text is not a trace.
    #[track_caller]
    pub fn traces<'a>(mut self, traces: impl IntoIterator<Item = &'a str>) -> Self {
        for text in traces {
            let trace: Trace = match text.parse() {
                Ok(trace) => trace,
                Err(err) => panic!("invalid trace: {err}\n{text}"),
            };
            let events: Vec<Event> = trace.events().cloned().collect();
            if let (Some(last), Some(Step::Advance(end))) = (events.last(), trace.steps().last()) {
                self.tail = self.tail.max(end.duration_since(last.at));
            }
            if !events.is_empty() {
                self.words.traces.push(events);
            }
        }
        self
    }

    /// Accepts a detector that reports nothing in any trace: for a wrapper that hides
    /// every event, for example.
    pub fn allow_no_reports(mut self) -> Self {
        self.may_be_silent = true;
        self
    }

    /// Checks the laws.
    ///
    /// # Panics
    ///
    /// If the detector breaks a law, if no trace makes it report anything, or if its
    /// manual has a [problem](crate::manual).
    #[track_caller]
    pub fn check(self) {
        if let Some(check_manual) = self.manual {
            check_manual();
        }
        if let Err(violation) = self.find_violation() {
            panic!("{violation}");
        }
    }

    /// Returns the first violation of a law as an error. Does not check the manual.
    pub fn find_violation(&self) -> Result<(), Violation> {
        const DEFAULT_CASES: u32 = 96;
        let config = Config::default();
        let has_cases = std::env::var_os("PROPTEST_CASES").is_some();
        let n_cases = if has_cases { config.cases } else { DEFAULT_CASES };
        let seed = seed(&config);
        let subject =
            Subject { pristine: self.pristine.clone(), fresh: self.fresh.clone(), tail: self.tail };
        let violation = |broken: Broken| Violation {
            detector: self.pristine.id.clone(),
            law: broken.law,
            message: broken.message,
            trace: broken.events.map(Trace::from),
            code: self.code.clone(),
            seed,
            n_cases,
        };
        self.search(&subject, n_cases, seed).map_err(violation)
    }

    fn search(&self, subject: &Subject, n_cases: u32, seed: u64) -> Result<(), Broken> {
        let mut n_reports = 0;
        for trace in &self.words.traces {
            for ticks in [&[3][..], &[0, 2, 1]] {
                n_reports += examine(subject, trace, ticks)?;
            }
        }
        let config = Config {
            rng_seed: RngSeed::Fixed(seed),
            failure_persistence: None,
            ..Config::default()
        };
        let mut runner = TestRunner::new(config);
        let cases = (self.words.events(), vec(0..4_u8, 1..20));
        // The first case is tried again at the end, when time has passed.
        let mut first_case = None;
        let mut shortest_report: Option<Vec<Event>> = None;
        for _ in 0..n_cases {
            let case = cases.new_tree(&mut runner).map_err(|why| Broken {
                law: None,
                message: format!("was not checked: {why}"),
                events: None,
            })?;
            let (events, ticks) = case.current();
            let n = examine(subject, &events, &ticks)?;
            n_reports += n;
            if 0 < n {
                first_case.get_or_insert_with(|| events.clone());
                if shortest_report.as_ref().is_none_or(|it| events.len() < it.len()) {
                    shortest_report = Some(events);
                }
            }
        }
        if n_reports == 0 && !self.may_be_silent {
            return Err(self.vacuous(n_cases));
        }
        let mut traces = self.words.traces.clone();
        traces.retain(|trace| subject.reports(trace));
        if let Some(events) = shortest_report.filter(|_| traces.is_empty()) {
            let reports = |events: &[Event]| subject.reports(events);
            traces = self.with_own_arguments(minimize::remove_events(events, reports));
        }
        let earlier = first_case.map(|events| (subject.run(&events, &[]), events));
        for trace in &traces {
            sweep::check(subject, trace)?;
        }
        bounded::check(subject, &traces)?;
        if let Some((findings, events)) = earlier {
            subject.is_same_later(&findings, &events).map_err(|(law, message)| Broken {
                law: Some(law),
                message,
                events: Some(events),
            })?;
        }
        Ok(())
    }

    /// Returns the trace, and copies of it whose calls have other arguments.
    fn with_own_arguments(&self, trace: Vec<Event>) -> Vec<Vec<Event>> {
        const MAX_COPIES: usize = 4;
        let mut traces = vec![trace.clone()];
        for arguments in self.words.arguments.iter().take(MAX_COPIES) {
            let mut copy = trace.clone();
            let arguments = Json::parse_or_text(arguments).to_value();
            copy.iter_mut().for_each(|event| hostile::replace_arguments(event, &arguments));
            if !traces.contains(&copy) {
                traces.push(copy);
            }
        }
        traces
    }

    fn vacuous(&self, n_cases: u32) -> Broken {
        let given = match self.words.traces.len() {
            0 => format!("{n_cases} random traces"),
            n => format!("{n_cases} random traces and {n} of your own"),
        };
        let builder = match &self.code {
            Some(code) => code.to_string(),
            None => "laws::of_detector(&detector)".to_owned(),
        };
        let message = format!(
            "reported nothing in {given}, so the laws were not checked\n\n\
             Pass a trace that makes the detector report something, and the tools or arguments \
             that it looks for:\n\n    \
             {builder}\n        \
             .tools([\"WebFetch\"])\n        \
             .traces([\"0s call WebFetch {{}}\"])\n        \
             .check();"
        );
        Broken { law: None, message, events: None }
    }

    /// Uses the quoted strings of a text as names and arguments.
    fn add_words(&mut self, text: &str) {
        const MAX_WORDS: usize = 40;
        for word in quoted_strings(text) {
            // A glob becomes a text that matches.
            let word = word.replace('*', "x").replace('?', "y");
            let words = &mut self.words;
            if word.is_empty() || words.tools.contains(&word) || MAX_WORDS <= words.tools.len() {
                continue;
            }
            let value = serde_json::Value::from(word.as_str());
            for key in ["command", "file_path", "url"] {
                words.arguments.push(serde_json::json!({ key: value }).to_string());
            }
            words.texts.extend([word.clone(), format!("so {word} it is")]);
            words.tools.push(word);
        }
    }
}

/// Returns the strings in a text that stand between two quotation marks of one kind.
fn quoted_strings(text: &str) -> Vec<String> {
    const MAX_BYTES: usize = 200;
    let mut strings = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find(['"', '\'']) {
        let mark = &rest[start..=start];
        rest = &rest[start + 1..];
        let Some(end) = rest.find(mark) else { break };
        if end <= MAX_BYTES {
            strings.push(rest[..end].to_owned());
        }
        rest = &rest[end + 1..];
    }
    strings
}

/// Returns the seed from the environment, or else a random one.
fn seed(config: &Config) -> u64 {
    use std::hash::BuildHasher as _;
    match config.rng_seed {
        RngSeed::Fixed(seed) => seed,
        RngSeed::Random => std::hash::RandomState::new().hash_one(0) & 0xffff_ffff,
    }
}

/// A broken law before the report about it is complete.
pub(crate) struct Broken {
    law: Option<Law>,
    message: String,
    events: Option<Vec<Event>>,
}

/// Checks the laws for one trace. Returns the number of reports, or the shortest
/// trace that breaks the same law.
fn examine(subject: &Subject, events: &[Event], ticks: &[u8]) -> Result<usize, Broken> {
    let (law, message) = match subject.examine(events, ticks) {
        Ok(n_reports) => return Ok(n_reports),
        Err(broken) => broken,
    };
    let latest = RefCell::new(message);
    let events =
        minimize::minimize(events.to_vec(), |candidate| match subject.examine(candidate, ticks) {
            Err((other, message)) if other == law => {
                latest.replace(message);
                true
            }
            _ => false,
        });
    Err(Broken { law: Some(law), message: latest.into_inner(), events: Some(events) })
}
