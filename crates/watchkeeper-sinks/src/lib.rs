//! The sinks `console`, `desktop`, `exec`, `file`, `otlp`, `stderr`, `syslog` and
//! `webhook`.
//!
//! A sink makes one attempt for each call of [`deliver`], and returns whether
//! another attempt can succeed; the [`Queue`] in front of the sink waits and
//! retries. No line that a sink writes, text or JSON, contains a character
//! that could control a terminal or begin another line, whatever an agent
//! wrote.
//!
//! A program that names this crate (`use watchkeeper_sinks as _;`) registers
//! these kinds.
//!
//! [`deliver`]: watchkeeper_core::Sink::deliver
//! [`Queue`]: watchkeeper_core::embed::Queue

mod console;
mod count;
#[cfg(all(unix, not(target_os = "macos"), feature = "desktop"))]
mod desktop;
#[cfg(all(unix, feature = "exec"))]
mod exec;
mod file;
#[cfg(feature = "webhook")]
mod http;
mod json;
#[cfg(all(test, feature = "webhook"))]
mod loopback;
#[cfg(feature = "webhook")]
mod otlp;
#[cfg(test)]
mod samples;
mod stderr;
#[cfg(all(unix, feature = "syslog"))]
mod syslog;
mod terminal;
mod text;
#[cfg(feature = "webhook")]
mod webhook;

#[cfg(all(unix, not(target_os = "macos"), feature = "desktop"))]
pub use crate::desktop::{Desktop, DesktopOptions};
#[cfg(all(unix, feature = "exec"))]
pub use crate::exec::{Exec, ExecOptions};
#[cfg(all(unix, feature = "syslog"))]
pub use crate::syslog::{Syslog, SyslogOptions};
pub use crate::{
    console::{Console, ConsoleOptions, Stdout, on_closed_stdout, print_to_stdout},
    file::{File, FileOptions},
    json::render_json,
    stderr::{Color, Format, Lines, Stderr, StderrOptions},
    text::{MAX_LINE, render_line},
};
#[cfg(feature = "webhook")]
pub use crate::{
    otlp::{Otlp, OtlpOptions},
    webhook::{BodyFormat, Webhook, WebhookOptions},
};

#[cfg(test)]
mod tests {
    use watchkeeper_core::embed::{Entry, Registry};

    #[test]
    fn every_kind_is_registered_with_a_summary() {
        let registry = Registry::linked().unwrap();
        let kinds: Vec<_> =
            registry.sinks.iter().map(|it| format!("{}: {}", it.kind(), it.summary())).collect();
        let mut expected = vec![
            "console: Prints findings, one line each.",
            "file: Appends findings to a file, one line of JSON each.",
            "stderr: Writes findings to standard error, one line each.",
        ];
        if cfg!(all(unix, feature = "exec")) {
            expected.push("exec: Passes each finding to a program, as JSON on its standard input.");
        }
        if cfg!(all(unix, feature = "syslog")) {
            expected.push("syslog: Writes each finding to the system log, as one line of text.");
        }
        if cfg!(all(unix, not(target_os = "macos"), feature = "desktop")) {
            expected.push("desktop: Shows each finding as a notification on the desktop.");
        }
        if cfg!(feature = "webhook") {
            expected.push(
                "otlp: Sends each finding to an OTLP receiver, as a log record of OpenTelemetry.",
            );
            expected.push("webhook: Posts each finding to a URL as JSON.");
        }
        expected.sort_unstable();
        assert_eq!(kinds, expected);
    }
}
