//! Model calls and their usage.

use watchkeeper_core::{EventKind, Fingerprint, ModelCall, author::Tokens};

use super::{
    events::LineEvents,
    line::{Message, Usage},
};
use crate::json::Text;

/// The usage of a model call that is charged.
#[derive(Clone, Copy)]
struct Charge {
    tokens: Tokens,
    web_searches: u32,
    is_fast: bool,
}

impl Charge {
    fn of(usage: &Usage<'_>) -> Self {
        Self {
            tokens: usage.tokens(),
            web_searches: usage.web_searches(),
            is_fast: usage.is_fast(),
        }
    }
}

impl LineEvents<'_, '_> {
    /// Reads the model calls of a message. All lines of a message repeat them.
    pub(super) fn read_model_calls(&mut self, message: &Message<'_>) {
        let Some(usage) = &message.usage else { return };
        let charge = Charge::of(usage);
        let request = self.line.request.map(Text::raw).unwrap_or_default();
        let key = |id: Text<'_>| Fingerprint::of(id.raw()).and(Fingerprint::of(request));
        // An advisor is another model that the provider calls within a response.
        for (n, advisor) in (1_u64..).zip(usage.advisors()) {
            let id = message.id.map(|id| {
                (format!("{}/advisor-{n}", id.read()).into(), key(id).and(Fingerprint::from(n)))
            });
            self.charge(id, advisor.model, Charge::of(advisor));
        }
        // An attempt that was cut off had the same input. Its output is not known.
        let n_cut = if self.is_nested { 0 } else { self.state.cut_attempts.take() };
        for n in 1..=n_cut {
            let tokens = Tokens { output: 0, reasoning: 0, ..charge.tokens };
            let id = message.id.map(|id| {
                let key = key(id).and(Fingerprint::of("cut")).and(Fingerprint::from(u64::from(n)));
                (format!("{}/cut-{n}", id.read()).into(), key)
            });
            self.charge(id, message.model, Charge { tokens, web_searches: 0, ..charge });
        }
        let id = message.id.map(|id| (id.boxed(), key(id)));
        self.charge(id, message.model, charge);
    }

    /// Emits a model call, unless an earlier line with the same key had this usage, or another
    /// file of the session contains lines of the same message.
    fn charge(
        &mut self,
        id: Option<(Box<str>, Fingerprint)>,
        model: Option<Text<'_>>,
        charge: Charge,
    ) {
        let mut used = (charge.tokens, charge.web_searches);
        if let Some((_, key)) = id {
            // Some model servers use the same ids in each session.
            let session = Fingerprint::of(self.context.session.as_str());
            if !self.sink.is_first_here(session.and(Fingerprint::of("usage")).and(key)) {
                return;
            }
            if let Some(earlier) = self.state.usage.get(key) {
                let larger = (largest(earlier.0, used.0), earlier.1.max(used.1));
                if larger == *earlier {
                    return;
                }
                used = larger;
            }
            self.state.usage.insert(key, used);
        }
        let model = model.map(Text::read);
        let (model, context_tokens) = model.as_deref().map_or((None, None), without_suffix);
        let call = ModelCall {
            id: id.map(|(id, _)| id),
            model: model.map(Box::from),
            tokens: used.0,
            cost_usd: None,
            context_tokens,
            web_searches: used.1,
            is_fast: charge.is_fast,
        };
        self.emit(EventKind::ModelCall(call));
    }
}

/// Splits the name of a model into the model and its context window in tokens, which
/// Claude Code appends as a suffix: `claude-opus-4-5[1m]`.
pub(crate) fn without_suffix(name: &str) -> (Option<&str>, Option<u64>) {
    match name.strip_suffix(']').and_then(|name| name.rsplit_once('[')) {
        Some((model, "1m")) => (Some(model), Some(1_000_000)),
        Some((model, _)) => (Some(model), None),
        None => (Some(name), None),
    }
}

/// Returns the maximum of each class: counts only grow from line to line.
fn largest(a: Tokens, b: Tokens) -> Tokens {
    Tokens {
        input: a.input.max(b.input),
        cache_read: a.cache_read.max(b.cache_read),
        cache_write: a.cache_write.max(b.cache_write),
        output: a.output.max(b.output),
        reasoning: a.reasoning.max(b.reasoning),
        cache_write_1h: a.cache_write_1h.max(b.cache_write_1h),
    }
}
