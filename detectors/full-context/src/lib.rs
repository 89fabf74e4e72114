#![doc = include_str!("../README.md")]

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;
use watchkeeper_core::{
    Context, Detector, DetectorKind, Event, EventKind, EventSet, Fingerprint, InvalidOption, Level,
    ModelCall, Report, Severity, Subscription, Unit,
    author::{TokenLimit, context_tokens, grouped, least_context_tokens, percent},
    quote,
};

/// Finds agents whose context is nearly full.
#[derive(Clone, Debug)]
pub struct FullContext {
    options: Arc<FullContextOptions>,
    /// The largest configured or known window that a call has exceeded, in
    /// tokens: its real size is unknown.
    exceeded_window: u64,
    is_open: bool,
}

/// The options of `kind = "full-context"`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FullContextOptions {
    /// Context window of the model, in tokens. Defaults to the known window of
    /// the model.
    context_tokens: Option<TokenLimit>,
}

watchkeeper_core::register!(FullContext);

impl DetectorKind for FullContext {
    const KIND: &'static str = "full-context";
    const DOCS: &'static str = include_str!("../README.md");
    const CLASS: &'static str = "budget";
    const UNIT: Unit = Unit::Percent;
    const LEVELS: &'static [Level] = &[Level::new(90, Severity::Low)];
    const LIMIT: u64 = 90;
    type Options = FullContextOptions;

    fn new(options: FullContextOptions) -> Result<Self, InvalidOption> {
        Ok(Self { options: Arc::new(options), exceeded_window: 0, is_open: false })
    }
}

impl Detector for FullContext {
    fn observe(&mut self, event: &Event, cx: &mut Context<'_>) {
        let EventKind::ModelCall(call) = &event.kind else { return };
        let tokens = input_tokens(call);
        // Usage that arrives in pieces may start with the output tokens.
        if tokens == 0 {
            return;
        }
        let lowest = cx.next_level(0).unwrap_or(1);
        let is_configured = self.options.context_tokens.is_some();
        // Most calls are below the lowest level of the smallest known window,
        // which makes the lookup of the model unnecessary.
        if !is_configured && !self.is_open && percent(tokens, least_context_tokens()) < lowest {
            return;
        }
        let model = call.model.as_deref().or(cx.session().model.as_deref());
        let configured = self.options.context_tokens.map(TokenLimit::get);
        let stated = configured.or(call.context_tokens);
        let Some(window) = stated.or_else(|| model.and_then(context_tokens)) else { return };
        if window < tokens {
            self.exceeded_window = self.exceeded_window.max(window);
        }
        let usage = ContextUsage { percent: percent(tokens, window), tokens, window };
        if window <= self.exceeded_window {
            self.resolve(usage, cx, "the context window is larger than known");
            return;
        }
        if usage.percent < lowest - lowest / 4 {
            self.resolve(usage, cx, "the context has room again");
            return;
        }
        self.is_open |= lowest <= usage.percent;
        let of_model = model.map_or_else(String::new, |name| format!(" of {}", quote(name)));
        cx.report(Fingerprint::NONE, usage.percent, || {
            usage.report(&format!("the context{of_model} is {}% full", usage.percent))
        });
    }

    fn subscription(&self) -> Subscription {
        const USAGE: EventSet = EventSet::of(&["model_call"]);
        Subscription::to(USAGE).without_exceptions()
    }

    fn is_idle(&self) -> bool {
        self.exceeded_window == 0 && !self.is_open
    }
}

impl FullContext {
    fn resolve(&mut self, usage: ContextUsage, cx: &mut Context<'_>, reason: &str) {
        if std::mem::take(&mut self.is_open) {
            cx.resolve(Fingerprint::NONE, || usage.report(reason));
        }
    }
}

/// The share of the context window that one model call used.
#[derive(Clone, Copy)]
struct ContextUsage {
    percent: u64,
    tokens: u64,
    window: u64,
}

impl ContextUsage {
    fn report(self, message: &str) -> Report {
        let (tokens, window) = (grouped(self.tokens), grouped(self.window));
        Report::new(format!("{message}: {tokens} of {window} tokens"))
            .with("percent", self.percent)
            .with("tokens", self.tokens)
            .with("context_tokens", self.window)
    }
}

/// Returns the number of tokens that a call read, from a cache or not.
fn input_tokens(call: &ModelCall) -> u64 {
    let tokens = call.tokens;
    tokens.input.saturating_add(tokens.cache_read).saturating_add(tokens.cache_write)
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;
    use watchkeeper_core::{DetectorKind, author::Options};
    use watchkeeper_testing::{laws, play};

    use super::FullContext;

    #[test]
    fn each_agent_has_its_own_context() {
        let trace = "
            0s   usage model=claude-opus-4-5 input=2000 cache_read=170000 output=90000
            1s   agent a1: usage model=claude-opus-4-5 input=190000
            2s   usage model=claude-opus-4-5 input=10 cache_read=170000 cache_write=12000
            3s   usage cache_read=150000
            4s   usage cache_read=199000
            5s   compaction
            6s   usage cache_read=20000
        ";
        assert_snapshot!(play::<FullContext>("", trace), @"
        1s      low       a1: the context of `claude-opus-4-5` is 95% full: 190,000 of 200,000 tokens
        2s      low       the context of `claude-opus-4-5` is 91% full: 182,010 of 200,000 tokens
        6s      resolved  the context has room again: 20,000 of 200,000 tokens
        ");
    }

    #[test]
    fn resolves_when_a_call_exceeds_the_known_window() {
        let trace = "
            0s   usage model=claude-sonnet-4-5 input=190000
            1s   usage model=claude-sonnet-4-5 input=201000
            2s   usage model=claude-haiku-4-5 input=199000
            3s   usage model=gpt-5 input=271000
            4s   usage model=home-grown input=1000000
        ";
        assert_snapshot!(play::<FullContext>("", trace), @"
        0s      low       the context of `claude-sonnet-4-5` is 95% full: 190,000 of 200,000 tokens
        1s      resolved  the context window is larger than known: 201,000 of 200,000 tokens
        3s      low       the context of `gpt-5` is 99% full: 271,000 of 272,000 tokens
        ");
        assert_snapshot!(play::<FullContext>("context_tokens = 1_000_000", trace), @"4s      low       the context of `home-grown` is 100% full: 1,000,000 of 1,000,000 tokens");
    }

    #[test]
    fn rejects_windows_that_are_not_a_positive_number() {
        let error = |text| {
            let built = Options::parse(text).and_then(|options| options.build(FullContext::new));
            built.expect_err("the option is invalid").to_string()
        };
        assert_snapshot!(error("context_tokens = 0"), @"invalid value: integer `0`, expected a number of tokens greater than zero, such as 500_000");
        assert_snapshot!(error("context_tokens = '1M'"), @r#"invalid type: string "1M", expected a number of tokens greater than zero, such as 500_000"#);
    }

    #[test]
    fn laws_hold() {
        laws::of::<FullContext>("").traces(["0s usage model=claude-opus-4-5 input=195000"]).check();
        laws::of::<FullContext>("context_tokens = 1_000").traces(["0s usage input=950"]).check();
    }

    #[test]
    fn state_of_a_stream_is_small() {
        assert_eq!(size_of::<FullContext>(), 24);
    }
}
