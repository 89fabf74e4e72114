//! Clients that speak HTTP with plain sockets, well and badly.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::{
    io::{self, Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpStream},
    sync::{Arc, Mutex, mpsc},
    time::Duration,
};

use flate2::{Compression, write::GzEncoder};
use serde_json::Value;
use watchkeeper_core::{
    Event, EventKind, Finding, Severity, Timestamp, author::SessionStart, embed::EngineConfig,
};
use watchkeeper_http::{
    Backend, MonitorState, NewSilence, Numbers, OtlpAccepted, OtlpBody, OtlpEncoding, OtlpReceiver,
    OtlpRefusal, OtlpSignal, Server, SilenceRefusal, SilenceRow, SilenceStore, StartError, Token,
};
use watchkeeper_page::{Board, BoardLimits};

/// Longer than any test takes on a busy machine.
const LONG: Duration = Duration::from_secs(60);
const TOKEN: &str = "0123456789abcdef";
/// A hostile id of a session.
const SESSION: &str = "a/b</script>é";

/// A monitor that runs and is not ready.
struct Monitor;

impl MonitorState for Monitor {
    fn is_running(&self) -> bool {
        true
    }

    fn is_ready(&self) -> bool {
        false
    }

    fn numbers(&self) -> Numbers {
        Numbers { events: 7, ..Numbers::default() }
    }
}

/// Keeps the bodies that it receives. Refuses those that begin with a word for a refusal.
#[derive(Default)]
struct Bodies(Mutex<Vec<(OtlpSignal, OtlpEncoding, Vec<u8>)>>);

impl Bodies {
    fn take(&self) -> Vec<(OtlpSignal, OtlpEncoding, Vec<u8>)> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

impl OtlpReceiver for Bodies {
    fn receive(&self, body: OtlpBody<'_>) -> Result<OtlpAccepted, OtlpRefusal> {
        match body.bytes {
            b"malformed" => return Err(OtlpRefusal::Malformed("not OTLP".to_owned())),
            b"busy" => return Err(OtlpRefusal::Busy),
            b"panic" => panic!("a receiver that panics"),
            _ => {}
        }
        self.0.lock().unwrap().push((body.signal, body.encoding, body.bytes.to_vec()));
        Ok(OtlpAccepted::default())
    }
}

/// Keeps silences. Refuses those without a reason.
#[derive(Default)]
struct Silences(Mutex<Vec<SilenceRow>>);

impl SilenceStore for Silences {
    fn active(&self) -> Result<Vec<SilenceRow>, SilenceRefusal> {
        Ok(self.0.lock().unwrap().clone())
    }

    fn add(&self, silence: NewSilence) -> Result<SilenceRow, SilenceRefusal> {
        let NewSilence { conditions, until, author, reason } = silence;
        if reason.is_empty() {
            return Err(SilenceRefusal::Invalid("no reason".to_owned()));
        }
        let created = Timestamp::UNIX_EPOCH;
        let id = "a1".to_owned();
        let silence = SilenceRow { id, conditions, created, until, author, reason };
        self.0.lock().unwrap().push(silence.clone());
        Ok(silence)
    }

    fn expire(&self, id: &str) -> Result<SilenceRow, SilenceRefusal> {
        let mut silences = self.0.lock().unwrap();
        let mut ended = silences.extract_if(.., |silence| silence.id == id);
        ended.next().ok_or(SilenceRefusal::Unknown)
    }
}

fn start() -> Server {
    start_with(None)
}

fn start_with(otlp: Option<Arc<dyn OtlpReceiver>>) -> Server {
    start_at("127.0.0.1:0", otlp).unwrap()
}

/// Starts a server with a session and a finding about it.
fn start_at(address: &str, otlp: Option<Arc<dyn OtlpReceiver>>) -> Result<Server, StartError> {
    let board = Board::new(EngineConfig::default(), BoardLimits::default());
    board.observe(&Event {
        at: Timestamp::UNIX_EPOCH,
        session: SESSION.into(),
        agent: None,
        origin: None,
        kind: EventKind::SessionStart(SessionStart::default()),
    });
    let at = Timestamp::UNIX_EPOCH;
    board.report(&Finding::new(at, "loop", SESSION, Severity::High, "a loop"));
    let backend = Backend {
        board: Arc::new(board),
        monitor: Arc::new(Monitor),
        silences: Some(Arc::new(Silences::default())),
        otlp,
    };
    Server::start(&address.parse().unwrap(), Token::new(TOKEN).unwrap(), backend)
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(LONG)).unwrap();
    stream.set_write_timeout(Some(LONG)).unwrap();
    stream
}

