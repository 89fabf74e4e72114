//! The place of an error in the code, as far as an output shows it.

mod location;
mod test_name;
#[cfg(test)]
mod tests;

use watchkeeper_core::Fingerprint;

use self::{location::Location, test_name::failing_test};
use crate::{
    commands::contains_word,
    error_counts::n_errors,
    error_line::{contains_error, searched_lines},
};

/// The number of lines after an error in which its location is searched.
const LINES_AFTER: usize = 3;
/// The number of lines before an error in which its location is searched.
const LINES_BEFORE: usize = 6;
/// The number of lines after a location whose text is compared.
const TEXT_LINES: usize = 3;
/// The number of places that are remembered.
const MAX_PLACES: usize = 8;

/// The place of an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ErrorPlace {
    /// The test or the file.
    source: u32,
    /// True if the command names the file: another command has another file.
    is_named: bool,
    line: u32,
    /// The column and the code, which an insertion above them does not change.
    text: u32,
}

impl ErrorPlace {
    /// Returns the place of the error in the line `error`.
    pub(crate) fn of(output: &str, error: &str, command: Option<&str>) -> Option<Self> {
        let lines: Vec<&str> = searched_lines(output).collect();
        let at = lines.iter().position(|line| *line == error).unwrap_or(0);
        let location = find_location(&lines, at);
        let (line, text) = location.map_or((0, 0), |(at_location, location)| {
            (location.line, text_of(&lines, at_location, at, location))
        });
        if let Some(test) = failing_test(&lines) {
            return Some(Self { source: test, is_named: false, line, text });
        }
        let file = location?.1.file?;
        let is_named = command.is_some_and(|command| contains_word(command, file_name(file)));
        let source = Fingerprint::of(last_parts(file)).brief().get();
        Some(Self { source, is_named, line, text })
    }

    /// Returns true if an error may have moved from one place to the other because lines were
    /// inserted above it, or not at all.
    fn is_same(self, other: Self) -> bool {
        self.source == other.source && (self.line == other.line || self.text == other.text)
    }
}

/// The places where one error was, latest last.
#[derive(Clone, Debug, Default)]
pub(crate) struct Places {
    recent: Vec<ErrorPlace>,
}

impl Places {
    /// Adds a place. Returns true if the error is at a new place.
    ///
    /// A file that the command names is a new place only if another line of it was one before:
    /// an agent that runs one script after another gets the same error in each of them.
    pub(crate) fn add(&mut self, place: ErrorPlace) -> bool {
        let known = self.recent.iter().position(|known| known.is_same(place));
        let has_source = self.recent.iter().any(|known| known.source == place.source);
        let is_first = self.recent.is_empty();
        if let Some(at) = known {
            self.recent.remove(at);
        } else if self.recent.len() == MAX_PLACES {
            self.recent.remove(0);
        }
        self.recent.push(place);
        known.is_none() && !is_first && (has_source || !place.is_named)
    }
}

/// Returns the number of errors in an output: the last number that a line reports, or else the
/// number of lines that contain an error and its location.
pub(crate) fn count_errors(output: &str) -> Option<u32> {
    let reported = searched_lines(output).filter_map(n_errors).last();
    reported.or_else(|| {
        let is_located = |line: &&str| Location::of(line).is_some() && contains_error(line);
        u32::try_from(searched_lines(output).filter(is_located).count()).ok().filter(|n| *n != 0)
    })
}

/// Returns the location of the error in line `at`, and the index of its line.
fn find_location<'a>(lines: &[&'a str], at: usize) -> Option<(usize, Location<'a>)> {
    let after = (at..lines.len()).take(LINES_AFTER + 1);
    let before = (0..at).rev().take(LINES_BEFORE);
    after.chain(before).find_map(|idx| {
        let location = Location::of(lines[idx])?;
        // A linter names the file once, above all its errors.
        let file = location
            .file
            .or_else(|| lines[..idx].iter().rev().copied().find(|line| location::is_path(line)));
        Some((idx, Location { file, ..location }))
    })
}

/// Returns a hash of the column and of the lines behind a location, up to the error, without
/// numbers.
fn text_of(lines: &[&str], at_location: usize, error: usize, location: Location<'_>) -> u32 {
    let end = if at_location < error { error } else { lines.len() };
    let behind = &lines[at_location + 1..end.max(at_location + 1)];
    let column = Fingerprint::from(u64::from(location.column));
    let text = behind
        .iter()
        .take(TEXT_LINES)
        .fold(column, |text, line| text.and(Fingerprint::of_output(line)));
    text.brief().get()
}

/// Returns the file and its folder, which distinguish it.
fn last_parts(path: &str) -> &str {
    let mut parts = path.rmatch_indices(['/', '\\']).map(|(at, _)| at + 1);
    let (file, folder) = (parts.next(), parts.next());
    let is_temporary = |from: usize, to: usize| location::is_temporary(&path[from..to - 1]);
    match (file, folder) {
        (Some(file), Some(folder)) if is_temporary(folder, file) => &path[file..],
        (_, Some(folder)) => &path[folder..],
        _ => path,
    }
}

fn file_name(path: &str) -> &str {
    path.rsplit(['/', '\\']).next().unwrap_or(path)
}
