//! Diagnostics of `[detectors]`.

use insta::assert_snapshot;

use crate::check;

#[test]
fn a_valid_policy_has_no_diagnostics() {
    assert_snapshot!(check("
[detectors.quiet]
of = 'turn'
max = '5m'
"), @"");
}

#[test]
fn an_unknown_kind() {
    assert_snapshot!(check("
[detectors.quiet2]
kind = 'quite'
[sinks.s]
kind = 'smoke-signal'
"), @r#"
    error: detector kind `quite` is not compiled in
     --> policy.toml:3:8
      |
    3 | kind = 'quite'
      |        ^^^^^^^
      |
      = note: known kinds: quiet, repeat
      = note: to link an in-house detector, add a line such as `use acme_detector as _;` to the program's main.rs
    help: there is one with a similar name
      |
    3 - kind = 'quite'
    3 + kind = "quiet"
      |

    error: sink kind `smoke-signal` is not compiled in
     --> policy.toml:5:8
      |
    5 | kind = 'smoke-signal'
      |        ^^^^^^^^^^^^^^
      |
      = note: known kinds: hook
      = note: to link an in-house sink, add a line such as `use acme_sink as _;` to the program's main.rs
    "#);
}

#[test]
fn a_missing_kind() {
    assert_snapshot!(check("
[detectors.quite]
max = '1s'
[sinks.console]
"), @"
    error: detector `quite` has no `kind`
     --> policy.toml:2:12
      |
    2 | [detectors.quite]
      |            ^^^^^
      |
      = note: `kind` is optional only if the detector has the name of its kind
      = note: known kinds: quiet, repeat
    help: there is one with a similar name
      |
    2 - [detectors.quite]
    2 + [detectors.quiet]
      |

    error: sink `console` has no `kind`
     --> policy.toml:4:8
      |
    4 | [sinks.console]
      |        ^^^^^^^
      |
      = note: `kind` is optional only if the sink has the name of its kind
      = note: known kinds: hook
    ");
}

#[test]
fn every_invalid_option_is_reported() {
    assert_snapshot!(check("
[detectors.q]
kind = 'quiet'
of = 'trun'
maks = '5m'
max = 300
sevrity = 'low'
extra = { deep = 1 }
"), @r#"
    error: unknown value `trun`
     --> policy.toml:4:6
      |
    4 | of = 'trun'
      |      ^^^^^^
      |
      = note: expected one of `session`, `turn`
      = note: run `watchkeeper explain quiet` to see the options
    help: there is one with a similar name
      |
    4 - of = 'trun'
    4 + of = "turn"
      |

    error: unknown key `maks`
     --> policy.toml:5:1
      |
    5 | maks = '5m'
      | ^^^^
      |
      = note: expected one of `of`, `max`, `extra`, `enabled`, `exceptions`, `inhibited_by`, `kind`, `levels`, `per`, `references`, `runbook_url`, `severity`, `tags`
      = note: run `watchkeeper explain quiet` to see the options

    error: expected a length of time such as "30s", "5m" or "1h 30m", found the number `300`
     --> policy.toml:6:7
      |
    6 | max = 300
      |       ^^^
      |
      = note: run `watchkeeper explain quiet` to see the options
    help: if the number is in seconds
      |
    6 - max = 300
    6 + max = "5m"
      |

    error: unknown key `sevrity`
     --> policy.toml:7:1
      |
    7 | sevrity = 'low'
      | ^^^^^^^
      |
      = note: expected one of `of`, `max`, `extra`, `enabled`, `exceptions`, `inhibited_by`, `kind`, `levels`, `per`, `references`, `runbook_url`, `severity`, `tags`
      = note: run `watchkeeper explain quiet` to see the options
    help: there is one with a similar name
      |
    7 | severity = 'low'
      |    +

    error: unknown key `deep`
     --> policy.toml:8:11
      |
    8 | extra = { deep = 1 }
      |           ^^^^
      |
      = note: expected `depth`
      = note: run `watchkeeper explain quiet` to see the options
    "#);
}

#[test]
fn every_missing_option_is_reported() {
    assert_snapshot!(check("
[detectors.q]
kind = 'quiet'
"), @"
    error: `of` is missing
     --> policy.toml:2:1
      |
    2 | [detectors.q]
      | ^^^^^^^^^^^^^
      |
      = note: run `watchkeeper explain quiet` to see the options

    error: `max` is missing
     --> policy.toml:2:1
      |
    2 | [detectors.q]
      | ^^^^^^^^^^^^^
      |
      = note: run `watchkeeper explain quiet` to see the options
    ");
}

#[test]
fn an_option_that_the_kind_rejects() {
    assert_snapshot!(check("
[detectors.repeat]
least = 1
"), @"
    error: invalid value for `least`: one call is no repeat; use 2 or more
     --> policy.toml:3:1
      |
    3 | least = 1
      | ^^^^^
      |
      = note: run `watchkeeper explain repeat` to see the options
    ");
}

#[test]
fn severity_and_levels() {
    assert_snapshot!(check("
[detectors.repeat]
severity = 'hi'
levels = [{ at = 3, severity = 'low' }]
"), @r#"
    error: unknown value `hi`
     --> policy.toml:3:12
      |
    3 | severity = 'hi'
      |            ^^^^
      |
      = note: expected one of `low`, `medium`, `high`
    help: there is one with a similar name
      |
    3 - severity = 'hi'
    3 + severity = "high"
      |

    error: `levels` and `severity` cannot be used together
     --> policy.toml:4:1
      |
    4 | levels = [{ at = 3, severity = 'low' }]
      | ^^^^^^
      |
      = note: `severity` sets a single level, at the default measure of the kind
    "#);
}

#[test]
fn invalid_per() {
    assert_snapshot!(check("
[detectors.repeat]
per = 'team'
[detectors.r]
kind = 'repeat'
per = 'label:team'
"), @r#"
    error: invalid `per`: `team`
     --> policy.toml:3:7
      |
    3 | per = 'team'
      |       ^^^^^^
      |
      = note: with `per = "label:team"`, all sessions with the same `team` share one limit, with `per = "cwd"` or `per = "model"` those of one folder or model; without `per`, each agent or session has its own limit
    help: if this is the name of a label
      |
    3 - per = 'team'
    3 + per = "label:team"
      |

    warning: the policy sets no label `team`
     --> policy.toml:6:7
      |
    6 | per = 'label:team'
      |       ^^^^^^^^^^^^
      |
      = note: this detector does not monitor sessions without the label; set it in `[[labels]]`, or in the sessions themselves
    "#);
}

#[test]
fn disabled_entries_are_checked() {
    assert_snapshot!(check("
[detectors.repeat]
enabled = false
least = 'few'
"), @r#"
    error: expected a whole number, 0 or more, found the string "few"
     --> policy.toml:4:9
      |
    4 | least = 'few'
      |         ^^^^^
      |
      = note: run `watchkeeper explain repeat` to see the options
    "#);
}

#[test]
fn values_of_another_type() {
    assert_snapshot!(check("
[detectors.repeat]
same = 'tool'
least = '3'
enabled = 'false'
severity = ['low']

[detectors.quiet]
type = 'quiet'
of = 3.5
max = '300'

[detectors.other]
type = 'quiet'
levels = [3]
"), @r#"
    error: expected a list, found the string "tool"
     --> policy.toml:3:8
      |
    3 | same = 'tool'
      |        ^^^^^^
      |
      = note: run `watchkeeper explain repeat` to see the options
    help: write a list
      |
    3 - same = 'tool'
    3 + same = ['tool']
      |

    error: expected a whole number, 0 or more, found the string "3"
     --> policy.toml:4:9
      |
    4 | least = '3'
      |         ^^^
      |
      = note: run `watchkeeper explain repeat` to see the options
    help: remove the quotes
      |
    4 - least = '3'
    4 + least = 3
      |

    error: expected `true` or `false`, found the string "false"
     --> policy.toml:5:11
      |
    5 | enabled = 'false'
      |           ^^^^^^^
      |
    help: remove the quotes
      |
    5 - enabled = 'false'
    5 + enabled = false
      |

    error: expected a string
     --> policy.toml:6:12
      |
    6 | severity = ['low']
      |            ^^^^^^^

    error: unknown key `type`
     --> policy.toml:9:1
      |
    9 | type = 'quiet'
      | ^^^^
      |
      = note: expected one of `of`, `max`, `extra`, `enabled`, `exceptions`, `inhibited_by`, `kind`, `levels`, `per`, `references`, `runbook_url`, `severity`, `tags`
      = note: run `watchkeeper explain quiet` to see the options

    error: expected a string
      --> policy.toml:10:6
       |
    10 | of = 3.5
       |      ^^^
       |
       = note: run `watchkeeper explain quiet` to see the options

    error: expected a length of time such as "30s", "5m" or "1h 30m", found the string "300"
      --> policy.toml:11:7
       |
    11 | max = '300'
       |       ^^^^^
       |
       = note: run `watchkeeper explain quiet` to see the options
    help: if the number is in seconds
       |
    11 - max = '300'
    11 + max = "5m"
       |

    error: detector `other` has no `kind`
      --> policy.toml:13:12
       |
    13 | [detectors.other]
       |            ^^^^^
       |
       = note: `kind` is optional only if the detector has the name of its kind
       = note: known kinds: quiet, repeat
    help: rename the key
       |
    14 - type = 'quiet'
    14 + kind = 'quiet'
       |
    "#);
}

#[test]
fn two_levels_at_one_measure() {
    assert_snapshot!(check("
[detectors.repeat]
levels = [
    { at = 3, severity = 'low' },
    { at = 3, severity = 'high' },
    { at = 5, severity = 'high' },
    { at = 5, severity = 'high' },
]
"), @"
    warning: this level has no effect: another level at 3 is `high`
     --> policy.toml:4:5
      |
    4 |     { at = 3, severity = 'low' },
      |     ^^^^^^^^^^^^^^^^^^^^^^^^^^^^

    warning: two levels at 5 have severity `high`
     --> policy.toml:6:5
      |
    6 |     { at = 5, severity = 'high' },
      |     ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
    ");
}

#[test]
fn points_at_the_element_of_a_list_that_a_kind_refuses() {
    assert_snapshot!(check(r#"
[detectors.repeat]
same = ["tool", "", "arguments"]
"#), @r#"
    error: invalid value for `same[1]`: an empty name matches no field
     --> policy.toml:3:17
      |
    3 | same = ["tool", "", "arguments"]
      |                 ^^
      |
      = note: run `watchkeeper explain repeat` to see the options
    "#);
}

#[test]
fn a_route_matches_a_tag_of_a_detector() {
    let annotated = "
[detectors.repeat]
runbook_url = 'https://wiki.example/loops'
tags = ['loop', 'owner:payments']
references = ['https://wiki.example/incident/7']
[sinks.hook]
url = 'https://x'
[[routes]]
match = { tag = ['owner:*', 'lop'] }
sinks = ['hook']
";
    assert_snapshot!(check(annotated), @r#"
    warning: no tag of a detector matches `lop`
     --> policy.toml:9:29
      |
    9 | match = { tag = ['owner:*', 'lop'] }
      |                             ^^^^^
      |
    help: there is one with a similar name
      |
    9 - match = { tag = ['owner:*', 'lop'] }
    9 + match = { tag = ['owner:*', "loop"] }
      |
    "#);
}

#[test]
fn annotations_are_links_and_words() {
    let many = vec!["'x'"; 17].join(", ");
    assert_snapshot!(check(&format!("
[detectors.repeat]
runbook_url = 'javascript:alert(1)'
references = ['https://user:word@wiki.example', 'https://wiki.example/a b', 3]
tags = ['two words']
[detectors.quiet]
runbook = 'https://wiki.example'
references = 'https://wiki.example'
tags = [{many}]
")), @r#"
    error: expected an address that begins with `https://` or `http://` and a host
     --> policy.toml:3:15
      |
    3 | runbook_url = 'javascript:alert(1)'
      |               ^^^^^^^^^^^^^^^^^^^^^

    error: an address that findings carry must not contain a user name or a password
     --> policy.toml:4:15
      |
    4 | references = ['https://user:word@wiki.example', 'https://wiki.example/a b', 3]
      |               ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^

    error: an address has no spaces, quotes, brackets or letters outside of ASCII: write `%20` for a space
     --> policy.toml:4:49
      |
    4 | references = ['https://user:word@wiki.example', 'https://wiki.example/a b', 3]
      |                                                 ^^^^^^^^^^^^^^^^^^^^^^^^^^

    error: expected a string, found the number `3`
     --> policy.toml:4:77
      |
    4 | references = ['https://user:word@wiki.example', 'https://wiki.example/a b', 3]
      |                                                                             ^
      |
    help: add quotes
      |
    4 - references = ['https://user:word@wiki.example', 'https://wiki.example/a b', 3]
    4 + references = ['https://user:word@wiki.example', 'https://wiki.example/a b', "3"]
      |

    error: a tag has 1 to 64 bytes: visible letters, digits, and `-`, `_`, `.`, `:` or `/`
     --> policy.toml:5:9
      |
    5 | tags = ['two words']
      |         ^^^^^^^^^^^

    error: `of` is missing
     --> policy.toml:6:1
      |
    6 | [detectors.quiet]
      | ^^^^^^^^^^^^^^^^^
      |
      = note: run `watchkeeper explain quiet` to see the options

    error: `max` is missing
     --> policy.toml:6:1
      |
    6 | [detectors.quiet]
      | ^^^^^^^^^^^^^^^^^
      |
      = note: run `watchkeeper explain quiet` to see the options

    error: unknown key `runbook`
     --> policy.toml:7:1
      |
    7 | runbook = 'https://wiki.example'
      | ^^^^^^^
      |
      = note: expected one of `of`, `max`, `extra`, `enabled`, `exceptions`, `inhibited_by`, `kind`, `levels`, `per`, `references`, `runbook_url`, `severity`, `tags`
      = note: run `watchkeeper explain quiet` to see the options
    help: there is one with a similar name
      |
    7 | runbook_url = 'https://wiki.example'
      |        ++++

    error: `references` is not a list
     --> policy.toml:8:14
      |
    8 | references = 'https://wiki.example'
      |              ^^^^^^^^^^^^^^^^^^^^^^
      |
      = note: write a list: `references = ["…"]`

    error: `tags` has 17 elements, and may have 16
     --> policy.toml:9:8
      |
    9 | tags = ['x', 'x', 'x', 'x', 'x', 'x', 'x', 'x', 'x', 'x', 'x', 'x', 'x', 'x', 'x', 'x', 'x']
      |        ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
    "#);
}
