use watchkeeper_core::Fingerprint;

use crate::lines::{Line, LineBytes};

/// A row, as a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    /// The id of the row.
    pub(crate) id: u64,
    /// The line; `None` if it is too long.
    pub(crate) text: Option<Vec<u8>>,
    /// The length of the part of the line that does not change.
    pub(crate) fixed_len: usize,
}

impl Row {
    pub(crate) fn line(&self) -> Line<'_> {
        let bytes = self.text.as_deref().map_or(LineBytes::TooLong, LineBytes::Whole);
        Line { number: self.id, offset: 0, bytes }
    }

    /// Returns the hash that tells whether the row has changed.
    pub(crate) fn hash(&self) -> Fingerprint {
        Fingerprint::of(&self.text.as_deref().unwrap_or_default()[..self.fixed_len])
    }
}

/// The next rows of a database.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Batch {
    pub(crate) rows: Vec<Row>,
    /// There were no more rows.
    pub(crate) is_last: bool,
}
