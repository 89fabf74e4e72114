//! Diagnostics of `[[overrides]]`.

use insta::assert_snapshot;

use crate::{check, load};

#[test]
fn overrides_with_missing_keys() {
    assert_snapshot!(check("
[[overrides]]
[[overrides]]
match = {}
reason = ''
detectors = {}
[[overrides]]
match = { cdw = '*', agent = 'a', cwd = [] }
reason = 'it is so'
because = 'it is so'
detectors = 7
"), @r#"
    error: `match` is missing
     --> policy.toml:2:1
      |
    2 | [[overrides]]
      | ^^^^^^^^^^^^^
      |
      = note: write `match = { cwd = "*/nightly/*" }`

    error: `reason` is missing
     --> policy.toml:2:1
      |
    2 | [[overrides]]
      | ^^^^^^^^^^^^^
      |
      = note: explain the reason to the next reader of this policy

    error: `detectors` is missing
     --> policy.toml:2:1
      |
    2 | [[overrides]]
      | ^^^^^^^^^^^^^
      |
      = note: write `detectors.ID.KEY = value`

    error: this matches every session
     --> policy.toml:4:9
      |
    4 | match = {}
      |         ^^
      |
      = note: set the options for all sessions in `[detectors]`

    error: `reason` is empty
     --> policy.toml:5:10
      |
    5 | reason = ''
      |          ^^
      |
      = note: explain the reason to the next reader of this policy

    warning: this override changes nothing
     --> policy.toml:6:13
      |
    6 | detectors = {}
      |             ^^
      |
      = note: write `detectors.ID.KEY = value`

    error: unknown key `cdw`
     --> policy.toml:8:11
      |
    8 | match = { cdw = '*', agent = 'a', cwd = [] }
      |           ^^^
      |
      = note: expected one of `cwd`, `model`, `source`, `version`
      = note: `match` uses facts that are known when a session starts; to match a label, write `"label:NAME" = "value"`
    help: there is one with a similar name
      |
    8 - match = { cdw = '*', agent = 'a', cwd = [] }
    8 + match = { cwd = '*', agent = 'a', cwd = [] }
      |

    error: unknown key `agent`
     --> policy.toml:8:22
      |
    8 | match = { cdw = '*', agent = 'a', cwd = [] }
      |                      ^^^^^
      |
      = note: expected one of `cwd`, `model`, `source`, `version`
      = note: `match` uses facts that are known when a session starts; to match a label, write `"label:NAME" = "value"`

    error: an empty list matches nothing
     --> policy.toml:8:41
      |
    8 | match = { cdw = '*', agent = 'a', cwd = [] }
      |                                         ^^

    error: unknown key `because`
      --> policy.toml:10:1
       |
    10 | because = 'it is so'
       | ^^^^^^^
       |
       = note: expected one of `detectors`, `match`, `reason`

    error: expected a table, found the number `7`
      --> policy.toml:11:13
       |
    11 | detectors = 7
       |             ^
    "#);
}

#[test]
fn overrides_must_be_a_list() {
    assert_snapshot!(check("
[overrides]
match = { cwd = '*/nightly/*' }
"), @"
    error: `overrides` is not a list
     --> policy.toml:2:1
      |
    2 | [overrides]
      | ^^^^^^^^^^^
      |
      = note: each override begins with `[[overrides]]`
    ");
}

#[test]
fn overrides_of_detectors_that_cannot_be_overridden() {
    assert_snapshot!(check("
[detectors.quiet]
of = 'turn'
max = '5m'
[detectors.team]
kind = 'repeat'
per = 'label:team'
[[overrides]]
match = { cwd = '*/nightly/*' }
reason = 'they run long on purpose'
detectors.quite.max = '3h'
detectors.team.least = 3
detectors.quiet.kind = 'repeat'
detectors.quiet.per = 'label:team'
detectors.quiet.maks = '3h'
detectors.quiet.max = 3
detectors.quiet.levels = [{ at = 50, severity = 'low' }]
"), @r#"
    warning: the policy sets no label `team`
     --> policy.toml:7:7
      |
    7 | per = 'label:team'
      |       ^^^^^^^^^^^^
      |
      = note: this detector does not monitor sessions without the label; set it in `[[labels]]`, or in the sessions themselves

    error: unknown detector `quite`
      --> policy.toml:11:11
       |
    11 | detectors.quite.max = '3h'
       |           ^^^^^
       |
    help: there is one with a similar name
       |
    11 - detectors.quite.max = '3h'
    11 + detectors.quiet.max = '3h'
       |

    error: a detector with `per` cannot be overridden
      --> policy.toml:12:11
       |
    12 | detectors.team.least = 3
       |           ^^^^
       |
       = note: with `per`, many sessions share one stream and its options

    error: `kind` cannot be overridden
      --> policy.toml:13:17
       |
    13 | detectors.quiet.kind = 'repeat'
       |                 ^^^^
       |
       = note: an override changes only the options, levels and exceptions of a detector

    error: `per` cannot be overridden
      --> policy.toml:14:17
       |
    14 | detectors.quiet.per = 'label:team'
       |                 ^^^
       |
       = note: an override changes only the options, levels and exceptions of a detector

    error: unknown key `maks`
      --> policy.toml:15:17
       |
    15 | detectors.quiet.maks = '3h'
       |                 ^^^^
       |
       = note: expected one of `of`, `max`, `extra`, `enabled`, `exceptions`, `inhibited_by`, `kind`, `levels`, `per`, `references`, `runbook_url`, `severity`, `tags`
       = note: run `watchkeeper explain quiet` to see the options

    error: expected a length of time such as "30s", "5m" or "1h 30m", found the number `3`
      --> policy.toml:16:23
       |
    16 | detectors.quiet.max = 3
       |                       ^
       |
       = note: run `watchkeeper explain quiet` to see the options
    help: if the number is in seconds
       |
    16 - detectors.quiet.max = 3
    16 + detectors.quiet.max = "3s"
       |

    error: `at` of `quiet` must be a percentage of the limit
      --> policy.toml:17:34
       |
    17 | detectors.quiet.levels = [{ at = 50, severity = 'low' }]
       |                                  ^^
       |
    help: use this form
       |
    17 - detectors.quiet.levels = [{ at = 50, severity = 'low' }]
    17 + detectors.quiet.levels = [{ at = "50%", severity = 'low' }]
       |
    "#);
}

#[test]
fn a_mistake_of_a_detector_is_reported_once() {
    assert_snapshot!(check("
[detectors.quiet]
of = 'trun'
max = '5m'
[[overrides]]
match = { cwd = '*/nightly/*' }
reason = 'they run long on purpose'
detectors.quiet.max = '3h'
[[overrides]]
match = { model = 'gpt-*' }
reason = 'it is slow'
detectors.quiet.max = '1h'
"), @r#"
    error: unknown value `trun`
     --> policy.toml:3:6
      |
    3 | of = 'trun'
      |      ^^^^^^
      |
      = note: expected one of `session`, `turn`
      = note: run `watchkeeper explain quiet` to see the options
    help: there is one with a similar name
      |
    3 - of = 'trun'
    3 + of = "turn"
      |
    "#);
}

#[test]
fn an_override_without_effect() {
    assert_snapshot!(check("
[detectors.quiet]
of = 'turn'
max = '5m'
[detectors.repeat]
enabled = false
[[overrides]]
match = { cwd = '*/nightly/*' }
reason = 'they run long on purpose'
detectors.quiet.max = '5m'
detectors.repeat.least = 4
"), @"
    warning: this override does not change `quiet`
      --> policy.toml:10:11
       |
    10 | detectors.quiet.max = '5m'
       |           ^^^^^
       |
       = note: the detector has these values already, or it is disabled

    warning: this override does not change `repeat`
      --> policy.toml:11:11
       |
    11 | detectors.repeat.least = 4
       |           ^^^^^^
       |
       = note: the detector has these values already, or it is disabled
    ");
}

#[test]
fn an_override_that_reverts_another_has_an_effect() {
    assert_snapshot!(check("
[detectors.quiet]
of = 'turn'
max = '5m'
[[overrides]]
match = { cwd = '*/nightly/*' }
reason = 'they run long on purpose'
detectors.quiet.max = '3h'
[[overrides]]
match = { cwd = '*/nightly/docs/*' }
reason = 'but these do not'
detectors.quiet.max = '5m'
"), @"");
}

#[test]
fn too_many_overrides_of_one_detector() {
    let one = |n: u8| {
        format!(
            "[[overrides]]\nmatch = {{ cwd = '{n}' }}\nreason = 'r'\ndetectors.repeat.least = 1{n}\n"
        )
    };
    let overrides: Vec<String> = (1..=6).map(one).collect();
    assert_snapshot!(check(&format!("[detectors.repeat]\n{}", overrides.concat())), @"
    error: more than 4 overrides change `repeat`
      --> policy.toml:22:11
       |
    22 | detectors.repeat.least = 15
       |           ^^^^^^
       |
       = note: combine overrides with equal options: `match` accepts lists
    ");
}

#[test]
fn a_detector_is_built_for_each_combination_of_overrides() {
    let text = "version = 1
[detectors.quiet]
of = 'turn'
max = '5m'
[[overrides]]
match = { cwd = '*/nightly/*' }
reason = 'they run long on purpose'
detectors.quiet.severity = 'low'
[[overrides]]
match = { model = 'gpt-*' }
reason = 'it is slow'
detectors.quiet.severity = 'high'
[[overrides]]
match = { version = '1.*' }
reason = 'it is old'
detectors.quiet.enabled = false
";
    let policy = load(&[("policy.toml", text)], None).policy.expect("a valid policy");
    assert_eq!(policy.n_detectors(), 1);
    let combinations = policy.detectors.iter().map(|detector| {
        let severities: Vec<&str> = detector.levels.iter().map(|it| it.severity.name()).collect();
        let sessions = &detector.sessions;
        let (all, none) = (sessions.all_of.len(), sessions.none_of.len());
        format!("{all} of 3 match, {none} do not: {}", severities.join(", "))
    });
    assert_snapshot!(combinations.collect::<Vec<_>>().join("\n"), @"
    0 of 3 match, 3 do not: medium
    1 of 3 match, 2 do not: low
    1 of 3 match, 2 do not: high
    2 of 3 match, 1 do not: high
    ");
}
