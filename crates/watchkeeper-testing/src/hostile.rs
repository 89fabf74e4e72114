//! Hostile text in every place where an event contains text.

use serde_json::{Value, json};
use watchkeeper_core::{AgentId, Event, EventKind, Json, ToolCall, ToolResult};

/// The length of texts that no detector may keep, in bytes.
pub(crate) const HUGE: usize = 100_000;

/// Texts that break careless code: multi-byte characters at every alignment,
/// escape sequences, line breaks, and nothing.
pub(crate) const TEXTS: &[fn() -> String] = &[
    String::new,
    || "é".to_owned(),
    || "😀".repeat(500),
    || format!("a{}", "😀".repeat(500)),
    || format!("ab{}", "é".repeat(500)),
    || "\u{1b}]0;title\u{7}\u{1b}[2J\r\n\u{202e}`".to_owned(),
    || "first line\nsecond line.".to_owned(),
    || "export TOKEN=abcdef\0".to_owned(),
];

/// JSON values that no tool expects as arguments.
pub(crate) const ODD_ARGUMENTS: &[fn() -> Value] = &[
    || Value::Null,
    || json!(true),
    || json!(-1.5e300),
    || json!(""),
    || json!([]),
    || json!([1, [2, {"a": [null]}]]),
    || json!({}),
    || json!({"": {"": ""}}),
    || {
        (0..100).fold(
            Value::Null,
            |inner, n| if n % 2 == 0 { json!([inner]) } else { json!({ "a": inner }) },
        )
    },
    || (0..500).map(|n| (format!("key {n}"), json!(n))).collect::<serde_json::Map<_, _>>().into(),
];

/// Calls `change` for every text of an event, and replaces the text with the
/// returned value.
///
/// A text of a call's arguments may become any JSON value. In other places the
/// value is converted to text.
pub(crate) fn change_texts(event: &mut Event, change: &mut dyn FnMut(&str) -> Option<Value>) {
    if let Some(agent) = &event.agent
        && let Some(text) = changed(agent.as_str(), change)
    {
        event.agent = Some(AgentId::from(text));
    }
    match &mut event.kind {
        EventKind::ToolCall(call) => change_call(call, change),
        EventKind::ToolResult(result) => {
            let id = changed(&result.id, change).map_or_else(|| result.id.clone(), Into::into);
            let output = result.output.take().map(|output| or_same(output, change));
            let mut rebuilt = ToolResult::new(id, result.ok, output);
            (rebuilt.exit_code, rebuilt.cause) = (result.exit_code, result.cause);
            *result = rebuilt;
        }
        EventKind::Prompt { text, .. }
        | EventKind::Message { text, .. }
        | EventKind::Thinking { text }
        | EventKind::Handoff { to: text }
        | EventKind::Error { message: text, .. }
        | EventKind::SessionEnd { reason: Some(text) } => change_text(text, change),
        EventKind::ModelCall(call) => {
            for text in [&mut call.id, &mut call.model].into_iter().flatten() {
                change_text(text, change);
            }
        }
        EventKind::SessionStart(start) => {
            let fields = [&mut start.cwd, &mut start.model, &mut start.version];
            for text in fields.into_iter().flatten() {
                change_text(text, change);
            }
            for (_, value) in &mut start.labels {
                change_text(value, change);
            }
        }
        _ => {}
    }
}

fn change_call(call: &mut ToolCall, change: &mut dyn FnMut(&str) -> Option<Value>) {
    let id = changed(&call.id, change);
    let tool = changed(&call.tool, change);
    let mut arguments = call.arguments.to_value();
    let has_new_arguments = change_strings(&mut arguments, change);
    let response = call.response.take().map(|response| or_same(response, change));
    if id.is_some() || tool.is_some() || has_new_arguments {
        let arguments =
            if has_new_arguments { Json::from(&arguments) } else { call.arguments.clone() };
        let class = tool.is_none().then_some(call.class);
        let id = id.map_or_else(|| call.id.clone(), Into::into);
        let tool = tool.map_or_else(|| call.tool.clone(), Into::into);
        *call = ToolCall::of_class(id, tool, arguments, class, &[]);
    }
    call.response = response;
}

