//! Levels of detectors.

use insta::assert_snapshot;

use crate::check;

#[test]
fn levels_with_counts() {
    assert_snapshot!(check("
[detectors.repeat]
levels = [
  { at = '75%', severity = 'low' },
  { at = '3', severity = 'low' },
  { at = 0, severity = 'low' },
  { at = 2.5, sevrity = 'low' },
  { severity = 'urgent' },
]
"), @r#"
    error: `at` of `repeat` must be a whole number, 1 or more
     --> policy.toml:4:10
      |
    4 |   { at = '75%', severity = 'low' },
      |          ^^^^^
      |
    help: use this form
      |
    4 -   { at = '75%', severity = 'low' },
    4 +   { at = 75, severity = 'low' },
      |

    error: `at` of `repeat` must be a whole number, 1 or more
     --> policy.toml:5:10
      |
    5 |   { at = '3', severity = 'low' },
      |          ^^^
      |
    help: use this form
      |
    5 -   { at = '3', severity = 'low' },
    5 +   { at = 3, severity = 'low' },
      |

    error: `at` of `repeat` must be a whole number, 1 or more
     --> policy.toml:6:10
      |
    6 |   { at = 0, severity = 'low' },
      |          ^
      |
      = note: write `at = 1`

    error: `severity` is missing
     --> policy.toml:7:3
      |
    7 |   { at = 2.5, sevrity = 'low' },
      |   ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      |
      = note: write `{ at = 1, severity = "medium" }`

    error: `at` of `repeat` must be a whole number, 1 or more
     --> policy.toml:7:10
      |
    7 |   { at = 2.5, sevrity = 'low' },
      |          ^^^
      |
      = note: write `at = 1`

    error: unknown key `sevrity`
     --> policy.toml:7:15
      |
    7 |   { at = 2.5, sevrity = 'low' },
      |               ^^^^^^^
      |
      = note: expected one of `action`, `at`, `severity`
    help: there is one with a similar name
      |
    7 |   { at = 2.5, severity = 'low' },
      |                  +

    error: `at` is missing
     --> policy.toml:8:3
      |
    8 |   { severity = 'urgent' },
      |   ^^^^^^^^^^^^^^^^^^^^^^^
      |
      = note: write `{ at = 1, severity = "medium" }`

    error: unknown value `urgent`
     --> policy.toml:8:16
      |
    8 |   { severity = 'urgent' },
      |                ^^^^^^^^
      |
      = note: expected one of `low`, `medium`, `high`
    "#);
}

#[test]
fn levels_with_percentages() {
    assert_snapshot!(check("
[detectors.quiet]
of = 'turn'
max = '1m'
levels = [
  { at = 75, severity = 'low' },
  { at = '80', severity = 'low' },
  { at = 'all', severity = 'low' },
]
"), @r#"
    error: `at` of `quiet` must be a percentage of the limit
     --> policy.toml:6:10
      |
    6 |   { at = 75, severity = 'low' },
      |          ^^
      |
    help: use this form
      |
    6 -   { at = 75, severity = 'low' },
    6 +   { at = "75%", severity = 'low' },
      |

    error: `at` of `quiet` must be a percentage of the limit
     --> policy.toml:7:10
      |
    7 |   { at = '80', severity = 'low' },
      |          ^^^^
      |
    help: use this form
      |
    7 -   { at = '80', severity = 'low' },
    7 +   { at = "80%", severity = 'low' },
      |

    error: `at` of `quiet` must be a percentage of the limit
     --> policy.toml:8:10
      |
    8 |   { at = 'all', severity = 'low' },
      |          ^^^^^
      |
      = note: write `at = "1%"`
    "#);
}

#[test]
fn levels_without_effect() {
    assert_snapshot!(check("
[detectors.repeat]
levels = [{ at = 5, severity = 'low' }, { at = 3, severity = 'high' }]
"), @"
    warning: this level has no effect: a finding is already `high` from 3 on
     --> policy.toml:3:11
      |
    3 | levels = [{ at = 5, severity = 'low' }, { at = 3, severity = 'high' }]
      |           ^^^^^^^^^^^^^^^^^^^^^^^^^^^^
    ");
}

#[test]
fn values_that_are_not_levels() {
    assert_snapshot!(check("
[detectors.quiet]
of = 'turn'
max = '1m'
levels = 3
[detectors.repeat]
levels = []
"), @r#"
    error: `levels` is not a list
     --> policy.toml:5:10
      |
    5 | levels = 3
      |          ^
      |
      = note: write `levels = [{ at = "1%", severity = "medium" }]`

    error: a detector without levels reports nothing
     --> policy.toml:7:10
      |
    7 | levels = []
      |          ^^
      |
      = note: remove `levels` to use the defaults of the kind, or write `enabled = false`
    "#);
}

#[test]
fn actions_of_levels() {
    assert_snapshot!(check("
[detectors.repeat]
levels = [
  { at = 3, severity = 'low', action = 'observe' },
  { at = 4, severity = 'medium', action = 'nudge' },
  { at = 8, severity = 'high', action = 'stop' },
]
"), @"");
    assert_snapshot!(check("
[detectors.repeat]
levels = [
  { at = 3, severity = 'low', action = 'nuge' },
  { at = 4, severity = 'medium', action = true },
  { at = 8, severity = 'high', actoin = 'stop' },
]
"), @r#"
    error: unknown value `nuge`
     --> policy.toml:4:40
      |
    4 |   { at = 3, severity = 'low', action = 'nuge' },
      |                                        ^^^^^^
      |
      = note: expected one of `observe`, `nudge`, `ask`, `deny`, `stop`
    help: there is one with a similar name
      |
    4 -   { at = 3, severity = 'low', action = 'nuge' },
    4 +   { at = 3, severity = 'low', action = "nudge" },
      |

    error: expected a string
     --> policy.toml:5:43
      |
    5 |   { at = 4, severity = 'medium', action = true },
      |                                           ^^^^

    error: unknown key `actoin`
     --> policy.toml:6:32
      |
    6 |   { at = 8, severity = 'high', actoin = 'stop' },
      |                                ^^^^^^
      |
      = note: expected one of `action`, `at`, `severity`
    help: there is one with a similar name
      |
    6 -   { at = 8, severity = 'high', actoin = 'stop' },
    6 +   { at = 8, severity = 'high', action = 'stop' },
      |
    "#);
}

#[test]
fn a_low_level_never_acts() {
    assert_snapshot!(check("
[detectors.repeat]
levels = [
  { at = 3, severity = 'low', action = 'deny' },
  { at = 4, severity = 'medium', action = 'ask' },
]
[[overrides]]
match = { source = 'codex' }
reason = 'no person is there'
detectors.repeat.levels = [{ at = 3, severity = 'low', action = 'stop' }]
"), @"
    error: a finding of severity `low` cannot have action `deny`
     --> policy.toml:4:40
      |
    4 |   { at = 3, severity = 'low', action = 'deny' },
      |                                        ^^^^^^
      |
      = note: a finding that only guesses never acts; set the action of a level with severity `medium` or `high`

    error: a finding of severity `low` cannot have action `stop`
      --> policy.toml:10:65
       |
    10 | detectors.repeat.levels = [{ at = 3, severity = 'low', action = 'stop' }]
       |                                                                 ^^^^^^
       |
       = note: a finding that only guesses never acts; set the action of a level with severity `medium` or `high`
    ");
}

#[test]
fn actions_without_effect() {
    assert_snapshot!(check("
[detectors.repeat]
levels = [
  { at = 3, severity = 'medium' },
  { at = 4, severity = 'medium', action = 'nudge' },
  { at = 5, severity = 'medium', action = 'nudge' },
  { at = 6, severity = 'high', action = 'stop' },
]
"), @"
    warning: action `nudge` has no effect: a finding is already `medium` from 3 on
     --> policy.toml:5:3
      |
    5 |   { at = 4, severity = 'medium', action = 'nudge' },
      |   ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      |
      = note: a finding is reported again only when its severity rises
    ");
}
