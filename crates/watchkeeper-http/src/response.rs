//! Responses, each with the headers that keep its content from other pages.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll, ready},
};

use hyper::{
    Method, Response, StatusCode,
    body::{Body, Bytes, Frame, SizeHint},
    header::{
        ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, HeaderValue,
        LOCATION, REFERRER_POLICY, RETRY_AFTER, SET_COOKIE, X_CONTENT_TYPE_OPTIONS,
        X_FRAME_OPTIONS,
    },
};
use serde::Serialize;

use crate::event_stream::EventStream;

/// The headers of every response. Only the page has another policy for content.
const HEADERS: [(HeaderName, HeaderValue); 7] = [
    (CACHE_CONTROL, HeaderValue::from_static("no-store")),
    (
        CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(
            "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        ),
    ),
    (
        HeaderName::from_static("cross-origin-opener-policy"),
        HeaderValue::from_static("same-origin"),
    ),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        HeaderValue::from_static("same-origin"),
    ),
    (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
];

/// The time after which a client that was refused for want of room may try again, in seconds.
const RETRY_SECONDS: u16 = 1;

/// The body of a response.
#[derive(Debug)]
pub(crate) enum ResponseBody {
    Complete(Bytes),
    Events(Box<EventStream>),
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let next = match &mut *self {
            Self::Complete(rest) => {
                let rest = std::mem::take(rest);
                Some(rest).filter(|rest| !rest.is_empty())
            }
            Self::Events(events) => ready!(events.poll_next(cx)),
        };
        Poll::Ready(next.map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Complete(rest) if rest.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Complete(rest) => SizeHint::with_exact(rest.len() as u64),
            Self::Events(_) => SizeHint::default(),
        }
    }
}

/// Makes a response.
pub(crate) fn response(
    status: StatusCode,
    content_type: &'static str,
    body: ResponseBody,
) -> Response<ResponseBody> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().extend(HEADERS);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// Makes a complete response.
pub(crate) fn complete(
    status: StatusCode,
    content_type: &'static str,
    body: impl Into<Bytes>,
) -> Response<ResponseBody> {
    response(status, content_type, ResponseBody::Complete(body.into()))
}

/// Makes a response of one line for people.
pub(crate) fn text(status: StatusCode, message: &str) -> Response<ResponseBody> {
    complete(status, "text/plain; charset=utf-8", format!("{message}\n"))
}

/// Makes a response of the API.
pub(crate) fn json(status: StatusCode, value: &impl Serialize) -> Response<ResponseBody> {
    match serde_json::to_vec(value) {
        Ok(json) => complete(status, "application/json", json),
        Err(err) => text(StatusCode::INTERNAL_SERVER_ERROR, &err.to_string()),
    }
}

/// Makes the response to a client that may try again in a moment.
pub(crate) fn busy(message: &str) -> Response<ResponseBody> {
    with_retry(text(StatusCode::SERVICE_UNAVAILABLE, message))
}

/// Adds the time after which the client may try again.
pub(crate) fn with_retry(mut response: Response<ResponseBody>) -> Response<ResponseBody> {
    response.headers_mut().insert(RETRY_AFTER, RETRY_SECONDS.into());
    response
}

/// Makes the response to a method that a route does not have.
pub(crate) fn other_method(methods: &[Method]) -> Response<ResponseBody> {
    let allowed = methods.iter().map(Method::as_str).collect::<Vec<_>>().join(", ");
    let message = format!("the method here is one of {allowed}");
    let mut response = text(StatusCode::METHOD_NOT_ALLOWED, &message);
    let allowed = HeaderValue::try_from(allowed).expect("a method has no special characters");
    response.headers_mut().insert(ALLOW, allowed);
    response
}

/// Makes the response with the live page.
pub(crate) fn page() -> Response<ResponseBody> {
    let page = watchkeeper_page::live_page(env!("CARGO_PKG_VERSION"));
    let mut response = complete(StatusCode::OK, "text/html; charset=utf-8", page);
    let policy = format!("{}; frame-ancestors 'none'", watchkeeper_page::LIVE_POLICY);
    let policy = HeaderValue::try_from(policy).expect("the hashes have no special characters");
    response.headers_mut().insert(CONTENT_SECURITY_POLICY, policy);
    response
}

/// Makes the response that stores the token as a cookie, and shows the page.
pub(crate) fn opened(cookie: &str) -> Response<ResponseBody> {
    let mut response = text(StatusCode::SEE_OTHER, "the page is at /");
    response.headers_mut().insert(LOCATION, HeaderValue::from_static("/"));
    let cookie = HeaderValue::try_from(cookie).expect("a token has no special characters");
    response.headers_mut().insert(SET_COOKIE, cookie);
    response
}
