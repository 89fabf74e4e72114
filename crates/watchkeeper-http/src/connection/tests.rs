//! Slow clients, in virtual time.

use std::{future::Future, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex},
    runtime::Builder,
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};
use watchkeeper_core::{
    Event, EventKind, Severity, Status, Timestamp, author::Numbers, embed::EngineConfig,
};
use watchkeeper_page::{Board, BoardLimits, BudgetDetectors};
use watchkeeper_sources::otlp::{Accepted, Encoding, Signal};

use super::serve;
use crate::{
    access::Access,
    backend::{Backend, MonitorState},
    limits::Limits,
    otlp::{OtlpReceiver, OtlpRefusal},
    refusal::ChangeRefusal,
    router::Router,
    silences::{NewSilence, SilenceRow, SilenceStore},
    stopping::Stop,
    token::Token,
};

/// The size of the buffers between a client and the server, in bytes.
const BUFFER: usize = 4096;

const HEALTH: &str = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";
const TOKEN: &str = "0123456789abcdef";

/// A monitor with more numbers than fit into the buffers.
struct Monitor;

impl MonitorState for Monitor {
    fn is_running(&self) -> bool {
        true
    }

    fn is_ready(&self) -> bool {
        true
    }

    fn numbers(&self) -> Numbers {
        let mut numbers = Numbers::default();
        for idx in 0..99 {
            numbers.findings.add(&format!("{idx:0>100}"), Severity::High, Status::Open);
        }
        numbers
    }
}

struct Accepts;

impl OtlpReceiver for Accepts {
    fn receive(&self, signal: Signal, _: Encoding, _: &[u8]) -> Result<Accepted, OtlpRefusal> {
        Ok(Accepted::new(signal))
    }
}

/// Has no silences, and adds none.
struct NoSilences;

impl SilenceStore for NoSilences {
    fn active(&self) -> Result<Vec<SilenceRow>, ChangeRefusal> {
        Ok(Vec::new())
    }

    fn add(&self, _: NewSilence) -> Result<SilenceRow, ChangeRefusal> {
        Err(ChangeRefusal::Invalid("no silences".to_owned()))
    }

    fn expire(&self, _: &str) -> Result<SilenceRow, ChangeRefusal> {
        Err(ChangeRefusal::Unknown)
    }
}

fn in_virtual_time(test: impl Future<Output = ()>) {
    let mut runtime = Builder::new_current_thread();
    runtime.enable_time().start_paused(true).build().unwrap().block_on(test);
}

/// A server without sockets.
struct TestServer {
    router: Router,
    board: Arc<Board>,
    stop: Stop,
}

impl TestServer {
    fn new() -> Self {
        Self::with_limits(Limits::default())
    }

    fn with_limits(limits: Limits) -> Self {
        let local = "127.0.0.1:5337".parse().unwrap();
        let access = Access::new(Token::new(TOKEN).unwrap(), "127.0.0.1", local);
        let access = Arc::new(access);
        let board = Arc::new(Board::new(
            BudgetDetectors::default(),
            EngineConfig::default(),
            BoardLimits::default(),
        ));
        let backend = Backend {
            board: board.clone(),
            monitor: Arc::new(Monitor),
            silences: Some(Arc::new(NoSilences)),
            acknowledgements: None,
            history: None,
            otlp: Some(Arc::new(Accepts)),
        };
        let (stop, stopping) = Stop::new();
        let router = Router::new(access, backend, "epoch".to_owned(), stopping, limits);
        Self { router, board, stop }
    }

    /// Connects a client that sends a text. Returns the task of the connection, too.
    async fn connect(&self, text: &str) -> (DuplexStream, JoinHandle<()>) {
        let (mut client, server) = duplex(BUFFER);
        let connection = tokio::spawn(serve(server, self.router.clone()));
        client.write_all(text.as_bytes()).await.unwrap();
        (client, connection)
    }
}

/// Returns the time until a connection ends, and the response.
async fn end(mut client: DuplexStream, connection: JoinHandle<()>) -> (Duration, String) {
    let start = Instant::now();
    let mut response = Vec::new();
    client.read_to_end(&mut response).await.unwrap();
    connection.await.unwrap();
    (start.elapsed(), String::from_utf8(response).unwrap())
}

#[test]
fn a_client_that_sends_nothing_is_disconnected() {
    in_virtual_time(async {
        let server = TestServer::new();
        let (client, connection) = server.connect("").await;
        let (time, response) = end(client, connection).await;
        assert_eq!((time, &*response), (Limits::default().head_time, ""));
    });
}

