//! The members of the state of a conversation that are used.

use super::usage::{Usage, Used, total};
use crate::json::{Elements, Seconds, Text, Values, object};

object! {
    /// The state of a conversation of the SDK: `base_state.json`, or the value of an update.
    pub(super) struct BaseState<'a> {
        b"execution_status" | b"agent_status" => status: Text<'a>,
        b"workspace" => workspace: Workspace<'a>,
        b"agent" => agent: Agent<'a>,
        b"stats" => stats: Stats<'a>,
    }
}

object! {
    pub(super) struct Workspace<'a> {
        b"working_dir" => folder: Text<'a>,
    }
}

object! {
    pub(super) struct Agent<'a> {
        b"llm" => model: Model<'a>,
    }
}

object! {
    pub(super) struct Model<'a> {
        b"model" => name: Text<'a>,
    }
}

object! {
    pub(super) struct Stats<'a> {
        /// The usage by purpose of the model, such as acting or condensing.
        b"usage_to_metrics" => purposes: Values<'a, Metrics<'a>>,
    }
}

object! {
    /// The usage of a model for one purpose.
    pub(super) struct Metrics<'a> {
        b"model_name" => model: Text<'a>,
        b"accumulated_cost" => cost_usd: f64,
        b"accumulated_token_usage" => usage: Usage<'a>,
        b"token_usages" => responses: Elements<Usage<'a>>,
        /// The costs of priced responses, with times.
        b"costs" => costs: Elements<Cost>,
    }
}

object! {
    pub(super) struct Cost {
        b"cost" => usd: f64,
        b"timestamp" => at: Seconds,
    }
}

impl<'a> BaseState<'a> {
    pub(super) fn cwd(&self) -> Option<Text<'a>> {
        self.workspace.as_ref().and_then(|workspace| workspace.folder)
    }

    pub(super) fn model(&self) -> Option<Text<'a>> {
        self.agent.as_ref()?.model.as_ref()?.name
    }
}

impl<'a> Stats<'a> {
    /// Returns the purposes of models with their names.
    pub(super) fn purposes(&self) -> impl Iterator<Item = &(Text<'a>, Metrics<'a>)> {
        self.purposes.iter().flat_map(|purposes| &purposes.0)
    }
}

impl<'a> Metrics<'a> {
    /// Returns the total usage so far.
    pub(super) fn totals(&self) -> Used {
        total(self.usage.as_ref(), self.cost_usd)
    }

    /// Returns the responses with their costs, if these are known.
    pub(super) fn responses(&self) -> impl Iterator<Item = (&Usage<'a>, Option<&Cost>)> {
        let responses = self.responses.as_ref().map_or(&[][..], |responses| &responses.0);
        let costs = self.costs.as_ref().map_or(&[][..], |costs| &costs.0);
        // Responses without a price have no cost, so that the others have other positions.
        let is_complete = costs.len() == responses.len();
        let cost_of = move |nth| costs.get(nth).filter(|_| is_complete);
        responses.iter().enumerate().map(move |(nth, response)| (response, cost_of(nth)))
    }
}
