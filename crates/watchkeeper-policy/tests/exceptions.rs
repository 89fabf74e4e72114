//! Detectors with exceptions.

use std::{collections::BTreeMap, path::Path};

use insta::assert_snapshot;
use jiff::SignedDuration;
use proptest::prelude::*;
use schemars::JsonSchema;
use serde::Deserialize;
use watchkeeper_core::{
    Context, Detector, DetectorKind, Engine, Event, EventKind, Finding, Fingerprint, InvalidOption,
    Report, Subscription, Timestamp,
    author::Scope,
    embed::{EngineConfig, NamedDetector, Registry},
    quote,
};
use watchkeeper_detector_timeout as _;
use watchkeeper_detector_token_burn as _;
use watchkeeper_policy::{Loader, render};
use watchkeeper_testing::{events, laws, play_detector};

/// Reports every event and every wake-up.
#[derive(Clone, Debug)]
struct Echo {
    scope: Scope,
    n_reports: u64,
}

#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct EchoOptions {
    whole_sessions: bool,
}

watchkeeper_core::register!(Echo);

impl DetectorKind for Echo {
    const KIND: &'static str = "echo";
    const DOCS: &'static str = "# echo\n\nFinds everything.\n";
    const CLASS: &'static str = "test";
    type Options = EchoOptions;

    fn new(options: EchoOptions) -> Result<Self, InvalidOption> {
        let scope = if options.whole_sessions { Scope::Session } else { Scope::Agent };
        Ok(Self { scope, n_reports: 0 })
    }
}

impl Echo {
    fn report(&mut self, message: String, cx: &mut Context<'_>) {
        self.n_reports += 1;
        cx.report(Fingerprint::of(self.n_reports.to_string()), 1, || Report::new(message));
    }
}

impl Detector for Echo {
    fn observe(&mut self, event: &Event, cx: &mut Context<'_>) {
        let content = match &event.kind {
            EventKind::ToolCall(call) => {
                format!(
                    "{} {} {}",
                    quote(&call.id),
                    quote(&call.tool),
                    quote(call.arguments.as_str())
                )
            }
            EventKind::ToolResult(result) => format!("{} {}", quote(&result.id), result.ok),
            _ => String::new(),
        };
        self.report(format!("{} {content}!", event.kind.name()), cx);
        cx.wake_after(SignedDuration::from_secs(10));
    }

    fn wake(&mut self, cx: &mut Context<'_>) {
        self.report("a pause".to_owned(), cx);
    }

    fn subscription(&self) -> Subscription {
        Subscription::default().scope(self.scope)
    }
}

const EXCEPTIONS: &str = "
[[detectors.echo.exceptions]]
tool = ['Read', '*Output']
reason = 'reading is no trouble'
";

fn echo(whole_sessions: bool, exceptions: &str) -> NamedDetector {
    detector(&format!("[detectors.echo]\nwhole_sessions = {whole_sessions}\n{exceptions}"))
}

/// A detector that times every tool call.
fn slow_tool(exceptions: &str) -> NamedDetector {
    detector(&format!(
        "[detectors.slow_tool]\nkind = 'timeout'\nof = 'tool'\nmax = '10s'\n{exceptions}"
    ))
}

fn detector(text: &str) -> NamedDetector {
    let text = format!("version = 1\n{text}");
    let registry = Registry::linked().expect("no two kinds share a name");
    let read_file = |_: &Path| Ok(text.clone());
    let loader = Loader::new(&registry, &read_file);
    let loaded = loader.load(Path::new("policy.toml"));
    assert!(loaded.diagnostics.is_empty(), "{}", render(&loaded, false));
    loaded.policy.expect("a valid policy").detectors.remove(0)
}

/// Returns the findings of a detector, ordered by agent, until one hour after the
/// last event.
fn findings(detector: NamedDetector, events: &[Event]) -> Vec<Finding> {
    // Events that the detector does not receive still keep its session active.
    let session_expiry = SignedDuration::from_hours(24 * 365);
    let config = EngineConfig { session_expiry, ..EngineConfig::default() };
    let mut engine = Engine::new(vec![detector], config);
    let mut res = Vec::new();
    for event in events {
        engine.observe(event, &mut res);
    }
    let end = events.last().map_or(Timestamp::UNIX_EPOCH, |it| it.at);
    engine.advance(end + SignedDuration::from_hours(1), &mut res);
    res.sort_by(|a, b| (&a.session, &a.agent, a.at).cmp(&(&b.session, &b.agent, b.at)));
    res
}

