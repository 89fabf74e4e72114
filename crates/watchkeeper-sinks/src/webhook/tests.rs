use std::{
    io::{BufRead, BufReader, ErrorKind, Read, Write},
    net::{TcpListener, TcpStream},
    process::Command,
    sync::Arc,
    thread::{self, JoinHandle},
    time::Duration,
};

use insta::assert_snapshot;
use rcgen::{CertificateParams, CertifiedKey, KeyPair, date_time_ymd};
use rustls::{ServerConfig, ServerConnection, pki_types::PrivatePkcs8KeyDer};
use ureq::tls::{Certificate, RootCerts};
use watchkeeper_core::{Finding, Fingerprint, Queue, Sink, SinkError, Timestamp, clock::Clock};

use super::{MAX_RETRY_AFTER, Webhook, retry_after_in};
use crate::{
    render_json,
    samples::{build, build_example, finding, mistake, run_again},
};

const KEY: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// The time of the findings, and of every attempt.
struct Stopped;

impl Clock for Stopped {
    fn now(&self) -> Timestamp {
        finding().at
    }
}

/// A receiver on this machine, which gives each connection one answer.
struct Receiver {
    url: String,
    requests: JoinHandle<Vec<String>>,
}

impl Receiver {
    fn new(answers: impl IntoIterator<Item = String>) -> Self {
        let answers: Vec<_> = answers.into_iter().collect();
        Self::serve(answers.len(), move |n, stream| {
            // If the other side is gone, it will say so in its own test.
            stream.write_all(answers[n].as_bytes()).ok();
        })
    }

    /// Takes `n_connections`, and reads one request from each.
    fn serve(
        n_connections: usize,
        mut answer: impl FnMut(usize, &mut TcpStream) + Send + 'static,
    ) -> Self {
        let (listener, url) = listen();
        let requests = thread::spawn(move || {
            let serve = |n| {
                let (mut stream, _) = listener.accept().unwrap();
                let request = read_request(&stream);
                answer(n, &mut stream);
                request
            };
            (0..n_connections).map(serve).collect()
        });
        Self { url, requests }
    }

    fn requests(self) -> Vec<String> {
        self.requests.join().unwrap()
    }
}

fn listen() -> (TcpListener, String) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let url = format!("http://{}/hooks/hunter2", listener.local_addr().unwrap());
    (listener, url)
}

fn read_request(stream: &TcpStream) -> String {
    let mut reader = BufReader::new(stream);
    let mut res = String::new();
    while !res.ends_with("\r\n\r\n") {
        assert_ne!(reader.read_line(&mut res).unwrap(), 0, "{res}");
    }
    let len = header(&res, "content-length").map_or(0, |it| it.parse().unwrap());
    let mut body = vec![0; len];
    reader.read_exact(&mut body).unwrap();
    res + &String::from_utf8(body).unwrap()
}

fn header<'a>(request: &'a str, name: &str) -> Option<&'a str> {
    request.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

fn answer(status: &str, headers: &str) -> String {
    format!("HTTP/1.1 {status}\r\n{headers}content-length: 0\r\nconnection: close\r\n\r\n")
}

fn sink(url: &str, options: &str) -> Webhook {
    let mut sink = build::<Webhook>(&format!("url = '{url}'\n{options}")).unwrap();
    sink.clock = Box::new(Stopped);
    sink.open().unwrap();
    sink
}

/// What becomes of a finding when the receiver gives this answer.
fn outcome(answer: String) -> Result<(), SinkError> {
    let receiver = Receiver::new([answer]);
    let res = sink(&receiver.url, "").deliver(&finding());
    receiver.requests();
    res
}

