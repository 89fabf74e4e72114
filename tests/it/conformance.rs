//! Requirements of every linked kind, in this workspace or not.

use std::path::Path;

use watchkeeper_core::embed::{DetectorEntry, Entry, Registry};
use watchkeeper_policy::{Loaded, Loader, render};
use watchkeeper_testing::{laws, manual};

/// Traces that make most of the detectors report something.
const TRACES: &[&str] = &[
    "0s repeat 12 every 5s: call Bash {\"command\": \"make\"} ;; result fail exit 2 no rule to make it",
    "0s repeat 12 every 5s: call Read {\"file_path\": \"a\"} ;; result ok a result that is long enough to count as a repetition",
    "0s repeat 12 every 5s: message I will look at the file once more, and then see",
    "0s usage model=claude-opus-4-5 input=195000 output=90000 cost=50\n5m prompt go\n6m call WebFetch a\n9h message late",
    "0s prompt go\n1s error overloaded\n2s repeat 9 every 1s: error retry=9 overloaded\n3h compaction",
];

#[test]
fn names_are_kebab_case() {
    let registry = registry();
    let detectors = registry.detectors.iter().map(Entry::kind);
    let sinks = registry.sinks.iter().map(Entry::kind);
    for kind in detectors.chain(sinks).chain(registry.sources.iter().map(Entry::kind)) {
        let is_kebab = kind.split('-').all(|part| {
            !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
        });
        assert!(is_kebab, "{kind}");
    }
}

#[test]
fn manuals_and_options_have_no_problems() {
    let registry = registry();
    let problems: Vec<_> = registry
        .detectors
        .iter()
        .flat_map(|entry| manual::detector_problems(entry).into_iter().map(move |it| (entry, it)))
        .collect();
    assert!(problems.is_empty(), "{problems:#?}");
}

#[test]
fn the_examples_in_the_manuals_are_valid_and_obey_the_laws() {
    let registry = registry();
    for entry in registry.detectors.iter() {
        for example in examples(entry) {
            let text = format!("version = 1\n{example}");
            let loaded = load(&registry, &text);
            assert!(loaded.diagnostics.is_empty(), "{entry:?}:\n{}", render(&loaded, false));
            let policy = loaded.policy.expect("a policy without mistakes");
            assert!(!policy.detectors.is_empty(), "{entry:?} shows no detector:\n{text}");
            for detector in &policy.detectors {
                laws::of_detector(detector)
                    .traces(TRACES.iter().copied())
                    .allow_no_reports()
                    .check();
            }
        }
    }
}

#[test]
fn the_detectors_of_the_builtin_policy_obey_the_laws() {
    let registry = registry();
    let read_file = |_: &Path| Ok(String::new());
    let loader = Loader::new(&registry, &read_file);
    let loaded = loader.load_builtin();
    assert!(loaded.diagnostics.is_empty(), "{}", render(&loaded, false));
    for detector in &loaded.policy.expect("a policy without mistakes").detectors {
        laws::of_detector(detector).traces(TRACES.iter().copied()).allow_no_reports().check();
    }
}

/// Returns the blocks of TOML in a manual.
fn examples(entry: &DetectorEntry) -> Vec<&'static str> {
    let blocks = entry.docs().split("```toml\n").skip(1);
    let examples: Vec<_> =
        blocks.filter_map(|block| block.split_once("```")).map(|(example, _)| example).collect();
    assert!(!examples.is_empty(), "{entry:?} shows no example");
    examples
}

pub(crate) fn registry() -> Registry {
    Registry::linked().expect("no two kinds share a name")
}

pub(crate) fn load(registry: &Registry, text: &str) -> Loaded {
    let read_file = |_: &Path| Ok(text.to_owned());
    Loader::new(registry, &read_file).load(Path::new("policy.toml"))
}
