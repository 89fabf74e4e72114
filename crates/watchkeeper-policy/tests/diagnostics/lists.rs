//! Lists of strings, and the required version.

use insta::assert_snapshot;

use crate::{check, check_files, effective};

#[test]
fn lists_are_inserted_into_arrays() {
    let policy = "version = 1\nextends = ['base.toml']\nrequired_version = '>=0.1'\n\
                  [detectors.repeat]\nsame = ['@fields', 'x', '@@fields', '@a/b']\n\
                  [lists]\nfields = ['tool', 'result']\n";
    let base = "version = 1\n[lists]\nfields = ['other']\nunused = []\n";
    let files = [("policy.toml", policy), ("base.toml", base)];
    assert_eq!(check_files(&files), "");
    let effective = effective(&files);
    let repeat = effective.split("[detectors.repeat]").nth(1).unwrap_or_default();
    assert_snapshot!(repeat, @r#"
    kind = "repeat"                             # the name of the detector
    same = [
        "tool",                                 # policy.toml:7
        "result",                               # policy.toml:7
        "x",                                    # policy.toml:5
        "@fields",                              # policy.toml:5
        "@a/b",                                 # policy.toml:5
    ]
    levels = [{ at = 1, severity = "medium" }]  # default of repeat
    least = 2                                   # default of repeat
    "#);
}

#[test]
fn mistakes_in_lists() {
    assert_snapshot!(check(r#"
[lists]
tools = ["a", "@other", 3]
other = ["b"]
text = "c"
unused = []
"a b" = []
[detectors.repeat]
same = ["@tool", "@other", "@text"]
"#), @r#"
    warning: list `tools` is not used
     --> policy.toml:3:1
      |
    3 | tools = ["a", "@other", 3]
      | ^^^^^
      |
      = note: write `"@tools"` in an array to use it

    error: a list cannot contain another list
     --> policy.toml:3:15
      |
    3 | tools = ["a", "@other", 3]
      |               ^^^^^^^^
      |
      = note: where the lists are needed, write both names

    error: an element of a list is not a string
     --> policy.toml:3:25
      |
    3 | tools = ["a", "@other", 3]
      |                         ^
      |
      = note: write a list of strings: `deploy_tools = ["helm", "kubectl"]`

    error: list `text` is not a list of strings
     --> policy.toml:5:8
      |
    5 | text = "c"
      |        ^^^
      |
      = note: write a list of strings: `deploy_tools = ["helm", "kubectl"]`

    warning: list `unused` is not used
     --> policy.toml:6:1
      |
    6 | unused = []
      | ^^^^^^
      |
      = note: write `"@unused"` in an array to use it

    error: `a b` is not a name of a list
     --> policy.toml:7:1
      |
    7 | "a b" = []
      | ^^^^^
      |
      = note: a name has letters, digits, `_` and `-`

    error: unknown list `tool`
     --> policy.toml:9:9
      |
    9 | same = ["@tool", "@other", "@text"]
      |         ^^^^^^^
      |
      = note: lists are in `[lists]`; for this text itself, write `@@tool`
    help: there is one with a similar name
      |
    9 | same = ["@tools", "@other", "@text"]
      |               +
    "#);
}

#[test]
fn an_older_program_refuses_the_policy_with_one_error() {
    assert_snapshot!(check("required_version = '>=99.1'\nunknown = 1\n"), @"
    error: this program has version 0.1.0, which the policy does not accept
     --> policy.toml:2:20
      |
    2 | required_version = '>=99.1'
      |                    ^^^^^^^^
      |
      = note: use a version of Watchkeeper that meets `required_version`
    ");
    assert_snapshot!(check("required_version = '^1'\nunknown = 1\n"), @r#"
    error: `required_version` is not a requirement
     --> policy.toml:2:20
      |
    2 | required_version = '^1'
      |                    ^^^^
      |
      = note: write a requirement such as `">=0.2"` or `">=0.2, <0.5"`
    "#);
}
