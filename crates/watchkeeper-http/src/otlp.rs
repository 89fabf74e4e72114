//! OTLP over HTTP: the headers and the responses. The content of bodies is left to a receiver.

use hyper::{HeaderMap, Response, StatusCode, header::CONTENT_TYPE};
use watchkeeper_sources::otlp::{Accepted, Encoding, Signal, error_body};

use crate::response::{ResponseBody, complete, text, with_retry};

const JSON: &str = "application/json";
const PROTOBUF: &str = "application/x-protobuf";

/// Takes the bodies that exporters send.
pub trait OtlpReceiver: Send + Sync + 'static {
    /// Handles the body of a request, decompressed. Runs on a thread for telemetry, and may wait.
    fn receive(
        &self,
        signal: Signal,
        encoding: Encoding,
        body: &[u8],
    ) -> Result<Accepted, OtlpRefusal>;
}

/// A body was not handled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OtlpRefusal {
    /// It is no message of this signal. The exporter should not send it again.
    Malformed(String),
    /// There is no room at present. The exporter should send it again.
    Busy,
}

/// Returns the encoding of the body of a request, by its headers.
pub(crate) fn encoding(headers: &HeaderMap) -> Option<Encoding> {
    let content_type = headers.get(CONTENT_TYPE)?.to_str().ok()?;
    let media_type = content_type.split(';').next().unwrap_or_default().trim();
    if media_type.eq_ignore_ascii_case(PROTOBUF) {
        Some(Encoding::Protobuf)
    } else if media_type.eq_ignore_ascii_case(JSON) {
        Some(Encoding::Json)
    } else {
        None
    }
}

/// Makes the response for the result of a receiver.
pub(crate) fn received(
    encoding: Encoding,
    result: Result<Accepted, OtlpRefusal>,
) -> Response<ResponseBody> {
    match result {
        Ok(accepted) => complete(StatusCode::OK, media_type(encoding), accepted.body(encoding)),
        Err(OtlpRefusal::Malformed(reason)) => {
            refused(Some(encoding), StatusCode::BAD_REQUEST, &reason)
        }
        Err(OtlpRefusal::Busy) => {
            let message = "too many events at a time; try again";
            with_retry(refused(Some(encoding), StatusCode::SERVICE_UNAVAILABLE, message))
        }
    }
}

/// Makes the response to a request that has failed: a `Status` in the encoding of the request.
pub(crate) fn refused(
    encoding: Option<Encoding>,
    status: StatusCode,
    message: &str,
) -> Response<ResponseBody> {
    match encoding {
        Some(encoding) => complete(status, media_type(encoding), error_body(encoding, message)),
        None => text(status, message),
    }
}

/// Makes the response to a body without a known encoding.
pub(crate) fn unknown_encoding() -> Response<ResponseBody> {
    let message = format!("the content type is not `{PROTOBUF}` or `{JSON}`");
    text(StatusCode::UNSUPPORTED_MEDIA_TYPE, &message)
}

const fn media_type(encoding: Encoding) -> &'static str {
    match encoding {
        Encoding::Protobuf => PROTOBUF,
        Encoding::Json => JSON,
    }
}
