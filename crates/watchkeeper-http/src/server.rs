use std::{
    io,
    net::{SocketAddr, TcpListener},
    sync::Arc,
    task::Poll,
    thread::{self, JoinHandle},
    time::Duration,
};

use thiserror::Error;
use tokio::{
    runtime::{Builder, Runtime},
    sync::Semaphore,
    time::{sleep, timeout},
};

use crate::{
    access::Access,
    address::{Address, ListenError},
    backend::Backend,
    connection,
    limits::Limits,
    router::Router,
    stopping::Stop,
    stream::refuse,
    token::Token,
};

/// The largest number of clients that are refused at a time. Further ones are disconnected.
const MAX_REFUSALS: usize = 32;
/// The wait after a connection could not be accepted, as when all file descriptors are used.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

const REFUSAL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\n\
    content-type: text/plain; charset=utf-8\r\n\
    content-length: 38\r\n\
    retry-after: 5\r\n\
    connection: close\r\n\r\n\
    too many connections; close some first";

/// A server that runs in a thread of its own. Dropping it stops it.
#[derive(Debug)]
pub struct Server {
    local: SocketAddr,
    access: Arc<Access>,
    stop: Stop,
    thread: Option<JoinHandle<()>>,
}

/// A server cannot start.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StartError {
    /// It cannot listen at its address.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The system provides no random numbers.
    #[error("cannot make a random number")]
    Random(#[source] io::Error),
    /// The system provides no thread.
    #[error("cannot start the thread of the server")]
    Thread(#[source] io::Error),
}

impl Server {
    /// Listens at an address, and serves a monitor until it is stopped.
    ///
    /// At a loopback address, `/metrics` and the paths of OTLP need no token; everything else
    /// does. Other machines need it for everything except `/healthz` and `/readyz`.
    pub fn start(address: &Address, token: Token, backend: Backend) -> Result<Self, StartError> {
        let (listener, local) = address.listen()?;
        let access = Arc::new(Access::new(token, &address.host(), local));
        let epoch = Token::random().map_err(StartError::Random)?;
        let runtime = Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .max_blocking_threads(Router::MAX_WAITING_CALLS)
            .build()
            .map_err(StartError::Thread)?;
        let epoch = epoch.expose()[..8].to_owned();
        let (stop, stopping) = Stop::new();
        let shared_access = access.clone();
        let thread = thread::Builder::new()
            .name("http".to_owned())
            .spawn(move || {
                let router =
                    || Router::new(shared_access, backend, epoch, stopping, Limits::default());
                run(runtime, listener, router);
            })
            .map_err(StartError::Thread)?;
        Ok(Self { local, access, stop, thread: Some(thread) })
    }

    /// Returns the address where the server listens.
    pub const fn local_address(&self) -> SocketAddr {
        self.local
    }

    /// Returns the path that opens the page once, such as for a browser: other users may see the
    /// arguments of a program, and cannot use it any more. Replaces an earlier one.
    pub fn single_use_path(&self) -> io::Result<String> {
        Ok(format!("/open/{}", self.access.new_code()?.expose()))
    }

    /// Ends open responses, and stops. Takes about a second at most.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.stop.stop();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!(target: "watchkeeper::http", "the server panicked");
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
    }
}

/// Runs the server on the present thread until it stops.
fn run(runtime: Runtime, listener: TcpListener, router: impl FnOnce() -> Router) {
    let accepted = runtime.block_on(async { accept(listener, router()).await });
    if let Err(err) = accepted {
        tracing::error!(target: "watchkeeper::http", %err, "the server cannot accept connections");
    }
    // A call that waits for the monitor or for a file does not delay the stop.
    runtime.shutdown_background();
}

/// Accepts connections until the server stops. Then waits until they have ended, as long as the
/// limits allow.
async fn accept(listener: TcpListener, router: Router) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let limits = *router.limits();
    let n_connections = u32::try_from(limits.connections).unwrap_or(u32::MAX);
    let connections = Arc::new(Semaphore::new(limits.connections));
    let refusals = Arc::new(Semaphore::new(MAX_REFUSALS));
    let mut stopped = std::pin::pin!(router.stopping().clone().wait());
    loop {
        let accepted = std::future::poll_fn(|cx| {
            if stopped.as_mut().poll(cx).is_ready() {
                return Poll::Ready(None);
            }
            listener.poll_accept(cx).map(Some)
        });
        let stream = match accepted.await {
            Some(Ok((stream, _))) => stream,
            Some(Err(err)) => {
                tracing::debug!(target: "watchkeeper::http", %err, "cannot accept a connection");
                sleep(ACCEPT_RETRY).await;
                continue;
            }
            None => break,
        };
        // Events are small, and people wait for them.
        let _ = stream.set_nodelay(true);
        if let Ok(permit) = connections.clone().try_acquire_owned() {
            let router = router.clone();
            tokio::spawn(async move {
                connection::serve(stream, router).await;
                drop(permit);
            });
        } else if let Ok(permit) = refusals.clone().try_acquire_owned() {
            tokio::spawn(async move {
                refuse(stream, REFUSAL).await;
                drop(permit);
            });
        }
    }
    drop(listener);
    // Those that have not ended by then are cut.
    let _ = timeout(limits.stop_time, connections.acquire_many(n_connections)).await;
    Ok(())
}
