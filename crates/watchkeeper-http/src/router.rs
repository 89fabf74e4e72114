use std::sync::Arc;

use hyper::{
    Method, Request, Response, StatusCode,
    body::{Body, Bytes},
    header::HeaderMap,
    http::request::Parts,
};
use watchkeeper_sources::otlp::Signal;

use crate::{
    access::{Access, Audience},
    api::{Budgets, Endpoint, Findings, Quotas, Sessions, openapi},
    backend::Backend,
    event_stream::EventStreams,
    exposition::exposition,
    grpc,
    limits::Limits,
    otlp::{self, OtlpReceiver, OtlpRefusal},
    percent::decoded,
    request_body::{BodyMemory, RequestBody},
    response::{ResponseBody, busy, complete, json, opened, other_method, page, response, text},
    route::Route,
    stopping::Stopping,
    store_request::StoreRequest,
    waiting_calls::{Unfinished, WaitingCalls},
};

const PANICKED: &str = "this is a bug of watchkeeper: the handler panicked";

/// Answers requests.
#[derive(Clone)]
pub(crate) struct Router(Arc<Shared>);

struct Shared {
    access: Arc<Access>,
    backend: Backend,
    streams: Arc<EventStreams>,
    stopping: Stopping,
    limits: Limits,
    bodies: BodyMemory,
    object_bodies: BodyMemory,
    // A kind of call that waits delays no other kind.
    reads: WaitingCalls,
    store_calls: WaitingCalls,
    otlp_calls: WaitingCalls,
}

impl Router {
    /// The number of threads that wait for calls at a time.
    pub(crate) const MAX_WAITING_CALLS: usize = 3 * WaitingCalls::MAX;

    /// Must be called in the runtime. `epoch` is different in each process.
    pub(crate) fn new(
        access: Arc<Access>,
        backend: Backend,
        epoch: String,
        stopping: Stopping,
        limits: Limits,
    ) -> Self {
        let bodies = BodyMemory::new(limits.all_bodies);
        let object_bodies = BodyMemory::new(limits.all_objects);
        let streams = EventStreams::new(backend.board.clone(), epoch, limits.streams);
        let streams = Arc::new(streams);
        Self(Arc::new(Shared {
            access,
            backend,
            streams,
            stopping,
            limits,
            bodies,
            object_bodies,
            reads: WaitingCalls::new(),
            store_calls: WaitingCalls::new(),
            otlp_calls: WaitingCalls::new(),
        }))
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.0.limits
    }

    pub(crate) fn object_bodies(&self) -> &BodyMemory {
        &self.0.object_bodies
    }

    pub(crate) fn stopping(&self) -> &Stopping {
        &self.0.stopping
    }

    /// Answers a request.
    pub(crate) async fn respond<B>(&self, request: Request<B>) -> Response<ResponseBody>
    where
        B: Body<Data = Bytes>,
    {
        let (head, body) = request.into_parts();
        let Shared { backend, access, .. } = &*self.0;
        let route = Route::of(head.uri.path(), backend);
        let audience = route.as_ref().map_or(Audience::Authorized, Route::audience);
        let is_page = route.as_ref().is_some_and(Route::is_page);
        if let Err(denial) = access.check(&head, audience, is_page) {
            let is_otlp = matches!(route, Some(Route::Otlp(..)));
            let encoding = is_otlp.then(|| otlp::encoding(&head.headers)).flatten();
            return otlp::refused(encoding, denial.status(), denial.message());
        }
        if grpc::is_grpc(&head.headers) {
            return grpc::refusal();
        }
        let Some(route) = route else { return unknown() };
        if !route.methods().contains(&head.method) {
            return other_method(route.methods());
        }
        match route {
            Route::Page => page(),
            Route::Open(token) if access.opens(token) => opened(&access.cookie()),
            Route::Open(_) => text(
                StatusCode::UNAUTHORIZED,
                "the address is out of date; use the one that `watchkeeper watch` has printed",
            ),
            Route::Api(endpoint, id) => self.respond_api(endpoint, id, &head, body).await,
            Route::Health => self.health(),
            Route::Readiness => self.readiness(),
            Route::Metrics => {
                self.read(|Backend { monitor, .. }| {
                    let content_type = "text/plain; version=0.0.4; charset=utf-8";
                    complete(StatusCode::OK, content_type, exposition(&monitor.numbers()))
                })
                .await
            }
            Route::Otlp(signal, receiver) => {
                self.receive(receiver.clone(), signal, &head.headers, body).await
            }
        }
    }

