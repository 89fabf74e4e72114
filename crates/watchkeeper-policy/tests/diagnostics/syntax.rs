//! Texts that are no policy, or hardly one.

use std::{io, path::Path};

use insta::assert_snapshot;
use watchkeeper_core::embed::Registry;
use watchkeeper_policy::{Loader, render};

use crate::{check, check_files, load};

#[test]
fn not_toml() {
    assert_snapshot!(check("
[detectors.quiet
of = 'turn'
max = five
"), @"
    error: unclosed table, expected `]`
     --> policy.toml:2:17
      |
    2 | [detectors.quiet
      |                 ^
    ");
}

#[test]
fn duplicate_keys() {
    assert_snapshot!(check("
[labels]
team = 'a'
team = 'b'
[labels]
"), @"
    error: duplicate key `team`
     --> policy.toml:4:1
      |
    4 | team = 'b'
      | ^^^^
      |
      = note: combine the two definitions

    error: duplicate key `labels`
     --> policy.toml:5:2
      |
    5 | [labels]
      |  ^^^^^^
      |
      = note: combine the two definitions
    ");
}

#[test]
fn nested_too_deeply() {
    assert_snapshot!(check(&format!("a = {}{}\n", "[".repeat(40), "]".repeat(40))), @"
    error: nested too deeply
     --> policy.toml:2:36
      |
    2 | a = [[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]
      |                                    ^^^^^^^^^^^^^^^^^^
    ");
}

#[test]
fn no_version() {
    assert_snapshot!(check_files(&[("policy.toml", "[labels]\nteam = 'a'\n")]), @"
    error: the policy has no `version`
     --> policy.toml:1:1
      |
    1 | [labels]
      | ^
      |
    help: add the version of the format
      |
    1 + version = 1
      |
    ");
}

#[test]
fn an_unsupported_version() {
    assert_snapshot!(check_files(&[("policy.toml", "version = 2\n")]), @"
    error: unsupported version 2
     --> policy.toml:1:11
      |
    1 | version = 2
      |           ^
      |
      = note: this program supports version 1
    ");
}

#[test]
fn extended_files_that_cannot_be_read() {
    assert_snapshot!(render(&load(&[("policy.toml", "version = 1\nextends = ['base.toml', 'builtin:defualt', 'default', 7]\n")], None), false), @r#"
    error: cannot read `base.toml`: no such file
     --> policy.toml:2:12
      |
    2 | extends = ['base.toml', 'builtin:defualt', 'default', 7]
      |            ^^^^^^^^^^^
      |
      = note: the path is relative to the file with `extends`

    error: unknown built-in policy `defualt`
     --> policy.toml:2:25
      |
    2 | extends = ['base.toml', 'builtin:defualt', 'default', 7]
      |                         ^^^^^^^^^^^^^^^^^
      |
    help: there is one with a similar name
      |
    2 - extends = ['base.toml', 'builtin:defualt', 'default', 7]
    2 + extends = ['base.toml', "builtin:default", 'default', 7]
      |

    error: cannot read `default`: no such file
     --> policy.toml:2:44
      |
    2 | extends = ['base.toml', 'builtin:defualt', 'default', 7]
      |                                            ^^^^^^^^^
      |
      = note: the path is relative to the file with `extends`
    help: use the built-in policy
      |
    2 - extends = ['base.toml', 'builtin:defualt', 'default', 7]
    2 + extends = ['base.toml', 'builtin:defualt', "builtin:default", 7]
      |

    error: expected a file name, found integer
     --> policy.toml:2:55
      |
    2 | extends = ['base.toml', 'builtin:defualt', 'default', 7]
      |                                                       ^
      |
      = note: write a list of files: `extends = ["builtin:default"]`
    "#);
}

#[test]
fn a_policy_that_cannot_be_read() {
    let registry = Registry::linked().expect("no two kinds share a name");
    let read_file = |_: &Path| Err(io::Error::new(io::ErrorKind::NotFound, "no such file"));
    let loader = Loader::new(&registry, &read_file);
    assert_snapshot!(render(&loader.load(Path::new("gone.toml")), false), @"
    error: cannot read the policy: no such file
    --> gone.toml
    ");
}

#[test]
fn unknown_section() {
    assert_snapshot!(check("
[detector.quiet]
[exceptions]
"), @"
    error: unknown key `detector`
     --> policy.toml:2:2
      |
    2 | [detector.quiet]
      |  ^^^^^^^^
      |
      = note: expected one of `version`, `required_version`, `extends`, `lists`, `monitor`, `labels`, `prices`, `secrets`, `detectors`, `overrides`, `sinks`, `routes`, `silences`, `heartbeat`
    help: there is one with a similar name
      |
    2 | [detectors.quiet]
      |          +

    error: unknown key `exceptions`
     --> policy.toml:3:2
      |
    3 | [exceptions]
      |  ^^^^^^^^^^
      |
      = note: expected one of `version`, `required_version`, `extends`, `lists`, `monitor`, `labels`, `prices`, `secrets`, `detectors`, `overrides`, `sinks`, `routes`, `silences`, `heartbeat`
    ");
}

#[test]
fn a_section_must_be_a_table() {
    assert_snapshot!(check("
detectors = 1
routes = 2
labels = []
[sinks]
x = 1
"), @"
    error: expected a table, found the number `1`
     --> policy.toml:2:13
      |
    2 | detectors = 1
      |             ^

    error: `routes` is not a list
     --> policy.toml:3:10
      |
    3 | routes = 2
      |          ^
      |
      = note: each route begins with `[[routes]]`

    error: expected a table, found the number `1`
     --> policy.toml:6:5
      |
    6 | x = 1
      |     ^
    ");
}

#[test]
fn unsafe_characters_are_escaped() {
    let text = "[detectors.\"a\\u001b[2Jb\\u202e\"]\nkind = '\u{202e}\u{9b}x'\n[\"\\n\\u001b]0;t\\u0007\"]\n";
    assert_snapshot!(check(text), @r#"
    error: detector kind `\u{202e}\u{9b}x` is not compiled in
     --> policy.toml:3:8
      |
    3 | kind = '�·x'
      |        ^^^^^
      |
      = note: known kinds: quiet, repeat
      = note: to link an in-house detector, add a line such as `use acme_detector as _;` to the program's main.rs

    error: unknown key `\n\u{1b}]0;t\u{7}`
     --> policy.toml:4:2
      |
    4 | ["\n\u001b]0;t\u0007"]
      |  ^^^^^^^^^^^^^^^^^^^^
      |
      = note: expected one of `version`, `required_version`, `extends`, `lists`, `monitor`, `labels`, `prices`, `secrets`, `detectors`, `overrides`, `sinks`, `routes`, `silences`, `heartbeat`
    "#);
}

#[test]
fn tables_deeper_than_the_stack_are_rejected() {
    let deep = format!("{}a = {{", "a.".repeat(70));
    let text = format!("version = 1\n{}b = 1{}\n", deep.repeat(70), "}".repeat(70));
    let loaded = load(&[("policy.toml", &text)], None);
    assert_eq!(loaded.diagnostics.len(), 1);
    assert_eq!(loaded.diagnostics[0].message, "nested too deeply");
}

#[test]
fn a_policy_without_detectors() {
    assert_snapshot!(check(""), @r#"
    warning: the policy has no detectors, so it reports nothing
     --> policy.toml:1:1
      |
    1 | version = 1
      | ^
      |
      = note: add `extends = ["builtin:default"]` to use the built-in detectors
    "#);
}

#[test]
fn syntax_of_other_formats() {
    assert_snapshot!(check("
[detectors.quiet]
of = turn
max = 5m
enabled = yes
levels =
"), @r#"
    error: a string must be quoted
     --> policy.toml:3:6
      |
    3 | of = turn
      |      ^^^^
      |
    help: add quotes
      |
    3 - of = turn
    3 + of = "turn"
      |

    error: a string must be quoted
     --> policy.toml:4:7
      |
    4 | max = 5m
      |       ^^
      |
    help: add quotes
      |
    4 - max = 5m
    4 + max = "5m"
      |

    error: a string must be quoted
     --> policy.toml:5:11
      |
    5 | enabled = yes
      |           ^^^
      |
    help: write `true`
      |
    5 - enabled = yes
    5 + enabled = true
      |

    error: the value is missing
     --> policy.toml:6:9
      |
    6 | levels =
      |         ^
    "#);
    assert_snapshot!(check("
[detectors.quiet]
of: 'turn'
"), @"
    error: invalid unquoted key, expected letters, numbers, `-`, `_`
     --> policy.toml:3:3
      |
    3 | of: 'turn'
      |   ^
      |
      = note: write `key = value`, with a `=`
    ");
}

#[test]
fn entries_outside_their_section() {
    assert_snapshot!(check("
[quiet]
of = 'turn'
max = '5m'

[calls]
kind = 'hook'

[[detectors.repeat]]
least = 3

[other]
kind = 'other'
"), @"
    error: unknown key `quiet`
     --> policy.toml:2:2
      |
    2 | [quiet]
      |  ^^^^^
      |
      = note: expected one of `version`, `required_version`, `extends`, `lists`, `monitor`, `labels`, `prices`, `secrets`, `detectors`, `overrides`, `sinks`, `routes`, `silences`, `heartbeat`
    help: move it to `[detectors]`
      |
    2 | [detectors.quiet]
      |  ++++++++++

    error: unknown key `calls`
     --> policy.toml:6:2
      |
    6 | [calls]
      |  ^^^^^
      |
      = note: expected one of `version`, `required_version`, `extends`, `lists`, `monitor`, `labels`, `prices`, `secrets`, `detectors`, `overrides`, `sinks`, `routes`, `silences`, `heartbeat`
    help: move it to `[sinks]`
      |
    6 | [sinks.calls]
      |  ++++++

    error: expected a table, found a list
     --> policy.toml:9:1
      |
    9 | [[detectors.repeat]]
      | ^^^^^^^^^^^^^^^^^^^^
      |
    help: use single brackets
      |
    9 - [[detectors.repeat]]
    9 + [detectors.repeat]
      |

    error: unknown key `other`
      --> policy.toml:12:2
       |
    12 | [other]
       |  ^^^^^
       |
       = note: expected one of `version`, `required_version`, `extends`, `lists`, `monitor`, `labels`, `prices`, `secrets`, `detectors`, `overrides`, `sinks`, `routes`, `silences`, `heartbeat`
    ");
}
