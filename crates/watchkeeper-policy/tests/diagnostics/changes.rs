//! The differences between two policies.

use std::fmt::Write as _;

use insta::assert_snapshot;
use proptest::prelude::*;
use watchkeeper_core::author::is_unsafe;

use crate::{environment, load};

/// Returns the changes from one policy to another, one on a line.
fn changes(old: &str, new: &str) -> String {
    let [old, new] = [old, new].map(|text| {
        let text = format!("version = 1\n{text}");
        let loaded = load(&[("policy.toml", &text)], Some(&environment));
        loaded.policy.unwrap_or_else(|| panic!("{:?}", loaded.diagnostics)).effective
    });
    new.changes_from(&old).join("\n")
}

#[test]
fn a_change_names_keys_and_values() {
    let old = "
[detectors.loop]
kind = 'repeat'
same = ['tool']
levels = [{ at = 3, severity = 'low' }, { at = 9, severity = 'high' }]
runbook_url = 'https://wiki.example/loops'
[detectors.quiet]
of = 'turn'
max = '5m'
[detectors.gone]
kind = 'repeat'
";
    let new = "
[detectors.loop]
kind = 'repeat'
same = ['tool', 'arguments']
levels = [{ at = 3, severity = 'low' }, { at = 7, severity = 'high' }]
tags = ['owner:ada']
[detectors.quiet]
of = 'turn'
max = '5m'
[detectors.new]
kind = 'repeat'
";
    assert_snapshot!(changes(old, new), @r#"
    changed `detectors.loop` (`levels` from `…low" }, { at = 9, severity = "high" }]` to `…low" }, { at = 7, severity = "high" }]`, `same` from `["tool"]` to `["tool", "arguments"]`, `tags` is `["owner:ada"]`, without `runbook_url`)
    added `detectors.new`
    removed `detectors.gone`
    "#);
    assert_eq!(changes(old, old), "");
}

#[test]
fn entries_of_lists_are_counted_or_compared() {
    let sink = "[detectors.repeat]\n[sinks.hook]\nurl = 'https://x'\n";
    let route = |name: &str| format!("[[routes]]\nsinks = ['hook']\nname = '{name}'\n");
    let policy = |names: &[&str]| {
        let routes: String = names.iter().map(|name| route(name)).collect();
        format!("{sink}{routes}")
    };
    assert_snapshot!(changes(&policy(&["a", "b"]), &policy(&["a", "c"])), @r#"changed `routes` (entry 2: `name` from `"b"` to `"c"`)"#);
    assert_snapshot!(changes(&policy(&["a"]), &policy(&["a", "c"])), @"changed `routes` (entries from 1 to 2)");
    let labels = "[detectors.repeat]\n[labels]\nteam = 'a'\n";
    assert_snapshot!(changes("[detectors.repeat]\n", labels), @"added `labels`");
}

#[test]
fn values_of_sinks_and_secrets_in_values_are_not_shown() {
    let policy = |url: &str, link: &str| {
        format!("[detectors.repeat]\nrunbook_url = '{link}'\n[sinks.hook]\nurl = '{url}'\n")
    };
    let token = "ghp_0123456789abcdefghijABCDEFGHIJ012345";
    let old = policy("https://hooks.example/one", "https://wiki.example/");
    let new = policy("https://hooks.example/two", &format!("https://wiki.example/{token}"));
    assert_snapshot!(changes(&old, &new), @r#"
    changed `detectors.repeat` (`runbook_url` from `"https://wiki.example/"` to `"https://wiki.example/[redacted]"`)
    changed `sinks.hook` (`url`)
    "#);
}

#[test]
fn a_change_names_a_few_keys() {
    let policy = |value: &str| {
        let mut text = "[detectors.repeat]\n[labels]\n".to_owned();
        (0..9).for_each(|idx| writeln!(text, "label{idx} = '{value}'").unwrap());
        text
    };
    let (long, other) = (format!("{}x", "a".repeat(500)), format!("{}y", "a".repeat(500)));
    assert_snapshot!(changes(&policy(&long), &policy(&other)), @r#"changed `labels` (`label0` from `…aaaaaaaaaaaaaaax"` to `…aaaaaaaaaaaaaaay"`, `label1` from `…aaaaaaaaaaaaaaax"` to `…aaaaaaaaaaaaaaay"`, `label2` from `…aaaaaaaaaaaaaaax"` to `…aaaaaaaaaaaaaaay"`, `label3` from `…aaaaaaaaaaaaaaax"` to `…aaaaaaaaaaaaaaay"`, and 5 more)"#);
}

proptest! {
    #[test]
    fn changes_are_safe_and_bounded(old in "\\PC{0,200}|.{0,20}", new in "\\PC{0,200}|.{0,20}") {
        let policy = |value: &str| {
            let mut text = "[detectors.repeat]\n[labels]\nteam = \"".to_owned();
            value.chars().for_each(|c| write!(text, "\\U{:08x}", u32::from(c)).unwrap());
            text + "\"\n"
        };
        let text = changes(&policy(&old), &policy(&new));
        prop_assert!(!text.contains(is_unsafe), "{text:?}");
        prop_assert!(text.chars().count() < 2_000, "{text:?}");
    }
}
