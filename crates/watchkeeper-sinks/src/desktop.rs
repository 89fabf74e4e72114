use std::{collections::VecDeque, fmt, time::Duration};

use notify_rust::{Notification, Urgency};
use schemars::JsonSchema;
use serde::Deserialize;
use watchkeeper_core::{
    Finding, Fingerprint, InvalidOption, Severity, Sink, SinkKind, Status,
    author::{Retry, SinkError, make_safe},
};

/// The longest title and text, in characters.
const MAX_TITLE: usize = 80;
const MAX_TEXT: usize = 400;
/// The largest number of notifications that later findings replace.
const MAX_SHOWN: usize = 256;

/// Shows each finding as a notification on the desktop.
pub struct Desktop {
    notifier: Box<dyn Notifier>,
    /// The latest notifications, oldest first.
    shown: VecDeque<Shown>,
}

/// The options of `kind = "desktop"`.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DesktopOptions {}

/// A notification on the desktop.
struct Shown {
    fingerprint: Fingerprint,
    /// The finding in the notification.
    finding: Fingerprint,
    notification: u32,
}

/// The texts and the importance of a notification.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Notice {
    title: String,
    /// With the escapes of the markup that a server may interpret.
    text: String,
    urgency: Urgency,
}

/// Shows notifications. Tests have another one than the desktop.
trait Notifier: Send {
    /// Shows a notification in place of another one, or as a new one. Returns its id.
    fn show(&mut self, notice: &Notice, replaced: Option<u32>) -> Result<u32, SinkError>;
}

/// The notification server of the session, over D-Bus.
struct SessionBus;

watchkeeper_core::register_sink!(Desktop);

impl SinkKind for Desktop {
    const KIND: &'static str = "desktop";
    const DOCS: &'static str = include_str!("desktop.md");
    type Options = DesktopOptions;

    fn new(_: DesktopOptions) -> Result<Self, InvalidOption> {
        Ok(Self { notifier: Box::new(SessionBus), shown: VecDeque::new() })
    }
}

impl Sink for Desktop {
    fn deliver(&mut self, finding: &Finding) -> Result<(), SinkError> {
        let is_same = |shown: &Shown| shown.fingerprint == finding.fingerprint;
        let known = self.shown.iter().position(is_same);
        let replaced = known.map(|idx| &self.shown[idx]);
        if replaced.is_some_and(|shown| shown.finding == finding.id) {
            return Ok(());
        }
        let replaced = replaced.map(|shown| shown.notification);
        let notification = self.notifier.show(&notice_of(finding), replaced)?;
        if let Some(idx) = known {
            self.shown.remove(idx);
        } else if self.shown.len() == MAX_SHOWN {
            self.shown.pop_front();
        }
        let Finding { fingerprint, id, .. } = *finding;
        self.shown.push_back(Shown { fingerprint, finding: id, notification });
        Ok(())
    }

    fn retry(&self) -> Retry {
        Retry::new(5, Duration::from_secs(1), Duration::from_secs(60))
    }
}

impl Notifier for SessionBus {
    fn show(&mut self, notice: &Notice, replaced: Option<u32>) -> Result<u32, SinkError> {
        let Notice { title, text, urgency } = notice;
        let mut notification = Notification::new();
        notification.appname("Watchkeeper").summary(title).body(text).urgency(*urgency);
        if let Some(id) = replaced {
            notification.id(id);
        }
        let shown = notification.show().map_err(|err| {
            let error = make_safe(&err.to_string());
            SinkError::unavailable(format!("the desktop shows no notification: {error}"))
        })?;
        Ok(shown.id())
    }
}

fn notice_of(finding: &Finding) -> Notice {
    let (tag, urgency) = match (finding.status, finding.severity) {
        (Status::Resolved, _) => ("RESOLVED", Urgency::Low),
        (Status::Open, Severity::High) => ("HIGH", Urgency::Critical),
        (Status::Open, Severity::Medium) => ("MEDIUM", Urgency::Normal),
        (Status::Open, Severity::Low) => ("LOW", Urgency::Low),
    };
    let title = cut(&format!("[{tag}] {}", finding.detector), MAX_TITLE);
    let text = cut(&finding.message, MAX_TEXT);
    let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    Notice { title, text, urgency }
}

