//! `[[routes]]`.

use insta::assert_snapshot;

use crate::check;

#[test]
fn invalid_routes() {
    assert_snapshot!(check("
[sinks.hook]
url = 'https://x'
[sinks.idle]
kind = 'hook'
url = 'https://x'
[[routes]]
sinks = ['hok', 'hook']
cooldwn = '5m'
[[routes]]
name = 'nowhere'
[[routes]]
sinks = 'hook'
[[routes]]
sinks = []
"), @r#"
    error: unknown sink `hok`
     --> policy.toml:8:10
      |
    8 | sinks = ['hok', 'hook']
      |          ^^^^^
      |
      = note: known sinks: `hook`, `idle`
    help: there is one with a similar name
      |
    8 - sinks = ['hok', 'hook']
    8 + sinks = ["hook", 'hook']
      |

    error: unknown key `cooldwn`
     --> policy.toml:9:1
      |
    9 | cooldwn = '5m'
      | ^^^^^^^
      |
      = note: expected one of `cooldown`, `fallback`, `for`, `group_by`, `group_wait`, `match`, `name`, `send_resolved`, `sinks`
    help: there is one with a similar name
      |
    9 | cooldown = '5m'
      |      +

    error: `sinks` is missing
      --> policy.toml:10:1
       |
    10 | [[routes]]
       | ^^^^^^^^^^
       |
       = note: known sinks: `hook`, `idle`

    error: `sinks` is not a list
      --> policy.toml:13:9
       |
    13 | sinks = 'hook'
       |         ^^^^^^
       |
       = note: write a list: `sinks = ["console"]`

    warning: the route has no sinks
      --> policy.toml:15:9
       |
    15 | sinks = []
       |         ^^
    "#);
}

#[test]
fn invalid_matches() {
    assert_snapshot!(check("
[detectors.repeat]
[sinks.hook]
url = 'https://x'
[[routes]]
sinks = ['hook']
[routes.match]
severity = '>hihg'
status = 'resolvd'
detector = ['repat', 'rep*', 'watchkeeper-delivery']
kind = 'quite'
class = 'budget'
agent = []
source = 7
'label:team' = 'a'
team = 'a'
"), @r#"
    error: unknown severity `>hihg`
     --> policy.toml:8:12
      |
    8 | severity = '>hihg'
      |            ^^^^^^^
      |
      = note: expected `low`, `medium` or `high`, or `>=medium` for a severity and all above
    help: there is one with a similar name
      |
    8 - severity = '>hihg'
    8 + severity = ">=high"
      |

    error: unknown status `resolvd`
     --> policy.toml:9:10
      |
    9 | status = 'resolvd'
      |          ^^^^^^^^^
      |
      = note: expected `open` or `resolved`
    help: there is one with a similar name
      |
    9 - status = 'resolvd'
    9 + status = "resolved"
      |

    warning: no detector matches `repat`
      --> policy.toml:10:13
       |
    10 | detector = ['repat', 'rep*', 'watchkeeper-delivery']
       |             ^^^^^^^
       |
    help: there is one with a similar name
       |
    10 - detector = ['repat', 'rep*', 'watchkeeper-delivery']
    10 + detector = ["repeat", 'rep*', 'watchkeeper-delivery']
       |

    warning: no kind of detector matches `quite`
      --> policy.toml:11:8
       |
    11 | kind = 'quite'
       |        ^^^^^^^
       |
    help: there is one with a similar name
       |
    11 - kind = 'quite'
    11 + kind = "quiet"
       |

    warning: no class matches `budget`
      --> policy.toml:12:9
       |
    12 | class = 'budget'
       |         ^^^^^^^^

    error: an empty list matches nothing
      --> policy.toml:13:9
       |
    13 | agent = []
       |         ^^

    error: expected a string, found the number `7`
      --> policy.toml:14:10
       |
    14 | source = 7
       |          ^
       |
    help: add quotes
       |
    14 - source = 7
    14 + source = "7"
       |

    error: unknown key `team`
      --> policy.toml:16:1
       |
    16 | team = 'a'
       | ^^^^
       |
       = note: expected one of `agent`, `class`, `detector`, `kind`, `session`, `severity`, `source`, `status`, `tag`
       = note: to match a label, write `"label:NAME" = "value"`
    "#);
}

#[test]
fn invalid_groups() {
    assert_snapshot!(check("
[sinks.hook]
url = 'https://x'
[[routes]]
sinks = ['hook']
group_by = ['detector']
[[routes]]
sinks = ['hook']
group_wait = '10s'
group_by = ['detectors', 'label:', 7]
[[routes]]
sinks = ['hook']
group_wait = '10s'
group_by = 'detector'
"), @r#"
    error: `group_by` needs `group_wait`
     --> policy.toml:6:1
      |
    6 | group_by = ['detector']
      | ^^^^^^^^
      |
      = note: `group_wait = "10s"` is the time in which findings are collected

    warning: `group_wait` has no effect
     --> policy.toml:9:1
      |
    9 | group_wait = '10s'
      | ^^^^^^^^^^
      |
      = note: each sink of the route receives findings one by one

    error: `detectors` is no field of findings
      --> policy.toml:10:13
       |
    10 | group_by = ['detectors', 'label:', 7]
       |             ^^^^^^^^^^^
       |
       = note: expected one of `agent`, `class`, `detector`, `kind`, `session`, `severity`, `source` or `label:NAME`
    help: there is one with a similar name
       |
    10 - group_by = ['detectors', 'label:', 7]
    10 + group_by = ["detector", 'label:', 7]
       |

    error: `label:` is no field of findings
      --> policy.toml:10:26
       |
    10 | group_by = ['detectors', 'label:', 7]
       |                          ^^^^^^^^
       |
       = note: expected one of `agent`, `class`, `detector`, `kind`, `session`, `severity`, `source` or `label:NAME`

    error: expected a string, found the number `7`
      --> policy.toml:10:36
       |
    10 | group_by = ['detectors', 'label:', 7]
       |                                    ^
       |
    help: add quotes
       |
    10 - group_by = ['detectors', 'label:', 7]
    10 + group_by = ['detectors', 'label:', "7"]
       |

    warning: `group_wait` has no effect
      --> policy.toml:13:1
       |
    13 | group_wait = '10s'
       | ^^^^^^^^^^
       |
       = note: each sink of the route receives findings one by one

    error: `group_by` is not a list
      --> policy.toml:14:12
       |
    14 | group_by = 'detector'
       |            ^^^^^^^^^^
       |
       = note: write a list: `group_by = ["detector"]`
    "#);
}

#[test]
fn resolved_findings_in_matches() {
    assert_snapshot!(check("
[sinks.hook]
url = 'https://x'
[[routes]]
sinks = ['hook']
send_resolved = true
for = '5m'
match = { status = 'resolved', severity = 'high' }
"), @"
    error: `send_resolved` cannot be used with `match.status`
     --> policy.toml:6:1
      |
    6 | send_resolved = true
      | ^^^^^^^^^^^^^
      |
      = note: without `status`, `send_resolved` adds a resolved finding for each one that was sent

    error: `for` cannot be used with `match.status`
     --> policy.toml:7:1
      |
    7 | for = '5m'
      | ^^^
      |
      = note: without `status`, `for` is the time for which a finding has to be open

    error: a resolved finding has no severity
     --> policy.toml:8:32
      |
    8 | match = { status = 'resolved', severity = 'high' }
      |                                ^^^^^^^^
      |
      = note: to send the end of each finding, use `send_resolved = true` on a route for open findings
    ");
}

#[test]
fn a_sink_without_a_route() {
    assert_snapshot!(check("
[detectors.repeat]

[sinks.hook]
url = 'https://x'

[sinks.idle]
kind = 'hook'
url = 'https://x'

[[routes]]
sinks = ['hook']
"), @"
    warning: no route uses sink `idle`
     --> policy.toml:7:8
      |
    7 | [sinks.idle]
      |        ^^^^
    ");
}

#[test]
fn other_spellings_of_a_lowest_severity() {
    for (written, suggested) in [
        ("medium+", ">=medium"),
        ("> medium", ">=medium"),
        ("=>medium", ">=medium"),
        (">=mediun", ">=medium"),
        ("high or higher", ">=high"),
        ("meduim", "medium"),
    ] {
        let route = format!("[[routes]]\nsinks = ['hook']\nmatch = {{ severity = '{written}' }}");
        let rendered =
            check(&format!("[detectors.repeat]\n[sinks.hook]\nurl = 'https://x'\n{route}"));
        let fixed = format!("+ match = {{ severity = \"{suggested}\" }}");
        assert!(rendered.contains(&fixed), "{written}\n{rendered}");
    }
}

#[test]
fn a_list_of_severities() {
    assert_snapshot!(check("
[detectors.repeat]

[sinks.hook]
url = 'https://x'

[[routes]]
match = { severity = ['medium', 'high'] }
sinks = ['hook']
"), @r#"
    error: `severity` is a list, but must be a string
     --> policy.toml:8:22
      |
    8 | match = { severity = ['medium', 'high'] }
      |                      ^^^^^^^^^^^^^^^^^^
      |
      = note: write `severity = ">=medium"` for a severity and all above, or one route for each
    "#);
}

#[test]
fn a_fallback_needs_findings_that_no_route_matches() {
    assert_snapshot!(check("
[detectors.repeat]
[sinks.hook]
url = 'https://x'
[[routes]]
sinks = ['hook']
[[routes]]
fallback = true
sinks = ['hook']
[[routes]]
fallback = 'yes'
sinks = ['hook']
"), @r#"
    warning: this fallback never acts
     --> policy.toml:8:1
      |
    8 | fallback = true
      | ^^^^^^^^
      |
      = note: route `1` matches every finding

    error: expected `true` or `false`, found the string "yes"
      --> policy.toml:11:12
       |
    11 | fallback = 'yes'
       |            ^^^^^
    "#);
    let policy = "[detectors.repeat]\n[sinks.hook]\nurl = 'https://x'\n\
                  [[routes]]\nmatch = { severity = 'high' }\nsinks = ['hook']\n\
                  [[routes]]\nfallback = true\nsinks = ['hook']\n";
    assert_eq!(check(policy), "");
}

#[test]
fn group_wait_needs_a_sink_that_groups() {
    assert_snapshot!(check("
[detectors.repeat]
[sinks.hook]
url = 'https://x'
[[routes]]
sinks = ['hook']
group_wait = '10s'
"), @"
    warning: `group_wait` has no effect
     --> policy.toml:7:1
      |
    7 | group_wait = '10s'
      | ^^^^^^^^^^
      |
      = note: each sink of the route receives findings one by one
    ");
}
