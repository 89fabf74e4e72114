//! Reads `[monitor]` and `[prices]`.

use std::{collections::BTreeMap, ops::Range, path::PathBuf};

use schemars::JsonSchema;
use serde::Deserialize;
use toml::{
    Spanned,
    de::{DeTable, DeValue, ValueDeserializer},
};
use watchkeeper_core::{
    author::{Period, Secret},
    embed::{Durability, Price, Prices},
};

use crate::{
    diagnostic::Diagnostic,
    reader::{Count, Reader},
    secrets::Secrets,
    tree::Value,
};

/// Whether programs that are attached to an agent carry out the actions of the policy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Findings are reported, and nothing acts on an agent.
    #[default]
    Observe,
    /// Hooks act on the agent that called them, as the levels of the policy say.
    Enforce,
}

impl Mode {
    /// Returns the name used in policies.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Observe => "observe",
            Self::Enforce => "enforce",
        }
    }
}

/// The options of `[monitor]`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MonitorOptions {
    /// The maximum delay of time-based findings, such as timeouts; 5 s by default.
    pub check_interval: Period,
    /// The time that sinks have to deliver the remaining findings when the monitor
    /// stops; 2 s by default.
    pub shutdown_timeout: Period,
    /// The time without events after which the state of a session is dropped; 24 h
    /// by default.
    pub session_expiry: Period,
    /// The maximum number of concurrent sessions; 1,000,000 by default.
    pub max_sessions: usize,
    /// Whether `watch` uses the processes of agents and the state files beside their
    /// sessions; `true` by default.
    pub processes: bool,
    /// The events that the findings of `watch` survive; [`Durability::Process`] by default.
    pub durable: Durability,
    /// Whether hooks carry out actions; [`Mode::Observe`] by default.
    pub mode: Mode,
    /// Whether hooks record the actions of [`Mode::Enforce`] without carrying them out; `false`
    /// by default.
    pub dry_run: bool,
    /// The folder in which `watch` stores the findings that sinks have accepted and those
    /// that wait; `None` for the folder of the user.
    pub state_dir: Option<PathBuf>,
    /// The token of the page of `watch --ui`; `None` for one that `watch` makes, which is
    /// enough for clients of this machine.
    pub ui_token: Option<Secret>,
}

impl Default for MonitorOptions {
    fn default() -> Self {
        Self {
            check_interval: Period::from_secs(5),
            shutdown_timeout: Period::from_secs(2),
            session_expiry: Period::from_secs(24 * 60 * 60),
            max_sessions: 1_000_000,
            processes: true,
            durable: Durability::default(),
            mode: Mode::default(),
            dry_run: false,
            state_dir: None,
            ui_token: None,
        }
    }
}

/// The keys of `[monitor]`.
pub(crate) const MONITOR_KEYS: &[&str] = &[
    "check_interval",
    "dry_run",
    "durable",
    "max_sessions",
    "mode",
    "processes",
    "session_expiry",
    "shutdown_timeout",
    "state_dir",
    "ui_token",
];

impl Reader<'_> {
    pub(crate) fn monitor(
        &mut self,
        section: Option<Value<'_>>,
        secrets: &mut Secrets,
    ) -> MonitorOptions {
        let default = MonitorOptions::default();
        let Some(table) = section.and_then(|it| self.table(it)) else { return default };
        let mut table = table.into_inner();
        self.insert_secrets(&mut table, secrets, true);
        let count = |Count(it)| usize::try_from(it).unwrap_or(usize::MAX);
        let state_dir = self.take_string(&mut table, "state_dir");
        let state_dir = state_dir.and_then(|dir| {
            let span = dir.span();
            self.path(dir.into_inner(), &span)
        });
        let options = MonitorOptions {
            check_interval: self
                .take(&mut table, "check_interval")
                .unwrap_or(default.check_interval),
            shutdown_timeout: self
                .take(&mut table, "shutdown_timeout")
                .unwrap_or(default.shutdown_timeout),
            session_expiry: self
                .take(&mut table, "session_expiry")
                .unwrap_or(default.session_expiry),
            max_sessions: self.take(&mut table, "max_sessions").map_or(default.max_sessions, count),
            processes: self.take(&mut table, "processes").unwrap_or(default.processes),
            durable: self.take(&mut table, "durable").unwrap_or(default.durable),
            mode: self.take(&mut table, "mode").unwrap_or(default.mode),
            dry_run: self.take(&mut table, "dry_run").unwrap_or(default.dry_run),
            state_dir,
            ui_token: self.take(&mut table, "ui_token"),
        };
        self.reject_keys(&table, MONITOR_KEYS);
        options
    }

    pub(crate) fn prices(&mut self, section: Option<Value<'_>>) -> Prices {
        let mut prices = BTreeMap::new();
        for (model, table) in self.entries(section) {
            let invalid = invalid_numbers(table.get_ref());
            let whole = table.span();
            let value = Spanned::new(whole.clone(), DeValue::Table(table.into_inner()));
            match Price::deserialize(ValueDeserializer::from(value)) {
                Ok(price) => {
                    for span in invalid {
                        let message = "a price must be a finite number, 0 or more";
                        self.push(Diagnostic::error(span, message));
                    }
                    prices.insert(model.into_inner(), price);
                }
                Err(err) => {
                    let span = err.span().unwrap_or(whole);
                    let note = "prices are in US dollars per million tokens";
                    let diagnostic = self.option_error(span, err.message(), &[]);
                    self.push(diagnostic.note(note));
                }
            }
        }
        Prices::with(prices)
    }
}

/// Returns the places of the prices of a table that cannot be prices, in its tables, too.
fn invalid_numbers(table: &DeTable<'_>) -> Vec<Range<usize>> {
    let mut invalid = Vec::new();
    for value in table.values() {
        if let DeValue::Table(table) = value.get_ref() {
            invalid.extend(invalid_numbers(table));
            continue;
        }
        let number = f64::deserialize(ValueDeserializer::from(value.clone()));
        if number.is_ok_and(|number| !(number.is_finite() && 0.0 <= number)) {
            invalid.push(value.span());
        }
    }
    invalid
}
