use std::any::Any;

/// Returns the message of a panic, from the payload that
/// [`catch_unwind`](std::panic::catch_unwind) returns or a panic hook receives.
///
/// Returns `None` if the payload is not text. The message may contain text from an
/// agent: make it safe before it is printed.
pub fn panic_message(payload: &(dyn Any + Send)) -> Option<&str> {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| payload.downcast_ref::<&str>().copied())
}