/// Makes the beginning of a text safe, of `max` characters before escapes.
fn cut(text: &str, max: usize) -> String {
    match text.char_indices().nth(max) {
        Some((end, _)) => make_safe(&text[..end]) + "…",
        None => make_safe(text),
    }
}

impl fmt::Debug for Desktop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Desktop").field("shown", &self.shown.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use insta::assert_snapshot;

    use super::*;
    use crate::samples::{build_example, finding, mistake};

    /// Numbers the notifications from 1.
    #[derive(Clone, Default)]
    struct Recorder(Arc<Mutex<Vec<Request>>>);

    /// A notification, and the id of the one that it replaces.
    type Request = (Notice, Option<u32>);

    impl Notifier for Recorder {
        fn show(&mut self, notice: &Notice, replaced: Option<u32>) -> Result<u32, SinkError> {
            let mut notices = self.0.lock().unwrap();
            notices.push((notice.clone(), replaced));
            let n_new = notices.iter().filter(|(_, replaced)| replaced.is_none()).count();
            Ok(replaced.unwrap_or_else(|| n_new.try_into().unwrap()))
        }
    }

    fn sink() -> (Desktop, Recorder) {
        let recorder = Recorder::default();
        (Desktop { notifier: Box::new(recorder.clone()), shown: VecDeque::new() }, recorder)
    }

    /// Returns a finding with this id and fingerprint.
    fn open(id: u64, fingerprint: u64, severity: Severity) -> Finding {
        let mut finding = finding();
        finding.id = Fingerprint::from(id);
        finding.fingerprint = Fingerprint::from(fingerprint);
        finding.severity = severity;
        finding
    }

    #[test]
    fn the_example_in_the_manual_is_valid_and_there_are_no_options() {
        build_example::<Desktop>().unwrap();
        assert_snapshot!(mistake::<Desktop>("icon = 'x'"), @"unknown field `icon`, there are no fields");
    }

    #[test]
    fn later_findings_of_a_condition_replace_its_notification() {
        let (mut sink, recorder) = sink();
        sink.deliver(&open(1, 7, Severity::Medium)).unwrap();
        sink.deliver(&open(2, 8, Severity::Low)).unwrap();
        sink.deliver(&open(3, 7, Severity::High)).unwrap();
        // A repeated delivery.
        sink.deliver(&open(3, 7, Severity::High)).unwrap();
        let mut end = open(4, 7, Severity::Low);
        end.status = Status::Resolved;
        sink.deliver(&end).unwrap();
        let notices = recorder.0.lock().unwrap();
        let seen: Vec<_> = notices
            .iter()
            .map(|(notice, id)| (notice.title.as_str(), notice.urgency, *id))
            .collect();
        assert_eq!(
            seen,
            [
                ("[MEDIUM] repeated_call", Urgency::Normal, None),
                ("[LOW] repeated_call", Urgency::Low, None),
                ("[HIGH] repeated_call", Urgency::Critical, Some(1)),
                ("[RESOLVED] repeated_call", Urgency::Low, Some(1)),
            ]
        );
    }

    #[test]
    fn texts_are_safe_and_cut() {
        let mut finding = finding();
        finding.message = "<a href='https://evil.test'>&\u{202e}\n".to_owned() + &"x".repeat(1000);
        finding.detector = "d".repeat(1000).into();
        let notice = notice_of(&finding);
        assert!(
            notice.text.starts_with(r"&lt;a href='https://evil.test'&gt;&amp;\u{202e}\nxx"),
            "{notice:?}"
        );
        assert!(notice.text.len() < 500 && notice.title.len() < 100, "{notice:?}");
    }

    #[test]
    fn the_oldest_notification_is_forgotten() {
        let (mut sink, recorder) = sink();
        for n in 0..=MAX_SHOWN as u64 {
            sink.deliver(&open(n, n, Severity::Low)).unwrap();
        }
        assert_eq!(sink.shown.len(), MAX_SHOWN);
        sink.deliver(&open(1000, 0, Severity::Low)).unwrap();
        assert_eq!(recorder.0.lock().unwrap().last().unwrap().1, None);
    }
}
