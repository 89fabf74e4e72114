//! The routes of what the state folder has: silences, acknowledgements and the history.

use std::sync::Arc;

use hyper::{
    Response, StatusCode,
    body::{Body, Bytes},
    header::HeaderMap,
};
use serde::de::DeserializeOwned;
use watchkeeper_sources::otlp::Encoding;

use crate::{
    acknowledgements::AcknowledgementStore,
    api::{AcknowledgementList, HistoryList, SilenceList},
    history::History,
    limits::Limits,
    otlp,
    refusal::ChangeRefusal,
    request_body::RequestBody,
    response::{ResponseBody, busy, json, text},
    router::{Router, unfinished},
    silences::SilenceStore,
    store_request::StoreRequest,
    waiting_calls::Unfinished,
};

/// The number of findings of the history that a response contains.
const MAX_HISTORY: usize = 500;

impl Router {
    pub(crate) async fn silences<B: Body<Data = Bytes>>(
        &self,
        store: Arc<dyn SilenceStore>,
        headers: &HeaderMap,
        request: StoreRequest<B>,
    ) -> Response<ResponseBody> {
        match request {
            StoreRequest::List => {
                let active = self.call_store(move || store.active()).await;
                respond(active, StatusCode::OK, |silences| SilenceList { silences })
            }
            StoreRequest::Add(body) => match self.body(headers, body).await {
                Ok(silence) => {
                    let added = self.call_store(move || store.add(silence)).await;
                    respond(added, StatusCode::CREATED, |silence| silence)
                }
                Err(refusal) => refusal,
            },
            StoreRequest::Remove(id) => {
                let ended = self.call_store(move || store.expire(&id)).await;
                respond(ended, StatusCode::OK, |silence| silence)
            }
        }
    }

    pub(crate) async fn acknowledgements<B: Body<Data = Bytes>>(
        &self,
        store: Arc<dyn AcknowledgementStore>,
        headers: &HeaderMap,
        request: StoreRequest<B>,
    ) -> Response<ResponseBody> {
        match request {
            StoreRequest::List => {
                let all = self.call_store(move || store.all()).await;
                respond(all, StatusCode::OK, |acknowledgements| AcknowledgementList {
                    acknowledgements,
                })
            }
            StoreRequest::Add(body) => match self.body(headers, body).await {
                Ok(acknowledgement) => {
                    let added = self.call_store(move || store.add(acknowledgement)).await;
                    respond(added, StatusCode::CREATED, |acknowledgement| acknowledgement)
                }
                Err(refusal) => refusal,
            },
            StoreRequest::Remove(id) => {
                let removed = self.call_store(move || store.remove(&id)).await;
                respond(removed, StatusCode::OK, |acknowledgement| acknowledgement)
            }
        }
    }

    pub(crate) async fn history(&self, history: Arc<dyn History>) -> Response<ResponseBody> {
        let latest = self.call_store(move || history.latest(MAX_HISTORY)).await;
        respond(latest, StatusCode::OK, |findings| HistoryList { findings })
    }

    /// Reads the object in the body of a request.
    async fn body<T: DeserializeOwned>(
        &self,
        headers: &HeaderMap,
        body: impl Body<Data = Bytes>,
    ) -> Result<T, Response<ResponseBody>> {
        // A form of another page cannot send this content type without permission.
        if otlp::encoding(headers) != Some(Encoding::Json) {
            let message = "the content type is not `application/json`";
            return Err(text(StatusCode::UNSUPPORTED_MEDIA_TYPE, message));
        }
        let limits = Limits { body_bytes: self.limits().object_bytes, ..*self.limits() };
        let body = RequestBody::read(headers, body, self.object_bodies(), &limits).await;
        let body = body.map_err(|err| text(err.status(), err.message()))?;
        serde_json::from_slice(body.bytes())
            .map_err(|err| text(StatusCode::BAD_REQUEST, &err.to_string()))
    }
}

fn respond<T, R: serde::Serialize>(
    result: Result<Result<T, ChangeRefusal>, Unfinished>,
    status: StatusCode,
    object: impl FnOnce(T) -> R,
) -> Response<ResponseBody> {
    match result {
        Ok(Ok(value)) => json(status, &object(value)),
        Ok(Err(ChangeRefusal::Invalid(reason))) => text(StatusCode::BAD_REQUEST, &reason),
        Ok(Err(ChangeRefusal::Unknown)) => {
            text(StatusCode::NOT_FOUND, "nothing active has this id")
        }
        Ok(Err(ChangeRefusal::Busy(reason))) => busy(&reason),
        Ok(Err(ChangeRefusal::Failed(reason))) => text(StatusCode::INTERNAL_SERVER_ERROR, &reason),
        Err(err) => unfinished(err),
    }
}
