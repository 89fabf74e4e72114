//! The signs that `watch` works: messages to systemd, and heartbeats.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpListener,
    os::unix::net::UnixDatagram,
    sync::mpsc,
    thread,
    time::Duration,
};

use serde_json::Value;

use crate::{program::Folder, watch::Watching};

/// Timeout that only a failing test reaches.
const LONG: Duration = Duration::from_secs(60);

const POLICY: &str = "
version = 1
[secrets]
alive = { env = 'ALIVE_URL' }
[detectors.repeated_call]
kind = 'repeat-tool-call'
[sinks.console]
[heartbeat]
url = { secret = 'alive' }
every = '1s'
allow_private = true
";

/// Waits for a message to systemd.
#[track_caller]
fn receive(socket: &UnixDatagram) -> String {
    let mut message = [0; 256];
    let len = socket.recv(&mut message).expect("the program should notify systemd");
    String::from_utf8(message[..len].to_vec()).unwrap().trim_end().to_owned()
}

#[test]
fn systemd_is_notified_of_the_start_of_work_and_of_the_end() {
    let (folder, sessions) = (Folder::new(), Folder::new());
    let path = folder.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(LONG)).unwrap();
    let variables = [("NOTIFY_SOCKET", path.to_str().unwrap()), ("WATCHDOG_USEC", "100000")];
    let watching = Watching::start_in(&sessions, &[], &variables);
    assert_eq!(receive(&socket), "READY=1");
    assert_eq!(receive(&socket), "WATCHDOG=1");
    assert_eq!(receive(&socket), "WATCHDOG=1");
    let next = || loop {
        let message = receive(&socket);
        if message != "WATCHDOG=1" {
            return message;
        }
    };
    watching.signal("HUP");
    let message = next();
    assert!(message.starts_with("RELOADING=1\nMONOTONIC_USEC="), "{message}");
    assert_eq!(next(), "READY=1");
    let (status, rest) = watching.end("TERM");
    assert_eq!(status, Some(0), "{rest:?}");
    assert_eq!(next(), "STOPPING=1");
}

#[test]
fn heartbeats_reach_a_service_and_no_sink() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let url = format!("http://{}/alive", listener.local_addr().unwrap());
    let (sender, bodies) = mpsc::channel();
    // Ends with the process of the tests.
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let mut reader = BufReader::new(&stream);
            let (mut line, mut len) = (String::new(), 0);
            while reader.read_line(&mut line).is_ok_and(|n| 2 < n) {
                if let Some(value) = line.strip_prefix("content-length: ") {
                    len = value.trim_end().parse().unwrap();
                }
                line.clear();
            }
            let mut body = vec![0; len];
            reader.read_exact(&mut body).unwrap();
            let _ = stream.write_all(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n");
            let _ = sender.send(body);
        }
    });
    let (folder, sessions) = (Folder::new(), Folder::new());
    let policy = folder.write("policy.toml", POLICY);
    let variables = [("ALIVE_URL", &*url)];
    let args = ["--policy", policy.to_str().unwrap()];
    let watching = Watching::start_in(&sessions, &args, &variables);
    for _ in 0..2 {
        let body: Value = serde_json::from_slice(&bodies.recv_timeout(LONG).unwrap()).unwrap();
        assert_eq!(body["data"]["detector"], "watchkeeper-heartbeat", "{body}");
        assert_eq!(body["type"], "finding.resolved", "{body}");
    }
    let (status, rest) = watching.end("TERM");
    assert_eq!(status, Some(0), "{rest:?}");
    assert!(!rest.iter().any(|line| line.contains("heartbeat")), "{rest:?}");
}
