//! Receivers that are slow, or that never end their response.

use std::{
    io::{self, ErrorKind, Read, Write},
    sync::mpsc::{self, RecvTimeoutError},
    time::Duration,
};

use insta::assert_snapshot;
use watchkeeper_core::{Sink, author::SinkError, embed::Queue};

use super::sink;
use crate::{
    loopback::{Receiver, wait_for_end},
    samples::finding,
};

#[test]
fn an_attempt_ends_at_the_timeout() {
    let receiver = Receiver::serve(1, |_, stream| wait_for_end(stream));
    let err = sink(&receiver.url, "timeout = '200ms'").deliver(&finding()).unwrap_err();
    assert_snapshot!(err, @"unavailable: no response within 200ms");
    receiver.requests();
}

#[test]
fn a_receiver_that_never_comes_to_the_point_is_given_up_on() {
    let receiver = Receiver::serve(1, |_, stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\n").unwrap();
        // Until the sink has closed the connection.
        while stream.write_all(b"x: y\r\n").is_ok() {}
    });
    let err = sink(&receiver.url, "").deliver(&finding()).unwrap_err();
    assert!(matches!(err, SinkError::Unavailable { .. }), "{err:?}");
    receiver.requests();
}

/// A receiver that sends `head` at once, and then a byte in each 20 ms until the sink closes the
/// connection.
fn slow_receiver(head: &'static str) -> Receiver {
    Receiver::serve(1, move |_, stream| {
        stream.write_all(head.as_bytes()).unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        // The sink sends nothing more: a read ends by its timeout, or with the connection.
        while stream.read(&mut [0]).is_err_and(|err| is_timeout(&err)) {
            stream.write_all(b"x").ok();
        }
    })
}

fn is_timeout(err: &io::Error) -> bool {
    matches!(err.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

#[test]
fn bytes_that_keep_coming_do_not_extend_the_timeout() {
    let receiver = slow_receiver("HTTP/1.1 200 OK\r\nx: ");
    let err = sink(&receiver.url, "timeout = '200ms'").deliver(&finding()).unwrap_err();
    assert_snapshot!(err, @"unavailable: no response within 200ms");
    receiver.requests();

    // The status is known: the finding has been delivered.
    let receiver = slow_receiver("HTTP/1.1 200 OK\r\n\r\n");
    sink(&receiver.url, "timeout = '2s'").deliver(&finding()).unwrap();
    receiver.requests();
}

#[test]
fn a_slow_receiver_does_not_delay_the_stop() {
    let (started, has_started) = mpsc::channel();
    let (end, has_ended) = mpsc::channel::<()>();
    let receiver = Receiver::serve(1, move |_, stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\nx: ").unwrap();
        started.send(()).unwrap();
        while has_ended
            .recv_timeout(Duration::from_millis(20))
            .is_err_and(|it| it == RecvTimeoutError::Timeout)
        {
            stream.write_all(b"x").ok();
        }
    });
    // Timeouts that the test never reaches.
    let queue = Queue::new("ops", Box::new(sink(&receiver.url, "timeout = '1h'")), 8);
    queue.push(finding());
    has_started.recv().unwrap();
    queue.close();
    assert!(!queue.wait_closed(Duration::from_millis(50)));
    let counts = queue.counts();
    assert_eq!((counts.received, counts.delivered), (1, 0));
    drop(end);
    receiver.requests();
}
