//! Clients that speak HTTP with plain sockets, well and badly.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod api;
mod backends;
mod sockets;
mod telemetry;

use std::{
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    sync::{Arc, mpsc},
    time::Duration,
};

use watchkeeper_http::StartError;

use self::{
    backends::{Bodies, Stalled, start, start_at, start_stalled, start_with},
    sockets::{JSON, authorized, body, connect, exchange, exchange_last, get, post, rest, status},
};

/// Longer than any test takes on a busy machine.
const LONG: Duration = Duration::from_secs(60);
const TOKEN: &str = "0123456789abcdef";
/// A hostile id of a session.
const SESSION: &str = "a/b</script>é";

#[test]
fn programs_of_this_machine_read_numbers_without_a_token() {
    let server = start();
    let address = server.local_address();
    assert_eq!(status(&get(address, "/healthz", "")), "200");
    assert_eq!(status(&get(address, "/readyz", "")), "503");
    let metrics = get(address, "/metrics", "");
    assert!(metrics.contains("\nwatchkeeper_events_total 7\n"), "{metrics}");
    // Without a receiver, the path does not exist.
    assert_eq!(status(&get(address, "/v1/logs", "")), "401");
    assert_eq!(status(&get(address, "/v1/logs", &authorized())), "404");
}

#[test]
fn everything_else_needs_the_token() {
    let server = start();
    let address = server.local_address();
    let response = get(address, "/api/v1/other", "");
    assert_eq!(status(&response), "401");
    assert!(body(&response).contains("Authorization: Bearer TOKEN"), "{response}");
    assert_eq!(status(&get(address, "/api/v1/other", &authorized())), "404");
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

/// Sends requests that wait. Returns their connections once two of them, or the only one, run.
fn send_waiting(
    address: SocketAddr,
    path: &str,
    n: usize,
    calls: &mpsc::Receiver<()>,
) -> Vec<TcpStream> {
    let headers = authorized();
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{headers}\r\n");
    let mut streams = Vec::new();
    for _ in 0..n {
        let mut stream = connect(address);
        stream.write_all(request.as_bytes()).unwrap();
        streams.push(stream);
    }
    for _ in 0..n.min(2) {
        calls.recv_timeout(LONG).unwrap();
    }
    streams
}

#[test]
fn numbers_that_wait_delay_no_other_kind_of_request() {
    let (stalled, calls, release) = Stalled::new();
    let server = start_stalled(&stalled);
    let address = server.local_address();
    let waiting = send_waiting(address, "/metrics", 3, &calls);
    assert_eq!(status(&get(address, "/healthz", "")), "200");
    assert_eq!(status(&post(address, "/v1/logs", JSON, b"{}")), "200");
    let silences = send_waiting(address, "/api/v1/silences", 1, &calls);
    // The third request runs when one of the others has ended.
    (0..4).for_each(|_| release.send(()).unwrap());
    for stream in waiting.into_iter().chain(silences) {
        assert_eq!(status(&rest(stream)), "200");
    }
}

#[test]
fn silences_that_wait_for_their_file_delay_no_exporter() {
    let (stalled, calls, release) = Stalled::new();
    let server = start_stalled(&stalled);
    let address = server.local_address();
    let waiting = send_waiting(address, "/api/v1/silences", 2, &calls);
    assert_eq!(status(&post(address, "/v1/logs", JSON, b"{}")), "200");
    (0..2).for_each(|_| release.send(()).unwrap());
    for stream in waiting {
        assert_eq!(status(&rest(stream)), "200");
    }
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
    // Earlier connections are still served.
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
