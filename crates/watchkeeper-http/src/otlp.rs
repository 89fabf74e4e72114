//! OTLP over HTTP: the paths and the responses. The content of bodies is left to a receiver.

use std::borrow::Cow;

use hyper::{HeaderMap, Response, StatusCode, header::CONTENT_TYPE};
use serde_json::json;

use crate::response::{ResponseBody, busy, complete, text};

const JSON: &str = "application/json";
const PROTOBUF: &str = "application/x-protobuf";

/// Takes the bodies that exporters send.
pub trait OtlpReceiver: Send + Sync + 'static {
    /// Handles one body. Runs on a thread for bodies, and may wait.
    fn receive(&self, body: OtlpBody<'_>) -> Result<OtlpAccepted, OtlpRefusal>;
}

/// A body of an exporter, decompressed.
#[derive(Clone, Copy, Debug)]
pub struct OtlpBody<'b> {
    /// The kind of data.
    pub signal: OtlpSignal,
    /// The form of the bytes.
    pub encoding: OtlpEncoding,
    /// The request message of the signal, such as `ExportLogsServiceRequest`.
    pub bytes: &'b [u8],
}

/// The kinds of data that exporters send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OtlpSignal {
    /// `/v1/logs`
    Logs,
    /// `/v1/traces`
    Traces,
    /// `/v1/metrics`
    Metrics,
}

/// The forms of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OtlpEncoding {
    /// `application/x-protobuf`
    Protobuf,
    /// `application/json`
    Json,
}

/// A body was handled.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OtlpAccepted {
    /// Records that were not used, and that the exporter should not send again.
    pub rejected: u64,
    /// The reason, for the log of the exporter; empty if there is none.
    pub message: Cow<'static, str>,
}

/// A body was not handled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OtlpRefusal {
    /// It is no message of this signal. The exporter should not send it again.
    Malformed(String),
    /// There is no room at present. The exporter should send it again.
    Busy,
}

impl OtlpSignal {
    /// The name of the number of rejected records.
    const fn rejected(self) -> &'static str {
        match self {
            Self::Logs => "rejectedLogRecords",
            Self::Traces => "rejectedSpans",
            Self::Metrics => "rejectedDataPoints",
        }
    }
}

impl OtlpEncoding {
    /// Returns the encoding that a request declares.
    pub(crate) fn of(headers: &HeaderMap) -> Option<Self> {
        let content_type = headers.get(CONTENT_TYPE)?.to_str().ok()?;
        let media_type = content_type.split(';').next().unwrap_or_default().trim();
        if media_type.eq_ignore_ascii_case(PROTOBUF) {
            Some(Self::Protobuf)
        } else if media_type.eq_ignore_ascii_case(JSON) {
            Some(Self::Json)
        } else {
            None
        }
    }
}

/// Makes the response to a body without a known encoding.
pub(crate) fn unknown_encoding() -> Response<ResponseBody> {
    let message = format!("the content type is not `{PROTOBUF}` or `{JSON}`");
    text(StatusCode::UNSUPPORTED_MEDIA_TYPE, &message)
}

/// Makes the response for a result.
pub(crate) fn received(
    signal: OtlpSignal,
    encoding: OtlpEncoding,
    result: Result<OtlpAccepted, OtlpRefusal>,
) -> Response<ResponseBody> {
    match (result, encoding) {
        (Ok(accepted), OtlpEncoding::Json) => {
            complete(StatusCode::OK, JSON, accepted_json(signal, &accepted))
        }
        (Ok(accepted), OtlpEncoding::Protobuf) => {
            complete(StatusCode::OK, PROTOBUF, accepted_protobuf(&accepted))
        }
        (Err(OtlpRefusal::Malformed(reason)), _) => text(StatusCode::BAD_REQUEST, &reason),
        (Err(OtlpRefusal::Busy), _) => busy("too many events at a time; try again"),
    }
}

fn accepted_json(signal: OtlpSignal, accepted: &OtlpAccepted) -> String {
    let OtlpAccepted { rejected, message } = accepted;
    if *rejected == 0 && message.is_empty() {
        return "{}".to_owned();
    }
    // JSON of protobuf writes 64-bit numbers as strings.
    let partial = json!({ (signal.rejected()): rejected.to_string(), "errorMessage": message });
    json!({ "partialSuccess": partial }).to_string()
}

fn accepted_protobuf(accepted: &OtlpAccepted) -> Vec<u8> {
    const VARINT_1: u8 = 1 << 3;
    const BYTES_1: u8 = 1 << 3 | 2;
    const BYTES_2: u8 = 2 << 3 | 2;
    let OtlpAccepted { rejected, message } = accepted;
    let mut partial = Vec::new();
    if 0 < *rejected {
        partial.push(VARINT_1);
        varint(*rejected, &mut partial);
    }
    if !message.is_empty() {
        partial.push(BYTES_2);
        varint(message.len() as u64, &mut partial);
        partial.extend(message.as_bytes());
    }
    let mut response = Vec::new();
    if !partial.is_empty() {
        response.push(BYTES_1);
        varint(partial.len() as u64, &mut response);
        response.extend(partial);
    }
    response
}

fn varint(mut value: u64, bytes: &mut Vec<u8>) {
    while let [low, ..] = value.to_le_bytes()
        && 0x80 <= value
    {
        bytes.push(low | 0x80);
        value >>= 7;
    }
    bytes.push(value.to_le_bytes()[0]);
}

#[cfg(test)]
mod tests {
    use super::{OtlpAccepted, OtlpSignal, accepted_json, accepted_protobuf};

    #[test]
    fn a_body_that_was_used_as_a_whole_has_an_empty_response() {
        let accepted = OtlpAccepted::default();
        assert_eq!(accepted_json(OtlpSignal::Logs, &accepted), "{}");
        assert_eq!(accepted_protobuf(&accepted), b"");
    }

    #[test]
    fn rejected_records_are_counted_in_the_response() {
        let accepted = OtlpAccepted { rejected: 300, message: "no session".into() };
        assert_eq!(
            accepted_json(OtlpSignal::Traces, &accepted),
            r#"{"partialSuccess":{"errorMessage":"no session","rejectedSpans":"300"}}"#
        );
        assert_eq!(accepted_protobuf(&accepted), b"\x0a\x0f\x08\xac\x02\x12\x0ano session");
    }
}
