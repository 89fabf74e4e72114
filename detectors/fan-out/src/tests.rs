use insta::assert_snapshot;
use watchkeeper_core::{DetectorKind, Level, Severity, author::Options, embed::NamedDetector};
use watchkeeper_testing::{detector, laws, play, play_detector};

use super::FanOut;

/// Returns a detector with levels of severity `low` and `medium`.
fn with_levels(options: &str, low: u64, medium: u64) -> NamedDetector {
    let mut detector = detector::<FanOut>(options);
    detector.levels = vec![Level::new(low, Severity::Low), Level::new(medium, Severity::Medium)];
    detector
}

#[test]
fn counts_starts_within_the_window() {
    let detector = with_levels("window = '1h'", 4, 6);
    let trace = "
        2h    prompt go
        2h1m  agent a1: agent_start
        2h2m  agent a2: agent_start
        2h2m  agent a2: agent_end
        2h30m agent a3: agent_start
        2h31m agent a4: agent_start
        2h40m agent a5: agent_start parent=a4
        2h59m agent a6: agent_start parent=a5
        7h    message done
        7h    agent a7: agent_start
    ";
    assert_snapshot!(play_detector(&detector, trace), @"
    2h31m   low       4 sub-agents started in 1h
    2h59m   medium    6 sub-agents started in 1h
    3h30m   resolved  down to 2 sub-agents in 1h
    ");
}

#[test]
fn counts_all_starts_without_a_window() {
    let detector = with_levels("", 2, 3);
    let trace = "
        0s  agent a1: agent_start
        9h  agent a2: agent_start
        +9h prompt go on
        +9h agent a3: agent_start
        +9h session_end
    ";
    assert_snapshot!(play_detector(&detector, trace), @"
    9h      low       2 sub-agents started
    27h     medium    3 sub-agents started
    36h     resolved  over, as the session ended
    ");
}

#[test]
fn measures_the_depth_of_nested_agents() {
    let detector = with_levels("of = 'depth'", 2, 4);
    let trace = "
        0s  agent a1: agent_start
        1s  agent a2: agent_start parent=a1
        2s  agent a3: agent_start parent=a2
        3s  agent a2: prompt go on
        4s  agent a4: agent_start parent=a3
        5s  synthetic go on
        6s  prompt start again
        7s  agent a1: agent_end
        8s  agent b1: agent_start
        # A parent that has ended was a sub-agent.
        9s  agent b2: agent_start parent=a1
        10s agent b2: agent_end
        11s prompt start again
        # An agent is not its own parent.
        12s agent b3: agent_start parent=b3
    ";
    assert_snapshot!(play_detector(&detector, trace), @"
    1s      low       a sub-agent 2 levels below the main agent started
    4s      medium    a sub-agent 4 levels below the main agent started
    6s      resolved  a person sent a prompt
    9s      low       a sub-agent 2 levels below the main agent started
    11s     resolved  a person sent a prompt
    ");
}

#[test]
fn counts_agents_that_work_at_once() {
    let detector = with_levels("of = 'running'", 3, 9);
    let trace = "
        0s  prompt go
        1s  agent a1: agent_start
        2s  agent a1: turn_end
        3s  agent a2: agent_start
        4s  agent a3: agent_start
        5s  agent a1: prompt go on
        6s  agent a4: agent_start
        7s  agent a4: error retry=1 overloaded
        8s  agent a4: error overloaded
        9s  agent a3: agent_end
        10s agent a5: agent_start
    ";
    assert_snapshot!(play_detector(&detector, trace), @"
    6s      low       4 sub-agents work at once
    9s      resolved  down to 2 sub-agents
    10s     low       3 sub-agents work at once
    ");
}

#[test]
fn counts_agents_that_outlive_the_turn() {
    let detector = with_levels("of = 'unfinished'", 2, 9);
    let trace = "
        0s  prompt go
        1s  agent a1: agent_start
        2s  agent a2: agent_start
        3s  agent a2: turn_end
        4s  turn_end
        5s  prompt go
        6s  agent a2: prompt go
        7s  turn_end
        8s  agent a1: agent_end
        9s  agent a1: agent_start
        10s turn_end
        11s synthetic a task has ended
        12s agent a1: agent_end
        13s agent a2: agent_end
        14s turn_end
    ";
    assert_snapshot!(play_detector(&detector, trace), @"
    7s      low       the main agent ended its turn before 2 sub-agents
    8s      resolved  down to 1 sub-agent
    10s     low       the main agent ended its turn before 2 sub-agents
    11s     resolved  the main agent continues
    ");
}

#[test]
fn rejects_a_window_for_other_numbers() {
    let built = Options::parse("of = 'depth'\nwindow = '1h'");
    let error = built.and_then(|options| options.build(FanOut::new));
    let error = error.expect_err("the option is invalid").to_string();
    assert_snapshot!(error, @r#"invalid value for `window`: a window applies only to `of = "start"`; remove it"#);
}

#[test]
fn reports_with_the_default_levels() {
    let lines: Vec<_> = (0..250).map(|n| format!("{n}s agent a{n}: agent_start")).collect();
    assert_snapshot!(play::<FanOut>("", &lines.join("\n")), @"
    49s     low       50 sub-agents started
    1m39s   medium    100 sub-agents started
    4m9s    high      250 sub-agents started
    ");
}

#[test]
fn laws_hold() {
    let traces = [
        "0s agent a: agent_start\n1s agent b: agent_start parent=a\n5s turn_end",
        "0s agent a: agent_start\n0s agent b: agent_start\n0s turn_end\n9m agent a: turn_end",
    ];
    for options in ["", "window = '1m'", "of = 'depth'", "of = 'running'", "of = 'unfinished'"] {
        laws::of_detector(&with_levels(options, 2, 3)).traces(traces).check();
    }
}

#[test]
fn the_manual_is_complete() {
    laws::of::<FanOut>("").allow_no_reports().check();
}

#[test]
fn state_of_a_stream_is_small() {
    assert_eq!(size_of::<FanOut>(), 32);
}
