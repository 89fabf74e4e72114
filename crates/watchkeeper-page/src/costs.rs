use std::{collections::BTreeMap, sync::Arc};

use schemars::JsonSchema;
use serde::Serialize;
use watchkeeper_core::author::Tokens;

/// The number of names that are distinguished in one list. The rest is one share.
const MAX_NAMES: usize = 64;

/// The name of the share of all names above the limit.
const OTHERS: &str = "…";

/// The tokens and dollars of a session, by what they were spent on.
///
/// The cost of a model response belongs to the *results that the response was the first to read*,
/// in equal parts: the model was called to read them. A response that follows a prompt belongs to
/// the prompt. Some agents record one model call for several responses: its cost belongs to the
/// results of all of them.
///
/// A result is a *repeat* if the same agent has received an equal result of an equal call before:
/// the same tool with the same arguments, except volatile ones, and an output that differs in
/// numbers, ids and times at most. Only results since the latest prompt of a person and since the
/// latest successful change count, and calls that wait or poll are no repeats: the state outside
/// the session may have changed. The cost of repeats is therefore a lower bound of what a session
/// has wasted.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct Costs {
    /// By model; the name is `null` if the model is not known.
    pub models: Vec<CostShare>,
    /// By agent; the name is `null` for the main agent.
    pub agents: Vec<CostShare>,
    /// By the tool whose results were read; the name is `null` for prompts.
    pub tools: Vec<CostShare>,
    /// Tokens that were spent on reading repeats.
    pub repeats_tokens: u64,
    /// US dollars that were spent on reading repeats.
    pub repeats_usd: f64,
}

/// The part of one name.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct CostShare {
    /// The name; `…` is the sum of the names above the limit of 64.
    pub name: Option<String>,
    /// Model responses in which the name has a part.
    pub model_calls: u64,
    /// Tokens.
    pub tokens: u64,
    /// US dollars.
    pub cost_usd: f64,
}

/// Tokens and dollars that one model call adds.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Added {
    pub(crate) model_calls: u64,
    pub(crate) tokens: Tokens,
    pub(crate) cost_usd: f64,
}

/// Results that model responses read: their number by tool.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reads {
    tools: Vec<(Arc<str>, u32)>,
    n_results: u32,
    n_repeats: u32,
}

/// Sums by name.
#[derive(Clone, Debug, Default)]
struct Shares(BTreeMap<Option<String>, Sum>);

#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    model_calls: u64,
    tokens: f64,
    cost_usd: f64,
}

/// Records the costs of one session.
#[derive(Clone, Debug, Default)]
pub(crate) struct CostRecorder {
    models: Shares,
    agents: Shares,
    tools: Shares,
    repeats: Sum,
}

impl Reads {
    /// Adds a result of a tool.
    pub(crate) fn push(&mut self, tool: &Arc<str>, is_repeat: bool) {
        self.n_results = self.n_results.saturating_add(1);
        self.n_repeats = self.n_repeats.saturating_add(is_repeat.into());
        self.add_tool(tool, 1);
    }

    /// Adds the results of a later response.
    pub(crate) fn add(&mut self, later: Self) {
        self.n_results = self.n_results.saturating_add(later.n_results);
        self.n_repeats = self.n_repeats.saturating_add(later.n_repeats);
        for (tool, n) in &later.tools {
            self.add_tool(tool, *n);
        }
    }

    fn add_tool(&mut self, tool: &Arc<str>, n: u32) {
        if let Some((_, known)) = self.tools.iter_mut().find(|(known, _)| known == tool) {
            *known = known.saturating_add(n);
        } else if self.tools.len() < MAX_NAMES {
            self.tools.push((tool.clone(), n));
        }
    }
}

impl Sum {
    #[expect(clippy::cast_precision_loss, reason = "a share of tokens needs no last digit")]
    fn add(&mut self, added: Added, part: f64) {
        self.model_calls += added.model_calls;
        self.tokens += added.tokens.total() as f64 * part;
        self.cost_usd += added.cost_usd * part;
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "tokens are not negative"
    )]
    fn tokens(self) -> u64 {
        self.tokens.round() as u64
    }
}

impl Shares {
    fn add(&mut self, name: Option<&str>, added: Added, part: f64) {
        let mut name = name.map(str::to_owned);
        if !self.0.contains_key(&name) && self.0.len() == MAX_NAMES {
            name = Some(OTHERS.to_owned());
        }
        self.0.entry(name).or_default().add(added, part);
    }

    /// Returns the shares, the highest cost first.
    fn sorted(&self) -> Vec<CostShare> {
        let shares = self.0.iter().map(|(name, sum)| CostShare {
            name: name.clone(),
            model_calls: sum.model_calls,
            tokens: sum.tokens(),
            cost_usd: sum.cost_usd,
        });
        let mut shares: Vec<CostShare> = shares.collect();
        shares.sort_by(|a, b| {
            b.cost_usd.total_cmp(&a.cost_usd).then_with(|| b.tokens.cmp(&a.tokens))
        });
        shares
    }
}

impl CostRecorder {
    /// Adds a model call of an agent that read these results.
    pub(crate) fn add(
        &mut self,
        model: Option<&str>,
        agent: Option<&str>,
        reads: &Reads,
        added: Added,
    ) {
        self.models.add(model, added, 1.0);
        self.agents.add(agent, added, 1.0);
        let n_results: u32 = reads.tools.iter().map(|(_, n)| n).sum();
        if n_results == 0 {
            self.tools.add(None, added, 1.0);
            return;
        }
        for (tool, n) in &reads.tools {
            self.tools.add(Some(tool), added, f64::from(*n) / f64::from(n_results));
        }
        let part = f64::from(reads.n_repeats) / f64::from(reads.n_results);
        if 0.0 < part {
            self.repeats.add(added, part);
        }
    }

    /// Returns the cost of repeats in US dollars.
    pub(crate) fn repeats_usd(&self) -> f64 {
        self.repeats.cost_usd
    }

    /// Returns the costs so far.
    pub(crate) fn costs(&self) -> Costs {
        Costs {
            models: self.models.sorted(),
            agents: self.agents.sorted(),
            tools: self.tools.sorted(),
            repeats_tokens: self.repeats.tokens(),
            repeats_usd: self.repeats.cost_usd,
        }
    }
}
