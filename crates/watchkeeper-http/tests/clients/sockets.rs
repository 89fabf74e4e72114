//! Plain sockets.

use std::{
    io::{self, Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpStream},
};

use crate::{LONG, TOKEN};

pub(crate) fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(LONG)).unwrap();
    stream.set_write_timeout(Some(LONG)).unwrap();
    stream
}

/// Sends bytes, and returns everything that the server sends until it ends the connection.
pub(crate) fn exchange(address: SocketAddr, request: &[u8]) -> String {
    let mut stream = connect(address);
    // The server may have refused the request before its end.
    let _ = stream.write_all(request);
    rest(stream)
}

/// Sends bytes and nothing more, and returns everything that the server sends.
pub(crate) fn exchange_last(address: SocketAddr, request: &[u8]) -> String {
    let mut stream = connect(address);
    let _ = stream.write_all(request);
    let _ = stream.shutdown(Shutdown::Write);
    rest(stream)
}

pub(crate) fn rest(mut stream: TcpStream) -> String {
    let mut response = Vec::new();
    if let Err(err) = stream.read_to_end(&mut response) {
        assert_eq!(err.kind(), io::ErrorKind::ConnectionReset, "{err}");
    }
    String::from_utf8(response).unwrap()
}

pub(crate) fn get(address: SocketAddr, path: &str, headers: &str) -> String {
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{headers}\r\n");
    exchange(address, request.as_bytes())
}

pub(crate) fn post(address: SocketAddr, path: &str, headers: &str, body: &[u8]) -> String {
    let length = body.len();
    let mut request = format!(
        "POST {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\
         Content-Length: {length}\r\n{headers}\r\n"
    )
    .into_bytes();
    request.extend(body);
    exchange(address, &request)
}

pub(crate) fn status(response: &str) -> &str {
    response.get(9..12).unwrap_or(response)
}

pub(crate) fn body(response: &str) -> &str {
    response.split_once("\r\n\r\n").map_or("", |(_, body)| body)
}

pub(crate) const JSON: &str = "Content-Type: application/json\r\n";
pub(crate) const PROTOBUF: &str = "Content-Type: application/x-protobuf\r\n";

/// Returns the header of an authorized client.
pub(crate) fn authorized() -> String {
    format!("Authorization: Bearer {TOKEN}\r\n")
}