/// Changes the strings of a JSON value. Returns whether one has changed.
fn change_strings(value: &mut Value, change: &mut dyn FnMut(&str) -> Option<Value>) -> bool {
    match value {
        Value::String(text) => match change(text) {
            Some(new) => {
                *value = new;
                true
            }
            None => false,
        },
        Value::Array(items) => items
            .iter_mut()
            .fold(false, |has_changed, item| change_strings(item, change) | has_changed),
        Value::Object(entries) => entries
            .values_mut()
            .fold(false, |has_changed, item| change_strings(item, change) | has_changed),
        _ => false,
    }
}

fn changed(text: &str, change: &mut dyn FnMut(&str) -> Option<Value>) -> Option<String> {
    change(text).map(|new| match new {
        Value::String(text) => text,
        other => other.to_string(),
    })
}

fn or_same(text: Box<str>, change: &mut dyn FnMut(&str) -> Option<Value>) -> Box<str> {
    changed(&text, change).map_or(text, Into::into)
}

fn change_text(text: &mut Box<str>, change: &mut dyn FnMut(&str) -> Option<Value>) {
    if let Some(new) = changed(text, change) {
        *text = new.into();
    }
}

/// Replaces the arguments of a call.
pub(crate) fn replace_arguments(event: &mut Event, arguments: &Value) {
    if let EventKind::ToolCall(call) = &mut event.kind {
        let response = call.response.take();
        let (id, tool) = (call.id.clone(), call.tool.clone());
        *call = ToolCall::of_class(id, tool, Json::from(arguments), Some(call.class), &[]);
        call.response = response;
    }
}

/// Adds a suffix to the ids of an event's call, response and model call.
pub(crate) fn renumber(event: &mut Event, round: usize) {
    let fresh = |id: &str| Box::<str>::from(format!("{id}-{round}"));
    match &mut event.kind {
        EventKind::ToolCall(call) => {
            call.id = fresh(&call.id);
            call.response = call.response.as_deref().map(fresh);
        }
        EventKind::ToolResult(result) => result.id = fresh(&result.id),
        EventKind::ModelCall(call) => call.id = call.id.as_deref().map(fresh),
        _ => {}
    }
}

/// Replaces about one text in eight with a hostile one, and some arguments.
pub(crate) fn disturb(event: &mut Event, noise: &mut Noise) {
    if noise.below(16) == 0 {
        replace_arguments(event, &ODD_ARGUMENTS[noise.below(ODD_ARGUMENTS.len())]());
    }
    change_texts(event, &mut |_| {
        let is_changed = noise.below(8) == 0;
        is_changed.then(|| Value::from(TEXTS[noise.below(TEXTS.len())]()))
    });
}

/// Adds a suffix, which is new in each round, to about half of an event's texts and
/// to few names of tools. The rounds thus mix known and unknown texts.
pub(crate) fn freshen(event: &mut Event, round: usize, noise: &mut Noise) {
    renumber(event, round);
    let agent = event.agent.take();
    // The first texts of a call are its id, which `renumber` has changed, and its tool.
    let n_ids =
        usize::from(matches!(event.kind, EventKind::ToolCall(_) | EventKind::ToolResult(_)));
    let has_tool = matches!(event.kind, EventKind::ToolCall(_));
    let mut idx = 0;
    change_texts(event, &mut |text| {
        let is_tool = has_tool && idx == 1;
        let is_changed = n_ids <= idx && noise.below(if is_tool { 8 } else { 2 }) == 0;
        idx += 1;
        is_changed.then(|| Value::from(format!("{text} {round}")))
    });
    event.agent = agent;
}

/// A small pseudo-random generator (a linear congruential one, Knuth's MMIX).
#[derive(Clone, Debug)]
pub(crate) struct Noise(u64);

impl Noise {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Returns a number below `n`, which is not zero.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from((self.0 >> 33) % n as u64).unwrap_or(0)
    }
}