#[test]
fn a_slow_head_is_cut() {
    in_virtual_time(async {
        let server = TestServer::new();
        let (mut client, connection) = server.connect("").await;
        let start = Instant::now();
        while client.write_all(b"GET /healthz HTTP/1.1\r\nX: 1\r\n").await.is_ok() {
            sleep(Duration::from_secs(1)).await;
        }
        connection.await.unwrap();
        assert!(start.elapsed() <= 2 * Limits::default().head_time, "{:?}", start.elapsed());
    });
}

#[test]
fn an_idle_connection_is_closed() {
    in_virtual_time(async {
        let server = TestServer::new();
        let (client, connection) = server.connect(HEALTH).await;
        let (time, response) = end(client, connection).await;
        assert!(response.starts_with("HTTP/1.1 200"), "{response}");
        assert_eq!(time, Limits::default().head_time);
    });
}

#[test]
fn a_slow_body_is_refused() {
    in_virtual_time(async {
        let server = TestServer::new();
        let head = "POST /v1/logs HTTP/1.1\r\nHost: localhost\r\n\
                    Content-Type: application/json\r\nContent-Length: 10\r\n\r\n[1";
        let (client, connection) = server.connect(head).await;
        let (time, response) = end(client, connection).await;
        assert!(response.starts_with("HTTP/1.1 408"), "{response}");
        assert_eq!(time, Limits::default().body_time);
    });
}