/// Returns the events without the excepted calls and their results.
fn without_excepted(events: Vec<Event>, whole_sessions: bool) -> Vec<Event> {
    let mut excepted = Vec::new();
    let mut res = Vec::new();
    for event in events {
        let agent = (event.session.clone(), event.agent.clone());
        match &event.kind {
            EventKind::ToolCall(call) => {
                let call_id = (agent, call.id.clone());
                excepted.retain(|it| *it != call_id);
                if &*call.tool == "Read" || call.tool.ends_with("Output") {
                    excepted.push(call_id);
                    continue;
                }
            }
            EventKind::ToolResult(result) => {
                let call_id = (agent, result.id.clone());
                if let Some(place) = excepted.iter().position(|it| *it == call_id) {
                    excepted.remove(place);
                    continue;
                }
            }
            // The state of a detector ends with its agent.
            EventKind::AgentEnd if !whole_sessions && event.agent.is_some() => {
                excepted.retain(|it| it.0 != agent);
            }
            EventKind::SessionEnd { .. } if !whole_sessions => match event.agent {
                Some(_) => excepted.retain(|it| it.0 != agent),
                None => excepted
                    .retain(|((session, agent), _)| *session != event.session || agent.is_none()),
            },
            _ => {}
        }
        res.push(event);
    }
    res
}

/// Gives every call a unique id. A result gets the id of the latest call.
fn make_call_ids_unique(events: &mut [Event]) {
    let mut n_calls = 0;
    let mut latest = BTreeMap::new();
    for event in events {
        let agent = (event.session.clone(), event.agent.clone());
        match &mut event.kind {
            EventKind::ToolCall(call) => {
                n_calls += 1;
                latest.insert((agent, call.id.clone()), n_calls);
                call.id = n_calls.to_string().into();
            }
            EventKind::ToolResult(result) => {
                if let Some(n) = latest.get(&(agent, result.id.clone())) {
                    result.id = n.to_string().into();
                }
            }
            _ => {}
        }
    }
}

proptest! {
    #[test]
    fn excepted_calls_do_not_affect_the_detector(
        mut events in events(), whole_sessions in any::<bool>()
    ) {
        events.sort_by_key(|it| it.at);
        let seen = without_excepted(events.clone(), whole_sessions);
        prop_assert_eq!(
            findings(echo(whole_sessions, EXCEPTIONS), &events),
            findings(echo(whole_sessions, ""), &seen)
        );
    }

    #[test]
    fn excepted_calls_are_not_timed(mut events in events()) {
        events.sort_by_key(|it| it.at);
        // Every call ends the state `waiting`, excepted or not.
        events.retain(|it| !matches!(it.kind, EventKind::Waiting(_) | EventKind::Resumed(_)));
        make_call_ids_unique(&mut events);
        let seen = without_excepted(events.clone(), false);
        let exceptions = EXCEPTIONS.replace("echo", "slow_tool");
        prop_assert_eq!(findings(slow_tool(&exceptions), &events), findings(slow_tool(""), &seen));
    }
}

