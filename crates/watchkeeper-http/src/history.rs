use watchkeeper_page::PastFindingRow;

use crate::refusal::ChangeRefusal;

/// The findings that this run and earlier ones have delivered.
///
/// The method runs on a thread for bodies, and may read files.
pub trait History: Send + Sync + 'static {
    /// Returns the latest `max` findings, the latest first.
    fn latest(&self, max: usize) -> Result<Vec<PastFindingRow>, ChangeRefusal>;
}
