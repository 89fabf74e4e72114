//! Attempts of Claude Code to call the model that were billed and have no usage in the file.
//!
//! A response that is cut off is not written. The client writes the next attempt, and an
//! error if the connection was lost; without an error, it gave up a silent response.

use watchkeeper_core::Fingerprint;

use crate::json::{Malformed, Reader, Text, set_once};

/// The largest number of attempts that are charged at once; the client makes 11.
const MAX_CUT: u32 = 16;

/// The attempts since the latest response.
#[derive(Debug, Default)]
pub(crate) struct CutAttempts {
    /// The id of the latest request.
    request: Fingerprint,
    /// Whether an error was recorded since the latest request.
    has_failed: bool,
    n_cut: u32,
}

/// A request of the client to the model.
#[derive(Default)]
pub(crate) struct Request<'a> {
    pub(crate) timestamp: Option<Text<'a>>,
    /// The request repeats the previous one, whose response had stopped without an error.
    pub(crate) follows_silence: bool,
}

impl CutAttempts {
    /// Reads a line of type `api-request`, which the client writes as it sends a request.
    pub(crate) fn read_request<'a>(&mut self, line: &'a [u8]) -> Result<Request<'a>, Malformed> {
        let mut request = Request::default();
        let (mut id, mut base, mut has_new_messages) = (None, None, false);
        Reader::new(line).object(|reader, key| {
            match key {
                b"id" => set_once(&mut id, reader.text()?),
                b"timestamp" => set_once(&mut request.timestamp, reader.text()?),
                b"base" => set_once(&mut base, reader.text()?),
                b"tail" => {
                    reader.array(|reader| {
                        has_new_messages = true;
                        reader.pass()
                    })?;
                }
                _ => reader.pass()?,
            }
            Ok(())
        })?;
        let fingerprint = |id: Option<Text<'_>>| id.map(|id| Fingerprint::of(id.raw()));
        let repeats_latest = fingerprint(base) == Some(self.request) && !has_new_messages;
        request.follows_silence = repeats_latest && !self.has_failed;
        self.n_cut += u32::from(request.follows_silence);
        self.request = fingerprint(id).unwrap_or_default();
        self.has_failed = false;
        Ok(request)
    }

    /// Adds an error that the client recorded about the latest request.
    pub(crate) fn add_error(&mut self, message: Option<Text<'_>>) {
        self.has_failed = true;
        // Other errors come before a response, which is not billed then.
        let is_cut =
            message.is_some_and(|message| message.read().starts_with("Connection dropped"));
        self.n_cut += u32::from(is_cut);
    }

    /// Returns the number of attempts before a response, and starts again.
    pub(crate) fn take(&mut self) -> u32 {
        std::mem::take(&mut self.n_cut).min(MAX_CUT)
    }
}