/// Sends bytes, and returns everything that the server sends until it ends the connection.
fn exchange(address: SocketAddr, request: &[u8]) -> String {
    let mut stream = connect(address);
    // The server may have refused the request before its end.
    let _ = stream.write_all(request);
    rest(stream)
}

/// Sends bytes and nothing more, and returns everything that the server sends.
fn exchange_last(address: SocketAddr, request: &[u8]) -> String {
    let mut stream = connect(address);
    let _ = stream.write_all(request);
    let _ = stream.shutdown(Shutdown::Write);
    rest(stream)
}

fn rest(mut stream: TcpStream) -> String {
    let mut response = Vec::new();
    if let Err(err) = stream.read_to_end(&mut response) {
        assert_eq!(err.kind(), io::ErrorKind::ConnectionReset, "{err}");
    }
    String::from_utf8(response).unwrap()
}

fn get(address: SocketAddr, path: &str, headers: &str) -> String {
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{headers}\r\n");
    exchange(address, request.as_bytes())
}

fn post(address: SocketAddr, path: &str, headers: &str, body: &[u8]) -> String {
    let length = body.len();
    let mut request = format!(
        "POST {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\
         Content-Length: {length}\r\n{headers}\r\n"
    )
    .into_bytes();
    request.extend(body);
    exchange(address, &request)
}

fn status(response: &str) -> &str {
    response.get(9..12).unwrap_or(response)
}

fn body(response: &str) -> &str {
    response.split_once("\r\n\r\n").map_or("", |(_, body)| body)
}

const JSON: &str = "Content-Type: application/json\r\n";
const PROTOBUF: &str = "Content-Type: application/x-protobuf\r\n";

#[test]
fn programs_of_this_machine_read_numbers_without_a_token() {
    let server = start();
    let address = server.local_address();
    assert_eq!(status(&get(address, "/healthz", "")), "200");
    assert_eq!(status(&get(address, "/readyz", "")), "503");
    let metrics = get(address, "/metrics", "");
    assert!(metrics.contains("\nwatchkeeper_events_total 7\n"), "{metrics}");
    assert_eq!(status(&get(address, "/v1/logs", "")), "404");
}

#[test]
fn everything_else_needs_the_token() {
    let server = start();
    let address = server.local_address();
    let response = get(address, "/api/v1/other", "");
    assert_eq!(status(&response), "401");
    assert!(body(&response).contains("Authorization: Bearer TOKEN"), "{response}");
    let authorization = format!("Authorization: Bearer {TOKEN}\r\n");
    assert_eq!(status(&get(address, "/api/v1/other", &authorization)), "404");
}

#[test]
fn every_response_keeps_its_content_from_other_pages() {
    let server = start();
    let address = server.local_address();
    for path in ["/healthz", "/metrics", "/api/v1/other"] {
        let response = get(address, path, "").to_lowercase();
        for header in [
            "cache-control: no-store",
            "content-security-policy: default-src 'none'; ",
            "frame-ancestors 'none'",
            "cross-origin-resource-policy: same-origin",
            "referrer-policy: no-referrer",
            "x-content-type-options: nosniff",
        ] {
            assert!(response.contains(header), "{path}: {header}\n{response}");
        }
        assert!(!response.contains("access-control-"), "{response}");
    }
}

