//! The `tracing` events of the monitor in the `logging` module of Python.

use std::{
    cell::Cell,
    fmt::{self, Write as _},
    sync::atomic::{AtomicBool, Ordering},
};

use pyo3::{PyResult, Python, types::PyAnyMethods as _};
use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    span,
    subscriber::{Interest, set_global_default},
};

use crate::gate;

/// The levels of `logging`.
const DEBUG: u8 = 10;
const INFO: u8 = 20;
const WARNING: u8 = 30;
const ERROR: u8 = 40;

/// Whether `logging` handles messages below `INFO`, as of the last start of a monitor.
///
/// There is a debug message for each finding, and passing it on needs the interpreter.
static IS_DEBUG_ENABLED: AtomicBool = AtomicBool::new(false);

thread_local! {
    static IS_SILENT: Cell<bool> = const { Cell::new(false) };
}

/// Keeps the calling thread from logging.
pub(crate) struct Silence;

impl Silence {
    pub(crate) fn new() -> Self {
        IS_SILENT.set(true);
        Self
    }
}

impl Drop for Silence {
    fn drop(&mut self) {
        IS_SILENT.set(false);
    }
}

/// Passes the events of this library to `logging` from now on.
pub(crate) fn install(py: Python<'_>) {
    // Only the first call has an effect.
    let _ = set_global_default(ToPython);
    let is_enabled = || -> PyResult<bool> {
        let logger = py.import("logging")?.call_method1("getLogger", ("watchkeeper",))?;
        logger.call_method1("isEnabledFor", (DEBUG,))?.extract()
    };
    IS_DEBUG_ENABLED.store(is_enabled().unwrap_or_default(), Ordering::Relaxed);
}

/// Logs a message in the logger `watchkeeper.NAME`.
pub(crate) fn warn(py: Python<'_>, name: &str, message: &str) {
    log(py, &format!("watchkeeper.{name}"), WARNING, message);
}

fn log(py: Python<'_>, logger: &str, level: u8, message: &str) {
    let log = || -> PyResult<()> {
        let logger = py.import("logging")?.call_method1("getLogger", (logger,))?;
        logger.call_method1("log", (level, "%s", message))?;
        Ok(())
    };
    // There is no other place for the error, and monitoring continues.
    let _ = log();
}

struct ToPython;

impl Subscriber for ToPython {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        let is_own = metadata.is_event() && metadata.target().starts_with("watchkeeper");
        if is_own { Interest::sometimes() } else { Interest::never() }
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::INFO || IS_DEBUG_ENABLED.load(Ordering::Relaxed)
    }

    fn event(&self, event: &Event<'_>) {
        if IS_SILENT.get() {
            return;
        }
        let metadata = event.metadata();
        let level = match *metadata.level() {
            Level::ERROR => ERROR,
            Level::WARN => WARNING,
            Level::INFO => INFO,
            _ => DEBUG,
        };
        let mut text = Text::default();
        event.record(&mut text);
        let logger = metadata.target().replace("::", ".");
        // At the exit of the interpreter there is no `logging` any more.
        let _ = gate::attach(|py| log(py, &logger, level, &text.finish()));
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

/// The text of an event: the message, then the fields.
#[derive(Default)]
struct Text {
    message: String,
    fields: String,
}

impl Text {
    fn finish(self) -> String {
        self.message + &self.fields
    }
}

impl Visit for Text {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a string cannot fail.
        let _ = if field.name() == "message" {
            write!(self.message, "{value:?}")
        } else {
            write!(self.fields, " {}={value:?}", field.name())
        };
    }
}
