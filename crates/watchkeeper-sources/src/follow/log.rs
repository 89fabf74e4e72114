//! Names of files in updates and in diagnostics.

use std::{path::Path, sync::Arc};

use watchkeeper_core::author::make_safe;

/// The `tracing` target of events about following files.
pub(super) const TARGET: &str = "watchkeeper::follow";

/// Returns the name of a file in updates and events.
pub(super) fn name(path: &Path) -> Arc<str> {
    path.to_string_lossy().into()
}

/// Returns a path for a diagnostic, safe for a terminal.
pub(crate) fn safe(path: &Path) -> String {
    make_safe(&path.to_string_lossy())
}
