#![doc = include_str!("../README.md")]

mod access;
mod address;
mod api;
mod backend;
mod connection;
mod event_stream;
mod grpc;
mod limits;
mod numbers;
mod otlp;
mod percent;
mod request_body;
mod response;
mod router;
mod server;
mod silences;
mod stopping;
mod stream;
mod token;

pub use self::{
    address::{Address, DEFAULT_PORT, ListenError, ParseAddressError},
    api::openapi,
    backend::{Backend, MonitorState},
    numbers::{FindingNumber, Numbers, SinkNumbers},
    otlp::{OtlpAccepted, OtlpBody, OtlpEncoding, OtlpReceiver, OtlpRefusal, OtlpSignal},
    server::{Server, StartError},
    silences::{NewSilence, SilenceRefusal, SilenceRow, SilenceStore},
    token::{InvalidToken, Token},
};