    async fn respond_api(
        &self,
        endpoint: Endpoint,
        id: &str,
        head: &Parts,
        body: impl Body<Data = Bytes>,
    ) -> Response<ResponseBody> {
        match endpoint {
            Endpoint::Sessions => {
                self.read(|Backend { board, .. }| {
                    let (sessions, totals) = (board.rows(), board.totals());
                    json(StatusCode::OK, &Sessions { sessions, totals })
                })
                .await
            }
            Endpoint::Session => {
                let Some(id) = decoded(id) else { return unknown() };
                self.read(move |Backend { board, .. }| {
                    let detail = board.detail(&id);
                    detail.map_or_else(unknown, |detail| json(StatusCode::OK, &detail))
                })
                .await
            }
            Endpoint::Findings => {
                self.read(|Backend { board, .. }| {
                    json(StatusCode::OK, &Findings { findings: board.findings() })
                })
                .await
            }
            Endpoint::Budgets => {
                self.read(|Backend { board, .. }| {
                    json(StatusCode::OK, &Budgets { budgets: board.budgets() })
                })
                .await
            }
            Endpoint::Events => self.events(head),
            Endpoint::Description => json(StatusCode::OK, &openapi()),
            Endpoint::Quotas => {
                self.read(|Backend { board, .. }| {
                    json(StatusCode::OK, &Quotas { quotas: board.quotas() })
                })
                .await
            }
            Endpoint::Silences
            | Endpoint::Silence
            | Endpoint::Acknowledgements
            | Endpoint::Acknowledgement
            | Endpoint::History => self.respond_stored(endpoint, id, head, body).await,
        }
    }

    /// Answers a request about the objects in the state folder.
    async fn respond_stored(
        &self,
        endpoint: Endpoint,
        id: &str,
        head: &Parts,
        body: impl Body<Data = Bytes>,
    ) -> Response<ResponseBody> {
        let Backend { silences, acknowledgements, history, .. } = &self.0.backend;
        let request = StoreRequest::new(id, &head.method, body);
        match (endpoint, silences, acknowledgements, history) {
            (Endpoint::Silences | Endpoint::Silence, Some(store), ..) => {
                self.silences(store.clone(), &head.headers, request).await
            }
            (Endpoint::Acknowledgements | Endpoint::Acknowledgement, _, Some(store), _) => {
                self.acknowledgements(store.clone(), &head.headers, request).await
            }
            (Endpoint::History, .., Some(history)) => self.history(history.clone()).await,
            _ => {
                let message = "there is no state folder: set HOME or use --state-dir";
                text(StatusCode::NOT_FOUND, message)
            }
        }
    }

    fn events(&self, head: &Parts) -> Response<ResponseBody> {
        let Shared { streams, stopping, .. } = &*self.0;
        let last = head.headers.get("last-event-id").and_then(|id| id.to_str().ok());
        match streams.open(last, stopping.clone()) {
            Some(_) if head.method == Method::HEAD => {
                complete(StatusCode::OK, "text/event-stream", Bytes::new())
            }
            Some(stream) => {
                let body = ResponseBody::Events(Box::new(stream));
                response(StatusCode::OK, "text/event-stream", body)
            }
            None => busy("too many clients read events; close some pages"),
        }
    }

    fn health(&self) -> Response<ResponseBody> {
        if self.0.backend.monitor.is_running() {
            text(StatusCode::OK, "the monitor runs")
        } else {
            text(StatusCode::SERVICE_UNAVAILABLE, "the monitor has stopped")
        }
    }

    fn readiness(&self) -> Response<ResponseBody> {
        if self.0.backend.monitor.is_ready() {
            text(StatusCode::OK, "the monitor has read all recorded sessions")
        } else {
            busy("the monitor reads recorded sessions")
        }
    }

    /// Makes a response from the backend, on a thread for reads.
    async fn read(
        &self,
        answer: impl FnOnce(&Backend) -> Response<ResponseBody> + Send + 'static,
    ) -> Response<ResponseBody> {
        let Shared { reads, limits, .. } = &*self.0;
        let shared = self.0.clone();
        let answered = reads.run(limits.response_time, move || answer(&shared.backend)).await;
        answered.unwrap_or_else(unfinished)
    }

    async fn receive(
        &self,
        receiver: Arc<dyn OtlpReceiver>,
        signal: Signal,
        headers: &HeaderMap,
        body: impl Body<Data = Bytes>,
    ) -> Response<ResponseBody> {
        let Some(encoding) = otlp::encoding(headers) else { return otlp::unknown_encoding() };
        let Shared { bodies, limits, .. } = &*self.0;
        let body = match RequestBody::read(headers, body, bodies, limits).await {
            Ok(body) => body,
            Err(err) => return otlp::refused(Some(encoding), err.status(), err.message()),
        };
        let receive = move || receiver.receive(signal, encoding, body.bytes());
        match self.0.otlp_calls.run(limits.response_time, receive).await {
            Ok(result) => otlp::received(encoding, result),
            // A request that is sent again changes nothing.
            Err(Unfinished::Busy | Unfinished::Late) => {
                otlp::received(encoding, Err(OtlpRefusal::Busy))
            }
            Err(Unfinished::Panicked) => {
                otlp::refused(Some(encoding), StatusCode::INTERNAL_SERVER_ERROR, PANICKED)
            }
        }
    }

    /// Calls a store, on a thread for stores.
    pub(crate) async fn call_store<T: Send + 'static>(
        &self,
        call: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Unfinished> {
        self.0.store_calls.run(self.0.limits.response_time, call).await
    }
}

pub(crate) fn unfinished(err: Unfinished) -> Response<ResponseBody> {
    match err {
        Unfinished::Busy => busy("too many requests at a time; try again"),
        Unfinished::Late => busy("the request takes too long, and may still have its effect"),
        Unfinished::Panicked => text(StatusCode::INTERNAL_SERVER_ERROR, PANICKED),
    }
}

fn unknown() -> Response<ResponseBody> {
    text(StatusCode::NOT_FOUND, "there is nothing here")
}
