//! Regular expressions of bounded size, which are compiled when they are first used.

use std::{
    convert::Infallible,
    sync::{Arc, OnceLock},
};

use regex::bytes::{Regex, RegexBuilder};
use regex_syntax::{
    ast::{self, Ast, Flag, Flags, GroupKind, parse::ParserBuilder},
    hir::{Class, Hir, HirKind, translate::TranslatorBuilder},
};

/// The longest regular expression, in bytes.
pub(crate) const MAX_LEN: usize = 1024;
/// The largest compiled regular expression, in bytes.
const MAX_SIZE: usize = 1 << 18;
/// The largest cache of a regular expression that is in use, in bytes.
const CACHE: usize = 1 << 16;
/// The deepest nesting of a regular expression.
const MAX_DEPTH: u32 = 64;

/// An upper bound for a state of a compiled regular expression, in bytes.
const STATE: usize = 48;
/// The size of a range of bytes in a state.
const RANGE: usize = 8;

/// A regular expression for bytes.
///
/// Compiling takes about a hundred times as long as parsing, and a policy has up to thousands of
/// regular expressions. So a policy is loaded without it, and [`compiled_size`] bounds the result.
#[derive(Clone, Debug)]
pub(crate) struct RegularExpression {
    text: Box<str>,
    /// An upper bound for the size of the compiled expression, in bytes.
    size: usize,
    compiled: Arc<OnceLock<Regex>>,
}

impl RegularExpression {
    /// Parses a regular expression. The error is a text for the author of the policy.
    pub(crate) fn new(text: &str) -> Result<Self, String> {
        if MAX_LEN < text.len() {
            return Err(format!(
                "the regular expression has {} bytes, the maximum is {MAX_LEN}; split it, or use a \
                 glob",
                text.len()
            ));
        }
        let ast = ParserBuilder::new().nest_limit(MAX_DEPTH).build().parse(text);
        let ast = ast.map_err(|err| invalid(text, &err.to_string()))?;
        let Ok(has_unicode) = ast::visit(&ast, UnicodeFlag(false));
        if has_unicode {
            return Err(format!(
                "the regular expression `{text}` has the flag `u`, but matches bytes; remove it"
            ));
        }
        // Matching bytes is faster, and the tables of Unicode make a short text a large expression.
        let mut translator = TranslatorBuilder::new().unicode(false).utf8(false).build();
        let parsed = translator.translate(text, &ast);
        let parsed = parsed.map_err(|err| invalid(text, &err.to_string()))?;
        let size = compiled_size(&parsed);
        if MAX_SIZE < size {
            return Err(format!(
                "the compiled regular expression exceeds {} KiB; use fewer repetitions",
                MAX_SIZE / 1024
            ));
        }
        Ok(Self { text: text.into(), size, compiled: Arc::default() })
    }

    /// Returns an upper bound for the memory of the expression while it is in use, in bytes.
    pub(crate) fn memory(&self) -> usize {
        // The engines of `regex` have a copy each, and a cache that begins with a copy.
        2 * (self.size + CACHE)
    }

    /// Returns whether a part of the text matches.
    pub(crate) fn is_match(&self, text: &str) -> bool {
        let regex = self.compiled.get_or_init(|| {
            let built = builder(&self.text).size_limit(usize::MAX).build();
            built.expect("the syntax and the size were checked")
        });
        regex.is_match(text.as_bytes())
    }
}

/// Returns a text for the author of the policy from an error of the parser.
fn invalid(text: &str, err: &str) -> String {
    let cause = err.lines().last().unwrap_or_default().trim_start_matches("error: ");
    format!("invalid regular expression `{text}`: {cause}; correct it, or use a glob")
}

/// Whether an expression enables the flag `u`.
struct UnicodeFlag(bool);

impl ast::Visitor for UnicodeFlag {
    type Output = bool;
    type Err = Infallible;

    fn finish(self) -> Result<bool, Infallible> {
        Ok(self.0)
    }

