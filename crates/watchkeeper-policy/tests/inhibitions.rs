//! Values and diagnostics of `inhibited_by`.

use std::{io, path::Path};

use insta::assert_snapshot;
use watchkeeper_core::embed::Registry;
use watchkeeper_detector_repeat_tool_call as _;
use watchkeeper_detector_token_burn as _;
use watchkeeper_policy::{Loaded, Loader, render};

fn load(text: &str) -> Loaded {
    let read_file = |path: &Path| match path.to_str() {
        Some("policy.toml") => Ok(format!("version = 1\n{text}")),
        _ => Err(io::ErrorKind::NotFound.into()),
    };
    let registry = Registry::linked().expect("no two kinds share a name");
    let loader = Loader::new(&registry, &read_file);
    loader.load(Path::new("policy.toml"))
}

#[test]
fn detectors_contain_the_ids_of_their_inhibitors() {
    let loaded = load(
        "
        [detectors.less]
        kind = 'repeat-tool-call'
        inhibited_by = ['more', 'off']

        [detectors.more]
        kind = 'repeat-tool-call'

        [detectors.off]
        kind = 'repeat-tool-call'
        enabled = false
        ",
    );
    assert_snapshot!(render(&loaded, false), @"");
    let policy = loaded.policy.expect("a valid policy");
    let inhibitors = policy.detectors.iter().map(|it| (&*it.id, it.inhibited_by.join(" ")));
    assert_eq!(
        inhibitors.collect::<Vec<_>>(),
        [("less", "more off".to_owned()), ("more", String::new())]
    );
}

#[test]
fn an_empty_list_is_accepted_with_per() {
    let loaded = load(
        "
        [detectors.shared]
        kind = 'repeat-tool-call'
        per = 'cwd'
        inhibited_by = []
        ",
    );
    assert_eq!(loaded.diagnostics, []);
}

#[test]
fn mistakes_are_reported() {
    let loaded = load(
        "
        [detectors.one]
        kind = 'repeat-tool-call'
        inhibited_by = ['one', 'thre']

        [detectors.two]
        kind = 'repeat-tool-call'
        inhibited_by = ['three', {}]

        [detectors.three]
        kind = 'repeat-tool-call'
        inhibited_by = ['two']

        [detectors.four]
        kind = 'repeat-tool-call'
        inhibited_by = 'two'

        [detectors.shared]
        kind = 'repeat-tool-call'
        per = 'cwd'
        inhibited_by = ['two']

        [detectors.money]
        kind = 'token-burn'
        max_tokens = 1
        inhibited_by = ['two']

        [[overrides]]
        match = { cwd = '/x' }
        reason = 'they differ'
        detectors.four.inhibited_by = ['one']
        ",
    );
    assert_snapshot!(render(&loaded, false), @r#"
    error: `one` cannot inhibit itself
     --> policy.toml:5:25
      |
    5 |         inhibited_by = ['one', 'thre']
      |                         ^^^^^
      |
      = note: only the more specific detector should inhibit the other one

    error: unknown detector `thre`
     --> policy.toml:5:32
      |
    5 |         inhibited_by = ['one', 'thre']
      |                                ^^^^^^
      |
    help: there is one with a similar name
      |
    5 -         inhibited_by = ['one', 'thre']
    5 +         inhibited_by = ['one', "three"]
      |

    error: `two` and `three` inhibit each other
     --> policy.toml:9:25
      |
    9 |         inhibited_by = ['three', {}]
      |                         ^^^^^^^
      |
      = note: only the more specific detector should inhibit the other one

    error: expected a string, found a table
     --> policy.toml:9:34
      |
    9 |         inhibited_by = ['three', {}]
      |                                  ^^

    error: `three` and `two` inhibit each other
      --> policy.toml:13:25
       |
    13 |         inhibited_by = ['two']
       |                         ^^^^^
       |
       = note: only the more specific detector should inhibit the other one

    error: `inhibited_by` is not a list
      --> policy.toml:17:24
       |
    17 |         inhibited_by = 'two'
       |                        ^^^^^
       |
       = note: write a list: `inhibited_by = ["repeated_call"]`

    error: a detector with `per` cannot be inhibited
      --> policy.toml:22:9
       |
    22 |         inhibited_by = ['two']
       |         ^^^^^^^^^^^^
       |
       = note: with `per`, many sessions share one stream; write `inhibited_by = []`

    warning: `two` never inhibits `money`
      --> policy.toml:27:25
       |
    27 |         inhibited_by = ['two']
       |                         ^^^^^
       |
       = note: one detector checks whole sessions, the other one single agents

    error: `inhibited_by` cannot be overridden
      --> policy.toml:32:24
       |
    32 |         detectors.four.inhibited_by = ['one']
       |                        ^^^^^^^^^^^^
       |
       = note: an override changes only the options, levels and exceptions of a detector
    "#);
}
