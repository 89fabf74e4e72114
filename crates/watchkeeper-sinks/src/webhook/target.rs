//! The receiver of a webhook, with the keys and the format of its requests.

use watchkeeper_core::{InvalidOption, author::Secret};

use super::{body::Body, options::WebhookOptions, signature::Keys};
use crate::http::{Receiver, ReceiverOptions};

pub(super) struct Target {
    pub(super) receiver: Receiver,
    pub(super) keys: Option<Keys>,
    pub(super) body: Body,
}

impl Target {
    /// Checks the known secrets; returns `None` if a secret is unknown.
    pub(super) fn new(options: &WebhookOptions) -> Result<Option<Self>, InvalidOption> {
        let WebhookOptions { url, sign, headers, allow_http, allow_private, .. } = options;
        let receiver = Receiver::new(&ReceiverOptions {
            name: "url",
            url,
            example: "https://example.com/hook",
            headers,
            allow_http: *allow_http,
            allow_private: *allow_private,
        })?;
        let keys = match sign.as_ref().map(Secret::expose) {
            None => Some(None),
            Some(None) => None,
            Some(Some(text)) => Some(Some(Keys::parse(text).ok_or_else(|| {
                let reason = "must be `whsec_` followed by 24 to 64 bytes in base64";
                InvalidOption::new("sign", reason)
            })?)),
        };
        let all = receiver.zip(keys).zip(Body::new(options)?);
        Ok(all.map(|((receiver, keys), body)| Self { receiver, keys, body }))
    }
}
