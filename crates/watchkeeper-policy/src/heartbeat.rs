//! Reads `[heartbeat]`.

use std::fmt;

use toml::{Spanned, de::DeValue};
use watchkeeper_core::{Fingerprint, Sink, author::Period};

use crate::{diagnostic::Diagnostic, reader::Reader, secrets::Secrets, tree::Value};

/// The kind of sink whose options a heartbeat has.
pub(crate) const HEARTBEAT_SINK: &str = "webhook";
/// The interval without `every`.
pub(crate) const INTERVAL: Period = Period::from_secs(60);

/// Requests by which another service notices that the monitor does not work any longer.
#[non_exhaustive]
pub struct Heartbeat {
    /// The interval between two requests.
    pub every: Period,
    /// A hash of the options, with the values of secrets.
    pub options: Fingerprint,
    /// Makes the requests; not yet opened.
    pub sink: Box<dyn Sink>,
}

impl Heartbeat {
    /// Creates a heartbeat of a sink that was not opened.
    pub fn new(every: Period, options: Fingerprint, sink: Box<dyn Sink>) -> Self {
        Self { every, options, sink }
    }
}

impl fmt::Debug for Heartbeat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Heartbeat").field("every", &self.every).finish_non_exhaustive()
    }
}

impl Reader<'_> {
    /// Reads the heartbeat: an interval, and the options of a webhook.
    pub(crate) fn heartbeat(
        &mut self,
        section: Option<Value<'_>>,
        secrets: &mut Secrets,
    ) -> Option<Heartbeat> {
        let mut table = self.table(section?)?;
        let span = table.span();
        let keys = table.get_mut();
        let every = self.take(keys, "every").unwrap_or(INTERVAL);
        for key in ["kind", "queue_capacity"] {
            if let Some((key, _)) = keys.remove_entry(key) {
                let message = format!("a heartbeat has no `{}`", key.get_ref());
                let note = "it has the options of the sink `webhook`, and `every`";
                self.push(Diagnostic::error(key.span(), message).note(note));
            }
        }
        let kind = DeValue::String(HEARTBEAT_SINK.into());
        keys.insert(Spanned::new(0..0, "kind".into()), Spanned::new(span.clone(), kind));
        let (_, sink) = self.sink(Spanned::new(span, "heartbeat".to_owned()), table, secrets);
        sink.map(|sink| Heartbeat::new(every, sink.options, sink.sink))
    }
}