#[test]
fn other_hosts_and_origins_are_refused() {
    let server = start();
    let address = server.local_address();
    let rebound = "GET /metrics HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n";
    assert_eq!(status(&exchange(address, rebound.as_bytes())), "421");
    let without = "GET /metrics HTTP/1.0\r\n\r\n";
    assert_eq!(status(&exchange(address, without.as_bytes())), "400");
    assert_eq!(status(&get(address, "/metrics", "Origin: http://evil.example\r\n")), "403");
    assert_eq!(status(&get(address, "/metrics", "Sec-Fetch-Site: cross-site\r\n")), "403");
}

#[test]
fn the_method_of_a_route_is_named() {
    let server = start_with(Some(Arc::new(Bodies::default())));
    let address = server.local_address();
    let response = post(address, "/metrics", "", b"");
    assert_eq!(status(&response), "405");
    assert!(response.contains("\r\nallow: GET, HEAD\r\n"), "{response}");
    assert_eq!(status(&get(address, "/v1/logs", "")), "405");
    let head = format!("HEAD /healthz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    let response = exchange(address, head.as_bytes());
    assert_eq!((status(&response), body(&response)), ("200", ""));
}

#[test]
fn malformed_requests_end_their_connection_only() {
    let server = start();
    let address = server.local_address();
    let control = format!("GET /\x01 HTTP/1.1\r\nHost: {address}\r\n\r\n");
    for request in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..], // A greeting of TLS.
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"\0\0\0\0",
        b"PRI * HTTP/1.1\r\n\r\n",
        b"POST /v1/logs HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"POST /v1/logs HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost : a\r\n\r\n",
        control.as_bytes(),
    ] {
        let response = exchange_last(address, request);
        assert!(response.is_empty() || status(&response).starts_with('4'), "{response}");
    }
    assert_eq!(status(&get(address, "/healthz", "")), "200");
}

#[test]
fn huge_heads_are_refused() {
    let server = start();
    let address = server.local_address();
    let long = format!("X-Long: {}\r\n", "x".repeat(40_000));
    assert_eq!(status(&get(address, "/healthz", &long)), "431");
    let many = "X-Many: 1\r\n".repeat(100);
    assert_eq!(status(&get(address, "/healthz", &many)), "431");
    assert_eq!(status(&get(address, &format!("/{}", "x".repeat(40_000)), "")), "431");
}

#[test]
fn requests_may_follow_each_other_without_a_wait() {
    let server = start();
    let address = server.local_address();
    let request = format!("GET /healthz HTTP/1.1\r\nHost: {address}\r\n\r\n");
    let last = format!("GET /healthz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    let response = exchange(address, (request.repeat(99) + &last).as_bytes());
    assert_eq!(response.matches("HTTP/1.1 200 OK").count(), 100);
}

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
        (OtlpSignal::Logs, OtlpEncoding::Json, b"{}".to_vec()),
        (OtlpSignal::Traces, OtlpEncoding::Json, b"1".to_vec()),
        (OtlpSignal::Metrics, OtlpEncoding::Protobuf, b"\x0a\x00".to_vec()),
    ];
    assert_eq!(bodies.take(), expected);
    assert_eq!(status(&post(address, "/v1/logs", "", b"{}")), "415");
    assert_eq!(status(&post(address, "/v1/logs", JSON, b"malformed")), "400");
    assert_eq!(status(&post(address, "/v1/logs", JSON, b"busy")), "503");
    assert_eq!(status(&post(address, "/v1/logs", JSON, b"panic")), "500");
    let foreign = format!("{JSON}Origin: http://evil.example\r\n");
    assert_eq!(status(&post(address, "/v1/logs", &foreign, b"{}")), "403");
    assert_eq!(bodies.take(), []);
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

