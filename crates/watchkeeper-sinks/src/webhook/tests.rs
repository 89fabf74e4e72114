mod timeouts;
mod tls;

use std::{
    io::{ErrorKind, Write},
    process::Command,
    thread,
    time::Duration,
};

use insta::assert_snapshot;
use watchkeeper_core::{
    Fingerprint, Sink, Timestamp,
    author::SinkError,
    clock::{Clock, ManualClock},
    embed::Queue,
};

use super::Webhook;
use crate::{
    http::{MAX_REQUEST, MAX_RETRY_AFTER, MIN_RETRY_AFTER, retry_after_in},
    loopback::{Receiver, header, listen, read_request, response, wait_for_end},
    render_json,
    samples::{build, build_example, finding, mistake, run_again},
};

const KEY: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// A clock that shows the time of the findings.
struct Stopped;

impl Clock for Stopped {
    fn now(&self) -> Timestamp {
        finding().at
    }
}

fn sink(url: &str, options: &str) -> Webhook {
    let options = format!("url = '{url}'\nallow_private = true\n{options}");
    let mut sink = build::<Webhook>(&options).unwrap();
    sink.clock = Box::new(Stopped);
    sink.open().unwrap();
    sink
}

/// Delivers a finding to a receiver that sends this response.
fn outcome(response: String) -> Result<(), SinkError> {
    let receiver = Receiver::new([response]);
    let outcome = sink(&receiver.url, "").deliver(&finding());
    receiver.requests();
    outcome
}

