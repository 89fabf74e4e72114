use std::sync::{Arc, Mutex, PoisonError};

use watchkeeper_core::{
    author::make_safe,
    clock::{Clock as _, SystemClock},
};

use super::folder::HookFolder;

/// The log of the troubles of hooks, in a folder that may change. A clone is the same log.
#[derive(Clone, Debug)]
pub(crate) struct Log {
    /// The name of the client, or of the command if the client is not known.
    name: &'static str,
    folder: Arc<Mutex<Option<HookFolder>>>,
}

impl Log {
    pub(crate) fn new(name: &'static str, folder: Option<HookFolder>) -> Self {
        Self { name, folder: Arc::new(Mutex::new(folder)) }
    }

    /// Continues in another folder.
    pub(crate) fn continue_in(&self, folder: Option<HookFolder>) {
        *self.folder.lock().unwrap_or_else(PoisonError::into_inner) = folder;
    }

    /// Adds a trouble.
    pub(crate) fn add(&self, trouble: &str) {
        let folder = self.folder.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let trouble = make_safe(&trouble.replace('\n', " "));
        let line = format!("{:.0} {}: {trouble}", SystemClock.now(), self.name);
        // Without a log, the trouble is not known: the agent goes on in any case.
        let _ = folder.map(|folder| folder.log(&line));
    }
}