#[test]
fn ten_thousand_connections_harm_nobody() {
    let server = start();
    let address = server.local_address();
    let (mut open, mut n_refused) = (Vec::new(), 0);
    for _ in 0..256 {
        open.push(connect(address));
    }
    // The server has accepted all of them when it refuses the next one.
    for _ in 0..10_000 - 256 {
        let mut stream = connect(address);
        let mut response = [0; 12];
        match stream.read_exact(&mut response) {
            Ok(()) => {
                assert_eq!(&response, b"HTTP/1.1 503");
                n_refused += 1;
            }
            Err(err) => {
                let is_cut = [io::ErrorKind::UnexpectedEof, io::ErrorKind::ConnectionReset]
                    .contains(&err.kind());
                assert!(is_cut, "{err}");
            }
        }
    }
    assert!(0 < n_refused);
    // Those that were there before are still served.
    let mut first = open.swap_remove(0);
    let request = format!("GET /healthz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    first.write_all(request.as_bytes()).unwrap();
    assert_eq!(status(&rest(first)), "200");
    drop(open);
    // Connections of clients that are gone make room.
    while status(&get(address, "/healthz", "")) != "200" {}
}

#[test]
fn a_stop_ends_open_connections() {
    let server = start_with(Some(Arc::new(Bodies::default())));
    let address = server.local_address();
    let idle = connect(address);
    let mut half = connect(address);
    half.write_all(b"GET /healthz HTTP/1.1\r\nHo").unwrap();
    let mut in_body = connect(address);
    let head = format!(
        "POST /v1/logs HTTP/1.1\r\nHost: {address}\r\n{JSON}Content-Length: 100\r\n\r\n[1, 2"
    );
    in_body.write_all(head.as_bytes()).unwrap();
    let (sender, stopped) = mpsc::channel();
    std::thread::spawn(move || {
        server.stop();
        sender.send(()).unwrap();
    });
    stopped.recv_timeout(LONG).unwrap();
    for stream in [idle, half, in_body] {
        rest(stream);
    }
    assert!(TcpStream::connect(address).is_err());
}

#[test]
fn a_port_in_use_is_an_error() {
    let server = start();
    let address = server.local_address().to_string();
    let err = start_at(&address, None).unwrap_err();
    assert!(matches!(err, StartError::Listen(_)), "{err}");
    let expected =
        format!("{address} is in use by another program; stop it, or choose another port");
    assert_eq!(err.to_string(), expected);
}

fn authorized() -> String {
    format!("Authorization: Bearer {TOKEN}\r\n")
}

fn api(address: SocketAddr, path: &str) -> Value {
    let response = get(address, path, &authorized());
    assert_eq!(status(&response), "200", "{path}: {response}");
    serde_json::from_str(body(&response)).unwrap()
}

#[test]
fn the_api_has_sessions_and_findings() {
    let server = start();
    let address = server.local_address();
    let sessions = api(address, "/api/v1/sessions");
    assert_eq!(sessions["sessions"][0]["session"], SESSION);
    assert_eq!(sessions["totals"]["findings"]["high"], 1);
    assert_eq!(api(address, "/api/v1/findings")["findings"][0]["message"], "a loop");
    let detail = api(address, "/api/v1/sessions/a%2Fb%3C%2Fscript%3E%C3%A9");
    assert_eq!(detail["row"]["session"], SESSION);
    for unknown in ["x", "%ff", "a/b", ""] {
        let path = format!("/api/v1/sessions/{unknown}");
        assert_eq!(status(&get(address, &path, &authorized())), "404", "{path}");
    }
}

#[test]
fn the_description_names_every_path_of_the_api() {
    let server = start();
    let description = api(server.local_address(), "/api/v1/openapi.json");
    assert_eq!(description, watchkeeper_http::openapi());
    let paths = description["paths"].as_object().unwrap();
    for (path, methods) in paths {
        let path = path.replace("{id}", "x");
        let known: Vec<String> =
            methods.as_object().unwrap().keys().map(|it| it.to_uppercase()).collect();
        let address = server.local_address();
        let request = format!(
            "PUT {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{}\r\n",
            authorized()
        );
        let response = exchange(address, request.as_bytes());
        let allowed = response.split("\r\nallow: ").nth(1).unwrap().split("\r\n").next().unwrap();
        let allowed: Vec<&str> = allowed.split(", ").filter(|method| *method != "HEAD").collect();
        assert_eq!(allowed, known, "{path}");
    }
    // Every reference has a target.
    let text = description.to_string();
    for reference in text.split("\"$ref\":\"#/components/schemas/").skip(1) {
        let name = reference.split('"').next().unwrap();
        assert!(description["components"]["schemas"].get(name).is_some(), "{name}");
    }
}

#[test]
fn the_printed_address_opens_the_page() {
    let server = start();
    let address = server.local_address();
    assert_eq!(status(&get(address, "/", "")), "401");
    assert_eq!(status(&get(address, "/open/fedcba9876543210", "")), "401");
    let opened = get(address, &format!("/open/{TOKEN}"), "");
    assert_eq!(status(&opened), "303");
    assert!(opened.contains("\r\nlocation: /\r\n"), "{opened}");
    let cookie = opened.split("set-cookie: ").nth(1).unwrap();
    assert!(cookie.contains("; HttpOnly; SameSite=Strict\r\n"), "{cookie}");
    let cookie = format!("Cookie: {}\r\n", cookie.split(';').next().unwrap());
    let page = get(address, "/", &cookie);
    assert_eq!(status(&page), "200");
    let policy = page.split("content-security-policy: ").nth(1).unwrap();
    let policy = policy.split("\r\n").next().unwrap();
    assert!(policy.contains("connect-src 'self'") && policy.contains("frame-ancestors 'none'"));
    assert!(!policy.contains("unsafe"), "{policy}");
    assert_eq!(body(&page), watchkeeper_page::live_page(env!("CARGO_PKG_VERSION")));
    // A form of another page that guesses the address has no cookie, and names itself.
    let foreign = format!("{cookie}Origin: http://evil.example\r\n{JSON}");
    assert_eq!(status(&post(address, "/api/v1/silences", &foreign, b"{}")), "403");
}

#[test]
fn silences_are_added_and_ended() {
    let server = start();
    let address = server.local_address();
    let headers = format!("{JSON}{}", authorized());
    let silence = r#"{"match":{"detector":["loop"]},"until":"2026-11-30T12:00:00Z","author":"ada","reason":"a test"}"#;
    let added = post(address, "/api/v1/silences", &headers, silence.as_bytes());
    assert_eq!(status(&added), "201");
    assert_eq!(api(address, "/api/v1/silences")["silences"][0]["reason"], "a test");
    let end = |id: &str| {
        let request = format!(
            "DELETE /api/v1/silences/{id} HTTP/1.1\r\nHost: {address}\r\n\
             Connection: close\r\n{}\r\n",
            authorized()
        );
        exchange(address, request.as_bytes())
    };
    assert_eq!(status(&end("b2")), "404");
    assert_eq!(status(&end("a1")), "200");
    assert_eq!(status(&end("a1")), "404");
}

#[test]
fn invalid_silences_are_refused_with_a_reason() {
    let server = start();
    let address = server.local_address();
    let headers = format!("{JSON}{}", authorized());
    let add =
        |headers: &str, body: &str| post(address, "/api/v1/silences", headers, body.as_bytes());
    let without_reason =
        r#"{"match":{},"until":"2026-11-30T12:00:00Z","author":"ada","reason":""}"#;
    let response = add(&headers, without_reason);
    assert_eq!((status(&response), body(&response)), ("400", "no reason\n"));
    assert_eq!(status(&add(&headers, "{")), "400");
    assert_eq!(status(&add(&headers, r#"{"other":1}"#)), "400");
    assert_eq!(status(&add(&headers, &" ".repeat(20_000))), "413");
    assert_eq!(status(&add(&authorized(), without_reason)), "415");
    assert_eq!(status(&add(JSON, without_reason)), "401");
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}
