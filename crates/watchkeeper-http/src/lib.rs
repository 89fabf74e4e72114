#![doc = include_str!("../README.md")]

mod access;
mod acknowledgements;
mod address;
mod api;
mod backend;
mod connection;
mod event_stream;
mod exposition;
#[cfg(test)]
mod exposition_reader;
mod grpc;
mod history;
mod limits;
mod otlp;
mod percent;
mod refusal;
mod request_body;
mod response;
mod route;
mod router;
mod server;
mod silences;
mod stopping;
mod store_request;
mod stores;
mod stream;
mod token;
mod waiting_calls;

pub use self::{
    acknowledgements::{AcknowledgementRow, AcknowledgementStore, NewAcknowledgement},
    address::{Address, DEFAULT_PORT, ListenError, ParseAddressError},
    api::openapi,
    backend::{Backend, MonitorState},
    history::History,
    otlp::{OtlpReceiver, OtlpRefusal},
    refusal::ChangeRefusal,
    server::{Server, StartError},
    silences::{NewSilence, SilenceRow, SilenceStore},
    token::{InvalidToken, Token},
};
