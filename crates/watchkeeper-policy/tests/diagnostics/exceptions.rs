//! `[[detectors.ID.exceptions]]`.

use insta::assert_snapshot;

use crate::{check, effective};

#[test]
fn valid_exceptions_and_overrides() {
    assert_snapshot!(check("
[detectors.repeat]
same = ['tool', 'result']
[[detectors.repeat.exceptions]]
tool = ['gdb*', 'lldb*']
arguments = { command = 'next' }
reason = 'stepping a debugger repeats by design'
expires = 2027-03-31
[detectors.quiet]
of = 'turn'
max = '5m'
[[overrides]]
match = { cwd = '*/nightly/*', 'label:team' = ['search', 'index'] }
reason = 'they run long on purpose'
detectors.quiet.max = '3h'
detectors.repeat.same.add = ['arguments']
detectors.repeat.same.remove = ['result']
detectors.repeat.exceptions.add = [{ tool = 'sleep', reason = 'they wait' }]
"), @"");
}

#[test]
fn invalid_exceptions() {
    assert_snapshot!(check("
[detectors.repeat]
[[detectors.repeat.exceptions]]
tol = 'gdb*'
[[detectors.repeat.exceptions]]
tool = []
reason = ' '
arguments = 'next'
expires = '2027-03-31'
[[detectors.repeat.exceptions]]
tool = { name = 'x' }
reason = 'it is so'
arguments.command = { glob = '*' }
expires = 2027-03-31T10:00:00Z
"), @r#"
    error: `tool` is missing
     --> policy.toml:3:1
      |
    3 | [[detectors.repeat.exceptions]]
      | ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      |
      = note: write `tool = "gdb*"` and `reason = "stepping repeats by design"`

    error: `reason` is missing
     --> policy.toml:3:1
      |
    3 | [[detectors.repeat.exceptions]]
      | ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      |
      = note: write `tool = "gdb*"` and `reason = "stepping repeats by design"`

    error: unknown key `tol`
     --> policy.toml:4:1
      |
    4 | tol = 'gdb*'
      | ^^^
      |
      = note: expected one of `arguments`, `expires`, `reason`, `tool`
    help: there is one with a similar name
      |
    4 | tool = 'gdb*'
      |   +

    error: an empty list matches nothing
     --> policy.toml:6:8
      |
    6 | tool = []
      |        ^^

    error: `reason` is empty
     --> policy.toml:7:10
      |
    7 | reason = ' '
      |          ^^^
      |
      = note: explain the reason to the next reader of this policy

    error: expected a table, found a string
     --> policy.toml:8:13
      |
    8 | arguments = 'next'
      |             ^^^^^^

    error: `expires` is not a date
     --> policy.toml:9:11
      |
    9 | expires = '2027-03-31'
      |           ^^^^^^^^^^^^
      |
    help: write a date
      |
    9 - expires = '2027-03-31'
    9 + expires = 2027-03-31
      |

    warning: this exception has no effect: another one covers all of its calls
      --> policy.toml:10:1
       |
    10 | [[detectors.repeat.exceptions]]
       | ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
       |
       = note: the other exception is at policy.toml:5

    error: expected a string, found a table
      --> policy.toml:11:8
       |
    11 | tool = { name = 'x' }
       |        ^^^^^^^^^^^^^^

    error: expected a string, found a table
      --> policy.toml:13:21
       |
    13 | arguments.command = { glob = '*' }
       |                     ^^^^^^^^^^^^^^

    error: `expires` is not a date
      --> policy.toml:14:11
       |
    14 | expires = 2027-03-31T10:00:00Z
       |           ^^^^^^^^^^^^^^^^^^^^
       |
    help: write a date
       |
    14 - expires = 2027-03-31T10:00:00Z
    14 + expires = 2027-03-31
       |
    "#);
}

#[test]
fn an_exception_that_expires_later() {
    assert_snapshot!(check("
[detectors.repeat]
[[detectors.repeat.exceptions]]
tool = 'gdb'
reason = 'it is so'
expires = 'soon'
"), @"
    error: `expires` is not a date
     --> policy.toml:6:11
      |
    6 | expires = 'soon'
      |           ^^^^^^
      |
      = note: write `expires = 2027-03-31`, without quotes
    ");
}

#[test]
fn exceptions_must_be_a_list() {
    assert_snapshot!(check("
[detectors.repeat.exceptions]
tool = 'gdb*'
reason = 'stepping a debugger repeats by design'
"), @"
    error: `exceptions` is not a list
     --> policy.toml:2:1
      |
    2 | [detectors.repeat.exceptions]
      | ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      |
      = note: each exception begins with `[[detectors.ID.exceptions]]`
    ");
}

#[test]
fn an_exception_that_has_expired() {
    assert_snapshot!(check("
[detectors.repeat]
exceptions = [
    { tool = 'gdb', reason = 'until it is mended', expires = 2027-01-01 },
    { tool = 'lldb', reason = 'until it is mended', expires = 2027-01-02 },
]
"), @"
    warning: this exception expired on 2027-01-01
     --> policy.toml:4:62
      |
    4 |     { tool = 'gdb', reason = 'until it is mended', expires = 2027-01-01 },
      |                                                              ^^^^^^^^^^
      |
      = note: remove it, or set a later date if its reason still holds
      = note: its reason was: until it is mended
    ");
}

#[test]
fn effective_exceptions_and_overrides() {
    let base = "version = 1
[detectors.repeat]
[[detectors.repeat.exceptions]]
tool = 'gdb*'
reason = 'stepping a debugger repeats by design'
expires = 2027-03-31
";
    let policy = "version = 1
extends = ['base.toml']
[detectors.repeat]
exceptions.add = [{ tool = 'sleep', arguments = { n = '1*' }, reason = 'it waits' }]
[[overrides]]
match = { source = 'codex', 'label:team' = 'search' }
reason = 'it is so'
detectors.repeat.least = 7
detectors.repeat.exceptions.remove = [{ tool = 'sleep', arguments = { n = '1*' }, reason = 'it waits' }]
";
    assert_snapshot!(effective(&[("policy.toml", policy), ("base.toml", base)]), @r#"
    version = 1  # policy.toml:1

    [monitor]
    check_interval = "5s"    # default
    dry_run = false          # default
    durable = "process"      # default
    max_sessions = 1000000   # default
    mode = "observe"         # default
    processes = true         # default
    session_expiry = "24h"   # default
    shutdown_timeout = "2s"  # default

    [detectors.repeat]
    kind = "repeat"                             # the name of the detector
    levels = [{ at = 1, severity = "medium" }]  # default of repeat
    least = 2                                   # default of repeat
    same = ["tool"]                             # default of repeat

    [[detectors.repeat.exceptions]]
    expires = 2027-03-31                              # base.toml:6
    reason = "stepping a debugger repeats by design"  # base.toml:5
    tool = "gdb*"                                     # base.toml:4

    [[detectors.repeat.exceptions]]
    arguments.n = "1*"   # policy.toml:4
    reason = "it waits"  # policy.toml:4
    tool = "sleep"       # policy.toml:4

    [[overrides]]
    detectors.repeat.exceptions.remove = [{ arguments = { n = "1*" }, reason = "it waits", tool = "sleep" }]  # policy.toml:9
    detectors.repeat.least = 7     # policy.toml:8
    match."label:team" = "search"  # policy.toml:6
    match.source = "codex"         # policy.toml:6
    reason = "it is so"            # policy.toml:7
    "#);
}

#[test]
fn an_exception_that_another_covers() {
    assert_snapshot!(check("
[detectors.repeat]

[[detectors.repeat.exceptions]]
tool = ['Bash', 'Read']
arguments = { command = 'git *' }
reason = 'narrow'

[[detectors.repeat.exceptions]]
tool = ['Ba*', 'Read*']
reason = 'wide'

[[detectors.repeat.exceptions]]
tool = 'Bash'
arguments = { command = 'make *' }
reason = 'narrow, and later'

[[detectors.repeat.exceptions]]
tool = ['Read*', 'Ba*']
reason = 'the same again'

[[detectors.repeat.exceptions]]
tool = 'B*'
arguments = { path = '/tmp/*' }
reason = 'neither'
"), @"
    warning: this exception has no effect: another one covers all of its calls
     --> policy.toml:4:1
      |
    4 | [[detectors.repeat.exceptions]]
      | ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      |
      = note: the other exception is at policy.toml:9

    warning: this exception has no effect: another one covers all of its calls
      --> policy.toml:13:1
       |
    13 | [[detectors.repeat.exceptions]]
       | ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
       |
       = note: the other exception is at policy.toml:9

    warning: this exception has no effect: another one covers all of its calls
      --> policy.toml:18:1
       |
    18 | [[detectors.repeat.exceptions]]
       | ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
       |
       = note: the other exception is at policy.toml:9
    ");
}

#[test]
fn an_exception_that_is_covered_in_some_sessions_only() {
    assert_snapshot!(check("
[detectors.repeat]

[[detectors.repeat.exceptions]]
tool = 'Bash'
reason = 'everywhere'

[[overrides]]
match = { cwd = '/nightly/*' }
reason = 'nightly'
detectors.repeat.exceptions.add = [
    { tool = '*', reason = 'anything goes at night' },
    { tool = 'Bash', reason = 'as everywhere' },
]
"), @"
    warning: this exception has no effect: another one covers all of its calls
      --> policy.toml:13:5
       |
    13 |     { tool = 'Bash', reason = 'as everywhere' },
       |     ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
       |
       = note: the other exception is at policy.toml:4
    ");
}

#[test]
fn impossible_tool_names() {
    assert_snapshot!(check("
[detectors.repeat]

[[detectors.repeat.exceptions]]
tool = ['Bash(git *)', 'Read|Write', 'mcp__.*', '^Bash$', ' Bash', 'mcp__files__*']
reason = 'written for others'
"), @r#"
    warning: no tool can have the name `Bash(git *)`
     --> policy.toml:5:9
      |
    5 | tool = ['Bash(git *)', 'Read|Write', 'mcp__.*', '^Bash$', ' Bash', 'mcp__files__*']
      |         ^^^^^^^^^^^^^
      |
      = note: match the tool and its arguments separately, as in `tool = "Bash"` and `arguments = { command = "git *" }`

    warning: no tool can have the name `Read|Write`
     --> policy.toml:5:24
      |
    5 | tool = ['Bash(git *)', 'Read|Write', 'mcp__.*', '^Bash$', ' Bash', 'mcp__files__*']
      |                        ^^^^^^^^^^^^
      |
      = note: write a list: `tool = ["Read", "Write"]`

    warning: no tool can have the name `mcp__.*`
     --> policy.toml:5:38
      |
    5 | tool = ['Bash(git *)', 'Read|Write', 'mcp__.*', '^Bash$', ' Bash', 'mcp__files__*']
      |                                      ^^^^^^^^^
      |
      = note: only `*` is special: it matches any text

    warning: no tool can have the name `^Bash$`
     --> policy.toml:5:49
      |
    5 | tool = ['Bash(git *)', 'Read|Write', 'mcp__.*', '^Bash$', ' Bash', 'mcp__files__*']
      |                                                 ^^^^^^^^
      |
      = note: only `*` is special: it matches any text

    warning: no tool can have the name ` Bash`
     --> policy.toml:5:59
      |
    5 | tool = ['Bash(git *)', 'Read|Write', 'mcp__.*', '^Bash$', ' Bash', 'mcp__files__*']
      |                                                           ^^^^^^^
      |
      = note: write the full name as it appears in sessions
    "#);
}
