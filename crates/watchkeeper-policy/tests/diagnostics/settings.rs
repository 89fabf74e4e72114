//! `[monitor]`, `[labels]` and `[prices]`.

use insta::assert_snapshot;

use crate::check;

#[test]
fn monitor() {
    assert_snapshot!(check("
[monitor]
check_intervall = '5s'
shutdown_timeout = 2
session_expiry = '1 month'
max_sessions = 0
"), @r#"
    error: unknown key `check_intervall`
     --> policy.toml:3:1
      |
    3 | check_intervall = '5s'
      | ^^^^^^^^^^^^^^^
      |
      = note: known here: `check_interval`, `max_sessions`, `session_expiry`, `shutdown_timeout`
    help: there is one with a similar name
      |
    3 - check_intervall = '5s'
    3 + check_interval = '5s'
      |

    error: invalid type: integer `2`, expected a length of time such as "30s", "5m" or "1h 30m"
     --> policy.toml:4:20
      |
    4 | shutdown_timeout = 2
      |                    ^

    error: invalid value: string "1 month", expected a length of time such as "30s", "5m" or "1h 30m"
     --> policy.toml:5:18
      |
    5 | session_expiry = '1 month'
      |                  ^^^^^^^^^

    error: invalid value: integer `0`, expected a whole number, 1 or more
     --> policy.toml:6:16
      |
    6 | max_sessions = 0
      |                ^
    "#);
}

#[test]
fn labels_and_prices() {
    assert_snapshot!(check("
[labels]
team = 5
[prices.m]
input = -1.0
output = 1
[prices.n]
inputs = 1.0
"), @"
    error: invalid type: integer `5`, expected a string
     --> policy.toml:3:8
      |
    3 | team = 5
      |        ^

    error: a price cannot be less than nothing
     --> policy.toml:5:9
      |
    5 | input = -1.0
      |         ^^^^

    error: unknown key `inputs`
     --> policy.toml:8:1
      |
    8 | inputs = 1.0
      | ^^^^^^
      |
      = note: known here: `input`, `output`, `cache_read`, `cache_write`
      = note: a price is in US dollars for a million tokens
    help: there is one with a similar name
      |
    8 - inputs = 1.0
    8 + input = 1.0
      |
    ");
}
