//! Attempts to call the model that were billed and have no usage in the file.
//!
//! A response that is cut off is not written. The client writes the next attempt, and an
//! error if the connection was lost; without an error, it gave up a silent response.

use watchkeeper_core::Fingerprint;

use super::line::ApiRequest;
use crate::json::Text;

/// The largest number of attempts that are charged at once; the client makes 11.
const MAX_CUT: u32 = 16;

/// The attempts since the latest response.
#[derive(Debug, Default)]
pub(super) struct CutAttempts {
    /// The id of the latest request.
    request: Fingerprint,
    /// Whether an error was recorded since the latest request.
    has_failed: bool,
    n_cut: u32,
}

impl CutAttempts {
    /// Adds a request. Returns whether it repeats the previous one, whose response had
    /// stopped without an error.
    pub(super) fn add_request(&mut self, request: &ApiRequest<'_>) -> bool {
        let fingerprint = |id: Option<Text<'_>>| id.map(|id| Fingerprint::of(id.raw()));
        let has_new_messages = request.tail.as_ref().is_some_and(|tail| !tail.is_empty());
        let repeats_latest = fingerprint(request.base) == Some(self.request) && !has_new_messages;
        let follows_silence = repeats_latest && !self.has_failed;
        self.n_cut += u32::from(follows_silence);
        self.request = fingerprint(request.id).unwrap_or_default();
        self.has_failed = false;
        follows_silence
    }

    /// Adds an error that the client recorded about the latest request.
    pub(super) fn add_error(&mut self, message: Option<Text<'_>>) {
        self.has_failed = true;
        // Other errors come before a response, which is not billed then.
        let is_cut =
            message.is_some_and(|message| message.read().starts_with("Connection dropped"));
        self.n_cut += u32::from(is_cut);
    }

    /// Returns the number of attempts before a response, and starts again.
    pub(super) fn take(&mut self) -> u32 {
        std::mem::take(&mut self.n_cut).min(MAX_CUT)
    }
}
