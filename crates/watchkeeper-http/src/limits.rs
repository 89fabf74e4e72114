use std::time::Duration;

/// The bounds of a server. A client that exceeds one of them is refused or disconnected, and
/// delays nobody else.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// The number of connections, those of event streams among them.
    pub(crate) connections: usize,
    /// The number of event streams.
    pub(crate) streams: usize,
    /// The size of the head of a request.
    pub(crate) head_bytes: usize,
    /// The number of headers of a request.
    pub(crate) headers: usize,
    /// The time for the head of a request, and between two requests of a connection.
    pub(crate) head_time: Duration,
    /// The size of the body of a request, compressed and decompressed.
    pub(crate) body_bytes: usize,
    /// The size of a silence or an acknowledgement that is added.
    pub(crate) object_bytes: usize,
    /// The size of all bodies of telemetry that are in memory at a time.
    pub(crate) all_bodies: usize,
    /// The size of all silences and acknowledgements that are in memory at a time, however slow exporters are.
    pub(crate) all_objects: usize,
    /// The time for the body of a request.
    pub(crate) body_time: Duration,
    /// The time for a response, without the time that its client needs to read it.
    pub(crate) response_time: Duration,
    /// The time in which a client reads nothing of a response.
    pub(crate) unread_time: Duration,
    /// The time for open responses when the server stops.
    pub(crate) stop_time: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 256,
            streams: 128,
            head_bytes: 32 << 10,
            headers: 64,
            head_time: Duration::from_secs(20),
            body_bytes: 16 << 20,
            object_bytes: 16 << 10,
            all_bodies: 64 << 20,
            all_objects: 1 << 20,
            body_time: Duration::from_secs(30),
            response_time: Duration::from_secs(30),
            unread_time: Duration::from_secs(30),
            stop_time: Duration::from_secs(1),
        }
    }
}
