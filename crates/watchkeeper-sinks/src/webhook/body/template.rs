//! Templates for bodies, in a small part of the syntax of Jinja.

mod lexer;
mod parser;
mod render;
mod syntax;

use std::fmt;

use serde_json::{Value, json};
use watchkeeper_core::{Finding, Severity, Timestamp, author::Evidence};

use self::{parser::parse, render::render, syntax::Node};
use crate::webhook::update::Update;

/// The longest template, in bytes.
const MAX_LEN: usize = 64 << 10;
/// The members of a finding that its JSON omits if they have no value.
const OPTIONAL: [&str; 3] = ["action", "annotations", "replaces"];

/// A parsed template, whose output is JSON.
///
/// Its language is no engine of a library: those have assignments, macros and repetition, with
/// which a line of text takes all memory. Here, the syntax has nothing that grows, and each
/// rendering has a budget.
pub(crate) struct Template(Vec<Node>);

impl Template {
    /// Parses a template, and renders a sample with it.
    pub(super) fn new(text: &str) -> Result<Self, String> {
        if MAX_LEN < text.len() {
            return Err(format!("has {} bytes, and may have {MAX_LEN}", text.len()));
        }
        let sample = sample();
        let template = Self(parse(text, &names(&sample, Update::Opened))?);
        template.render(&sample, Update::Opened)?;
        Ok(template)
    }

    /// Returns the value that the template writes for a finding.
    pub(super) fn render(&self, finding: &Finding, update: Update) -> Result<Value, String> {
        let text = render(&self.0, &names(finding, update))?;
        serde_json::from_str(&text).map_err(|err| {
            format!("the output is not JSON, in which a text has its quotes already: {err}")
        })
    }
}

/// Returns the object of the names that a template can use.
fn names(finding: &Finding, update: Update) -> Value {
    json!({ "type": update.event_type(), "finding": members(finding) })
}

/// Returns the members of a finding, with `null` for those without a value.
fn members(finding: &Finding) -> Value {
    let mut members = json!(finding);
    for name in OPTIONAL {
        if members.get(name).is_none() {
            members[name] = Value::Null;
        }
    }
    members
}

