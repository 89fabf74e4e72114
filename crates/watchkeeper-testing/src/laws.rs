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
//! | resettable | the state of an idle detector equals the state of a new one |
//! | explainable | explaining a session changes no finding: report closures have no side effects |
//!
//! [`check`] tries random traces. They contain the strings of the detector's
//! options as names of tools, arguments and texts, so many detectors report
//! something in them. A run without any report proves nothing, and fails: pass a
//! trace that makes the detector report something to [`Laws::traces`]. The check
//! also repeats traces many times, mixes them with other events, and puts hostile
//! text into them:
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
//! * `PROPTEST_CASES`: the number of random traces, 64 by default.
//! * `PROPTEST_RNG_SEED`: the seed of the random traces. A failure prints its seed.
//!
//! # Limits
//!
//! The state of a detector is its [`Debug`](std::fmt::Debug) output. A hand-written
//! `Debug` can hide growth, so derive `Debug`. If a detector reads the clock in
//! whole hours, every run can read the same hour.

mod bounded;
mod law;
mod minimize;
pub(crate) mod panics;
mod probe;
mod runs;
mod sweep;
mod violation;

use std::{cell::RefCell, rc::Rc, sync::Arc};

use jiff::SignedDuration;
use proptest::{
    collection::vec,
    strategy::{Strategy, ValueTree},
    test_runner::{Config, RngSeed, TestRunner},
};
use watchkeeper_core::{DetectorKind, Event, Json, embed::NamedDetector};

use self::{law::Broken, runs::Subject, violation::fence};
pub use self::{law::Law, violation::Violation};
use crate::{
    arbitrary::Vocabulary,
    hostile, manual,
    play::detector,
    trace::{Step, Trace},
};

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
    /// The time to play after the last event.
    tail: SignedDuration,
    allows_no_reports: bool,
    code: Option<Arc<str>>,
    manual: Option<fn()>,
}

impl Laws {
    fn new(pristine: NamedDetector, fresh: Rc<dyn Fn() -> NamedDetector>) -> Self {
        let mut laws = Self {
            fresh,
            words: Vocabulary::default(),
            tail: SignedDuration::from_hours(12),
            allows_no_reports: false,
            code: None,
            manual: None,
            pristine,
        };
        // The state of most detectors contains the options.
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
        // Arguments made from the options are guesses, so they come last.
        self.words.arguments.splice(..0, arguments.into_iter().map(ToOwned::to_owned));
        self
    }

    /// Adds texts of messages, prompts and results, and names of models.
    pub fn texts<'a>(mut self, texts: impl IntoIterator<Item = &'a str>) -> Self {
        self.words.texts.extend(texts.into_iter().map(ToOwned::to_owned));
        self
    }

    /// Adds traces, in the syntax of [`Trace`]. At least one should make the detector
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

    /// Accepts a detector that reports nothing in any trace, such as a wrapper that
    /// hides every event.
    pub fn allow_no_reports(mut self) -> Self {
        self.allows_no_reports = true;
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
        const DEFAULT_CASES: u32 = 64;
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
        // The first case runs again at the end, to find a detector that reads the clock.
        let mut first_case = None;
        let mut shortest_report: Option<Vec<Event>> = None;
        for _ in 0..n_cases {
            let case = cases.new_tree(&mut runner).map_err(|reason| Broken {
                law: None,
                message: format!("was not checked: {reason}"),
                events: None,
            })?;
            let (events, ticks) = case.current();
            let n = examine(subject, &events, &ticks)?;
            n_reports += n;
            if 0 < n {
                first_case.get_or_insert_with(|| events.clone());
                if shortest_report.as_ref().is_none_or(|shortest| events.len() < shortest.len()) {
                    shortest_report = Some(events);
                }
            }
        }
        if n_reports == 0 && !self.allows_no_reports {
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
            for event in &mut copy {
                hostile::replace_arguments(event, &arguments);
            }
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

/// Returns the quoted strings of a text, without their quotation marks.
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
