//! Exporters of telemetry.

use std::{io::Write as _, sync::Arc};

use flate2::{Compression, write::GzEncoder};
use watchkeeper_sources::otlp::{Encoding, Signal};

use crate::{
    TOKEN,
    backends::{Bodies, start_with},
    sockets::{JSON, PROTOBUF, body, exchange, exchange_last, post, status},
};

#[test]
fn bodies_of_exporters_reach_the_receiver() {
    let bodies = Arc::new(Bodies::default());
    let server = start_with(Some(bodies.clone()));
    let address = server.local_address();
    let response = post(address, "/v1/logs", JSON, b"{}");
    assert_eq!((status(&response), body(&response)), ("200", "{}"));
    let utf8 = "Content-Type: application/json; charset=utf-8\r\n";
    assert_eq!(status(&post(address, "/v1/traces", utf8, b"1")), "200");
    let response = post(address, "/v1/metrics", PROTOBUF, b"\x0a\x00");
    assert_eq!((status(&response), body(&response)), ("200", ""));
    let expected = [
        (Signal::Logs, Encoding::Json, b"{}".to_vec()),
        (Signal::Traces, Encoding::Json, b"1".to_vec()),
        (Signal::Metrics, Encoding::Protobuf, b"\x0a\x00".to_vec()),
    ];
    assert_eq!(bodies.take(), expected);
    assert_eq!(status(&post(address, "/v1/logs", "", b"{}")), "415");
    let foreign = format!("{JSON}Origin: http://evil.example\r\n");
    assert_eq!(status(&post(address, "/v1/logs", &foreign, b"{}")), "403");
    assert_eq!(bodies.take(), []);
}

#[test]
fn a_failure_has_a_status_in_the_encoding_of_the_request() {
    let server = start_with(Some(Arc::new(Bodies::default())));
    let address = server.local_address();
    for (failing, code, message) in [
        ("malformed", "400", "not OTLP"),
        ("busy", "503", "too many events at a time; try again"),
        ("panic", "500", "this is a bug of watchkeeper: the handler panicked"),
    ] {
        let response = post(address, "/v1/logs", JSON, failing.as_bytes());
        assert_eq!(status(&response), code);
        assert!(response.contains("\r\ncontent-type: application/json\r\n"), "{response}");
        assert_eq!(body(&response), format!("{{\"message\":\"{message}\"}}"));
        assert_eq!(response.contains("\r\nretry-after: 1\r\n"), code == "503");
    }
    let response = post(address, "/v1/logs", PROTOBUF, b"malformed");
    assert!(response.contains("\r\ncontent-type: application/x-protobuf\r\n"), "{response}");
    assert_eq!(body(&response), "\x12\x08not OTLP");
    let damaged = format!("{JSON}Content-Encoding: gzip\r\n");
    let response = post(address, "/v1/logs", &damaged, b"text");
    assert_eq!(body(&response), r#"{"message":"the body is not valid gzip"}"#);
    let foreign = format!("{JSON}Origin: http://evil.example\r\n");
    let response = post(address, "/v1/logs", &foreign, b"{}");
    assert_eq!(body(&response), r#"{"message":"pages of other servers have no access"}"#);
    // Without a known encoding, it is a text.
    assert_eq!(status(&post(address, "/v1/logs", "", b"{}")), "415");
}

#[test]
fn bodies_may_be_compressed_and_chunked() {
    let bodies = Arc::new(Bodies::default());
    let server = start_with(Some(bodies.clone()));
    let address = server.local_address();
    let text = b"text ".repeat(10_000);
    let compressed = gzip(&text);
    let gzipped = format!("{PROTOBUF}Content-Encoding: gzip\r\n");
    assert_eq!(status(&post(address, "/v1/logs", &gzipped, &compressed)), "200");
    let mut chunked = format!(
        "POST /v1/logs HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\
         Transfer-Encoding: chunked\r\n{gzipped}\r\n"
    )
    .into_bytes();
    for chunk in compressed.chunks(7) {
        chunked.extend(format!("{:x}\r\n", chunk.len()).bytes());
        chunked.extend(chunk);
        chunked.extend(b"\r\n");
    }
    chunked.extend(b"0\r\n\r\n");
    assert_eq!(status(&exchange(address, &chunked)), "200");
    let received = bodies.take();
    assert_eq!(received.len(), 2);
    assert!(received.iter().all(|(_, _, body)| *body == text));
}

#[test]
fn damaged_and_unknown_encodings_are_refused() {
    let bodies = Arc::new(Bodies::default());
    let server = start_with(Some(bodies.clone()));
    let address = server.local_address();
    let gzipped = format!("{PROTOBUF}Content-Encoding: gzip\r\n");
    let whole = gzip(b"some text");
    let cut = &whole[..whole.len() - 1];
    let with_rest = [&whole[..], b"rest"].concat();
    for damaged in [&b""[..], b"text", cut, &with_rest] {
        assert_eq!(status(&post(address, "/v1/logs", &gzipped, damaged)), "400");
    }
    let brotli = format!("{PROTOBUF}Content-Encoding: br\r\n");
    assert_eq!(status(&post(address, "/v1/logs", &brotli, b"text")), "415");
    assert_eq!(bodies.take(), []);
}

#[test]
fn a_body_that_grows_too_large_is_refused_early() {
    let bodies = Arc::new(Bodies::default());
    let server = start_with(Some(bodies.clone()));
    let address = server.local_address();
    // 64 MiB in 64 KiB: refused after 16 MiB of it.
    let mut bomb = GzEncoder::new(Vec::new(), Compression::fast());
    let zeros = vec![0; 1 << 20];
    (0..64).for_each(|_| bomb.write_all(&zeros).unwrap());
    let bomb = bomb.finish().unwrap();
    let gzipped = format!("{PROTOBUF}Content-Encoding: gzip\r\n");
    assert_eq!(status(&post(address, "/v1/logs", &gzipped, &bomb)), "413");
    // Refused by its length: the body is never sent.
    let announced = format!(
        "POST /v1/logs HTTP/1.1\r\nHost: {address}\r\n{PROTOBUF}Content-Length: 17000000\r\n\r\n"
    );
    assert_eq!(status(&exchange(address, announced.as_bytes())), "413");
    assert_eq!(bodies.take(), []);
}

#[test]
fn exporters_for_grpc_learn_the_remedy() {
    let server = start_with(Some(Arc::new(Bodies::default())));
    let address = server.local_address();
    let remedy = "OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf";
    let grpc = "Content-Type: application/grpc+proto\r\n";
    let path = "/opentelemetry.proto.collector.logs.v1.LogsService/Export";
    let authorization = format!("{grpc}Authorization: Bearer {TOKEN}\r\n");
    for (path, headers) in [("/v1/logs", grpc), (path, &authorization)] {
        let response = post(address, path, headers, b"\0\0\0\0\0");
        assert_eq!(status(&response), "415");
        assert!(response.contains("\r\ngrpc-status: 12\r\n") && body(&response).contains(remedy));
    }
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    let answer = exchange_last(address, preface);
    assert!(answer.ends_with(remedy), "{answer:?}");
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}
