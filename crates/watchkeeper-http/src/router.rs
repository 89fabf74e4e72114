//! The routes of the server.

use std::sync::Arc;

use hyper::{
    Method, Request, Response, StatusCode,
    body::{Body, Bytes},
    header::HeaderMap,
    http::request::Parts,
};
use tokio::{task::spawn_blocking, time::timeout};

use crate::{
    access::{Access, Audience},
    api::{Findings, Sessions, SilenceList, openapi},
    backend::Backend,
    event_stream::EventStreams,
    grpc,
    limits::Limits,
    otlp::{self, OtlpBody, OtlpEncoding, OtlpReceiver, OtlpRefusal, OtlpSignal},
    percent::decoded,
    request_body::{BodyMemory, RequestBody},
    response::{ResponseBody, busy, complete, json, opened, other_method, page, response, text},
    silences::{NewSilence, SilenceRefusal, SilenceStore},
    stopping::Stopping,
};

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
}

/// The paths with an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Route<'p> {
    Page,
    /// The address with the token.
    Open(&'p str),
    Sessions,
    Session(&'p str),
    Findings,
    Events,
    Silences,
    Silence(&'p str),
    Description,
    Health,
    Readiness,
    Metrics,
    Otlp(OtlpSignal),
    Unknown,
}

impl<'p> Route<'p> {
    fn of(path: &'p str) -> Self {
        let one = |prefix| path.strip_prefix(prefix).filter(|rest: &&str| !rest.contains('/'));
        match path {
            "/" => Self::Page,
            "/api/v1/sessions" => Self::Sessions,
            "/api/v1/findings" => Self::Findings,
            "/api/v1/events" => Self::Events,
            "/api/v1/silences" => Self::Silences,
            "/api/v1/openapi.json" => Self::Description,
            "/healthz" => Self::Health,
            "/readyz" => Self::Readiness,
            "/metrics" => Self::Metrics,
            "/v1/logs" => Self::Otlp(OtlpSignal::Logs),
            "/v1/traces" => Self::Otlp(OtlpSignal::Traces),
            "/v1/metrics" => Self::Otlp(OtlpSignal::Metrics),
            _ => one("/open/")
                .map(Self::Open)
                .or_else(|| one("/api/v1/sessions/").map(Self::Session))
                .or_else(|| one("/api/v1/silences/").map(Self::Silence))
                .unwrap_or(Self::Unknown),
        }
    }

    const fn audience(self) -> Audience {
        match self {
            Self::Health | Self::Readiness | Self::Open(_) => Audience::All,
            Self::Metrics | Self::Otlp(_) => Audience::Programs,
            _ => Audience::Authorized,
        }
    }

    /// The methods, as in the header `Allow`.
    const fn methods(self) -> &'static str {
        match self {
            Self::Otlp(_) => "POST",
            Self::Silences => "GET, HEAD, POST",
            Self::Silence(_) => "DELETE",
            _ => "GET, HEAD",
        }
    }
}

impl Router {
    /// Must be called in the runtime. `epoch` is different in each process.
    pub(crate) fn new(
        access: Arc<Access>,
        backend: Backend,
        epoch: String,
        stopping: Stopping,
        limits: Limits,
    ) -> Self {
        let bodies = BodyMemory::new(&limits);
        let streams = EventStreams::new(backend.board.clone(), epoch, limits.streams);
        let streams = Arc::new(streams);
        Self(Arc::new(Shared { access, backend, streams, stopping, limits, bodies }))
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.0.limits
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
        let route = Route::of(head.uri.path());
        let is_page = matches!(route, Route::Page | Route::Open(_));
        if let Err(denial) = self.0.access.check(&head, route.audience(), is_page) {
            return text(denial.status(), denial.message());
        }
        if grpc::is_grpc(&head.headers) {
            return grpc::refusal();
        }
        let Shared { backend, access, .. } = &*self.0;
        let is_known = match route {
            Route::Unknown => false,
            Route::Otlp(_) => backend.otlp.is_some(),
            _ => true,
        };
        if !is_known {
            return unknown();
        }
        if !route.methods().split(", ").any(|method| method == head.method.as_str()) {
            return other_method(route.methods());
        }
        match route {
            Route::Page => page(),
            Route::Open(token) if access.opens(token) => opened(&access.cookie()),
            Route::Open(_) => text(
                StatusCode::UNAUTHORIZED,
                "the address is out of date; use the one that `watchkeeper watch` has printed",
            ),
            Route::Sessions => {
                let (sessions, totals) = (backend.board.rows(), backend.board.totals());
                json(StatusCode::OK, &Sessions { sessions, totals })
            }
            Route::Session(id) => {
                let detail = decoded(id).and_then(|id| backend.board.detail(&id));
                detail.map_or_else(unknown, |detail| json(StatusCode::OK, &detail))
            }
            Route::Findings => {
                json(StatusCode::OK, &Findings { findings: backend.board.findings() })
            }
            Route::Events => self.events(&head),
            Route::Description => json(StatusCode::OK, &openapi()),
            Route::Health => self.health(),
            Route::Readiness => self.readiness(),
            Route::Metrics => {
                let content_type = "text/plain; version=0.0.4; charset=utf-8";
                complete(StatusCode::OK, content_type, backend.monitor.numbers().render())
            }
            Route::Silences | Route::Silence(_) => {
                let Some(store) = backend.silences.clone() else {
                    let message = "there is no folder for silences: set HOME or use --state-dir";
                    return text(StatusCode::NOT_FOUND, message);
                };
                match route {
                    Route::Silence(id) => self.expire_silence(store, id.to_owned()).await,
                    _ if head.method == Method::POST => {
                        self.add_silence(store, &head.headers, body).await
                    }
                    _ => self.silences(store).await,
                }
            }
            Route::Otlp(signal) => match backend.otlp.clone() {
                Some(receiver) => self.receive(receiver, signal, &head.headers, body).await,
                None => unknown(),
            },
            Route::Unknown => unknown(),
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

    async fn silences(&self, store: Arc<dyn SilenceStore>) -> Response<ResponseBody> {
        let active = self.blocking(move || store.active()).await;
        silence_response(active, |silences| json(StatusCode::OK, &SilenceList { silences }))
    }

    async fn add_silence(
        &self,
        store: Arc<dyn SilenceStore>,
        headers: &HeaderMap,
        body: impl Body<Data = Bytes>,
    ) -> Response<ResponseBody> {
        // A form of another page cannot send this content type without permission.
        if OtlpEncoding::of(headers) != Some(OtlpEncoding::Json) {
            let message = "the content type is not `application/json`";
            return text(StatusCode::UNSUPPORTED_MEDIA_TYPE, message);
        }
        let Shared { bodies, limits, .. } = &*self.0;
        let limits = Limits { body_bytes: limits.silence_bytes, ..*limits };
        let body = match RequestBody::read(headers, body, bodies, &limits).await {
            Ok(body) => body,
            Err(err) => return text(err.status(), err.message()),
        };
        let silence: NewSilence = match serde_json::from_slice(body.bytes()) {
            Ok(silence) => silence,
            Err(err) => return text(StatusCode::BAD_REQUEST, &err.to_string()),
        };
        let added = self.blocking(move || store.add(silence)).await;
        silence_response(added, |silence| json(StatusCode::CREATED, &silence))
    }

    async fn expire_silence(
        &self,
        store: Arc<dyn SilenceStore>,
        id: String,
    ) -> Response<ResponseBody> {
        let ended = self.blocking(move || store.expire(&id)).await;
        silence_response(ended, |silence| json(StatusCode::OK, &silence))
    }

    async fn receive(
        &self,
        receiver: Arc<dyn OtlpReceiver>,
        signal: OtlpSignal,
        headers: &HeaderMap,
        body: impl Body<Data = Bytes>,
    ) -> Response<ResponseBody> {
        let Some(encoding) = OtlpEncoding::of(headers) else { return otlp::unknown_encoding() };
        let Shared { bodies, limits, .. } = &*self.0;
        let body = match RequestBody::read(headers, body, bodies, limits).await {
            Ok(body) => body,
            Err(err) => return text(err.status(), err.message()),
        };
        let receive = move || receiver.receive(OtlpBody { signal, encoding, bytes: body.bytes() });
        match self.blocking(receive).await {
            Ok(result) => otlp::received(signal, encoding, result),
            Err(Unfinished::Late) => otlp::received(signal, encoding, Err(OtlpRefusal::Busy)),
            Err(Unfinished::Panicked) => panicked(),
        }
    }

    /// Calls a function that may wait, on another thread.
    async fn blocking<T: Send + 'static>(
        &self,
        call: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Unfinished> {
        match timeout(self.0.limits.response_time, spawn_blocking(call)).await {
            Ok(Ok(result)) => Ok(result),
            Ok(Err(_)) => Err(Unfinished::Panicked),
            Err(_) => Err(Unfinished::Late),
        }
    }
}

/// A call on another thread has no result.
enum Unfinished {
    Late,
    Panicked,
}

fn silence_response<T>(
    result: Result<Result<T, SilenceRefusal>, Unfinished>,
    respond: impl FnOnce(T) -> Response<ResponseBody>,
) -> Response<ResponseBody> {
    match result {
        Ok(Ok(silence)) => respond(silence),
        Ok(Err(SilenceRefusal::Invalid(reason))) => text(StatusCode::BAD_REQUEST, &reason),
        Ok(Err(SilenceRefusal::Unknown)) => {
            text(StatusCode::NOT_FOUND, "no active silence has this id")
        }
        Ok(Err(SilenceRefusal::Failed(reason))) => text(StatusCode::INTERNAL_SERVER_ERROR, &reason),
        Err(Unfinished::Late) => busy("the silences are in use by another program; try again"),
        Err(Unfinished::Panicked) => panicked(),
    }
}

fn panicked() -> Response<ResponseBody> {
    text(StatusCode::INTERNAL_SERVER_ERROR, "this is a bug of watchkeeper: the handler panicked")
}

fn unknown() -> Response<ResponseBody> {
    text(StatusCode::NOT_FOUND, "there is nothing here")
}
