#![doc = include_str!("../README.md")]

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;
use watchkeeper_core::{
    Context, Detector, DetectorKind, Event, EventKind, EventSet, Fingerprint, InvalidOption,
    LEAST_CONTEXT_TOKENS, Level, ModelCall, Report, Severity, Subscription, TokenLimit, Unit,
    context_tokens, grouped, percent, quote,
};

/// Finds agents whose context is nearly full.
#[derive(Clone, Debug)]
pub struct FullContext {
    options: Arc<FullContextOptions>,
    /// The largest window that a call has shown to be larger than that.
    outgrown: u64,
    is_open: bool,
}

/// The options of `kind = "full-context"`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FullContextOptions {
    /// How many tokens the model can read at once; without it, what is known of
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
        Ok(Self { options: Arc::new(options), outgrown: 0, is_open: false })
    }
}

impl Detector for FullContext {
    fn observe(&mut self, event: &Event, cx: &mut Context<'_>) {
        let EventKind::ModelCall(call) = &event.kind else { return };
        let read = read(call);
        // What is told in pieces may begin with what was written.
        if read == 0 {
            return;
        }
        let lowest = cx.next_level(0).unwrap_or(1);
        let is_known = self.options.context_tokens.is_some();
        // Most calls are so small that it does not matter whose they are.
        if !is_known && !self.is_open && percent(read, LEAST_CONTEXT_TOKENS) < lowest {
            return;
        }
        let model = call.model.as_deref().or(cx.session().model.as_deref());
        let own = || self.options.context_tokens.map(TokenLimit::get);
        let known = || model.and_then(context_tokens);
        let Some(window) = own().or_else(known) else { return };
        if window < read {
            self.outgrown = self.outgrown.max(window);
        }
        let full = Full { percent: percent(read, window), read, window };
        if window <= self.outgrown {
            self.resolve(full, cx, "the model can read more than was thought");
            return;
        }
        if full.percent < lowest - lowest / 4 {
            self.resolve(full, cx, "the context has room again");
            return;
        }
        self.is_open |= lowest <= full.percent;
        let of = model.map_or_else(String::new, |it| format!(" of {}", quote(it)));
        cx.report(Fingerprint::NONE, full.percent, || {
            full.report(&format!("the context{of} is {}% full", full.percent))
        });
    }

    fn subscription(&self) -> Subscription {
        const USAGE: EventSet = EventSet::of(&["model_call"]);
        Subscription::to(USAGE).without_exceptions()
    }

    fn is_idle(&self) -> bool {
        self.outgrown == 0 && !self.is_open
    }
}

impl FullContext {
    fn resolve(&mut self, full: Full, cx: &mut Context<'_>, why: &str) {
        if std::mem::take(&mut self.is_open) {
            cx.resolve(Fingerprint::NONE, || full.report(why));
        }
    }
}

/// How full a context is.
#[derive(Clone, Copy)]
struct Full {
    percent: u64,
    read: u64,
    window: u64,
}

impl Full {
    fn report(self, what: &str) -> Report {
        let (read, window) = (grouped(self.read), grouped(self.window));
        Report::new(format!("{what}: {read} of {window} tokens"))
            .with("percent", self.percent)
            .with("tokens", self.read)
            .with("context_tokens", self.window)
    }
}

fn read(call: &ModelCall) -> u64 {
    let it = call.tokens;
    it.input.saturating_add(it.cache_read).saturating_add(it.cache_write)
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;
    use watchkeeper_core::{DetectorKind, Options};
    use watchkeeper_testing::{laws, play};

    use super::FullContext;

    #[test]
    fn each_agent_fills_a_context_of_its_own() {
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
    fn whoever_reads_more_than_there_is_has_a_larger_window() {
        let trace = "
            0s   usage model=claude-sonnet-4-5 input=190000
            1s   usage model=claude-sonnet-4-5 input=201000
            2s   usage model=claude-haiku-4-5 input=199000
            3s   usage model=gpt-5 input=271000
            4s   usage model=home-grown input=1000000
        ";
        assert_snapshot!(play::<FullContext>("", trace), @"
        0s      low       the context of `claude-sonnet-4-5` is 95% full: 190,000 of 200,000 tokens
        1s      resolved  the model can read more than was thought: 201,000 of 200,000 tokens
        3s      low       the context of `gpt-5` is 99% full: 271,000 of 272,000 tokens
        ");
        assert_snapshot!(play::<FullContext>("context_tokens = 1_000_000", trace), @"4s      low       the context of `home-grown` is 100% full: 1,000,000 of 1,000,000 tokens");
    }

    #[test]
    fn a_window_of_nothing_is_refused() {
        let refuse = |text| {
            let built = Options::parse(text).and_then(|it| it.build(FullContext::new));
            built.expect_err("it should be refused").to_string()
        };
        assert_snapshot!(refuse("context_tokens = 0"), @"invalid value: integer `0`, expected a number of tokens greater than zero, such as 500_000");
        assert_snapshot!(refuse("context_tokens = '1M'"), @r#"invalid type: string "1M", expected a number of tokens greater than zero, such as 500_000"#);
    }

    #[test]
    fn it_obeys_the_laws_of_detectors() {
        laws::check::<FullContext>("");
        laws::check::<FullContext>("context_tokens = 1_000");
    }

    #[test]
    fn one_for_each_of_many_streams_is_small() {
        assert_eq!(size_of::<FullContext>(), 24);
    }
}
