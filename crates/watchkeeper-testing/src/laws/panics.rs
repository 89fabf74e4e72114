//! Panics of the checked detector, which are reported instead of printed.

use std::{
    cell::RefCell,
    panic::{self, PanicHookInfo},
    sync::Once,
};

use watchkeeper_core::author::panic_message;

thread_local! {
    /// The latest panic, while this thread captures panics.
    static CAPTURED: RefCell<Option<Option<String>>> = const { RefCell::new(None) };
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
    CAPTURED.with_borrow_mut(|captured| *captured = Some(None));
    let result = run();
    (result, CAPTURED.take().flatten())
}

/// Records a panic. Returns whether this thread captures panics.
fn record(info: &PanicHookInfo<'_>) -> bool {
    CAPTURED.with_borrow_mut(|captured| {
        let Some(captured) = captured else { return false };
        let message = panic_message(info.payload()).unwrap_or("no message");
        let location = info.location().map(|it| format!(" at {}:{}", it.file(), it.line()));
        *captured = Some(format!("{message}{}", location.unwrap_or_default()));
        true
    })
}
