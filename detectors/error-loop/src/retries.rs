//! Failed model calls that the harness retries.

use std::collections::VecDeque;

use watchkeeper_core::{
    Context, EventKind, Fingerprint, Report, SignedDuration, Timestamp,
    author::{Elapsed, Place},
    quote,
};

use crate::failure::is_provider_failure;

/// The measure of an error after which the harness gave up: the known harnesses
/// (Codex, Claude Code, Gemini CLI and opencode) try from seven to thirty
/// times.
const MIN_ATTEMPTS: u64 = 5;
/// The largest number of retries that are kept.
const MAX_RETRIES: usize = 64;

/// The recent failed attempts of one agent to get a response from its model.
#[derive(Clone, Debug, Default)]
pub(crate) struct Retries {
    attempts: Option<Box<Attempts>>,
}

#[derive(Clone, Debug, Default)]
struct Attempts {
    /// The times of the failed attempts that still count.
    times: VecDeque<Timestamp>,
    first: Option<Place>,
}

impl Retries {
    pub(crate) fn observe(
        &mut self,
        event: &EventKind,
        within: SignedDuration,
        cx: &mut Context<'_>,
    ) {
        let (message, attempt) = match event {
            EventKind::Error { message, retry: Some(attempt) } => (message, Some(*attempt)),
            EventKind::Error { message, retry: None } if is_provider_failure(message) => {
                (message, None)
            }
            _ => return,
        };
        let attempts = self.attempts.get_or_insert_default();
        attempts.add(message, attempt.map(u64::from), within, cx);
    }

    pub(crate) fn wake(&mut self, within: SignedDuration, cx: &mut Context<'_>) {
        let Some(attempts) = &mut self.attempts else { return };
        attempts.drop_old(within, cx.now());
        if let Some(latest) = attempts.times.back() {
            cx.wake_at(*latest + within);
            return;
        }
        cx.resolve(Fingerprint::NONE, || {
            Report::new(format!("no further retries for {}", Elapsed(within)))
        });
        self.attempts = None;
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.attempts.is_none()
    }
}

impl Attempts {
    /// Adds a failed attempt. `attempt` is the number that the harness counted;
    /// `None` if the harness gave up.
    fn add(
        &mut self,
        message: &str,
        attempt: Option<u64>,
        within: SignedDuration,
        cx: &mut Context<'_>,
    ) {
        let now = cx.now();
        self.drop_old(within, now);
        if self.times.is_empty() {
            self.first = cx.place();
        }
        if self.times.len() == MAX_RETRIES {
            self.times.pop_front();
        }
        self.times.push_back(now);
        let since = *self.times.front().unwrap_or(&now);
        let n_recorded = u64::try_from(self.times.len()).unwrap_or(u64::MAX);
        // The harness may have made attempts that were not recorded.
        let measure = n_recorded.max(attempt.unwrap_or(MIN_ATTEMPTS));
        let took = cx.within(now.duration_since(since));
        cx.report(Fingerprint::NONE, measure, || {
            let mut text = match attempt {
                None => "the model did not respond, and the agent gave up".to_owned(),
                Some(attempt) if n_recorded < attempt => {
                    format!("attempt {attempt} to get a response from the model failed")
                }
                Some(_) if n_recorded == 1 => {
                    "an attempt to get a response from the model failed".to_owned()
                }
                Some(_) => {
                    format!("{n_recorded} attempts to get a response from the model failed{took}")
                }
            };
            let message = message.trim();
            if !message.is_empty() {
                text.push_str(": ");
                text.push_str(&quote(message));
            }
            let report = Report::new(text).since(self.first.as_ref().map(Place::evidence));
            if attempt.is_some() { report.with("attempts", measure) } else { report }
        });
        cx.wake_at(now + within);
    }

    /// Removes the attempts that no longer count.
    fn drop_old(&mut self, within: SignedDuration, now: Timestamp) {
        while self.times.front().is_some_and(|time| within <= now.duration_since(*time)) {
            self.times.pop_front();
        }
    }
}
