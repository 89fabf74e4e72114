use insta::assert_snapshot;
use watchkeeper_core::{Level, Severity};
use watchkeeper_testing::{detector, laws, play, play_detector};

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
    2h2m45s medium    the turn has been open for 3m 45s, 75% of 5m
    2h4m    high      the turn has been open for 5m, the limit is 5m
    2h9m45s medium    a1: the turn has been open for 3m 45s, 75% of 5m
    2h11m   high      a1: the turn has been open for 5m, the limit is 5m
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
    6m30s   medium    no result for 1m 30s, 75% of 2m: `Bash` is running or waits for permission
    7m      high      no result for 2m, the limit is 2m: `Bash` is running or waits for permission
    7m      resolved  `Bash` returned after 7m
    ");
    assert_snapshot!(play::<Timeout>("of = 'tool'\nmax = '2m'\ndelegates = true", trace), @"
    6m30s   medium    no result for 1m 30s, 75% of 2m: `Bash` is running or waits for permission
    7m      high      no result for 2m, the limit is 2m: `Bash` is running or waits for permission
    7m      resolved  `Bash` returned after 7m
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
    1h3m45s medium    nothing has happened for 3m 45s, 75% of 5m
    1h5m    high      nothing has happened for 5m, the limit is 5m
    1h6m    resolved  an event arrived after 6m
    ");
}

#[test]
fn laws_hold() {
    for of in ["session", "turn", "tool", "model", "idle"] {
        laws::check::<Timeout>(&format!("of = '{of}'\nmax = '2m'"));
    }
}

#[test]
fn limit_doubles_once_a_response_has_started() {
    let trace = "
        0s   prompt write a long book
        5m   thinking a very long one
        +1s  usage output=90000
        +9m  call Write book
        +1s  result done
        +5m  turn_end
    ";
    assert_snapshot!(play::<Timeout>("of = 'model'\nmax = '4m'", trace), @"
    3m      medium    the model has sent nothing for 3m, 75% of 4m
    4m      high      the model has sent nothing for 4m, the limit is 4m
    5m      resolved  the wait for the model ended after 5m
    11m1s   medium    the model has sent nothing more of its response for 6m, 75% of 8m
    13m1s   high      the model has sent nothing more of its response for 8m, the limit is 8m
    14m1s   resolved  the wait for the model ended after 9m
    17m2s   medium    the model has sent nothing for 3m, 75% of 4m
    18m2s   high      the model has sent nothing for 4m, the limit is 4m
    19m2s   resolved  the wait for the model ended after 5m
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

#[test]
fn a_silence_is_worse_if_attempts_fail_or_the_turn_is_lost() {
    let mut silence = detector::<Timeout>("of = 'model'\nmax = '7m'");
    silence.levels = vec![
        Level::new(70, Severity::Low),
        Level::new(100, Severity::Medium),
        Level::new(1000, Severity::High),
    ];
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
