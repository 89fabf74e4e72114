use std::sync::Arc;

use hyper::Method;
use watchkeeper_sources::otlp::Signal;

use crate::{
    access::Audience,
    api::{Endpoint, READ},
    backend::Backend,
    otlp::OtlpReceiver,
};

/// A path with an answer.
pub(crate) enum Route<'r> {
    Page,
    /// The address with a token.
    Open(&'r str),
    /// A path of the API, with the id in the path; empty without one.
    Api(Endpoint, &'r str),
    Health,
    Readiness,
    Metrics,
    Otlp(Signal, &'r Arc<dyn OtlpReceiver>),
}

impl<'r> Route<'r> {
    /// Returns the route of a path, if a server with this backend has one.
    pub(crate) fn of(path: &'r str, backend: &'r Backend) -> Option<Self> {
        let otlp = |signal| Some(Self::Otlp(signal, backend.otlp.as_ref()?));
        match path {
            "/" => Some(Self::Page),
            "/healthz" => Some(Self::Health),
            "/readyz" => Some(Self::Readiness),
            "/metrics" => Some(Self::Metrics),
            "/v1/logs" => otlp(Signal::Logs),
            "/v1/traces" => otlp(Signal::Traces),
            "/v1/metrics" => otlp(Signal::Metrics),
            _ => match path.strip_prefix("/open/") {
                Some(token) => (!token.contains('/')).then_some(Self::Open(token)),
                None => Endpoint::of(path).map(|(endpoint, id)| Self::Api(endpoint, id)),
            },
        }
    }

    pub(crate) const fn audience(&self) -> Audience {
        match self {
            Self::Health | Self::Readiness | Self::Open(_) => Audience::All,
            Self::Metrics | Self::Otlp(..) => Audience::Programs,
            Self::Page | Self::Api(..) => Audience::Authorized,
        }
    }

    pub(crate) const fn methods(&self) -> &'static [Method] {
        match self {
            Self::Api(endpoint, _) => endpoint.methods(),
            Self::Otlp(..) => POST,
            _ => READ,
        }
    }

    /// Returns whether a person opens the path in a browser.
    pub(crate) const fn is_page(&self) -> bool {
        matches!(self, Self::Page | Self::Open(_))
    }
}

const POST: &[Method] = &[Method::POST];
