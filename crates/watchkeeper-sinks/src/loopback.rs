//! Receivers on this machine, for tests.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    thread::{self, JoinHandle},
};

/// A receiver on this machine, which sends one response to each connection.
pub(crate) struct Receiver {
    pub(crate) url: String,
    requests: JoinHandle<Vec<String>>,
}

impl Receiver {
    pub(crate) fn new(responses: impl IntoIterator<Item = String>) -> Self {
        let responses: Vec<_> = responses.into_iter().collect();
        Self::serve(responses.len(), move |n, stream| {
            // If the sink has closed the connection, its own test fails.
            stream.write_all(responses[n].as_bytes()).ok();
        })
    }

    /// Accepts `n_connections`, and reads one request from each.
    pub(crate) fn serve(
        n_connections: usize,
        mut respond: impl FnMut(usize, &mut TcpStream) + Send + 'static,
    ) -> Self {
        let (listener, url) = listen();
        let requests = thread::spawn(move || {
            let serve = |n| {
                let (mut stream, _) = listener.accept().expect("a connection");
                let request = read_request(&stream);
                respond(n, &mut stream);
                request
            };
            (0..n_connections).map(serve).collect()
        });
        Self { url, requests }
    }

    pub(crate) fn requests(self) -> Vec<String> {
        self.requests.join().expect("the receiver does not panic")
    }
}

pub(crate) fn listen() -> (TcpListener, String) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    let address = listener.local_addr().expect("the listener has an address");
    let url = format!("http://{address}/hooks/hunter2");
    (listener, url)
}

pub(crate) fn read_request(stream: &TcpStream) -> String {
    let mut reader = BufReader::new(stream);
    let mut request = String::new();
    while !request.ends_with("\r\n\r\n") {
        let n_bytes = reader.read_line(&mut request).expect("a head in UTF-8");
        assert_ne!(n_bytes, 0, "{request}");
    }
    let len = header(&request, "content-length");
    let len = len.map_or(0, |it| it.parse().expect("a number"));
    let mut body = vec![0; len];
    reader.read_exact(&mut body).expect("the whole body");
    request + &String::from_utf8(body).expect("a body in UTF-8")
}

pub(crate) fn header<'a>(request: &'a str, name: &str) -> Option<&'a str> {
    request.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

pub(crate) fn response(status: &str, headers: &str) -> String {
    format!("HTTP/1.1 {status}\r\n{headers}content-length: 0\r\nconnection: close\r\n\r\n")
}

/// Waits until the other side has closed the connection.
pub(crate) fn wait_for_end(stream: &mut TcpStream) {
    while stream.read(&mut [0; 1024]).is_ok_and(|it| it != 0) {}
}
