use schemars::JsonSchema;
use serde::Serialize;

use crate::{
    budgets::BudgetRow,
    finding::FindingRow,
    quotas::QuotaRow,
    row::{SessionRow, Totals},
};

/// The changes of a [`Board`](crate::Board) since an earlier version.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Changes {
    /// The version of the board, from which on to ask for later changes.
    pub version: u64,
    /// Whether the changes since the earlier version are no longer known: then `sessions`,
    /// `findings` and `budgets` are all that the board has, and replace all earlier ones.
    pub is_complete: bool,
    /// The sessions that are new or have changed, the earliest change first.
    pub sessions: Vec<SessionRow>,
    /// The ids of sessions that the board has dropped, with their budgets.
    pub removed: Vec<String>,
    /// The findings that are new or have changed, the earliest change first. A finding with
    /// the fingerprint and time of an earlier one replaces it.
    pub findings: Vec<FindingRow>,
    /// The budgets with a new measure, the earliest change first. A budget with the detector,
    /// subject, session, agent and group of an earlier one replaces it.
    pub budgets: Vec<BudgetRow>,
    /// All quotas, the latest statement last.
    pub quotas: Vec<QuotaRow>,
    /// The totals of all sessions.
    pub totals: Totals,
}
