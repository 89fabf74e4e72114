//! Bounds of the names in events, which an agent chooses.
//!
//! Names reach findings and reports as they are, and are kept in memory. Texts, such as prompts and
//! outputs, are bounded by the length of a line; findings contain excerpts of them.

use std::sync::Arc;

use super::{EventKind, SessionStart};
use crate::{
    Fingerprint,
    redact::{has_token, redact},
};

/// The longest id, in bytes: of sessions, agents, calls and responses.
pub(super) const MAX_ID: usize = 256;
/// The longest name, in bytes: of tools, models, versions and labels.
pub(super) const MAX_NAME: usize = 256;
/// The longest value of a label, reason of an end, or path, in bytes.
pub(super) const MAX_VALUE: usize = 4096;
/// The largest number of labels that one event sets.
pub(super) const MAX_LABELS: usize = 64;

impl EventKind {
    /// Cuts names that are longer than stated in [`Event`](crate::Event), and redacts secrets in
    /// folders and labels, which findings contain as they are.
    pub(crate) fn limit_names(&mut self) {
        match self {
            Self::SessionStart(start) => start.limit_names(),
            Self::ModelCall(call) => {
                cut_optional(&mut call.id, MAX_ID);
                cut_optional(&mut call.model, MAX_NAME);
            }
            Self::ToolCall(call) => {
                cut(&mut call.id, MAX_ID);
                cut_optional(&mut call.response, MAX_ID);
                if let Some(tool) = shortened(&call.tool, MAX_NAME) {
                    call.tool = tool.into();
                }
            }
            Self::ToolResult(result) => cut(&mut result.id, MAX_ID),
            Self::Handoff { to } => cut(to, MAX_ID),
            Self::Quota(quota) => cut(&mut quota.name, MAX_NAME),
            Self::SessionEnd { reason } => cut_optional(reason, MAX_VALUE),
            _ => {}
        }
    }
}

impl SessionStart {
    fn limit_names(&mut self) {
        cut_optional(&mut self.cwd, MAX_VALUE);
        if let Some(cwd) = self.cwd.as_mut().filter(|cwd| has_token(cwd)) {
            *cwd = redact(cwd).into();
        }
        cut_optional(&mut self.model, MAX_NAME);
        cut_optional(&mut self.version, MAX_NAME);
        self.labels.truncate(MAX_LABELS);
        for (name, value) in &mut self.labels {
            cut(name, MAX_NAME);
            cut(value, MAX_VALUE);
            if has_token(value) {
                *value = redact(value).into();
            }
        }
    }
}

/// Returns the id that stands for a long one, or for one that contains a secret.
pub(super) fn limited_id(id: Arc<str>) -> Arc<str> {
    if MAX_ID < id.len() || has_token(&id) { safe_id(&id) } else { id }
}

/// Returns the path that stands for one that contains a secret. No file has it.
pub(crate) fn safe_path(path: &Arc<str>) -> Arc<str> {
    if !has_token(path) {
        return Arc::clone(path);
    }
    // Two files remain different.
    format!("{}#{}", redact(path), Fingerprint::of(&**path)).into()
}

#[cold]
fn safe_id(id: &str) -> Arc<str> {
    let redacted = redact(id);
    if redacted == id {
        return shortened(id, MAX_ID).map_or_else(|| id.into(), Arc::from);
    }
    // Two ids that differ in their secrets remain different.
    let id = format!("{redacted}#{}", Fingerprint::of(id));
    shortened(&id, MAX_ID).unwrap_or(id).into()
}

fn cut(text: &mut Box<str>, max: usize) {
    if let Some(short) = shortened(text, max) {
        *text = short.into();
    }
}

fn cut_optional(text: &mut Option<Box<str>>, max: usize) {
    if let Some(text) = text {
        cut(text, max);
    }
}

/// Returns the beginning of a text that is longer than `max`, and a hash of the text: two texts
/// remain different if they differ in the part that is cut.
fn shortened(text: &str, max: usize) -> Option<String> {
    (max < text.len()).then(|| beginning(text, max))
}

