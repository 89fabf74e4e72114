use std::collections::BTreeMap;

use ureq::http::{HeaderMap, HeaderName, HeaderValue, Uri, header, uri::Scheme};
use watchkeeper_core::{
    InvalidOption,
    author::{Secret, make_safe},
};

use super::address::{THIS_HOST, place_of_name};

/// Headers that a policy cannot set.
const OWN_HEADERS: &[HeaderName] = &[
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::CONTENT_TYPE,
    header::EXPECT,
    header::HOST,
    header::TRANSFER_ENCODING,
];

/// The receiver of requests: its address, and the headers that the policy adds to each of them.
pub(crate) struct Receiver {
    pub(crate) url: Uri,
    pub(crate) headers: HeaderMap,
}

/// The options that name a receiver.
pub(crate) struct ReceiverOptions<'a> {
    /// The name of the option with the address.
    pub(crate) name: &'static str,
    pub(crate) url: &'a Secret,
    /// An address that a message about an invalid one shows.
    pub(crate) example: &'static str,
    pub(crate) headers: &'a BTreeMap<String, Secret>,
    pub(crate) allow_http: bool,
    pub(crate) allow_private: bool,
}

impl Receiver {
    /// Checks the known secrets; returns `None` if a secret is unknown.
    pub(crate) fn new(options: &ReceiverOptions<'_>) -> Result<Option<Self>, InvalidOption> {
        let url = options.url.expose().map(|text| parse_url(text, options)).transpose()?;
        let headers = parse_headers(options.headers)?;
        Ok(url.zip(headers).map(|(url, headers)| Self { url, headers }))
    }

    /// Returns the receiver at a path below this one; `None` if the address has a query.
    pub(crate) fn at(&self, path: &str) -> Option<Self> {
        let path_and_query = self.url.path_and_query();
        if path_and_query.is_some_and(|it| it.query().is_some()) {
            return None;
        }
        let mut parts = self.url.clone().into_parts();
        let path = format!("{}/{path}", self.url.path().trim_end_matches('/'));
        parts.path_and_query = Some(path.parse().ok()?);
        let url = Uri::from_parts(parts).ok()?;
        Some(Self { url, headers: self.headers.clone() })
    }
}

fn parse_url(text: &str, options: &ReceiverOptions<'_>) -> Result<Uri, InvalidOption> {
    let ReceiverOptions { name, example, allow_http, allow_private, .. } = *options;
    let invalid = |reason: &str| InvalidOption::new(name, reason.to_owned());
    let no_url = || invalid(&format!("must be an address such as `{example}`"));
    let url: Uri = text.parse().map_err(|_| no_url())?;
    let (Some(scheme), Some(host)) = (url.scheme(), url.host()) else { return Err(no_url()) };
    if host.is_empty() || ![Scheme::HTTP, Scheme::HTTPS].contains(scheme) {
        return Err(no_url());
    }
    let place = place_of_name(host);
    if let Some(place) = place
        && !allow_private
    {
        return Err(invalid(&format!(
            "the host is an address {place}; set `allow_private = true` if the receiver is there"
        )));
    }
    if *scheme == Scheme::HTTP && !allow_http && place != Some(THIS_HOST) {
        return Err(invalid(
            "`http` lets anyone on the network path read the findings; use `https`, or set `allow_http = true`",
        ));
    }
    Ok(url)
}

fn parse_headers(headers: &BTreeMap<String, Secret>) -> Result<Option<HeaderMap>, InvalidOption> {
    let mut parsed = Some(HeaderMap::new());
    for (name, value) in headers {
        let shown = make_safe(name);
        let invalid = |reason: &str| InvalidOption::new("headers", format!("`{shown}` {reason}"));
        let name: HeaderName = name.parse().map_err(|_| invalid("is not a valid header name"))?;
        if OWN_HEADERS.contains(&name) || name.as_str().starts_with("webhook-") {
            return Err(invalid("is set by the sink itself"));
        }
        let Some(value) = value.expose() else {
            parsed = None;
            continue;
        };
        let mut value = HeaderValue::from_str(value)
            .map_err(|_| invalid("has a value that is not valid in a header"))?;
        value.set_sensitive(true);
        if let Some(parsed) = &mut parsed {
            parsed.insert(name, value);
        }
    }
    Ok(parsed)
}
