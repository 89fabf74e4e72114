use std::{env, path::PathBuf};

use watchkeeper_sources::{ProcessOptions, ProcessTracker};

/// Returns a tracker, unless the system does not show its processes.
pub(super) fn track_processes() -> Option<ProcessTracker> {
    let mut options = ProcessOptions::default();
    options.config_folders.extend(env::var_os("CLAUDE_CONFIG_DIR").map(PathBuf::from));
    ProcessTracker::new(options)
}
