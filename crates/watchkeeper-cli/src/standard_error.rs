use std::io::{self, Write as _};

/// Writes a line to standard error. While a screen is on the same terminal, the line is written
/// after it.
pub(crate) fn write_line(line: &str) {
    #[cfg(feature = "top")]
    if crate::top::hold(line) {
        return;
    }
    // A closed standard error must not stop the program.
    let _ = io::stderr().write_all(line.as_bytes());
}
