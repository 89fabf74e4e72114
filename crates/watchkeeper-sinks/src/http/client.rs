//! The HTTP client, and the authorities whose certificates it trusts.

use std::{
    fmt,
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
    time::Duration,
};

use ureq::{
    Agent, Proxy,
    http::{HeaderMap, header},
    tls::{PemItem, RootCerts, TlsConfig, parse_pem},
    unversioned::{resolver::DefaultResolver, transport::DefaultConnector},
};
use watchkeeper_core::{
    InvalidOption, Timestamp,
    author::{Period, SinkError, make_safe},
};

use super::{
    address::PublicResolver,
    receiver::Receiver,
    response::{Response, describe, retry_after_in},
};

/// The longest body of a request, in bytes.
pub(crate) const MAX_REQUEST: usize = 256 << 10;
/// The longest part of a response body that is read, in bytes.
const MAX_BODY: u64 = 64 << 10;
/// The longest time to connect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The longest head of a response, in bytes.
const MAX_HEAD: usize = 16 << 10;
/// The longest file of certificates, in bytes.
const MAX_CERTIFICATES: u64 = 1 << 20;

/// The options of the client.
#[derive(Clone, Debug)]
pub(crate) struct ClientOptions {
    /// The longest time of a request, from the name lookup to the end of the response.
    pub(crate) timeout: Period,
    /// The file of the authorities that sign the certificate of the receiver; `None` for
    /// those that browsers trust.
    pub(crate) ca_file: Option<PathBuf>,
    pub(crate) allow_private: bool,
    pub(crate) proxy_from_environment: bool,
}

/// A client that follows no redirects and, by default, connects to public addresses only.
pub(crate) struct Client {
    options: ClientOptions,
    /// `None` before the client is opened.
    agent: Option<Agent>,
}

impl Client {
    pub(crate) fn new(options: ClientOptions) -> Result<Self, InvalidOption> {
        if options.ca_file.as_ref().is_some_and(|path| path.as_os_str().is_empty()) {
            return Err(InvalidOption::new("ca_file", "is empty"));
        }
        Ok(Self { options, agent: None })
    }

    /// Reads the certificates of the authorities.
    pub(crate) fn open(&mut self) -> Result<(), SinkError> {
        let roots = match &self.options.ca_file {
            Some(path) => read_authorities(path)?,
            None => RootCerts::WebPki,
        };
        self.agent = Some(agent(&self.options, roots));
        Ok(())
    }

    /// Posts a body, and returns the response whatever its status is. `headers` are added to
    /// those of the receiver, which replace them.
    pub(crate) fn post(
        &self,
        receiver: &Receiver,
        content_type: &str,
        headers: &HeaderMap,
        body: String,
        now: Timestamp,
    ) -> Result<Response, SinkError> {
        if MAX_REQUEST < body.len() {
            let len = body.len();
            let reason = format!("the request has {len} bytes, and may have {MAX_REQUEST}");
            return Err(SinkError::refused(reason));
        }
        let Some(agent) = &self.agent else {
            return Err(SinkError::refused("the sink was not opened"));
        };
        let mut request = agent.post(&receiver.url).header(header::CONTENT_TYPE, content_type);
        for (name, value) in headers.iter().chain(&receiver.headers) {
            request = request.header(name, value);
        }
        let mut response = request.send(body).map_err(|err| {
            SinkError::unavailable(describe(&err, &receiver.url, self.options.timeout))
        })?;
        // Reading the response to its end allows the connection to be reused. A failure does
        // not matter: the status is known.
        let mut body = Vec::new();
        response.body_mut().as_reader().take(MAX_BODY).read_to_end(&mut body).ok();
        let retry_after = response.headers().get(header::RETRY_AFTER);
        let retry_after = retry_after.and_then(|it| retry_after_in(it.to_str().ok()?, now));
        Ok(Response { status: response.status(), retry_after, body })
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { options, agent: _ } = self;
        f.debug_struct("Client").field("options", options).finish_non_exhaustive()
    }
}

/// Makes a client that trusts certificates signed by `roots`.
fn agent(options: &ClientOptions, roots: RootCerts) -> Agent {
    let ClientOptions { timeout, allow_private, proxy_from_environment, .. } = *options;
    let timeout = timeout.unsigned();
    let proxy = if proxy_from_environment { Proxy::try_from_env() } else { None };
    let config = Agent::config_builder()
        .tls_config(TlsConfig::builder().root_certs(roots).build())
        .timeout_global(Some(timeout))
        .timeout_connect(Some(timeout.min(CONNECT_TIMEOUT)))
        .max_redirects(0)
        .max_redirects_will_error(false)
        .http_status_as_error(false)
        .max_response_header_size(MAX_HEAD)
        .proxy(proxy)
        .user_agent(concat!("watchkeeper/", env!("CARGO_PKG_VERSION")))
        .build();
    if allow_private {
        return config.into();
    }
    let resolver = PublicResolver(DefaultResolver::default());
    Agent::with_parts(config, DefaultConnector::default(), resolver)
}

/// Reads the certificates of the authorities in a file.
fn read_authorities(path: &Path) -> Result<RootCerts, SinkError> {
    let shown = make_safe(&path.display().to_string());
    let unavailable = |err: io::Error| {
        SinkError::unavailable(format!("cannot read `ca_file` {shown}")).with_source(err)
    };
    let invalid = |reason: &str| SinkError::unavailable(format!("`ca_file` {shown} {reason}"));
    // Reading a pipe or a device may take forever.
    if !path.metadata().map_err(unavailable)?.is_file() {
        return Err(invalid("is not a regular file"));
    }
    let mut pem = Vec::new();
    let file = File::open(path).map_err(unavailable)?;
    file.take(MAX_CERTIFICATES + 1).read_to_end(&mut pem).map_err(unavailable)?;
    if MAX_CERTIFICATES < pem.len() as u64 {
        return Err(invalid("has more than 1 MiB"));
    }
    let mut certificates = Vec::new();
    for item in parse_pem(&pem) {
        match item {
            Ok(PemItem::Certificate(certificate)) => certificates.push(certificate),
            Ok(_) => {}
            Err(_) => return Err(invalid("is not a file of certificates in PEM format")),
        }
    }
    if certificates.is_empty() {
        return Err(invalid("contains no certificate"));
    }
    Ok(RootCerts::new_with_certs(&certificates))
}
