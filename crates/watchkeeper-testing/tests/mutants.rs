//! A table of broken detectors, each with the law that finds the fault.
//!
//! All are one realistic detector, whose option `fault` breaks it.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    fmt::Write as _,
    hash::{BuildHasher as _, RandomState},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use insta::assert_snapshot;
use schemars::JsonSchema;
use serde::Deserialize;
use watchkeeper_core::{
    Context, Detector, DetectorKind, Event, EventKind, EventSet, Fingerprint, InvalidOption, Level,
    Report, SessionId, Severity, SignedDuration, Subscription, quote,
};
use watchkeeper_testing::{
    laws::{self, Law, Law::*, Violation},
    play,
};

/// Finds agents that look up pages many times in a row.
#[derive(Clone, Debug)]
struct Lookups {
    options: Arc<LookupsOptions>,
    n_calls: u64,
    is_open: bool,
    // The fields below belong to faults.
    pages: Vec<Fingerprint>,
    recent: VecDeque<u64>,
    last_page: String,
    last_tool: Option<Fingerprint>,
    by_tool: HashMap<String, u64>,
    sessions: Arc<Mutex<BTreeSet<SessionId>>>,
}

#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct LookupsOptions {
    /// The names of the tools.
    tools: Vec<String>,
    /// The fault.
    #[serde(default)]
    fault: Fault,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Fault {
    #[default]
    None,
    NeverReports,
    Randomness,
    ReadsClock,
    GlobalCounter,
    CountsSessions,
    GrowingVec,
    GrowingVecAlwaysIdle,
    GrowingVecIdleByCount,
    GrowingDeque,
    GrowingDequeAlwaysIdle,
    GrowingText,
    SlicesText,
    SlicesLongText,
    NeedsUrl,
    PanicsAfter20Calls,
    PanicsInWake,
    ForgetsToReset,
    AlwaysIdle,
    NarrowStartEvents,
    NarrowEvents,
    TimerOnly,
    SideEffectInReport,
    SideEffectInNote,
    RawMessage,
    TwoLines,
    FullStop,
    LongMessage,
    EmptyMessage,
    KeepsText,
    HashMapOrder,
}

const DOCS: &str = "\
# acme-lookups

Finds agents that look up pages many times in a row.

## What it does

Counts lookups since the last prompt.

## Why it matters

An agent that only reads makes no progress.

## Example

```toml
[detectors.acme-lookups]
tools = [\"WebFetch\"]
```

## Options

`tools`: the names of the tools; `fault`: the fault.

## Levels

`at` counts lookups.

## Limits

None.
";

static N_CALLS: AtomicU64 = AtomicU64::new(0);

impl DetectorKind for Lookups {
    const KIND: &'static str = "acme-lookups";
    const DOCS: &'static str = DOCS;
    const CLASS: &'static str = "runaway";
    const LEVELS: &'static [Level] =
        &[Level::new(3, Severity::Low), Level::new(8, Severity::Medium)];
    type Options = LookupsOptions;

    fn new(options: LookupsOptions) -> Result<Self, InvalidOption> {
        let by_tool = options.tools.iter().map(|tool| (tool.clone(), 0)).collect();
        Ok(Self {
            options: Arc::new(options),
            n_calls: 0,
            is_open: false,
            pages: Vec::new(),
            recent: VecDeque::new(),
            last_page: String::new(),
            last_tool: None,
            by_tool,
            sessions: Arc::default(),
        })
    }
}

impl Detector for Lookups {
    fn observe(&mut self, event: &Event, cx: &mut Context<'_>) {
        match &event.kind {
            EventKind::Prompt { synthetic: false, .. } => self.reset(cx),
            EventKind::ToolCall(call) if self.options.tools.iter().any(|it| **it == *call.tool) => {
                let arguments = call.arguments.to_value();
                let url = arguments["url"].as_str().map(ToOwned::to_owned);
                self.lookup(event, &call.tool, url, cx);
            }
            _ => {}
        }
    }

    fn wake(&mut self, cx: &mut Context<'_>) {
        match self.options.fault {
            Fault::PanicsInWake => panic!("woken"),
            Fault::TimerOnly => {
                cx.report(Fingerprint::NONE, 9, || Report::new("no lookup for ten minutes"));
            }
            _ => self.reset(cx),
        }
    }

    fn subscription(&self) -> Subscription {
        const EVENTS: EventSet = EventSet::of(&["tool_call", "prompt"]);
        const CALLS: EventSet = EventSet::of(&["tool_call"]);
        const PROMPTS: EventSet = EventSet::of(&["prompt"]);
        let subscription = Subscription::to(EVENTS).starting_with(CALLS);
        match self.options.fault {
            Fault::NarrowStartEvents => subscription.starting_with(PROMPTS),
            Fault::NarrowEvents => Subscription::to(CALLS),
            // It would have to see the lookups before the wake-up.
            Fault::TimerOnly => Subscription::to(CALLS).timer_only(),
            _ => subscription,
        }
    }

