//! Signatures of Standard Webhooks 1.0.0.

use base64::{
    Engine,
    alphabet::STANDARD,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use ring::hmac;

/// Decodes keys with and without padding: receivers issue both.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The keys that sign a message: one key, or two during a rotation.
pub(super) struct Keys(Vec<hmac::Key>);

impl Keys {
    /// Parses keys separated by spaces; returns `None` if one of them is invalid.
    pub(super) fn parse(text: &str) -> Option<Self> {
        /// The length of a key, in bytes.
        const LEN: std::ops::RangeInclusive<usize> = 24..=64;
        let key = |word: &str| {
            let bytes = BASE64.decode(word.strip_prefix("whsec_")?).ok()?;
            LEN.contains(&bytes.len()).then(|| hmac::Key::new(hmac::HMAC_SHA256, &bytes))
        };
        let keys: Vec<_> = text.split_ascii_whitespace().map(key).collect::<Option<_>>()?;
        (!keys.is_empty()).then_some(Self(keys))
    }

    /// Signs a message, once with each key.
    pub(super) fn sign(&self, id: &str, timestamp: i64, body: &str) -> String {
        let message = format!("{id}.{timestamp}.{body}");
        let sign = |key| BASE64.encode(hmac::sign(key, message.as_bytes()));
        let signatures: Vec<_> = self.0.iter().map(|it| format!("v1,{}", sign(it))).collect();
        signatures.join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::Keys;

    const KEY: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    fn sign(keys: &str) -> String {
        let keys = Keys::parse(keys).expect("the keys are valid");
        keys.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, r#"{"test": 2432232314}"#)
    }

    #[test]
    fn signs_the_example_of_the_standard() {
        assert_eq!(sign(KEY), "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn two_keys_make_two_signatures() {
        let other = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
        assert_eq!(sign(&format!("{KEY} {other}")), format!("{} {}", sign(KEY), sign(other)));
        assert_ne!(sign(KEY), sign(other));
    }

    #[test]
    fn padding_is_optional() {
        let padded = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA==";
        assert_eq!(sign(padded), sign(padded.trim_end_matches('=')));
    }

    #[test]
    fn invalid_keys_are_refused() {
        for text in [
            "",
            "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            "whsec_",
            "whsec_c2hvcnQ=",
            "whsec_!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!",
            &format!("whsec_{}", "A".repeat(88)),
            &format!("{KEY} other"),
        ] {
            assert!(Keys::parse(text).is_none(), "{text}");
        }
    }
}
