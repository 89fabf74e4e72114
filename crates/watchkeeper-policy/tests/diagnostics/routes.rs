//! `[[routes]]`.

use insta::assert_snapshot;

use crate::check;

#[test]
fn routes() {
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
    warning: there is no sink `hok`
     --> policy.toml:8:10
      |
    8 | sinks = ['hok', 'hook']
      |          ^^^^^
      |
      = note: there are `hook`, `idle`
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
      = note: known here: `cooldown`, `match`, `name`, `send_resolved`, `sinks`
    help: there is one with a similar name
      |
    9 | cooldown = '5m'
      |      +

    error: `sinks` is missing: the route leads nowhere
      --> policy.toml:10:1
       |
    10 | [[routes]]
       | ^^^^^^^^^^
       |
       = note: there are `hook`, `idle`

    error: `sinks` is not a list
      --> policy.toml:13:9
       |
    13 | sinks = 'hook'
       |         ^^^^^^
       |
       = note: write a list: `sinks = ["console"]`

    warning: the route leads nowhere
      --> policy.toml:15:9
       |
    15 | sinks = []
       |         ^^
    "#);
}

#[test]
fn matches() {
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
    error: there is no severity `>hihg`
     --> policy.toml:8:12
      |
    8 | severity = '>hihg'
      |            ^^^^^^^
      |
      = note: there are `low`, `medium` and `high`, and `>=medium` for one and all above
    help: there is one with a similar name
      |
    8 - severity = '>hihg'
    8 + severity = ">=high"
      |

    error: there is no status `resolvd`
     --> policy.toml:9:10
      |
    9 | status = 'resolvd'
      |          ^^^^^^^^^
      |
      = note: a finding is `open` or `resolved`
    help: there is one with a similar name
      |
    9 - status = 'resolvd'
    9 + status = "resolved"
      |

    warning: no detector is called `repat`
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

    warning: no kind of detector is called `quite`
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

    warning: no class is called `budget`
      --> policy.toml:12:9
       |
    12 | class = 'budget'
       |         ^^^^^^^^

    error: nothing is in an empty list, so nothing matches
      --> policy.toml:13:9
       |
    13 | agent = []
       |         ^^

    error: expected a text, found the number `7`
      --> policy.toml:14:10
       |
    14 | source = 7
       |          ^
       |
    help: put it in quotation marks
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
       = note: known here: `agent`, `class`, `detector`, `kind`, `session`, `severity`, `source`, `status`
       = note: a label is matched by `"label:NAME" = "value"`
    "#);
}

#[test]
fn what_is_resolved() {
    assert_snapshot!(check("
[sinks.hook]
url = 'https://x'
[[routes]]
sinks = ['hook']
send_resolved = true
match = { status = 'resolved', severity = 'high' }
"), @"
    error: `send_resolved` says nothing beside a `status`
     --> policy.toml:6:1
      |
    6 | send_resolved = true
      | ^^^^^^^^^^^^^
      |
      = note: without a `status` it adds the end of what the route sent

    error: what is resolved has no severity
     --> policy.toml:7:32
      |
    7 | match = { status = 'resolved', severity = 'high' }
      |                                ^^^^^^^^
      |
      = note: `send_resolved = true` on a route for open findings adds the end of each
    ");
}

#[test]
fn a_sink_that_no_route_reaches() {
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
    warning: no route reaches sink `idle`
     --> policy.toml:7:8
      |
    7 | [sinks.idle]
      |        ^^^^
    ");
}

#[test]
fn several_severities_in_a_list() {
    assert_snapshot!(check("
[detectors.repeat]

[sinks.hook]
url = 'https://x'

[[routes]]
match = { severity = ['medium', 'high'] }
sinks = ['hook']
"), @r#"
    error: `severity` is one text, and no list
     --> policy.toml:8:22
      |
    8 | match = { severity = ['medium', 'high'] }
      |                      ^^^^^^^^^^^^^^^^^^
      |
      = note: write `severity = ">=medium"` for one and all above, or a route for each
    "#);
}
