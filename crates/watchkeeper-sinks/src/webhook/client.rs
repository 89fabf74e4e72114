//! The HTTP client, and the authorities whose certificates it trusts.

use std::{
    fs::File,
    io::{self, Read as _},
    path::Path,
    time::Duration,
};

use ureq::{
    Agent, Proxy,
    tls::{PemItem, RootCerts, TlsConfig, parse_pem},
    unversioned::{resolver::DefaultResolver, transport::DefaultConnector},
};
use watchkeeper_core::author::{SinkError, make_safe};

use super::address::PublicResolver;

/// The longest time to connect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The longest head of a response, in bytes.
const MAX_HEAD: usize = 16 << 10;
/// The longest file of certificates, in bytes.
const MAX_CERTIFICATES: u64 = 1 << 20;

/// The options of the client.
#[derive(Clone, Copy, Debug)]
pub(super) struct ClientOptions {
    pub(super) timeout: Duration,
    pub(super) allow_private: bool,
    pub(super) proxy_from_environment: bool,
}

/// Makes a client that trusts certificates signed by `roots`.
pub(super) fn client(options: ClientOptions, roots: RootCerts) -> Agent {
    let ClientOptions { timeout, allow_private, proxy_from_environment } = options;
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
pub(super) fn read_authorities(path: &Path) -> Result<RootCerts, SinkError> {
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
