//! `[labels]`, `[[labels]]`, and findings that no sink receives.

use std::path::Path;

use insta::assert_snapshot;
use watchkeeper_core::embed::Registry;
use watchkeeper_policy::{Loader, render};

use crate::{check, effective};

#[test]
fn invalid_label_rules() {
    assert_snapshot!(check("
[[labels]]
match = { version = '2.*' }
labels = { team = 'payments' }
[[labels]]
match = { folder = '/srv' }
team = 'payments'
[[labels]]
match = {}
labels = {}
"), @r#"
    error: labels cannot depend on the version of the agent
     --> policy.toml:3:11
      |
    3 | match = { version = '2.*' }
      |           ^^^^^^^
      |
      = note: expected one of `cwd`, `model`, `source`, `label:NAME`

    error: `labels` is missing
     --> policy.toml:5:1
      |
    5 | [[labels]]
      | ^^^^^^^^^^
      |
      = note: write `match = { cwd = "*/payments/*" }` and `labels = { team = "payments" }`

    error: unknown key `folder`
     --> policy.toml:6:11
      |
    6 | match = { folder = '/srv' }
      |           ^^^^^^
      |
      = note: expected one of `cwd`, `model`, `source`, `version`
      = note: `match` uses facts that are known when a session starts; to match a label, write `"label:NAME" = "value"`

    error: unknown key `team`
     --> policy.toml:7:1
      |
    7 | team = 'payments'
      | ^^^^
      |
      = note: expected one of `labels`, `match`

    error: this matches every session
     --> policy.toml:9:9
      |
    9 | match = {}
      |         ^^
      |
      = note: for all sessions, leave out `match`

    warning: this entry sets no label
      --> policy.toml:10:10
       |
    10 | labels = {}
       |          ^^
       |
       = note: write `match = { cwd = "*/payments/*" }` and `labels = { team = "payments" }`
    "#);
}

#[test]
fn labels_of_all_layers_apply() {
    let base = "version = 1\n[labels]\nteam = 'all'\n";
    let policy = "version = 1\nextends = ['base.toml']\n[[labels]]\nmatch = { cwd = '*/pay/*' }\nlabels = { team = 'payments' }\n";
    let text = effective(&[("policy.toml", policy), ("base.toml", base)]);
    let labels = text.split("[[labels]]").skip(1).collect::<Vec<_>>();
    assert_eq!(labels.len(), 2, "{text}");
    assert!(labels[0].contains("\"all\"") && labels[1].contains("\"payments\""), "{text}");
}

#[test]
fn a_rule_in_the_table_of_labels() {
    assert_snapshot!(check("
[labels]
match = { cwd = '*/payments/*' }
labels = { team = 'payments' }
"), @"
    error: `labels` is a key of `[[labels]]`
     --> policy.toml:4:1
      |
    4 | labels = { team = 'payments' }
      | ^^^^^^
      |
      = note: write `[[labels]]`: `[labels]` sets labels of all sessions
    ");
    // Labels may have any name.
    assert_eq!(check("[labels]\nmatch = 'a'\nlabels = 'b'\n[detectors.repeat]\n"), "");
}

#[test]
fn labels_that_the_policy_does_not_set() {
    let policy = |set: &str, used: &str| {
        check(&format!("[labels]\n{set} = 'a'\n[detectors.repeat]\n{used}"))
    };
    assert_snapshot!(policy("team", "per = 'label:taem'"), @r#"
    warning: the policy sets no label `taem`
     --> policy.toml:5:7
      |
    5 | per = 'label:taem'
      |       ^^^^^^^^^^^^
      |
      = note: this detector does not monitor sessions without the label; set it in `[[labels]]`, or in the sessions themselves
    help: there is one with a similar name
      |
    5 - per = 'label:taem'
    5 + per = "label:team"
      |
    "#);
    assert_eq!(policy("team", "per = 'label:team'"), "");
    // A condition may be about a label that only sessions set.
    let route = "[sinks.hook]\nurl = 'https://x'\n[[routes]]\nsinks = ['hook']\nmatch = { 'label:team' = 'a' }";
    assert!(policy("taem", route).contains("the policy sets no label `team`"));
    assert_eq!(policy("stage", route), "");
    let override_of_label =
        "[[overrides]]\nreason = 'x'\nmatch = { 'label:taem' = 'a' }\ndetectors.repeat.least = 4";
    assert!(policy("team", override_of_label).contains("the policy sets no label `taem`"));
}

/// Returns the warnings of a policy for a command that delivers findings.
fn undelivered(text: &str) -> String {
    let registry = Registry::linked().expect("no two kinds share a name");
    let text = format!("version = 1\n{}", text.trim_start());
    let read_file = |_: &Path| Ok(text.clone());
    let mut loaded = Loader::new(&registry, &read_file).load(Path::new("policy.toml"));
    let warning = loaded.policy.as_ref().expect("a valid policy").undelivered.clone();
    loaded.diagnostics.extend(warning);
    render(&loaded, false)
}

const DETECTORS: &str = "
[detectors.repeat]
levels = [{ at = 2, severity = 'low' }, { at = 3, severity = 'high' }]
[detectors.other]
kind = 'repeat'
levels = [{ at = 2, severity = 'low' }]
";

#[test]
fn a_policy_without_sinks_notifies_nobody() {
    let without = undelivered(DETECTORS);
    assert!(without.contains("warning: the policy has no sinks"), "{without}");
    let disabled = format!("{DETECTORS}[sinks.hook]\nurl = 'https://x'\nenabled = false\n");
    assert!(undelivered(&disabled).contains("the policy has no sinks"));
    let with = format!("{DETECTORS}[sinks.hook]\nurl = 'https://x'\n");
    assert_eq!(undelivered(&with), "");
    // Commands that deliver nothing do not warn.
    assert_eq!(check(DETECTORS), "");
}

#[test]
fn findings_that_no_route_accepts_are_named() {
    let found = |routes: &str| {
        let rendered =
            undelivered(&format!("{DETECTORS}[sinks.hook]\nurl = 'https://x'\n{routes}"));
        rendered.lines().next().unwrap_or_default().to_owned()
    };
    let route = |matcher: &str| format!("[[routes]]\nmatch = {{ {matcher} }}\nsinks = ['hook']\n");
    assert_eq!(
        found(&route("severity = 'high'")),
        "warning: no sink receives findings of severity `low`"
    );
    assert_eq!(
        found(&route("detector = 'repeat'")),
        "warning: no sink receives findings of severity `low` (`other`)"
    );
    assert_eq!(
        found(&route("'label:team' = 'payments'")),
        "warning: no sink receives findings of severity `low` and `high` of sessions that match no route by `label:team`"
    );
    assert!(found(&route("status = 'resolved'")).contains("`low` and `high`"));
    assert_eq!(found(&(route("detector = 'repeat'") + &route("detector = 'o*'"))), "");
    assert_eq!(found(&(route("severity = 'high'") + &route("severity = '>=low'"))), "");
}
