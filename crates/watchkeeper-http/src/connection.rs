//! One connection of a client.

#[cfg(test)]
mod tests;

use std::{convert::Infallible, pin::pin, task::Poll};

use hyper::{Request, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::timeout,
};

use crate::{
    grpc,
    router::Router,
    stream::{BoundedStream, Protocol, refuse},
};

/// Answers the requests of a connection until its client or the server ends it.
pub(crate) async fn serve<S>(stream: S, router: Router)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let limits = *router.limits();
    let mut stream = BoundedStream::new(stream, limits.unread_time);
    match timeout(limits.head_time, stream.protocol()).await {
        Ok(Ok(Protocol::Http1)) => {}
        Ok(Ok(Protocol::Http2)) => {
            tracing::warn!(target: "watchkeeper::http", "an exporter uses gRPC: {}", grpc::MESSAGE);
            return refuse(stream, &grpc::http2_refusal()).await;
        }
        Ok(Err(_)) | Err(_) => return,
    }
    let respond = |request: Request<Incoming>| {
        let router = router.clone();
        async move { Ok::<_, Infallible>(router.respond(request).await) }
    };
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head_time)
        .max_headers(limits.headers)
        .max_buf_size(limits.head_bytes)
        .serve_connection(TokioIo::new(stream), service_fn(respond));
    let mut connection = pin!(connection);
    let mut stopped = pin!(router.stopping().clone().wait());
    let mut is_stopping = false;
    let end = std::future::poll_fn(|cx| {
        if !is_stopping && stopped.as_mut().poll(cx).is_ready() {
            is_stopping = true;
            connection.as_mut().graceful_shutdown();
        }
        let Poll::Ready(end) = connection.as_mut().poll(cx) else { return Poll::Pending };
        Poll::Ready(end)
    });
    if let Err(err) = end.await {
        tracing::debug!(target: "watchkeeper::http", %err, "a connection ended early");
    }
}
