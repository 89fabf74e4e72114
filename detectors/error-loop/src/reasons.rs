//! The reasons why a turn ends in an error that no other attempt repairs.

/// A reason that a person has to remove before the agent can go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// A limit of usage or of spending is reached, or the account is empty.
    Limit,
    /// The provider does not accept the credentials.
    Credentials,
    /// The prompt is longer than the context of the model.
    Length,
}

const LIMITS: &[&str] = &[
    "usage limit",
    "usage_limit",
    "usage_not_included",
    "session limit",
    "hourly limit",
    "hour limit",
    "daily limit",
    "weekly limit",
    "monthly limit",
    "spend limit",
    "spending limit",
    "spending cap",
    "plan limit",
    "extra usage",
    "credit balance",
    "out of credit",
    "no credits",
    "insufficient balance",
    "insufficient_balance",
    "insufficient credit",
    "insufficient_credit",
    "insufficient funds",
    "insufficient quota",
    "insufficient_quota",
    "current quota",
    "daily quota",
    "quota exceeded",
    "quota_exceeded",
    "exceeded your quota",
    "quota limit",
    "check quota",
    "exhausted your",
    "billing_error",
    "billing hard limit",
    "payment required",
    "budget has been exceeded",
    "budget exceeded",
    "max budget",
];

const CREDENTIALS: &[&str] = &[
    "authentication_error",
    "authentication error",
    "authentication failed",
    "401 unauthorized",
    "invalid api key",
    "invalid x-api-key",
    "incorrect api key",
    "missing api key",
    "no api key",
    "api key not valid",
    "run /login",
    "not logged in",
    "log in again",
    "sign in again",
    "oauth token",
    "token has expired",
    "token_expired",
    "token could not be refreshed",
    "refresh token",
];

const LENGTHS: &[&str] = &[
    "prompt is too long",
    "prompt too long",
    "input is too long",
    "request_too_large",
    "context_length_exceeded",
    "context length",
    "context limit",
    "context window",
    "contextoverflow",
];

/// The part of an error that is searched, in bytes: a client may add the whole response
/// of the provider.
const SEARCHED: usize = 600;

impl Reason {
    /// Returns the reason that the error of a harness states.
    ///
    /// A limit of the rate of requests is none: the same request succeeds a minute later.
    pub(crate) fn of(error: &str) -> Option<Self> {
        let end = (0..=SEARCHED.min(error.len())).rev().find(|at| error.is_char_boundary(*at));
        let error = error[..end.unwrap_or(0)].to_lowercase();
        let has = |part: &str| error.contains(part);
        let has_any = |parts: &[&str]| parts.iter().any(|part| has(part));
        if has_any(LENGTHS) {
            Some(Self::Length)
        } else if has("not your usage limit") {
            None
        } else if has_any(LIMITS)
            || has("limit") && has("hit your")
            || has("limit reached") && has("reset")
        {
            Some(Self::Limit)
        } else {
            has_any(CREDENTIALS).then_some(Self::Credentials)
        }
    }

    /// Returns the start of a message.
    pub(crate) const fn text(self) -> &'static str {
        match self {
            Self::Limit => "a limit ended the turn",
            Self::Credentials => "the turn ended because the provider refused the credentials",
            Self::Length => "the turn ended because the prompt is too long for the model",
        }
    }

    /// Returns the name in the data of a finding.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Limit => "limit",
            Self::Credentials => "credentials",
            Self::Length => "prompt_length",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Reason;

    #[test]
    fn reasons_of_errors() {
        let cases = [
            ("You've hit your limit · resets 3am (Asia/Tokyo)", Some(Reason::Limit)),
            ("You've hit your session limit · resets 3am", Some(Reason::Limit)),
            ("You've hit your Sonnet limit · resets Monday", Some(Reason::Limit)),
            ("You've hit your usage limit. Try again in 2 days.", Some(Reason::Limit)),
            ("5-hour limit reached ∙ resets 3am", Some(Reason::Limit)),
            ("You're out of extra usage · resets 4pm", Some(Reason::Limit)),
            ("Claude AI usage limit reached|1760000000", Some(Reason::Limit)),
            (r#"429 {"error":{"type":"usage_limit_reached"}}"#, Some(Reason::Limit)),
            ("Credit balance is too low", Some(Reason::Limit)),
            ("You have exhausted your daily quota on this model.", Some(Reason::Limit)),
            ("Resource has been exhausted (e.g. check quota).", Some(Reason::Limit)),
            ("402 Payment Required: Insufficient Balance", Some(Reason::Limit)),
            ("You exceeded your current quota, please check your plan", Some(Reason::Limit)),
            ("Invalid API key · Please run /login", Some(Reason::Credentials)),
            ("OAuth token has expired", Some(Reason::Credentials)),
            ("Your access token could not be refreshed.", Some(Reason::Credentials)),
            ("Prompt is too long", Some(Reason::Length)),
            ("input length and max_tokens exceed context limit", Some(Reason::Length)),
            ("Your input exceeds the context window of this model.", Some(Reason::Length)),
            // Another attempt succeeds.
            ("Rate limited (not your usage limit)", None),
            ("429 rate_limit_error: This request would exceed the rate limit", None),
            ("Rate limit reached on tokens per min: limit 30000, used 29000", None),
            ("529 overloaded_error: Overloaded", None),
            ("stream disconnected before completion", None),
            ("model not found", None),
            ("", None),
        ];
        for (error, reason) in cases {
            assert_eq!(Reason::of(error), reason, "{error}");
        }
        let long = format!("{}usage limit", "é".repeat(400));
        assert_eq!(Reason::of(&long), None);
    }
}