    fn is_idle(&self) -> bool {
        match self.options.fault {
            Fault::GrowingVec | Fault::GrowingDeque => false,
            Fault::GrowingVecAlwaysIdle
            | Fault::GrowingDequeAlwaysIdle
            | Fault::AlwaysIdle
            | Fault::TimerOnly => true,
            _ => self.n_calls == 0,
        }
    }
}

impl Lookups {
    fn lookup(&mut self, event: &Event, tool: &str, url: Option<String>, cx: &mut Context<'_>) {
        if self.options.fault == Fault::TimerOnly {
            return cx.wake_after(SignedDuration::from_mins(10));
        }
        let page = url.clone().unwrap_or_default();
        self.n_calls += 1;
        let mut measure = self.n_calls;
        let mut message = format!("looked up {measure} pages, the last with {}", quote(tool));
        match self.options.fault {
            Fault::NeverReports => return,
            Fault::Randomness => measure += RandomState::new().hash_one(0) % 4,
            Fault::ReadsClock => {
                #[expect(clippy::disallowed_methods, reason = "this is the fault")]
                let now = std::time::SystemTime::now();
                write!(message, " at {now:?}").expect("a string takes text");
            }
            Fault::GlobalCounter => measure = N_CALLS.fetch_add(1, Ordering::Relaxed),
            Fault::CountsSessions => {
                let mut sessions = self.sessions.lock().expect("no thread panics here");
                sessions.insert(event.session.clone());
                measure += sessions.len() as u64 - 1;
            }
            Fault::GrowingVec | Fault::GrowingVecAlwaysIdle | Fault::GrowingVecIdleByCount => {
                self.pages.push(Fingerprint::of(&*page));
            }
            Fault::GrowingDeque | Fault::GrowingDequeAlwaysIdle => self.recent.push_back(1),
            Fault::GrowingText => self.last_page.push('x'),
            Fault::SlicesText => {
                write!(message, ": {}", quote(&page[..4])).expect("a string takes text");
            }
            Fault::SlicesLongText if 30 < page.len() => {
                write!(message, ": {}", quote(&page[..30])).expect("a string takes text");
            }
            Fault::NeedsUrl => assert!(url.is_some(), "a lookup has a page"),
            Fault::PanicsAfter20Calls => assert!(self.n_calls < 20, "too many"),
            Fault::ForgetsToReset => self.last_tool = Some(Fingerprint::of(tool)),
            Fault::RawMessage => message = format!("looked up {page} with {tool}"),
            Fault::TwoLines => "looked up pages\nagain".clone_into(&mut message),
            Fault::FullStop => "Looked up pages.".clone_into(&mut message),
            Fault::LongMessage => message = "x".repeat(4000),
            Fault::EmptyMessage => message = String::new(),
            Fault::KeepsText => self.last_page = page,
            Fault::HashMapOrder => {
                let first = self.by_tool.keys().next().cloned();
                write!(message, "; {first:?} is a lookup").expect("a string takes text");
            }
            _ => {}
        }
        self.is_open |= 3 <= measure;
        match self.options.fault {
            Fault::SideEffectInReport => {
                let n_calls = &mut self.n_calls;
                cx.report(Fingerprint::NONE, measure, || {
                    *n_calls += 1;
                    Report::new(message)
                });
            }
            Fault::SideEffectInNote => {
                let n_calls = &mut self.n_calls;
                cx.note(|| {
                    *n_calls += 1;
                    "counted".to_owned()
                });
                cx.report(Fingerprint::NONE, measure, || Report::new(message));
            }
            _ => cx.report(Fingerprint::NONE, measure, || Report::new(message)),
        }
        cx.wake_after(SignedDuration::from_mins(10));
    }

    fn reset(&mut self, cx: &mut Context<'_>) {
        cx.cancel_wake();
        self.n_calls = 0;
        if std::mem::take(&mut self.is_open) {
            cx.resolve(Fingerprint::NONE, || Report::new("no lookup for a while"));
        }
    }
}

const OPTIONS: &str = "tools = ['WebFetch', 'WebSearch']\n";

/// Many lookups in one turn, and two in the next.
const LOOKUPS: &str = r#"
    0s   prompt look
    1s   repeat 9 every 1s: call WebFetch {"url": "https://example.com/a/long/path/to/a/page"}
    30s  prompt again
    31s  call WebSearch {"url": "https://example.com/another/long/path/to/a/page"}
    32s  session s2: call WebFetch {"url": "https://example.com"}
    33s  repeat 4 every 1s: call WebFetch {"url": "https://example.com"}
    1h   advance
"#;

