use insta::assert_snapshot;
use watchkeeper_core::{
    DetectorKind, Event, Level, Severity, Status,
    author::{Options, Origin},
    embed::NamedDetector,
};
use watchkeeper_testing::{Trace, detector, findings, laws, play, play_detector};

use crate::Timeout;

#[test]
fn session_time_counts_only_while_the_session_works() {
    let trace = "
        0s   prompt hello
        2m   turn_end
        1h   prompt go on
        +5m  message working
        +4m  session_end
    ";
    assert_snapshot!(play::<Timeout>("of = 'session'\nmax = '10m'", trace), @"
    1h5m30s medium    the session has been working for 7m 30s, 75% of 10m
    1h8m    high      the session has been working for 10m, the limit is 10m
    1h9m    resolved  the session ended after 11m of work
    ");
}

#[test]
fn the_lifetime_of_a_session_includes_its_pauses() {
    let trace = "
        0s   prompt hello
        1m   turn_end
        8m   prompt go on
        +1m  wait permission
        15m  session_end
    ";
    assert_snapshot!(play::<Timeout>("of = 'lifetime'\nmax = '10m'", trace), @"
    7m30s   medium    the session has been open for 7m 30s, 75% of 10m
    10m     high      the session has been open for 10m, the limit is 10m
    15m     resolved  the session ended after 15m
    ");
}

#[test]
fn turn_time_pauses_while_a_person_is_waited_for() {
    let trace = "
        0s   prompt hello
        1m   wait permission
        2h   resume permission
        +3m  message working
        +3m  agent a1: agent_start
        +5m  turn_end
    ";
    assert_snapshot!(play::<Timeout>("of = 'turn'\nmax = '5m'", trace), @"
    2h2m45s medium    the turn has been open for 3m 45s, 75% of 5m; the agent waits for the model
    2h4m    high      the turn has been open for 5m, the limit is 5m; the agent is writing a response
    2h9m45s medium    a1: the turn has been open for 3m 45s, 75% of 5m; the agent waits for the model
    2h11m   high      a1: the turn has been open for 5m, the limit is 5m; the agent waits for the model
    2h11m   resolved  the turn ended after 12m of work
    ");
}

#[test]
fn each_pending_call_is_timed_separately() {
    let trace = "
        0s    call #slow Bash make
        30s   call #quick Bash ls
        31s   result #quick
        40s   call #ask AskUserQuestion which one
        5m    result #ask
        +1m   call #task Task look around
        +1m   result #slow
        +1h   turn_end
    ";
    assert_snapshot!(play::<Timeout>("of = 'tool'\nmax = '2m'", trace), @"
    6m30s   medium    no result for 1m 30s, 75% of 2m: `Bash` `make` is running or waits for permission
    7m      high      no result for 2m, the limit is 2m: `Bash` `make` is running or waits for permission
    7m      resolved  `Bash` `make` returned after 7m
    ");
    assert_snapshot!(play::<Timeout>("of = 'tool'\nmax = '2m'\ndelegates = true", trace), @"
    6m30s   medium    no result for 1m 30s, 75% of 2m: `Bash` `make` is running or waits for permission
    7m      high      no result for 2m, the limit is 2m: `Bash` `make` is running or waits for permission
    7m      resolved  `Bash` `make` returned after 7m
    7m30s   medium    no result for 1m 30s, 75% of 2m: `Task` is running or waits for permission
    8m      high      no result for 2m, the limit is 2m: `Task` is running or waits for permission
    1h7m    resolved  `Task` was abandoned after 1h 1m
    ");
}

#[test]
fn retries_do_not_end_the_wait_for_the_model() {
    let trace = "
        0s    prompt hello
        1m    error retry=1 overloaded
        2m    error retry=2 overloaded
        +10s  message here I am
        +1m   call Bash make
        +1h   result
        +1m   turn_end
    ";
    assert_snapshot!(play::<Timeout>("of = 'model'\nmax = '90s'", trace), @"
    1m7s500ms medium    the model has sent nothing for 1m 7s, 75% of 1m 30s; 1 attempt failed
    1m30s   high      the model has sent nothing for 1m 30s, the limit is 1m 30s; 1 attempt failed
    2m10s   resolved  the wait for the model ended after 2m 10s
    ");
}

#[test]
fn events_of_any_agent_restart_the_idle_timer() {
    let trace = "
        0s    prompt hello
        10s   call Task look around
        1m    agent a1: agent_start
        3m    agent a1: wait permission
        1h    agent a1: resume permission
        +6m   agent a1: agent_end
        +1m   turn_end
        advance 1h
    ";
    assert_snapshot!(play::<Timeout>("of = 'idle'\nmax = '5m'", trace), @"
    1h3m45s medium    nothing has happened for 3m 45s, 75% of 5m; the agent waits for the result of a call
    1h5m    high      nothing has happened for 5m, the limit is 5m; the agent waits for the result of a call
    1h6m    resolved  an event arrived after 6m
    ");
}

#[test]
fn laws_hold() {
    for of in ["session", "turn", "tool", "model", "idle", "delegation"] {
        laws::check::<Timeout>(&format!("of = '{of}'\nmax = '2m'"));
    }
}

/// Returns the detector of silent delegations with the level of the built-in policy.
fn silent_delegation() -> NamedDetector {
    let mut detector = detector::<Timeout>("of = 'delegation'\nmax = '30m'\ntimes_longest = 4");
    detector.levels = vec![Level::new(100, Severity::Medium)];
    detector
}

#[test]
fn a_silent_delegation_is_compared_with_earlier_ones() {
    let trace = "
        0s   prompt review it
        1s   call Task one
        +8m  result
        1h   call Task two
        +11m result
        2h   call Task three
        +4h  result
        +1s  turn_end
    ";
    assert_snapshot!(play_detector(&silent_delegation(), trace), @"
    2h44m   medium    `Task` has sent nothing for 44m, the limit is 44m; 2 earlier delegations took at most 11m
    6h      resolved  `Task` returned after 4h
    ");
}

/// Each row: the events of a third delegation, and whether a finding opens.
#[test]
fn reports_a_silent_delegation_once_two_have_finished() {
    let finished = "0s prompt go on\n\
                    1s repeat 2 every 10m: call Task look ;; result text\n\
                    1h call #a Task one\n+9m result #a\n+1s call #a Task two\n+9m result #a\n";
    for (events, is_found) in [
        ("+1s call Task three\n+35m result", false),
        ("+1s call Task three\n+40m result", true),
        // The session is recorded until then.
        ("+1s call Task three\nadvance 40m", true),
        // An agent with events of its own has timers of its own.
        ("+1s call Task three\n+1s agent a: agent_start\n+9h result", false),
        ("+1s call Task three\n+1s agent a: agent_start\n+1s agent a: agent_end\n+9h result", true),
        // Other tools, and a person who is asked.
        ("+1s call Bash make\n+9h result", false),
        ("+1s call Task three\n+1s wait permission\n+9h resume permission\n+1s result", false),
        ("+1s call #x Task three\n+1s call #y Bash make\n+20m result #y\n+20m result #x", false),
    ] {
        let trace: Trace = format!("{finished}{events}").parse().expect("every line is an event");
        let n = findings(&silent_delegation(), &trace).len();
        assert_eq!(0 < n, is_found, "{events}");
    }
    // Too few have finished, or they have only started an agent in the background.
    for early in [
        "",
        "1m call Task one\n+9m result\n",
        "1m repeat 9 every 20s: call Task look ;; result ok\n",
    ] {
        let trace = format!("0s prompt go on\n{early}1h call Task three\n+9h result");
        let trace: Trace = trace.parse().expect("every line is an event");
        assert_eq!(findings(&silent_delegation(), &trace).len(), 0, "{early}");
    }
}

#[test]
fn times_a_delegation_again_after_an_event_of_its_agent() {
    let trace = "
        0s   prompt go on
        1s   repeat 2 every 10m: call Task look ;; result text
        1h   call #a Task one
        +9m  result #a
        +1s  call #a Task two
        +9m  result #a
        +1s  call Task three
        +1h  agent a: agent_start
        +1s  agent a: agent_end
        +9h  result
    ";
    let trace: Trace = trace.parse().expect("every line is an event");
    let found = findings(&silent_delegation(), &trace);
    assert_eq!(found.iter().filter(|finding| finding.status == Status::Open).count(), 2);
}

#[test]
fn rejects_invalid_options() {
    let error = |text| {
        let built = Options::parse(text).and_then(|options| options.build(Timeout::new));
        built.expect_err("the options are invalid").to_string()
    };
    assert_snapshot!(error("of = 'turn'\nmax = '5m'\ntimes_longest = 4"), @r#"invalid value for `times_longest`: `times_longest` applies only to `of = "delegation"`; remove it"#);
    assert_snapshot!(error("of = 'delegation'\nmax = '5m'\ntimes_longest = 0"), @"invalid value for `times_longest`: a multiple of 0 allows nothing; use 1 or more");
    assert_snapshot!(error("of = 'turn'\nmax = '5m'\ndelegates = true"), @r#"invalid value for `delegates`: `delegates` applies only to `of = "tool"`; remove it"#);
}

#[test]
fn limit_doubles_once_a_response_has_started() {
    let trace = "
        0s   prompt write a long book
        5m   thinking a very long one
        +1s  usage output=90000
        +9m  call Write book
        +1s  result done
        +1s  turn_end
    ";
    assert_snapshot!(play::<Timeout>("of = 'model'\nmax = '4m'", trace), @"
    3m      medium    the model has sent nothing for 3m, 75% of 4m
    4m      high      the model has sent nothing for 4m, the limit is 4m
    5m      resolved  the wait for the model ended after 5m
    11m1s   medium    the model has sent nothing more of its response for 6m, 75% of 8m
    13m1s   high      the model has sent nothing more of its response for 8m, the limit is 8m
    14m1s   resolved  the wait for the model ended after 9m
    ");
}

#[test]
fn a_finding_names_the_command_and_claims_only_what_is_proven() {
    let trace = r#"
        0s    prompt hello
        1s    call #a Bash {"command": "ls -la"}
        +1h   result #a
        +1s   call #b Bash {"command": "make"}
        +1m   resume permission
        +1h   result #b
        +1s   call #c Bash {"command": "ls", "timeout": 120000}
        +1h   result #c
        +1s   turn_end
    "#;
    assert_snapshot!(play::<Timeout>("of = 'tool'\nmax = '45m'", trace), @"
    33m46s  medium    no result for 33m 45s, 75% of 45m: `Bash` `ls -la` is running or waits for permission
    45m1s   high      no result for 45m, the limit is 45m: `Bash` `ls -la` is running or waits for permission
    1h1s    resolved  `Bash` `ls -la` returned after 1h
    1h34m47s medium    `Bash` `make` has been running for 33m 45s, 75% of 45m
    1h46m2s high      `Bash` `make` has been running for 45m, the limit is 45m
    2h1m2s  resolved  `Bash` `make` returned after 1h 1m
    2h34m48s medium    no result for 33m 45s, 75% of 45m: `Bash` `ls` is running or waits for permission
    2h46m3s high      no result for 45m, the limit is 45m: `Bash` `ls` is running or waits for permission
    3h1m3s  resolved  `Bash` `ls` returned after 1h; its own time limit is 2m, so a person was asked for permission
    ");
}

/// Returns the detector of silent models with the levels of the built-in policy.
fn built_in() -> NamedDetector {
    let mut silence = detector::<Timeout>("of = 'model'\nmax = '7m'");
    silence.levels = vec![
        Level::new(70, Severity::Low),
        Level::new(100, Severity::Medium),
        Level::new(1000, Severity::High),
    ];
    silence
}

/// Returns a trace that a client has written.
fn trace_of(client: &'static str, trace: &str) -> Trace {
    let trace: Trace = trace.parse().expect("every line is an event");
    let written = |event: &Event| {
        let origin = Origin { source: client, file: "a".into(), line: 1 };
        Event { origin: Some(origin), ..event.clone() }
    };
    trace.events().map(written).collect::<Vec<_>>().into()
}

/// Each row: the events after the wait has begun, and the highest severity for each client.
#[test]
fn severity_of_a_silence_for_each_client() {
    use Severity::{High, Low, Medium};
    for (events, severity) in [
        ("+45s message here", None),
        ("+4m30s message here", None),
        ("+5m1s message here", Some(Low)),
        ("+5m50s call Bash make", Some(Low)),
        ("+6m50s message here", Some(Low)),
        ("+7m30s message here", Some(Medium)),
        ("+15m message here", Some(Medium)),
        ("+1h message here", Some(Medium)),
        ("+3h message here", Some(High)),
        // Attempts that fail.
        ("+5m error retry=1 timeout\n+30s message here", Some(Low)),
        ("+5m error retry=1 timeout\n+1m error retry=2 timeout\n+1s message here", Some(Medium)),
        ("+1m error retry=1 timeout\n+1m error retry=2 timeout\n+1s message here", None),
        // Turns that are lost.
        ("+4m error the stream ended", None),
        ("+5m1s error the stream ended", Some(Medium)),
        ("+6m turn_end", Some(Medium)),
        ("+3h turn_end", Some(High)),
        // A person asks again.
        ("+6m prompt are you there?", Some(Low)),
    ] {
        for client in ["claude-code", "codex", "gemini-cli", "opencode", "ndjson"] {
            let trace = trace_of(client, &format!("0s prompt hello\n{events}\n+1s turn_end"));
            let found = findings(&built_in(), &trace);
            let highest = found.iter().map(|finding| finding.severity).max();
            assert_eq!(highest, severity, "{client}: {events}");
        }
    }
}

#[test]
fn the_finding_names_the_limit_of_the_client() {
    let messages = |client, events: &str| {
        let trace = trace_of(client, &format!("0s prompt hello\n{events}\n+1s turn_end"));
        let found = findings(&built_in(), &trace);
        found.into_iter().map(|finding| finding.message).collect::<Vec<_>>()
    };
    for client in ["claude-code", "codex", "gemini-cli", "opencode"] {
        assert_eq!(
            messages(client, "+5m20s message here"),
            [
                "the model has sent nothing for 4m 54s, 70% of 7m; the client tries again after 5m",
                "no response for 5m 20s; the client gave the stream up after 5m and tried again",
            ]
        );
    }
    assert_eq!(
        messages("ndjson", "+5m20s message here"),
        [
            "the model has sent nothing for 4m 54s, 70% of 7m",
            "the wait for the model ended after 5m 20s",
        ]
    );
    // The client did not try again within this time, or the turn was lost.
    let ends = ["+4m59s message here", "+6m1s message here", "+5m20s turn_end"];
    for end in ends {
        let message = messages("codex", end).pop().unwrap_or_default();
        assert!(message.starts_with("the wait for the model ended after"), "{message}");
    }
}

#[test]
fn a_model_that_thinks_for_minutes_is_given_more_time() {
    let trace = "
        0s    prompt hello
        +8m   thinking about it
        +1s   call Read a
        +1s   result text
        +8m   call Read b
        +1s   result text
        +11m  message here
        +1s   turn_end
    ";
    assert_snapshot!(play_detector(&built_in(), trace), @"
    4m54s   low       the model has sent nothing for 4m 54s, 70% of 7m
    7m      medium    the model has sent nothing for 7m, the limit is 7m
    8m      resolved  the wait for the model ended after 8m
    24m27s  low       the model has sent nothing for 8m 24s, 70% of 12m
    27m3s   resolved  the wait for the model ended after 11m
    ");
    // A wait with failed attempts, and a wait that a person ended, prove nothing.
    let ends = ["error retry=1 timeout\n+1s call Read a\n+1s result text", "prompt are you there?"];
    for end in ends {
        let trace = format!("0s prompt hello\n+6m {end}\n+6m message here\n+1s turn_end");
        let found = play_detector(&built_in(), &trace);
        assert_eq!(found.matches(" low ").count(), 2, "{found}");
    }
}

#[test]
fn a_silence_is_worse_if_attempts_fail_or_the_turn_is_lost() {
    let silence = built_in();
    let recovers = "
        0s    prompt hello
        4m30s message thought for a while
        +5m   message here I am
        +1s   turn_end
    ";
    assert_snapshot!(play_detector(&silence, recovers), @"");
    let fails = "
        0s    prompt hello
        5m    error retry=1 overloaded
        6m    error retry=2 overloaded
        +1s   message here I am
        +1s   turn_end
    ";
    assert_snapshot!(play_detector(&silence, fails), @"
    4m54s   low       the model has sent nothing for 4m 54s, 70% of 7m
    6m      medium    the model has sent nothing for 6m, 85% of 7m; 2 attempts failed
    6m1s    resolved  the wait for the model ended after 6m 1s
    ");
    let is_lost = "
        0s    prompt hello
        6m    turn_end
    ";
    assert_snapshot!(play_detector(&silence, is_lost), @"
    4m54s   low       the model has sent nothing for 4m 54s, 70% of 7m
    6m      medium    the turn ended after 6m without a response
    6m      resolved  the wait for the model ended after 6m
    ");
    let lasts_hours = "
        0s    prompt hello
        2h    message here I am
        +1s   turn_end
    ";
    assert_snapshot!(play_detector(&silence, lasts_hours), @"
    4m54s   low       the model has sent nothing for 4m 54s, 70% of 7m
    7m      medium    the model has sent nothing for 7m, the limit is 7m
    1h10m   high      the model has sent nothing for 1h 10m, the limit is 7m
    2h      resolved  the wait for the model ended after 2h
    ");
}

#[test]
fn compacting_between_two_turns_is_not_a_wait() {
    let trace = "
        0s   prompt hello
        1m   message done
        +1s  turn_end
        +1m  compaction
        +9h  prompt go on
        +1s  turn_end
    ";
    assert_snapshot!(play::<Timeout>("of = 'model'\nmax = '7m'", trace), @"");
}

#[test]
fn state_of_a_stream_is_small() {
    assert_eq!(size_of::<Timeout>(), 40);
}