/// Returns a finding that checks a template: with text that JSON must escape.
fn sample() -> Finding {
    let message = "`Bash` returned \"no rule\"\\n \u{1b}[31m for the same call 4 times";
    let mut finding =
        Finding::new(Timestamp::UNIX_EPOCH, "sample", "session", Severity::High, message);
    finding.evidence = vec![Evidence::new(None, "tool_call")];
    finding
}

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Template").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use insta::assert_snapshot;
    use proptest::prelude::*;

    use super::*;
    use crate::samples::{any_finding, finding};

    fn render(text: &str) -> String {
        let template = Template::new(text).unwrap();
        template.render(&finding(), Update::Opened).unwrap().to_string()
    }

    fn mistake_in(text: &str) -> String {
        Template::new(text).map(drop).unwrap_err()
    }

    #[test]
    fn values_are_written_as_json() {
        assert_snapshot!(render(r#"{
            "text": {{ finding.severity ~ ": " ~ finding.message }},
            "event": {{ type }},
            "data": {{ finding.data }},
            "none": [{{ finding.agent }}, {{ finding.replaces }}, {{ finding.data.other.member }}],
            "labels": [{% for name in finding.labels %}{{ name | upper }}{% endfor %}]
        }"#), @r#"{"data":{"repeats":4,"tool":"Bash"},"event":"finding.opened","labels":["TEAM"],"none":[null,null,null],"text":"high: `Bash` returned the same result for the same call 4 times in 31s: `make` returns `no rule to make it`"}"#);
    }

    #[test]
    fn statements_and_filters_select_and_change_values() {
        assert_snapshot!(render(r#"{
            {#- Only the first label. #}
            "first": {% for name in finding.labels -%}
                {% if loop.first %}{{ name | upper }}{% elif loop.last %}"last"{% endif %}
            {%- else %}null{% endfor %},
            "none": {% for name in finding.data.other %}1{% else %}2{% endfor %},
            "names": [{% for name in finding.data %}{{ name ~ "=" ~ finding.data[name] }}{% if not loop.last %},{% endif %}{% endfor %}]
        }"#), @r#"{"first":"TEAM","names":["repeats=4","tool=Bash"],"none":2}"#);
        for (expr, expected) in [
            ("finding.data.repeats > 3 and finding.data.repeats <= 4.0", json!(true)),
            ("finding.severity in ['high', 'medium'] and 'x' not in ['y']", json!(true)),
            ("'repeats' in finding.data and 'rule' in finding.message", json!(true)),
            ("finding.agent is none and finding.labels is defined", json!(true)),
            ("finding.agent is not none or finding.labels is not defined", json!(false)),
            ("finding.data == finding.data and finding.data != finding.labels", json!(true)),
            ("finding.agent or 'no agent'", json!("no agent")),
            ("finding.agent | default('no agent') | upper", json!("NO AGENT")),
            ("'a' if finding.agent else 'b' if finding.data else 'c'", json!("b")),
            ("'a' if finding.agent", json!(null)),
            ("([1, 2] | first) ~ ([3, 4] | last) ~ ['a'][0] ~ [1][1]", json!("14a")),
            ("[1, 'b', none, true] | join(', ')", json!("1, b, , true")),
            ("[1, 'b', none, true] | length", json!(4)),
            ("'  Grüße '|trim|lower|length", json!(5)),
            ("'Grüße' | truncate(3) ~ ('Grüße' | truncate(5))", json!("Gr…Grüße")),
            ("finding.data | string | truncate(12)", json!("{\"repeats\":…")),
            ("finding.data | tojson | upper", json!({"repeats": 4, "tool": "Bash"})),
            ("'a\\n\\\\\\'\"' ~ -1.5", json!("a\n\\'\"-1.5")),
        ] {
            let template = Template::new(&format!("{{{{ {expr} }}}}"));
            let template = template.unwrap_or_else(|mistake| panic!("{expr}: {mistake}"));
            assert_eq!(template.render(&finding(), Update::Opened), Ok(expected), "{expr}");
        }
    }

    #[test]
    fn mistakes_are_found_before_the_first_finding() {
        assert_snapshot!(mistake_in("{\n{{ finding.message }"), @"line 2: unexpected `}`");
        assert_snapshot!(mistake_in("{{ finding.message "), @"line 1: a tag has no end `}}`");
        assert_snapshot!(mistake_in("{{ finding.mesage }}"), @"line 1: `finding.mesage` does not exist");
        assert_snapshot!(mistake_in("{{ fnding.message }}"), @"line 1: `fnding` does not exist");
        assert_snapshot!(mistake_in("{{ loop.index }}"), @"line 1: `loop` does not exist");
        assert_snapshot!(mistake_in("{{ finding.message | shout }}"), @"line 1: `shout` is no filter; use `default`, `first`, `join`, `last`, `length`, `lower`, `string`, `tojson`, `trim`, `truncate` or `upper`");
        assert_snapshot!(mistake_in("{{ finding.message | default }}"), @"line 1: `default` needs an argument");
        assert_snapshot!(mistake_in("{{ finding.message | upper(1) }}"), @"line 1: `upper` has no arguments");
        assert_snapshot!(mistake_in("{{ 'a }}"), @"line 1: a text has no end `'`");
        assert_snapshot!(mistake_in("{{ 1.2.3 }}"), @"line 1: `1.2.3` is not a number");
        assert_snapshot!(mistake_in("{{ 'a' 'b' }}"), @"line 1: expected the end of the tag, not a text");
        assert_snapshot!(mistake_in("{# a"), @"line 1: a comment has no end `#}`");
        assert_snapshot!(mistake_in("\n{% if finding.agent %}"), @"line 2: `if` has no `endif`");
        assert_snapshot!(mistake_in("{% if finding.agent %}{% endfor %}"), @"line 1: `endfor` is outside of its statement");
        assert_snapshot!(mistake_in("{% endif %}"), @"line 1: `endif` is outside of its statement");
        assert_snapshot!(mistake_in(r#"{"text": "{{ finding.message }}"}"#), @"the output is not JSON, in which a text has its quotes already: expected `,` or `}` at line 1 column 12");
        assert_snapshot!(mistake_in("{{ finding.message }} {{ finding.id }}"), @"the output is not JSON, in which a text has its quotes already: trailing characters at line 1 column 71");
        assert_snapshot!(mistake_in(&" ".repeat(MAX_LEN + 1)), @"has 65537 bytes, and may have 65536");
    }

    #[test]
    fn values_that_could_grow_cannot_be_written() {
        assert_snapshot!(mistake_in("{{ [[[1]*1000]*1000]*1000 }}"), @"line 1: unexpected `*`");
        assert_snapshot!(mistake_in("{{ 'x' * 1000000000 }}"), @"line 1: unexpected `*`");
        assert_snapshot!(mistake_in("{{ [finding, finding] }}"), @"line 1: expected a text or a number in a list, not `finding`");
        assert_snapshot!(mistake_in("{{ (finding, finding) }}"), @"line 1: expected `)`, not `,`");
        assert_snapshot!(mistake_in("{{ {'a': finding} }}"), @"line 1: unexpected `{`");
        assert_snapshot!(mistake_in("{{ finding | tojson(indent=1000000000) | length }}"), @"line 1: `indent` does not exist");
        assert_snapshot!(mistake_in("{{ finding.message | replace('a', 'aa') }}"), @"line 1: expected `)`, not `,`");
        assert_snapshot!(mistake_in("{% set a = [a, a] %}1"), @"line 1: `set` is no statement; use `if` or `for`");
        assert_snapshot!(mistake_in("{% set ns = namespace(a='x') %}1"), @"line 1: `set` is no statement; use `if` or `for`");
        assert_snapshot!(mistake_in("{% set a %}{{ a }}{{ a }}{% endset %}1"), @"line 1: `set` is no statement; use `if` or `for`");
        assert_snapshot!(mistake_in("{% for i in range(200000) %}{% endfor %}1"), @"line 1: `range` does not exist");
        assert_snapshot!(mistake_in("{% for i in finding.labels recursive %}{{ loop(i) }}{% endfor %}1"), @"line 1: expected the end of the tag, not `recursive`");
        assert_snapshot!(mistake_in("{% macro a() %}{% endmacro %}1"), @"line 1: `macro` is no statement; use `if` or `for`");
        assert_snapshot!(mistake_in("{% filter upper %}{% endfilter %}1"), @"line 1: `filter` is no statement; use `if` or `for`");
        assert_snapshot!(mistake_in("{% with a = finding %}{% endwith %}1"), @"line 1: `with` is no statement; use `if` or `for`");
        assert_snapshot!(mistake_in("{% include 'other' %}"), @"line 1: `include` is no statement; use `if` or `for`");
        assert_snapshot!(mistake_in(&format!("{{{{ {} }}}}", "(".repeat(9_000))), @"line 1: an expression nests deeper than 32");
        assert_snapshot!(mistake_in(&"{% if 1 %}".repeat(MAX_LEN / 10)), @"line 1: statements nest deeper than 32");
    }

    #[test]
    fn a_rendering_has_a_budget() {
        let loops = "{% for a in finding %}".repeat(16) + &"{% endfor %}".repeat(16);
        let text = "finding ~ ".repeat(6_000);
        let text = format!("{{{{ ({text} 1) | length }}}}");
        let upper = " | upper".repeat(8_000);
        let upper = format!("{{{{ finding.message{upper} | length }}}}");
        let upper = format!("{{% for a in finding %}}{upper}{{% endfor %}}");
        for text in [loops, text, upper] {
            assert_eq!(mistake_in(&text), "a rendering makes more than 1048576 bytes");
        }
    }

    /// Returns a template of words of the language, most of which are mistakes.
    fn any_template() -> impl Strategy<Value = String> {
        let words = prop::sample::select(vec![
            "{{", "}}", "{%", "%}", "{#", "#}", "-", "if", "elif", "else", "endif", "for", "in",
            "endfor", "finding", "labels", "data", "loop", "a", ".", "[", "]", "(", ")", "|", "~",
            "==", "<", ">=", "not", "and", "or", "is", "none", "defined", "first", "join",
            "truncate", "default", "'x'", "\"", "\\", "1", "1.5", "ü", "\n", "\u{1b}",
        ]);
        prop::collection::vec(words, 0..40).prop_map(|words| words.join(" "))
    }

    proptest! {
        #[test]
        fn any_text_is_rendered_or_is_a_mistake_of_one_line(text in any_template()) {
            if let Err(mistake) = Template::new(&text) {
                prop_assert!(!mistake.chars().any(watchkeeper_core::author::is_unsafe), "{mistake:?}");
            }
        }

        #[test]
        fn no_finding_breaks_the_json(finding in any_finding()) {
            static TEMPLATE: LazyLock<Template> = LazyLock::new(|| {
                Template::new(r#"{"text": {{ finding.message }}, "all": {{ finding }}}"#).unwrap()
            });
            let rendered = TEMPLATE.render(&finding, Update::Resolved).unwrap();
            prop_assert_eq!(&rendered["text"], &json!(finding.message));
            prop_assert_eq!(&rendered["all"], &members(&finding));
        }
    }
}
