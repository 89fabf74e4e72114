//! Where findings go: standard error, a file, a webhook.
//!
//! A sink makes one attempt for each call of [`deliver`] and says whether
//! another is worth it; waiting and trying again is the business of the
//! [`Queue`] in front of it. What an agent wrote reaches none of them as it
//! is: no line, of text or of JSON, holds a character that could steer a
//! terminal or begin another line.
//!
//! Name this crate in the program (`use watchkeeper_sinks as _;`), and
//! policies know its kinds.
//!
//! [`deliver`]: watchkeeper_core::Sink::deliver
//! [`Queue`]: watchkeeper_core::Queue

mod count;
mod file;
mod json;
#[cfg(test)]
mod samples;
mod stderr;
mod text;
#[cfg(feature = "webhook")]
mod webhook;

#[cfg(feature = "webhook")]
pub use crate::webhook::{Webhook, WebhookOptions};
pub use crate::{
    file::{File, FileOptions},
    json::render_json,
    stderr::{Color, Format, Lines, Stderr, StderrOptions},
    text::{MAX_LINE, render_line},
};

#[cfg(test)]
mod tests {
    use watchkeeper_core::{Entry, Registry};

    #[test]
    fn every_kind_is_registered_with_a_summary() {
        let registry = Registry::linked().unwrap();
        let kinds: Vec<_> =
            registry.sinks.iter().map(|it| format!("{}: {}", it.kind(), it.summary())).collect();
        let mut due = vec![
            "file: Appends findings to a file, one line of JSON each.",
            "stderr: Writes findings to standard error, one line each.",
        ];
        if cfg!(feature = "webhook") {
            due.push("webhook: Posts each finding to a URL as JSON.");
        }
        assert_eq!(kinds, due);
    }
}
