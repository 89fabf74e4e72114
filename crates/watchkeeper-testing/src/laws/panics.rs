//! Panics of the checked detector, which are reported instead of printed.

use std::{
    cell::RefCell,
    panic::{self, PanicHookInfo},
    sync::Once,
};

use watchkeeper_core::author::panic_message;

thread_local! {
    static CAPTURED: RefCell<Capture> = const { RefCell::new(Capture::Off) };
}

/// The state of a thread.
#[derive(Default)]
enum Capture {
    /// Panics are printed.
    #[default]
    Off,
    On,
    Captured(String),
}

/// Runs a function. Returns its result and the message of the latest panic in it,
/// which may be one that the engine caught.
pub(crate) fn capture<T>(run: impl FnOnce() -> T) -> (T, Option<String>) {
    static INSTALL: Once = Once::new();
    INSTALL.call_once(|| {
        let print = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !record(info) {
                print(info);
            }
        }));
    });
    CAPTURED.set(Capture::On);
    let result = run();
    match CAPTURED.take() {
        Capture::Captured(message) => (result, Some(message)),
        Capture::On | Capture::Off => (result, None),
    }
}

/// Records a panic. Returns whether this thread captures panics.
fn record(info: &PanicHookInfo<'_>) -> bool {
    CAPTURED.with_borrow_mut(|captured| {
        if matches!(captured, Capture::Off) {
            return false;
        }
        let message = panic_message(info.payload()).unwrap_or("no message");
        let location = info.location().map(|it| format!(" at {}:{}", it.file(), it.line()));
        *captured = Capture::Captured(format!("{message}{}", location.unwrap_or_default()));
        true
    })
}
