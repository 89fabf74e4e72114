//! The loader of policies.

use std::{io, path::Path};

use watchkeeper_core::embed::Registry;
use watchkeeper_detector_repeat_tool_call as _;
use watchkeeper_detector_timeout as _;
use watchkeeper_policy::{BUILTIN, Loader, render};
use watchkeeper_sinks as _;

use crate::Target;

pub(crate) fn target() -> Target {
    let registry = Registry::linked().expect("the kinds have different names");
    let examples = vec![
        include_bytes!("../../policy.example.toml").to_vec(),
        BUILTIN.as_bytes().to_vec(),
        SMALL.as_bytes().to_vec(),
        SMALL.as_bytes().to_vec(),
        REPEATED.as_bytes().to_vec(),
    ];
    let tokens: &[&[u8]] = &[
        b"\n",
        b"[",
        b"]",
        b"[[",
        b"]]",
        b"{",
        b"}",
        b"=",
        b"\"",
        b"'",
        b"\"\"\"",
        b".",
        b",",
        b"#",
        b"\\u0000",
        b"\xff",
        b"-1",
        b"1e999",
        b"0x",
        b"true",
        b"\"5m\"",
        b"@",
        b"extends = \"x\"\n",
        b"version = 1\n",
        b"kind = \"timeout\"\n",
        b"[detectors.a]\n",
        b"[[routes]]\n",
        b"add = []",
        b"{{ finding.data | string ~ 'a' }}",
        b"{% for a in finding.labels %}",
        b"{% endfor %}",
        b"{% if finding.agent is none %}",
        b"{% endif %}",
        b"*",
        b"**",
        b"\\q",
        b"\r",
        b".a.a.a.a",
        b"'@shells',",
    ];
    Target {
        name: "policy",
        examples,
        tokens,
        check: Box::new(move |input| check(&registry, input)),
    }
}

const SMALL: &str = r#"version = 1
[lists]
shells = ["Bash", "exec_*"]
[detectors.quiet]
kind = "timeout"
severity = "low"
[detectors.repeated]
kind = "repeat-tool-call"
levels = [{ at = 3, severity = "medium" }, { at = 5, severity = "high" }]
[[detectors.repeated.exceptions]]
tool = ["@shells"]
reason = "polls"
[sinks.file]
path = "findings.ndjson"
[sinks.hook]
kind = "webhook"
url = "https://hooks.example.com/x"
template = '{"text": {{ finding.message | tojson }}}'
[[routes]]
match = { severity = ">= medium" }
sinks = ["file", "hook"]
cooldown = "5m"
"#;

/// Entries that are read several times.
const REPEATED: &str = r#"version = 1
lists.shells = ["Bash", "exec_*"]
[detectors.repeated]
kind = "repeat-tool-call"
[[detectors.repeated.exceptions]]
tool = ["@shells", "@shell", "@shells"]
reason = "polls"
[[overrides]]
match = { cwd = "/a" }
reason = "slow"
detectors.repeated.levels = [{ at = 9, severity = "low" }]
[[overrides]]
match = { cwd = ["/b", "/a*"] }
reason = "slow"
detectors.repeated.exceptions.add = [{ tool = "*", reason = "polls" }]
"#;

/// A policy is accepted, or refused with an error. Its diagnostics can be printed.
fn check(registry: &Registry, input: &[u8]) -> Result<(), String> {
    let text = String::from_utf8_lossy(input).into_owned();
    let read_file = |path: &Path| match path.to_str() {
        Some("policy.toml") => Ok(text.clone()),
        _ => Err(io::ErrorKind::NotFound.into()),
    };
    let loaded = Loader::new(registry, &read_file).load(Path::new("policy.toml"));
    let rendered = render(&loaded, false);
    if loaded.policy.is_none() && !rendered.contains("error") {
        return Err("is refused without an error".to_owned());
    }
    match rendered.chars().find(|c| *c != '\n' && watchkeeper_core::author::is_unsafe(*c)) {
        Some(c) => Err(format!("is printed with {c:?}")),
        None => Ok(()),
    }
}
