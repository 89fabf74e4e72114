//! `[[silences]]`.

use insta::assert_snapshot;

use crate::{check, effective};

#[test]
fn invalid_silences() {
    assert_snapshot!(check("
[[silences]]
match = { detector = 'repea', severity = 'low', status = 'open' }
until = 2027-02-01
author = 'ada'
reason = 'known'
[[silences]]
match = {}
until = 'tomorrow'
author = ' '
reason = ''
autor = 1
[[silences]]
match = { detector = 'repea' }
until = 2026-12-31T23:00:00+01:00
author = 'ada'
reason = 'see #12'
[detectors.repeat]
"), @r#"
    error: a silence hides findings that open; their ends follow them
     --> policy.toml:3:49
      |
    3 | match = { detector = 'repea', severity = 'low', status = 'open' }
      |                                                 ^^^^^^
      |
      = note: remove `status`

    error: a silence without conditions would hide every finding
     --> policy.toml:8:9
      |
    8 | match = {}
      |         ^^
      |
      = note: write `match = { detector = "call_loop" }`, `until = 2027-03-31T18:00:00Z`, `author = "ada"` and `reason = "known, see #12"`

    error: `until` is not a time
     --> policy.toml:9:9
      |
    9 | until = 'tomorrow'
      |         ^^^^^^^^^^
      |
      = note: write `until = 2027-03-31T18:00:00Z`, with an offset such as `Z`, or a date

    error: `author` is empty
      --> policy.toml:10:10
       |
    10 | author = ' '
       |          ^^^
       |
       = note: write `match = { detector = "call_loop" }`, `until = 2027-03-31T18:00:00Z`, `author = "ada"` and `reason = "known, see #12"`

    error: `reason` is empty
      --> policy.toml:11:10
       |
    11 | reason = ''
       |          ^^
       |
       = note: explain the reason to the next reader of this policy

    error: unknown key `autor`
      --> policy.toml:12:1
       |
    12 | autor = 1
       | ^^^^^
       |
       = note: expected one of `author`, `match`, `reason`, `until`
    help: there is one with a similar name
       |
    12 | author = 1
       |    +

    warning: no detector matches `repea`
      --> policy.toml:14:22
       |
    14 | match = { detector = 'repea' }
       |                      ^^^^^^^
       |
    help: there is one with a similar name
       |
    14 - match = { detector = 'repea' }
    14 + match = { detector = "repeat" }
       |

    warning: this silence ended at 2026-12-31T22:00:00Z
      --> policy.toml:15:9
       |
    15 | until = 2026-12-31T23:00:00+01:00
       |         ^^^^^^^^^^^^^^^^^^^^^^^^^
       |
       = note: remove it, or set a later time if its reason still holds
       = note: its reason was: see #12
    "#);
}

#[test]
fn the_date_of_a_silence_is_included() {
    let with = |until: &str| {
        check(&format!(
            "[detectors.repeat]\n[[silences]]\nmatch = {{ class = 'runaway' }}\nuntil = {until}\n\
             author = 'ada'\nreason = 'known'\n"
        ))
    };
    // The policies of these tests are read on this day.
    assert_snapshot!(with("2027-01-01"), @"");
    assert_snapshot!(with("'2027-01-01'"), @"");
    assert_snapshot!(with("2026-12-31"), @"
    warning: this silence ended at 2027-01-01T00:00:00Z
     --> policy.toml:5:9
      |
    5 | until = 2026-12-31
      |         ^^^^^^^^^^
      |
      = note: remove it, or set a later time if its reason still holds
      = note: its reason was: known
    ");
}

#[test]
fn a_silence_is_not_a_table() {
    assert_snapshot!(check("[silences]\nuntil = 2027-02-01\n[detectors.repeat]\n"), @"
    error: `silences` is not a list
     --> policy.toml:2:1
      |
    2 | [silences]
      | ^^^^^^^^^^
      |
      = note: each silence begins with `[[silences]]`
    ");
}

#[test]
fn silences_are_part_of_the_policy() {
    let policy = "version = 1\n[detectors.repeat]\n[[silences]]\nmatch = { 'label:env' = 'dev' }\n\
                  until = 2027-02-01T10:00:00Z\nauthor = 'ada'\nreason = 'known'\n";
    let effective = effective(&[("policy.toml", policy)]);
    let silence = effective.split("[[silences]]").nth(1).unwrap_or_default();
    assert_snapshot!(silence, @r#"
    author = "ada"                # policy.toml:6
    match."label:env" = "dev"     # policy.toml:4
    reason = "known"              # policy.toml:7
    until = 2027-02-01T10:00:00Z  # policy.toml:5
    "#);
}