fn retry_after(outcome: Result<(), SinkError>) -> Option<Duration> {
    match outcome {
        Err(SinkError::Unavailable { retry_after, .. }) => retry_after,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_example_in_the_manual_works() {
    let sink = build_example::<Webhook>().unwrap();
    assert!(sink.target.is_none());
    assert_eq!(sink.retry(), build::<Webhook>("url = 'https://localhost'").unwrap().retry());
}

#[test]
fn mistakes_are_named_and_secrets_are_not() {
    let said = |options: &str| {
        let said = mistake::<Webhook>(options);
        assert!(!said.contains("hunter2"), "{said}");
        said
    };
    assert_snapshot!(said(""), @"missing field `url`");
    assert_snapshot!(said("url = 'hunter2'"), @"invalid value for `url`: must be an address such as `https://example.com/hook`");
    assert_snapshot!(said("url = '/hunter2'"), @"invalid value for `url`: must be an address such as `https://example.com/hook`");
    assert_snapshot!(said("url = 'ftp://localhost/hunter2'"), @"invalid value for `url`: must be an address such as `https://example.com/hook`");
    assert_snapshot!(said("url = 'http://example.com/hunter2'"), @"invalid value for `url`: `http` lets anyone on the way read the findings; use `https`, or set `allow_http = true`");
    let url = "url = 'https://example.com'\n";
    let said = |options: &str| said(&format!("{url}{options}"));
    assert_snapshot!(said("sign = 'hunter2'"), @"invalid value for `sign`: must be `whsec_` and then 24 to 64 bytes in base64");
    assert_snapshot!(said("headers = { 'a b' = 'hunter2' }"), @"invalid value for `headers`: `a b` is no name of a header");
    assert_snapshot!(said(r#"headers = { x = "hunter2\n" }"#), @"invalid value for `headers`: `x` has a value that no header can have");
    assert_snapshot!(said("headers = { Host = 'hunter2' }"), @"invalid value for `headers`: `Host` is set by the sink itself");
    assert_snapshot!(said("headers = { webhook-id = 'hunter2' }"), @"invalid value for `headers`: `webhook-id` is set by the sink itself");
    assert_snapshot!(said("retry = { initial = '2m', max = '1m' }"), @"invalid value for `retry`: `max` is shorter than `initial`");
    assert_snapshot!(said("retry = { max_attempts = 0 }"), @"invalid value: integer `0`, expected a whole number from 1 to 1000");
    assert_snapshot!(said("timeout = 10"), @r#"invalid type: integer `10`, expected a length of time such as "30s", "5m" or "1h 30m""#);
    assert_snapshot!(said("follow_redirects = true"), @"unknown field `follow_redirects`, expected one of `url`, `sign`, `timeout`, `headers`, `retry`, `allow_http`, `proxy_from_environment`");
}

#[test]
fn http_is_for_this_machine_unless_asked_for() {
    for host in ["localhost", "LOCALHOST:80", "127.0.0.1", "127.8.9.1:8080", "[::1]:8080"] {
        let url = format!("url = 'http://{host}/hook'");
        assert!(build::<Webhook>(&url).is_ok(), "{host}");
    }
    for host in [
        "example.com",
        "localhost.example.com",
        "127.0.0.1.example.com",
        "localhost@example.com",
        "10.0.0.1",
        "0.0.0.0",
        "[::]",
        "2130706433",
        "0x7f.1",
    ] {
        let url = format!("url = 'http://{host}/hook'");
        assert!(build::<Webhook>(&url).is_err(), "{host}");
        assert!(build::<Webhook>(&format!("{url}\nallow_http = true")).is_ok(), "{host}");
    }
}

#[test]
fn a_request_is_a_standard_webhook() {
    let receiver = Receiver::new([answer("204 No Content", "")]);
    let options = format!("sign = '{KEY}'\nheaders = {{ Authorization = 'Bearer hunter2' }}");
    sink(&receiver.url, &options).deliver(&finding()).unwrap();
    let requests = receiver.requests();
    let (head, body) = requests[0].split_once("\r\n\r\n").unwrap();
    assert_eq!(body, render_json(&finding()));
    let mut head: Vec<_> = head.lines().filter(|it| !it.starts_with("host: ")).collect();
    head[1..].sort_unstable();
    assert_snapshot!(head.join("\n"), @"
    POST /hooks/hunter2 HTTP/1.1
    accept: */*
    authorization: Bearer hunter2
    content-length: 608
    content-type: application/json
    user-agent: watchkeeper/0.1.0
    webhook-id: 9f2c000000000001
    webhook-signature: v1,lxaOYRvCX54lN0FGS7wzUAcTyQdRt999UFQ3mjXnR3Q=
    webhook-timestamp: 1795342447
    ");
}

#[test]
fn every_attempt_has_the_same_id() {
    let receiver = Receiver::new(["503 Down", "200 OK"].map(|it| answer(it, "")));
    let mut sink = sink(&receiver.url, "");
    assert_eq!(retry_after(sink.deliver(&finding())), None);
    sink.deliver(&finding()).unwrap();
    let requests = receiver.requests();
    let ids: Vec<_> = requests.iter().map(|it| header(it, "webhook-id")).collect();
    assert_eq!(ids, [Some("9f2c000000000001"); 2]);
    assert!(requests.iter().all(|it| header(it, "webhook-signature").is_none()));
}

#[test]
fn a_status_says_whether_another_try_is_worth_it() {
    for status in [200, 201, 202, 204, 299] {
        assert!(outcome(answer(&format!("{status} A"), "")).is_ok(), "{status}");
    }
    for status in [408, 425, 429, 500, 502, 503, 504, 507, 599] {
        let outcome = outcome(answer(&format!("{status} A"), ""));
        assert!(matches!(outcome, Err(SinkError::Unavailable { .. })), "{status}: {outcome:?}");
    }
    for status in [300, 301, 302, 303, 304, 307, 308, 400, 401, 403, 404, 410, 413, 422, 501, 999] {
        let outcome = outcome(answer(&format!("{status} A"), ""));
        assert!(matches!(outcome, Err(SinkError::Refused { .. })), "{status}: {outcome:?}");
    }
}

#[test]
fn errors_say_what_the_receiver_said_but_not_in_its_words() {
    let said = |status: &str| outcome(answer(status, "x: y\r\n")).unwrap_err().to_string();
    assert_snapshot!(said("400 \u{202e}hunter2"), @"refused: the receiver responded 400 Bad Request");
    assert_snapshot!(said("503 Down"), @"unavailable: the receiver responded 503 Service Unavailable");
    assert_snapshot!(said("302 Found"), @"refused: the receiver responded 302 Found; redirects are not followed: set `url` to the address it points to");
}

#[test]
fn a_receiver_may_say_when_to_try_again() {
    let after = |value: &str| {
        let answer = answer("429 Slow Down", &format!("retry-after: {value}\r\n"));
        retry_after(outcome(answer))
    };
    assert_eq!(after("7"), Some(Duration::from_secs(7)));
    // The finding, and so the attempt, is of Sun, 22 Nov 2026 10:14:07.12 GMT.
    assert_eq!(after("Sun, 22 Nov 2026 10:15:07 GMT"), Some(Duration::from_millis(59_880)));
    assert_eq!(after("soon"), None);
}

#[test]
fn what_it_says_of_waiting_is_not_trusted() {
    let after = |text: &str| retry_after_in(text, finding().at);
    for (text, due) in [
        ("0", Some(Duration::ZERO)),
        (" 3 ", Some(Duration::from_secs(3))),
        ("86401", Some(MAX_RETRY_AFTER)),
        ("99999999999999999999999999", Some(MAX_RETRY_AFTER)),
        ("Wed, 30 Dec 9998 23:59:59 GMT", Some(MAX_RETRY_AFTER)),
        ("Sun, 06 Nov 1994 08:49:37 GMT", Some(Duration::ZERO)),
        ("", None),
        ("-1", None),
        ("+1", None),
        ("1.5", None),
        ("2026-11-22T10:15:07Z", None),
    ] {
        assert_eq!(after(text), due, "{text}");
    }
}

#[test]
fn redirects_are_not_followed() {
    let (canary, elsewhere) = listen();
    for status in ["301 A", "302 A", "303 A", "307 A", "308 A"] {
        let outcome = outcome(answer(status, &format!("location: {elsewhere}\r\n")));
        assert!(matches!(outcome, Err(SinkError::Refused { .. })), "{status}: {outcome:?}");
    }
    canary.set_nonblocking(true).unwrap();
    assert_eq!(canary.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
}

#[test]
fn a_receiver_that_is_gone_is_left_alone() {
    let receiver = Receiver::new([answer("410 Gone", "")]);
    let mut sink = sink(&receiver.url, "");
    let mut said = || sink.deliver(&finding()).unwrap_err().to_string();
    assert_snapshot!(said(), @"refused: the receiver responded 410 Gone; it accepts no more findings: remove this sink from the policy");
    assert_snapshot!(said(), @"refused: the receiver has said that it is gone");
    assert_eq!(receiver.requests().len(), 1);
}

/// Waits until the other side has closed the connection.
fn wait_for_end(stream: &mut TcpStream) {
    while stream.read(&mut [0; 1024]).is_ok_and(|it| it != 0) {}
}

#[test]
fn a_receiver_that_says_nothing_is_given_up_on() {
    let receiver = Receiver::serve(1, |_, stream| wait_for_end(stream));
    let err = sink(&receiver.url, "timeout = '200ms'").deliver(&finding()).unwrap_err();
    assert_snapshot!(err, @"unavailable: no answer within 200ms");
    receiver.requests();
}

#[test]
fn a_receiver_that_never_comes_to_the_point_is_given_up_on() {
    let receiver = Receiver::serve(1, |_, stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\n").unwrap();
        // Until the other side has closed the connection.
        while stream.write_all(b"x: y\r\n").is_ok() {}
    });
    let err = sink(&receiver.url, "").deliver(&finding()).unwrap_err();
    assert!(matches!(err, SinkError::Unavailable { .. }), "{err:?}");
    receiver.requests();
}

#[test]
fn a_body_without_end_is_not_read_to_its_end() {
    let receiver = Receiver::serve(1, |_, stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
        while stream.write_all(&vec![b'x'; 1 << 16]).is_ok() {}
    });
    // So long that the test would not end within it.
    sink(&receiver.url, "timeout = '1h'").deliver(&finding()).unwrap();
    receiver.requests();
}

#[test]
fn a_body_that_does_not_come_delays_but_does_not_undo() {
    let receiver = Receiver::serve(1, |_, stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n").unwrap();
        wait_for_end(stream);
    });
    sink(&receiver.url, "timeout = '200ms'").deliver(&finding()).unwrap();
    receiver.requests();
}

#[test]
fn what_is_no_receiver_is_unavailable() {
    let (listener, url) = listen();
    drop(listener);
    let err = sink(&url, "").deliver(&finding()).unwrap_err();
    assert!(err.to_string().starts_with("unavailable: Connection refused"), "{err}");

    let receiver = Receiver::new(["+OK POP3 ready\r\n\r\n".to_owned()]);
    let err = sink(&receiver.url, "").deliver(&finding()).unwrap_err();
    assert!(matches!(err, SinkError::Unavailable { .. }), "{err:?}");
    receiver.requests();
}

#[test]
fn a_connection_serves_more_than_once() {
    const N: u64 = 3;
    let receiver = Receiver::serve(1, |_, stream| {
        for n in 1..=N {
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").unwrap();
            if n < N {
                read_request(stream);
            }
        }
    });
    let mut sink = sink(&receiver.url, "");
    for n in 0..N {
        let finding = Finding { id: Fingerprint::from(n), ..finding() };
        sink.deliver(&finding).unwrap();
    }
    receiver.requests();
}

#[test]
fn a_queue_posts_again_what_found_the_receiver_down() {
    let receiver = Receiver::new(["503 Down", "429 Slow Down", "200 OK"].map(|it| answer(it, "")));
    let options = "retry = { max_attempts = 3, initial = '1ms', max = '1ms' }";
    let queue = Queue::new("ops", Box::new(sink(&receiver.url, options)), 8);
    queue.push(finding());
    assert_eq!(receiver.requests().len(), 3);
    queue.close();
    assert!(queue.wait_closed(Duration::from_secs(60)));
    let counts = queue.counts();
    assert_eq!((counts.received, counts.delivered, counts.lost()), (1, 1, 0));
}

/// Runs itself again with a proxy in the environment.
#[test]
fn a_proxy_in_the_environment_is_used_only_if_asked_for() {
    const URL: &str = "WATCHKEEPER_TEST_PROXY";
    if let Ok(url) = std::env::var(URL) {
        sink(&url, "").deliver(&finding()).unwrap();
        let err = sink(&url, "proxy_from_environment = true").deliver(&finding()).unwrap_err();
        assert!(matches!(err, SinkError::Unavailable { .. }), "{err:?}");
        return;
    }
    let receiver = Receiver::new([answer("200 OK", "")]);
    let (proxy, proxy_url) = listen();
    let proxy = thread::spawn(move || {
        let (mut stream, _) = proxy.accept().unwrap();
        let request = read_request(&stream);
        stream.write_all(answer("502 Bad Gateway", "").as_bytes()).unwrap();
        proxy.set_nonblocking(true).unwrap();
        (request, proxy.accept().unwrap_err().kind())
    });
    let mut again = Command::new(std::env::current_exe().unwrap());
    for name in ["ALL_PROXY", "HTTP_PROXY", "HTTPS_PROXY"] {
        again.env(name, &proxy_url).env_remove(name.to_ascii_lowercase());
    }
    run_again(
        again.env_remove("NO_PROXY").env_remove("no_proxy"),
        concat!(module_path!(), "::a_proxy_in_the_environment_is_used_only_if_asked_for"),
        (URL, receiver.url.as_ref()),
    );
    assert_eq!(receiver.requests().len(), 1);
    let (request, more) = proxy.join().unwrap();
    assert!(request.starts_with("CONNECT 127.0.0.1:"), "{request}");
    assert_eq!(more, ErrorKind::WouldBlock);
}

/// A certificate for `localhost` that vouches for itself, until the end of a
/// year.
fn certificate(until: i32) -> CertifiedKey<KeyPair> {
    let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
    params.not_before = date_time_ymd(2000, 1, 1);
    params.not_after = date_time_ymd(until, 12, 31);
    let signing_key = KeyPair::generate().unwrap();
    CertifiedKey { cert: params.self_signed(&signing_key).unwrap(), signing_key }
}

/// Posts to a receiver that shows `certificate`, while `trusted` is trusted.
fn post_over_tls(
    host: &str,
    certificate: &CertifiedKey<KeyPair>,
    trusted: RootCerts,
) -> Result<(), SinkError> {
    let key = PrivatePkcs8KeyDer::from(certificate.signing_key.serialize_der());
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.cert.der().clone()], key.into())
        .unwrap();
    let (listener, url) = listen();
    let receiver = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut connection = ServerConnection::new(Arc::new(config)).unwrap();
        let mut stream = rustls::Stream::new(&mut connection, &mut stream);
        // Whoever does not trust the certificate sends no request.
        let mut request = [0; 4096];
        if stream.read(&mut request).is_ok_and(|it| it != 0) {
            stream.write_all(answer("200 OK", "").as_bytes()).unwrap();
        }
    });
    let url = url.replace("http://127.0.0.1", &format!("https://{host}"));
    let mut sink = sink(&url, "");
    sink.agent = Some(sink.agent(trusted));
    let res = sink.deliver(&finding());
    receiver.join().unwrap();
    res
}

#[test]
fn a_certificate_is_for_the_host_in_force_and_vouched_for() {
    let localhost = &certificate(4000);
    let expired = &certificate(2001);
    let only = |it: &CertifiedKey<KeyPair>| {
        RootCerts::new_with_certs(&[Certificate::from_der(it.cert.der()).to_owned()])
    };
    post_over_tls("localhost", localhost, only(localhost)).unwrap();

    let said = |res: Result<(), SinkError>| res.unwrap_err().to_string();
    assert_snapshot!(said(post_over_tls("localhost", localhost, RootCerts::WebPki)), @"unavailable: invalid peer certificate: UnknownIssuer");
    assert_snapshot!(said(post_over_tls("127.0.0.1", localhost, only(localhost))), @r#"unavailable: invalid peer certificate: certificate not valid for name "[secret]"; certificate is only valid for DnsName("localhost")"#);
    let said = said(post_over_tls("localhost", expired, only(expired)));
    assert!(
        said.starts_with("unavailable: invalid peer certificate: certificate expired"),
        "{said}"
    );
}

#[test]
fn no_secret_is_shown() {
    let (listener, url) = listen();
    drop(listener);
    let options = format!("sign = '{KEY}'\nheaders = {{ authorization = 'hunter2' }}");
    let mut sink = sink(&url, &options);
    let err = sink.deliver(&finding()).unwrap_err();
    let shown = format!("{sink:?} {err} {err:?}");
    for secret in ["hunter2", KEY, &KEY["whsec_".len()..], "127.0.0.1"] {
        assert!(!shown.contains(secret), "{shown}");
    }
}

#[test]
fn without_its_secrets_it_posts_nothing() {
    let mut sink = build::<Webhook>("url = { secret = 'ops_url' }").unwrap();
    sink.open().unwrap();
    let err = sink.deliver(&finding()).unwrap_err();
    assert_snapshot!(err, @"refused: the policy was read without its secrets");
    // What is known is checked all the same.
    let said = mistake::<Webhook>("url = { secret = 'ops_url' }\nsign = 'short'");
    assert_snapshot!(said, @"invalid value for `sign`: must be `whsec_` and then 24 to 64 bytes in base64");
}
