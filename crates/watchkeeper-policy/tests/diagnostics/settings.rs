//! Diagnostics of `[monitor]`, `[labels]` and `[prices]`.

use insta::assert_snapshot;

use crate::check;

#[test]
fn invalid_monitor_options() {
    assert_snapshot!(check("
[monitor]
check_intervall = '5s'
shutdown_timeout = 2
session_expiry = '1 month'
max_sessions = 0
processes = 'no'
"), @r#"
    error: unknown key `check_intervall`
     --> policy.toml:3:1
      |
    3 | check_intervall = '5s'
      | ^^^^^^^^^^^^^^^
      |
      = note: expected one of `check_interval`, `dry_run`, `durable`, `max_sessions`, `mode`, `processes`, `session_expiry`, `shutdown_timeout`, `state_dir`, `ui_token`
    help: there is one with a similar name
      |
    3 - check_intervall = '5s'
    3 + check_interval = '5s'
      |

    error: expected a length of time such as "30s", "5m" or "1h 30m", found the number `2`
     --> policy.toml:4:20
      |
    4 | shutdown_timeout = 2
      |                    ^
      |
    help: if the number is in seconds
      |
    4 - shutdown_timeout = 2
    4 + shutdown_timeout = "2s"
      |

    error: expected a length of time such as "30s", "5m" or "1h 30m", found the string "1 month"
     --> policy.toml:5:18
      |
    5 | session_expiry = '1 month'
      |                  ^^^^^^^^^

    error: expected a whole number, 1 or more, found the number `0`
     --> policy.toml:6:16
      |
    6 | max_sessions = 0
      |                ^

    error: expected `true` or `false`, found the string "no"
     --> policy.toml:7:13
      |
    7 | processes = 'no'
      |             ^^^^
    "#);
}

#[test]
fn invalid_labels_and_prices() {
    assert_snapshot!(check("
[labels]
team = 5
[prices.m]
input = -1.0
output = 1
long_prompt = { above_tokens = 5, input = nan, output = -2.0 }
[prices.n]
inputs = 1.0
"), @r#"
    error: expected a string, found the number `5`
     --> policy.toml:3:8
      |
    3 | team = 5
      |        ^
      |
    help: add quotes
      |
    3 - team = 5
    3 + team = "5"
      |

    error: a price must be a finite number, 0 or more
     --> policy.toml:5:9
      |
    5 | input = -1.0
      |         ^^^^

    error: a price must be a finite number, 0 or more
     --> policy.toml:7:43
      |
    7 | long_prompt = { above_tokens = 5, input = nan, output = -2.0 }
      |                                           ^^^

    error: a price must be a finite number, 0 or more
     --> policy.toml:7:57
      |
    7 | long_prompt = { above_tokens = 5, input = nan, output = -2.0 }
      |                                                         ^^^^

    error: unknown key `inputs`
     --> policy.toml:9:1
      |
    9 | inputs = 1.0
      | ^^^^^^
      |
      = note: expected one of `input`, `output`, `cache_read`, `cache_write`, `long_prompt`
      = note: prices are in US dollars per million tokens
    help: there is one with a similar name
      |
    9 - inputs = 1.0
    9 + input = 1.0
      |
    "#);
}
