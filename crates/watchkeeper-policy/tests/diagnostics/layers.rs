//! Files that extend other files, and the merged policy.

use insta::assert_snapshot;

use crate::{check, check_files, effective, load};

#[test]
fn extends_must_be_a_list() {
    assert_snapshot!(check("extends = 'builtin:default'\n"), @r#"
    error: `extends` is not a list
     --> policy.toml:2:11
      |
    2 | extends = 'builtin:default'
      |           ^^^^^^^^^^^^^^^^^
      |
      = note: write a list of files: `extends = ["builtin:default"]`
    "#);
}

#[test]
fn files_that_extend_each_other() {
    assert_snapshot!(check_files(&[
        ("team/policy.toml", "version = 1\nextends = ['sub/base.toml']\n"),
        ("team/sub/base.toml", "version = 1\nextends = ['../policy.toml']\n"),
        ("team/sub/../policy.toml", ""),
    ]), @"
    error: `../policy.toml` extends itself
     --> team/sub/base.toml:2:12
      |
    2 | extends = ['../policy.toml']
      |            ^^^^^^^^^^^^^^^^
      |
      = note: the cycle is: `team/policy.toml` extends `team/sub/base.toml` extends `team/policy.toml`
    ");
}

#[test]
fn mistakes_in_several_files() {
    assert_snapshot!(check_files(&[
        ("team/policy.toml", "version = 1\nextends = ['base.toml']\n[labels]\nteam = 1\n"),
        ("team/base.toml", "[detectors.quiet]\nmax = '0s'\n[label]\n"),
    ]), @r#"
    error: expected a string, found the number `1`
     --> team/policy.toml:4:8
      |
    4 | team = 1
      |        ^
      |
    help: add quotes
      |
    4 - team = 1
    4 + team = "1"
      |

    error: the policy has no `version`
     --> team/base.toml:1:1
      |
    1 | [detectors.quiet]
      | ^
      |
    help: add the version of the format
      |
    1 + version = 1
      |

    error: `of` is missing
     --> team/base.toml:1:1
      |
    1 | [detectors.quiet]
      | ^^^^^^^^^^^^^^^^^
      |
      = note: run `watchkeeper explain quiet` to see the options

    error: a length of time must be longer than zero
     --> team/base.toml:2:7
      |
    2 | max = '0s'
      |       ^^^^
      |
      = note: run `watchkeeper explain quiet` to see the options

    error: unknown key `label`
     --> team/base.toml:3:2
      |
    3 | [label]
      |  ^^^^^
      |
      = note: expected one of `version`, `required_version`, `extends`, `lists`, `monitor`, `labels`, `prices`, `secrets`, `detectors`, `overrides`, `sinks`, `routes`, `silences`, `heartbeat`
    help: there is one with a similar name
      |
    3 | [labels]
      |       +
    "#);
}

#[test]
fn bad_syntax_in_several_files() {
    assert_snapshot!(check_files(&[
        ("policy.toml", "version = 1\nextends = ['a.toml', 'b.toml']\n"),
        ("a.toml", "version 1\n"),
        ("b.toml", "version = \n"),
    ]), @"
    error: key with no value, expected `=`
     --> a.toml:1:9
      |
    1 | version 1
      |         ^

    error: the value is missing
     --> b.toml:1:11
      |
    1 | version = 
      |           ^
    ");
}

#[test]
fn lists_that_cannot_be_edited() {
    assert_snapshot!(check_files(&[
        ("policy.toml", "version = 1\nextends = ['base.toml']\n\
                         [detectors.repeat]\nsame.remove = ['result']\nlevels.add = []\n\
                         [[routes]]\nsinks = []\n"),
        ("base.toml", "version = 1\n[detectors.repeat]\nsame = ['tool']\n"),
    ]), @"
    warning: `same` does not contain this value
     --> policy.toml:4:16
      |
    4 | same.remove = ['result']
      |                ^^^^^^^^

    error: no list to add to
     --> policy.toml:5:8
      |
    5 | levels.add = []
      |        ^^^
      |
      = note: `add` and `remove` edit a list of an extended policy

    warning: the route has no sinks
     --> policy.toml:7:9
      |
    7 | sinks = []
      |         ^^
    ");
}

#[test]
fn invalid_edits() {
    assert_snapshot!(check_files(&[
        ("policy.toml", "version = 1\nextends = ['base.toml']\n\
                         [detectors.repeat]\nsame = { ad = ['x'], remove = 'tool' }\n"),
        ("base.toml", "version = 1\n[detectors.repeat]\nsame = ['tool']\n"),
    ]), @"
    error: unknown list operation `ad`
     --> policy.toml:4:10
      |
    4 | same = { ad = ['x'], remove = 'tool' }
      |          ^^
      |
      = note: write `same = […]`, `same.add = […]` or `same.remove = […]`
    help: there is one with a similar name
      |
    4 | same = { add = ['x'], remove = 'tool' }
      |            +

    error: `same.remove` is not a list
     --> policy.toml:4:31
      |
    4 | same = { ad = ['x'], remove = 'tool' }
      |                               ^^^^^^
    ");
}

#[test]
fn files_are_merged() {
    assert_snapshot!(effective(&[
        (
            "team/policy.toml",
            "version = 1\nextends = ['base.toml', 'more.toml']\n\
             [labels]\nteam = 'a'\n\
             [detectors.repeat]\nsame.add = ['result']\nseverity = 'low'\n\
             [detectors.q]\nmax = '2m'\n\
             [detectors.off]\nkind = 'repeat'\nenabled = false\n",
        ),
        (
            "team/base.toml",
            "version = 1\n\
             [labels]\nteam = 'base'\nenv = 'dev'\n\
             [detectors.repeat]\nlevels = [{ at = 3, severity = 'high' }]\nsame = ['tool', 'arguments']\n\
             [detectors.q]\nkind = 'quiet'\nof = 'turn'\nmax = '1m'\nextra = { depth = 1 }\n\
             [sinks.hook]\nurl = { secret = 'url' }\n\
             [secrets]\nurl = { env = 'URL' }\n",
        ),
        (
            "team/more.toml",
            "version = 1\n[monitor]\nmax_sessions = 5\n\
             [detectors.off]\nkind = 'quiet'\nof = 'turn'\n\
             [[routes]]\nsinks = ['hook']\nmatch = { 'label:team' = 'a', severity = '>=low' }\n\
             [prices.'acme/m-1.5']\ninput = 1.0\noutput = 2\n",
        ),
    ]), @r#"
    version = 1  # team/policy.toml:1

    [monitor]
    max_sessions = 5         # team/more.toml:3
    check_interval = "5s"    # default
    dry_run = false          # default
    durable = "process"      # default
    mode = "observe"         # default
    processes = true         # default
    session_expiry = "24h"   # default
    shutdown_timeout = "2s"  # default

    [labels]
    env = "dev"  # team/base.toml:4
    team = "a"   # team/policy.toml:4

    [secrets]
    url = { env = "URL" }  # team/base.toml:16

    [prices."acme/m-1.5"]
    input = 1.0  # team/more.toml:11
    output = 2   # team/more.toml:12

    [detectors.off]
    enabled = false                             # team/policy.toml:12
    kind = "repeat"                             # team/policy.toml:11
    levels = [{ at = 1, severity = "medium" }]  # default of repeat
    least = 2                                   # default of repeat
    same = ["tool"]                             # default of repeat

    [detectors.q]
    extra.depth = 1                                # team/base.toml:12
    kind = "quiet"                                 # team/base.toml:9
    max = "2m"                                     # team/policy.toml:9
    of = "turn"                                    # team/base.toml:10
    levels = [{ at = "1%", severity = "medium" }]  # default of quiet

    [detectors.repeat]
    kind = "repeat"   # the name of the detector
    same = [
        "tool",       # team/base.toml:7
        "arguments",  # team/base.toml:7
        "result",     # team/policy.toml:6
    ]
    severity = "low"  # team/policy.toml:7
    least = 2         # default of repeat

    [sinks.hook]
    kind = "hook"          # the name of the sink
    url.secret = "url"     # team/base.toml:14
    queue_capacity = 1024  # default

    [[routes]]
    match."label:team" = "a"  # team/more.toml:9
    match.severity = ">=low"  # team/more.toml:9
    sinks = ["hook"]          # team/more.toml:8
    "#);
}

#[test]
fn without_routes_every_finding_goes_to_every_sink() {
    assert_snapshot!(effective(&[("policy.toml", "version = 1\n[sinks.hook]\nurl = 'https://x'\n")]), @r#"
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

    [sinks.hook]
    kind = "hook"          # the name of the sink
    url = "https://x"      # policy.toml:3
    queue_capacity = 1024  # default

    [[routes]]
    sinks = ["hook"]  # default: every finding goes to every sink
    "#);
}

#[test]
fn a_policy_extends_no_files_outside_of_its_folder() {
    assert_snapshot!(check_files(&[
        ("team/policy.toml", "version = 1\nextends = ['../base.toml']\n"),
        ("team/../base.toml", "version = 1\n"),
    ]), @"
    error: `../base.toml` is outside of the folder of the policy
     --> team/policy.toml:2:12
      |
    2 | extends = ['../base.toml']
      |            ^^^^^^^^^^^^^^
      |
      = note: to extend this file, write its absolute path
    ");
}

#[test]
fn only_toml_files_in_the_folder_of_the_policy_are_quoted() {
    const SECRET: &str = "root:$6$hunter2:19000:0\n";
    const TOKEN: &str = "version = 1\nhunter2 = 'hunter2'\n";
    for (file, text) in
        [("/etc/shadow", SECRET), ("shadow", SECRET), ("/home/u/credentials.toml", TOKEN)]
    {
        let policy = format!("version = 1\nextends = ['{file}']\n");
        let path = if file.starts_with('/') { file.to_owned() } else { format!("team/{file}") };
        let rendered = check_files(&[("team/policy.toml", &policy), (&path, text)]);
        assert!(rendered.contains("not a valid policy"), "{rendered}");
        assert!(!rendered.contains("hunter2"), "{rendered}");
    }
    let policy = "version = 1\nextends = ['sub/base.toml']\n";
    let rendered = check_files(&[("team/policy.toml", policy), ("team/sub/base.toml", TOKEN)]);
    assert!(rendered.contains("2 | hunter2"), "{rendered}");
}

#[test]
fn a_header_is_no_list_of_files() {
    for header in ["[extends]", "[[extends]]"] {
        let policy = format!("version = 1\n{header}\nfile = 'base.toml'\n");
        let loaded = load(&[("policy.toml", &policy)], None);
        let messages: Vec<_> = loaded.diagnostics.iter().map(|it| it.message.as_str()).collect();
        assert!(messages.contains(&"`extends` is not a list"), "{messages:?}");
    }
}