#[test]
fn a_pending_excepted_call_is_not_timed() {
    let exceptions = "
        [[detectors.slow_tool.exceptions]]
        tool = 'Bash'
        arguments = { command = '*deploy*' }
        reason = 'deploying takes its time'
    ";
    let trace = r#"
        0s   prompt go
        1s   call #1 Bash {"command": "./deploy"}
        2s   call #2 Bash {"command": "make"}
        3s   message both run
        13s  result #2 ok
        20s  message one runs still
        1m   result #1 ok
        2m   turn_end
    "#;
    assert_snapshot!(play_detector(&slow_tool(exceptions), trace), @"
    9s500ms medium    no result for 7s, 75% of 10s: `Bash` `make` is running or waits for permission
    12s     high      no result for 10s, the limit is 10s: `Bash` `make` is running or waits for permission
    13s     resolved  `Bash` `make` returned after 11s
    ");
    assert_snapshot!(play_detector(&slow_tool(""), trace), @"
    8s500ms medium    no result for 7s, 75% of 10s: `Bash` `./deploy` is running or waits for permission
    9s500ms medium    no result for 7s, 75% of 10s: `Bash` `make` is running or waits for permission
    11s     high      no result for 10s, the limit is 10s: `Bash` `./deploy` is running or waits for permission
    12s     high      no result for 10s, the limit is 10s: `Bash` `make` is running or waits for permission
    13s     resolved  `Bash` `make` returned after 11s
    1m      resolved  `Bash` `./deploy` returned after 59s
    ");
    laws::check_detector(&slow_tool(exceptions));
}

#[test]
fn a_detector_with_exceptions_obeys_the_laws() {
    laws::check_detector(&echo(false, EXCEPTIONS));
    laws::check_detector(&echo(true, EXCEPTIONS));
    let everything = "[[detectors.echo.exceptions]]\ntool = '*'\nreason = 'none'";
    laws::of_detector(&echo(true, everything)).allow_no_reports().check();
}

#[test]
fn exceptions_do_not_change_the_scope() {
    for whole_sessions in [false, true] {
        let scope = |exceptions| echo(whole_sessions, exceptions).detector.subscription().scope;
        assert_eq!(scope(EXCEPTIONS), scope(""));
    }
}

#[test]
fn all_arguments_must_match() {
    let detector = echo(
        false,
        "
        [[detectors.echo.exceptions]]
        tool = 'Bash'
        arguments = { command = ['sleep *', 'tail *'], timeout = '5*' }
        reason = 'it waits'
        ",
    );
    let trace = r#"
        0s  call #1 Bash {"command": "sleep 1", "timeout": 5000}
        0s  call #2 Bash {"command": "tail -f log", "timeout": "5s"}
        0s  call #3 Bash {"command": "make", "timeout": 5000}
        0s  call #4 Bash {"command": "sleep 1"}
        0s  call #5 Bash sleep 1
        0s  call #6 Read {"command": "sleep 1", "timeout": 5000}
        1s  result #2 ok
        1s  result #3 ok
        1s  result #2 ok
    "#;
    assert_snapshot!(play_detector(&detector, trace), @r#"
    0s      medium    tool_call `3` `Bash` `{"command": "make", "timeout": 5000}`!
    0s      medium    tool_call `4` `Bash` `{"command": "sleep 1"}`!
    0s      medium    tool_call `5` `Bash` `"sleep 1"`!
    0s      medium    tool_call `6` `Read` `{"command": "sleep 1", "timeout": 5000}`!
    1s      medium    tool_result `3` true!
    1s      medium    tool_result `2` true!
    "#);
}

#[test]
fn a_call_can_reuse_the_id_of_an_excepted_call() {
    let trace = "
        0s  call #1 Read a
        1s  call #1 Bash make
        2s  result #1 ok
        3s  agent a1: call #1 Read a
        4s  result #1 ok
        5s  agent a1: result #1 ok
    ";
    assert_snapshot!(play_detector(&echo(true, EXCEPTIONS), trace), @r#"
    1s      medium    tool_call `1` `Bash` `"make"`!
    2s      medium    tool_result `1` true!
    4s      medium    tool_result `1` true!
    "#);
}

#[test]
fn detectors_that_do_not_check_calls_reject_exceptions() {
    let registry = Registry::linked().expect("no two kinds share a name");
    let check = |text: &str| {
        let read_file = |_: &Path| Ok(format!("version = 1\n{text}"));
        let loader = Loader::new(&registry, &read_file);
        render(&loader.load(Path::new("policy.toml")), false)
    };
    assert_snapshot!(check("
[detectors.silent_model]
kind = 'timeout'
of = 'model'
max = '5m'
exceptions = [{ tool = 'Bash', reason = 'builds take long' }]

[detectors.fast_spending]
kind = 'token-burn'
max_cost_usd = 25.0

[[detectors.fast_spending.exceptions]]
tool = 'Task'
reason = 'sub-agents are dear'

[[overrides]]
match = { cwd = '/nightly/*' }
reason = 'nightly'
detectors.silent_model.exceptions.add = [{ tool = 'Read', reason = 'night' }]
"), @"
    error: detector `silent_model` does not support exceptions
     --> policy.toml:7:1
      |
    7 | exceptions = [{ tool = 'Bash', reason = 'builds take long' }]
      | ^^^^^^^^^^
      |
      = note: it does not check single calls; to change its options in some sessions, use `[[overrides]]`

    error: detector `fast_spending` does not support exceptions
      --> policy.toml:13:27
       |
    13 | [[detectors.fast_spending.exceptions]]
       |                           ^^^^^^^^^^
       |
       = note: it does not check single calls; to change its options in some sessions, use `[[overrides]]`

    error: detector `silent_model` does not support exceptions
      --> policy.toml:20:24
       |
    20 | detectors.silent_model.exceptions.add = [{ tool = 'Read', reason = 'night' }]
       |                        ^^^^^^^^^^
       |
       = note: it does not check single calls; to change its options in some sessions, use `[[overrides]]`
    ");
}
