//! Templates for bodies, in the syntax of Jinja.

use std::{borrow::Cow, fmt};

use minijinja::{AutoEscape, Environment, Error, UndefinedBehavior, context, value};
use serde_json::{Value, json};
use watchkeeper_core::{
    Finding, Severity, Timestamp,
    author::{Evidence, make_safe},
};

use crate::webhook::update::Update;

/// The longest template, in bytes.
const MAX_LEN: usize = 64 << 10;
/// The number of instructions of one rendering. An instruction that makes text or lists
/// counts once for each 64 bytes, so that this also bounds memory, to 6 MB.
const FUEL: u64 = 100_000;
/// The name of the template in its environment.
const NAME: &str = "template";
/// The members of a finding that its JSON omits if they have no value.
const OPTIONAL: [&str; 3] = ["action", "annotations", "replaces"];

/// A compiled template, whose output is JSON. It reads no file, and includes no other
/// template.
pub(crate) struct Template(Environment<'static>);

/// A mistake in a template, or in its output for one finding.
pub(super) type Mistake = Cow<'static, str>;

impl Template {
    /// Compiles a template, and renders a sample with it.
    pub(super) fn new(text: &str) -> Result<Self, Mistake> {
        if MAX_LEN < text.len() {
            return Err(format!("has {} bytes, and may have {MAX_LEN}", text.len()).into());
        }
        let mut environment = Environment::new();
        environment.set_fuel(Some(FUEL));
        environment.set_undefined_behavior(UndefinedBehavior::Chainable);
        environment.set_auto_escape_callback(|_| AutoEscape::Json);
        // The members of `finding.data` differ between detectors.
        environment.set_formatter(|output, state, value| {
            let null = value::Value::from(());
            minijinja::escape_formatter(
                output,
                state,
                if value.is_undefined() { &null } else { value },
            )
        });
        environment.add_template_owned(NAME, text.to_owned()).map_err(|err| mistake(&err))?;
        let template = Self(environment);
        template.check_names()?;
        template.render(&sample(), Update::Opened)?;
        Ok(template)
    }

    /// Checks that the template uses only the names that a rendering has.
    fn check_names(&self) -> Result<(), Mistake> {
        let finding = members(&sample());
        let is_known = |name: &str| {
            let mut parts = name.split('.');
            match (parts.next(), parts.next()) {
                (Some("type"), _) | (Some("finding"), None) => true,
                (Some("finding"), Some(member)) => finding.get(member).is_some(),
                (Some(name), _) => self.0.globals().any(|(global, _)| global == name),
                (None, _) => false,
            }
        };
        let template = self.0.get_template(NAME).map_err(|err| mistake(&err))?;
        let mut unknown: Vec<_> = template.undeclared_variables(true).into_iter().collect();
        unknown.retain(|name| !is_known(name));
        // The order of a set differs between runs.
        unknown.sort_unstable();
        match unknown.first() {
            None => Ok(()),
            Some(name) => Err(format!("`{}` does not exist", make_safe(name)).into()),
        }
    }

    /// Returns the value that the template writes for a finding.
    pub(super) fn render(&self, finding: &Finding, update: Update) -> Result<Value, Mistake> {
        let template = self.0.get_template(NAME).map_err(|err| mistake(&err))?;
        let finding = value::Value::from(value::Serde(members(finding)));
        let text = template
            .render(context! { type => update.event_type(), finding })
            .map_err(|err| mistake(&err))?;
        serde_json::from_str(&text).map_err(|err| {
            format!("the output is not JSON, in which a text has its quotes already: {err}").into()
        })
    }
}

fn mistake(err: &Error) -> Mistake {
    let line = err.line().map(|line| format!("line {line}: ")).unwrap_or_default();
    let detail = err.detail().map(|detail| format!(": {detail}")).unwrap_or_default();
    make_safe(&format!("{line}{}{detail}", err.kind())).into()
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
        Template::new(text).map(drop).unwrap_err().into_owned()
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
    fn mistakes_are_found_before_the_first_finding() {
        assert_snapshot!(mistake_in("{\n{{ finding.message }"), @"line 2: syntax error: unexpected `}`, expected end of variable block");
        assert_snapshot!(mistake_in("{{ finding.mesage }}"), @"`finding.mesage` does not exist");
        assert_snapshot!(mistake_in("{{ fnding.message }}"), @"`fnding.message` does not exist");
        assert_snapshot!(mistake_in("{{ finding.message | shout }}"), @"line 1: unknown filter: filter shout is unknown");
        assert_snapshot!(mistake_in(r#"{"text": "{{ finding.message }}"}"#), @"the output is not JSON, in which a text has its quotes already: expected `,` or `}` at line 1 column 12");
        assert_snapshot!(mistake_in("{{ finding.message }} {{ finding.id }}"), @"the output is not JSON, in which a text has its quotes already: trailing characters at line 1 column 71");
        assert_snapshot!(mistake_in("{% include 'other' %}"), @"line 1: syntax error: unknown statement include");
        assert_snapshot!(mistake_in(&" ".repeat(MAX_LEN + 1)), @"has 65537 bytes, and may have 65536");
    }

    #[test]
    fn a_rendering_is_bounded_in_time_and_memory() {
        for text in [
            "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}1",
            r#"{{ "x" * 1000000000 }}"#,
            r#"{{ range(99999) | map("string") | join("xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx") | replace("x", "yyyyyyyyyyyyyyyyyyyyyyy") }}"#,
            "{% set s = finding.message * 500000 %}{{ s | length }}",
        ] {
            assert_eq!(mistake_in(text), "line 1: engine ran out of fuel", "{text}");
        }
    }

    proptest! {
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
