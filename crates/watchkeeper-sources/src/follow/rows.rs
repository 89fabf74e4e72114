use std::{fs::File, path::Path};

use super::{
    mark::ReadMark,
    reading::{Progress, Reading, SLICE, Shared},
    row_state::RowState,
    update::Update,
};
use crate::{ReadError, database};

impl Reading {
    /// Reads a slice of the rows that were added. The id of a row is the number of its line.
    pub(super) fn read_rows(
        &mut self,
        rows: RowState,
        path: &Path,
        file: &File,
        shared: &mut Shared,
        out: &mut dyn FnMut(Update),
    ) -> Result<Progress, ReadError> {
        let RowState { database, since, has_started } = rows;
        if !has_started {
            self.position.lines = database::start(path, database, since)?;
            self.rows = Some(RowState { has_started: true, ..rows });
        }
        let start = self.position;
        let mut n_read = 0;
        let result = loop {
            // The latest row is read again, to notice that it has changed.
            let latest = self.mark.filter(|mark| mark.end == self.position.lines);
            let after = latest.map_or(self.position.lines, |mark| mark.end.saturating_sub(1));
            let batch = match database::read_rows(path, database, after) {
                Ok(batch) => batch,
                Err(error) => break Err(error.into()),
            };
            let mut batch_rows = batch.rows.iter();
            if let Some(latest) = latest
                && batch_rows.next().is_none_or(|row| ReadMark::of_row(row) != latest)
            {
                break Ok(Progress::Rewritten);
            }
            let mut read = Ok(());
            for row in batch_rows {
                n_read += row.text.as_ref().map_or(0, Vec::len) as u64;
                self.position.lines = row.id;
                self.mark = Some(ReadMark::of_row(row));
                read = self.read_line(row.line(), shared, out);
                if read.is_err() {
                    break;
                }
            }
            match read {
                Err(panic) => break Err(panic.into()),
                Ok(()) if batch.is_last => break Ok(Progress::End),
                Ok(()) if SLICE <= n_read => break Ok(Progress::More),
                Ok(()) => {}
            }
        };
        if self.position != start || self.mark.is_some() && self.id.is_none() {
            if self.id.is_none() {
                self.identify(&file.metadata()?, b"", out);
            }
            out(self.read_update());
        }
        shared.n_bytes += n_read;
        result
    }
}
