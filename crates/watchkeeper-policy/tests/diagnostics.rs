//! What people see when a policy is wrong.

use std::{ffi::OsString, io, path::Path};

use insta::assert_snapshot;
use jiff::civil::date;
use proptest::{collection::vec, prelude::*, sample::select};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use watchkeeper_core::{
    Context, Detector, DetectorKind, Event, Finding, InvalidOption, Period, Registry, Secret, Sink,
    SinkError, SinkKind, Unit, is_unsafe,
};
use watchkeeper_policy::{Diagnostic, Loaded, Loader, Variables, render};

/// Measures a share of a limit.
#[derive(Clone, Debug)]
struct Quiet;

#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "read, and not used")]
struct QuietOptions {
    of: Of,
    max: Period,
    /// What it may also be.
    extra: Option<Extra>,
}

#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "read, and not used")]
struct Extra {
    depth: u8,
}

#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Of {
    Session,
    Turn,
}

watchkeeper_core::register!(Quiet);

impl DetectorKind for Quiet {
    const KIND: &'static str = "quiet";
    const DOCS: &'static str = "# quiet\n\nFinds quiet.\n";
    const CLASS: &'static str = "timeout";
    const UNIT: Unit = Unit::Percent;
    type Options = QuietOptions;

    fn new(_: QuietOptions) -> Result<Self, InvalidOption> {
        Ok(Self)
    }
}

impl Detector for Quiet {
    fn observe(&mut self, _: &Event, _: &mut Context<'_>) {}
}

/// Counts.
#[derive(Clone, Debug)]
struct Repeat;

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct RepeatOptions {
    same: Vec<String>,
    least: u8,
}

impl Default for RepeatOptions {
    fn default() -> Self {
        Self { same: vec!["tool".to_owned()], least: 2 }
    }
}

watchkeeper_core::register!(Repeat);

impl DetectorKind for Repeat {
    const KIND: &'static str = "repeat";
    const DOCS: &'static str = "# repeat\n\nFinds repeats.\n";
    const CLASS: &'static str = "runaway";
    type Options = RepeatOptions;

    fn new(options: RepeatOptions) -> Result<Self, InvalidOption> {
        if options.least < 2 {
            return Err(InvalidOption::new("least", "one call is no repeat; use 2 or more"));
        }
        Ok(Self)
    }
}

impl Detector for Repeat {
    fn observe(&mut self, _: &Event, _: &mut Context<'_>) {}
}

/// Delivers nowhere.
#[derive(Debug)]
struct Hook;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "read, and not used")]
struct HookOptions {
    url: Secret,
    patience: Option<Period>,
}

watchkeeper_core::register_sink!(Hook);

impl SinkKind for Hook {
    const KIND: &'static str = "hook";
    const DOCS: &'static str = "# hook\n\nDelivers nowhere.\n";
    type Options = HookOptions;

    fn new(options: HookOptions) -> Result<Self, InvalidOption> {
        if options.url.expose().is_some_and(|it| !it.starts_with("https:")) {
            return Err(InvalidOption::new("url", "not an https address"));
        }
        Ok(Self)
    }
}

impl Sink for Hook {
    fn deliver(&mut self, _: &Finding) -> Result<(), SinkError> {
        Ok(())
    }
}

/// Loads a policy from files of which the first is the policy.
fn load(files: &[(&str, &str)], environment: Option<Variables<'_>>) -> Loaded {
    let registry = Registry::linked().expect("no two kinds share a name");
    let read_file = |path: &Path| {
        let file = files.iter().find(|(name, _)| Path::new(name) == path);
        file.map(|(_, text)| (*text).to_owned())
            .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "no such file"))
    };
    let today = Some(date(2027, 1, 1));
    let loader = Loader { registry: &registry, read_file: &read_file, environment, today };
    let loaded = loader.load(Path::new(files[0].0));
    let is_wrong = render(&loaded, false).contains("error: ");
    assert_eq!(loaded.policy.is_none(), is_wrong, "a policy or an error");
    loaded
}

fn environment(name: &str) -> Option<OsString> {
    match name {
        "URL" => Some("https://example.test/hook".into()),
        "TEXT" => Some("hunter2\"".into()),
        "EMPTY" => Some("".into()),
        _ => None,
    }
}

/// What is said of a policy.
fn check(text: &str) -> String {
    let text = text.trim_start_matches('\n');
    check_files(&[("policy.toml", &format!("version = 1\n{text}"))])
}

fn check_files(files: &[(&str, &str)]) -> String {
    render(&load(files, Some(&environment)), false)
}

/// What holds in the end.
fn in_force(files: &[(&str, &str)]) -> String {
    let loaded = load(files, Some(&environment));
    let policy = loaded.policy.as_ref().unwrap_or_else(|| panic!("{}", render(&loaded, false)));
    policy.effective.to_string()
}

