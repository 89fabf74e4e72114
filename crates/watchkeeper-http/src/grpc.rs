//! The answers to exporters that use gRPC, which this server does not speak.

use hyper::{
    Response, StatusCode,
    header::{HeaderMap, HeaderName, HeaderValue},
};

use crate::response::{ResponseBody, text};

/// The remedy.
pub(crate) const MESSAGE: &str =
    "this server does not speak gRPC; set OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf";

/// The status of gRPC for a method that does not exist.
const UNIMPLEMENTED: HeaderValue = HeaderValue::from_static("12");

/// Returns whether a request is one of gRPC.
pub(crate) fn is_grpc(headers: &HeaderMap) -> bool {
    let content_type = headers.get(hyper::header::CONTENT_TYPE);
    content_type.is_some_and(|it| it.as_bytes().starts_with(b"application/grpc"))
}

/// Makes the answer to a request over HTTP/1.1.
pub(crate) fn refusal() -> Response<ResponseBody> {
    let mut response = text(StatusCode::UNSUPPORTED_MEDIA_TYPE, MESSAGE);
    let headers = response.headers_mut();
    headers.insert(HeaderName::from_static("grpc-status"), UNIMPLEMENTED);
    headers.insert(HeaderName::from_static("grpc-message"), HeaderValue::from_static(MESSAGE));
    response
}

/// Returns the frames that end a connection of HTTP/2: settings, and the reason.
pub(crate) fn http2_refusal() -> Vec<u8> {
    const SETTINGS: u8 = 4;
    const GOAWAY: u8 = 7;
    const HTTP_1_1_REQUIRED: u32 = 13;
    let mut reason = vec![0; 4]; // The last stream: none.
    reason.extend(HTTP_1_1_REQUIRED.to_be_bytes());
    reason.extend(MESSAGE.as_bytes());
    [frame(SETTINGS, &[]), frame(GOAWAY, &reason)].concat()
}

/// Makes a frame of HTTP/2 about the whole connection.
fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
    let len = u32::try_from(payload.len()).unwrap_or_default().to_be_bytes();
    let header = [len[1], len[2], len[3], kind, 0, 0, 0, 0, 0];
    [&header, payload].concat()
}

#[cfg(test)]
mod tests {
    use super::{MESSAGE, http2_refusal};

    #[test]
    fn the_frames_of_the_refusal_have_their_lengths() {
        let frames = http2_refusal();
        assert_eq!(frames[..9], [0, 0, 0, 4, 0, 0, 0, 0, 0]);
        let len = u8::try_from(MESSAGE.len() + 8).unwrap();
        assert_eq!(frames[9..26], [0, 0, len, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 13]);
        assert_eq!(&frames[26..], MESSAGE.as_bytes());
    }
}
