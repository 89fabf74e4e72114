//! Lines that are JSON objects.

use watchkeeper_core::author::EventSink;

use crate::json::{Malformed, Members, parse};

/// Reads a line, unless it is blank. Counts a line that is no object, or that `read` cannot read.
pub(crate) fn read_object<'a, T: Members<'a>>(
    line: &'a [u8],
    sink: &mut EventSink<'_>,
    read: impl FnOnce(&T, &mut EventSink<'_>) -> Result<(), Malformed>,
) {
    if line.trim_ascii().is_empty() {
        return;
    }
    if let Err(reason) = parse(line).and_then(|object| read(&object, sink)) {
        sink.skip_line(reason);
    }
}
