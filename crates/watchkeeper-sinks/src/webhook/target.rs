//! The receiver of a webhook.

use std::collections::BTreeMap;

use ureq::http::{HeaderMap, HeaderName, HeaderValue, Uri, header, uri::Scheme};
use watchkeeper_core::{
    InvalidOption,
    author::{Secret, make_safe},
};

use super::{
    address::{THIS_HOST, place_of_name},
    body::Body,
    options::WebhookOptions,
    signature::Keys,
};

/// Headers that a policy cannot set.
const OWN_HEADERS: &[HeaderName] = &[
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::CONTENT_TYPE,
    header::EXPECT,
    header::HOST,
    header::TRANSFER_ENCODING,
];

/// The receiver: its address, and the keys, headers and format of each request.
pub(super) struct Target {
    pub(super) url: Uri,
    pub(super) keys: Option<Keys>,
    pub(super) headers: HeaderMap,
    pub(super) body: Body,
}

impl Target {
    /// Checks the known secrets; returns `None` if a secret is unknown.
    pub(super) fn new(options: &WebhookOptions) -> Result<Option<Self>, InvalidOption> {
        let WebhookOptions { sign, headers, .. } = options;
        let url = options.url.expose().map(|text| parse_url(text, options)).transpose()?;
        let keys = match sign.as_ref().map(Secret::expose) {
            None => Some(None),
            Some(None) => None,
            Some(Some(text)) => Some(Some(Keys::parse(text).ok_or_else(|| {
                let reason = "must be `whsec_` followed by 24 to 64 bytes in base64";
                InvalidOption::new("sign", reason)
            })?)),
        };
        let headers = parse_headers(headers)?;
        let all = url.zip(keys).zip(headers).zip(Body::new(options)?);
        Ok(all.map(|(((url, keys), headers), body)| Self { url, keys, headers, body }))
    }
}

fn parse_url(text: &str, options: &WebhookOptions) -> Result<Uri, InvalidOption> {
    let WebhookOptions { allow_http, allow_private, .. } = *options;
    let invalid = |reason: &str| InvalidOption::new("url", reason.to_owned());
    let no_url = || invalid("must be an address such as `https://example.com/hook`");
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