#[cold]
fn beginning(text: &str, max: usize) -> String {
    let hash = format!("#{}", Fingerprint::of(text));
    let end = (0..=max - hash.len()).rev().find(|at| text.is_char_boundary(*at));
    format!("{}{hash}", &text[..end.unwrap_or(0)])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{MAX_ID, MAX_LABELS, MAX_NAME, MAX_VALUE};
    use crate::{EventKind, Json, ModelCall, SessionId, SessionStart, ToolCall, ToolResult};

    const LONG: usize = 64 << 10;

    fn long(end: &str) -> Box<str> {
        ("é".repeat(LONG / 2) + end).into()
    }

    #[test]
    fn long_names_are_cut_and_remain_different() {
        for end in ["a", "b"] {
            let mut call = ToolCall::new(long(end), &*long(end), Json::default());
            call.response = Some(long(end));
            let model =
                ModelCall { id: Some(long(end)), model: Some(long(end)), ..ModelCall::default() };
            let start = SessionStart {
                cwd: Some(long(end)),
                model: Some(long(end)),
                version: Some(long(end)),
                parent: Some(SessionId::from(&*long(end))),
                labels: vec![(long(end), long(end)); 3 * MAX_LABELS],
            };
            for mut kind in [
                EventKind::ToolCall(call),
                EventKind::ModelCall(model),
                EventKind::SessionStart(start),
                EventKind::ToolResult(ToolResult::new(long(end), true, None)),
                EventKind::Handoff { to: long(end) },
                EventKind::SessionEnd { reason: Some(long(end)) },
            ] {
                kind.limit_names();
                let shown = format!("{kind:?}");
                assert!(shown.len() < 2 * MAX_LABELS * (MAX_NAME + MAX_VALUE), "{}", kind.name());
                assert!(shown.contains("é#"), "{shown}");
                assert!(!shown.contains(&format!("é{end}")), "{}", kind.name());
                let limited = kind.clone();
                kind.limit_names();
                assert_eq!(kind, limited);
            }
        }
        let [a, b] = ["a", "b"].map(|end| SessionId::from(&*long(end)));
        assert!(a != b && a.as_str().len() <= MAX_ID && b.as_str().len() <= MAX_ID);
        assert_eq!(a, SessionId::from(&*long("a")));
        assert_eq!(a, SessionId::from(a.as_str()));
    }

    #[test]
    fn a_call_and_its_result_keep_the_same_id() {
        let mut call = EventKind::ToolCall(ToolCall::new(long("a"), "Read", Json::default()));
        let mut result = EventKind::ToolResult(ToolResult::new(long("a"), true, None));
        call.limit_names();
        result.limit_names();
        let (EventKind::ToolCall(call), EventKind::ToolResult(result)) = (call, result) else {
            unreachable!("the kinds do not change")
        };
        assert_eq!(call.id, result.id);
    }

    #[test]
    fn secrets_in_ids_folders_and_labels_are_redacted() {
        let token = |end: char| format!("ghp_{}{end}", "0123456789abcdef".repeat(2));
        let ids = ['x', 'y'].map(|end| SessionId::from(format!("run-{}", token(end))));
        assert_ne!(ids[0], ids[1]);
        assert!(ids.iter().all(|id| id.as_str().starts_with("run-[redacted]#")), "{ids:?}");
        let mut start = SessionStart {
            cwd: Some(format!("/home/{}", token('x')).into()),
            labels: vec![("team".into(), token('x').into()), ("user".into(), "a".into())],
            ..SessionStart::default()
        };
        start.limit_names();
        assert_eq!(start.cwd.as_deref(), Some("/home/[redacted]"));
        let expected = vec![("team".into(), "[redacted]".into()), ("user".into(), "a".into())];
        assert_eq!(start.labels, expected);
    }

    proptest! {
        // No `e` after `ses_`: a random id that begins with `eyJ` looks like a JSON web token.
        #[test]
        fn usual_ids_are_unchanged(id in "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}|ses_[0-9a-df-zA-Z][0-9a-zA-Z]{25}|.{0,80}/[a-z]{3}") {
            prop_assert_eq!(SessionId::from(&*id).to_string(), id);
        }
    }
}
