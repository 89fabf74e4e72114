use insta::assert_snapshot;
use watchkeeper_testing::{laws, play};

use crate::Timeout;

#[test]
fn a_session_ages_while_it_works() {
    let trace = "
        0s   prompt hello
        2m   turn_end
        1h   prompt go on
        +5m  message working
        +4m  session_end
    ";
    assert_snapshot!(play::<Timeout>("of = 'session'\nmax = '10m'", trace), @"
    1h5m30s medium    the session has been at work for 7m 30s, 75% of 10m
    1h8m    high      the session has been at work for 10m, the limit is 10m
    1h9m    resolved  the session ended after 11m of work
    ");
}

#[test]
fn a_turn_does_not_age_while_a_person_is_waited_for() {
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
fn each_pending_call_has_a_time_of_its_own() {
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
    6m30s   medium    `Bash` has been running for 1m 30s, 75% of 2m
    7m      high      `Bash` has been running for 2m, the limit is 2m
    7m      resolved  `Bash` answered after 7m
    ");
    assert_snapshot!(play::<Timeout>("of = 'tool'\nmax = '2m'\ndelegates = true", trace), @"
    6m30s   medium    `Bash` has been running for 1m 30s, 75% of 2m
    7m      high      `Bash` has been running for 2m, the limit is 2m
    7m      resolved  `Bash` answered after 7m
    7m30s   medium    `Task` has been running for 1m 30s, 75% of 2m
    8m      high      `Task` has been running for 2m, the limit is 2m
    1h7m    resolved  `Task` was given up after 1h 1m
    ");
}

#[test]
fn a_model_that_only_retries_is_silent() {
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
    1m7s500ms medium    the model has been silent for 1m 7s, 75% of 1m 30s
    1m30s   high      the model has been silent for 1m 30s, the limit is 1m 30s
    2m10s   resolved  the silence of the model ended after 2m 10s
    ");
}

#[test]
fn any_agent_keeps_a_session_from_being_idle() {
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
    1h6m    resolved  something happened after 6m
    ");
}

#[test]
fn it_obeys_the_laws_of_detectors() {
    for of in ["session", "turn", "tool", "model", "idle"] {
        laws::check::<Timeout>(&format!("of = '{of}'\nmax = '2m'"));
    }
}

#[test]
fn an_answer_that_has_begun_may_take_longer() {
    let trace = "
        0s   prompt write a long book
        5m   thinking a very long one
        +1s  usage output=90000
        +9m  call Write book
        +1s  result done
        +5m  turn_end
    ";
    assert_snapshot!(play::<Timeout>("of = 'model'\nmax = '4m'", trace), @"
    3m      medium    the model has been silent for 3m, 75% of 4m
    4m      high      the model has been silent for 4m, the limit is 4m
    5m      resolved  the silence of the model ended after 5m
    11m1s   medium    the model has been silent amid an answer for 6m, 75% of 8m
    13m1s   high      the model has been silent amid an answer for 8m, the limit is 8m
    14m1s   resolved  the silence of the model ended after 9m
    17m2s   medium    the model has been silent for 3m, 75% of 4m
    18m2s   high      the model has been silent for 4m, the limit is 4m
    19m2s   resolved  the silence of the model ended after 5m
    ");
}

#[test]
fn one_for_each_of_many_streams_is_small() {
    assert_eq!(size_of::<Timeout>(), 24);
}