/// Lookups that end a pause before its time.
const PAUSES: &str = r#"
    0s   call WebFetch {"url": "https://example.com"}
    5m   call WebFetch {"url": "https://example.com"}
    14m  call WebSearch {"url": "https://example.com"}
    1h   advance
"#;

fn violation(fault: &str) -> Option<Violation> {
    laws::of::<Lookups>(&format!("{OPTIONS}fault = '{fault}'"))
        .arguments([r#"{"url": "https://example.com/a/page/with/a/long/path"}"#])
        .traces([LOOKUPS, PAUSES])
        .find_violation()
        .err()
}

#[test]
fn the_healthy_detector_passes() {
    laws::check::<Lookups>(OPTIONS);
    let trace = "0s repeat 9 every 1s: call WebFetch {\"url\": \"https://example.com\"}";
    laws::of::<Lookups>(OPTIONS).traces([trace]).check();
    let rendered = play::<Lookups>(OPTIONS, &format!("{trace}\nadvance 20m"));
    assert_eq!(rendered.lines().count(), 3, "{rendered}");
}

#[test]
fn every_mutant_is_found() {
    const MUTANTS: &[(&str, &[Law])] = &[
        ("randomness", &[Deterministic]),
        ("reads_clock", &[Deterministic]),
        ("global_counter", &[Deterministic]),
        // The first run sees fewer sessions than the next one.
        ("counts_sessions", &[Deterministic, Isolated]),
        ("growing_vec", &[Bounded]),
        // The pages are in the state of an idle detector.
        ("growing_vec_always_idle", &[Resettable]),
        ("growing_vec_idle_by_count", &[Resettable]),
        ("growing_deque", &[Bounded]),
        ("growing_deque_always_idle", &[Resettable]),
        ("growing_text", &[Resettable]),
        ("slices_text", &[Total]),
        ("slices_long_text", &[Total]),
        ("needs_url", &[Total]),
        ("panics_after20_calls", &[Total]),
        ("panics_in_wake", &[Total]),
        ("forgets_to_reset", &[Resettable]),
        ("always_idle", &[Resettable]),
        ("narrow_start_events", &[Subscribed]),
        ("narrow_events", &[Subscribed]),
        ("timer_only", &[Subscribed]),
        ("side_effect_in_report", &[Explainable]),
        ("side_effect_in_note", &[Explainable]),
        ("raw_message", &[Legible]),
        ("two_lines", &[Legible]),
        ("full_stop", &[Legible]),
        ("long_message", &[Legible]),
        ("empty_message", &[Legible]),
        ("keeps_text", &[Bounded, Resettable]),
        ("hash_map_order", &[Deterministic]),
    ];
    let mut missed = Vec::new();
    for (fault, expected) in MUTANTS {
        let found = violation(fault).and_then(|it| it.law());
        if !found.is_some_and(|law| expected.contains(&law)) {
            missed.push(format!("{fault}: {found:?}, expected {expected:?}"));
        }
    }
    assert!(missed.is_empty(), "{}", missed.join("\n"));
}

#[test]
fn a_run_without_reports_is_vacuous() {
    let violation = violation("never_reports").expect("nothing was checked");
    assert_eq!(violation.law(), None);
    let text = violation.to_string();
    let (_, text) = text.split_once(" random traces").expect("the cases are counted");
    assert_snapshot!(text, @r##"
     and 2 of your own, so the laws were not checked

    Pass a trace that makes the detector report something, and the tools or arguments that it looks for:

        laws::of::<Lookups>(r#"tools = ['WebFetch', 'WebSearch']
    fault = 'never_reports'"#)
            .tools(["WebFetch"])
            .traces(["0s call WebFetch {}"])
            .check();
    "##);
    laws::of::<Lookups>(&format!("{OPTIONS}fault = 'never_reports'")).allow_no_reports().check();
}

#[test]
fn a_violation_shows_a_short_trace_and_a_test() {
    let violation = laws::of::<Lookups>("tools = ['WebFetch']\nfault = 'slices_text'")
        .traces(["5m prompt look\n6m agent a1: call WebFetch {\"url\": \"wwwé.com\"}"])
        .find_violation()
        .expect_err("a text is sliced within a character");
    let text = violation.to_string();
    let (text, _) = text.split_once("to repeat this run").expect("it can be repeated");
    assert_snapshot!(text, @r##"
    `acme-lookups` is not total: it panicked: end byte index 4 is out of bounds of `` at crates/watchkeeper-testing/tests/mutants.rs:226

    the law: no trace makes the detector panic

    the shortest trace that shows it:

    0s call #"" WebFetch {"url":""}

    as a test:

        #[test]
        fn is_total() {
            laws::of::<Lookups>(r#"tools = ['WebFetch']
    fault = 'slices_text'"#)
                .traces([r#"
    0s call #"" WebFetch {"url":""}
    "#])
                .check();
        }
    "##);
}
