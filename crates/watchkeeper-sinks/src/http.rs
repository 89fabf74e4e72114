//! Requests to the receiver of a sink: where it may be, which certificates it may have, and
//! what its responses mean.

mod address;
mod client;
mod receiver;
mod response;
mod retry;

#[cfg(test)]
pub(crate) use self::{
    client::MAX_REQUEST,
    response::{MAX_RETRY_AFTER, MIN_RETRY_AFTER, retry_after_in},
};
pub(crate) use self::{
    client::{Client, ClientOptions},
    receiver::{Receiver, ReceiverOptions},
    response::Response,
    retry::{RetryOptions, schedule},
};
