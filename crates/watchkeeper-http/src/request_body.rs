//! Reads the body of a request, as far as the limits allow.

use std::{future::poll_fn, io::Write, mem, pin::pin, sync::Arc};

use flate2::write::GzDecoder;
use hyper::{
    HeaderMap, StatusCode,
    body::{Body, Bytes},
    header::CONTENT_ENCODING,
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use crate::limits::Limits;

/// The unit in which the memory of bodies is counted, in bytes.
const UNIT: usize = 64 << 10;

/// The memory for the bodies of all requests of one kind.
#[derive(Clone, Debug)]
pub(crate) struct BodyMemory(Arc<Semaphore>);

/// A body that was read and decompressed. Its memory counts until it is dropped.
#[derive(Debug)]
pub(crate) struct RequestBody {
    bytes: Vec<u8>,
    _memory: Reserved,
}

/// The reason why a body was not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BodyError {
    TooLarge,
    /// All other bodies together leave no room.
    Busy,
    TooSlow,
    UnknownEncoding,
    Damaged,
    /// The client has closed the connection.
    Incomplete,
}

impl BodyError {
    pub(crate) const fn status(self) -> StatusCode {
        match self {
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Busy => StatusCode::SERVICE_UNAVAILABLE,
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::UnknownEncoding => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Damaged | Self::Incomplete => StatusCode::BAD_REQUEST,
        }
    }

    pub(crate) const fn message(self) -> &'static str {
        match self {
            Self::TooLarge => "the body is too large; send less at a time",
            Self::Busy => "too many bodies at a time; try again",
            Self::TooSlow => "the body took too long",
            Self::UnknownEncoding => "the content encoding is not `gzip` or `identity`",
            Self::Damaged => "the body is not valid gzip",
            Self::Incomplete => "the body is incomplete",
        }
    }
}

impl BodyMemory {
    pub(crate) fn new(n_bytes: usize) -> Self {
        Self(Arc::new(Semaphore::new(n_bytes / UNIT)))
    }
}

/// The part of the memory that a body uses.
#[derive(Debug)]
struct Reserved {
    memory: BodyMemory,
    permit: Option<OwnedSemaphorePermit>,
}

impl Reserved {
    /// Reserves memory for a body that has grown to `len` bytes.
    fn grow_to(&mut self, len: usize) -> Result<(), BodyError> {
        let present = self.permit.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let more = len.div_ceil(UNIT).saturating_sub(present);
        if more == 0 {
            return Ok(());
        }
        let more = u32::try_from(more).unwrap_or(u32::MAX);
        let permit = self.memory.0.clone().try_acquire_many_owned(more);
        let permit = permit.map_err(|_| BodyError::Busy)?;
        match &mut self.permit {
            Some(present) => present.merge(permit),
            present => *present = Some(permit),
        }
        Ok(())
    }
}

/// A body as far as it is decompressed.
#[derive(Debug)]
struct Growing {
    bytes: Vec<u8>,
    max: usize,
    reserved: Reserved,
    error: Option<BodyError>,
}

impl Growing {
    fn add(&mut self, bytes: &[u8]) -> Result<(), BodyError> {
        let len = self.bytes.len() + bytes.len();
        if self.max < len {
            return Err(BodyError::TooLarge);
        }
        self.reserved.grow_to(len)?;
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }
}

/// The output of the decompression.
impl Write for Growing {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.add(bytes).map_err(|err| {
            self.error = Some(err);
            std::io::ErrorKind::OutOfMemory
        })?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A body with its encoding.
enum Decoder {
    Identity(Growing),
    Gzip(Box<GzDecoder<Growing>>),
}

impl Decoder {
    fn new(headers: &HeaderMap, growing: Growing) -> Result<Self, BodyError> {
        let encoding = headers.get(CONTENT_ENCODING).map_or(Ok("identity"), |it| it.to_str());
        match encoding {
            Ok(encoding) if encoding.eq_ignore_ascii_case("identity") => {
                Ok(Self::Identity(growing))
            }
            Ok(encoding) if encoding.eq_ignore_ascii_case("gzip") => {
                Ok(Self::Gzip(Box::new(GzDecoder::new(growing))))
            }
            _ => Err(BodyError::UnknownEncoding),
        }
    }

    fn add(&mut self, bytes: &[u8]) -> Result<(), BodyError> {
        match self {
            Self::Identity(growing) => growing.add(bytes),
            Self::Gzip(decoder) => decoder
                .write_all(bytes)
                .map_err(|_| decoder.get_ref().error.unwrap_or(BodyError::Damaged)),
        }
    }

    fn finish(self) -> Result<Growing, BodyError> {
        match self {
            Self::Identity(growing) => Ok(growing),
            Self::Gzip(mut decoder) => {
                let finished = decoder.try_finish();
                let error = decoder.get_ref().error;
                finished.map_err(|_| error.unwrap_or(BodyError::Damaged))?;
                decoder.finish().map_err(|_| BodyError::Damaged)
            }
        }
    }
}

impl RequestBody {
    /// Reads and decompresses a body.
    pub(crate) async fn read(
        headers: &HeaderMap,
        body: impl Body<Data = Bytes>,
        memory: &BodyMemory,
        limits: &Limits,
    ) -> Result<Self, BodyError> {
        // Most clients send a length: refuse at once what they need not send.
        if body.size_hint().lower() > limits.body_bytes as u64 {
            return Err(BodyError::TooLarge);
        }
        let reserved = Reserved { memory: memory.clone(), permit: None };
        let max = limits.body_bytes;
        let growing = Growing { bytes: Vec::new(), max, reserved, error: None };
        let mut decoder = Decoder::new(headers, growing)?;
        let read = async {
            let mut body = pin!(body);
            let mut n_received = 0;
            while let Some(frame) = poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
                let frame = frame.map_err(|_| BodyError::Incomplete)?;
                // Trailers contain nothing of use.
                let Ok(bytes) = frame.into_data() else { continue };
                n_received += bytes.len();
                if max < n_received {
                    return Err(BodyError::TooLarge);
                }
                decoder.add(&bytes)?;
            }
            let mut growing = decoder.finish()?;
            Ok(Self { bytes: mem::take(&mut growing.bytes), _memory: growing.reserved })
        };
        timeout(limits.body_time, read).await.unwrap_or(Err(BodyError::TooSlow))
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}