    fn visit_pre(&mut self, ast: &Ast) -> Result<(), Infallible> {
        let is_set = |flags: &Flags| flags.flag_state(Flag::Unicode) == Some(true);
        self.0 |= match ast {
            Ast::Flags(set) => is_set(&set.flags),
            Ast::Group(group) => {
                matches!(&group.kind, GroupKind::NonCapturing(flags) if is_set(flags))
            }
            _ => false,
        };
        Ok(())
    }
}

fn builder(text: &str) -> RegexBuilder {
    let mut builder = RegexBuilder::new(text);
    builder.unicode(false).nest_limit(MAX_DEPTH).dfa_size_limit(CACHE);
    builder
}

/// Returns an upper bound for the size of a compiled expression, in bytes.
fn compiled_size(hir: &Hir) -> usize {
    let states = |n: usize| n.saturating_mul(STATE);
    let sum = |parts: &[Hir]| {
        let sizes = parts.iter().map(|part| compiled_size(part).saturating_add(STATE));
        sizes.fold(0, usize::saturating_add)
    };
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => STATE,
        HirKind::Literal(literal) => states(literal.0.len()),
        HirKind::Class(Class::Bytes(class)) => STATE + class.ranges().len() * RANGE,
        // Only with the flag `u`.
        HirKind::Class(Class::Unicode(_)) => usize::MAX,
        HirKind::Repetition(repetition) => {
            // Without a maximum, the last copy is a loop.
            let n = repetition.max.unwrap_or(repetition.min).max(1) as usize;
            n.saturating_mul(compiled_size(&repetition.sub).saturating_add(STATE))
        }
        HirKind::Capture(capture) => compiled_size(&capture.sub).saturating_add(states(2)),
        HirKind::Concat(parts) | HirKind::Alternation(parts) => sum(parts),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{MAX_SIZE, RegularExpression, builder};

    fn expression() -> impl Strategy<Value = String> {
        let leaf = prop_oneof![
            "[a-c]{1,8}",
            prop::sample::select(
                &[".", "\\w", "\\b", "[^a-z]", "(?u:[α-ω])", "(?u-x:a)", "^", "\\D", "é"][..]
            )
            .prop_map(str::to_owned),
        ];
        leaf.prop_recursive(6, 48, 4, |inner| {
            let repeated = (inner.clone(), 0_u16..120, 0_u16..120);
            prop_oneof![
                prop::collection::vec(inner.clone(), 1..5).prop_map(|parts| parts.concat()),
                prop::collection::vec(inner.clone(), 1..5)
                    .prop_map(|parts| format!("({})", parts.join("|"))),
                repeated.prop_map(|(sub, min, more)| format!("(?:{sub}){{{min},{}}}", min + more)),
                inner.clone().prop_map(|sub| format!("(?i:{sub})")),
                inner.prop_map(|sub| format!("(?:{sub})*")),
            ]
        })
    }

    proptest! {
        #[test]
        fn accepted_expressions_are_below_the_limit_when_they_are_compiled(text in expression()) {
            if let Ok(accepted) = RegularExpression::new(&text) {
                let limited = builder(&text).size_limit(MAX_SIZE).build();
                let limited = limited.map_err(|err| TestCaseError::fail(err.to_string()))?;
                let sample = "abcé ABC";
                prop_assert_eq!(accepted.is_match(sample), limited.is_match(sample.as_bytes()));
            }
        }
    }

    #[test]
    fn an_expression_for_characters_is_refused() {
        for text in [r"(?u:\w)", "(?iu)a", r"a(b(?-s:(?u)\pL))", "(?-i:x|(?su-m:é))"] {
            let err = RegularExpression::new(text).unwrap_err();
            assert!(err.contains("has the flag `u`"), "{err}");
        }
        for text in [r"(?-u:\w)", "(?i)é", "(u?)", r"\(\?u:"] {
            assert!(RegularExpression::new(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn ordinary_expressions_are_accepted() {
        for text in [
            r"rejected.*(non-fast-forward|fetch first)",
            r"(?i)\b(?:error|exception|failed)\b.{0,200}",
            r"\b[0-9a-f]{40}\b",
            r"(?:\w{1,64}/){1,16}\w{1,64}",
        ] {
            assert!(RegularExpression::new(text).is_ok(), "{text}");
        }
    }
}
