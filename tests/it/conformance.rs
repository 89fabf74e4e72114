//! What holds for every kind that is linked in, whoever wrote it.

use std::path::Path;

use watchkeeper_core::embed::{DetectorEntry, Entry, Registry};
use watchkeeper_policy::{Loaded, Loader, render};
use watchkeeper_testing::laws;

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
fn manuals_have_every_section() {
    for it in registry().detectors.iter() {
        let docs = it.docs();
        assert!(docs.starts_with(&format!("# {}\n", it.kind())), "{it:?}");
        assert!(it.summary().starts_with("Finds "), "{it:?}: {}", it.summary());
        for title in ["What it does", "Why it matters", "Example", "Options", "Levels", "Limits"] {
            assert!(docs.contains(&format!("\n## {title}\n")), "{it:?} has no section {title}");
        }
    }
}

#[test]
fn every_option_is_in_the_manual() {
    for it in registry().detectors.iter() {
        let mut generator = schemars::SchemaGenerator::default();
        let schema = it.schema(&mut generator);
        let options = schema.get("properties").and_then(|it| it.as_object()).unwrap();
        for option in options.keys() {
            assert!(it.docs().contains(&format!("`{option}`")), "{it:?} does not tell of {option}");
        }
    }
}

#[test]
fn the_examples_in_the_manuals_work_and_obey_the_laws() {
    let registry = registry();
    for it in registry.detectors.iter() {
        for example in examples(it) {
            let text = format!("version = 1\n{example}");
            let loaded = load(&registry, &text);
            assert!(loaded.diagnostics.is_empty(), "{it:?}:\n{}", render(&loaded, false));
            let policy = loaded.policy.expect("a policy without mistakes");
            assert!(!policy.detectors.is_empty(), "{it:?} shows no detector:\n{text}");
            for detector in &policy.detectors {
                laws::check_detector(detector);
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
    for detector in &loaded.policy.expect("it has no mistakes").detectors {
        laws::check_detector(detector);
    }
}

/// The blocks of TOML in a manual that are policies.
fn examples(entry: &DetectorEntry) -> Vec<&'static str> {
    let blocks = entry.docs().split("```toml\n").skip(1);
    let res: Vec<_> = blocks.filter_map(|it| it.split_once("```")).map(|(it, _)| it).collect();
    assert!(!res.is_empty(), "{entry:?} shows no example");
    res
}

pub(crate) fn registry() -> Registry {
    Registry::linked().expect("no two kinds share a name")
}

pub(crate) fn load(registry: &Registry, text: &str) -> Loaded {
    let read_file = |_: &Path| Ok(text.to_owned());
    Loader::new(registry, &read_file).load(Path::new("policy.toml"))
}
