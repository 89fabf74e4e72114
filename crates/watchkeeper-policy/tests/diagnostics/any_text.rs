//! Property tests: the loader accepts any text without a panic.

use proptest::{collection::vec, prelude::*, sample::select};
use watchkeeper_core::author::is_unsafe;
use watchkeeper_policy::{Diagnostic, Loaded, render};

use crate::{environment, load};

/// Fragments of policies, valid and invalid, to combine into larger policies.
const PIECES: &[&str] = &[
    "version = 1\n",
    "extends = ['builtin:default', 'policy.toml', 'other.toml']\n",
    "[detectors.repeated_call]\n",
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

/// Returns whether every span of a diagnostic is within the file it refers to.
fn has_valid_spans(loaded: &Loaded) -> bool {
    loaded.diagnostics.iter().all(|diagnostic| {
        let Some(file) = loaded.files.get(diagnostic.file) else { return false };
        let fix_span = diagnostic.fix.as_ref().map(|fix| &fix.span);
        let spans = std::iter::once(&diagnostic.span).chain(fix_span);
        spans.into_iter().all(|it| file.text.get(it.clone()).is_some())
    })
}

proptest! {
    #[test]
    fn any_text_can_be_read(text in any::<String>(), other in any::<String>()) {
        let loaded = load(&[("policy.toml", &text), ("other.toml", &other)], Some(&environment));
        prop_assert!(has_valid_spans(&loaded), "{:#?}", loaded.diagnostics);
        render(&loaded, true);
    }

    #[test]
    fn any_mix_of_policy_fragments_can_be_read(
        files in vec(vec(select(PIECES), 0..24), 2),
    ) {
        let (text, other) = (files[0].concat(), files[1].concat());
        let loaded = load(&[("policy.toml", &text), ("other.toml", &other)], Some(&environment));
        prop_assert!(has_valid_spans(&loaded), "{:#?}", loaded.diagnostics);
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