fn retry_after(outcome: Result<(), SinkError>) -> Option<Duration> {
    match outcome {
        Err(SinkError::Unavailable { retry_after, .. }) => retry_after,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_example_in_the_manual_is_valid() {
    let sink = build_example::<Webhook>().unwrap();
    assert!(sink.target.is_none());
    assert_eq!(sink.retry().max_attempts, 5);
}

#[test]
fn invalid_options_are_named_without_their_secrets() {
    let error = |options: &str| {
        let error = mistake::<Webhook>(options);
        assert!(!error.contains("hunter2"), "{error}");
        error
    };
    assert_snapshot!(error(""), @"missing field `url`");
    assert_snapshot!(error("url = 'hunter2'"), @"invalid value for `url`: must be an address such as `https://example.com/hook`");
    assert_snapshot!(error("url = '/hunter2'"), @"invalid value for `url`: must be an address such as `https://example.com/hook`");
    assert_snapshot!(error("url = 'ftp://example.com/hunter2'"), @"invalid value for `url`: must be an address such as `https://example.com/hook`");
    assert_snapshot!(error("url = 'http://example.com/hunter2'"), @"invalid value for `url`: `http` lets anyone on the network path read the findings; use `https`, or set `allow_http = true`");
    assert_snapshot!(error("url = 'https://localhost/hunter2'"), @"invalid value for `url`: the host is an address of this host; set `allow_private = true` if the receiver is there");
    assert_snapshot!(error("url = 'https://10.0.0.7/hunter2'"), @"invalid value for `url`: the host is an address of a private network; set `allow_private = true` if the receiver is there");
    let url = "url = 'https://example.com'\n";
    let error = |options: &str| error(&format!("{url}{options}"));
    assert_snapshot!(error("sign = 'hunter2'"), @"invalid value for `sign`: must be `whsec_` followed by 24 to 64 bytes in base64");
    assert_snapshot!(error("headers = { 'a b' = 'hunter2' }"), @"invalid value for `headers`: `a b` is not a valid header name");
    assert_snapshot!(error(r#"headers = { x = "hunter2\n" }"#), @"invalid value for `headers`: `x` has a value that is not valid in a header");
    assert_snapshot!(error("headers = { Host = 'hunter2' }"), @"invalid value for `headers`: `Host` is set by the sink itself");
    assert_snapshot!(error("headers = { webhook-id = 'hunter2' }"), @"invalid value for `headers`: `webhook-id` is set by the sink itself");
    assert_snapshot!(error("retry = { initial = '2m', max = '1m' }"), @"invalid value for `retry`: `max` is shorter than `initial`");
    assert_snapshot!(error("retry = { max_attempts = 0 }"), @"invalid value: integer `0`, expected a whole number from 1 to 1000");
    assert_snapshot!(error("timeout = 10"), @r#"invalid type: integer `10`, expected a length of time such as "30s", "5m" or "1h 30m""#);
    assert_snapshot!(error("follow_redirects = true"), @"unknown field `follow_redirects`, expected one of `url`, `sign`, `format`, `template`, `routing_key`, `timeout`, `headers`, `retry`, `rate_limit`, `ca_file`, `allow_http`, `allow_private`, `proxy_from_environment`");
}

#[test]
fn attempts_follow_the_schedule_of_standard_webhooks_or_double() {
    let retry = |options: &str| {
        build::<Webhook>(&format!("url = 'https://example.com'\n{options}")).unwrap().retry()
    };
    let hours = |n: u64| n * 60 * 60;
    let longest = [5, 300, 1800, hours(2), hours(5), hours(10), hours(14), hours(20), hours(24)];
    let default = retry("");
    assert_eq!(default.max_attempts, 10);
    for (attempt, secs) in (1..).zip(longest) {
        assert_eq!(default.longest_wait(attempt), Duration::from_secs(secs), "{attempt}");
    }
    let doubling = retry("retry = { max_attempts = 4 }");
    let waits: Vec<_> = (1..10).map(|n| doubling.longest_wait(n).as_secs()).collect();
    assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 128, 256]);
    assert_eq!((doubling.max_attempts, doubling.max), (4, Duration::from_secs(300)));
}

#[test]
fn a_request_that_is_too_long_is_not_sent() {
    let (canary, url) = listen();
    let mut finding = finding();
    finding.message = "x".repeat(MAX_REQUEST);
    let err = sink(&url, "").deliver(&finding).unwrap_err().to_string();
    assert!(err.starts_with("refused: the request has 26"), "{err}");
    canary.set_nonblocking(true).unwrap();
    assert_eq!(canary.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
}

#[test]
fn http_needs_a_local_host_or_allow_http() {
    let accepts = |host: &str, options: &str| {
        build::<Webhook>(&format!("url = 'http://{host}/hook'\n{options}")).is_ok()
    };
    for host in ["localhost", "LOCALHOST:80", "127.0.0.1", "127.8.9.1:8080", "[::1]:8080"] {
        assert!(!accepts(host, ""), "{host}");
        assert!(!accepts(host, "allow_http = true"), "{host}");
        assert!(accepts(host, "allow_private = true"), "{host}");
    }
    for host in [
        "example.com",
        "localhost.example.com",
        "127.0.0.1.example.com",
        "localhost@example.com",
        "10.0.0.1",
        "2130706433",
        "0x7f.1",
    ] {
        assert!(!accepts(host, ""), "{host}");
        assert!(!accepts(host, "allow_private = true"), "{host}");
        assert!(accepts(host, "allow_private = true\nallow_http = true"), "{host}");
    }
}

#[test]
fn nothing_is_sent_to_this_machine_or_a_private_network() {
    let (canary, url) = listen();
    let port = canary.local_addr().unwrap().port();
    for host in ["2130706433", "0x7f.1", "017700000001", "127.1"] {
        let url = url.replace("http://127.0.0.1", &format!("https://{host}"));
        let mut sink = build::<Webhook>(&format!("url = '{url}'")).unwrap();
        sink.open().unwrap();
        let err = sink.deliver(&finding()).unwrap_err().to_string();
        assert!(err.starts_with("unavailable: "), "{host}: {err}");
        assert!(!err.contains(host) && !err.contains(&port.to_string()), "{host}: {err}");
    }
    canary.set_nonblocking(true).unwrap();
    assert_eq!(canary.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
}

#[test]
fn a_request_follows_standard_webhooks() {
    let receiver = Receiver::new([response("204 No Content", "")]);
    let options = format!("sign = '{KEY}'\nheaders = {{ Authorization = 'Bearer hunter2' }}");
    sink(&receiver.url, &options).deliver(&finding()).unwrap();
    let requests = receiver.requests();
    let (head, body) = requests[0].split_once("\r\n\r\n").unwrap();
    let data = render_json(&finding());
    let expected = format!(
        r#"{{"type":"finding.opened","timestamp":"2026-11-22T10:14:07.12Z","data":{data}}}"#
    );
    assert_eq!(body, expected);
    let mut head: Vec<_> = head.lines().filter(|it| !it.starts_with("host: ")).collect();
    head[1..].sort_unstable();
    assert_snapshot!(head.join("\n"), @"
    POST /hooks/hunter2 HTTP/1.1
    accept: */*
    authorization: Bearer hunter2
    content-length: 721
    content-type: application/json
    user-agent: watchkeeper/0.1.0
    webhook-id: 9f2c000000000001
    webhook-signature: v1,Dun8bCQG1ck1ZFlmaDae5x0bi/O5YQIDAHX+87TjquU=
    webhook-timestamp: 1795342447
    ");
}

#[test]
fn every_attempt_has_the_same_id() {
    let receiver = Receiver::new(["503 Down", "200 OK"].map(|it| response(it, "")));
    let mut sink = sink(&receiver.url, "");
    assert_eq!(retry_after(sink.deliver(&finding())), None);
    sink.deliver(&finding()).unwrap();
    let requests = receiver.requests();
    let ids: Vec<_> = requests.iter().map(|it| header(it, "webhook-id")).collect();
    assert_eq!(ids, [Some("9f2c000000000001"); 2]);
    assert!(requests.iter().all(|it| header(it, "webhook-signature").is_none()));
}

#[test]
fn the_status_decides_whether_to_retry() {
    for status in [200, 201, 202, 204, 299] {
        assert!(outcome(response(&format!("{status} A"), "")).is_ok(), "{status}");
    }
    for status in [408, 425, 429, 500, 502, 503, 504, 507, 599] {
        let outcome = outcome(response(&format!("{status} A"), ""));
        assert!(matches!(outcome, Err(SinkError::Unavailable { .. })), "{status}: {outcome:?}");
    }
    for status in [300, 301, 302, 303, 304, 307, 308, 400, 401, 403, 404, 410, 413, 422, 501, 999] {
        let outcome = outcome(response(&format!("{status} A"), ""));
        assert!(matches!(outcome, Err(SinkError::Refused { .. })), "{status}: {outcome:?}");
    }
}

#[test]
fn errors_contain_the_status_but_no_text_of_the_receiver() {
    let error = |status: &str| outcome(response(status, "x: y\r\n")).unwrap_err().to_string();
    assert_snapshot!(error("400 \u{202e}hunter2"), @"refused: the receiver responded 400 Bad Request");
    assert_snapshot!(error("503 Down"), @"unavailable: the receiver responded 503 Service Unavailable");
    assert_snapshot!(error("302 Found"), @"refused: the receiver responded 302 Found; redirects are not followed: name the address it points to");
}

#[test]
fn a_receiver_may_request_a_wait() {
    let after = |value: &str| {
        let response = response("429 Slow Down", &format!("retry-after: {value}\r\n"));
        retry_after(outcome(response))
    };
    assert_eq!(after("7"), Some(Duration::from_secs(7)));
    // The finding, and so the attempt, is of Sun, 22 Nov 2026 10:14:07.12 GMT.
    assert_eq!(after("Sun, 22 Nov 2026 10:15:07 GMT"), Some(Duration::from_millis(59_880)));
    assert_eq!(after("soon"), None);
}

#[test]
fn invalid_waits_are_ignored_and_others_moved_into_range() {
    let after = |text: &str| retry_after_in(text, finding().at);
    for (text, expected) in [
        ("0", Some(MIN_RETRY_AFTER)),
        (" 3 ", Some(Duration::from_secs(3))),
        ("86401", Some(MAX_RETRY_AFTER)),
        ("99999999999999999999999999", Some(MAX_RETRY_AFTER)),
        ("Wed, 30 Dec 9998 23:59:59 GMT", Some(MAX_RETRY_AFTER)),
        ("Sun, 06 Nov 1994 08:49:37 GMT", Some(MIN_RETRY_AFTER)),
        ("Sun, 22 Nov 2026 10:14:07 GMT", Some(MIN_RETRY_AFTER)),
        ("", None),
        ("-1", None),
        ("+1", None),
        ("1.5", None),
        ("2026-11-22T10:15:07Z", None),
    ] {
        assert_eq!(after(text), expected, "{text}");
    }
}

#[test]
fn redirects_are_not_followed() {
    let (canary, elsewhere) = listen();
    for status in ["301 A", "302 A", "303 A", "307 A", "308 A"] {
        let outcome = outcome(response(status, &format!("location: {elsewhere}\r\n")));
        assert!(matches!(outcome, Err(SinkError::Refused { .. })), "{status}: {outcome:?}");
    }
    canary.set_nonblocking(true).unwrap();
    assert_eq!(canary.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
}

#[test]
fn nothing_is_posted_after_410_gone() {
    let receiver = Receiver::new([response("410 Gone", "")]);
    let mut sink = sink(&receiver.url, "");
    let mut error = || sink.deliver(&finding()).unwrap_err().to_string();
    assert_snapshot!(error(), @"refused: the receiver responded 410 Gone; it accepts no more findings: remove this sink from the policy");
    assert_snapshot!(error(), @"refused: the receiver responded 410 Gone before");
    assert_eq!(receiver.requests().len(), 1);
}

#[test]
fn findings_above_the_rate_limit_wait() {
    let receiver = Receiver::new(["200 OK", "200 OK", "200 OK"].map(|it| response(it, "")));
    let mut sink = sink(&receiver.url, "rate_limit = { findings = 2, per = '1m' }");
    let clock = ManualClock::new(finding().at);
    sink.clock = Box::new(clock.clone());
    let mut deliver = |id: u64| {
        let mut finding = finding();
        finding.id = Fingerprint::from(id);
        sink.deliver(&finding)
    };
    deliver(1).unwrap();
    deliver(2).unwrap();
    let err = deliver(3).unwrap_err();
    assert_snapshot!(err, @"postponed: `rate_limit` is reached");
    let SinkError::Postponed { retry_after, .. } = err else { panic!("{err:?}") };
    assert_eq!(retry_after, Duration::from_secs(30));
    clock.advance(retry_after);
    deliver(3).unwrap();
    assert_eq!(receiver.requests().len(), 3);
}

#[test]
fn a_response_of_10_gb_is_cut_off() {
    const LEN: u64 = 10 << 30;
    // Far above the buffers of a connection.
    const MAX_SENT: usize = 64 << 20;
    for head in [
        "\r\n".to_owned(),
        format!("content-length: {LEN}\r\n\r\n"),
        format!("transfer-encoding: chunked\r\n\r\n{LEN:x}\r\n"),
    ] {
        let receiver = Receiver::serve(1, move |_, stream| {
            stream.write_all(format!("HTTP/1.1 200 OK\r\n{head}").as_bytes()).unwrap();
            let (bytes, mut n_sent) = (vec![b'x'; 1 << 16], 0);
            // Until the sink has closed the connection.
            while let Ok(n) = stream.write(&bytes) {
                n_sent += n;
                assert!(n_sent < MAX_SENT);
            }
        });
        // A timeout that the test never reaches.
        sink(&receiver.url, "timeout = '1h'").deliver(&finding()).unwrap();
        receiver.requests();
    }
}

#[test]
fn a_missing_body_does_not_undo_the_delivery() {
    let receiver = Receiver::serve(1, |_, stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n").unwrap();
        wait_for_end(stream);
    });
    sink(&receiver.url, "timeout = '200ms'").deliver(&finding()).unwrap();
    receiver.requests();
}

#[test]
fn a_missing_or_foreign_receiver_is_unavailable() {
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
fn a_connection_is_reused() {
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
        let mut finding = finding();
        finding.id = Fingerprint::from(n);
        sink.deliver(&finding).unwrap();
    }
    receiver.requests();
}

#[test]
fn a_queue_retries_while_the_receiver_is_down() {
    let receiver =
        Receiver::new(["503 Down", "429 Slow Down", "200 OK"].map(|it| response(it, "")));
    let options = "retry = { max_attempts = 3, initial = '1ms', max = '1ms' }";
    let queue = Queue::new("ops", Box::new(sink(&receiver.url, options)), 8);
    queue.push(finding());
    assert_eq!(receiver.requests().len(), 3);
    queue.close();
    assert!(queue.wait_closed(Duration::from_secs(60)));
    let counts = queue.counts();
    assert_eq!((counts.received, counts.delivered, counts.lost()), (1, 1, 0));
}

/// Runs the test again with a proxy in the environment.
#[test]
fn a_proxy_in_the_environment_is_used_only_if_enabled() {
    const URL: &str = "WATCHKEEPER_TEST_PROXY";
    if let Ok(url) = std::env::var(URL) {
        sink(&url, "").deliver(&finding()).unwrap();
        let err = sink(&url, "proxy_from_environment = true").deliver(&finding()).unwrap_err();
        assert!(matches!(err, SinkError::Unavailable { .. }), "{err:?}");
        return;
    }
    let receiver = Receiver::new([response("200 OK", "")]);
    let (proxy, proxy_url) = listen();
    let proxy = thread::spawn(move || {
        let (mut stream, _) = proxy.accept().unwrap();
        let request = read_request(&stream);
        stream.write_all(response("502 Bad Gateway", "").as_bytes()).unwrap();
        proxy.set_nonblocking(true).unwrap();
        (request, proxy.accept().unwrap_err().kind())
    });
    let mut again = Command::new(std::env::current_exe().unwrap());
    for name in ["ALL_PROXY", "HTTP_PROXY", "HTTPS_PROXY"] {
        again.env(name, &proxy_url).env_remove(name.to_ascii_lowercase());
    }
    run_again(
        again.env_remove("NO_PROXY").env_remove("no_proxy"),
        concat!(module_path!(), "::a_proxy_in_the_environment_is_used_only_if_enabled"),
        (URL, receiver.url.as_ref()),
    );
    assert_eq!(receiver.requests().len(), 1);
    let (request, more) = proxy.join().unwrap();
    assert!(request.starts_with("CONNECT 127.0.0.1:"), "{request}");
    assert_eq!(more, ErrorKind::WouldBlock);
}

#[test]
fn errors_and_debug_output_contain_no_secret() {
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
fn posts_nothing_if_a_secret_is_unknown() {
    let mut sink = build::<Webhook>("url = { secret = 'ops_url' }").unwrap();
    sink.open().unwrap();
    let err = sink.deliver(&finding()).unwrap_err();
    assert_snapshot!(err, @"refused: the policy was read without its secrets");
    // Known options are still checked.
    let error = mistake::<Webhook>("url = { secret = 'ops_url' }\nsign = 'short'");
    assert_snapshot!(error, @"invalid value for `sign`: must be `whsec_` followed by 24 to 64 bytes in base64");
}

#[test]
fn a_group_is_one_request_whose_id_does_not_change() {
    let receiver = Receiver::new([response("503 Unavailable", ""), response("200 OK", "")]);
    let mut sink = sink(&receiver.url, "");
    let mut other = finding();
    other.id = Fingerprint::from(7);
    let first = finding();
    let findings = [&first, &other];
    assert_eq!(sink.max_group(), 20);
    assert!(matches!(sink.deliver_group(&findings), Err(SinkError::Unavailable { .. })));
    sink.deliver_group(&findings).unwrap();
    let requests = receiver.requests();
    let ids = [0, 1].map(|n: usize| header(&requests[n], "webhook-id").unwrap());
    assert_eq!(ids[0], ids[1]);
    assert_ne!(ids[0], first.id.to_string());
    assert!(requests[0].contains(r#"{"type":"finding.group""#), "{}", requests[0]);
}