#[test]
fn bodies_that_are_in_memory_leave_no_room_for_more() {
    in_virtual_time(async {
        let limits = Limits { all_bodies: 64 << 10, ..Limits::default() };
        let server = TestServer::with_limits(limits);
        let request = "POST /v1/logs HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
                       Content-Type: application/json\r\nContent-Length: 3\r\n\r\n[1";
        let (mut slow, slow_connection) = server.connect(request).await;
        sleep(Duration::from_secs(1)).await;
        let (other, other_connection) = server.connect(&format!("{request}]")).await;
        let (_, response) = end(other, other_connection).await;
        assert!(response.starts_with("HTTP/1.1 503"), "{response}");
        let silence = format!(
            "POST /api/v1/silences HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
             Authorization: Bearer {TOKEN}\r\nContent-Type: application/json\r\n\
             Content-Length: 2\r\n\r\n{{}}"
        );
        let (silence, silence_connection) = server.connect(&silence).await;
        let (_, response) = end(silence, silence_connection).await;
        assert!(response.starts_with("HTTP/1.1 400"), "a silence has other memory: {response}");
        slow.write_all(b"]").await.unwrap();
        let (_, response) = end(slow, slow_connection).await;
        assert!(response.starts_with("HTTP/1.1 200"), "{response}");
        let (next, next_connection) = server.connect(&format!("{request}]")).await;
        let (_, response) = end(next, next_connection).await;
        assert!(response.starts_with("HTTP/1.1 200"), "{response}");
    });
}

#[test]
fn a_client_that_does_not_read_is_disconnected() {
    in_virtual_time(async {
        let server = TestServer::new();
        let start = Instant::now();
        let request = "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n";
        let (_client, connection) = server.connect(request).await;
        connection.await.unwrap();
        assert_eq!(start.elapsed(), Limits::default().unread_time);
    });
}

#[test]
fn a_client_that_reads_slowly_receives_everything() {
    in_virtual_time(async {
        let server = TestServer::new();
        let request = "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        let (mut client, connection) = server.connect(request).await;
        let mut response = Vec::new();
        while client.read_buf(&mut response).await.unwrap() != 0 {
            sleep(Limits::default().unread_time / 2).await;
        }
        connection.await.unwrap();
        let response = String::from_utf8(response).unwrap();
        assert!(2 * BUFFER < response.len());
        assert!(response.ends_with("# TYPE watchkeeper_sink_pending gauge\n"), "{response}");
    });
}

#[test]
fn an_idle_connection_ends_when_the_server_stops() {
    in_virtual_time(async {
        let server = TestServer::new();
        let (client, connection) = server.connect(HEALTH).await;
        sleep(Duration::from_secs(1)).await;
        server.stop.stop();
        let (time, _) = end(client, connection).await;
        assert_eq!(time, Duration::ZERO);
    });
}

/// A client of the event stream.
struct Events {
    client: DuplexStream,
    connection: JoinHandle<()>,
    received: String,
}

impl Events {
    async fn open(server: &TestServer, headers: &str) -> Self {
        let request = format!(
            "GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\n\
             Authorization: Bearer {TOKEN}\r\n{headers}\r\n"
        );
        let (client, connection) = server.connect(&request).await;
        Self { client, connection, received: String::new() }
    }

    /// Reads until a text comes, and returns everything before it.
    async fn until(&mut self, text: &str) -> String {
        loop {
            if let Some((before, after)) = self.received.split_once(text) {
                let before = before.to_owned();
                self.received = after.to_owned();
                return before;
            }
            let mut bytes = [0; 1024];
            let n = self.client.read(&mut bytes).await.unwrap();
            assert_ne!(n, 0, "the stream has ended: {}", self.received);
            self.received.push_str(std::str::from_utf8(&bytes[..n]).unwrap());
        }
    }
}

fn event(session: &str) -> Event {
    Event {
        at: Timestamp::UNIX_EPOCH,
        session: session.into(),
        agent: None,
        origin: None,
        kind: EventKind::TurnEnd,
    }
}

#[test]
fn changes_come_as_events() {
    in_virtual_time(async {
        let server = TestServer::new();
        server.board.observe(&event("first"));
        let mut events = Events::open(&server, "").await;
        let head = events.until("\r\n\r\n").await;
        assert!(head.contains("content-type: text/event-stream"), "{head}");
        let everything = events.until("\n\n").await;
        assert!(everything.contains("event: changes\nid: epoch-1\nretry: 1000\n"), "{everything}");
        assert!(everything.contains("\"session\":\"first\""), "{everything}");
        server.board.observe(&event("second"));
        let start = Instant::now();
        let change = events.until("\n\n").await;
        assert!(start.elapsed() <= Duration::from_millis(250), "{:?}", start.elapsed());
        assert!(!change.contains("first") && change.contains("second"), "{change}");
    });
}

#[test]
fn a_client_that_reconnects_receives_what_it_has_missed() {
    in_virtual_time(async {
        let server = TestServer::new();
        server.board.observe(&event("first"));
        let version = server.board.version();
        server.board.observe(&event("second"));
        let last = format!("Last-Event-ID: epoch-{version}\r\n");
        let missed = Events::open(&server, &last).await.until("\n\n").await;
        assert!(!missed.contains("\"first\"") && missed.contains("\"second\""), "{missed}");
        // The ids of another process, or of nobody, stand for nothing.
        for other in ["other-1", "epoch-x", "7", "epoch-99999"] {
            let last = format!("Last-Event-ID: {other}\r\n");
            let everything = Events::open(&server, &last).await.until("\n\n").await;
            assert!(everything.contains("\"first\""), "{other}: {everything}");
        }
    });
}

#[test]
fn an_event_keeps_a_quiet_stream_open() {
    in_virtual_time(async {
        let server = TestServer::new();
        let mut events = Events::open(&server, "").await;
        events.until("data: ").await;
        let start = Instant::now();
        events.until("event: alive\ndata: {}\n\n").await;
        assert_eq!(start.elapsed(), Duration::from_secs(15));
    });
}

#[test]
fn a_client_that_reads_no_events_is_disconnected_and_delays_no_other() {
    in_virtual_time(async {
        let server = TestServer::new();
        let unread = Events::open(&server, "").await;
        let mut events = Events::open(&server, "").await;
        let start = Instant::now();
        for session in 0..200 {
            server.board.observe(&event(&format!("session {session}")));
            let changed = Instant::now();
            events.until(&format!("\"session {session}\"")).await;
            assert!(changed.elapsed() <= Duration::from_millis(250));
        }
        unread.connection.await.unwrap();
        assert!(start.elapsed() <= Duration::from_secs(50));
    });
}

#[test]
fn a_client_that_reads_late_receives_the_newest_state() {
    in_virtual_time(async {
        let server = TestServer::new();
        let mut events = Events::open(&server, "").await;
        events.until("data: ").await;
        for _ in 0..100_000 {
            server.board.observe(&event("busy"));
        }
        // The clock moves only while everything waits.
        sleep(Duration::from_secs(1)).await;
        let version = server.board.version();
        events.until(&format!("id: epoch-{version}\n")).await;
    });
}

#[test]
fn there_is_a_limit_of_event_streams() {
    in_virtual_time(async {
        let server = TestServer::with_limits(Limits { streams: 1, ..Limits::default() });
        let mut first = Events::open(&server, "").await;
        first.until("data: ").await;
        let refused = Events::open(&server, "").await.until("\r\n").await;
        assert_eq!(refused, "HTTP/1.1 503 Service Unavailable");
        drop(first.client);
        first.connection.await.unwrap();
        let opened = Events::open(&server, "").await.until("\r\n").await;
        assert_eq!(opened, "HTTP/1.1 200 OK");
    });
}

#[test]
fn event_streams_end_when_the_server_stops() {
    in_virtual_time(async {
        let server = TestServer::new();
        let mut events = Events::open(&server, "").await;
        events.until("data: ").await;
        server.stop.stop();
        timeout(Duration::from_millis(1), events.connection).await.unwrap().unwrap();
    });
}
