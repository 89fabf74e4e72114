//! The byte stream of a connection: its first bytes are looked at, and a client that reads
//! nothing is disconnected.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf},
    time::{Sleep, sleep, timeout},
};

/// The first bytes of a client that speaks HTTP/2 only, as exporters for gRPC do.
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The protocol of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Http1,
    Http2,
}

/// The time for a client to read why it is refused.
const REFUSAL_TIME: Duration = Duration::from_secs(1);

/// Sends a refusal, and waits until the client has read it: a connection that is closed before
/// everything was read is reset, and the client may not see the refusal.
pub(crate) async fn refuse(mut stream: impl AsyncRead + AsyncWrite + Unpin, refusal: &[u8]) {
    let send = async {
        stream.write_all(refusal).await?;
        stream.shutdown().await?;
        let mut ignored = [0; 1024];
        while 0 < stream.read(&mut ignored).await? {}
        Ok::<(), io::Error>(())
    };
    // The client may have ended the connection.
    let _ = timeout(REFUSAL_TIME, send).await;
}

/// A connection with bounds.
pub(crate) struct BoundedStream<S> {
    inner: S,
    /// The bytes that were looked at and not read yet.
    first: Vec<u8>,
    unread_time: Duration,
    /// Runs while the client reads nothing.
    unread: Option<Pin<Box<Sleep>>>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> BoundedStream<S> {
    pub(crate) fn new(inner: S, unread_time: Duration) -> Self {
        Self { inner, first: Vec::new(), unread_time, unread: None }
    }

    /// Looks at the first bytes, until they show the protocol.
    pub(crate) async fn protocol(&mut self) -> io::Result<Protocol> {
        let mut bytes = [0; HTTP2_PREFACE.len()];
        loop {
            let n_known = self.first.len();
            if n_known == bytes.len() {
                return Ok(Protocol::Http2);
            }
            let mut buffer = ReadBuf::new(&mut bytes[n_known..]);
            std::future::poll_fn(|cx| Pin::new(&mut self.inner).poll_read(cx, &mut buffer)).await?;
            let new = buffer.filled();
            let is_preface = HTTP2_PREFACE[n_known..].starts_with(new);
            let is_end = new.is_empty();
            self.first.extend_from_slice(new);
            if is_end || !is_preface {
                return Ok(Protocol::Http1);
            }
        }
    }

    /// Returns an error if the client has read nothing for too long.
    fn bounded<T>(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.unread = None;
            return written;
        }
        let unread_time = self.unread_time;
        let unread = self.unread.get_or_insert_with(|| Box::pin(sleep(unread_time)));
        ready!(unread.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for BoundedStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.first.is_empty() {
            return Pin::new(&mut self.inner).poll_read(cx, buffer);
        }
        let n = self.first.len().min(buffer.remaining());
        buffer.put_slice(&self.first[..n]);
        self.first.drain(..n);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for BoundedStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write(cx, bytes);
        self.bounded(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write_vectored(cx, slices);
        self.bounded(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.inner).poll_flush(cx);
        self.bounded(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let closed = Pin::new(&mut self.inner).poll_shutdown(cx);
        self.bounded(cx, closed)
    }
}
