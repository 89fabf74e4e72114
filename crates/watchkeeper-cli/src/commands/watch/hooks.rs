use std::path::{Path, PathBuf};
#[cfg(unix)]
use std::sync::Arc;

use watchkeeper_core::embed::Queue;

use crate::hook::HookFolder;
#[cfg(unix)]
use crate::{
    hook_socket::{HookSocket, OpenFindings},
    live::is_remote,
};

/// The answers to the hooks of clients, which ask for the open findings of a session.
pub(super) struct HookAnswers {
    #[cfg(unix)]
    open: Arc<OpenFindings>,
    /// `None` if no hook can ask.
    #[cfg(unix)]
    socket: Option<HookSocket>,
}

#[cfg(unix)]
impl HookAnswers {
    /// Creates the socket in a state folder, unless `paths` have sessions of another machine: they
    /// could claim to be those of this machine.
    pub(super) fn start(state: Option<&Path>, paths: &[PathBuf]) -> Self {
        let state = state.filter(|_| !paths.iter().any(|path| is_remote(path)));
        let open = Arc::new(OpenFindings::default());
        let start = |state| HookSocket::start(&HookFolder::of(state).sockets(), open.clone());
        let socket = state.map(start).transpose().unwrap_or_else(|err| {
            let message = "hooks act without the findings of this program; use another --state-dir";
            tracing::warn!(target: "watchkeeper::hooks", error = %err, message);
            None
        });
        Self { open, socket }
    }

    /// Returns a queue through which findings arrive. `None` if nobody asks for them.
    pub(super) fn queue(&self) -> Option<Queue> {
        self.socket.as_ref().map(|_| self.open.queue())
    }
}

#[cfg(not(unix))]
impl HookAnswers {
    /// Returns nothing that answers: other platforms have no such sockets.
    pub(super) fn start(_: Option<&Path>, _: &[PathBuf]) -> Self {
        Self {}
    }

    /// Returns `None`.
    pub(super) fn queue(&self) -> Option<Queue> {
        None
    }
}