#[test]
fn a_sound_policy_has_none() {
    assert_snapshot!(check("
[detectors.quiet]
of = 'turn'
max = '5m'
"), @"");
}

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
fn a_key_given_twice() {
    assert_snapshot!(check("
[labels]
team = 'a'
team = 'b'
[labels]
"), @"
    error: duplicate key
     --> policy.toml:4:1
      |
    4 | team = 'b'
      | ^^^^

    error: duplicate key
     --> policy.toml:5:2
      |
    5 | [labels]
      |  ^^^^^^
    ");
}

#[test]
fn nested_too_deep() {
    assert_snapshot!(check(&format!("a = {}{}\n", "[".repeat(40), "]".repeat(40))), @"
    error: nested too deep
     --> policy.toml:2:36
      |
    2 | a = [[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]
      |                                    ^^^^^^^^^^^^^^^^^^
    ");
}

#[test]
fn no_version() {
    assert_snapshot!(check_files(&[("policy.toml", "[labels]\nteam = 'a'\n")]), @"
    error: the policy does not say which version of the format it is written in
     --> policy.toml:1:1
      |
    1 | [labels]
      | ^
      |
    help: say it first
      |
    1 + version = 1
      |
    ");
}

#[test]
fn a_version_of_another_time() {
    assert_snapshot!(check_files(&[("policy.toml", "version = 2\n")]), @"
    error: version 2 is not known
     --> policy.toml:1:11
      |
    1 | version = 2
      |           ^
      |
      = note: this program reads version 1
    ");
}

#[test]
fn no_file() {
    assert_snapshot!(render(&load(&[("policy.toml", "version = 1\nextends = ['base.toml', 'builtin:defualt', 'default', 7]\n")], None), false), @r#"
    error: cannot read `base.toml`: no such file
     --> policy.toml:2:12
      |
    2 | extends = ['base.toml', 'builtin:defualt', 'default', 7]
      |            ^^^^^^^^^^^
      |
      = note: a file is looked for beside the one that extends it

    error: there is no policy `defualt` built in
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
      = note: a file is looked for beside the one that extends it
    help: this one is built in
      |
    2 - extends = ['base.toml', 'builtin:defualt', 'default', 7]
    2 + extends = ['base.toml', 'builtin:defualt', "builtin:default", 7]
      |

    error: expected the name of a file, found integer
     --> policy.toml:2:55
      |
    2 | extends = ['base.toml', 'builtin:defualt', 'default', 7]
      |                                                       ^
      |
      = note: write a list of files: `extends = ["builtin:default"]`
    "#);
}

#[test]
fn no_policy() {
    let registry = Registry::linked().expect("no two kinds share a name");
    let read_file = |_: &Path| Err(io::Error::new(io::ErrorKind::NotFound, "no such file"));
    let loader =
        Loader { registry: &registry, read_file: &read_file, environment: None, today: None };
    assert_snapshot!(render(&loader.load(Path::new("gone.toml")), false), @"
    error: cannot read the policy: no such file
    --> gone.toml
    ");
}

#[test]
fn extends_is_no_list() {
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
fn files_that_go_in_a_circle() {
    assert_snapshot!(check_files(&[
        ("team/policy.toml", "version = 1\nextends = ['../base.toml']\n"),
        ("team/../base.toml", "version = 1\nextends = ['team/policy.toml']\n"),
    ]), @"
    error: `team/policy.toml` would extend itself
     --> team/../base.toml:2:12
      |
    2 | extends = ['team/policy.toml']
      |            ^^^^^^^^^^^^^^^^^^
      |
      = note: the files go in a circle: `team/policy.toml` extends `base.toml` extends `team/policy.toml`
    ");
}

#[test]
fn mistakes_in_several_files() {
    assert_snapshot!(check_files(&[
        ("team/policy.toml", "version = 1\nextends = ['base.toml']\n[labels]\nteam = 1\n"),
        ("team/base.toml", "[detectors.quiet]\nmax = '0s'\n[label]\n"),
    ]), @"
    error: invalid type: integer `1`, expected a string
     --> team/policy.toml:4:8
      |
    4 | team = 1
      |        ^

    error: the policy does not say which version of the format it is written in
     --> team/base.toml:1:1
      |
    1 | [detectors.quiet]
      | ^
      |
    help: say it first
      |
    1 + version = 1
      |

    error: `of` is missing
     --> team/base.toml:1:1
      |
    1 | [detectors.quiet]
      | ^^^^^^^^^^^^^^^^^
      |
      = note: see `watchkeeper explain quiet` for its options

    error: must be longer than zero
     --> team/base.toml:2:7
      |
    2 | max = '0s'
      |       ^^^^
      |
      = note: see `watchkeeper explain quiet` for its options

    error: unknown key `label`
     --> team/base.toml:3:2
      |
    3 | [label]
      |  ^^^^^
      |
      = note: known here: `version`, `extends`, `monitor`, `labels`, `prices`, `secrets`, `detectors`, `overrides`, `sinks`, `routes`
    help: there is one with a similar name
      |
    3 | [labels]
      |       +
    ");
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

    error: string values must be quoted, expected literal string
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
    warning: there is nothing like this in `same` to remove
     --> policy.toml:4:16
      |
    4 | same.remove = ['result']
      |                ^^^^^^^^

    error: there is no list to add to
     --> policy.toml:5:8
      |
    5 | levels.add = []
      |        ^^^
      |
      = note: only a list in a policy that this one extends can be edited

    warning: the route leads nowhere
     --> policy.toml:7:9
      |
    7 | sinks = []
      |         ^^
    ");
}

#[test]
fn edits_that_are_wrong() {
    assert_snapshot!(check_files(&[
        ("policy.toml", "version = 1\nextends = ['base.toml']\n\
                         [detectors.repeat]\nsame = { ad = ['x'], remove = 'tool' }\n"),
        ("base.toml", "version = 1\n[detectors.repeat]\nsame = ['tool']\n"),
    ]), @"
    error: `same` is a list: `ad` cannot be done to it
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
      = note: known here: `version`, `extends`, `monitor`, `labels`, `prices`, `secrets`, `detectors`, `overrides`, `sinks`, `routes`
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
      = note: known here: `version`, `extends`, `monitor`, `labels`, `prices`, `secrets`, `detectors`, `overrides`, `sinks`, `routes`
    ");
}

#[test]
fn a_section_that_is_no_table() {
    assert_snapshot!(check("
detectors = 1
routes = 2
labels = []
[sinks]
x = 1
"), @"
    error: expected a table, found integer
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

    error: expected a table, found array
     --> policy.toml:4:10
      |
    4 | labels = []
      |          ^^

    error: expected a table, found integer
     --> policy.toml:6:5
      |
    6 | x = 1
      |     ^
    ");
}

#[test]
fn monitor() {
    assert_snapshot!(check("
[monitor]
check_intervall = '5s'
shutdown_timeout = 2
session_expiry = '1 month'
max_sessions = 0
"), @r#"
    error: unknown key `check_intervall`
     --> policy.toml:3:1
      |
    3 | check_intervall = '5s'
      | ^^^^^^^^^^^^^^^
      |
      = note: known here: `check_interval`, `max_sessions`, `session_expiry`, `shutdown_timeout`
    help: there is one with a similar name
      |
    3 - check_intervall = '5s'
    3 + check_interval = '5s'
      |

    error: invalid type: integer `2`, expected a length of time such as "30s", "5m" or "1h 30m"
     --> policy.toml:4:20
      |
    4 | shutdown_timeout = 2
      |                    ^

    error: invalid value: string "1 month", expected a length of time such as "30s", "5m" or "1h 30m"
     --> policy.toml:5:18
      |
    5 | session_expiry = '1 month'
      |                  ^^^^^^^^^

    error: invalid value: integer `0`, expected a whole number, 1 or more
     --> policy.toml:6:16
      |
    6 | max_sessions = 0
      |                ^
    "#);
}

#[test]
fn labels_and_prices() {
    assert_snapshot!(check("
[labels]
team = 5
[prices.m]
input = -1.0
output = 1
[prices.n]
inputs = 1.0
"), @"
    error: invalid type: integer `5`, expected a string
     --> policy.toml:3:8
      |
    3 | team = 5
      |        ^

    error: a price cannot be less than nothing
     --> policy.toml:5:9
      |
    5 | input = -1.0
      |         ^^^^

    error: unknown key `inputs`
     --> policy.toml:8:1
      |
    8 | inputs = 1.0
      | ^^^^^^
      |
      = note: known here: `input`, `output`, `cache_read`, `cache_write`
      = note: a price is in US dollars for a million tokens
    help: there is one with a similar name
      |
    8 - inputs = 1.0
    8 + input = 1.0
      |
    ");
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
      = note: compiled in: quiet, repeat
      = note: a detector of your own must be named by the program's main.rs: `use acme_detector as _;`
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
      = note: compiled in: hook
      = note: a sink of your own must be named by the program's main.rs: `use acme_sink as _;`
    "#);
}

#[test]
fn no_kind() {
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
      = note: only a detector that is named like its kind can leave it out
      = note: compiled in: quiet, repeat
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
      = note: only a sink that is named like its kind can leave it out
      = note: compiled in: hook
    ");
}

#[test]
fn every_option_that_is_wrong() {
    assert_snapshot!(check("
[detectors.q]
kind = 'quiet'
of = 'trun'
maks = '5m'
max = 300
sevrity = 'low'
extra = { deep = 1 }
"), @r#"
    error: unknown variant `trun`, expected `session` or `turn`
     --> policy.toml:4:6
      |
    4 | of = 'trun'
      |      ^^^^^^
      |
      = note: see `watchkeeper explain quiet` for its options
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
      = note: known here: `of`, `max`, `extra`, `enabled`, `exceptions`, `inhibited_by`, `kind`, `levels`, `per`, `severity`
      = note: see `watchkeeper explain quiet` for its options

    error: invalid type: integer `300`, expected a length of time such as "30s", "5m" or "1h 30m"
     --> policy.toml:6:7
      |
    6 | max = 300
      |       ^^^
      |
      = note: see `watchkeeper explain quiet` for its options

    error: unknown key `sevrity`
     --> policy.toml:7:1
      |
    7 | sevrity = 'low'
      | ^^^^^^^
      |
      = note: known here: `of`, `max`, `extra`, `enabled`, `exceptions`, `inhibited_by`, `kind`, `levels`, `per`, `severity`
      = note: see `watchkeeper explain quiet` for its options
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
      = note: known here: `depth`
      = note: see `watchkeeper explain quiet` for its options
    "#);
}

#[test]
fn options_that_are_missing() {
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
      = note: see `watchkeeper explain quiet` for its options

    error: `max` is missing
     --> policy.toml:2:1
      |
    2 | [detectors.q]
      | ^^^^^^^^^^^^^
      |
      = note: see `watchkeeper explain quiet` for its options
    ");
}

#[test]
fn an_option_that_cannot_be_meant() {
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
      = note: see `watchkeeper explain repeat` for its options
    ");
}

#[test]
fn severity_and_levels() {
    assert_snapshot!(check("
[detectors.repeat]
severity = 'hi'
levels = [{ at = 3, severity = 'low' }]
"), @r#"
    error: unknown variant `hi`, expected one of `low`, `medium`, `high`
     --> policy.toml:3:12
      |
    3 | severity = 'hi'
      |            ^^^^
      |
    help: there is one with a similar name
      |
    3 - severity = 'hi'
    3 + severity = "high"
      |

    error: `levels` and `severity` do not go together
     --> policy.toml:4:1
      |
    4 | levels = [{ at = 3, severity = 'low' }]
      | ^^^^^^
      |
      = note: `severity` stands for one level, at the limit of the kind
    "#);
}

#[test]
fn levels_of_a_count() {
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
    error: a level of `repeat` begins at a whole number, 1 or more
     --> policy.toml:4:10
      |
    4 |   { at = '75%', severity = 'low' },
      |          ^^^^^
      |
    help: write it so
      |
    4 -   { at = '75%', severity = 'low' },
    4 +   { at = 75, severity = 'low' },
      |

    error: a level of `repeat` begins at a whole number, 1 or more
     --> policy.toml:5:10
      |
    5 |   { at = '3', severity = 'low' },
      |          ^^^
      |
    help: write it so
      |
    5 -   { at = '3', severity = 'low' },
    5 +   { at = 3, severity = 'low' },
      |

    error: a level of `repeat` begins at a whole number, 1 or more
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

    error: a level of `repeat` begins at a whole number, 1 or more
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
      = note: known here: `at`, `severity`
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

    error: unknown variant `urgent`, expected one of `low`, `medium`, `high`
     --> policy.toml:8:16
      |
    8 |   { severity = 'urgent' },
      |                ^^^^^^^^
    "#);
}

#[test]
fn levels_of_a_share() {
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
    error: a level of `quiet` begins at a share of its limit
     --> policy.toml:6:10
      |
    6 |   { at = 75, severity = 'low' },
      |          ^^
      |
    help: write it so
      |
    6 -   { at = 75, severity = 'low' },
    6 +   { at = "75%", severity = 'low' },
      |

    error: a level of `quiet` begins at a share of its limit
     --> policy.toml:7:10
      |
    7 |   { at = '80', severity = 'low' },
      |          ^^^^
      |
    help: write it so
      |
    7 -   { at = '80', severity = 'low' },
    7 +   { at = "80%", severity = 'low' },
      |

    error: a level of `quiet` begins at a share of its limit
     --> policy.toml:8:10
      |
    8 |   { at = 'all', severity = 'low' },
      |          ^^^^^
      |
      = note: write `at = "1%"`
    "#);
}

#[test]
fn levels_that_change_nothing() {
    assert_snapshot!(check("
[detectors.repeat]
levels = [{ at = 5, severity = 'low' }, { at = 3, severity = 'high' }]
"), @"
    warning: this level changes nothing: from 3 on a finding is `high`
     --> policy.toml:3:11
      |
    3 | levels = [{ at = 5, severity = 'low' }, { at = 3, severity = 'high' }]
      |           ^^^^^^^^^^^^^^^^^^^^^^^^^^^^
    ");
}

#[test]
fn levels_that_are_no_levels() {
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

    error: without levels nothing is ever found
     --> policy.toml:7:10
      |
    7 | levels = []
      |          ^^
      |
      = note: leave `levels` out for those of the kind, or say `enabled = false`
    "#);
}

#[test]
fn per() {
    assert_snapshot!(check("
[detectors.repeat]
per = 'team'
[detectors.r]
kind = 'repeat'
per = 'label:team'
"), @r#"
    error: a detector cannot watch per `team`
     --> policy.toml:3:7
      |
    3 | per = 'team'
      |       ^^^^^^
      |
      = note: `per = "label:team"` lets all sessions with the same `team` share one limit; without `per`, each agent or session has its own
    help: if it is a label
      |
    3 - per = 'team'
    3 + per = "label:team"
      |
    "#);
}

#[test]
fn what_is_off_is_checked() {
    assert_snapshot!(check("
[detectors.repeat]
enabled = false
least = 'few'
"), @r#"
    error: invalid type: string "few", expected u8
     --> policy.toml:4:9
      |
    4 | least = 'few'
      |         ^^^^^
      |
      = note: see `watchkeeper explain repeat` for its options
    "#);
}

#[test]
fn sinks() {
    assert_snapshot!(check("
[sinks.hook]
url = 'http://example.test'
queue_capacity = 0
[sinks.other]
kind = 'hook'
url = 7
patience = 1
"), @r#"
    error: invalid value for `url`: not an https address
     --> policy.toml:3:1
      |
    3 | url = 'http://example.test'
      | ^^^
      |
      = note: see `watchkeeper explain hook` for its options

    error: invalid value: integer `0`, expected a whole number, 1 or more
     --> policy.toml:4:18
      |
    4 | queue_capacity = 0
      |                  ^

    error: invalid type: integer `7`, expected a secret such as { secret = "name" }, or a string
     --> policy.toml:7:7
      |
    7 | url = 7
      |       ^
      |
      = note: see `watchkeeper explain hook` for its options

    error: invalid type: integer `1`, expected a length of time such as "30s", "5m" or "1h 30m"
     --> policy.toml:8:12
      |
    8 | patience = 1
      |            ^
      |
      = note: see `watchkeeper explain hook` for its options
    "#);
}

#[test]
fn secrets() {
    assert_snapshot!(check("
[secrets]
a = { env = 'NOT_SET' }
b = { env = 'EMPTY' }
c = { file = 'no/file' }
d = {}
e = { env = 'URL', file = 'x' }
f = { env = 'URL', optinal = true }
unused = { env = 'URL' }
[sinks]
1 = { kind = 'hook', url = { secret = 'a' } }
2 = { kind = 'hook', url = { secret = 'b' } }
3 = { kind = 'hook', url = { secret = 'c' } }
4 = { kind = 'hook', url = { secret = 'd' } }
5 = { kind = 'hook', url = { secret = 'e' } }
6 = { kind = 'hook', url = { secret = 'f' } }
7 = { kind = 'hook', url = { secret = 'unusd' } }
"), @r#"
    error: environment variable `NOT_SET` is not set
     --> policy.toml:3:13
      |
    3 | a = { env = 'NOT_SET' }
      |             ^^^^^^^^^
      |
      = note: a secret that is `optional = true` may be missing; its sinks are then off
      = note: `--no-environment` checks a policy without its secrets

    error: the secret is empty
     --> policy.toml:4:13
      |
    4 | b = { env = 'EMPTY' }
      |             ^^^^^^^
      |
      = note: a secret that is `optional = true` may be missing; its sinks are then off
      = note: `--no-environment` checks a policy without its secrets

    error: cannot read the secret in `no/file`: no such file
     --> policy.toml:5:14
      |
    5 | c = { file = 'no/file' }
      |              ^^^^^^^^^
      |
      = note: a secret that is `optional = true` may be missing; its sinks are then off
      = note: `--no-environment` checks a policy without its secrets

    error: nothing says where secret `d` is
     --> policy.toml:6:5
      |
    6 | d = {}
      |     ^^
      |
      = note: write `{ env = "VARIABLE" }` or `{ file = "path" }`

    error: a secret is either in the environment or in a file
     --> policy.toml:7:20
      |
    7 | e = { env = 'URL', file = 'x' }
      |                    ^^^^

    error: unknown key `optinal`
     --> policy.toml:8:20
      |
    8 | f = { env = 'URL', optinal = true }
      |                    ^^^^^^^
      |
      = note: known here: `env`, `file`, `optional`
    help: there is one with a similar name
      |
    8 | f = { env = 'URL', optional = true }
      |                        +

    warning: nothing uses secret `unused`
     --> policy.toml:9:1
      |
    9 | unused = { env = 'URL' }
      | ^^^^^^

    error: there is no secret `unusd`
      --> policy.toml:17:39
       |
    17 | 7 = { kind = 'hook', url = { secret = 'unusd' } }
       |                                       ^^^^^^^
       |
       = note: name it in `[secrets]`: `unusd = { env = "VARIABLE" }`
    help: there is one with a similar name
       |
    17 - 7 = { kind = 'hook', url = { secret = 'unusd' } }
    17 + 7 = { kind = 'hook', url = { secret = "unused" } }
       |
    "#);
}

#[test]
fn a_secret_is_not_quoted() {
    assert_snapshot!(check("
[secrets]
text = { env = 'TEXT' }
[sinks.hook]
url = { secret = 'text' }
patience = { secret = 'text' }
"), @r#"
    error: invalid value: string "[secret]", expected a length of time such as "30s", "5m" or "1h 30m"
     --> policy.toml:6:12
      |
    6 | patience = { secret = 'text' }
      |            ^^^^^^^^^^^^^^^^^^^
      |
      = note: see `watchkeeper explain hook` for its options
    "#);
}

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
    warning: no route reaches sink `idle`
     --> policy.toml:4:8
      |
    4 | [sinks.idle]
      |        ^^^^

    warning: there is no sink `hok`
     --> policy.toml:8:10
      |
    8 | sinks = ['hok', 'hook']
      |          ^^^^^
      |
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

    error: invalid type: integer `7`, expected a string
      --> policy.toml:14:10
       |
    14 | source = 7
       |          ^

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
fn hostile_text_stays_text() {
    let text = "[detectors.\"a\\u001b[2Jb\\u202e\"]\nkind = '\u{202e}\u{9b}x'\n[\"\\n\\u001b]0;t\\u0007\"]\n";
    assert_snapshot!(check(text), @r#"
    error: detector kind `\u{202e}\u{9b}x` is not compiled in
     --> policy.toml:3:8
      |
    3 | kind = '�·x'
      |        ^^^^^
      |
      = note: compiled in: quiet, repeat
      = note: a detector of your own must be named by the program's main.rs: `use acme_detector as _;`

    error: unknown key `\n\u{1b}]0;t\u{7}`
     --> policy.toml:4:2
      |
    4 | ["\n\u001b]0;t\u0007"]
      |  ^^^^^^^^^^^^^^^^^^^^
      |
      = note: known here: `version`, `extends`, `monitor`, `labels`, `prices`, `secrets`, `detectors`, `overrides`, `sinks`, `routes`
    "#);
}

#[test]
fn files_are_laid_over_each_other() {
    assert_snapshot!(in_force(&[
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
fn without_routes_everything_goes_everywhere() {
    assert_snapshot!(in_force(&[("policy.toml", "version = 1\n[sinks.hook]\nurl = 'https://x'\n")]), @r#"
    version = 1  # policy.toml:1

    [monitor]
    check_interval = "5s"    # default
    max_sessions = 1000000   # default
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
fn without_the_environment_secrets_are_not_missed() {
    let text = "version = 1\n[secrets]\nurl = { env = 'NOT_SET' }\n[sinks.hook]\nurl = { secret = 'url' }\n\
                patience = { secret = 'url' }\n";
    let loaded = load(&[("policy.toml", text)], None);
    assert_eq!(loaded.diagnostics, []);
    assert!(!load(&[("policy.toml", text)], Some(&environment)).diagnostics.is_empty());
}

#[test]
fn a_sink_without_its_optional_secret_is_off() {
    let text = "version = 1\n[secrets]\nurl = { env = 'NOT_SET', optional = true }\n\
                [sinks.hook]\nurl = { secret = 'url' }\n[sinks.other]\nkind = 'hook'\nurl = 'https://x'\n\
                [[routes]]\nsinks = ['hook', 'other']\n";
    let loaded = load(&[("policy.toml", text)], Some(&environment));
    assert_eq!(loaded.diagnostics, []);
    let sinks = loaded.policy.expect("a sound policy").sinks;
    assert_eq!(sinks.iter().map(|it| it.id.as_str()).collect::<Vec<_>>(), ["other"]);
}

#[test]
fn secrets_come_from_the_environment_and_from_files() {
    let policy = "version = 1\n[secrets]\na = { env = 'URL' }\nb = { file = 'keys/url' }\n\
                  [sinks.a]\nkind = 'hook'\nurl = { secret = 'a' }\n\
                  [sinks.b]\nkind = 'hook'\nurl = { secret = 'b' }\n";
    let files = [("team/policy.toml", policy), ("team/keys/url", "https://x\n")];
    assert_eq!(load(&files, Some(&environment)).diagnostics, []);
    let files = [("team/policy.toml", policy), ("team/keys/url", "ftp://x\n")];
    assert_eq!(load(&files, Some(&environment)).diagnostics.len(), 1);
}

/// Pieces of policies, sound and not, that make more of them when joined.
const PIECES: &[&str] = &[
    "version = 1\n",
    "extends = ['builtin:default', 'policy.toml', 'other.toml']\n",
    "[detectors.stuck]\n",
    "kind = 'quiet'\n",
    "kind = 'repeat'\n",
    "max = '5m'\n",
    "of = 'turn'\n",
    "levels = [{ at = 3, severity = 'low' }]\n",
    "levels.add = [{ at = '75%', severity = 'é' }]\n",
    "severity = 'high'\n",
    "per = 'label:é'\n",
    "[sinks.hook]\n",
    "url = { secret = 'é' }\n",
    "[secrets]\n",
    "é = { env = 'URL' }\n",
    "'é' = { file = 'policy.toml' }\n",
    "[[routes]]\n",
    "sinks = ['hook', 'é']\n",
    "match = { severity = '>=hgh', 'label:é' = ['a', 'b'] }\n",
    "cooldown = '5 é'\n",
    "[labels]\n",
    "[monitor]\n",
    "[prices.é]\n",
    "input = nan\n",
    "same.remove = ['é']\n",
    "x = ",
    "[",
    "{",
    "]",
    "}",
    "=",
    "'",
    "\"",
    "é",
    "\n",
    "\u{feff}",
    "\u{1b}",
    ".",
    "#",
    "a.b.c = 1\n",
];

/// Whether everything in a diagnostic is in the file it is about.
fn is_in_place(loaded: &Loaded) -> bool {
    loaded.diagnostics.iter().all(|it| {
        let Some(file) = loaded.files.get(it.file) else { return false };
        let spans = std::iter::once(&it.span).chain(it.fix.as_ref().map(|it| &it.span));
        spans.into_iter().all(|it| file.text.get(it.clone()).is_some())
    })
}

proptest! {
    #[test]
    fn any_text_is_read_to_its_end(text in any::<String>(), other in any::<String>()) {
        let loaded = load(&[("policy.toml", &text), ("other.toml", &other)], Some(&environment));
        prop_assert!(is_in_place(&loaded), "{:#?}", loaded.diagnostics);
        render(&loaded, true);
    }

    #[test]
    fn anything_like_a_policy_is_read_to_its_end(
        files in vec(vec(select(PIECES), 0..24), 2),
    ) {
        let (text, other) = (files[0].concat(), files[1].concat());
        let loaded = load(&[("policy.toml", &text), ("other.toml", &other)], Some(&environment));
        prop_assert!(is_in_place(&loaded), "{:#?}", loaded.diagnostics);
        let is_ordered = |it: &[Diagnostic]| (it[0].file, it[0].span.start) <= (it[1].file, it[1].span.start);
        prop_assert!(loaded.diagnostics.windows(2).all(is_ordered));
        let text = render(&loaded, false);
        prop_assert!(text.chars().all(|it| it == '\n' || !is_unsafe(it)), "{:?}", text);
        if let Some(policy) = loaded.policy {
            let text = policy.effective.to_string();
            let again = load(&[("policy.toml", &text)], Some(&environment));
            prop_assert!(again.policy.is_some(), "{}\n{}", text, render(&again, false));
        }
    }
}

#[test]
fn tables_deeper_than_the_stack_are_refused() {
    let deep = format!("{}a = {{", "a.".repeat(70));
    let text = format!("version = 1\n{}b = 1{}\n", deep.repeat(70), "}".repeat(70));
    let loaded = load(&[("policy.toml", &text)], None);
    assert_eq!(loaded.diagnostics.len(), 1);
    assert_eq!(loaded.diagnostics[0].message, "nested too deep");
}

#[test]
fn sound_exceptions_and_overrides() {
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
fn an_exception_that_is_none() {
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
tool = 7
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
      = note: known here: `arguments`, `expires`, `reason`, `tool`
    help: there is one with a similar name
      |
    4 | tool = 'gdb*'
      |   +

    error: nothing is in an empty list, so nothing matches
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
      = note: say why, for whoever reads it next

    error: expected a table, found string
     --> policy.toml:8:13
      |
    8 | arguments = 'next'
      |             ^^^^^^

    error: `expires` is not a day
     --> policy.toml:9:11
      |
    9 | expires = '2027-03-31'
      |           ^^^^^^^^^^^^
      |
    help: write it so
      |
    9 - expires = '2027-03-31'
    9 + expires = 2027-03-31
      |

    error: invalid type: integer `7`, expected a string
      --> policy.toml:11:8
       |
    11 | tool = 7
       |        ^

    error: invalid type: map, expected a string
      --> policy.toml:13:21
       |
    13 | arguments.command = { glob = '*' }
       |                     ^^^^^^^^^^^^^^

    error: `expires` is not a day
      --> policy.toml:14:11
       |
    14 | expires = 2027-03-31T10:00:00Z
       |           ^^^^^^^^^^^^^^^^^^^^
       |
    help: write it so
       |
    14 - expires = 2027-03-31T10:00:00Z
    14 + expires = 2027-03-31
       |
    "#);
}

#[test]
fn an_exception_that_expires_some_day() {
    assert_snapshot!(check("
[detectors.repeat]
[[detectors.repeat.exceptions]]
tool = 'gdb'
reason = 'it is so'
expires = 'soon'
"), @"
    error: `expires` is not a day
     --> policy.toml:6:11
      |
    6 | expires = 'soon'
      |           ^^^^^^
      |
      = note: write `expires = 2027-03-31`, without quotes
    ");
}

#[test]
fn exceptions_that_are_no_list() {
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
    warning: this exception no longer applies: it expired on 2027-01-01
     --> policy.toml:4:62
      |
    4 |     { tool = 'gdb', reason = 'until it is mended', expires = 2027-01-01 },
      |                                                              ^^^^^^^^^^
      |
      = note: take it out, or give it a later day if it still has a reason
      = note: its reason was: until it is mended
    ");
}

#[test]
fn an_override_that_lacks_everything() {
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
      = note: say why, for whoever reads it next

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
      = note: what holds for all of them stands with the detector itself

    error: `reason` is empty
     --> policy.toml:5:10
      |
    5 | reason = ''
      |          ^^
      |
      = note: say why, for whoever reads it next

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
      = note: known here: `cwd`, `model`, `source`, `version`
      = note: an override goes by what is known as a session begins; a label is matched by `"label:NAME" = "value"`
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
      = note: known here: `cwd`, `model`, `source`, `version`
      = note: an override goes by what is known as a session begins; a label is matched by `"label:NAME" = "value"`

    error: nothing is in an empty list, so nothing matches
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
       = note: known here: `detectors`, `match`, `reason`

    error: expected a table, found integer
      --> policy.toml:11:13
       |
    11 | detectors = 7
       |             ^
    "#);
}

#[test]
fn overrides_that_are_no_list() {
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
fn an_override_of_what_is_not_there_or_not_so() {
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
    error: there is no detector `quite` to override
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
       = note: its sessions share one stream, and so all that is said of it

    error: `kind` cannot be overridden
      --> policy.toml:13:17
       |
    13 | detectors.quiet.kind = 'repeat'
       |                 ^^^^
       |
       = note: an override changes what a detector is told, not what it is

    error: `per` cannot be overridden
      --> policy.toml:14:17
       |
    14 | detectors.quiet.per = 'label:team'
       |                 ^^^
       |
       = note: an override changes what a detector is told, not what it is

    error: unknown key `maks`
      --> policy.toml:15:17
       |
    15 | detectors.quiet.maks = '3h'
       |                 ^^^^
       |
       = note: known here: `of`, `max`, `extra`, `enabled`, `exceptions`, `inhibited_by`, `kind`, `levels`, `per`, `severity`
       = note: see `watchkeeper explain quiet` for its options

    error: invalid type: integer `3`, expected a length of time such as "30s", "5m" or "1h 30m"
      --> policy.toml:16:23
       |
    16 | detectors.quiet.max = 3
       |                       ^
       |
       = note: see `watchkeeper explain quiet` for its options

    error: a level of `quiet` begins at a share of its limit
      --> policy.toml:17:34
       |
    17 | detectors.quiet.levels = [{ at = 50, severity = 'low' }]
       |                                  ^^
       |
    help: write it so
       |
    17 - detectors.quiet.levels = [{ at = 50, severity = 'low' }]
    17 + detectors.quiet.levels = [{ at = "50%", severity = 'low' }]
       |
    "#);
}

#[test]
fn what_is_wrong_with_a_detector_is_said_once() {
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
    error: unknown variant `trun`, expected `session` or `turn`
     --> policy.toml:3:6
      |
    3 | of = 'trun'
      |      ^^^^^^
      |
      = note: see `watchkeeper explain quiet` for its options
    help: there is one with a similar name
      |
    3 - of = 'trun'
    3 + of = "turn"
      |
    "#);
}

#[test]
fn an_override_that_changes_nothing() {
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
    warning: this override changes nothing of `quiet`
      --> policy.toml:10:11
       |
    10 | detectors.quiet.max = '5m'
       |           ^^^^^
       |
       = note: what it says holds anyway, or the detector is off

    warning: this override changes nothing of `repeat`
      --> policy.toml:11:11
       |
    11 | detectors.repeat.least = 4
       |           ^^^^^^
       |
       = note: what it says holds anyway, or the detector is off
    ");
}

#[test]
fn an_override_that_takes_another_back_changes_something() {
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
fn more_overrides_than_can_come_together() {
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
       = note: make one of those that say the same, with lists to match, or give some sessions a detector of their own
    ");
}

#[test]
fn exceptions_and_overrides_in_force() {
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
    assert_snapshot!(in_force(&[("policy.toml", policy), ("base.toml", base)]), @r#"
    version = 1  # policy.toml:1

    [monitor]
    check_interval = "5s"    # default
    max_sessions = 1000000   # default
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
fn a_detector_is_there_once_for_each_way_it_is_overridden() {
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
    let policy = load(&[("policy.toml", text)], None).policy.expect("it is sound");
    assert_eq!(policy.n_detectors(), 1);
    let ways = policy.detectors.iter().map(|it| {
        let severities: Vec<&str> = it.levels.iter().map(|it| it.severity.name()).collect();
        let (all, none) = (it.sessions.all_of.len(), it.sessions.none_of.len());
        format!("{all} of 3 match, {none} do not: {}", severities.join(", "))
    });
    assert_snapshot!(ways.collect::<Vec<_>>().join("\n"), @"
    0 of 3 match, 3 do not: medium
    1 of 3 match, 2 do not: low
    1 of 3 match, 2 do not: high
    2 of 3 match, 1 do not: high
    ");
}
