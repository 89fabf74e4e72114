//! The bodies of responses.

use super::request::{Encoding, Signal};

/// The result of a request that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Accepted {
    /// The signal of the request.
    pub signal: Signal,
    /// The number of records: log records, spans or metrics, with or without events.
    pub records: u64,
    /// The number of records that are malformed. The others were read.
    pub rejected: u64,
    /// The reason why the first of them was rejected, in a few words.
    pub first_rejection: Option<&'static str>,
}

impl Accepted {
    /// Makes the result of a request without records.
    #[must_use]
    pub const fn new(signal: Signal) -> Self {
        Self { signal, records: 0, rejected: 0, first_rejection: None }
    }

    /// Returns the body of the response, with the number of rejected records. The encoding is the
    /// one of the request. The status is 200: an exporter must not send rejected records again.
    pub fn body(&self, encoding: Encoding) -> Vec<u8> {
        let reason = self.first_rejection.unwrap_or_default();
        match (encoding, self.rejected) {
            (Encoding::Protobuf, 0) => Vec::new(),
            (Encoding::Json, 0) => b"{}".to_vec(),
            (Encoding::Protobuf, rejected) => {
                let mut partial_success = Vec::new();
                push_varint(&mut partial_success, 1 << 3);
                push_varint(&mut partial_success, rejected);
                push_bytes(&mut partial_success, 2, reason.as_bytes());
                let mut body = Vec::new();
                push_bytes(&mut body, 1, &partial_success);
                body
            }
            (Encoding::Json, rejected) => {
                let count = match self.signal {
                    Signal::Logs => "rejectedLogRecords",
                    Signal::Traces => "rejectedSpans",
                    Signal::Metrics => "rejectedDataPoints",
                };
                let partial_success =
                    serde_json::json!({ count: rejected.to_string(), "errorMessage": reason });
                serde_json::json!({ "partialSuccess": partial_success }).to_string().into_bytes()
            }
        }
    }
}

/// Returns the body of a response with a status from 400: a `google.rpc.Status` with the
/// message, in the encoding of the request.
pub fn error_body(encoding: Encoding, message: &str) -> Vec<u8> {
    match encoding {
        Encoding::Protobuf => {
            let mut body = Vec::new();
            push_bytes(&mut body, 2, message.as_bytes());
            body
        }
        Encoding::Json => serde_json::json!({ "message": message }).to_string().into_bytes(),
    }
}

/// Writes a field with a length.
fn push_bytes(message: &mut Vec<u8>, number: u64, bytes: &[u8]) {
    push_varint(message, number << 3 | 2);
    push_varint(message, bytes.len() as u64);
    message.extend(bytes);
}

fn push_varint(message: &mut Vec<u8>, mut value: u64) {
    loop {
        let bits = (value & 0x7f) as u8;
        value >>= 7;
        if value == 0 {
            return message.push(bits);
        }
        message.push(bits | 0x80);
    }
}

#[cfg(test)]
mod tests {
    use super::{Accepted, error_body};
    use crate::otlp::request::{Encoding, Signal};

    #[test]
    fn a_response_is_empty_unless_records_were_rejected() {
        let accepted = |signal, rejected| Accepted {
            signal,
            records: 300,
            rejected,
            first_rejection: (0 < rejected).then_some("no time"),
        };
        let all = accepted(Signal::Logs, 0);
        assert_eq!(all.body(Encoding::Json), b"{}");
        assert_eq!(all.body(Encoding::Protobuf), b"");
        let some = accepted(Signal::Traces, 300);
        assert_eq!(some.body(Encoding::Protobuf), b"\x0a\x0c\x08\xac\x02\x12\x07no time");
        let json = br#"{"partialSuccess":{"errorMessage":"no time","rejectedSpans":"300"}}"#;
        assert_eq!(some.body(Encoding::Json), json);
        assert_eq!(error_body(Encoding::Json, "a \"b\""), br#"{"message":"a \"b\""}"#);
        assert_eq!(error_body(Encoding::Protobuf, "a"), b"\x12\x01a");
    }
}
